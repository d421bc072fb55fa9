//! The `[feedback]` table of the configuration: what a site calls the things that go wrong there.

use serde::Deserialize;

/// Most causes, so that they fit on a card.
const MOST: usize = 40;
/// Longest cause, in characters: as long as one that is written freely.
const LONGEST: usize = super::feedback::LONGEST_WORD;

/// What people choose from when they say what it was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// In the site's words, the most frequent first.
    pub(crate) causes: Vec<String>,
}

impl Config {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// The key inside the table, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        if self.causes.len() > MOST {
            return Err((
                "causes".to_owned(),
                format!("may name at most {MOST} causes; people can write others freely"),
            ));
        }
        for (index, cause) in self.causes.iter().enumerate() {
            let wrong = |message: String| Err((format!("causes[{index}]"), message));
            if cause.trim() != cause || cause.is_empty() || cause.chars().any(char::is_control) {
                return wrong("write a cause as one line without blanks around it".to_owned());
            }
            if cause.chars().count() > LONGEST {
                return wrong(format!("may have at most {LONGEST} characters"));
            }
            if self.causes.iter().take(index).any(|other| other == cause) {
                return wrong(format!("\"{cause}\" is there twice; remove one"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_lines_that_differ() {
        let of = |causes: &[&str]| Config { causes: causes.iter().map(|&cause| cause.to_owned()).collect() };
        assert_eq!(of(&[]).check(), Ok(()));
        assert_eq!(of(&["Werkzeug verschlissen", "Sensor verschmutzt"]).check(), Ok(()));
        for (causes, key) in [
            (vec![""], "causes[0]"),
            (vec!["a", " b"], "causes[1]"),
            (vec!["two\nlines"], "causes[0]"),
            (vec!["a", "b", "a"], "causes[2]"),
            (vec!["x"; MOST + 1], "causes"),
        ] {
            assert_eq!(of(&causes).check().unwrap_err().0, key);
        }
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(of(&[&long]).check().unwrap_err().0, "causes[0]");
        assert!(toml::from_str::<Config>("cause = []").is_err());
    }
}
