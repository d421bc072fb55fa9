//! The sentences that a technician reads: what is unusual, what it is likely to mean, what would clear it ([`remedy`]) and
//! what it was the last times ([`cases`]); and what stands beside the picture of the reasons ([`Picture`]).
//!
//! Made from records alone, so that it can be had years after the model is gone. It claims no more than they hold: a
//! value within its usual range is called so even where it was decisive.

mod cases;
mod catalogue;
mod gateway;
mod language;
mod limit;
mod measured;
mod number;
mod picture;
mod remedy;

pub use cases::{Judged, cases};
pub use catalogue::fill;
pub use gateway::{gateway, this_gateway};
pub use language::Language;
pub use limit::limit;
pub use measured::{Measured, measured, named, number};
pub use picture::{Picture, is_sure, minus};
pub use remedy::remedy;

use std::borrow::Cow;

use catalogue::Catalogue;
use number::InRange;

use crate::domain::alert::Raised;
use crate::domain::explanation::{Attribution, Explanation, Settlement};
use crate::domain::prediction::{Input, Outcome, Output, Prediction, Role, Space, Withheld};
use crate::domain::reason::Reason;
use crate::domain::sample::Quality;

/// At most so many values are named as reasons.
const MOST_REASONS: usize = 3;
/// Reasons are named until they carry this share of all that pushes towards the alert.
const ENOUGH: f64 = 0.8;
/// An estimated share within so many standard errors of nothing may be nothing.
const SURE: f64 = 2.0;
/// Below this share the named reasons are not most of it, and the sentence says so.
const HALF: f64 = 0.5;

/// The sentence for one prediction: `Torque 65 Nm, usually 30 to 50. Failure 93 % likely.`
///
/// `settlement` is what became of its explanation, `None` while it is being worked out. `raised` says which outputs are
/// alarming; where that is not known, large ones are taken to be for probabilities, and for other outputs the side of
/// the usual output on which this one lies.
pub fn sentence(
    language: Language,
    prediction: &Prediction,
    settlement: Option<&Settlement>,
    raised: Option<Raised>,
) -> String {
    let words = language.catalogue();
    let output = match &prediction.outcome {
        Outcome::Withheld(why) => return withheld(words, why),
        Outcome::Predicted(output) if prediction.role == Role::Fallback => return rule(words, output, prediction),
        Outcome::Predicted(output) => output,
    };
    let explanation = settlement.and_then(Settlement::explanation);
    let mut sentences = Vec::with_capacity(3);
    if let Some(explanation) = explanation {
        sentences.push(reasons(words, explanation, towards(output, explanation, raised)));
    }
    sentences.push(headline(words, output, explanation));
    if prediction.input_quality != Quality::Good {
        sentences.push(words.uncertain.to_owned());
    }
    match settlement {
        None => sentences.push(words.not_yet_explained.to_owned()),
        Some(Settlement::Skipped { reason }) => sentences.push(because(words, words.not_explained, reason)),
        Some(Settlement::Failed { reason }) => sentences.push(because(words, words.explaining_failed, reason)),
        Some(Settlement::Explained { .. }) => {}
    }
    sentences.join(" ")
}

/// What a prediction says, without its reasons: `Failure 93 % likely.`, or why there is none.
pub fn outcome(language: Language, prediction: &Prediction) -> String {
    let words = language.catalogue();
    match &prediction.outcome {
        Outcome::Withheld(why) => withheld(words, why),
        Outcome::Predicted(output) if prediction.role == Role::Fallback => rule(words, output, prediction),
        Outcome::Predicted(output) => headline(words, output, None),
    }
}

/// 1 where growing outputs are the alarming ones, -1 where shrinking ones are.
fn towards(output: &Output, explanation: &Explanation, raised: Option<Raised>) -> f64 {
    match raised {
        Some(Raised::Above) => 1.0,
        Some(Raised::Below) => -1.0,
        None if output.probability.is_none() && explanation.output < explanation.base_value => -1.0,
        None => 1.0,
    }
}

fn reasons(words: &Catalogue, explanation: &Explanation, towards: f64) -> String {
    let push = |attribution: &Attribution| attribution.value * towards;
    let mut pushing: Vec<_> = explanation.attributions.iter().filter(|a| push(a) > 0.0).collect();
    pushing.sort_by(|a, b| push(b).total_cmp(&push(a)));
    let total: f64 = pushing.iter().map(|a| push(a)).sum();
    if pushing.is_empty() || (explanation.output - explanation.base_value) * towards <= 0.0 {
        return words.points_elsewhere.to_owned();
    }

    let mut carried = 0.0;
    let mut named = Vec::with_capacity(MOST_REASONS + 1);
    for attribution in pushing.into_iter().take(MOST_REASONS) {
        named.push(surely(words, attribution, named.is_empty()));
        carried += push(attribution);
        if carried >= ENOUGH * total {
            break;
        }
    }
    if carried < HALF * total {
        named.push(words.many_more.to_owned());
    }
    named.join(words.between_reasons) + "."
}

