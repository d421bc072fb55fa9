//! Stops that people at central set: of a model everywhere, or of one gateway.
//!
//! In MLflow it is the tag `explaind.stop` of the registered model, or of the gateway's run; in a folder the file
//! `models/<name>/stop` or `<gateway>/stop`. Its text is the reason. What cannot be read is an error and never "no stop"; each
//! is asked for by itself, so that one that cannot be read hides no other.

use super::{Registry, RegistryError, models::check_name};

/// The longest reason, in characters.
const LONGEST: usize = 300;

impl Registry {
    /// Why a gateway, or one model, is stopped now, in one line; `None` where it is not.
    pub(crate) async fn stop(&self, gateway: &str, model: Option<&str>) -> Result<Option<String>, RegistryError> {
        model.map_or(Ok(()), check_name)?;
        match self {
            Self::Directory(directory) => directory.stop(gateway, model).await,
            Self::Mlflow(mlflow) => mlflow.stop(gateway, model).await,
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
