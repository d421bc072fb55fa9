//! Room on the disk for what sled writes next.
//!
//! sled takes a disk that is full for the end of the store: once a write of its own has failed it refuses to be read, too.
//! And it writes while it is read, since it puts pages anew that have changed a lot. So the disk is asked for room behind the
//! end of sled's log before anything is put in, and what finds none never reaches sled. What is left then is for its reading.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

/// There is always so much room, of which no write may be the last: sled's log grows by segments of half of it.
const LEAST: u64 = 1 << 20;
/// So much is taken when there is less, for the next writes too.
const STEP: u64 = 1 << 20;
/// The unit in which files count what they take of the disk.
const SECTOR: u64 = 512;

/// Keeps room behind the end of one file. The file is no longer for it.
pub(super) struct Headroom(Option<File>);

impl Headroom {
    /// For the log of a store. Where that is not a file that can be opened there is nothing to be done.
    pub(super) fn of(log: &Path) -> Self {
        Self(File::options().write(true).open(log).ok())
    }

    /// Sees to it that so many bytes can be put in. Where the file system knows no such thing it is for the write to find
    /// out.
    ///
    /// # Errors
    /// When there is no room, or the disk takes no writes.
    pub(super) fn ensure(&self, bytes: u64) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let data = file.metadata()?;
        // A value is stored with what leads to it, and pages are put anew.
        let wanted = data.len().saturating_add(LEAST).saturating_add(bytes.saturating_mul(2));
        if data.blocks().saturating_mul(SECTOR) >= wanted {
            return Ok(());
        }
        match retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, wanted.saturating_add(STEP))) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn there_is_room_behind_the_end_of_a_file_that_is_no_longer_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        fs::write(&path, [1; 1000]).unwrap();
        let headroom = Headroom::of(&path);
        headroom.ensure(100).unwrap();
        let taken = fs::metadata(&path).unwrap();
        assert_eq!(taken.len(), 1000);
        assert!(taken.blocks() * SECTOR >= LEAST + 1200, "{} blocks", taken.blocks());
        headroom.ensure(2000).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().blocks(), taken.blocks(), "nothing more is taken before it is needed");
        headroom.ensure(1 << 20).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() > taken.blocks());
        headroom.ensure(1 << 45).unwrap_err();
        Headroom::of(&folder.path().join("none")).ensure(1).unwrap();
    }
}
