//! A damaged store's files, read piece by piece: what the disk does not give counts as zeros.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::log::SEGMENT;
use crate::buffer::pulse;

/// What is tried anew where a whole segment is not given: a disk loses sectors.
const SECTOR: usize = 4096;
/// A body of its own is no larger: records are bounded, and pages of them hold a few.
const MOST_ASIDE: u64 = 64 << 20;

/// Where the log's bytes come from: fills as much as there is at a place, and says how much.
pub(super) trait Bytes {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Bytes for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, at.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The files of a store.
pub(super) struct Source<B = File> {
    log: B,
    length: u64,
    aside: PathBuf,
}

impl Source {
    /// Opens the store's files.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let log = File::open(store.join("db"))?;
        let length = log.metadata()?.len();
        Ok(Self { log, length, aside: store.join("blobs") })
    }
}

impl<B: Bytes> Source<B> {
    #[cfg(test)]
    pub(super) fn of(log: B, length: u64) -> Self {
        Self { log, length, aside: PathBuf::new() }
    }

    /// How many segments there are, the last of which may be cut short.
    pub(super) fn segments(&self) -> u64 {
        self.length.div_ceil(SEGMENT as u64)
    }

    /// The bytes of a segment.
    pub(super) fn segment<'a>(&self, index: u64, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        pulse::step();
        let begin = index.saturating_mul(SEGMENT as u64);
        let length = self.length.saturating_sub(begin).min(SEGMENT as u64);
        buffer.clear();
        buffer.resize(usize::try_from(length).unwrap_or(SEGMENT), 0);
        match self.log.read_at(buffer, begin) {
            Ok(count) => buffer.truncate(count),
            Err(_) => {
                for (n, sector) in buffer.chunks_mut(SECTOR).enumerate() {
                    if self.log.read_at(sector, begin.saturating_add((n * SECTOR) as u64)).is_err() {
                        sector.fill(0);
                    }
                }
            }
        }
        buffer
    }

    /// The first bytes of a segment; none when the disk does not give them.
    pub(super) fn head<'a>(&self, index: u64, buffer: &'a mut [u8]) -> &'a [u8] {
        let count = self.log.read_at(buffer, index.saturating_mul(SEGMENT as u64)).unwrap_or(0);
        buffer.get(..count).unwrap_or_default()
    }

    /// A file that holds the body of a message, by the number that stands in its place.
    pub(super) fn aside(&self, body: &[u8]) -> Option<Vec<u8>> {
        let number = i64::from_le_bytes(*body.first_chunk()?);
        let path = self.aside.join(number.to_string());
        let size = fs::metadata(&path).ok()?.len();
        if size > MOST_ASIDE {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        super::log::aside(&bytes).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with a bad sector.
    struct Worn(Vec<u8>);

    impl Bytes for Worn {
        fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
            let at = usize::try_from(at).unwrap();
            let end = self.0.len().min(at + into.len());
            if at < 3 * SECTOR && end > 2 * SECTOR {
                return Err(io::Error::from_raw_os_error(5));
            }
            into[..end - at].copy_from_slice(&self.0[at..end]);
            Ok(end - at)
        }
    }

    #[test]
    fn a_bad_sector_costs_itself_only() {
        let length = SEGMENT + 100;
        let source = Source::of(Worn(vec![7; length]), length as u64);
        assert_eq!(source.segments(), 2);
        let mut buffer = Vec::new();
        let bytes = source.segment(0, &mut buffer);
        let zeros: Vec<usize> = (0..SEGMENT).filter(|n| bytes[*n] == 0).collect();
        assert_eq!(zeros, (2 * SECTOR..3 * SECTOR).collect::<Vec<_>>());
        assert_eq!(source.segment(1, &mut buffer), [7; 100]);
    }
}
