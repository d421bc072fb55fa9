//! Reading back what was sent: batches as they lie in the registry.

use explaind_core::domain::record::Stream;

use super::{Registry, RegistryError};

/// The largest batch that is read back; real ones have some megabytes.
pub(super) const LARGEST: u64 = 256 << 20;

/// A batch that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Filed {
    /// Its first number, and its last.
    pub(crate) numbers: (u64, u64),
    /// Its name.
    pub(crate) path: String,
}

impl Registry {
    /// The batches of a gateway's stream, by their numbers.
    pub(crate) async fn filed(&self, gateway: &str, stream: Stream) -> Result<Vec<Filed>, RegistryError> {
        let folder = format!("{gateway}/{}", stream.as_str());
        let mut all = match self {
            Self::Directory(directory) => directory.filed(&folder).await?,
            Self::Mlflow(mlflow) => mlflow.filed(gateway, &folder).await?,
        };
        all.sort_unstable();
        Ok(all)
    }

    /// The content of a batch; `None` when it is not there.
    pub(crate) async fn content(&self, path: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        match self {
            Self::Directory(directory) => directory.content(path).await,
            Self::Mlflow(mlflow) => mlflow.content(path).await,
        }
    }
}

/// It is larger than any batch.
pub(super) fn too_large(path: &str) -> RegistryError {
    RegistryError::Content {
        path: path.to_owned(),
        reason: format!("it has more than {LARGEST} bytes, which no batch has"),
    }
}
