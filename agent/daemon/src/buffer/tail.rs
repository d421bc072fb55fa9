//! The number of each stream's last durable record, kept outside the store.
//!
//! When bytes of its log are damaged, sled may open as if everything after them had never been written: nothing in
//! the store says that records are missing. So after each flush the last numbers are written here, in place and
//! without a sync of their own: the kernel writes the page out within half a minute, at next to no wear. The file is
//! never ahead of store and journal together, and where it is, they have lost records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use explaind_core::domain::record::Stream;

use super::codec;
use super::cursor::PerStream;
use super::wear::{self, Writer};

/// What the checksum is taken with.
const KEY: &[u8] = b"explaind tail";
/// Fixed, so that each write covers the one before.
const LENGTH: usize = 64;

/// The file, while it can be opened.
pub(super) struct Tail {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Tail {
    /// Opens or creates the file, and says what it knows; zeros when it is new, makes no sense or cannot be read. A disk
    /// that takes no writes is asked again at each note.
    pub(super) fn open(path: &Path) -> (Self, PerStream<u64>) {
        let file = open(path).ok();
        let mut bytes = [0; LENGTH];
        let readable = file.as_ref().map_or_else(|| File::open(path), File::try_clone);
        // A short file is a new one, or as good as new.
        let known =
            readable.and_then(|file| file.read_exact_at(&mut bytes, 0)).ok().and_then(|()| read_numbers(&bytes));
        (Self { path: path.to_owned(), file: Mutex::new(file) }, known.unwrap_or_default())
    }

    /// What a file knows, which is left as it is; zeros when there is none, or it makes no sense.
    pub(super) fn known(path: &Path) -> PerStream<u64> {
        let mut bytes = [0; LENGTH];
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0));
        read.ok().and_then(|()| read_numbers(&bytes)).unwrap_or_default()
    }

    /// Notes the last numbers. It is a safeguard, so that it may fail holds up nothing.
    pub(super) fn note(&self, last: &PerStream<u64>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = match &mut *file {
            Some(file) => file.write_all_at(&bytes(last), 0),
            closed => open(&self.path).and_then(|opened| closed.insert(opened).write_all_at(&bytes(last), 0)),
        };
        if let Err(error) = noted {
            // It may lie on a disk that is there no more.
            *file = None;
            tracing::debug!(%error, "the last numbers could not be noted beside the store");
        }
        wear::wrote(Writer::Side, LENGTH as u64);
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

/// The numbers in the order of [`Stream::ALL`], little-endian, then a checksum, then zeros. Files of before the stream
/// `explanations` have one number less.
fn bytes(last: &PerStream<u64>) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let numbers = Stream::ALL.into_iter().flat_map(|stream| last[stream].to_le_bytes());
    let content: Vec<u8> = numbers.collect();
    let sum = codec::checksum(KEY, &content).to_le_bytes();
    for (place, byte) in bytes.iter_mut().zip(content.into_iter().chain(sum)) {
        *place = byte;
    }
    bytes
}

fn read_numbers(bytes: &[u8; LENGTH]) -> Option<PerStream<u64>> {
    let count = Stream::ALL.len();
    let content = [count, count - 1].into_iter().find_map(|count| {
        let (content, rest) = bytes.split_at_checked(8 * count)?;
        let sum = rest.first_chunk::<4>()?;
        (codec::checksum(KEY, content) == u32::from_le_bytes(*sum)).then_some(content)
    })?;
    let mut last = PerStream::default();
    for (stream, number) in Stream::ALL.into_iter().zip(content.chunks_exact(8)) {
        last[stream] = u64::from_le_bytes(*number.first_chunk()?);
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_again_and_rubbish_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer.last");
        let (tail, known) = Tail::open(&path);
        assert_eq!(known, PerStream::default());
        let mut last = PerStream::default();
        last[Stream::Predictions] = 7;
        last[Stream::Health] = u64::MAX;
        tail.note(&last);
        assert_eq!(Tail::open(&path).1, last);
        for bit in 0..52 * 8 {
            let mut damaged = bytes(&last);
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Tail::open(&path).1, PerStream::default(), "bit {bit}");
        }
        let mut earlier = bytes(&last);
        let sum = codec::checksum(KEY, &earlier[..40]).to_le_bytes();
        earlier[40..].fill(0);
        earlier[40..44].copy_from_slice(&sum);
        std::fs::write(&path, earlier).unwrap();
        assert_eq!(Tail::open(&path).1, last, "as an earlier version wrote it");
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(Tail::open(&path).1, PerStream::default());
    }
}
