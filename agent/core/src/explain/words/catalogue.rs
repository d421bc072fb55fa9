//! What the sentences are made of, per language: the one place for them. A further language is one more catalogue here and
//! one more name in [`Language`](super::Language).

mod english;
mod german;

pub(super) use english::ENGLISH;
pub(super) use german::GERMAN;

/// Phrases with named gaps like `{name}`. Sentences begin with a capital and end with a full stop, reasons do neither.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) decimal_point: char,
    /// Whether a common noun loses its capital after a semicolon.
    pub(super) lowers_nouns: bool,

    // A feature as a reason: `name`, `value` with its unit, `low`, `high`, `usual`, `category`.
    pub(super) outside_range: &'static str,
    pub(super) outside_constant: &'static str,
    pub(super) inside_range: &'static str,
    pub(super) inside_constant: &'static str,
    pub(super) no_range: &'static str,
    pub(super) category: &'static str,
    pub(super) no_value: &'static str,
    pub(super) between_reasons: &'static str,
    pub(super) many_more: &'static str,
    pub(super) points_elsewhere: &'static str,

    // The outcome: `what`, `share`, `value`, `usual`.
    pub(super) likely: &'static str,
    pub(super) risk: &'static str,
    pub(super) predicted: &'static str,
    pub(super) predicted_usually: &'static str,
    pub(super) percent: &'static str,
    pub(super) over_99_percent: &'static str,
    pub(super) under_1_percent: &'static str,
    pub(super) uncertain: &'static str,
    // Of a rule that stands in for the model: `values`, made of `name` and `value`.
    pub(super) rule_raises: &'static str,
    pub(super) rule_rests: &'static str,
    pub(super) rule_value: &'static str,
    pub(super) between_values: &'static str,

    // How sure: `reason`.
    pub(super) perhaps: &'static str,

    // No explanation: `reason`.
    pub(super) not_yet_explained: &'static str,
    pub(super) not_explained: &'static str,
    pub(super) explaining_failed: &'static str,
    // Such reasons: `count`.
    pub(super) nothing_to_explain: &'static str,
    pub(super) model_gone: &'static str,
    pub(super) challenger: &'static str,
    pub(super) rule: &'static str,
    pub(super) crowded: &'static str,
    pub(super) many_alerts: &'static str,
    pub(super) not_shown: &'static str,
    pub(super) lost: &'static str,
    pub(super) calculation_failed: &'static str,

    // No prediction: `name`, `value`, `age`, `reason`.
    pub(super) missing: &'static str,
    pub(super) stale: &'static str,
    pub(super) bad_quality: &'static str,
    pub(super) non_finite: &'static str,
    pub(super) out_of_range: &'static str,
    pub(super) too_fast: &'static str,
    pub(super) not_a_number: &'static str,
    pub(super) model_non_finite: &'static str,
    pub(super) model_failed: &'static str,
    pub(super) window_filling: &'static str,
    pub(super) no_model: &'static str,
    pub(super) stopped: &'static str,
    pub(super) pass_through: &'static str,

    // What would clear the alert: `ways`, made of `changes`, made of `name` and `value` or `category`; `names`.
    pub(super) would_clear: &'static str,
    pub(super) between_ways: &'static str,
    pub(super) way: &'static str,
    pub(super) between_changes: &'static str,
    pub(super) change: &'static str,
    pub(super) change_or_less: &'static str,
    pub(super) change_or_more: &'static str,
    pub(super) change_category: &'static str,
    pub(super) nothing_clears: &'static str,
    pub(super) nothing_found: &'static str,
    pub(super) nothing_tried: &'static str,
    pub(super) clear_already: &'static str,
    pub(super) no_rule: &'static str,
    pub(super) nothing_adjustable: &'static str,

    // What is like it: `count` or `times`; `judged`, made of `times` and `words`.
    pub(super) one_alike: &'static str,
    pub(super) many_alike: &'static str,
    pub(super) alike_judged: &'static str,
    pub(super) alike_unjudged: &'static str,
    pub(super) none_alike: &'static str,
    pub(super) between_judged: &'static str,
    pub(super) confirmed: &'static str,
    pub(super) false_alarm: &'static str,
    pub(super) something_else: &'static str,
    pub(super) undecided: &'static str,
    pub(super) not_judged: &'static str,
    pub(super) with_words: &'static str,
    pub(super) quoted: &'static str,
    /// From one on; larger numbers are written as such.
    pub(super) counts: [&'static str; 12],
    /// From once on.
    pub(super) times: [&'static str; 12],
    pub(super) many_times: &'static str,

    // The picture of the reasons: `space`; `low`, `high`; `count`; `base`, `output`; `last`; `reason`.
    pub(super) legend: &'static str,
    pub(super) the_margin: &'static str,
    pub(super) the_probability: &'static str,
    pub(super) the_value: &'static str,
    pub(super) usually: &'static str,
    pub(super) more: &'static str,
    pub(super) raises: &'static str,
    pub(super) lowers: &'static str,
    pub(super) sum: &'static str,
    pub(super) no_number: &'static str,
    pub(super) over_time: &'static str,
    pub(super) in_brackets: &'static str,
    pub(super) errors: &'static str,
    /// Of whom, how large, which part of all.
    pub(super) heads_of_errors: [&'static str; 3],
    pub(super) pending: &'static str,
    pub(super) gone: &'static str,
    pub(super) no_reasons: &'static str,
    pub(super) none_computed: &'static str,

    // The gateway's own alerts.
    pub(super) this_gateway: &'static str,
    pub(super) buffer_full: &'static str,
    pub(super) store_degraded: &'static str,
    pub(super) sync_stopped: &'static str,
    pub(super) batch_conflict: &'static str,
    pub(super) model_refused: &'static str,
    pub(super) model_missing: &'static str,
}

/// Fills a phrase's gaps. What is filled in is not looked at again, so a name with braces stays as it is.
pub fn fill(phrase: &str, gaps: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(phrase.len() + 32);
    let mut rest = phrase;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((gap, after)) = after.split_once('}') else { break };
        filled.push_str(gaps.iter().find(|(name, _)| *name == gap).map_or("", |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_once_and_what_fills_them_stays_as_it_is() {
        let gaps = [("name", "{value}"), ("value", "3")];
        assert_eq!(fill("{name} is {value}.", &gaps), "{value} is 3.");
        assert_eq!(fill("plain", &gaps), "plain");
    }
}
