//! A version on its way into a folder that may hold some of it already.
//!
//! First comes the list of digests. What is in the folder under its name and with its digest stays, what is shorter than
//! it should be goes on where it ends, and all else comes anew: so it does not matter what an earlier try left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::task::spawn_blocking;

use super::directory::{self, Found, failed};
use super::models::{Entry, Limits, Version, check};
use super::{Registry, RegistryError};

impl Registry {
    /// Fetches all files of a version into a folder, which is for nothing else: what is no file of the version goes from it.
    ///
    /// After an error the folder can be given to the next try, which goes on with what is there.
    /// What comes is not compared with its digest here, but for what was put together from parts.
    ///
    /// # Errors
    /// [`RegistryError::Content`] when no further try will do better; others are about the way to the registry.
    pub(crate) async fn pull(&self, version: &Version, limits: Limits, into: &Path) -> Result<(), RegistryError> {
        let mut entries = match self {
            Self::Directory(directory) => directory.entries(version).await?,
            Self::Mlflow(mlflow) => mlflow.entries(version).await?,
        };
        if entries.is_empty() {
            return Err(self.absent(version, "its files are not there".to_owned()));
        }
        check(version, &entries, limits)?;
        entries.sort_by(|a, b| (a.name != limits.sums, &a.name).cmp(&(b.name != limits.sums, &b.name)));
        tidy(into, entries.iter().map(|entry| entry.name.clone()).collect()).await?;
        let (mut left, mut listed) = (limits.total, BTreeMap::new());
        for entry in &entries {
            let most = entry.size.unwrap_or(u64::MAX).min((limits.file)(&entry.name)).min(left);
            let path = into.join(&entry.name);
            let got = self.complete(version, entry, most, &path, listed.get(&entry.name)).await?;
            left = left.saturating_sub(got);
            if entry.name == limits.sums {
                listed = digests(&fs::read(&path).await.map_err(failed("read", &path))?);
            }
        }
        Ok(())
    }

    /// Brings a file of which some may be there, and says how much it is.
    async fn complete(
        &self,
        version: &Version,
        entry: &Entry,
        most: u64,
        path: &Path,
        digest: Option<&[u8; 32]>,
    ) -> Result<u64, RegistryError> {
        let mut there = 0;
        if let Some(digest) = digest {
            let found = look(path).await?.filter(|found| found.size <= most);
            there = found.as_ref().map_or(0, |found| found.size);
            let fits = entry.size.is_none_or(|size| size == there);
            if fits && found.is_some_and(|found| found.sha256 == *digest) {
                return Ok(there);
            }
            // As long as it should be, and another: nothing can follow.
            there = if entry.size == Some(there) { 0 } else { there };
        }
        loop {
            let got = match self {
                Self::Directory(directory) => directory.fetch(version, &entry.name, there, most, path).await?,
                Self::Mlflow(mlflow) => mlflow.fetch(version, &entry.name, there, most, path).await?,
            };
            if let Some(size) = entry.size.filter(|size| *size != got) {
                let reason = format!("{} was announced with {size} bytes and has {got}", entry.name);
                return Err(self.differs(version, reason));
            }
            let whole = there == 0 || look(path).await?.is_some_and(|found| Some(&found.sha256) == digest);
            if whole {
                return Ok(got);
            }
            there = 0;
        }
    }

    /// What is there is not what was announced. Something on the way may have cut it off without a word, so that a server is
    /// asked again.
    fn differs(&self, version: &Version, reason: String) -> RegistryError {
        match self {
            Self::Directory(_) => version.wrong(reason),
            Self::Mlflow(_) => self.absent(version, reason),
        }
    }

    /// Something is not there that should be: what holds it may be away, and the version is not to blame.
    fn absent(&self, version: &Version, reason: String) -> RegistryError {
        RegistryError::Server { address: self.describe(), path: format!(" {}", version.describe()), reason }
    }
}

/// The digests in a list as `sha256sum` writes them. Whether the list is right is for who asked to find out.
fn digests(text: &[u8]) -> BTreeMap<String, [u8; 32]> {
    let read = |line: &str| {
        let (hex, name) = line.split_once(' ')?;
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let digest: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        Some((name.strip_prefix([' ', '*'])?.to_owned(), digest.try_into().ok()?))
    };
    String::from_utf8_lossy(text).lines().filter_map(read).collect()
}

async fn look(path: &Path) -> Result<Option<Found>, RegistryError> {
    let path = path.to_owned();
    away(path.clone(), move || directory::look(&path)).await
}

/// Takes what does not belong there out of a folder.
async fn tidy(folder: &Path, names: BTreeSet<String>) -> Result<(), RegistryError> {
    let folder = folder.to_owned();
    away(folder.clone(), move || clear(&folder, &names).map_err(failed("clear", &folder))).await
}

fn clear(folder: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if kind.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else if !kind.is_file() || !name.to_str().is_some_and(|name| names.contains(name)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Work on files, where waiting for it holds nobody up.
async fn away<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    spawn_blocking(work).await.map_err(|error| failed("use", &path)(io::Error::other(error)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_digests_are_read_as_far_as_they_make_sense() {
        let one = "01".repeat(32);
        let text = format!("{one}  a.csv\n{one} *b\n{one}c\nzz  d\n{}  e\n\u{fffd}\n", "01".repeat(31));
        let found = digests(text.as_bytes());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a.csv", "b"]);
        assert_eq!(found.get("b"), Some(&[1; 32]));
        assert!(digests(b"\xff\xfe").is_empty());
    }
}
