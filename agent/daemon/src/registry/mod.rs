//! What central offers: the place that batches go to.
//!
//! Paths inside it are relative, with `/` between their parts: `line-3/alerts/date=2026-11-21/1-40.parquet`. Beside a
//! gateway's streams lies `line-3/store.json`: which store may write there.

mod directory;

use std::path::{Path, PathBuf};

use explaind_core::domain::record::Stream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use directory::Directory;

/// `[registry]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Config {
    /// A folder, local or on a share.
    Directory(directory::Config),
}

impl Config {
    /// Makes relative paths absolute.
    pub(crate) fn resolve(&mut self, base: &Path) {
        match self {
            Self::Directory(config) => config.path = base.join(&config.path),
        }
    }
}

/// The registry that is configured. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Registry {
    /// A folder.
    Directory(Directory),
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreMark {
    /// The gateway's name.
    pub(crate) gateway: String,
    /// The store that writes there.
    pub(crate) store_id: Uuid,
    /// The stores that wrote there before, the last one last.
    #[serde(default)]
    pub(crate) predecessors: Vec<Uuid>,
}

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
    /// It holds something that makes no sense.
    #[error("{path} in the registry makes no sense: {reason}; put it right, or move it away")]
    Content {
        /// The name.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Registry {
    /// The registry of a configuration. It is not contacted yet.
    pub(crate) fn new(config: &Config) -> Self {
        match config {
            Config::Directory(config) => Self::Directory(Directory::new(config)),
        }
    }

    /// Its place, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Directory(directory) => directory.describe(),
        }
    }

    /// Finds out whether it can be used; says what it found.
    pub(crate) async fn probe(&self) -> Result<String, RegistryError> {
        match self {
            Self::Directory(directory) => directory.probe().await,
        }
    }

    /// Puts content under a name that is new, or holds the same content already. Durable when it returns.
    pub(crate) async fn put(&self, path: &str, content: Vec<u8>) -> Result<Put, RegistryError> {
        match self {
            Self::Directory(directory) => directory.put(path, content).await,
        }
    }

    /// The highest number in the names of a stream's batches.
    pub(crate) async fn highest(&self, gateway: &str, stream: Stream) -> Result<Option<u64>, RegistryError> {
        match self {
            Self::Directory(directory) => directory.highest(gateway, stream).await,
        }
    }

    /// Which store a gateway's folder belongs to.
    pub(crate) async fn store(&self, gateway: &str) -> Result<Option<StoreMark>, RegistryError> {
        match self {
            Self::Directory(directory) => directory.store(gateway).await,
        }
    }

    /// Says which store a gateway's folder belongs to from now on.
    pub(crate) async fn set_store(&self, mark: &StoreMark) -> Result<(), RegistryError> {
        match self {
            Self::Directory(directory) => directory.set_store(mark).await,
        }
    }
}

/// The name of a batch: `<gateway>/<stream>/date=YYYY-MM-DD/<first>-<last>.parquet`.
pub(crate) fn batch_path(gateway: &str, stream: Stream, date: &str, first: u64, last: u64) -> String {
    format!("{gateway}/{}/date={date}/{first}-{last}.parquet", stream.as_str())
}

/// The last number in the name of a batch file.
fn last_in_name(name: &str) -> Option<u64> {
    let (first, last) = name.strip_suffix(".parquet")?.split_once('-')?;
    first.parse::<u64>().ok()?;
    last.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_batches_say_their_numbers() {
        let path = batch_path("line-3", Stream::Alerts, "2026-11-21", 7, 12);
        assert_eq!(path, "line-3/alerts/date=2026-11-21/7-12.parquet");
        assert_eq!(last_in_name("7-12.parquet"), Some(12));
        for other in ["7-12.parquet.part", ".7-12.parquet", "7.parquet", "a-b.parquet", "7-12"] {
            assert_eq!(last_in_name(other), None, "{other}");
        }
    }

    #[test]
    fn the_configuration_names_a_folder_and_nothing_unknown() {
        let parse = |text| toml::from_str::<Config>(text);
        let mut config = parse("type = \"directory\"\npath = \"registry\"").unwrap();
        config.resolve(Path::new("/etc/explaind"));
        assert_eq!(Registry::new(&config).describe(), "/etc/explaind/registry");
        assert!(parse("type = \"directory\"\npath = \"x\"\npoll = \"1m\"\ncolour = 1").is_err());
        assert!(parse("type = \"floppy\"\npath = \"x\"").is_err());
    }
}
