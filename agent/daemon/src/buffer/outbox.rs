//! The outbox: the very bytes of each closed batch, so that every try sends the same, also after an upgrade.
//!
//! `<store>.outbox/<stream>/<first>-<last>.parquet`. A batch comes about in this order, and each step is safe to be cut
//! off at, because nothing is sent before the last:
//!
//! 1. its bounds are in the store: its records change no more, and are not evicted;
//! 2. its file is written whole, under another name first;
//! 3. the file's size and digest join the bounds.
//!
//! A file without bounds was never sent and is removed at the start; one that is not what the bounds say is too. When
//! the registry has the batch, the bounds go from the store first and the file after them. A file that is lost can be
//! made anew from the records; the digest then still tells whether the registry has the batch already.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use explaind_core::domain::record::Stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Closed;
use super::cursor::PerStream;
use super::error::BufferError;
use super::store::sync_folder;
use super::wear::{self, Writer};

/// What a batch's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// Its bytes.
    pub(crate) size: u64,
    /// Their SHA-256.
    pub(crate) sha256: [u8; 32],
}

impl Content {
    /// What these bytes are.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { size: u64::try_from(bytes.len()).unwrap_or(u64::MAX), sha256: Sha256::digest(bytes).into() }
    }
}

/// The folder of the files.
#[derive(Debug)]
pub(super) struct Outbox {
    folder: PathBuf,
    /// Held while a file is written: sync and a person with a medium may both be at it, and there is one draft.
    writing: Mutex<()>,
}

impl Outbox {
    /// Opens the folder, which need not exist, and removes files that no bounds name. Returns the bytes of the others.
    pub(super) fn open(
        folder: &Path,
        batches: &PerStream<Option<Closed>>,
    ) -> Result<(Self, PerStream<u64>), BufferError> {
        let outbox = Self::unseen(folder);
        let bytes = PerStream::each(|stream| outbox.tidy(stream, batches[stream].as_ref()))?;
        Ok((outbox, bytes))
    }

    /// The folder, with nothing known of what is in it.
    pub(super) fn unseen(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), writing: Mutex::default() }
    }

    /// Writes a batch's file whole. It survives a power cut when this returns.
    pub(super) fn write(&self, stream: Stream, batch: &Closed, content: &[u8]) -> Result<(), BufferError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(stream, batch);
        let draft = path.with_extension("part");
        let folder = self.folder.join(stream.as_str());
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(|error| BufferError::io("create", &folder, error))?;
            sync_folder(&self.folder)?;
            self.folder.parent().map_or(Ok(()), sync_folder)?;
        }
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(content)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|error| {
                // Its space is needed now, not at the next start.
                let _ = fs::remove_file(&draft);
                BufferError::io("write", &path, error)
            })?;
        wear::wrote(Writer::Outbox, content.len() as u64);
        sync_folder(&folder)
    }

    /// A batch's bytes; `None` when the file is not there or not what it was.
    pub(super) fn read(
        &self,
        stream: Stream,
        batch: &Closed,
        content: &Content,
    ) -> Result<Option<Vec<u8>>, BufferError> {
        let path = self.path(stream, batch);
        let failed = |error| BufferError::io("read", &path, error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        // One byte more would show that the file is longer than it was.
        file.take(content.size.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if Content::of(&bytes) == *content {
            return Ok(Some(bytes));
        }
        tracing::warn!(path = %path.display(), "a closed batch is not what it was, and is made anew from its records");
        Ok(None)
    }

    /// The bytes of a batch's file, whatever they are; `None` when there is no file.
    pub(super) fn size(&self, stream: Stream, batch: &Closed) -> Option<u64> {
        fs::metadata(self.path(stream, batch)).ok().map(|data| data.len())
    }

    /// Removes a batch's file. Should that fail, or the power go, the next start does it.
    pub(super) fn remove(&self, stream: Stream, batch: &Closed) {
        let path = self.path(stream, batch);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "the file of a batch that was sent stays until the next start");
        }
    }

    fn path(&self, stream: Stream, batch: &Closed) -> PathBuf {
        self.folder.join(stream.as_str()).join(name(batch))
    }

    /// Removes what is not the closed batch's; returns the bytes of what is.
    fn tidy(&self, stream: Stream, batch: Option<&Closed>) -> Result<u64, BufferError> {
        let folder = self.folder.join(stream.as_str());
        let failed = |error| BufferError::io("look through", &folder, error);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let kept = batch.map(name);
        let mut bytes: u64 = 0;
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let data = entry.metadata().map_err(failed)?;
            let path = entry.path();
            let ours = path.extension().is_some_and(|kind| kind == "parquet" || kind == "part");
            if !data.is_file() || !ours {
                continue;
            }
            if kept.as_deref().is_some_and(|kept| entry.file_name() == kept) {
                bytes = bytes.saturating_add(data.len());
            } else {
                fs::remove_file(&path).map_err(|error| BufferError::io("remove", &path, error))?;
            }
        }
        Ok(bytes)
    }
}

