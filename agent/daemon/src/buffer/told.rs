//! What health records tell of evicted predictions, for a store that was read out of a damaged one.
//!
//! How many predictions were evicted of a segment of numbers is counted in one entry (`declared`). Where damage has hit the
//! last writing of that entry, an older one counts fewer, and the rest would pass for lost: central would hear twice of the
//! same numbers, as evicted and as lost. But each eviction is on record as well, elsewhere in the store and in the journal.
//! Their sum is a second witness, and whichever knows of more is believed.

use super::codec;
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
}

impl Told {
    /// Reads all health records of a store, by what reads its entries in ascending order.
    pub(super) fn read(
        ascending: impl Fn(&[u8], &[u8], usize) -> Result<Vec<Entry>, BufferError>,
    ) -> Result<Self, BufferError> {
        let (mut evictions, mut from) = (Vec::new(), 0);
        loop {
            pulse::step();
            let entries =
                ascending(&keys::record(Stream::Health, from), &keys::record(Stream::Health, u64::MAX), PAGE)?;
            for (key, sealed) in &entries {
                from = keys::sequence(key).map_or(u64::MAX, |sequence| sequence.saturating_add(1));
                let record = codec::open::<StoredRecord>(key, sealed).ok();
                evictions.extend(record.and_then(|record| record.evicted(Stream::Predictions)));
            }
            if entries.len() < PAGE {
                return Ok(Self::of(evictions));
            }
        }
    }

    pub(super) fn of(mut evictions: Vec<(Range, u64)>) -> Self {
        evictions.sort_unstable();
        let mut told = Self { evictions, union: Vec::new() };
        told.union = told.groups(0, |range| range).into_iter().map(|(range, _)| range).collect();
        told
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
}
