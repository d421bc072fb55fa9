//! Opening: one process at a time, on a disk that takes writes; and a store that does not open is not the end.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use explaind_core::domain::time::Now;

use super::commit::Committer;
use super::error::BufferError;
use super::load::{self, Loaded};
use super::report::Note;
use super::side::Side;
use super::store::sync_folder;
use super::tail::Tail;
use super::{Config, Core, SessionInfo};
use crate::telemetry::Metrics;

/// How much is written to see whether the disk takes it.
const PROBE_BYTES: usize = 256 << 10;

/// Opens the store at `path`, which need not exist.
pub(super) fn open(
    path: &Path,
    config: &Config,
    info: SessionInfo,
    now: Now,
    metrics: Metrics,
) -> Result<Core, BufferError> {
    let lock = lock(path)?;
    probe(path)?;
    let side_path = beside(path, ".high_water");
    let mut aside = Vec::new();
    if let Some(Err(reason)) = Side::read(&side_path)? {
        aside.push((move_aside(&side_path, now)?, "high_water", reason));
    }
    let (tail, last) = Tail::open(&beside(path, ".last"))?;
    let Loaded { base, state, visible, book } = match load::load(path, &side_path, &last, &info, now, notes(&aside)) {
        Err(BufferError::Damaged { detail, .. }) => {
            aside.push((move_aside(path, now)?, "store", detail));
            load::load(path, &side_path, &last, &info, now, notes(&aside))?
        }
        other => other?,
    };
    let commit = Committer::new(base.store.clone(), metrics.clone(), visible, tail, book);
    let core = Core { base, config: config.clone(), metrics, state: Mutex::new(state), commit, _lock: lock };
    core.stat();
    Ok(core)
}

fn notes(aside: &[(PathBuf, &'static str, String)]) -> Vec<Note> {
    aside.iter().map(|(to, what, reason)| Note::SetAside { what, to: to.clone(), reason: reason.clone() }).collect()
}

/// Holds `<store>.lock` for as long as the file is open.
fn lock(path: &Path) -> Result<File, BufferError> {
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

/// sled may panic on a full disk as it does on damage; this tells them apart before it is asked.
fn probe(path: &Path) -> Result<(), BufferError> {
    let probe = beside(path, ".probe");
    let written = File::create(&probe).and_then(|mut file| {
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

/// `/x/buffer` and `.lock` make `/x/buffer.lock`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
