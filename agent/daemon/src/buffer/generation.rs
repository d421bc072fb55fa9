//! One store takes another's place, so that at any moment a whole one has the name.
//!
//! The next generation is made in `<store>.draft`. When it is whole it becomes `<store>.fresh`; then the store goes aside,
//! and `<store>.fresh` becomes the store. Whatever step the power goes at, the next start finds out by the names alone:
//!
//! - a draft is never whole, and goes;
//! - while the store has its name, a fresh one is not needed: the store may have been written to since;
//! - while nothing has the store's name, the fresh one is the store: only once it was whole did the other make way;
//! - an old one that made way goes once the store has its name. One that was damaged is kept for a while, as
//!   `<store>.damaged-<time>`.

use std::fs;
use std::path::{Path, PathBuf};

use explaind_core::domain::time::Now;

use super::error::BufferError;
use super::store::{bytes_below, sync_folder};

/// Damaged stores, and damaged files of any other kind, that are kept: the newest.
const KEPT_DAMAGED: usize = 2;
const DAMAGED: &str = ".damaged-";
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// Where the next generation is made.
pub(super) fn draft(store: &Path) -> PathBuf {
    beside(store, ".draft")
}

fn fresh(store: &Path) -> PathBuf {
    beside(store, ".fresh")
}

fn old(store: &Path) -> PathBuf {
    beside(store, ".old")
}

/// Whether a store that is whole waits for the place of one that has made way.
pub(super) fn takes_its_place(store: &Path) -> bool {
    !exists(store) && (exists(&fresh(store)) || exists(&old(store)))
}

/// Finishes, or undoes, what the power or a kill cut off. What cannot be removed is in nobody's way.
pub(super) fn tidy(store: &Path) -> Result<(), BufferError> {
    discard(&draft(store));
    for candidate in [fresh(store), old(store)] {
        if !exists(&candidate) {
            continue;
        }
        if exists(store) {
            discard(&candidate);
        } else {
            rename(&candidate, store)?;
        }
    }
    Ok(())
}

/// The draft is whole, and nobody has it or the store open: it becomes the store. The store that was there goes aside
/// when it was `damaged`; returns where it is. Otherwise the next [`tidy`] removes it, which may take a while.
pub(super) fn take_over(store: &Path, damaged: Option<Now>) -> Result<Option<PathBuf>, BufferError> {
    let fresh = fresh(store);
    discard(&fresh);
    rename(&draft(store), &fresh)?;
    let aside = match damaged {
        Some(now) => Some(move_aside(store, now)?),
        None => {
            let old = old(store);
            discard(&old);
            rename(store, &old)?;
            None
        }
    };
    rename(&fresh, store)?;
    Ok(aside)
}

/// Removes what is left of a draft that was given up.
pub(super) fn discard_draft(store: &Path) {
    discard(&draft(store));
}

/// Renames what cannot be used. The newest ones are kept.
pub(super) fn move_aside(path: &Path, now: Now) -> Result<PathBuf, BufferError> {
    let mut kept = damaged(path);
    // Above all that are there, whatever the clock says: so that names sort by age.
    let newest = kept.last().and_then(|newest| seconds_of(path, newest)).map_or(i64::MIN, |newest| newest + 1);
    let stamp = now.utc.as_micros().div_euclid(1_000_000).max(newest);
    let stamp =
        jiff::Timestamp::from_second(stamp).map_or_else(|_| stamp.to_string(), |time| time.strftime(STAMP).to_string());
    let target = beside(path, &format!("{DAMAGED}{stamp}"));
    rename(path, &target)?;
    while kept.len() >= KEPT_DAMAGED {
        discard(&kept.remove(0));
    }
    Ok(target)
}

