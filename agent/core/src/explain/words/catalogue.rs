//! What the sentence is made of, per language. A further language is one more catalogue and one more name here.

/// A language in which sentences can be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
}

impl Language {
    pub(super) fn catalogue(self) -> &'static Catalogue {
        match self {
            Self::English => &ENGLISH,
        }
    }
}

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

    // No explanation: `reason`.
    pub(super) not_yet_explained: &'static str,
    pub(super) not_explained: &'static str,
    pub(super) explaining_failed: &'static str,

    // No prediction: `name`, `value`, `age`.
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
}

static ENGLISH: Catalogue = Catalogue {
    decimal_point: '.',
    lowers_nouns: true,

    outside_range: "{name} {value}, usually {low} to {high}",
    outside_constant: "{name} {value}, usually {usual}",
    inside_range: "{name} {value}, within its usual range of {low} to {high}",
    inside_constant: "{name} {value}, as usual",
    no_range: "{name} {value}",
    category: "{name} {category}",
    no_value: "{name} without a value",
    between_reasons: "; ",
    many_more: "many other values add to it",
    points_elsewhere: "The values do not point to an alert.",

    likely: "{what} {share} likely.",
    risk: "Risk {share}.",
    predicted: "Predicted: {value}.",
    predicted_usually: "Predicted: {value}, usually about {usual}.",
    percent: "{number} %",
    over_99_percent: "more than 99 %",
    under_1_percent: "less than 1 %",
    uncertain: "Some of the values are uncertain.",

    not_yet_explained: "The reason is still being worked out.",
    not_explained: "The reason was not worked out: {reason}.",
    explaining_failed: "The reason could not be worked out: {reason}.",

    missing: "No prediction: no value has come yet for {name}.",
    stale: "No prediction: the last value of {name} is {age} s old.",
    bad_quality: "No prediction: the source itself does not trust its value of {name}.",
    non_finite: "No prediction: {name} came without a usable number.",
    out_of_range: "No prediction: {name} reads {value}, which cannot be.",
    too_fast: "No prediction: {name} changed faster than it can.",
    not_a_number: "No prediction: {name} came as a word that is not known here.",
    model_non_finite: "No prediction: the calculation gave no usable number.",
    model_failed: "No prediction: the calculation failed.",
    window_filling: "No prediction yet: {have} of {need} measurements in a row have come.",
};

/// Fills a phrase's gaps. What is filled in is not looked at again, so a name with braces stays as it is.
pub(super) fn fill(phrase: &str, gaps: &[(&str, &str)]) -> String {
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
