//! sled, held at arm's length: every call guarded, every flush made to last.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sled::IVec;

use super::batch::Batch;
use super::error::BufferError;
use super::guard::guard;
use super::headroom::Headroom;
use super::synced::{LOG, Synced};
use super::wear::{self, Writer};

/// The default would be 1 GiB. A queue is written at one end and read at the other.
const CACHE_BYTES: u64 = 8 << 20;
/// A store that was just closed may hold its file for a moment longer.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Keys and values as they lie in the store.
pub(super) type Entry = (IVec, IVec);

/// An open sled database.
pub(super) struct Store {
    /// Taken on drop only.
    db: Option<sled::Db>,
    path: PathBuf,
    headroom: Headroom,
    synced: Mutex<Synced>,
}

impl Store {
    /// Opens or creates it.
    ///
    /// # Errors
    /// [`BufferError::Damaged`] when what is there is at fault, [`BufferError::Io`] when the surroundings are.
    pub(super) fn open(path: &Path) -> Result<Self, BufferError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // We flush when it matters; a timer would only wear the flash.
            .flush_every_ms(None);
        for attempt in 1.. {
            match guard(|| config.open()) {
                Ok(Ok(db)) => {
                    let headroom = Headroom::of(&path.join(LOG));
                    return Ok(Self { db: Some(db), path: path.to_owned(), headroom, synced: Mutex::default() });
                }
                Ok(Err(sled::Error::Io(error))) if locked(&error) => {
                    if attempt == LOCK_ATTEMPTS {
                        return Err(BufferError::InUse { path: path.to_owned() });
                    }
                    thread::sleep(LOCK_PAUSE);
                }
                Ok(Err(error)) => return Err(classify("open", path, error)),
                Err(panic) => return Err(BufferError::damaged(path, panic)),
            }
        }
        Err(BufferError::InUse { path: path.to_owned() })
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, BufferError> {
        self.call("read", |db| db.get(key))
    }

    /// Puts a batch into the store: after a crash all of it is there, or nothing.
    pub(super) fn apply(&self, batch: Batch) -> Result<(), BufferError> {
        let mut changes = sled::Batch::default();
        let mut bytes = 0;
        for (key, value) in batch.into_changes() {
            bytes += (key.len() + value.as_ref().map_or(0, Vec::len)) as u64;
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        self.headroom.ensure(bytes).map_err(|error| BufferError::io("write to", &self.path, error))?;
        wear::wrote(Writer::Store, bytes);
        self.call("write to", |db| db.apply_batch(changes))
    }

    /// Up to `limit` entries with keys from `first` to `last` (both included), in ascending order.
    pub(super) fn ascending(&self, first: &[u8], last: &[u8], limit: usize) -> Result<Vec<Entry>, BufferError> {
        self.call("read", |db| db.range(first..=last).take(limit).collect())
    }

    /// Up to `limit` entries with keys from `first` to `last` (both included), in descending order.
    pub(super) fn descending(&self, first: &[u8], last: &[u8], limit: usize) -> Result<Vec<Entry>, BufferError> {
        self.call("read", |db| db.range(first..=last).rev().take(limit).collect())
    }

    /// All entries whose key begins with `prefix`; only for kinds of which there are few.
    pub(super) fn all(&self, prefix: &[u8]) -> Result<Vec<Entry>, BufferError> {
        self.call("read", |db| db.scan_prefix(prefix).collect())
    }

    /// Whether nothing was ever put in.
    pub(super) fn is_empty(&self) -> Result<bool, BufferError> {
        self.call("read", |db| db.iter().next().transpose().map(|first| first.is_none()))
    }

    /// Makes everything applied so far survive a power cut.
    ///
    /// sled's own flush ends in `sync_file_range`, which writes no metadata and passes no disk cache: after a cut the
    /// file is as long as it was before. So every file that changed is synced once more, and the folders that name them.
    pub(super) fn flush(&self) -> Result<(), BufferError> {
        self.call("flush", |db| db.flush())?;
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.sync_below(&self.path).map_err(|(path, error)| BufferError::io("sync", &path, error))
    }

    /// Bytes of all files.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        bytes_below(&self.path)
    }

    fn call<T>(&self, doing: &'static str, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, BufferError> {
        let Some(db) = &self.db else {
            return Err(BufferError::damaged(&self.path, "it is closed"));
        };
        match guard(|| work(db)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(classify(doing, &self.path, error)),
            Err(panic) => Err(BufferError::damaged(&self.path, panic)),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(panic) = guard(|| drop(db)) {
            tracing::warn!(path = %self.path.display(), panic, "the store did not close cleanly");
        }
    }
}

/// Whether sled says that somebody else holds its file: it wraps that in an error of its own words.
fn locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// Tells a store that is damaged from a disk that is full, gone or read-only: only the former is set aside.
fn classify(doing: &'static str, path: &Path, error: sled::Error) -> BufferError {
    match error {
        sled::Error::Io(error)
            // What is not found is a file that a page of the store refers to.
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
            ) =>
        {
            BufferError::io(doing, path, error)
        }
        other => BufferError::damaged(path, other.to_string()),
    }
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), BufferError> {
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(|error| BufferError::io("sync", folder, error))
}

/// Bytes of all files below a folder.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_is_there_after_reopening_and_nobody_else_gets_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = Store::open(&path).unwrap();
        assert!(store.is_empty().unwrap());
        let mut batch = Batch::default();
        for n in 0..100u8 {
            batch.insert([b'k', n], [n]);
        }
        store.apply(batch).unwrap();
        store.flush().unwrap();
        assert!(store.bytes_on_disk() > 0);
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.get(&[b'k', 7]).unwrap().as_deref(), Some(&[7][..]));
        assert_eq!(store.ascending(&[b'k', 10], &[b'k', 20], 5).unwrap().len(), 5);
        assert_eq!(store.descending(&[b'k', 0], &[b'k', 255], 1).unwrap()[0].1.as_ref(), &[99]);
        assert_eq!(store.all(b"k").unwrap().len(), 100);
    }

    #[test]
    fn rubbish_is_damaged_and_a_missing_permission_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        drop(Store::open(&path).unwrap());
        fs::write(path.join("conf"), b"neither segments nor a version").unwrap();
        assert!(matches!(Store::open(&path), Err(BufferError::Damaged { .. })));
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(Store::open(&file.join("store")), Err(BufferError::Io { .. })));
    }
}