/// When something was set aside, by its name.
fn seconds_of(path: &Path, aside: &Path) -> Option<i64> {
    let name = aside.file_name()?.to_str()?;
    // Earlier versions put a number behind it.
    let stamp = name.strip_prefix(path.file_name()?.to_str()?)?.strip_prefix(DAMAGED)?.split('-').next()?;
    let time = jiff::civil::DateTime::strptime(STAMP, stamp).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Bytes of all that lies beside the store because of damage, or until a generation is done with.
pub(super) fn bytes_beside(store: &Path) -> u64 {
    let mut all = damaged(store);
    all.extend([draft(store), fresh(store), old(store)]);
    all.iter()
        .map(|path| if path.is_dir() { bytes_below(path) } else { fs::metadata(path).map_or(0, |data| data.len()) })
        .sum()
}

/// The store that was set aside last because it was damaged.
pub(super) fn newest_damaged(store: &Path) -> Option<PathBuf> {
    damaged(store).pop()
}

/// Makes room where there is too little for another store: damaged ones go, all but the newest.
pub(super) fn make_room(store: &Path) {
    let mut all = damaged(store);
    all.pop();
    for path in all {
        discard(&path);
    }
}

/// What was set aside of a path, the oldest first.
fn damaged(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let begin = format!("{name}{DAMAGED}");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&begin)))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// `/x/buffer` and `.lock` make `/x/buffer.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn rename(from: &Path, to: &Path) -> Result<(), BufferError> {
    fs::rename(from, to).map_err(|error| BufferError::io("rename", from, error))?;
    to.parent().map_or(Ok(()), sync_folder)
}

/// Removes a file or a folder. That it may fail holds up nothing.
pub(super) fn discard(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        tracing::warn!(%error, path = %path.display(), "what is no longer needed was not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::samples::at;

    fn make(path: &Path, what: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join("which"), what).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn wherever_it_is_cut_off_one_whole_store_has_the_name() {
        let cases: [(&[&str], &str); 7] = [
            (&["buffer", "buffer.draft"], "buffer"),
            (&["buffer", "buffer.fresh"], "buffer"),
            (&["buffer.old", "buffer.fresh"], "buffer.fresh"),
            (&["buffer.damaged-1", "buffer.fresh"], "buffer.fresh"),
            (&["buffer", "buffer.old"], "buffer"),
            (&["buffer.old"], "buffer.old"),
            (&["buffer"], "buffer"),
        ];
        for (there, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let store = folder.path().join("buffer");
            for name in there {
                make(&folder.path().join(name), name);
            }
            assert_eq!(takes_its_place(&store), !there.contains(&"buffer"), "{there:?}");
            tidy(&store).unwrap();
            assert_eq!(fs::read_to_string(store.join("which")).unwrap(), expected, "{there:?}");
            let left: Vec<String> = names(folder.path()).into_iter().filter(|name| !name.contains("damaged")).collect();
            assert_eq!(left, ["buffer"], "{there:?}");
            tidy(&store).unwrap();
        }
    }

    #[test]
    fn the_newest_two_damaged_ones_are_kept_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("buffer");
        make(&store, "0");
        for n in 1..5 {
            make(&draft(&store), &n.to_string());
            // The clock goes backwards.
            assert!(take_over(&store, Some(at(100 - n))).unwrap().unwrap().exists());
            assert_eq!(fs::read_to_string(store.join("which")).unwrap(), n.to_string());
        }
        let asides: Vec<String> =
            damaged(&store).iter().map(|path| fs::read_to_string(path.join("which")).unwrap()).collect();
        assert_eq!(asides, ["2", "3"], "the newest by their order, not by the clock");
        assert_eq!((names(folder.path()).len(), bytes_beside(&store)), (3, 2));
        make(&draft(&store), "5");
        assert_eq!(take_over(&store, None).unwrap(), None);
        assert_eq!(bytes_beside(&store), 3);
        tidy(&store).unwrap();
        assert_eq!((names(folder.path()).len(), fs::read_to_string(store.join("which")).unwrap()), (3, "5".to_owned()));
        make_room(&store);
        assert_eq!(bytes_beside(&store), 1);
    }
}
