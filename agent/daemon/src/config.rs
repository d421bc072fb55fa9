//! Reads TOML, composes each part's own `Config`, and checks what only shows when they are seen together.

mod models;
mod publish;
pub(crate) mod read;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::alert::{GATEWAY, Priority};
use explaind_core::domain::sample::SignalId;
use explaind_core::domain::units;
use explaind_core::model::manifest::Threshold;
use explaind_core::pipeline::{ActiveWhen, Fallback, Trigger};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

pub(crate) use self::read::ConfigError;
use self::read::{Layers, join};
use crate::{buffer, registry, rollout, source, sync, web};

/// Where the service looks when no `--config` is given.
pub(crate) const DEFAULT_PATH: &str = "/etc/explaind/explaind.toml";
/// The tables that a configuration may have.
const SECTIONS: [&str; 10] =
    ["asset", "buffer", "feedback", "gateway", "model", "publish", "registry", "source", "sync", "web"];
/// The shortest interval at which an asset is predicted.
const SHORTEST_EVERY: Duration = Duration::from_millis(10);

/// `[gateway]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    /// The name under which central knows this gateway.
    pub(crate) id: String,
    /// Where everything that must survive a restart lives.
    pub(crate) state_dir: PathBuf,
    /// The Unix socket for the terminal; by default `explaind.sock` in the state folder.
    #[serde(default)]
    pub(crate) socket: PathBuf,
    /// Log lines as JSON, for collectors.
    #[serde(default)]
    pub(crate) log_json: bool,
}

impl Gateway {
    /// Reads only this table, for verbs that look for the running daemon: they need not be allowed to read the rest.
    ///
    /// # Errors
    /// The first problem found.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Reader::open(path)?.gateway()
    }
}

/// What verbs need that work on the store itself, while no daemon runs. The sources and models need not be in order.
pub(crate) struct Home {
    pub(crate) gateway: Gateway,
    pub(crate) buffer: buffer::Config,
    pub(crate) sync: sync::Config,
    /// SHA-256 of the effective configuration.
    pub(crate) digest: String,
}

impl Home {
    /// Reads these tables.
    ///
    /// # Errors
    /// The first problem found.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let reader = Reader::open(path)?;
        Ok(Self {
            gateway: reader.gateway()?,
            buffer: reader.checked("buffer", |config: &buffer::Config| config.check())?,
            sync: reader.checked("sync", |config: &sync::Config| config.check().map_err(own))?,
            digest: reader.digest(),
        })
    }
}

/// Reads `[registry]` alone, for verbs that run where there is no gateway.
///
/// # Errors
/// The first problem found; that the table is missing is one.
pub(crate) fn registry(path: &Path) -> Result<registry::Config, ConfigError> {
    let reader = Reader::open(path)?;
    let none =
        || reader.layers.problem("registry", "there is no registry; add the table, or name one on the command line");
    reader.registry_if_any()?.ok_or_else(none)
}

/// The same where there may be none.
///
/// # Errors
/// The first problem found.
pub(crate) fn registry_if_any(path: &Path) -> Result<Option<registry::Config>, ConfigError> {
    Reader::open(path)?.registry_if_any()
}

