//! What stands beside the picture of the reasons, and in the tables below it.

use super::catalogue::{Catalogue, fill};
use super::{Language, SURE, cause, number};
use crate::domain::prediction::Space;

/// Decimals beyond which nobody reads.
const MOST_DECIMALS: f64 = 9.0;

/// The words of a picture in a language. Minus signs are real ones, which screen readers speak.
#[derive(Debug, Clone, Copy)]
pub struct Picture(pub Language);

impl Picture {
    /// What bars to either side mean.
    pub fn legend(self, space: Space) -> String {
        let words = self.words();
        let space = match space {
            Space::Margin => words.the_margin,
            Space::Probability => words.the_probability,
            Space::Value => words.the_value,
        };
        fill(words.legend, &[("space", space)])
    }

    /// The usual range of a value, of which both ends are written already.
    pub fn usually(self, low: &str, high: &str) -> String {
        fill(self.words().usually, &[("low", &minus(low)), ("high", &minus(high))])
    }

    /// So many features that are summed up.
    pub fn more(self, count: usize) -> String {
        fill(self.words().more, &[("count", &count.to_string())])
    }

    /// What a share does to the output.
    pub fn direction(self, share: f64) -> &'static str {
        if share < 0.0 { self.words().lowers } else { self.words().raises }
    }

    /// From the base value to the output: what stands before the output, the output, and what stands after it.
    pub fn sum(self, base_value: f64, output: f64) -> [String; 3] {
        let number = |value| minus(&number(self.0, value));
        let (before, after) = self.words().sum.split_once("{output}").unwrap_or_default();
        [fill(before, &[("base", &number(base_value))]), number(output), after.to_owned()]
    }

    /// A share with its sign, to as many decimals as give the largest share of the picture three digits.
    pub fn share(self, value: f64, largest: f64) -> String {
        if !value.is_finite() {
            return self.words().no_number.to_owned();
        }
        let decimals =
            if largest > 0.0 { (2.0 - largest.log10().floor()).clamp(0.0, MOST_DECIMALS) as usize } else { 0 };
        let text = format!("{:.decimals$}", value.abs());
        if text.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
            return "0".to_owned();
        }
        let text = text.replace('.', self.words().decimal_point.encode_utf8(&mut [0; 4]));
        format!("{}{text}", if value < 0.0 { "\u{2212}" } else { "+" })
    }

    /// The same for an estimate: in brackets where it may be nothing.
    pub fn estimate(self, value: f64, standard_error: f64, largest: f64) -> String {
        let share = self.share(value, largest);
        if is_sure(value, standard_error) { share } else { format!("({share})") }
    }

    /// What the table of shares over time shows, of a window of so many measurements; `sure` when nothing in it is in
    /// brackets.
    pub fn over_time(self, measurements: u32, sure: bool) -> String {
        let words = self.words();
        let caption = fill(words.over_time, &[("last", &measurements.to_string())]);
        if sure { caption } else { format!("{caption} {}", words.in_brackets) }
    }

    /// What the table of a reconstruction's errors shows.
    pub fn errors(self) -> &'static str {
        self.words().errors
    }

    /// The heads of that table's columns.
    pub fn heads_of_errors(self) -> [&'static str; 3] {
        self.words().heads_of_errors
    }

    /// What stands in the picture's place while there is no explanation yet.
    pub fn pending(self) -> &'static str {
        self.words().pending
    }

    /// What stands in its place when the prediction was evicted.
    pub fn gone(self) -> &'static str {
        self.words().gone
    }

    /// What stands in its place when there will be none, for a reason.
    pub fn none(self, reason: Option<&str>) -> String {
        let words = self.words();
        let cause = reason.map_or_else(|| words.none_computed.to_owned(), |reason| cause(words, reason));
        fill(words.no_reasons, &[("reason", &cause)])
    }

    fn words(self) -> &'static Catalogue {
        self.0.catalogue()
    }
}

/// Whether an estimated share is more than what chance may make of nothing.
pub fn is_sure(value: f64, standard_error: f64) -> bool {
    standard_error == 0.0 || value.abs() > SURE * standard_error
}

/// The number with a real minus sign before it. What follows, such as a unit, keeps its hyphens.
pub fn minus(number: &str) -> String {
    number.strip_prefix('-').map_or_else(|| number.to_owned(), |number| format!("\u{2212}{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: Picture = Picture(Language::English);
    const GERMAN: Picture = Picture(Language::German);

    #[test]
    fn shares_carry_their_sign_and_the_decimal_point_of_the_language() {
        for (value, largest, english, german) in [
            (4.213, 4.213, "+4.21", "+4,21"),
            (-0.3, 4.2, "\u{2212}0.30", "\u{2212}0,30"),
            (0.004, 4.2, "0", "0"),
            (123.4, 123.4, "+123", "+123"),
            (-0.0004, 0.001, "\u{2212}0.00040", "\u{2212}0,00040"),
            (0.0, 0.0, "0", "0"),
            (f64::NAN, 1.0, "not a number", "keine Zahl"),
        ] {
            assert_eq!((ENGLISH.share(value, largest), GERMAN.share(value, largest)), (english.into(), german.into()));
        }
        assert_eq!(GERMAN.estimate(0.3, 0.2, 4.2), "(+0,30)");
        assert_eq!((GERMAN.estimate(0.5, 0.2, 4.2), GERMAN.estimate(0.0, 0.0, 4.2)), ("+0,50".into(), "0".into()));
    }

    #[test]
    fn the_words_beside_the_picture_are_in_one_language() {
        assert_eq!(ENGLISH.legend(Space::Margin), "What raised (right) or lowered (left) the raw score");
        assert_eq!(
            GERMAN.legend(Space::Probability),
            "Was die Wahrscheinlichkeit erhöht (rechts) oder gesenkt (links) hat"
        );
        assert_eq!(ENGLISH.usually("-3", "50.5"), "usually \u{2212}3 to 50.5");
        assert_eq!(GERMAN.usually("30", "50,5"), "üblich 30 bis 50,5");
        assert_eq!((ENGLISH.more(24), GERMAN.more(24)), ("24 more".to_owned(), "24 weitere".to_owned()));
        assert_eq!(ENGLISH.sum(-3.1, 2.59).concat(), "From \u{2212}3.1 on average to 2.59 here.");
        assert_eq!(GERMAN.sum(-3.1, 2.59).concat(), "Von \u{2212}3,1 im Mittel auf 2,59 hier.");
        assert_eq!((ENGLISH.direction(-1.0), GERMAN.direction(1.0)), ("lowers", "erhöht"));
        assert_eq!(ENGLISH.over_time(30, true), "Over time, by measurement: 1 is the oldest, 30 the newest.");
        assert!(GERMAN.over_time(30, false).ends_with("30 die neueste. In Klammern: vielleicht nichts."));
        assert_eq!(
            GERMAN.none(Some("no capacity; too many alerts came at once")),
            "Keine Gründe: zu viele Alarme kamen auf einmal."
        );
    }

    #[test]
    fn only_the_sign_of_a_number_becomes_a_minus() {
        assert_eq!((minus("-3 °C"), minus("A-7")), ("\u{2212}3 °C".to_owned(), "A-7".to_owned()));
    }
}
