//! One file of the journal: a header, entries, and zeros up to its end, all of it on disk before the first entry.
//!
//! The zeros are written, not only reserved: an entry then lies in blocks that have their place, so making it last writes
//! its own block and nothing of the file system's books, and no full disk gets in its way.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::buffer::error::BufferError;
use crate::buffer::store::sync_folder;
use crate::buffer::wear::{self, Writer};

/// Bytes before the first entry.
pub(super) const HEADER: usize = 32;
const MAGIC: [u8; 8] = *b"XPLNJRNL";
/// The version that is written, and the newest that can be read.
const VERSION: u32 = 1;
/// A file that is larger than this is none of ours.
const MOST_BYTES: u64 = 64 << 20;
const ENDING: &str = "log";

/// A segment that can be written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    file: File,
    size: u64,
    /// Where the next entry goes: everything below is on disk.
    pub(super) used: u64,
}

impl Segment {
    /// Makes a segment of `size` bytes. When it returns it is on disk, under its name.
    pub(super) fn create(folder: &Path, number: u64, size: u64) -> Result<Self, BufferError> {
        let path = path(folder, number);
        let draft = path.with_extension("new");
        let at = |error| BufferError::io("make a journal segment at", &draft, error);
        let made = File::options().create(true).truncate(true).read(true).write(true).open(&draft).and_then(|file| {
            // Says at once when there is no room. Not every file system can, and those that cannot say so by the write.
            match fallocate(&file, FallocateFlags::empty(), 0, size) {
                Err(error) if error == rustix::io::Errno::NOSPC => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            fill(&file, number, size)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            Ok(file)
        });
        let file = made.map_err(at).inspect_err(|_| {
            // A half-made one takes the room that others need.
            let _ = fs::remove_file(&draft);
        })?;
        sync_folder(folder)?;
        wear::wrote(Writer::Journal, size);
        Ok(Self { number, path, file, size, used: HEADER as u64 })
    }

    /// Opens one that is there, to go on after its first `used` bytes.
    pub(super) fn open(folder: &Path, number: u64, used: u64) -> Result<Self, BufferError> {
        let path = path(folder, number);
        let at = |error| BufferError::io("open", &path, error);
        let file = File::options().read(true).write(true).open(&path).map_err(at)?;
        let size = file.metadata().map_err(at)?.len();
        Ok(Self { number, path, file, size, used })
    }

    /// Whether so many more bytes fit in.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.room() >= bytes as u64
    }

    /// Bytes that fit in.
    pub(super) fn room(&self) -> u64 {
        self.size.saturating_sub(self.used)
    }

    /// Adds entries and makes them last. After a failure the next try goes to the same place: what lies there counts
    /// for nothing, since whoever reads it has either the whole entries or none.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BufferError> {
        self.file
            .write_all_at(bytes, self.used)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| BufferError::io("write to the journal", &self.path, error))?;
        self.used += bytes.len() as u64;
        wear::wrote(Writer::Journal, bytes.len() as u64);
        Ok(())
    }

    /// The same with a file that takes no writes.
    #[cfg(test)]
    pub(super) fn failing(self) -> Self {
        Self { file: File::open(&self.path).unwrap(), ..self }
    }

    /// Nothing more is written to it: what is behind its last entry goes. That it may fail costs room and nothing else.
    pub(super) fn seal(self) {
        if let Err(error) = self.file.set_len(self.used) {
            tracing::debug!(%error, path = %self.path.display(), "a journal segment was not cut to its length");
        }
    }
}

fn fill(mut file: &File, number: u64, size: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    file.write_all(&header(number))?;
    let mut left = size.saturating_sub(HEADER as u64);
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..usize::try_from(piece).unwrap_or(ZEROS.len())])?;
        left -= piece;
    }
    Ok(())
}

/// Magic, version, number, and a checksum over these, then zeros.
pub(super) fn header(number: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..20]).to_le_bytes();
    bytes[20..24].copy_from_slice(&sum);
    bytes
}

/// What a file's first bytes say.
#[derive(Debug, PartialEq)]
pub(super) enum Header {
    /// A segment of this version.
    Known,
    /// One of a later version.
    Newer(u8),
    /// Nothing that makes sense.
    Damaged,
}

/// Reads a header.
pub(super) fn read_header(bytes: &[u8]) -> Header {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Header::Damaged };
    let (Some(version), Some(sum)) =
        (header.get(8..12).and_then(<[u8]>::first_chunk), header.get(20..24).and_then(<[u8]>::first_chunk))
    else {
        return Header::Damaged;
    };
    if header[..8] != MAGIC || crc32fast::hash(&header[..20]) != u32::from_le_bytes(*sum) || header[24..] != [0; 8] {
        return Header::Damaged;
    }
    match u32::from_le_bytes(*version) {
        VERSION => Header::Known,
        other => Header::Newer(u8::try_from(other).unwrap_or(u8::MAX)),
    }
}

/// The name of a segment.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.{ENDING}"))
}

/// The numbers of the segments in a folder, ascending. Drafts that a crash left behind go.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, BufferError> {
    let at = |error| BufferError::io("list", folder, error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()) else { continue };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(ENDING) => numbers.push(number),
            Some("new") => {
                let _ = fs::remove_file(&path);
            }
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A segment's bytes.
pub(super) fn bytes(folder: &Path, number: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path(folder, number))?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
