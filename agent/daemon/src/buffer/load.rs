//! From files to a state: opens a store, or makes it, and finds out where its streams stand.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use explaind_core::domain::record::{Body, Session, Stream};
use explaind_core::domain::time::{Now, Timestamp};
use sled::Batch;
use uuid::Uuid;

use super::alerts::Book;
use super::base::Base;
use super::cursor::{Cursor, PerStream};
use super::error::BufferError;
use super::frames::FrameTable;
use super::report::{self, Note};
use super::side::Side;
use super::state::State;
use super::store::Store;
use super::verify;
use super::{Closed, SessionInfo, codec, keys};
use crate::clock;

/// The layout that is written, and the newest that can be read.
const FORMAT: u8 = 1;
const PAGE: usize = 1000;

/// A store, ready to be used.
pub(super) struct Loaded {
    pub(super) base: Base,
    pub(super) state: State,
    pub(super) visible: PerStream<AtomicU64>,
    pub(super) book: Book,
}

/// Opens the store at `path`, or makes one that takes over from what the side file and the last numbers (`tail`) know.
///
/// # Errors
/// [`BufferError::Damaged`] when the store is to be set aside.
pub(super) fn load(
    path: &Path,
    side_path: &Path,
    tail: &PerStream<u64>,
    info: &SessionInfo,
    now: Now,
    mut notes: Vec<Note>,
) -> Result<Loaded, BufferError> {
    let side = Side::read(side_path)?.and_then(Result::ok);
    let store = Arc::new(Store::open(path)?);
    let (store_id, side, lost) = match identity(&store, path)? {
        Some(store_id) => match side {
            Some(side) if side.store_id() == store_id => (store_id, side, None),
            other => (store_id, Side::new(side_path, store_id, other.as_ref()), None),
        },
        None => {
            let store_id = clock::mint(now);
            (store_id, create(&store, side_path, tail, store_id, side.as_ref())?, side)
        }
    };
    let session = Arc::new(Session {
        gateway: info.gateway.clone(),
        store_id,
        boot_id: info.boot_id,
        agent_version: info.agent_version.clone(),
        config_digest: info.config_digest.clone(),
    });
    let base = Base { frames: FrameTable::load(store.clone())?, store, session };
    let cursors = PerStream::each(|stream| cursor(&base, stream, &side, tail[stream], &mut notes))?;
    let mut state = State {
        cursors,
        batches: PerStream::each(|stream| closed(&base, stream))?,
        unsettled: BTreeSet::new(),
        audit_hash: audit_hash(&base, &cursors[Stream::Audit])?,
        side,
        claimed: base.store.get(keys::CLAIMED)?.is_some(),
        full: false,
        aged: None,
        measured: None,
    };
    let findings = PerStream::each(|stream| verify::verify(&base, stream, &cursors[stream]))?;
    if let Some(lost) = &lost {
        notes.push(Note::Replaced { lost: lost.store_id() });
    }
    report::record(&base, &mut state, now, &notes, &findings)?;
    state.unsettled = unsettled(&base, &state.cursors[Stream::Predictions])?;
    let visible = PerStream::each(|stream| Ok::<_, BufferError>(AtomicU64::new(state.cursors[stream].last())))?;
    let book = book(&base, &state.cursors[Stream::Alerts])?;
    Ok(Loaded { base, state, visible, book })
}

/// The id of a store; `None` for one that is empty.
fn identity(store: &Store, path: &Path) -> Result<Option<Uuid>, BufferError> {
    let Some(format) = store.get(keys::FORMAT)? else {
        if store.is_empty()? {
            return Ok(None);
        }
        return Err(BufferError::damaged(path, "it does not say its format"));
    };
    match format.as_ref() {
        [FORMAT] => {}
        [found] if *found > FORMAT => {
            return Err(BufferError::Newer { path: path.to_owned(), found: *found, known: FORMAT });
        }
        other => return Err(BufferError::damaged(path, format!("{other:?} is no format"))),
    }
    let sealed = store.get(keys::STORE_ID)?.ok_or_else(|| BufferError::damaged(path, "it does not say its id"))?;
    codec::open::<[u8; 16]>(keys::STORE_ID, &sealed)
        .map(|bytes| Some(Uuid::from_bytes(bytes)))
        .map_err(|error| BufferError::damaged(path, format!("its id cannot be read: {error}")))
}

/// Makes an empty store a new one, whose numbers begin above all that were promised before.
fn create(
    store: &Store,
    side_path: &Path,
    tail: &PerStream<u64>,
    store_id: Uuid,
    before: Option<&Side>,
) -> Result<Side, BufferError> {
    let unstorable = |error: codec::Unreadable| BufferError::Unstorable(error.to_string());
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, &[FORMAT]);
    batch.insert(keys::STORE_ID, codec::seal(keys::STORE_ID, store_id.as_bytes()).map_err(unstorable)?);
    for stream in Stream::ALL {
        let given = before.map_or(0, |side| side.promised(stream)).max(tail[stream]);
        let first = given.saturating_add(1);
        let key = keys::cursor(stream);
        batch.insert(&key, codec::seal(&key, &Cursor::starting_at(first)).map_err(unstorable)?);
    }
    // First the side file: should the power go in between, the empty store is made once more, with another id.
    let side = Side::new(side_path, store_id, before);
    side.save()?;
    store.apply(batch)?;
    store.flush()?;
    Ok(side)
}

