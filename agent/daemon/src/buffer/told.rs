//! What health records tell of evicted predictions, for a store that was read out of a damaged one.
//!
//! How many predictions were evicted of a segment of numbers is counted in one entry (`declared`). Where damage has hit the
//! last writing of that entry, an older one counts fewer, and the rest would pass for lost: central would hear twice of the
//! same numbers, as evicted and as lost. But each eviction is on record as well, elsewhere in the store and in the journal.
//! Their sum is a second witness, and whichever knows of more is believed.

use super::codec;
use super::declared::{Declared, numbers, segment, segment_end};
use super::error::BufferError;
use super::keys;
use super::pulse;
use super::store::Entry;
use super::stored::StoredRecord;
use super::verify::{Findings, Range};

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

    fn of(mut evictions: Vec<(Range, u64)>) -> Self {
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

    /// Takes out of what is missing as much as was evicted beyond what is declared, and notes it as such.
    pub(super) fn excuse(&self, findings: &mut Findings, declared: &Declared, floor: u64) {
        for ((first, last), gone) in self.groups(floor, |(first, last)| (segment(first), segment_end(last))) {
            let known = declared.within(first, last).fold(0_u64, |sum, (_, span)| sum.saturating_add(span.gone));
            let mut rest = gone.saturating_sub(known);
            for short in findings.short.iter_mut().filter(|short| (first..=last).contains(&short.segment)) {
                let excused = short.lost.min(rest);
                (short.lost, rest) = (short.lost - excused, rest - excused);
                findings.excused.push((short.segment, excused));
            }
            findings.gaps.retain(|gap| {
                // Those of a segment each, so that they can be counted there.
                let is_one = segment(gap.0) == segment(gap.1) && (first..=last).contains(&gap.0);
                let excused = numbers(*gap);
                if !is_one || excused > rest {
                    return true;
                }
                rest -= excused;
                findings.excused.push((segment(gap.0), excused));
                false
            });
        }
        findings.short.retain(|short| short.lost > 0);
        findings.excused.retain(|(_, count)| *count > 0);
    }

    /// What was evicted from a floor on, by ranges that overlap when they are made as wide as `widened` does. Of those that
    /// begin below the floor all that may lie there is taken off.
    fn groups(&self, floor: u64, widened: impl Fn(Range) -> Range) -> Vec<(Range, u64)> {
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
    use std::collections::BTreeMap;

    use super::super::declared::Span;
    use super::super::verify::Short;
    use super::*;

    #[test]
    fn what_was_evicted_beyond_what_is_declared_is_not_lost() {
        let told =
            Told::of(vec![((9_000, 20_000), 500), ((2_000, 9_500), 300), ((40_000, 41_000), 7), ((100, 1_000), 90)]);
        assert!(told.covers(2_000) && told.covers(20_000) && told.covers(100));
        assert!(!told.covers(99) && !told.covers(1_500) && !told.covers(20_001));
        let mut declared = Declared::default();
        declared.adopt(BTreeMap::from([(0, Some(Span { last: 16_383, gone: 250 }))]));
        let short = |segment, lost| Short { segment, range: (segment + 2, segment + 900), lost };
        let found = || Findings {
            short: vec![short(0, 350), short(16_384, 240), short(49_152, 5)],
            gaps: vec![(40_003, 40_006), (40_100, 40_110), (60_000, 60_000)],
            ..Findings::default()
        };
        let mut findings = found();
        // Of 800 evictions 250 are declared; the one of 90 lies below the floor.
        told.excuse(&mut findings, &declared, 1_500);
        assert_eq!(findings.short, [short(16_384, 40), short(49_152, 5)]);
        assert_eq!(findings.gaps, [(40_100, 40_110), (60_000, 60_000)]);
        assert_eq!(findings.excused, [(0, 350), (16_384, 200), (32_768, 4)]);
        let mut findings = found();
        // 100 of them may lie below this one.
        told.excuse(&mut findings, &declared, 2_100);
        assert_eq!(findings.excused, [(0, 350), (16_384, 100), (32_768, 4)]);
        let mut findings = found();
        told.excuse(&mut findings, &declared, 50_000);
        assert_eq!(findings, found());
        assert_eq!(told.above(2_100), [((2_100, 20_000), 700), ((40_000, 41_000), 7)]);
    }
}
