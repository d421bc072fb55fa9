//! What health records tell of evicted and of lost predictions, for a store that was damaged.
//!
//! How many predictions were evicted of a segment of numbers is counted in one entry (`declared`). Where damage has hit the
//! last writing of that entry, an older one counts fewer, and the rest would pass for lost: central would hear twice of the
//! same numbers, as evicted and as lost. But each eviction is on record as well, elsewhere in the store and in the journal.
//! Their sum is a second witness; `balance` weighs the two.

use super::codec;
use super::declared::numbers;
use super::error::BufferError;
use super::keys;
use super::pulse;
use super::store::Entry;
use super::stored::StoredRecord;
use super::verify::Range;

use explaind_core::domain::record::Stream;

const PAGE: usize = 1000;

/// Ranges of predictions, and how many of each were evicted; one may tell of others' numbers again, never of the same
/// eviction.
#[derive(Debug, Default)]
pub(super) struct Told {
    evictions: Vec<(Range, u64)>,
    /// Their numbers, ascending; none touches another.
    union: Vec<Range>,
    /// Ranges with so many lost predictions in them, as was told before.
    losses: Vec<(Range, u64)>,
}

impl Told {
    /// Reads all health records of a store, by what reads its entries in ascending order.
    pub(super) fn read(
        ascending: impl Fn(&[u8], &[u8], usize) -> Result<Vec<Entry>, BufferError>,
    ) -> Result<Self, BufferError> {
        let (mut evictions, mut losses, mut from) = (Vec::new(), Vec::new(), 0);
        loop {
            pulse::step();
            let entries =
                ascending(&keys::record(Stream::Health, from), &keys::record(Stream::Health, u64::MAX), PAGE)?;
            for (key, sealed) in &entries {
                from = keys::sequence(key).map_or(u64::MAX, |sequence| sequence.saturating_add(1));
                let Ok(record) = codec::open::<StoredRecord>(key, sealed) else { continue };
                evictions.extend(record.evicted(Stream::Predictions));
                losses.extend(record.lost_among_others(Stream::Predictions));
            }
            if entries.len() < PAGE {
                return Ok(Self { losses, ..Self::of(evictions) });
            }
        }
    }

    pub(super) fn of(mut evictions: Vec<(Range, u64)>) -> Self {
        evictions.sort_unstable();
        let mut told = Self { evictions, ..Self::default() };
        told.union = told.groups(0, |range| range).into_iter().map(|(range, _)| range).collect();
        told
    }

    /// Of a range: how many were told as lost among others that were evicted, and how many of the evicted ones lie in ranges
    /// that were told as lost and are noted as empty (`noted`).
    pub(super) fn losses_within(&self, (first, last): Range, noted: &[Range]) -> (u64, u64) {
        let within = self.losses.iter().filter(|(range, _)| (first..=last).contains(&range.0));
        within.fold((0, 0), |(lost, in_gaps): (u64, u64), (range, records)| match noted.contains(range) {
            true => (lost, in_gaps.saturating_add(numbers(*range).saturating_sub(*records))),
            false => (lost.saturating_add(*records), in_gaps),
        })
    }

    /// Whether a number may have been evicted.
    pub(super) fn covers(&self, number: u64) -> bool {
        let after = self.union.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|index| self.union.get(index)).is_some_and(|(_, last)| number <= *last)
    }

    /// Ranges from a floor on, none of which touches another, and how many of each were evicted at least.
    pub(super) fn above(&self, floor: u64) -> Vec<(Range, u64)> {
        let groups = self.groups(floor, |range| range).into_iter();
        groups.map(|((first, last), gone)| ((first.max(floor), last), gone)).collect()
    }

    /// What was evicted from a floor on, by ranges that overlap when they are made as wide as `widened` does. Of those that
    /// begin below the floor all that may lie there is taken off.
    pub(super) fn groups(&self, floor: u64, widened: impl Fn(Range) -> Range) -> Vec<(Range, u64)> {
        let mut groups: Vec<(Range, u64, u64)> = Vec::new();
        for (range, records) in self.evictions.iter().filter(|((_, last), _)| *last >= floor) {
            let (first, last) = widened(*range);
            match groups.last_mut() {
                Some(((_, end), _, sum)) if first <= *end => {
                    (*end, *sum) = ((*end).max(last), sum.saturating_add(*records));
                }
                _ => groups.push(((first, last), range.0, *records)),
            }
        }
        let above = |(range, first, sum): (Range, u64, u64)| (range, sum.saturating_sub(floor.saturating_sub(first)));
        groups.into_iter().map(above).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_are_told_together() {
        let told =
            Told::of(vec![((9_000, 20_000), 500), ((2_000, 9_500), 300), ((40_000, 41_000), 7), ((100, 1_000), 90)]);
        assert!(told.covers(2_000) && told.covers(20_000) && told.covers(100));
        assert!(!told.covers(99) && !told.covers(1_500) && !told.covers(20_001));
        // 100 of them may lie below the floor.
        assert_eq!(told.above(2_100), [((2_100, 20_000), 700), ((40_000, 41_000), 7)]);
    }

    #[test]
    fn what_was_told_as_lost_is_known_again() {
        let losses = vec![((100, 900), 30), ((5_000, 5_999), 800), ((70_000, 70_100), 5)];
        let told = Told { losses, ..Told::default() };
        assert_eq!(told.losses_within((0, 16_383), &[(5_000, 5_999)]), (30, 200));
        assert_eq!(told.losses_within((0, 16_383), &[]), (830, 0));
    }
}
