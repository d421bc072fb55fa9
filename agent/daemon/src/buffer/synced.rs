//! Which files are on disk already: a sync of a file that did not change still waits for the disk's cache, and a flush
//! should wait for it once, not once per file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock;

/// sled's log: always synced, since it changes with every flush.
pub(super) const LOG: &str = "db";
/// A file's times move in steps of some milliseconds, so one that changed this recently may have changed again without
/// a trace.
const SETTLED: Duration = Duration::from_secs(2);

/// What was synced, as it was just before.
#[derive(Default)]
pub(super) struct Synced(HashMap<PathBuf, (u64, SystemTime)>);

impl Synced {
    /// Makes every file below a folder, and the names of them all, survive a power cut.
    ///
    /// # Errors
    /// The path that could not be synced, and why.
    pub(super) fn sync_below(&mut self, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        for entry in fs::read_dir(folder).map_err(at(folder))? {
            let path = entry.map_err(at(folder))?.path();
            let data = match fs::symlink_metadata(&path) {
                Ok(data) => data,
                // sled replaces its snapshot, and drops blobs, while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at(&path)(error)),
            };
            if data.is_dir() {
                self.sync_below(&path)?;
            } else if path.file_name() == Some(OsStr::new(LOG)) || !self.knows(&path, &data) {
                match File::open(&path) {
                    Ok(file) => file.sync_data().map_err(at(&path))?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(at(&path)(error)),
                }
                self.remember(path, &data);
            }
        }
        let data = fs::symlink_metadata(folder).map_err(at(folder))?;
        if !self.knows(folder, &data) {
            File::open(folder).and_then(|handle| handle.sync_all()).map_err(at(folder))?;
            self.0.retain(|path, _| path.parent() != Some(folder) || path.exists());
            self.remember(folder.to_owned(), &data);
        }
        Ok(())
    }

    fn knows(&self, path: &Path, data: &Metadata) -> bool {
        data.modified().is_ok_and(|modified| self.0.get(path) == Some(&(data.len(), modified)))
    }

    /// `data` is from before the sync: what changed meanwhile is synced the next time.
    fn remember(&mut self, path: PathBuf, data: &Metadata) {
        let now = u64::try_from(clock::now().utc.as_micros()).unwrap_or(0);
        let now = UNIX_EPOCH + Duration::from_micros(now);
        if let Ok(modified) = data.modified()
            && now.duration_since(modified).is_ok_and(|age| age >= SETTLED)
        {
            self.0.insert(path, (data.len(), modified));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_unchanged_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (old, young) = (folder.path().join("conf"), folder.path().join("snap.1"));
        fs::write(&old, "x").unwrap();
        fs::write(&young, "x").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        let mut synced = Synced::default();
        synced.sync_below(folder.path()).unwrap();
        let knows = |synced: &Synced, path: &Path| synced.knows(path, &fs::metadata(path).unwrap());
        assert!(knows(&synced, &old));
        assert!(!knows(&synced, &young) && !knows(&synced, folder.path()));
        fs::write(&old, "y").unwrap();
        assert!(!knows(&synced, &old));
        let missing = synced.sync_below(&folder.path().join("none")).unwrap_err();
        assert_eq!((missing.0, missing.1.kind()), (folder.path().join("none"), io::ErrorKind::NotFound));
    }
}
