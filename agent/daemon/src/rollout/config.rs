//! `[[model]]`, and what `[registry]` says of models.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::units;
use serde::Deserialize;

use super::judge::Promotion;

/// The shortest time between two looks at the registry.
const SHORTEST_POLL: Duration = Duration::from_secs(1);
/// Less memory than this does not even load the program.
const LEAST_MEMORY: u64 = 64 << 20;

/// `[[model]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Its name for assets.
    pub(crate) name: Arc<str>,
    /// A bundle's folder.
    pub(crate) bundle: Option<PathBuf>,
    /// Or an alias in the registry, to be followed.
    pub(crate) alias: Option<String>,
    /// The model's name in the registry; absent: the same.
    pub(crate) registered_as: Option<String>,
    /// The alias of a bundle that runs beside it.
    pub(crate) challenger: Option<String>,
    /// The assets on which the challenger decides.
    #[serde(default)]
    pub(crate) canary: BTreeSet<Arc<str>>,
    /// When the challenger takes its place by itself.
    pub(crate) promotion: Option<Promotion>,
    /// The memory that checking a bundle may take.
    #[serde(default = "memory", with = "units::bytes")]
    pub(crate) memory: u64,
    /// What one prediction may take.
    #[serde(default = "latency", with = "units::duration")]
    pub(crate) latency: Duration,
    /// For how long a new bundle is watched before it has proved itself.
    #[serde(default = "trial", with = "units::duration")]
    pub(crate) trial: Duration,
}

fn memory() -> u64 {
    256 << 20
}

fn latency() -> Duration {
    Duration::from_secs(1)
}

fn trial() -> Duration {
    Duration::from_secs(600)
}

impl Config {
    /// Says what makes no sense, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, message: &str| Err((key.to_owned(), message.to_owned()));
        match (&self.bundle, &self.alias) {
            (Some(_), Some(_)) => {
                return wrong(
                    "alias",
                    "a model is a local folder or is followed in the registry; keep bundle or alias",
                );
            }
            (None, None) => return wrong("", "needs either bundle, a folder, or alias, a name in the registry"),
            (Some(_), None) => {
                let followed = [
                    ("registered_as", self.registered_as.is_some()),
                    ("challenger", self.challenger.is_some()),
                    ("canary", !self.canary.is_empty()),
                    ("promotion", self.promotion.is_some()),
                ];
                if let Some((key, _)) = followed.into_iter().find(|(_, given)| *given) {
                    return wrong(
                        key,
                        "is for models that are followed in the registry; write alias in place of bundle",
                    );
                }
            }
            (None, Some(alias)) => {
                if self.challenger.as_ref() == Some(alias) {
                    return wrong("challenger", "is the alias of the champion; name another");
                }
            }
        }
        if self.challenger.is_none() {
            if !self.canary.is_empty() {
                return wrong("canary", "there is no challenger to decide there; name its alias with challenger");
            }
            if self.promotion.is_some() {
                return wrong("promotion", "there is no challenger to promote; name its alias with challenger");
            }
        }
        if let Some(promotion) = &self.promotion {
            promotion.check().map_err(|(key, message)| (format!("promotion.{key}"), message))?;
        }
        if self.memory < LEAST_MEMORY {
            return wrong("memory", "is less than checking a bundle takes at all; write at least \"64MiB\"");
        }
        if self.latency.is_zero() {
            return wrong("latency", "must be longer than nothing; write one like \"1s\"");
        }
        Ok(())
    }

    /// The model's name in the registry.
    pub(crate) fn registered(&self) -> &str {
        self.registered_as.as_deref().unwrap_or(&self.name)
    }
}

/// What `[registry]` says of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Following {
    /// How often aliases are looked at.
    pub(crate) poll: Duration,
    /// The public keys of minisign of which one must have signed a bundle, as text; empty: unsigned ones are accepted.
    pub(crate) keys: Vec<String>,
}

impl Default for Following {
    fn default() -> Self {
        Self { poll: Duration::from_secs(60), keys: Vec::new() }
    }
}

impl Following {
    /// Says what makes no sense, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        match self.poll < SHORTEST_POLL {
            true => Err(("poll", "must be at least \"1s\"".to_owned())),
            false => Ok(()),
        }
    }
}