/// `[[asset]]`
#[derive(Debug, Clone)]
pub(crate) struct Asset {
    /// The machine's name.
    pub(crate) id: Arc<str>,
    /// The model that watches it; absent: its samples are kept, and nothing is predicted.
    pub(crate) model: Option<Arc<str>>,
    /// When it is predicted.
    pub(crate) trigger: Trigger,
    /// When it counts as running.
    pub(crate) active_when: Option<ActiveWhen>,
    /// Feature to signal.
    pub(crate) inputs: BTreeMap<String, SignalId>,
    /// What stands in while no model can run.
    pub(crate) fallback: Option<Fallback>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAsset {
    id: String,
    model: Option<String>,
    #[serde(default)]
    pass_through: bool,
    #[serde(default, with = "units::duration_option")]
    every: Option<Duration>,
    on: Option<String>,
    active_when: Option<RawActive>,
    inputs: BTreeMap<String, String>,
    fallback: Option<RawFallback>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFallback {
    when: Vec<RawActive>,
    priority: Priority,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawActive {
    signal: String,
    above: Option<f64>,
    below: Option<f64>,
}

/// A configuration that holds together.
pub(crate) struct Settings {
    pub(crate) gateway: Gateway,
    pub(crate) sources: Vec<source::Config>,
    pub(crate) assets: Vec<Asset>,
    pub(crate) models: Vec<rollout::Config>,
    pub(crate) following: rollout::Following,
    pub(crate) registry: Option<registry::Config>,
    pub(crate) sync: sync::Config,
    pub(crate) buffer: buffer::Config,
    pub(crate) web: web::Config,
    /// What people choose from when they say what it was.
    pub(crate) feedback: web::Feedback,
    /// Absent: results go to no broker.
    pub(crate) publish: Option<crate::publish::Config>,
    /// SHA-256 of the effective configuration.
    pub(crate) digest: String,
    layers: Layers,
}

impl Settings {
    /// Reads and checks the configuration at `path`, with its fragments and the environment's overrides.
    ///
    /// # Errors
    /// The first problem found, with file, line and key.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Reader::open(path)?.settings()
    }

    /// An error about a key, with the place where it stands.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.layers.problem(key, message)
    }

    /// All signals of all sources.
    pub(crate) fn signals(&self) -> Vec<source::SignalInfo> {
        self.sources.iter().flat_map(source::Config::signals).collect()
    }
}

fn own((key, message): (&str, String)) -> (String, String) {
    (key.to_owned(), message)
}

struct Reader {
    layers: Layers,
    base: PathBuf,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, ConfigError> {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let layers = Layers::read(path, environment)?;
        // A bare file name has the empty path as its parent.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Ok(Self { layers, base })
    }

    fn settings(self) -> Result<Settings, ConfigError> {
        let merged = self.layers.merged();
        if let Some(unknown) = merged.keys().find(|key| !SECTIONS.contains(&key.as_str())) {
            let message = format!("there is no such table; known are {}", SECTIONS.join(", "));
            return Err(self.layers.problem(unknown, message));
        }
        let gateway = self.gateway()?;
        let sources = self.sources()?;
        let models = self.models()?;
        let assets = self.assets(&sources, &models)?;
        let registry = merged.get("registry").map(|table| self.registry(table.clone())).transpose()?;
        let following = self.following(merged.get("registry"))?;
        self.check_models(&models, &assets, registry.is_some())?;
        let publish = self.publish()?;
        let digest = self.digest();
        Ok(Settings {
            gateway,
            sources,
            assets,
            models,
            following,
            registry,
            sync: self.checked("sync", |config: &sync::Config| config.check().map_err(own))?,
            buffer: self.checked("buffer", buffer::Config::check)?,
            web: self.web()?,
            feedback: self.checked("feedback", web::Feedback::check)?,
            publish,
            digest,
            layers: self.layers,
        })
    }

    fn web(&self) -> Result<web::Config, ConfigError> {
        let check = |config: &web::Config| config.check().map_err(|error| (error.key, error.message));
        let mut config = self.checked("web", check)?;
        config.resolve(&self.base);
        Ok(config)
    }

