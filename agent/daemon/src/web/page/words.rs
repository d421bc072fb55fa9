//! Numbers and names as people read them.

use explaind_core::domain::alert::{AlarmState, Priority};
use explaind_core::domain::feedback::Verdict;
use explaind_core::domain::prediction::Space;
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::{self, Language};
use maud::{Markup, html};

use crate::web::time::{iso, plain};

/// A number with about three significant digits.
pub(crate) fn number(value: f64) -> String {
    minus(&words::number(Language::English, value))
}

/// A real minus sign, which screen readers speak.
pub(crate) fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

/// A share with its sign, to as many decimals as give the largest share of the picture three digits.
pub(crate) fn share(value: f64, largest: f64) -> String {
    if !value.is_finite() {
        return "not a number".to_owned();
    }
    let decimals = if largest > 0.0 { (2.0 - largest.log10().floor()).clamp(0.0, 9.0) as usize } else { 0 };
    let text = format!("{:.decimals$}", value.abs());
    if text.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        return "0".to_owned();
    }
    format!("{}{text}", if value < 0.0 { "\u{2212}" } else { "+" })
}

/// A priority as a word.
pub(crate) fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "Low",
        Priority::Medium => "Medium",
        Priority::High => "High",
        Priority::Critical => "Critical",
    }
}

/// A state in few words.
pub(crate) fn state(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Unacknowledged => "Not seen yet",
        AlarmState::Acknowledged => "Acknowledged",
        AlarmState::ReturnedUnacknowledged => "Back to normal, not seen yet",
        AlarmState::Normal => "Closed",
    }
}

/// A verdict as the buttons name it.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Confirm => "Right",
        Verdict::Reject => "False alarm",
        Verdict::Correct => "Something else",
        Verdict::Unsure => "Unsure",
        Verdict::Missed => "Missed",
    }
}

/// What the figures of an explanation are.
pub(crate) fn space(space: Space) -> &'static str {
    match space {
        Space::Margin => "raw score",
        Space::Probability => "probability",
        Space::Value => "model output",
    }
}

/// A phrase as a sentence: a capital in front, a full stop at the end.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut sentence: String =
        chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

/// A time, which scripts put into the viewer's own time zone.
pub(crate) fn when(at: Timestamp) -> Markup {
    html! { time datetime=(iso(at)) { (plain(at)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_carry_their_sign() {
        for (value, largest, text) in [
            (4.213, 4.213, "+4.21"),
            (-0.3, 4.2, "\u{2212}0.30"),
            (0.004, 4.2, "0"),
            (123.4, 123.4, "+123"),
            (-0.0004, 0.001, "\u{2212}0.00040"),
            (0.0, 0.0, "0"),
            (f64::NAN, 1.0, "not a number"),
        ] {
            assert_eq!(share(value, largest), text);
        }
    }

    #[test]
    fn a_phrase_becomes_a_sentence() {
        assert_eq!(sentence("no alert has the id 7"), "No alert has the id 7.");
        assert_eq!(sentence(""), ".");
    }
}