/// The reason, called possible where its share is an estimate that may well be nothing.
fn surely(words: &Catalogue, attribution: &Attribution, first: bool) -> String {
    if is_sure(attribution.value, attribution.standard_error) {
        return reason(words, attribution, first);
    }
    let perhaps = fill(words.perhaps, &[("reason", &reason(words, attribution, false))]);
    if first { capitalised(&perhaps).into_owned() } else { perhaps }
}

fn reason(words: &Catalogue, attribution: &Attribution, first: bool) -> String {
    let (name, unit) = name_and_unit(&attribution.feature, &attribution.unit);
    let name = if first {
        capitalised(name)
    } else if words.lowers_nouns {
        lowered(name)
    } else {
        name.into()
    };
    if let Some(category) = &attribution.category {
        return fill(words.category, &[("name", &name), ("category", category)]);
    }
    if attribution.input.is_nan() {
        return fill(words.no_value, &[("name", &name)]);
    }
    let (low, high) = attribution.usual;
    if low.is_nan() || high.is_nan() {
        let value = with_unit(number::alone(attribution.input, words.decimal_point), unit);
        return fill(words.no_range, &[("name", &name), ("value", &value)]);
    }
    let shown = InRange::new(attribution.input, attribution.usual, words.decimal_point);
    let phrase = match (shown.inside, shown.low == shown.high) {
        (false, false) => words.outside_range,
        (false, true) => words.outside_constant,
        (true, false) => words.inside_range,
        (true, true) => words.inside_constant,
    };
    let value = with_unit(shown.value, unit);
    fill(
        phrase,
        &[("name", &name), ("value", &value), ("low", &shown.low), ("high", &shown.high), ("usual", &shown.low)],
    )
}

fn headline(words: &Catalogue, output: &Output, explanation: Option<&Explanation>) -> String {
    if let Some(probability) = output.probability {
        let share = share(words, probability);
        return match &output.label {
            // Up to one half the label is another class's, whose probability this is not; and a number says nothing.
            Some(label) if probability > 0.5 && label.chars().any(char::is_alphabetic) => {
                fill(words.likely, &[("what", &capitalised(label)), ("share", &share)])
            }
            _ => fill(words.risk, &[("share", &share)]),
        };
    }
    match explanation.filter(|explanation| explanation.space == Space::Value) {
        Some(Explanation { base_value, .. }) => {
            let value = number::beside(output.value, *base_value, words.decimal_point);
            let usual = number::beside(*base_value, output.value, words.decimal_point);
            fill(words.predicted_usually, &[("value", &value), ("usual", &usual)])
        }
        None => fill(words.predicted, &[("value", &number::alone(output.value, words.decimal_point))]),
    }
}

fn share(words: &Catalogue, probability: f64) -> String {
    match (probability * 100.0).round() {
        percent if percent >= 100.0 => words.over_99_percent.to_owned(),
        percent if percent < 1.0 => words.under_1_percent.to_owned(),
        percent => fill(words.percent, &[("number", &format!("{percent:.0}"))]),
    }
}