fn name(batch: &Closed) -> String {
    format!("{}-{}.parquet", batch.first, batch.last)
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::time::Timestamp;

    use super::*;

    fn closed(first: u64, last: u64) -> Closed {
        Closed { first, last, closed_at: Timestamp::from_micros(0) }
    }

    #[test]
    fn a_file_is_whole_or_not_there_and_strangers_go() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("buffer.outbox");
        let mut batches = PerStream::default();
        let (outbox, bytes) = Outbox::open(&dir, &batches).unwrap();
        assert_eq!(bytes, PerStream::default());
        let batch = closed(1, 40);
        assert_eq!(outbox.read(Stream::Alerts, &batch, &Content::of(b"rows")).unwrap(), None);
        outbox.write(Stream::Alerts, &batch, b"rows").unwrap();
        outbox.write(Stream::Alerts, &closed(41, 50), b"more").unwrap();
        let alerts = dir.join("alerts");
        fs::write(alerts.join("51-60.part"), "cut off").unwrap();
        fs::write(alerts.join("README"), "not ours").unwrap();
        batches[Stream::Alerts] = Some(batch);
        let (outbox, bytes) = Outbox::open(&dir, &batches).unwrap();
        assert_eq!(bytes[Stream::Alerts], 4);
        assert!(!alerts.join("41-50.parquet").exists() && !alerts.join("51-60.part").exists());
        assert!(alerts.join("README").exists());
        let read = |content: &Content| outbox.read(Stream::Alerts, &batch, content).unwrap();
        assert_eq!(read(&Content::of(b"rows")).as_deref(), Some(&b"rows"[..]));
        assert_eq!(read(&Content::of(b"rowt")), None, "a flipped bit");
        assert_eq!(read(&Content::of(b"row")), None, "longer than it was");
        assert_eq!(read(&Content::of(b"rows and more")), None, "shorter than it was");
        outbox.remove(Stream::Alerts, &batch);
        assert_eq!(read(&Content::of(b"rows")), None);
    }

    #[test]
    fn two_who_write_the_same_batch_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::unseen(&folder.path().join("buffer.outbox"));
        let batch = closed(1, 40);
        let contents: Vec<Vec<u8>> = (1..=2).map(|n| vec![n; 200_000 * usize::from(n)]).collect();
        for _ in 0..50 {
            std::thread::scope(|scope| {
                for content in &contents {
                    scope.spawn(|| outbox.write(Stream::Alerts, &batch, content).unwrap());
                }
            });
            let found = fs::read(outbox.path(Stream::Alerts, &batch)).unwrap();
            assert!(contents.contains(&found), "{} bytes, the first is {}", found.len(), found[0]);
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("buffer.outbox");
        fs::write(&file, "").unwrap();
        let outbox = Outbox::unseen(&file);
        assert!(matches!(outbox.write(Stream::Health, &closed(1, 1), b"x"), Err(BufferError::Io { .. })));
    }
}
