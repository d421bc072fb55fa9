//! A damaged segment is kept as it was, and its whole entries take its place.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use explaind_core::domain::time::Now;

use super::entry::{self, Entry};
use super::segment;
use crate::buffer::error::BufferError;
use crate::buffer::store::sync_folder;

/// Copies of damaged segments that are kept; the oldest go.
const MOST_COPIES: usize = 8;

/// Sets a segment aside and writes its entries anew under its name. Returns where the copy is, and the new length.
///
/// At each moment the segment's name leads to the old file or to the whole new one.
pub(super) fn mend(
    folder: &Path,
    number: u64,
    entries: &[(u64, Entry)],
    now: Now,
) -> Result<(PathBuf, u64), BufferError> {
    let path = segment::path(folder, number);
    let draft = path.with_extension("new");
    let mut bytes = segment::header(number).to_vec();
    for (running, entry) in entries {
        bytes.extend_from_slice(&entry::framed(*running, &entry.content()?));
    }
    let at = |error| BufferError::io("mend the journal segment", &path, error);
    let copy = place(folder, number, now)?;
    File::create(&draft)
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        })
        // Not every file system has links.
        .and_then(|()| fs::hard_link(&path, &copy).or_else(|_| fs::copy(&path, &copy).map(drop)))
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(at)
        .inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })?;
    sync_folder(folder)?;
    Ok((copy, bytes.len() as u64))
}

/// Takes a segment that cannot be read out of the way.
pub(super) fn move_aside(folder: &Path, number: u64, now: Now) -> Result<PathBuf, BufferError> {
    let path = segment::path(folder, number);
    let copy = place(folder, number, now)?;
    fs::rename(&path, &copy).map_err(|error| BufferError::io("set aside", &path, error))?;
    Ok(copy)
}

/// A free name for a copy, among few others.
fn place(folder: &Path, number: u64, now: Now) -> Result<PathBuf, BufferError> {
    let damaged = folder.join("damaged");
    let at = |error| BufferError::io("create", &damaged, error);
    fs::create_dir_all(&damaged).map_err(at)?;
    let mut copies: Vec<PathBuf> = fs::read_dir(&damaged).map_err(at)?.flatten().map(|entry| entry.path()).collect();
    // By number, then by time.
    copies.sort();
    let surplus = (copies.len() + 1).saturating_sub(MOST_COPIES);
    for copy in copies.iter().take(surplus) {
        let _ = fs::remove_file(copy);
    }
    Ok(damaged.join(format!("{number:012}-{}.log", now.utc.as_micros())))
}