/// Where a stream stands. What its cursor does not say (any more) is counted; what the store lost is noted.
fn cursor(base: &Base, stream: Stream, side: &Side, given: u64, notes: &mut Vec<Note>) -> Result<Cursor, BufferError> {
    let key = keys::cursor(stream);
    let stored = base.store.get(&key)?.and_then(|sealed| codec::open::<Cursor>(&key, &sealed).ok());
    let mut cursor = match stored {
        Some(cursor) => cursor,
        None => recount(base, stream, side)?,
    };
    let newest = base.store.descending(&keys::record(stream, 0), &keys::record(stream, u64::MAX), 1)?;
    if let Some(last) = newest.first().and_then(|(key, _)| keys::sequence(key)) {
        cursor.next = cursor.next.max(last.saturating_add(1));
    }
    let known = given.max(side.uploaded(stream));
    if known > cursor.last() {
        // There were records that the store does not know (any more). Those of the last moments may not be known here
        // either, so numbers go on above all that were promised.
        let resumed = known.max(side.promised(stream));
        notes.push(Note::Behind { stream, first: cursor.next, known, last: resumed });
        cursor.next = resumed.saturating_add(1);
    }
    cursor.uploaded = cursor.uploaded.max(side.uploaded(stream));
    Ok(cursor)
}

/// Builds a cursor from the records themselves.
fn recount(base: &Base, stream: Stream, side: &Side) -> Result<Cursor, BufferError> {
    let mut cursor = Cursor::starting_at(side.promised(stream).max(side.uploaded(stream)).saturating_add(1));
    let mut from = 0;
    loop {
        let entries = base.store.ascending(&keys::record(stream, from), &keys::record(stream, u64::MAX), PAGE)?;
        for (key, sealed) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            if cursor.records == 0 {
                cursor = Cursor::starting_at(sequence);
            }
            cursor.records += 1;
            cursor.next = sequence.saturating_add(1);
            cursor.bytes += codec::weight(key, sealed);
            if stream == Stream::Predictions
                && let Some(sealed) = base.store.get(&keys::settlement(sequence))?
            {
                cursor.bytes += codec::weight(&keys::settlement(sequence), &sealed);
            }
            from = sequence.saturating_add(1);
        }
        if entries.len() < PAGE {
            return Ok(cursor);
        }
    }
}

/// The bounds of a stream's closed batch. Bounds that cannot be read are as good as none.
fn closed(base: &Base, stream: Stream) -> Result<Option<Closed>, BufferError> {
    let key = keys::batch(stream);
    let Some(sealed) = base.store.get(&key)? else { return Ok(None) };
    let bounds: Option<(u64, u64, i64)> = codec::open(&key, &sealed).ok();
    Ok(bounds.map(|(first, last, at)| Closed { first, last, closed_at: Timestamp::from_micros(at) }))
}

/// The hash that the next audit record names: that of the last one that can be read.
fn audit_hash(base: &Base, cursor: &Cursor) -> Result<[u8; 32], BufferError> {
    let (first, last) = (keys::record(Stream::Audit, 0), keys::record(Stream::Audit, cursor.last()));
    for (key, sealed) in base.store.descending(&first, &last, PAGE)? {
        if let Some(sequence) = keys::sequence(&key)
            && let Ok(record) = base.decode(Stream::Audit, sequence, &sealed)
            && let Body::Audit(audit) = record.body
        {
            return Ok(audit.hash);
        }
    }
    Ok([0; 32])
}

/// Predictions above the last settled one that have no settlement.
fn unsettled(base: &Base, cursor: &Cursor) -> Result<BTreeSet<u64>, BufferError> {
    let mut unsettled = BTreeSet::new();
    let mut from = cursor.settled.saturating_add(1);
    loop {
        let (first, last) = (keys::record(Stream::Predictions, from), keys::record(Stream::Predictions, u64::MAX));
        let entries = base.store.ascending(&first, &last, PAGE)?;
        for (key, _) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            if base.store.get(&keys::settlement(sequence))?.is_none() {
                unsettled.insert(sequence);
            }
            from = sequence.saturating_add(1);
        }
        if entries.len() < PAGE {
            return Ok(unsettled);
        }
    }
}

/// Folds the alert stream.
fn book(base: &Base, cursor: &Cursor) -> Result<Book, BufferError> {
    let mut book = Book::default();
    let mut from = 0;
    loop {
        let (first, last) = (keys::record(Stream::Alerts, from), keys::record(Stream::Alerts, cursor.last()));
        let entries = base.store.ascending(&first, &last, PAGE)?;
        for (key, sealed) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            from = sequence.saturating_add(1);
            if let Ok(record) = base.decode(Stream::Alerts, sequence, sealed)
                && let Body::Alert(transition) = &record.body
            {
                book.apply(sequence, record.at, transition);
            }
        }
        if entries.len() < PAGE {
            return Ok(book);
        }
    }
}
