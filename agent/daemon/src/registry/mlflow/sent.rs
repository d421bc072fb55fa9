//! Batches among the artifacts of a gateway's run, read back.

use super::{Mlflow, numbers_in};
use crate::registry::RegistryError;
use crate::registry::http::Look;
use crate::registry::sent::{Filed, LARGEST, too_large};

impl Mlflow {
    /// The batches below a stream's folder.
    pub(in crate::registry) async fn filed(&self, gateway: &str, folder: &str) -> Result<Vec<Filed>, RegistryError> {
        let Some((run, _)) = self.find(gateway).await? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for day in self.list(&run, folder).await? {
            let below = format!("{folder}/{}", day.name);
            for file in self.list(&run, &below).await? {
                let path = format!("{below}/{}", file.name);
                all.extend(numbers_in(&file.name).map(|numbers| Filed { numbers, path }));
            }
        }
        Ok(all)
    }

    /// What an artifact holds.
    pub(in crate::registry) async fn content(&self, path: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let run = self.run_of(path).await?;
        match self.look(&run, path, LARGEST).await? {
            Look::Content(content) => Ok(Some(content)),
            Look::Missing => Ok(None),
            _ => Err(too_large(path)),
        }
    }
}
