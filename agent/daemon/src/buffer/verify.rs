//! What is checked of a stream: that its numbers are dense, and that its records can be read.
//!
//! At the start the newest records are read, and of those below only whether they are there, for as long as that takes no
//! longer than a few seconds. Records are read again whenever they are used; and before a batch closes its numbers are looked
//! through ([`undeclared`]), so that no number goes missing without a record that says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use explaind_core::domain::record::Stream;
use sled::IVec;

use super::base::Base;
use super::codec;
use super::cursor::Cursor;
use super::declared::{Declared, Span, segment};
use super::error::BufferError;
use super::keys;
use super::pulse;
use super::stored::StoredSettlement;

/// The newest records of each stream that are checked.
const CHECKED: usize = 20_000;
const PAGE: usize = 1000;
/// How long is looked for gaps below them, at the start.
const LOOKED_FOR: Duration = Duration::from_secs(3);

/// Gaps of predictions in one segment: where there are more, they are told together, as so many that are lost there. They
/// lie among evicted ones then, of which it was lost that they are.
pub(super) const GAPS: usize = 16;

/// A range of numbers, both ends included.
pub(super) type Range = (u64, u64);

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Findings {
    /// Records that cannot be read, and the first one's reason.
    pub(super) bad: Vec<(u64, IVec)>,
    pub(super) reason: String,
    /// Settlements that cannot be read.
    pub(super) bad_settlements: Vec<(u64, IVec)>,
    /// Numbers without records that nobody knew of.
    pub(super) gaps: Vec<Range>,
    /// Segments of which more is missing than was evicted.
    pub(super) short: Vec<Short>,
    /// Segments, and how many of their numbers are without a record, where that was counted anew.
    pub(super) declared: BTreeMap<u64, u64>,
    /// Records that were evicted and came back.
    pub(super) returned: Vec<(u64, IVec)>,
}

impl Findings {
    /// Whether nothing is wrong with what is known to have been acknowledged: numbers up to `last`, all when that is zero.
    pub(super) fn spare(&self, last: u64) -> bool {
        let above = |number: u64| last > 0 && number > last;
        self.gaps.iter().all(|gap| above(gap.0))
            && self.short.iter().all(|short| above(short.range.0))
            && self.bad.iter().chain(&self.bad_settlements).all(|(number, _)| above(*number))
    }
}

/// A segment that lacks more records than were evicted from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Short {
    /// Its first number.
    pub(super) segment: u64,
    /// From the first to the last number without a record.
    pub(super) range: Range,
    /// How many are lost: it is not known which.
    pub(super) lost: u64,
}

/// Checks a stream's newest records. `noted`: ranges without records that are about to go on record.
pub(super) fn verify(
    base: &Base,
    stream: Stream,
    cursor: &Cursor,
    declared: &Declared,
    noted: Vec<Range>,
) -> Result<Findings, BufferError> {
    let mut findings = Findings::default();
    let mut gaps = Vec::new();
    let lowest = keys::record(stream, cursor.floor);
    // The number that comes next, going down.
    let mut expected = cursor.last();
    let mut checked = 0;
    while checked < CHECKED && expected >= cursor.floor {
        pulse::step();
        let entries = base.store.descending(&lowest, &keys::record(stream, expected), PAGE)?;
        if entries.is_empty() {
            gaps.push((cursor.floor, expected));
            expected = cursor.floor.saturating_sub(1);
            break;
        }
        checked += entries.len();
        for (key, sealed) in entries {
            let Some(sequence) = keys::sequence(&key) else { continue };
            if sequence < expected {
                gaps.push((sequence + 1, expected));
            }
            expected = sequence.saturating_sub(1);
            check(base, stream, sequence, sealed, &mut findings)?;
        }
    }
    gaps.reverse();
    let mut seen = vec![(expected.saturating_add(1).max(cursor.floor), u64::MAX)];
    if expected >= cursor.floor && expected > 0 {
        let deadline = Instant::now().checked_add(LOOKED_FOR);
        let (mut below, end) = missing(base, stream, (cursor.floor, expected), deadline)?;
        below.append(&mut gaps);
        gaps = join(below);
        seen = join(vec![(cursor.floor, end), (expected.saturating_add(1), u64::MAX)]);
    }
    let mut known = known_gaps(base, stream)?;
    known.extend(noted);
    known.sort_unstable();
    let unknown = gaps.into_iter().flat_map(|gap| uncovered(gap, &known));
    (findings.gaps, findings.short) = unaccounted(unknown, declared, cursor.floor, &seen);
    if stream == Stream::Predictions {
        count_scattered(&mut findings.gaps, &mut findings.short);
    }
    Ok(findings)
}

