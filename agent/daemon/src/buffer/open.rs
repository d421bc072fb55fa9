//! Opening: one process at a time, on a disk that takes writes; and a store that does not open is not the end.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use explaind_core::domain::time::Now;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::commit::Committer;
use super::cursor::PerStream;
use super::error::BufferError;
use super::generation::{self, beside, move_aside};
use super::journal::Journal;
use super::load::{self, Loaded};
use super::recover::Tending;
use super::renew::Renewing;
use super::report::Note;
use super::room::Room;
use super::salvage::{self, Salvaged};
use super::side::Side;
use super::store::bytes_below;
use super::tail::Tail;
use super::{Config, Core, SessionInfo, wear};
use crate::pseudonym::Pseudonyms;
use crate::telemetry::Metrics;

/// How much is written to see whether the disk takes it.
const PROBE_BYTES: usize = 256 << 10;
/// Room that the disk must have for a store that is opened again, or made.
pub(super) const ROOM: usize = 4 << 20;

/// What it takes to open a store, the first time and again.
pub(super) struct Opening {
    /// The store's folder.
    pub(super) path: PathBuf,
    /// The journal's folder.
    pub(super) journal: PathBuf,
    /// The present run.
    pub(super) info: SessionInfo,
    /// What stands for people in the hashes of audit records.
    pub(super) pseudonyms: Pseudonyms,
    /// Bytes that must be free before it is tried again to read out a damaged store; zero while nothing is known of that.
    pub(super) wanted: AtomicU64,
}

impl Opening {
    /// Opens the store and makes it and the journal say the same. What can be read of a damaged one goes into a fresh
    /// one first; one of which nothing can be read is set aside.
    ///
    /// `last`: the highest number of each stream that is known to have been given out. `damage`: what is known to be
    /// wrong with the store.
    pub(super) fn load(
        &self,
        last: &PerStream<u64>,
        now: Now,
        journal: &mut Journal,
        mut notes: Vec<Note>,
        damage: Option<String>,
    ) -> Result<Loaded, BufferError> {
        generation::tidy(&self.path)?;
        let mut damage = damage.or_else(|| self.damage());
        // Three tries: as it is, read out, and without it.
        for _ in 0..2 {
            if let Some(reason) = damage.take() {
                self.read_out(&reason, now, &mut notes)?;
            }
            match load::load(self, last, now, journal, &mut notes) {
                Err(error) if is_damage(&error) => damage = Some(error.to_string()),
                other => return other,
            }
        }
        if let Some(reason) = damage {
            notes.push(Note::SetAside { what: "store", to: move_aside(&self.path, now)?, reason });
        }
        load::load(self, last, now, journal, &mut notes)
    }

    /// What is wrong with the store's files that sled would pass over.
    pub(super) fn damage(&self) -> Option<String> {
        salvage::is_needed(&self.path).then(|| salvage::HOLED.to_owned())
    }

    /// Has a fresh store take the damaged one's place, with what can be read of it.
    fn read_out(&self, reason: &str, now: Now, notes: &mut Vec<Note>) -> Result<(), BufferError> {
        tracing::error!(reason, "the store is damaged: what can be read of it goes into a fresh one");
        let found = self.prepare(reason, now)?;
        self.replace(found, reason, now, notes)
    }

