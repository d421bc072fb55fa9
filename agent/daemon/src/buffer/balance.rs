//! The sums of predictions in a store that was damaged, whether it was read out into a fresh one or lost its newest writes when
//! it was opened: every number is kept, evicted or lost, and none is two of these, so that central can account for each.
//!
//! How many were evicted has two witnesses: what is declared per segment (`declared`), and the health records ([`Told`]).
//! Damage may have hit the last writing of either. Health records that central has had may be gone from here, so whichever knows
//! of more is believed; but where none of them is gone, what they do not tell of central does not know, and they are believed.
//! Then the numbers without a record are counted:
//!
//! - Where more are missing than were evicted, the difference is lost.
//! - Where fewer are missing, the others are looked for among the newest numbers, of which nothing was left. What those cannot
//!   account for either came back out of an older writing, and is evicted once more: of what the passes of thinning took, never
//!   anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use explaind_core::domain::record::Stream;
use sled::IVec;

use super::base::Base;
use super::declared::{Declared, Span, numbers, segment, segment_end};
use super::error::BufferError;
use super::keys;
use super::pulse;
use super::report::Note;
use super::state::State;
use super::told::Told;
use super::verify::{self, Findings, GAPS, Range, Short};

const STREAM: Stream = Stream::Predictions;
const PAGE: usize = 1000;
/// How long numbers are counted at most; what is not counted by then is looked through before it is sent.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// Corrects what was found of predictions, and what is noted of the newest, by what was evicted.
pub(super) fn balance(
    base: &Base,
    state: &State,
    told: &Told,
    findings: &mut Findings,
    notes: &mut [Note],
) -> Result<(), BufferError> {
    let cursor = &state.cursors[STREAM];
    let noted = verify::known_gaps(base, STREAM)?;
    let mut known = noted.clone();
    known.extend(notes.iter().filter_map(|note| note.gap_of(STREAM)));
    known.sort_unstable();
    let newest: Vec<Range> = notes.iter().filter_map(|note| note.newest_of(STREAM)).collect();
    // What an eviction wrote may be there in part: then what nobody told of counts as lost.
    let health = &state.cursors[Stream::Health];
    let told_all = health.floor <= 1 && health.uploaded == 0 && health.ahead.end().is_none();
    let deadline = Instant::now().checked_add(COUNTED_FOR);
    // Of a new store the floor lies above what is lost with the one before.
    let floor = newest.iter().fold(cursor.floor, |floor, newest| floor.min(newest.0));
    // The newest first: should there be no time for all, these are what is in use.
    for ((first, last), gone) in groups(told, floor, &newest).into_iter().rev() {
        let range = (first.max(floor), last.min(cursor.last()));
        if range.0 > range.1 {
            continue;
        }
        let (missing, end) = verify::missing(base, STREAM, range, deadline)?;
        if end < range.1 {
            tracing::warn!(from = end, "there was no time to count all predictions of a damaged store");
            break;
        }
        let declared = &state.declared[STREAM];
        let missing = missing.into_iter().flat_map(|gap| verify::uncovered(gap, &known));
        let missing = by_segment(missing, declared, floor);
        let spans = spans(declared, floor, (first, last));
        let counted = spans.values().fold(0, |sum: u64, gone| sum.saturating_add(*gone));
        // What was told as lost among others is missing as well; what lies in a range that is noted as empty is not.
        let (lost, in_gaps) = told.losses_within((first, last), &noted);
        let gone = gone.saturating_add(lost).saturating_sub(in_gaps);
        let mut sums = Sums::of(&missing, &spans, if told_all { gone } else { counted.max(gone) });
        for note in notes.iter_mut() {
            sums.left = note.evicted_of(STREAM, (first, last), sums.left);
        }
        if sums.left > 0 {
            let bad: BTreeSet<u64> = findings.bad.iter().map(|(sequence, _)| *sequence).collect();
            for (sequence, sealed) in returned(base, state, told, range, sums.left)? {
                if bad.contains(&sequence) {
                    continue;
                }
                *sums.declared.entry(key_of(declared, floor, sequence)).or_default() += 1;
                findings.returned.push((sequence, sealed));
            }
        }
        findings.gaps = findings.gaps.iter().flat_map(|gap| verify::uncovered(*gap, &[range])).collect();
        findings.short.retain(|short| !(first..=last).contains(&short.segment));
        findings.gaps.append(&mut sums.gaps);
        findings.short.append(&mut sums.short);
        findings.declared.append(&mut sums.declared);
    }
    findings.gaps.sort_unstable();
    Ok(())
}