/// What of a range has no record, and nothing says of: what a batch over it must not pass over. Numbers, and of predictions
/// that were thinned the segments that lack more than was evicted from them; for those all of a segment is looked at.
pub(super) fn undeclared(
    base: &Base,
    stream: Stream,
    cursor: &Cursor,
    declared: &Declared,
    (first, last): Range,
) -> Result<(Vec<Range>, Vec<Short>), BufferError> {
    let begin = declared.around(first).map_or(first, |(segment, _)| segment.max(cursor.floor).min(first));
    let end = declared.around(last).map_or(last, |(_, span)| span.last.min(cursor.last()).max(last));
    let (missing, _) = missing(base, stream, (begin, end), None)?;
    let known = known_gaps(base, stream)?;
    let unknown = missing.into_iter().flat_map(|gap| uncovered(gap, &known));
    let (mut gaps, mut short) = unaccounted(unknown, declared, cursor.floor, &[(begin, u64::MAX)]);
    if stream == Stream::Predictions {
        count_scattered(&mut gaps, &mut short);
    }
    let within = |gap: Range| Some((gap.0.max(first), gap.1.min(last))).filter(|(first, last)| first <= last);
    Ok((gaps.into_iter().filter_map(within).collect(), short))
}

/// Makes one finding of the gaps in a segment that has too many to be told one by one.
fn count_scattered(gaps: &mut Vec<Range>, short: &mut Vec<Short>) {
    let mut by_segment: BTreeMap<u64, (usize, Short)> = BTreeMap::new();
    let within = |(first, last): Range| Some(segment(first)).filter(|begin| *begin == segment(last));
    for gap in gaps.iter().copied() {
        let Some(segment) = within(gap) else { continue };
        let (count, told) = by_segment.entry(segment).or_insert((0, Short { segment, range: gap, lost: 0 }));
        *count += 1;
        told.range.1 = gap.1;
        told.lost += gap.1 - gap.0 + 1;
    }
    by_segment.retain(|_, (count, _)| *count > GAPS);
    gaps.retain(|gap| within(*gap).is_none_or(|segment| !by_segment.contains_key(&segment)));
    short.extend(by_segment.into_values().map(|(_, told)| told));
}

/// Whether every number of a range has a record.
pub(super) fn is_dense(base: &Base, stream: Stream, range: Range) -> Result<bool, BufferError> {
    Ok(missing(base, stream, range, None)?.0.is_empty())
}

/// Numbers of a range that have no record, ascending, and the last number that was looked at: as far as the time allows.
pub(super) fn missing(
    base: &Base,
    stream: Stream,
    (first, last): Range,
    deadline: Option<Instant>,
) -> Result<(Vec<Range>, u64), BufferError> {
    let mut gaps = Vec::new();
    let mut expected = first;
    loop {
        if deadline.is_some() {
            pulse::step();
        }
        let entries = base.store.ascending(&keys::record(stream, expected), &keys::record(stream, last), PAGE)?;
        for sequence in entries.iter().filter_map(|(key, _)| keys::sequence(key)) {
            if sequence > expected {
                gaps.push((expected, sequence - 1));
            }
            match sequence.checked_add(1) {
                Some(next) => expected = next,
                None => return Ok((gaps, last)),
            }
        }
        if entries.len() < PAGE {
            break;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok((gaps, expected.saturating_sub(1)));
        }
    }
    if expected <= last {
        gaps.push((expected, last));
    }
    Ok((gaps, last))
}

