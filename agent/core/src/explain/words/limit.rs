//! Beyond which limit an output was, as the record of an alert has it, in somebody's language.

use super::Language;
use super::catalogue::fill;

/// `probability 0.9924 above 0.36` becomes `Wahrscheinlichkeit 0,9924, über 0,36.`, and `plc/torque = 85, above 80` becomes
/// `plc/torque ist 85, über 80.` `None` for anything else.
pub fn limit(language: Language, reason: &str) -> Option<String> {
    let words = language.catalogue();
    let (before, above, limit) = match (reason.rsplit_once(" above "), reason.rsplit_once(" below ")) {
        (Some((before, limit)), None) => (before, true, limit),
        (None, Some((before, limit))) => (before, false, limit),
        _ => return None,
    };
    let (what, value) = match before.strip_suffix(',') {
        Some(rule) => rule.rsplit_once(" = ")?,
        None => before.split_once(' ')?,
    };
    let is_rule = before.ends_with(',');
    let phrase = match (what, is_rule, above) {
        ("probability", false, true) => words.probability_above,
        ("probability", false, false) => words.probability_below,
        ("output", false, true) => words.output_above,
        ("output", false, false) => words.output_below,
        (_, true, true) => words.signal_above,
        (_, true, false) => words.signal_below,
        _ => return None,
    };
    let number =
        |text: &str| text.parse::<f64>().ok().map(|_| text.replace('.', words.decimal_point.encode_utf8(&mut [0; 4])));
    Some(fill(phrase, &[("what", what), ("value", &number(value)?), ("limit", &number(limit)?)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_records_say_of_limits_is_said_in_both_languages() {
        for (reason, english, german) in [
            (
                "probability 0.9924 above 0.36",
                "Probability 0.9924, above 0.36.",
                "Wahrscheinlichkeit 0,9924, über 0,36.",
            ),
            ("output 18.2500 below 20", "Output 18.2500, below 20.", "Ausgabe 18,2500, unter 20."),
            ("plc/torque = 85, above 80.5", "plc/torque is 85, above 80.5.", "plc/torque ist 85, über 80,5."),
            ("a = b/c = -1, below 0", "a = b/c is -1, below 0.", "a = b/c ist -1, unter 0."),
        ] {
            assert_eq!(limit(Language::English, reason).as_deref(), Some(english));
            assert_eq!(limit(Language::German, reason).as_deref(), Some(german));
        }
        for other in
            ["5 bytes are kept and 4 are allowed", "above 3", "torque much above normal", "", "output x above 3"]
        {
            assert_eq!(limit(Language::German, other), None, "{other}");
        }
    }
}
