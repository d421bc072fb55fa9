//! `[[model]]`, what `[registry]` says of models, and how both fit to the rest.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::units;
use explaind_core::model::signature::PublicKey;
use serde::Deserialize;
use toml::{Table, Value};

use super::read::join;
use super::{Asset, ConfigError, Reader};
use crate::rollout;

/// Keys of `[registry]` that say of models, and not where it is.
pub(super) const FOLLOWING: [&str; 2] = ["poll", "trusted_keys"];
/// What `[registry]` says beside where it is: of the models that come from there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFollowing {
    #[serde(default, with = "units::duration_option")]
    poll: Option<Duration>,
    #[serde(default)]
    trusted_keys: Vec<PathBuf>,
}

/// The largest file with a public key: the key and a comment.
const LARGEST_KEY: u64 = 4096;

impl Reader {
    pub(super) fn models(&self) -> Result<Vec<rollout::Config>, ConfigError> {
        let mut models: Vec<rollout::Config> = Vec::new();
        for (key, mut table) in self.entries("model")? {
            self.absolute(&mut table, &["bundle"]);
            let model: rollout::Config = self.layers.parse(&key, Value::Table(table))?;
            self.check_name(&join(&key, "name"), &model.name)?;
            model.check().map_err(|(path, message)| self.layers.problem(&join(&key, &path), message))?;
            self.check_unique(&join(&key, "name"), &model.name, models.iter().map(|other| &*other.name))?;
            models.push(model);
        }
        Ok(models)
    }

    /// Reads what `[registry]` says of models, and the keys that it names.
    pub(super) fn following(&self, table: Option<&Value>) -> Result<rollout::Following, ConfigError> {
        let mut own = Table::new();
        for key in FOLLOWING {
            own.extend(table.and_then(|table| table.get(key)).map(|value| (key.to_owned(), value.clone())));
        }
        let raw: RawFollowing = self.layers.parse("registry", Value::Table(own))?;
        let mut following = rollout::Following::default();
        following.poll = raw.poll.unwrap_or(following.poll);
        for (index, path) in raw.trusted_keys.iter().enumerate() {
            let (key, path) = (format!("registry.trusted_keys[{index}]"), self.base.join(path));
            let mut text = String::new();
            let read = File::open(&path).and_then(|file| file.take(LARGEST_KEY).read_to_string(&mut text));
            read.map_err(|error| self.layers.problem(&key, format!("{}: {error}", path.display())))?;
            PublicKey::parse(&text)
                .map_err(|reason| self.layers.problem(&key, format!("{}: {reason}", path.display())))?;
            following.keys.push(text);
        }
        following.check().map_err(|(key, message)| self.layers.problem(&format!("registry.{key}"), message))?;
        Ok(following)
    }

    /// What only shows when models, assets and the registry are seen together.
    pub(super) fn check_models(
        &self,
        models: &[rollout::Config],
        assets: &[Asset],
        registry: bool,
    ) -> Result<(), ConfigError> {
        for (index, model) in models.iter().enumerate() {
            let key = format!("model[{index}]");
            if model.alias.is_some() && !registry {
                let message = "there is no [registry] to follow it in; add the table, or name a folder with bundle";
                return Err(self.layers.problem(&join(&key, "alias"), message));
            }
            let watched = |name: &Arc<str>| {
                assets.iter().any(|asset| asset.id == *name && asset.model.as_ref() == Some(&model.name))
            };
            if let Some(stray) = model.canary.iter().find(|name| !watched(name)) {
                let message = format!("no [[asset]] \"{stray}\" has the model \"{}\"", model.name);
                return Err(self.layers.problem(&join(&key, "canary"), message));
            }
        }
        Ok(())
    }
}
