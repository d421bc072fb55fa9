//! Numbers and names as people read them.

use explaind_core::domain::alert::Priority;
use explaind_core::domain::feedback::Verdict;
use explaind_core::domain::time::Timestamp;
use maud::{Markup, html};

use crate::web::time::{iso, plain};

/// A sentence in which no line ends between a number and its percent sign.
pub(crate) fn unbroken(sentence: &str) -> String {
    sentence.replace(" %", "\u{a0}%")
}

/// A part of a hundred.
pub(crate) fn percent(percent: f64) -> String {
    if percent > 0.0 && percent < 1.0 { "< 1\u{a0}%".to_owned() } else { format!("{percent:.0}\u{a0}%") }
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
    fn percent_signs_stay_with_their_number() {
        assert_eq!(unbroken("Failure more than 99 % likely."), "Failure more than 99\u{a0}% likely.");
        assert_eq!(
            (percent(41.7), percent(0.2), percent(0.0)),
            ("42\u{a0}%".into(), "< 1\u{a0}%".into(), "0\u{a0}%".into())
        );
    }

    #[test]
    fn a_phrase_becomes_a_sentence() {
        assert_eq!(sentence("no alert has the id 7"), "No alert has the id 7.");
        assert_eq!(sentence(""), ".");
    }
}
