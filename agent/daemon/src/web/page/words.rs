//! Numbers and times as people read them.

use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::Language;
use maud::{Markup, html};

use crate::web::time::iso;
use crate::web::words::Words;

/// A sentence in which no line ends between a number and its percent sign.
pub(crate) fn unbroken(sentence: &str) -> String {
    sentence.replace(" %", "\u{a0}%")
}

/// A part of a hundred.
pub(crate) fn percent(percent: f64) -> String {
    if percent > 0.0 && percent < 1.0 { "< 1\u{a0}%".to_owned() } else { format!("{percent:.0}\u{a0}%") }
}

/// What somebody said, with a number written as in the language; records have them with a point.
pub(crate) fn numeral(text: &str, words: &Words) -> String {
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    if is_number && words.language == Language::German { text.replace('.', ",") } else { text.to_owned() }
}

/// A time, which scripts put into the viewer's own time zone.
pub(crate) fn when(at: Timestamp, words: &Words) -> Markup {
    html! { time datetime=(iso(at)) { (plain(at, words)) } }
}

/// What people read until their browser has put it into their own time zone.
pub(crate) fn plain(at: Timestamp, words: &Words) -> String {
    let format = match words.language {
        Language::English => "%Y-%m-%d %H:%M:%S UTC",
        Language::German => "%d.%m.%Y, %H:%M:%S UTC",
    };
    jiff::Timestamp::from_microsecond(at.as_micros())
        .map_or_else(|_| words.page.unknown_time.to_owned(), |time| time.strftime(format).to_string())
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
    fn numbers_that_people_said_are_written_as_in_the_language() {
        let german = Words::of(Language::German);
        assert_eq!((numeral("12.5", german), numeral("v1.4.x", german)), ("12,5".to_owned(), "v1.4.x".to_owned()));
        assert_eq!(numeral("12.5", Words::of(Language::English)), "12.5");
    }

    #[test]
    fn times_are_written_as_in_the_language() {
        let at = Timestamp::from_micros(1_763_765_400_123_456);
        assert_eq!(plain(at, Words::of(Language::English)), "2025-11-21 22:50:00 UTC");
        assert_eq!(plain(at, Words::of(Language::German)), "21.11.2025, 22:50:00 UTC");
        assert_eq!(plain(Timestamp::from_micros(i64::MAX), Words::of(Language::German)), "zu unbekannter Zeit");
    }
}
