//! The bound in force: `max_bytes`, or less where the disk is smaller, so that our own records do not soon fill it, or the
//! memory is (`memory`).
//!
//! A disk that is full takes the store with it (see `recover`), and sled then cannot even evict. So some seconds apart it is
//! asked how much is free; together with what our files take that is what there is. Of it a margin stays free, for what
//! others write meanwhile, and a share, since sled's files are larger than what is in them. Should they grow into the margin
//! all the same, fewer records are kept until they grow no more.
//!
//! sled gives back little of what is taken away among other records: with 22 MB kept and thinned all the time its files were
//! 33 MB after 48,000 predictions, 117 MB after 160,000 and 220 MB after 490,000. So on a small disk the store is written anew
//! (`renew`) as soon as its files are twice what they need, while there is still room for a second one.

use std::path::Path;
use std::time::Duration;

use explaind_core::domain::time::Now;
use rustix::fs::statvfs;

use super::bounds::Config;
use super::evict::due;
use super::memory;

/// How often the disk is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// What stays free, beside a share of the disk: the journal's next files, and what a recovery needs.
const MARGIN: u64 = 6 << 20;
/// On however full a disk, so much may be kept: what does not fit fails, and is said.
const LEAST: u64 = 1 << 20;
/// Files that grew by so much did not find room in themselves.
const GROWN: u64 = 1 << 20;
/// Files of a store that are larger than twice its records by this much are written anew on a small disk.
const SLACK: u64 = 4 << 20;
/// Share of the room that stays free.
const MARGIN_SHARE: u64 = 16;

/// What was last seen of the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    looked: Option<Now>,
    free: Option<u64>,
    /// What the records may take there.
    there: Option<u64>,
    /// What they may take of the memory.
    memory: Option<u64>,
    /// The margin is used up, or others took so much of the disk that even what is kept is more. Evicting it gives them
    /// nothing, since sled's files never shrink; so it stays, and no more is added, while the files do not grow: bound, and
    /// bytes of the files.
    held: Option<(u64, u64)>,
}

impl Room {
    /// Whether it is time to look again.
    pub(super) fn is_due(&self, now: Now) -> bool {
        due(self.looked, now, EVERY)
    }

    /// Looks at the disk on which `folder` is, where our files take so many bytes, with records that count for `kept`. What
    /// cannot be seen is no bound.
    pub(super) fn look(&mut self, now: Now, folder: &Path, files: u64, kept: u64) {
        self.looked = Some(now);
        self.memory = memory::bound();
        self.take(Self::free(folder), files, kept);
    }

    fn take(&mut self, free: Option<u64>, files: u64, kept: u64) {
        self.free = free;
        self.there = free.map(|free| usable(files, free));
        let Some((free, there)) = free.zip(self.there) else {
            self.held = None;
            return;
        };
        let is_tight = there < kept || free < margin(files.saturating_add(free));
        self.held = match self.held {
            _ if !is_tight => None,
            None => Some((kept.max(LEAST), files)),
            // Fewer records leave sled more room within its files.
            Some((bound, before)) if files > before.saturating_add(GROWN) => Some((bound.min(kept - kept / 16), files)),
            held => held,
        };
    }

    /// Whether the disk is smaller than what may be kept, the files of a store with records of so many bytes are large for
    /// that, and there is room for another such store.
    pub(super) fn wants_it_anew(&self, config: &Config, files: u64, counted: u64) -> bool {
        let small = self.there.is_some_and(|there| there < config.max_bytes);
        small && files > counted.saturating_mul(2).saturating_add(SLACK) && self.takes_another(counted)
    }

    /// Whether there is room for another store with records of so many bytes; where that cannot be seen, it is tried.
    pub(super) fn takes_another(&self, counted: u64) -> bool {
        let another = counted.saturating_add(counted / 2).saturating_add(SLACK);
        self.free.is_none_or(|free| free > another)
    }

