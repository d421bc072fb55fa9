//! What central offers: the place that batches go to and that models come from.
//!
//! Paths inside it are relative, with `/` between their parts: `line-3/alerts/date=2026-11-21/1-40.parquet`. Beside a
//! gateway's streams stands which store may write there: in a folder as `line-3/store.json`, in MLflow as tags of the
//! gateway's run.

mod directory;
mod http;
mod mlflow;
pub(crate) mod models;
mod pull;
mod sent;
pub(crate) mod stops;
mod upload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use explaind_core::domain::record::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use directory::Config as DirectoryConfig;
use directory::Directory;
pub(crate) use mlflow::Config as MlflowConfig;
use mlflow::Mlflow;

/// `[registry]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Config {
    /// A folder, local or on a share.
    Directory(DirectoryConfig),
    /// An MLflow tracking server.
    Mlflow(Box<MlflowConfig>),
}

impl Config {
    /// Makes relative paths absolute.
    pub(crate) fn resolve(&mut self, base: &Path) {
        match self {
            Self::Directory(config) => config.path = base.join(&config.path),
            Self::Mlflow(config) => config.resolve(base),
        }
    }

    /// Says what makes no sense, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Mlflow(config) => config.check(),
        }
    }
}

/// The registry that is configured. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Registry {
    /// A folder.
    Directory(Directory),
    /// An MLflow tracking server.
    Mlflow(Mlflow),
}

/// A figure about a gateway, for whoever watches a fleet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Letters, digits, `_` and `/`.
    pub(crate) name: String,
    /// Its value now.
    pub(crate) value: f64,
}

/// What putting something did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there now.
    Stored,
    /// The same content was there already.
    AlreadyThere,
}

/// Which store a gateway's folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StoreMark {
    /// The gateway's name.
    pub(crate) gateway: String,
    /// The store that writes there.
    pub(crate) store_id: Uuid,
    /// The stores that wrote there before, the last one last.
    #[serde(default)]
    pub(crate) predecessors: Vec<Uuid>,
    /// On a medium: other stores that its batches have records of, since a store may have lived under other ids before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) records_of: Vec<Uuid>,
}

/// First and last number of each batch, by stream.
pub(crate) type Batches = BTreeMap<Stream, Vec<(u64, u64)>>;

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// Something else has the name already. Nothing was changed.
    #[error("the registry has other content under {path}; it was left as it is")]
    Conflict {
        /// The name.
        path: String,
    },
    /// A name that could lead out of the registry.
    #[error("\"{path}\" is no path inside a registry; use letters, digits, dots, dashes and underscores for names")]
    Name {
        /// The name.
        path: String,
    },
    /// It does not answer, or refuses.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// In a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A server does not answer, or refuses.
    #[error("{address}{path}: {reason}")]
    Server {
        /// The server.
        address: String,
        /// What was asked for, below it.
        path: String,
        /// What came of it.
        reason: String,
    },
    /// A server asks for patience.
    #[error("{said}")]
    Busy {
        /// The server, what was asked for and what it said.
        said: String,
        /// For how long, within reason.
        after: Duration,
    },
    /// A server knows us, and does not let us do what was asked for.
    #[error("{said}")]
    Forbidden {
        /// The server, what was asked for and what it said.
        said: String,
    },
    /// It has no such thing.
    #[error("there is no {what} in the registry {place}; look at what it has, or push it")]
    Missing {
        /// What was asked for.
        what: String,
        /// The registry.
        place: String,
    },
    /// It answers, and no such alias of that model is there: somebody took it away, or never set it.
    #[error(
        "there is no model \"{model}\" with the alias \"{alias}\" in the registry {place}; look at what it has, or push it"
    )]
    NoAlias {
        /// What was asked for.
        alias: String,
        /// Of which model.
        model: String,
        /// The registry.
        place: String,
    },
    /// It holds something that makes no sense.
    #[error("{path} in the registry makes no sense: {reason}; put it right, or move it away")]
    Content {
        /// The name.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RegistryError {
    /// How long it asks to be left alone.
    pub(crate) fn rest(&self) -> Duration {
        if let Self::Busy { after, .. } = self { *after } else { Duration::ZERO }
    }
}

impl Registry {
    /// The registry of a configuration. It is not contacted yet.
    pub(crate) fn new(config: &Config) -> Self {
        match config {
            Config::Directory(config) => Self::Directory(Directory::new(config)),
            Config::Mlflow(config) => Self::Mlflow(Mlflow::new(config)),
        }
    }

