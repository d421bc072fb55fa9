//! Stops that people at central set: of a model everywhere, or of one gateway.
//!
//! In MLflow it is the tag `explaind.stop` of the registered model, or of the gateway's run; in a folder the file
//! `models/<name>/stop` or `<gateway>/stop`. Its text is the reason. What cannot be read is an error and never "no stop".

use super::{Registry, RegistryError, models::check_name};

/// The longest reason, in characters.
const LONGEST: usize = 300;

/// A stop that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// The model; `None` is the whole gateway.
    pub(crate) model: Option<String>,
    /// As it was written, in one line.
    pub(crate) reason: String,
}

impl Registry {
    /// The stops that are set now for a gateway and for these models.
    pub(crate) async fn stops(&self, gateway: &str, models: &[String]) -> Result<Vec<Stopped>, RegistryError> {
        models.iter().map(String::as_str).try_for_each(check_name)?;
        match self {
            Self::Directory(directory) => directory.stops(gateway, models).await,
            Self::Mlflow(mlflow) => mlflow.stops(gateway, models).await,
        }
    }
}

/// What a text says as a stop: its reason, or `None` for no stop.
pub(super) fn reason(text: &str) -> Option<String> {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = shown.split_whitespace().collect();
    match words.join(" ").to_lowercase().as_str() {
        "" | "false" => None,
        "true" => Some("no reason was given".to_owned()),
        _ => Some(words.join(" ").chars().take(LONGEST).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_stop_unless_it_is_empty_or_false() {
        for none in ["", " \n", "false", " False\n"] {
            assert_eq!(reason(none), None, "{none:?}");
        }
        assert_eq!(reason("true").as_deref(), Some("no reason was given"));
        assert_eq!(reason("bearings\u{1b}[2J\nreplaced").as_deref(), Some("bearings [2J replaced"));
        assert_eq!(reason(&"a".repeat(5_000)).map(|reason| reason.len()), Some(LONGEST));
    }
}
