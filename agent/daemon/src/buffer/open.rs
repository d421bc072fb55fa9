//! Opening: one process at a time, on a disk that takes writes; and a store that does not open is not the end.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use explaind_core::domain::time::Now;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::commit::Committer;
use super::cursor::PerStream;
use super::error::BufferError;
use super::journal::Journal;
use super::load::{self, Loaded};
use super::recover::Tending;
use super::report::Note;
use super::side::Side;
use super::store::sync_folder;
use super::tail::Tail;
use super::{Config, Core, SessionInfo, wear};
use crate::telemetry::Metrics;

/// How much is written to see whether the disk takes it.
pub(super) const PROBE_BYTES: usize = 256 << 10;

/// What it takes to open a store, the first time and again.
pub(super) struct Opening {
    /// The store's folder.
    pub(super) path: PathBuf,
    /// The journal's folder.
    pub(super) journal: PathBuf,
    /// The present run.
    pub(super) info: SessionInfo,
}

impl Opening {
    /// Opens the store and makes it and the journal say the same. A store that is damaged beyond opening is set aside.
    ///
    /// `last`: the highest number of each stream that is known to have been given out.
    pub(super) fn load(
        &self,
        last: &PerStream<u64>,
        now: Now,
        journal: &mut Journal,
        mut notes: Vec<Note>,
    ) -> Result<Loaded, BufferError> {
        match load::load(self, last, now, journal, &mut notes) {
            Err(BufferError::Damaged { detail, .. }) => {
                notes.push(Note::SetAside { what: "store", to: move_aside(&self.path, now)?, reason: detail });
                load::load(self, last, now, journal, &mut notes)
            }
            other => other,
        }
    }

    /// Where the side file is.
    pub(super) fn side_path(&self) -> PathBuf {
        side_file(&self.path)
    }

    /// Where the files of closed batches are.
    pub(super) fn outbox_path(&self) -> PathBuf {
        beside(&self.path, ".outbox")
    }
}

/// Opens the store at `path`, which need not exist. On a disk that takes no writes at present the journal alone is
/// opened, if there is one.
pub(super) fn open(
    path: &Path,
    config: &Config,
    info: SessionInfo,
    now: Now,
    metrics: Metrics,
) -> Result<Arc<Core>, BufferError> {
    let lock = lock(path)?;
    let opening = Opening { path: path.to_owned(), journal: beside(path, ".journal"), info };
    wear::begin();
    let side_path = opening.side_path();
    let writable = probe(path, PROBE_BYTES);
    let mut notes = Vec::new();
    if let Some(Err(reason)) = Side::read(&side_path)? {
        notes.push(Note::SetAside { what: "high_water", to: move_aside(&side_path, now)?, reason });
    }
    let (tail, last) = Tail::open(&beside(path, ".last"))?;
    let (mut journal, found) = Journal::open(&opening.journal, config.journal_segment(), now)?;
    notes.extend(found);
    let (loaded, failure) = match writable.and_then(|()| opening.load(&last, now, &mut journal, notes)) {
        Err(error) if takes_no_writes(&error) => {
            let Some(loaded) = load::load_journal(&opening, &last, &journal)? else {
                return Err(error);
            };
            (loaded, Some(error))
        }
        other => (other?, None),
    };
    let Loaded { base, state, visible, book, outbox } = loaded;
    let commit = Committer::new(base.store.clone(), journal, metrics.clone(), visible, tail, book);
    let core = Arc::new(Core {
        base,
        config: config.clone(),
        metrics,
        state: Mutex::new(state),
        commit,
        outbox,
        opening,
        tending: Mutex::new(Tending::default()),
        _lock: lock,
    });
    core.tend_failures();
    if let Some(error) = failure {
        core.commit.fail(&error);
    }
    core.stat();
    Ok(core)
}

/// Whether it is the disk that refuses, for now, and not what is on it or who asks.
fn takes_no_writes(error: &BufferError) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let BufferError::Io { source, .. } = error else { return false };
    matches!(source.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
        || source.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Holds `<store>.lock` for as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File, BufferError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| BufferError::io("create", parent, error))?;
    }
    let lock = beside(path, ".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock)
        .map_err(|error| BufferError::io("open", &lock, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BufferError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(BufferError::io("lock", &lock, error)),
    }
}

/// sled may panic on a full disk as it does on damage; this tells them apart before it is asked. There must be room for
/// so many bytes; only some are written, for the flash's sake.
pub(super) fn probe(path: &Path, room: usize) -> Result<(), BufferError> {
    let probe = beside(path, ".probe");
    let written = File::create(&probe).and_then(|mut file| {
        match fallocate(&file, FallocateFlags::empty(), 0, room as u64) {
            // Where the file system cannot tell, the write below has to.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&probe);
    written.and(removed).map_err(|error| BufferError::io("write to the folder of", path, error))
}

/// Renames what cannot be used; nothing is deleted.
fn move_aside(path: &Path, now: Now) -> Result<PathBuf, BufferError> {
    let stamp = now.utc.as_micros().div_euclid(1_000_000);
    let stamp = jiff::Timestamp::from_second(stamp)
        .map_or_else(|_| stamp.to_string(), |time| time.strftime("%Y%m%dT%H%M%SZ").to_string());
    for attempt in 0.. {
        let suffix = if attempt == 0 { format!(".damaged-{stamp}") } else { format!(".damaged-{stamp}-{attempt}") };
        let target = beside(path, &suffix);
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        fs::rename(path, &target).map_err(|error| BufferError::io("set aside", path, error))?;
        path.parent().map_or(Ok(()), sync_folder)?;
        return Ok(target);
    }
    Err(BufferError::io("set aside", path, io::ErrorKind::AlreadyExists.into()))
}

/// What must outlive the store at `path`.
pub(super) fn side_file(path: &Path) -> PathBuf {
    beside(path, ".high_water")
}

/// `/x/buffer` and `.lock` make `/x/buffer.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