    /// Reads the store out into a draft; it may be open meanwhile, as long as nothing is written to it. `None` when there
    /// is nothing to read.
    ///
    /// # Errors
    /// When the disk takes no writes, or not enough of them: the store stays as it is until there is room. When a later
    /// version wrote it.
    pub(super) fn prepare(&self, reason: &str, now: Now) -> Result<Option<Salvaged>, BufferError> {
        generation::tidy(&self.path)?;
        self.check_room()?;
        let side = Side::read(&self.side_path()).ok().flatten().and_then(Result::ok);
        let draft = generation::draft(&self.path);
        for attempt in 0..2 {
            match salvage::read_out(&self.path, &draft, side.as_ref(), reason, now) {
                Err(error @ BufferError::Newer { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "what can be read of the store does not get into a fresh one");
                    let written = bytes_below(&draft);
                    // sled may panic where there is no room, so that its error is no help.
                    let short = probe(&self.path, ROOM).err();
                    generation::discard_draft(&self.path);
                    match (attempt, short) {
                        (0, _) => generation::make_room(&self.path),
                        (_, Some(short)) => {
                            self.wanted.store(written.saturating_add(written / 4), Ordering::Relaxed);
                            return Err(short);
                        }
                        (_, None) => {}
                    }
                }
                Ok(found) => {
                    self.wanted.store(0, Ordering::Relaxed);
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Where there was too little room the last time, nothing is written before there is more.
    fn check_room(&self) -> Result<(), BufferError> {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let free = Room::free(&self.path).unwrap_or(u64::MAX);
        if free < wanted {
            let error = io::ErrorKind::StorageFull.into();
            return Err(BufferError::io("read out the damaged store beside", &self.path, error));
        }
        Ok(())
    }

    /// Puts what was [prepared](Self::prepare) into the store's place, or nothing. Nobody has the store open.
    pub(super) fn replace(
        &self,
        found: Option<Salvaged>,
        reason: &str,
        now: Now,
        notes: &mut Vec<Note>,
    ) -> Result<(), BufferError> {
        match found {
            // What was done is in the fresh store, and goes on record when that is opened.
            Some(_) => drop(generation::take_over(&self.path, Some(now))?),
            None if self.path.exists() => {
                let to = move_aside(&self.path, now)?;
                notes.push(Note::SetAside { what: "store", to, reason: reason.to_owned() });
            }
            None => {}
        }
        Ok(())
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
    let opening = Opening {
        path: path.to_owned(),
        journal: beside(path, ".journal"),
        info,
        pseudonyms: pseudonyms(path)?,
        wanted: AtomicU64::new(0),
    };
    wear::begin();
    let side_path = opening.side_path();
    let writable = probe(path, PROBE_BYTES);
    let mut notes = Vec::new();
    if let Some(Err(reason)) = Side::read(&side_path)? {
        // On a disk that takes no writes it stays, and the next start does it.
        match move_aside(&side_path, now) {
            Ok(to) => notes.push(Note::SetAside { what: "high_water", to, reason }),
            Err(error) if takes_no_writes(&error) => tracing::warn!(%error, reason, "what makes no sense stays"),
            Err(error) => return Err(error),
        }
    }
    let (tail, last) = Tail::open(&beside(path, ".last"));
    let (mut journal, found) = Journal::open(&opening.journal, config.journal_segment(), now)?;
    notes.extend(found);
    let (loaded, failure) = match writable.and_then(|()| opening.load(&last, now, &mut journal, notes, None)) {
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
        renewing: Renewing::default(),
        _lock: lock,
    });
    core.tend_failures();
    core.notice_damage();
    if let Some(error) = failure {
        core.commit.fail(&error);
    }
    core.stat();
    Ok(core)
}

/// The key that lies beside the store. On a disk that takes no writes at present, one that goes with this process will do.
fn pseudonyms(path: &Path) -> Result<Pseudonyms, BufferError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let fail = |error| BufferError::io("read or make the key of pseudonyms in", folder, error);
    match Pseudonyms::open(folder).map_err(fail) {
        Err(error) if takes_no_writes(&error) => {
            tracing::warn!(%error, "until the next start people have pseudonyms that do not come again");
            Pseudonyms::passing().map_err(fail)
        }
        other => other,
    }
}

/// Whether it is what the disk holds that is at fault. An error of the disk counts as well when a store is opened: that the
/// disk takes writes was seen just before.
pub(super) fn is_damage(error: &BufferError) -> bool {
    match error {
        BufferError::Damaged { .. } => true,
        BufferError::Io { source, doing, .. } => {
            matches!(*doing, "open" | "read") && source.raw_os_error() == Some(Errno::IO.raw_os_error())
        }
        _ => false,
    }
}

/// Whether it is the disk that refuses, for now, and not what is on it or who asks.
fn takes_no_writes(error: &BufferError) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let BufferError::Io { source, .. } = error else { return false };
    matches!(source.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
        || source.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Holds `<store>.lock` for as long as the file is open. On a disk that takes no writes the file that is there will do, or
/// the folder.
pub(super) fn lock(path: &Path) -> Result<File, BufferError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| BufferError::io("create", folder, error))?;
    let lock = beside(path, ".lock");
    let opened = File::options().create(true).truncate(false).write(true).open(&lock);
    let file = match opened.map_err(|error| BufferError::io("open", &lock, error)) {
        Err(error) if takes_no_writes(&error) => {
            File::open(&lock).or_else(|_| File::open(folder)).map_err(|_| error)?
        }
        other => other?,
    };
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

/// What must outlive the store at `path`.
pub(super) fn side_file(path: &Path) -> PathBuf {
    beside(path, ".high_water")
}