/// Ranges that touch, ascending, as one.
fn join(gaps: Vec<Range>) -> Vec<Range> {
    let mut joined: Vec<Range> = Vec::with_capacity(gaps.len());
    for (first, last) in gaps {
        match joined.last_mut() {
            Some((_, end)) if first == end.saturating_add(1) => *end = last,
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// What of ranges without records (ascending) was not evicted: ranges that nobody knows of, and segments where more is
/// missing than was declared. Of segments that were not `seen` as a whole nothing is known.
fn unaccounted(
    ranges: impl Iterator<Item = Range>,
    declared: &Declared,
    floor: u64,
    seen: &[Range],
) -> (Vec<Range>, Vec<Short>) {
    let mut gaps = Vec::new();
    let mut segments: BTreeMap<u64, (Span, Short)> = BTreeMap::new();
    for (mut first, last) in ranges {
        while first <= last {
            let end = match declared.around(first) {
                Some((segment, span)) => {
                    let end = span.last.min(last);
                    if !span.is_whole(segment) {
                        let range = (first, end);
                        let (_, short) = segments.entry(segment).or_insert((span, Short { segment, range, lost: 0 }));
                        short.range.1 = end;
                        short.lost += end - first + 1;
                    }
                    end
                }
                None => {
                    let end = declared.after(first).map_or(last, |next| last.min(next - 1));
                    gaps.push((first, end));
                    end
                }
            };
            match end.checked_add(1) {
                Some(next) => first = next,
                None => break,
            }
        }
    }
    let is_seen = |(span, short): &(Span, Short)| {
        seen.iter().any(|(first, last)| short.segment.max(floor) >= *first && span.last <= *last)
    };
    let short = segments.into_values().filter(is_seen).filter_map(|(span, short)| {
        let lost = short.lost.checked_sub(span.gone).filter(|lost| *lost > 0)?;
        Some(Short { lost, ..short })
    });
    (gaps, short.collect())
}

fn check(base: &Base, stream: Stream, sequence: u64, sealed: IVec, findings: &mut Findings) -> Result<(), BufferError> {
    if let Err(reason) = base.decode(stream, sequence, &sealed) {
        findings.reason = reason;
        findings.bad.push((sequence, sealed));
        return Ok(());
    }
    if stream == Stream::Predictions {
        let key = keys::settlement(sequence);
        if let Some(sealed) = base.store.get(&key)?
            && codec::open::<StoredSettlement>(&key, &sealed).is_err()
        {
            findings.bad_settlements.push((sequence, sealed));
        }
    }
    Ok(())
}

/// The ranges of a stream that are noted as empty, ascending.
pub(super) fn known_gaps(base: &Base, stream: Stream) -> Result<Vec<Range>, BufferError> {
    let [kind, code, ..] = keys::gap(stream, 0);
    let entries = base.store.all(&[kind, code])?;
    Ok(entries
        .iter()
        .filter_map(|(key, sealed)| Some((keys::sequence(key)?, codec::open::<u64>(key, sealed).ok()?)))
        .collect())
}

/// What of a range the known ones (ascending) do not cover.
pub(super) fn uncovered((mut first, last): Range, known: &[Range]) -> Vec<Range> {
    let mut rest = Vec::new();
    for &(from, to) in known {
        if from > last || to < first {
            continue;
        }
        if from > first {
            rest.push((first, from - 1));
        }
        if to >= last {
            return rest;
        }
        first = to + 1;
    }
    rest.push((first, last));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_gaps_are_taken_out_of_found_ones() {
        assert_eq!(uncovered((5, 9), &[]), [(5, 9)]);
        assert_eq!(uncovered((5, 9), &[(5, 9)]), []);
        assert_eq!(uncovered((5, 9), &[(1, 4), (6, 6), (8, 20)]), [(5, 5), (7, 7)]);
        assert_eq!(uncovered((5, 9), &[(1, 5), (6, 6), (30, 40)]), [(7, 9)]);
        assert_eq!(uncovered((1, u64::MAX), &[(2, u64::MAX)]), [(1, 1)]);
        assert_eq!(join(vec![(1, 3), (4, 4), (6, 7), (8, 9)]), [(1, 4), (6, 9)]);
    }

    #[test]
    fn what_was_evicted_is_no_loss_and_what_is_missing_beyond_it_is() {
        let mut declared = Declared::default();
        let span = |last, gone| Some(Span { last, gone });
        declared.adopt(BTreeMap::from([(10, span(19, 10)), (20, span(29, 3)), (30, span(39, 3))]));
        let found =
            |ranges: &[Range], seen_from| unaccounted(ranges.iter().copied(), &declared, 1, &[(seen_from, u64::MAX)]);
        assert_eq!(found(&[(10, 19), (21, 21), (23, 24), (31, 33)], 1), (vec![], vec![]));
        let short = Short { segment: 20, range: (20, 28), lost: 2 };
        assert_eq!(
            found(&[(5, 22), (27, 28), (35, 50)], 1),
            (vec![(5, 9), (40, 50)], vec![short, Short { segment: 30, range: (35, 39), lost: 2 }])
        );
        assert_eq!(found(&[(20, 28)], 21), (vec![], vec![]), "of what was not seen nothing is said");
        assert_eq!(found(&[(20, 28)], 20).1, [Short { range: (20, 28), lost: 6, ..short }]);
    }

    #[test]
    fn gaps_all_over_a_segment_are_counted() {
        let (mut gaps, mut short): (Vec<Range>, _) = ((0..100).map(|n| (100 + 2 * n, 100 + 2 * n)).collect(), vec![]);
        gaps.extend([(16_000, 17_000), (20_000, 20_000), (40_000, 50_000)]);
        count_scattered(&mut gaps, &mut short);
        assert_eq!(gaps, [(16_000, 17_000), (20_000, 20_000), (40_000, 50_000)]);
        assert_eq!(short, [Short { segment: 0, range: (100, 298), lost: 100 }]);
    }
}
