//! What is checked of a stream at the start: that its newest numbers are dense, and that their records can be read.
//!
//! The work is bounded. Older records are checked whenever they are read.

use std::collections::BTreeMap;

use explaind_core::domain::record::Stream;
use sled::IVec;

use super::base::Base;
use super::codec;
use super::cursor::Cursor;
use super::declared::{Declared, Span};
use super::error::BufferError;
use super::keys;
use super::stored::StoredSettlement;

/// The newest records of each stream that are checked.
const CHECKED: usize = 20_000;
const PAGE: usize = 1000;

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

/// Checks a stream's newest records.
pub(super) fn verify(
    base: &Base,
    stream: Stream,
    cursor: &Cursor,
    declared: &Declared,
) -> Result<Findings, BufferError> {
    let mut findings = Findings::default();
    let mut gaps = Vec::new();
    let lowest = keys::record(stream, cursor.floor);
    // The number that comes next, going down.
    let mut expected = cursor.last();
    let mut checked = 0;
    while checked < CHECKED && expected >= cursor.floor {
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
    let known = known_gaps(base, stream)?;
    let unknown = gaps.into_iter().rev().flat_map(|gap| uncovered(gap, &known));
    // Of segments that were not looked at as a whole nothing is known.
    let seen_from = if expected < cursor.floor { cursor.floor } else { expected.saturating_add(1) };
    (findings.gaps, findings.short) = undeclared(unknown, declared, cursor.floor, seen_from);
    Ok(findings)
}

/// What of ranges without records (ascending) was not evicted: ranges that nobody knows of, and segments where more is
/// missing than was declared.
fn undeclared(
    ranges: impl Iterator<Item = Range>,
    declared: &Declared,
    floor: u64,
    seen_from: u64,
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
    let seen = segments.into_values().filter(|(_, short)| short.segment.max(floor) >= seen_from);
    let short = seen.filter_map(|(span, short)| {
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
fn uncovered((mut first, last): Range, known: &[Range]) -> Vec<Range> {
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
    }

    #[test]
    fn what_was_evicted_is_no_loss_and_what_is_missing_beyond_it_is() {
        let mut declared = Declared::default();
        let span = |last, gone| Some(Span { last, gone });
        declared.adopt(BTreeMap::from([(10, span(19, 10)), (20, span(29, 3)), (30, span(39, 3))]));
        let found = |ranges: &[Range], seen_from| undeclared(ranges.iter().copied(), &declared, 1, seen_from);
        assert_eq!(found(&[(10, 19), (21, 21), (23, 24), (31, 33)], 1), (vec![], vec![]));
        let short = Short { segment: 20, range: (20, 28), lost: 2 };
        assert_eq!(
            found(&[(5, 22), (27, 28), (35, 50)], 1),
            (vec![(5, 9), (40, 50)], vec![short, Short { segment: 30, range: (35, 39), lost: 2 }])
        );
        assert_eq!(found(&[(20, 28)], 21), (vec![], vec![]), "of what was not seen nothing is said");
        assert_eq!(found(&[(20, 28)], 20).1, [Short { range: (20, 28), lost: 6, ..short }]);
    }
}