/// Segments that evictions are told of or whose newest numbers are gone, as ranges none of which touches another, and how many
/// were evicted there at least.
fn groups(told: &Told, floor: u64, newest: &[Range]) -> Vec<(Range, u64)> {
    let widened = |(first, last): Range| (segment(first), segment_end(last));
    let mut parts = told.groups(floor, widened);
    parts.extend(newest.iter().map(|range| (widened(*range), 0)));
    parts.sort_unstable();
    let mut groups: Vec<(Range, u64)> = Vec::new();
    for ((first, last), gone) in parts {
        match groups.last_mut() {
            Some(((_, end), sum)) if first <= *end => (*end, *sum) = ((*end).max(last), sum.saturating_add(gone)),
            _ => groups.push(((first, last), gone)),
        }
    }
    groups
}

/// Under which number the segment of a number is declared: its first, or the floor where that lies in it.
fn key_of(declared: &Declared, floor: u64, number: u64) -> u64 {
    declared.around(number).map_or_else(|| segment(number).max(floor.min(number)), |(first, _)| first)
}

/// Ranges cut where segments end, by segment.
fn by_segment(ranges: impl Iterator<Item = Range>, declared: &Declared, floor: u64) -> BTreeMap<u64, Vec<Range>> {
    let mut parts: BTreeMap<u64, Vec<Range>> = BTreeMap::new();
    for (mut first, last) in ranges {
        while first <= last {
            let end = segment_end(first).min(last);
            parts.entry(key_of(declared, floor, first)).or_default().push((first, end));
            let Some(next) = end.checked_add(1) else { break };
            first = next;
        }
    }
    parts
}

/// What became of the numbers of some segments.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    gaps: Vec<Range>,
    short: Vec<Short>,
    /// How many numbers without a record each segment has, those of `gaps` aside.
    declared: BTreeMap<u64, u64>,
    /// How many more were evicted than are missing.
    left: u64,
}

impl Sums {
    /// Of what is `missing` per segment, with so many evicted as `evicted` says for these declared ones.
    fn of(missing: &BTreeMap<u64, Vec<Range>>, spans: &BTreeMap<u64, u64>, evicted: u64) -> Self {
        let count = |gaps: &[Range]| gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(numbers(*gap)));
        let segments: BTreeSet<u64> = missing.keys().chain(spans.keys()).copied().collect();
        let mut sums = Self { left: evicted, ..Self::default() };
        // First where it is declared, then wherever something is missing.
        let mut beyond = BTreeMap::new();
        for segment in segments {
            let gaps = missing.get(&segment).map_or(&[][..], Vec::as_slice);
            let declared = spans.get(&segment).copied().unwrap_or(0).min(count(gaps)).min(sums.left);
            sums.left -= declared;
            beyond.insert(segment, (gaps, count(gaps) - declared));
        }
        for (segment, (gaps, beyond)) in beyond {
            let excused = beyond.min(sums.left);
            sums.left -= excused;
            let lost = beyond - excused;
            if lost > 0 && lost == count(gaps) && gaps.len() <= GAPS {
                sums.gaps.extend(gaps);
                if spans.contains_key(&segment) {
                    sums.declared.insert(segment, 0);
                }
                continue;
            }
            if let (true, Some((first, _)), Some((_, last))) = (lost > 0, gaps.first(), gaps.last()) {
                sums.short.push(Short { segment, range: (*first, *last), lost });
            }
            sums.declared.insert(segment, count(gaps));
        }
        sums
    }
}

/// How many are declared as evicted in some segments.
fn spans(declared: &Declared, floor: u64, (first, last): Range) -> BTreeMap<u64, u64> {
    // One that begins below the floor counts what is gone there, too.
    let above = |(first, span): (u64, Span)| (first, span.gone.saturating_sub(floor.saturating_sub(first)));
    declared.within(first, last).map(above).collect()
}

