//! Values that several kinds of source have in their configuration, checked as they are read.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use explaind_core::domain::units;
use serde::{Deserialize, Deserializer, de};

pub(super) use crate::address::Address;

/// Longest name of a source or signal, in bytes.
const LONGEST_NAME: usize = 128;

/// The name of a source or of one of its signals: never empty, without `/`, which joins the two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = if text.is_empty() {
            "is empty"
        } else if text.trim() != text {
            "begins or ends with a space"
        } else if text.contains('/') {
            "contains \"/\", which separates source from signal"
        } else if text.chars().any(char::is_control) {
            "contains a control character"
        } else if text.len() > LONGEST_NAME {
            "is longer than 128 bytes"
        } else {
            return Ok(Self(text));
        };
        Err(format!("the name \"{}\" {fault}; choose another", text.escape_debug()))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Reads a duration between a millisecond and a day: how often something is done.
pub(super) fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = units::parse_duration(&text).map_err(de::Error::custom)?;
    if duration < Duration::from_millis(1) || duration > Duration::from_secs(86_400) {
        return Err(de::Error::custom(format!("\"{text}\" is not between 1ms and 1d; write a duration like \"1s\"")));
    }
    Ok(duration)
}

/// A second: the default of most intervals.
pub(super) fn second() -> Duration {
    Duration::from_secs(1)
}

/// Makes a path from a configuration absolute: relative ones are relative to the configuration's folder.
pub(super) fn anchor(path: &mut PathBuf, base: &Path) {
    *path = base.join(&*path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_words_without_a_slash() {
        assert!(Name::try_from("Torque [Nm]".to_owned()).is_ok());
        for bad in ["", " a", "a ", "a/b", "a\nb", &"x".repeat(129)] {
            assert!(Name::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
