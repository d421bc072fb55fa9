//! One feature's value in words, with the digits that the sentence gives it.

use super::number::{self, InRange};
use super::{Language, capitalised, name_and_unit, with_unit};
use crate::domain::explanation::Attribution;

/// What a picture of the reasons writes beside a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The feature's name without its unit.
    pub name: String,
    /// The value with its unit, or its category.
    pub value: String,
    /// The ends of the usual range; absent for categories and where nothing is known.
    pub usual: Option<(String, String)>,
}

/// Writes a feature's value and its usual range as [`sentence`](super::sentence) does.
pub fn measured(language: Language, attribution: &Attribution) -> Measured {
    let point = language.catalogue().decimal_point;
    let (name, unit) = name_and_unit(&attribution.feature, &attribution.unit);
    let name = capitalised(name).into_owned();
    if let Some(category) = &attribution.category {
        return Measured { name, value: category.to_string(), usual: None };
    }
    let (low, high) = attribution.usual;
    if attribution.input.is_nan() || low.is_nan() || high.is_nan() {
        return Measured { name, value: with_unit(number::alone(attribution.input, point), unit), usual: None };
    }
    let shown = InRange::new(attribution.input, attribution.usual, point);
    Measured { name, value: with_unit(shown.value, unit), usual: Some((shown.low, shown.high)) }
}

/// A feature's name as a picture writes it, and its unit: the manifest's, or else the one that the name has in brackets.
pub fn named(feature: &str, unit: &str) -> (String, String) {
    let (name, unit) = name_and_unit(feature, unit);
    (capitalised(name).into_owned(), unit.to_owned())
}

/// A number that stands alone, with about three significant digits.
pub fn number(language: Language, number: f64) -> String {
    number::alone(number, language.catalogue().decimal_point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_the_digits_of_the_sentence() {
        let mut attribution = Attribution {
            feature: "Torque [Nm]".into(),
            value: 4.2,
            standard_error: 0.0,
            input: 65.234,
            unit: "".into(),
            usual: (30.1, 50.2),
            category: None,
            intervals: Vec::new(),
            error: None,
        };
        let shown = measured(Language::English, &attribution);
        assert_eq!((shown.name.as_str(), shown.value.as_str()), ("Torque", "65 Nm"));
        assert_eq!(shown.usual, Some(("30".to_owned(), "50".to_owned())));
        assert_eq!(named("torque [Nm]", ""), ("Torque".to_owned(), "Nm".to_owned()));
        attribution.category = Some("high".into());
        assert_eq!(measured(Language::English, &attribution).value, "high");
        attribution = Attribution { category: None, usual: (f64::NAN, 1.0), ..attribution };
        assert_eq!(measured(Language::English, &attribution).usual, None);
    }
}
