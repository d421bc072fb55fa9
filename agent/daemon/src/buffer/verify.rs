//! What is checked of a stream at the start: that its newest numbers are dense, and that their records can be read.
//!
//! The work is bounded. Older records are checked whenever they are read.

use explaind_core::domain::record::Stream;
use sled::IVec;

use super::base::Base;
use super::codec;
use super::cursor::Cursor;
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
}

/// Checks a stream's newest records.
pub(super) fn verify(base: &Base, stream: Stream, cursor: &Cursor) -> Result<Findings, BufferError> {
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
    findings.gaps = gaps.into_iter().rev().flat_map(|gap| uncovered(gap, &known)).collect();
    Ok(findings)
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
    }
}
