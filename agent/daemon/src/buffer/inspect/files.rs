//! The files beside the store: the journal's segments, and those of closed batches.

use std::io;

use explaind_core::domain::record::Stream;

use super::super::declared::Declared;
use super::super::error::BufferError;
use super::super::journal::{Item, look};
use super::super::stored::StoredRecord;
use super::super::verify::{known_gaps, uncovered};
use super::super::{codec, keys};
use super::{Finding, Part, Piece, View};

/// Looks at up to `most` segments with numbers above `after`: each is whole, and the store has what it holds.
pub(super) fn journal(view: &impl View, after: u64, most: usize) -> Result<Piece, BufferError> {
    let folder = view.journal();
    let numbers = look::numbers(folder).map_err(|error| BufferError::io("list", folder, error))?;
    let numbers: Vec<u64> = numbers.into_iter().filter(|number| *number > after).collect();
    let mut piece = Piece { next: numbers.get(most).and(numbers.get(most - 1)).copied(), ..Piece::default() };
    for number in numbers.into_iter().take(most) {
        let found = |problem: String| Finding::new(Part::Journal, Some((number, number)), problem);
        let looked = match look::look(folder, number) {
            // An entry may have been on its way into it.
            Ok(look) if look.damage.is_some() => view.segment(number),
            other => other,
        };
        let looked = match looked {
            Ok(looked) => looked,
            // All that it had is in the registry.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                piece.findings.push(found(format!("it cannot be read: {error}")));
                continue;
            }
        };
        piece.checked += 1;
        if let Some(damage) = looked.damage {
            piece.findings.push(found(format!("it is damaged: {damage}")));
        }
        for item in looked.entries.iter().flat_map(|entry| entry.items()) {
            if let Some((stream, problem)) = compare(view, item)? {
                let numbers = Some((item.sequence, item.sequence));
                piece.findings.push(Finding::new(Part::Records(stream), numbers, problem));
            }
        }
    }
    Ok(piece)
}

/// What is wrong between a record of the journal and the store.
fn compare(view: &impl View, item: &Item) -> Result<Option<(Stream, &'static str)>, BufferError> {
    let Some(stream) = item.stream() else { return Ok(None) };
    let key = keys::record(stream, item.sequence);
    let base = view.base();
    let there = base.store.get(&key)?.map(|sealed| codec::open::<StoredRecord>(&key, &sealed));
    Ok(match there {
        // The store may be behind the journal at its end, and evicts what the journal's file still holds.
        None if item.sequence > view.through(stream) || item.sequence < view.cursor(stream).floor => None,
        None if uncovered((item.sequence, item.sequence), &known_gaps(base, stream)?).is_empty() => None,
        None if Declared::load(base, stream)?.is_gone(item.sequence) => None,
        None => Some((stream, "the journal has it and the store has not; the next start puts it back")),
        Some(Ok(there)) => {
            (there.with_session(0) != item.record).then_some((stream, "the journal and the store say different things"))
        }
        // That it cannot be read is found with the records.
        Some(Err(_)) => None,
    })
}

/// Looks at the files of closed batches.
pub(super) fn outbox(view: &impl View) -> Result<Piece, BufferError> {
    let mut piece = Piece::default();
    for stream in Stream::ALL {
        let Some((batch, content)) = view.batch(stream) else { continue };
        // On a disk that was full there is none, and it is made anew from the records.
        let Some(size) = view.outbox().size(stream, &batch) else { continue };
        piece.checked += 1;
        let same = view.outbox().read(stream, &batch, &content)?.is_some();
        // It may have arrived meanwhile.
        if !same && view.batch(stream) == Some((batch, content)) {
            let problem = format!(
                "the file of the closed batch of {} is not what it was ({size} bytes, once {}); it is made anew from \
                 the records",
                stream.as_str(),
                content.size
            );
            piece.findings.push(Finding::new(Part::Outbox, Some((batch.first, batch.last)), problem));
        }
    }
    Ok(piece)
}