    /// Whether others took the room.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether so little is free that no second store may grow any further.
    pub(super) fn is_short(folder: &Path) -> bool {
        Self::free(folder).is_some_and(|free| free < MARGIN)
    }

    /// Bytes that are free on the disk of a folder, as far as that can be seen.
    pub(super) fn free(folder: &Path) -> Option<u64> {
        statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes that there are on the disk of a folder, as far as that can be seen.
    pub(super) fn size(folder: &Path) -> Option<u64> {
        statvfs(folder).ok().map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize))
    }

    /// Bytes that all records may take.
    pub(super) fn bound(&self, config: &Config) -> u64 {
        let there = self.held.map(|(bound, _)| bound).or(self.there);
        [there, self.memory].into_iter().flatten().fold(config.max_bytes, u64::min)
    }
}

/// What records may count for where our files take `files` and so much is free.
fn usable(files: u64, free: u64) -> u64 {
    let all = files.saturating_add(free);
    // Room for files of twice the size, and for another store beside them while it is written anew.
    all.saturating_sub(margin(all)) / 5
}

fn margin(all: u64) -> u64 {
    MARGIN.saturating_add(all / MARGIN_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::samples::at;

    #[test]
    fn a_small_disk_is_the_bound_and_a_large_one_is_none() {
        let config = Config::default();
        let mut room = Room::default();
        assert_eq!(room.bound(&config), config.max_bytes);
        room.take(Some(54 << 20), 10 << 20, 8 << 20);
        assert!((9 << 20..12 << 20).contains(&room.bound(&config)), "{}", room.bound(&config));
        room.take(Some(100 << 30), 0, 0);
        assert_eq!(room.bound(&config), config.max_bytes);
        assert_eq!(usable(0, 1 << 20), 0);
        let folder = tempfile::tempdir().unwrap();
        room.look(at(1), folder.path(), 0, 0);
        assert!(room.there.is_some() && !room.is_due(at(5)) && room.is_due(at(12)));
        room.take(None, 0, 1 << 40);
        assert_eq!(room.bound(&config), config.max_bytes);
    }

    #[test]
    fn on_a_small_disk_a_store_is_written_anew_while_another_finds_room() {
        let (config, mut room) = (Config::default(), Room::default());
        let mb = |n: u64| n << 20;
        room.take(Some(mb(30)), mb(34), mb(13));
        assert!(room.wants_it_anew(&config, mb(31), mb(13)) && !room.wants_it_anew(&config, mb(30), mb(13)));
        room.take(Some(mb(20)), mb(44), mb(13));
        assert!(!room.wants_it_anew(&config, mb(44), mb(13)), "there is no room for another");
        assert!(!room.takes_another(mb(13)) && room.takes_another(mb(10)));
        room.take(Some(mb(100_000)), mb(44), mb(13));
        assert!(!room.wants_it_anew(&config, mb(44), mb(13)), "on a large disk it may stay as it is");
    }

    #[test]
    fn what_others_take_costs_no_record_that_is_kept() {
        let (config, mut room) = (Config::default(), Room::default());
        let mb = |n: u64| n << 20;
        room.take(Some(0), mb(30), mb(20));
        assert_eq!(room.bound(&config), mb(20), "no more than there is");
        room.take(Some(0), mb(30), mb(19));
        assert_eq!(room.bound(&config), mb(20), "what went makes room for others");
        room.take(Some(0), mb(32), mb(20));
        assert!(room.bound(&config) < mb(20), "unless the files grow all the same");
        room.take(Some(mb(600)), mb(32), mb(18));
        assert!(room.bound(&config) > mb(100));
        room.take(Some(mb(5)), mb(400), mb(100));
        assert_eq!(room.bound(&config), mb(100), "our own files grew into the margin");
        room.take(Some(mb(3)), mb(402), mb(99));
        assert!(room.bound(&config) < mb(99));
    }
}