/// Predictions that were evicted and are here again: of those that the passes took, as many as are too many.
fn returned(
    base: &Base,
    state: &State,
    told: &Told,
    (first, last): Range,
    most: u64,
) -> Result<Vec<(u64, IVec)>, BufferError> {
    let (cursor, batch, sweep) = (&state.cursors[STREAM], state.batches[STREAM], &state.sweeps[STREAM]);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut from = first;
    loop {
        pulse::step();
        let page = base.store.ascending(&keys::record(STREAM, from), &keys::record(STREAM, last), PAGE)?;
        let is_last = page.len() < PAGE;
        for (key, sealed) in page {
            let Some(sequence) = keys::sequence(&key) else { continue };
            from = sequence.saturating_add(1);
            if found.len() >= most {
                return Ok(found);
            }
            let stays = !(sweep.took(sequence) && told.covers(sequence))
                || cursor.is_uploaded(sequence)
                || batch.is_some_and(|batch| (batch.first..=batch.last).contains(&sequence))
                || base.store.get(&keys::pinned(sequence))?.is_some();
            if !stays {
                found.push((sequence, sealed));
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(segment: u64, gone: u64) -> Declared {
        let mut declared = Declared::default();
        declared.adopt(BTreeMap::from([(segment, Some(Span { last: segment_end(segment), gone }))]));
        declared
    }

    #[test]
    fn ranges_are_cut_at_segments_and_counted_there() {
        let mut declared = Declared::default();
        declared.adopt(BTreeMap::from([(100, Some(Span { last: 16_383, gone: 16_284 }))]));
        let parts = by_segment([(500, 500), (16_380, 16_390)].into_iter(), &declared, 0);
        let above_the_floor = vec![(500, 500), (16_380, 16_383)];
        assert_eq!(parts, BTreeMap::from([(100, above_the_floor), (16_384, vec![(16_384, 16_390)])]));
        let told = Told::of(vec![((9_000, 20_000), 500), ((40_000, 41_000), 7)]);
        assert_eq!(groups(&told, 0, &[(41_500, 60_000)]), [((0, 32_767), 500), ((32_768, 65_535), 7)]);
        assert_eq!(groups(&told, 0, &[(30_000, 30_010)])[0], ((0, 32_767), 500));
    }

    #[test]
    fn what_is_missing_beyond_what_was_evicted_is_lost() {
        let gaps = [(1_000, 1_299), (2_000, 2_049), (20_000, 20_003)];
        let missing = by_segment(gaps.into_iter(), &Declared::default(), 0);
        let declared = BTreeMap::from([(0, 250)]);
        let sums = Sums::of(&missing, &declared, 300);
        assert_eq!(sums.short, [Short { segment: 0, range: (1_000, 2_049), lost: 50 }]);
        assert_eq!((sums.gaps, sums.left), (vec![(20_000, 20_003)], 0));
        assert_eq!(sums.declared, BTreeMap::from([(0, 350)]));
        // One more than that segment needs: of a gap one number less is lost.
        let sums = Sums::of(&missing, &declared, 351);
        assert_eq!(sums.short, [Short { segment: 16_384, range: (20_000, 20_003), lost: 3 }]);
        assert_eq!((sums.gaps, sums.left), (vec![], 0));
        assert_eq!(sums.declared, BTreeMap::from([(0, 350), (16_384, 4)]));
        // What is declared goes first.
        let sums = Sums::of(&missing, &BTreeMap::from([(16_384, 4)]), 300);
        assert_eq!(sums.short, [Short { segment: 0, range: (1_000, 2_049), lost: 54 }]);
    }

    #[test]
    fn what_was_evicted_beyond_what_is_missing_is_left_over() {
        let missing = by_segment([(1_000, 1_299)].into_iter(), &Declared::default(), 0);
        let told = Sums::of(&missing, &BTreeMap::from([(0, 250)]), 320);
        assert_eq!((told.left, &told.declared), (20, &BTreeMap::from([(0, 300)])));
        let known = Sums::of(&missing, &BTreeMap::from([(0, 340)]), 340);
        assert_eq!((known.left, known.declared), (40, told.declared), "and is not declared of those that are here");
        let none = Sums::of(&BTreeMap::new(), &BTreeMap::from([(0, 3)]), 3);
        assert_eq!((none.left, none.declared), (3, BTreeMap::from([(0, 0)])));
        assert_eq!(spans(&declared(0, 340), 30, (0, 16_383)), BTreeMap::from([(0, 310)]), "30 may lie below the floor");
    }
}