    /// Its place, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Directory(directory) => directory.describe(),
            Self::Mlflow(mlflow) => mlflow.describe(),
        }
    }

    /// Where a gateway's records lie in it, for people.
    pub(crate) fn place(&self, gateway: &str) -> String {
        match self {
            Self::Directory(directory) => format!("{}/{gateway}", directory.describe()),
            Self::Mlflow(mlflow) => mlflow.place(gateway),
        }
    }

    /// How a person says that this store is to write there from now on.
    pub(crate) fn adopt(&self, gateway: &str, store_id: Uuid) -> String {
        match self {
            Self::Directory(_) => {
                format!("put {{\"gateway\": \"{gateway}\", \"store_id\": \"{store_id}\"}} into its store.json")
            }
            Self::Mlflow(_) => Mlflow::adopt(store_id),
        }
    }

    /// How a person brings back the place that is gone.
    pub(crate) fn restore(&self, gateway: &str) -> String {
        match self {
            Self::Directory(_) => "mount or restore that folder".to_owned(),
            Self::Mlflow(_) => Mlflow::restore(gateway),
        }
    }

    /// How a person keeps what an earlier machine sent apart from what this one will.
    pub(crate) fn set_apart(&self) -> &'static str {
        match self {
            Self::Directory(_) => "move that folder away",
            Self::Mlflow(_) => "give that run's tag explaind.gateway another value",
        }
    }

    /// Shows figures about a gateway there, where the registry has a place for them.
    pub(crate) async fn log(&self, gateway: &str, figures: &[Figure]) -> Result<(), RegistryError> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Mlflow(mlflow) => mlflow.log(gateway, figures).await,
        }
    }

    /// Finds out whether it can be used; says what it found.
    pub(crate) async fn probe(&self) -> Result<String, RegistryError> {
        match self {
            Self::Directory(directory) => directory.probe().await,
            Self::Mlflow(mlflow) => mlflow.probe().await,
        }
    }

    /// Puts content under a name that is new, or holds the same content already. Durable when it returns.
    pub(crate) async fn put(&self, path: &str, content: Vec<u8>) -> Result<Put, RegistryError> {
        match self {
            Self::Directory(directory) => directory.put(path, content).await,
            Self::Mlflow(mlflow) => mlflow.put(path, content).await,
        }
    }

    /// Whether it holds this content under a name already.
    pub(crate) async fn holds(&self, path: &str, size: u64, sha256: [u8; 32]) -> Result<bool, RegistryError> {
        match self {
            Self::Directory(directory) => directory.holds(path, size, sha256).await,
            Self::Mlflow(mlflow) => mlflow.holds(path, size, sha256).await,
        }
    }

    /// The numbers in the names of a gateway's batches, first and last of each, ascending, for each stream that has any.
    pub(crate) async fn batches(&self, gateway: &str) -> Result<Batches, RegistryError> {
        let mut found = match self {
            Self::Directory(directory) => directory.batches(gateway).await?,
            Self::Mlflow(mlflow) => mlflow.batches(gateway).await?,
        };
        found.values_mut().for_each(|numbers| numbers.sort_unstable());
        found.retain(|_, numbers| !numbers.is_empty());
        Ok(found)
    }

    /// Whether it has ever heard of a gateway of this name.
    pub(crate) async fn knows(&self, gateway: &str) -> Result<bool, RegistryError> {
        match self {
            Self::Directory(directory) => directory.knows(gateway).await,
            Self::Mlflow(mlflow) => mlflow.knows(gateway).await,
        }
    }

    /// Which store a gateway's folder belongs to.
    pub(crate) async fn store(&self, gateway: &str) -> Result<Option<StoreMark>, RegistryError> {
        match self {
            Self::Directory(directory) => directory.store(gateway).await,
            Self::Mlflow(mlflow) => mlflow.store(gateway).await,
        }
    }

    /// Says which store a gateway's folder belongs to from now on.
    pub(crate) async fn set_store(&self, mark: &StoreMark) -> Result<(), RegistryError> {
        match self {
            Self::Directory(directory) => directory.set_store(mark).await,
            Self::Mlflow(mlflow) => mlflow.set_store(mark).await,
        }
    }
}

/// The name of a batch: `<gateway>/<stream>/date=YYYY-MM-DD/<first>-<last>.parquet`.
pub(crate) fn batch_path(gateway: &str, stream: Stream, date: &str, first: u64, last: u64) -> String {
    format!("{gateway}/{}/date={date}/{first}-{last}.parquet", stream.as_str())
}

/// The first and the last number in the name of a batch file.
pub(crate) fn numbers_in(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".parquet")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_batches_say_their_numbers() {
        let path = batch_path("line-3", Stream::Alerts, "2026-11-21", 7, 12);
        assert_eq!(path, "line-3/alerts/date=2026-11-21/7-12.parquet");
        assert_eq!(numbers_in("7-12.parquet"), Some((7, 12)));
        for other in ["7-12.parquet.part", ".7-12.parquet", "7.parquet", "a-b.parquet", "7-12"] {
            assert_eq!(numbers_in(other), None, "{other}");
        }
    }

    #[test]
    fn the_configuration_names_a_folder_and_nothing_unknown() {
        let parse = |text| toml::from_str::<DirectoryConfig>(text).map(Config::Directory);
        let mut config = parse("path = \"registry\"").unwrap();
        config.resolve(Path::new("/etc/explaind"));
        assert_eq!(Registry::new(&config).describe(), "/etc/explaind/registry");
        assert!(parse("path = \"x\"\ncolour = 1").is_err());
    }
}
