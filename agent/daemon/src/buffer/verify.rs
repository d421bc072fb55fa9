//! What is checked of a stream: that its numbers are dense, and that its records can be read.
//!
//! At the start the newest records are read, and of those below only whether they are there, for as long as that takes no
//! longer than a few seconds. Records are read again whenever they are used; and before a batch closes its numbers are looked
//! through ([`undeclared`]), so that no number goes missing without a record that says so.

use std::time::{Duration, Instant};

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
/// How long is looked for gaps below them, at the start.
const LOOKED_FOR: Duration = Duration::from_secs(3);

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
            expected = 0;
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
    if expected >= cursor.floor && expected > 0 {
        let deadline = Instant::now().checked_add(LOOKED_FOR);
        let mut below = missing(base, stream, (cursor.floor, expected), deadline)?;
        below.append(&mut gaps);
        gaps = join(below);
    }
    findings.gaps = undeclared_of(base, stream, gaps)?;
    Ok(findings)
}

/// Numbers of a range that have no record, and that nothing says of: what a batch over them must not pass over.
pub(super) fn undeclared(base: &Base, stream: Stream, range: Range) -> Result<Vec<Range>, BufferError> {
    let missing = missing(base, stream, range, None)?;
    if missing.is_empty() { Ok(missing) } else { undeclared_of(base, stream, missing) }
}

/// What of these ranges nothing says that it is empty.
fn undeclared_of(base: &Base, stream: Stream, missing: Vec<Range>) -> Result<Vec<Range>, BufferError> {
    let known = known_gaps(base, stream)?;
    Ok(missing.into_iter().flat_map(|gap| uncovered(gap, &known)).collect())
}

/// Numbers of a range that have no record, ascending: as far as the time allows.
fn missing(
    base: &Base,
    stream: Stream,
    (first, last): Range,
    deadline: Option<Instant>,
) -> Result<Vec<Range>, BufferError> {
    let mut gaps = Vec::new();
    let mut expected = first;
    loop {
        let entries = base.store.ascending(&keys::record(stream, expected), &keys::record(stream, last), PAGE)?;
        for sequence in entries.iter().filter_map(|(key, _)| keys::sequence(key)) {
            if sequence > expected {
                gaps.push((expected, sequence - 1));
            }
            match sequence.checked_add(1) {
                Some(next) => expected = next,
                None => return Ok(gaps),
            }
        }
        if entries.len() < PAGE {
            break;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(gaps);
        }
    }
    if expected <= last {
        gaps.push((expected, last));
    }
    Ok(gaps)
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
fn known_gaps(base: &Base, stream: Stream) -> Result<Vec<Range>, BufferError> {
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
        assert_eq!(join(vec![(1, 3), (4, 4), (6, 7), (8, 9)]), [(1, 4), (6, 9)]);
    }
}