fn withheld(words: &Catalogue, why: &Withheld) -> String {
    let phrase = match why {
        Withheld::Missing { .. } => words.missing,
        Withheld::Stale { .. } => words.stale,
        Withheld::Quality { .. } => words.bad_quality,
        Withheld::NonFinite { .. } => words.non_finite,
        Withheld::OutOfRange { .. } => words.out_of_range,
        Withheld::TooFast { .. } => words.too_fast,
        Withheld::NotANumber { .. } => words.not_a_number,
        Withheld::ModelNonFinite => words.model_non_finite,
        Withheld::ModelFailed { .. } => words.model_failed,
        Withheld::WindowFilling { .. } => words.window_filling,
        Withheld::NoModel => words.no_model,
        Withheld::Stopped { .. } => words.stopped,
        Withheld::PassThrough => words.pass_through,
    };
    let feature = match why {
        Withheld::Missing { feature }
        | Withheld::Stale { feature, .. }
        | Withheld::Quality { feature, .. }
        | Withheld::NonFinite { feature }
        | Withheld::OutOfRange { feature, .. }
        | Withheld::TooFast { feature, .. }
        | Withheld::NotANumber { feature } => feature,
        Withheld::ModelNonFinite
        | Withheld::ModelFailed { .. }
        | Withheld::WindowFilling { .. }
        | Withheld::NoModel
        | Withheld::Stopped { .. }
        | Withheld::PassThrough => "",
    };
    let (name, unit) = name_and_unit(feature, "");
    let name = if words.lowers_nouns { lowered(name) } else { name.into() };
    let (value, age) = match why {
        Withheld::OutOfRange { value, .. } => {
            (with_unit(number::alone(*value, words.decimal_point), unit), String::new())
        }
        Withheld::Stale { age, .. } => (String::new(), number::alone(*age, words.decimal_point)),
        _ => (String::new(), String::new()),
    };
    let (have, need) = match why {
        Withheld::WindowFilling { have, need } => (have.to_string(), need.to_string()),
        _ => (String::new(), String::new()),
    };
    let reason = match why {
        Withheld::Stopped { reason } => reason.trim_end_matches('.'),
        _ => "",
    };
    let gaps = [("value", &value), ("age", &age), ("have", &have), ("need", &need)];
    let gaps = gaps.map(|(gap, text)| (gap, text.as_str()));
    fill(phrase, &[&gaps[..], &[("name", &name), ("reason", reason)]].concat())
}

/// What a rule says, with the values that it looks at; which of them are beyond their limits the alert says.
fn rule(words: &Catalogue, output: &Output, prediction: &Prediction) -> String {
    if output.value < 0.5 {
        return words.rule_rests.to_owned();
    }
    let value = |input: &Input| {
        let value = number::alone(input.value?, words.decimal_point);
        Some(fill(words.rule_value, &[("name", &input.feature), ("value", &value)]))
    };
    let values: Vec<String> = prediction.inputs.iter().filter_map(value).collect();
    fill(words.rule_raises, &[("values", &values.join(words.between_values))])
}

fn because(words: &Catalogue, phrase: &str, reason: &str) -> String {
    fill(phrase, &[("reason", &cause(words, reason))])
}

/// A record's reason in this language. What a library or a model said is for the record, and not for a technician.
fn cause(words: &Catalogue, reason: &str) -> String {
    match Reason::read(reason) {
        Reason::Nothing => words.nothing_to_explain.to_owned(),
        Reason::Gone => words.model_gone.to_owned(),
        Reason::Challenger => words.challenger.to_owned(),
        Reason::Rule => words.rule.to_owned(),
        Reason::Crowded { one_in } => fill(words.crowded, &[("count", &one_in.to_string())]),
        Reason::ManyAlerts => words.many_alerts.to_owned(),
        Reason::NotShown => words.not_shown.to_owned(),
        Reason::Lost(_) => words.lost.to_owned(),
        Reason::Within | Reason::Failed(_) => words.calculation_failed.to_owned(),
    }
}

/// The name without a unit in brackets at its end, and the unit: the manifest's, or else the one in brackets.
fn name_and_unit<'a>(feature: &'a str, unit: &'a str) -> (&'a str, &'a str) {
    let feature = feature.trim();
    let bracketed = feature.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    match bracketed {
        Some((name, suffix)) if !name.trim().is_empty() => {
            (name.trim_end(), if unit.is_empty() { suffix.trim() } else { unit })
        }
        _ => (feature, unit),
    }
}

fn with_unit(number: String, unit: &str) -> String {
    if unit.is_empty() { number } else { number + " " + unit }
}

/// `torque` becomes `Torque`. Names that are no plain word (`s2_mean`, `pH`) stay as the plant writes them.
fn capitalised(name: &str) -> Cow<'_, str> {
    let word = first_word(name);
    match word.chars().next() {
        Some(first) if word.chars().all(char::is_lowercase) => {
            Cow::Owned(first.to_uppercase().chain(name.chars().skip(1)).collect())
        }
        _ => Cow::Borrowed(name),
    }
}

/// `Tool wear` becomes `tool wear`, `RPM` and `T2` stay.
fn lowered(name: &str) -> Cow<'_, str> {
    let word = first_word(name);
    let mut chars = word.chars();
    match chars.next() {
        Some(first) if first.is_uppercase() && word.len() > 1 && chars.all(char::is_lowercase) => {
            Cow::Owned(first.to_lowercase().chain(name.chars().skip(1)).collect())
        }
        _ => Cow::Borrowed(name),
    }
}

fn first_word(name: &str) -> &str {
    name.split(char::is_whitespace).next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
