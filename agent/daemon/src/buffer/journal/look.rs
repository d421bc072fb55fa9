//! Looks at segments without touching them: for a full check, also of a journal that is in use.

use std::fs;
use std::io;
use std::path::Path;

use super::Entry;
use super::{scan, segment};

/// What a segment holds, and what is wrong with it.
pub(in crate::buffer) struct Look {
    pub(in crate::buffer) entries: Vec<Entry>,
    pub(in crate::buffer) damage: Option<String>,
    /// Bytes up to the end of the last entry.
    pub(in crate::buffer) used: u64,
}

/// The numbers of the segments in a folder, ascending; none when there is no folder.
pub(in crate::buffer) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|number| segment::path(folder, *number) == path) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a segment.
///
/// # Errors
/// When the disk does not give it.
pub(in crate::buffer) fn look(folder: &Path, number: u64) -> io::Result<Look> {
    let bytes = segment::bytes(folder, number)?;
    Ok(match scan::scan(&bytes, 0) {
        Ok(scan) => Look {
            used: if scan.entries.is_empty() { 0 } else { scan.end as u64 },
            entries: scan.entries.into_iter().map(|(_, entry)| entry).collect(),
            damage: scan.damage,
        },
        Err(version) => Look {
            entries: Vec::new(),
            damage: Some(format!("a later version ({version}) of explaind wrote it")),
            used: 0,
        },
    })
}
