//! The records of one stream: there, readable, found by their ids, settled, chained.

use explaind_core::domain::prediction::Digest;
use explaind_core::domain::record::{Body, Record, Stream};

use super::super::audit::Names;
use super::super::base::Base;
use super::super::cursor::Cursor;
use super::super::declared::Declared;
use super::super::error::BufferError;
use super::super::verify::{self, Range};
use super::super::{audit, keys};
use super::{Finding, Part, Piece, View};

/// Looks at up to `most` records with numbers above `after`.
pub(super) fn piece(view: &impl View, stream: Stream, after: u64, most: usize) -> Result<Piece, BufferError> {
    let (base, cursor, through) = (view.base(), view.cursor(stream), view.through(stream));
    let Some(start) = after.checked_add(1).filter(|start| *start <= through) else { return Ok(Piece::default()) };
    let entries = base.store.ascending(&keys::record(stream, start), &keys::record(stream, through), most)?;
    let mut piece = Piece::default();
    let mut dense = true;
    let mut suspects: Vec<(u64, String)> = Vec::new();
    // Below the floor only what alerts need is kept: numbers are not dense there.
    let mut expected = start.max(cursor.floor);
    let mut before = chained(view, stream, after)?;
    for (key, sealed) in &entries {
        let Some(sequence) = keys::sequence(key) else { continue };
        piece.checked += 1;
        dense &= sequence <= expected;
        expected = expected.max(sequence.saturating_add(1));
        match base.decode(stream, sequence, sealed) {
            Ok(record) => {
                suspects
                    .extend(problems(base, &cursor, &record, before)?.into_iter().map(|problem| (sequence, problem)));
                before = hash_of(&record).map(|hash| (sequence, hash));
                note(base, &record, &mut piece);
            }
            Err(reason) => {
                suspects.push((sequence, format!("it cannot be read: {reason}")));
                before = None;
            }
        }
    }
    if entries.len() < most {
        dense &= expected > through;
    } else {
        piece.next = entries.last().and_then(|(key, _)| keys::sequence(key));
    }
    let looked_at = (start, piece.next.unwrap_or(through));
    still(view, stream, (!dense).then_some(looked_at), suspects, &mut piece)?;
    Ok(piece)
}

/// Notes what of an audit record is no finding.
fn note(base: &Base, record: &Record, piece: &mut Piece) {
    let Body::Audit(entry) = &record.body else { return };
    piece.links.push((record.sequence, Digest(entry.hash).to_string()));
    if let Names::OtherKey(id) = audit::names(&base.pseudonyms, entry) {
        piece.other_keys.insert(id.to_owned());
    }
}

/// Notes what is still so: meanwhile records may have been evicted, set aside, or settled. `gappy`: a range that is not
/// dense.
fn still(
    view: &impl View,
    stream: Stream,
    gappy: Option<Range>,
    suspects: Vec<(u64, String)>,
    piece: &mut Piece,
) -> Result<(), BufferError> {
    if gappy.is_none() && suspects.is_empty() {
        return Ok(());
    }
    let (base, part) = (view.base(), Part::Records(stream));
    // With nothing evicted between one question and the next.
    let (cursor, _standing) = view.standing(stream);
    if let Some((first, last)) = gappy {
        let range = (first.max(cursor.floor), last.max(cursor.floor));
        let declared = Declared::load(base, stream)?;
        let (gaps, short) = verify::undeclared(base, stream, &cursor, &declared, range)?;
        for gap in gaps {
            piece.findings.push(Finding::new(part, Some(gap), "no record, and nothing says why"));
        }
        // Its segment may be in two pieces: it is told in that with its first number.
        for short in short.iter().filter(|short| (range.0..=range.1).contains(&short.range.0)) {
            let problem = format!("{} records fewer than are on record as evicted", short.lost);
            piece.findings.push(Finding::new(part, Some(short.range), problem));
        }
    }
    for (sequence, problem) in suspects {
        let Some(sealed) = base.store.get(&keys::record(stream, sequence))? else { continue };
        let again = match base.decode(stream, sequence, &sealed) {
            Ok(record) if problem.starts_with(CHAIN) => problem_stays(&record),
            Ok(record) => problems(base, &cursor, &record, None)?.contains(&problem),
            Err(_) => true,
        };
        if !again {
            continue;
        }
        // Neighbours with the same problem are one finding.
        match piece.findings.last_mut() {
            Some(Finding { part: same, numbers: Some((_, last)), problem: as_before })
                if same == part.as_str() && *as_before == problem && last.saturating_add(1) == sequence =>
            {
                *last = sequence;
            }
            _ => piece.findings.push(Finding::new(part, Some((sequence, sequence)), problem)),
        }
    }
    Ok(())
}

/// How findings about the chain begin: they need the neighbour, and a record never changes.
const CHAIN: &str = "the chain";

fn problem_stays(record: &Record) -> bool {
    matches!(record.body, Body::Audit(_))
}

/// What is wrong with a record that can be read. `before`: the number and the hash of the audit record before it.
fn problems(
    base: &Base,
    cursor: &Cursor,
    record: &Record,
    before: Option<(u64, [u8; 32])>,
) -> Result<Vec<String>, BufferError> {
    let stream = record.body.stream();
    let mut problems = Vec::new();
    if base.locate(record.id)? != Some((stream, record.sequence)) {
        problems.push("it is not found by its id".to_owned());
    }
    if stream == Stream::Predictions {
        match base.settlement(record.sequence)? {
            Some(Ok(_)) => {}
            Some(Err(reason)) => problems.push(format!("its explanation cannot be read: {reason}")),
            None if record.sequence <= cursor.settled => {
                problems.push("its explanation is missing".to_owned());
            }
            None => {}
        }
    }
    if let Body::Audit(entry) = &record.body {
        if audit::hash(record.id, record.sequence, record.at, entry) != entry.hash {
            problems.push(format!("{CHAIN} is broken: its content is not what its hash says"));
        } else if before.is_some_and(|(last, hash)| last + 1 == record.sequence && hash != entry.previous_hash) {
            problems.push(format!("{CHAIN} is broken: it does not name the hash of the record before it"));
        } else if audit::names(&base.pseudonyms, entry) == Names::Differ {
            problems.push(format!("{CHAIN} is broken: a name in it is not the one that its pseudonym stands for"));
        }
    }
    Ok(problems)
}

fn hash_of(record: &Record) -> Option<[u8; 32]> {
    match &record.body {
        Body::Audit(entry) => Some(entry.hash),
        _ => None,
    }
}

/// The audit record that the next piece's first one names.
fn chained(view: &impl View, stream: Stream, sequence: u64) -> Result<Option<(u64, [u8; 32])>, BufferError> {
    if stream != Stream::Audit {
        return Ok(None);
    }
    let sealed = view.base().store.get(&keys::record(stream, sequence))?;
    let record = sealed.and_then(|sealed| view.base().decode(stream, sequence, &sealed).ok());
    Ok(record.and_then(|record| hash_of(&record)).map(|hash| (sequence, hash)))
}
