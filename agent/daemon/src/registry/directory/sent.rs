//! Batches in a folder, read back.

use std::fs::File;
use std::io::{self, Read as _};

use super::{Directory, failed, names};
use crate::registry::sent::{Filed, LARGEST, too_large};
use crate::registry::{RegistryError, numbers_in};

impl Directory {
    /// The batches below a stream's folder.
    pub(in crate::registry) async fn filed(&self, folder: &str) -> Result<Vec<Filed>, RegistryError> {
        let (name, folder) = (folder.to_owned(), self.inside(folder)?);
        self.blocking(move |root| {
            // A share that is not mounted is no registry without batches.
            if !root.is_dir() {
                return Err(failed("open", root)(io::ErrorKind::NotFound.into()));
            }
            let mut all = Vec::new();
            for day in names(&folder)? {
                for file in names(&folder.join(&day))? {
                    all.extend(
                        numbers_in(&file).map(|numbers| Filed { numbers, path: format!("{name}/{day}/{file}") }),
                    );
                }
            }
            Ok(all)
        })
        .await
    }

    /// What a file holds.
    pub(in crate::registry) async fn content(&self, path: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let (name, path) = (path.to_owned(), self.inside(path)?);
        self.blocking(move |_| {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed("open", &path)(error)),
            };
            let mut content = Vec::new();
            file.take(LARGEST + 1).read_to_end(&mut content).map_err(failed("read", &path))?;
            if content.len() as u64 > LARGEST { Err(too_large(&name)) } else { Ok(Some(content)) }
        })
        .await
    }
}