    /// SHA-256 of the effective configuration.
    fn digest(&self) -> String {
        let text = toml::to_string(self.layers.merged()).unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn registry_if_any(&self) -> Result<Option<registry::Config>, ConfigError> {
        self.layers.merged().get("registry").map(|table| self.registry(table.clone())).transpose()
    }

    fn registry(&self, mut table: Value) -> Result<registry::Config, ConfigError> {
        for key in models::FOLLOWING {
            table.as_table_mut().and_then(|table| table.remove(key));
        }
        let kind = table.as_table_mut().and_then(|table| table.remove("type"));
        let mut config = match kind.as_ref().and_then(Value::as_str) {
            Some("directory") => registry::Config::Directory(self.layers.parse("registry", table)?),
            Some("mlflow") => registry::Config::Mlflow(self.layers.parse("registry", table)?),
            other => {
                let given =
                    other.map_or_else(|| "the type is missing".to_owned(), |kind| format!("\"{kind}\" is unknown"));
                let message = format!("{given}; write \"mlflow\" or \"directory\"");
                return Err(self.layers.problem("registry.type", message));
            }
        };
        config.resolve(&self.base);
        config.check().map_err(|(key, message)| self.layers.problem(&format!("registry.{key}"), message))?;
        Ok(config)
    }

    /// Reads a table that may be absent; keys named in `paths` are made absolute first.
    fn section<T: DeserializeOwned>(&self, key: &str, paths: &[&str]) -> Result<T, ConfigError> {
        let mut value = self.layers.merged().get(key).cloned().unwrap_or_else(|| Value::Table(Table::new()));
        if let Some(table) = value.as_table_mut() {
            self.absolute(table, paths);
        }
        self.layers.parse(key, value)
    }

    fn absolute(&self, table: &mut Table, keys: &[&str]) {
        for key in keys {
            if let Some(Value::String(path)) = table.get_mut(*key) {
                *path = self.base.join(&*path).to_string_lossy().into_owned();
            }
        }
    }

    fn gateway(&self) -> Result<Gateway, ConfigError> {
        let mut gateway: Gateway = self.section("gateway", &["state_dir", "socket"])?;
        self.check_name("gateway.id", &gateway.id)?;
        if gateway.socket.as_os_str().is_empty() {
            gateway.socket = gateway.state_dir.join("explaind.sock");
        }
        Ok(gateway)
    }

    /// Reads a table that may be absent, and asks the part that owns it whether it makes sense.
    fn checked<T: DeserializeOwned>(
        &self,
        key: &str,
        check: impl Fn(&T) -> Result<(), (String, String)>,
    ) -> Result<T, ConfigError> {
        let config: T = self.section(key, &[])?;
        check(&config).map_err(|(path, message)| self.layers.problem(&join(key, &path), message))?;
        Ok(config)
    }

    /// The entries of an array of tables, each with its key.
    fn entries(&self, name: &str) -> Result<Vec<(String, Table)>, ConfigError> {
        let refuse = |key: &str| self.layers.problem(key, format!("must be an array of tables; write [[{name}]]"));
        let Some(value) = self.layers.merged().get(name) else {
            return Ok(Vec::new());
        };
        let items = value.as_array().ok_or_else(|| refuse(name))?;
        let entries = items.iter().enumerate().map(|(index, item)| {
            let key = format!("{name}[{index}]");
            item.as_table().cloned().map(|table| (key.clone(), table)).ok_or_else(|| refuse(&key))
        });
        entries.collect()
    }

    fn sources(&self) -> Result<Vec<source::Config>, ConfigError> {
        let mut sources: Vec<source::Config> = Vec::new();
        for (key, table) in self.entries("source")? {
            let place = |error: source::ConfigError| self.layers.problem(&join(&key, &error.path), error.message);
            let config = source::Config::parse(table, &self.base).map_err(place)?;
            config.check().map_err(place)?;
            self.check_unique(&join(&key, "name"), &config.name, sources.iter().map(|other| other.name.as_str()))?;
            sources.push(config);
        }
        if sources.is_empty() {
            return Err(self.layers.problem("source", "there is no source; add a [[source]] to read from"));
        }
        Ok(sources)
    }

    fn assets(&self, sources: &[source::Config], models: &[rollout::Config]) -> Result<Vec<Asset>, ConfigError> {
        let signals: HashSet<SignalId> =
            sources.iter().flat_map(source::Config::signals).map(|signal| signal.id).collect();
        let mut assets: Vec<Asset> = Vec::new();
        for (key, table) in self.entries("asset")? {
            let raw: RawAsset = self.layers.parse(&key, Value::Table(table))?;
            let asset = self.asset(&key, raw, &signals)?;
            self.check_unique(&join(&key, "id"), &asset.id, assets.iter().map(|other| &*other.id))?;
            if let Some(name) = asset.model.as_ref().filter(|name| !models.iter().any(|model| model.name == **name)) {
                let message = format!("no [[model]] is named \"{name}\"; add it, or name one that is there");
                return Err(self.layers.problem(&join(&key, "model"), message));
            }
            assets.push(asset);
        }
        Ok(assets)
    }

    fn asset(&self, key: &str, raw: RawAsset, signals: &HashSet<SignalId>) -> Result<Asset, ConfigError> {
        self.check_name(&join(key, "id"), &raw.id)?;
        if raw.id == GATEWAY {
            let message = format!("\"{GATEWAY}\" names the gateway itself; choose another id");
            return Err(self.layers.problem(&join(key, "id"), message));
        }
        let known = |path: String, name: &str| {
            let id = SignalId::from(name);
            if signals.contains(&id) {
                return Ok(id);
            }
            let message = format!("there is no signal \"{name}\"; name one as source/signal that a [[source]] has");
            Err(self.layers.problem(&path, message))
        };
        let trigger = match (raw.every, &raw.on) {
            (Some(every), None) if every >= SHORTEST_EVERY => Trigger::Every(every),
            (Some(_), None) => return Err(self.layers.problem(&join(key, "every"), "must be at least \"10ms\"")),
            (None, Some(signal)) => Trigger::On(known(join(key, "on"), signal)?),
            _ => return Err(self.layers.problem(key, "needs either every, an interval, or on, a signal; not both")),
        };
        let condition = |path: String, RawActive { signal, above, below }: RawActive| {
            let threshold = match (above, below) {
                (Some(above), None) if above.is_finite() => Threshold::Above(above),
                (None, Some(below)) if below.is_finite() => Threshold::Below(below),
                _ => return Err(self.layers.problem(&path, "needs either above or below, a finite number")),
            };
            Ok(ActiveWhen { signal: known(join(&path, "signal"), &signal)?, threshold })
        };
        let active_when = raw.active_when.map(|raw| condition(join(key, "active_when"), raw)).transpose()?;
        let fallback = match raw.fallback {
            None => None,
            Some(_) if raw.pass_through => {
                let message = "pass_through predicts nothing and raises nothing; remove one of the two";
                return Err(self.layers.problem(&join(key, "fallback"), message));
            }
            Some(RawFallback { when, .. }) if when.is_empty() => {
                let message = "names no condition; write when = [{ signal = \"source/signal\", above = 80.0 }]";
                return Err(self.layers.problem(&join(key, "fallback.when"), message));
            }
            Some(RawFallback { when, priority }) => {
                let path = |index| join(key, &format!("fallback.when[{index}]"));
                let conditions = when.into_iter().enumerate().map(|(index, raw)| condition(path(index), raw));
                Some(Fallback { conditions: conditions.collect::<Result<_, _>>()?, priority })
            }
        };
        let mut inputs = BTreeMap::new();
        for (feature, signal) in raw.inputs {
            let path = format!("{key}.inputs.\"{feature}\"");
            inputs.insert(feature, known(path, &signal)?);
        }
        let model = match (raw.model, raw.pass_through) {
            (Some(model), false) => Some(model.into()),
            (None, true) if !inputs.is_empty() => None,
            (None, true) => {
                let message = "with pass_through these are what is kept; name at least one signal";
                return Err(self.layers.problem(&join(key, "inputs"), message));
            }
            _ => {
                let message = "needs either model, by its name, or pass_through = true to keep samples only; not both";
                return Err(self.layers.problem(key, message));
            }
        };
        Ok(Asset { id: raw.id.into(), model, trigger, active_when, inputs, fallback })
    }

    /// Names become parts of paths, topics and labels.
    fn check_name(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.is_empty() && name.len() <= 64 && name.chars().all(fits) && !name.starts_with('.') {
            return Ok(());
        }
        let message =
            format!("\"{name}\" is no name; use 1 to 64 letters, digits, '-', '_' and '.', not starting with '.'");
        Err(self.layers.problem(key, message))
    }

    fn check_unique<'a>(
        &self,
        key: &str,
        name: &str,
        mut others: impl Iterator<Item = &'a str>,
    ) -> Result<(), ConfigError> {
        if others.any(|other| other == name) {
            return Err(self.layers.problem(key, format!("the name \"{name}\" is used twice; choose another")));
        }
        Ok(())
    }
}
