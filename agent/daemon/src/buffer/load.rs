//! From files to a state: opens a store, or makes it, and finds out where its streams stand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use explaind_core::domain::record::{Body, Session, Stream};
use explaind_core::domain::time::{Now, Timestamp};
use uuid::Uuid;

use super::alerts::Book;
use super::balance;
use super::base::Base;
use super::batch::Batch;
use super::cursor::{Cursor, PerStream};
use super::declared::Declared;
use super::error::BufferError;
use super::front::Front;
use super::generation;
use super::journal::{self, Journal, reconcile};
use super::moved;
use super::open::Opening;
use super::outbox::{Content, Outbox};
use super::pulse;
use super::report::{self, Note};
use super::room::Room;
use super::salvage::{self, Salvaged};
use super::side::Side;
use super::state::State;
use super::store::Store;
use super::sweep;
use super::told::Told;
use super::verify::{self, Findings, Range};
use super::{Closed, SessionInfo, codec, keys};
use crate::clock;

/// The layout that is written, and the newest that can be read.
pub(super) const FORMAT: u8 = 1;
const PAGE: usize = 1000;

/// A store, ready to be used.
pub(super) struct Loaded {
    pub(super) base: Base,
    pub(super) state: State,
    pub(super) visible: PerStream<AtomicU64>,
    pub(super) book: Book,
    pub(super) outbox: Outbox,
}

/// Opens the store at `path`, or makes one that takes over from what the side file and the last numbers (`tail`) know.
///
/// # Errors
/// [`BufferError::Damaged`] when the store is to be set aside.
pub(super) fn load(
    opening: &Opening,
    tail: &PerStream<u64>,
    now: Now,
    journal: &mut Journal,
    notes: &mut Vec<Note>,
) -> Result<Loaded, BufferError> {
    let side_path = opening.side_path();
    let side = Side::read(&side_path)?.and_then(Result::ok);
    let store = Store::open(&opening.path)?;
    let (store_id, mut side, lost) = match identity(&store, &opening.path)? {
        Some(store_id) => match side {
            Some(side) if side.store_id() == store_id => (store_id, side, None),
            other => (store_id, Side::new(&side_path, store_id, other.as_ref()), None),
        },
        None => {
            let store_id = clock::mint(now);
            let least = if side.is_some() { 1 } else { opening.info.first };
            let before = Before { side: side.as_ref(), tail, journal: journal.known(), least };
            (store_id, create(&store, &side_path, store_id, &before)?, side)
        }
    };
    let store_id = moved::bind(&store, &mut side, store_id, &opening.info.machine, now)?;
    let base = Base::new(Arc::new(Front::new(store)), session(&opening.info, store_id), opening.pseudonyms.clone())?;
    let mut doubt = base.store.get(keys::DOUBT)?.is_some();
    let cursors = PerStream::each(|stream| cursor(&base, stream, &side, &mut doubt))?;
    let stored = PerStream::each(|stream| closed(&base, stream, &mut doubt))?;
    if doubt {
        // Before anything is written that would hide it.
        keep_doubt(&base)?;
    }
    let batches = PerStream::each(|stream| Ok::<_, BufferError>(stored[stream].map(|(closed, _)| closed)))?;
    let (outbox, filed) = Outbox::open(&opening.outbox_path(), &batches)?;
    let mut state = State {
        cursors,
        batches,
        contents: PerStream::each(|stream| Ok::<_, BufferError>(stored[stream].and_then(|(_, content)| content)))?,
        filed,
        unsettled: unsettled(&base, &cursors[Stream::Predictions])?,
        audit_hash: [0; 32],
        side,
        journal_bytes: journal.bytes(),
        claimed: base.store.get(keys::CLAIMED)?.is_some(),
        doubt,
        full: false,
        aged: None,
        aging: PerStream::default(),
        room: Room::default(),
        declared: PerStream::each(|stream| Declared::load(&base, stream))?,
        sweeps: sweep::load(&base)?,
    };
    let has = reconcile::restore(&base, &mut state, journal, lost.is_some(), notes)?;
    if let Err(error) = reconcile::complete(&base, &state, journal, &has) {
        tracing::warn!(%error, "the journal has not got all that the store has");
        notes.push(Note::Incomplete { reason: error.to_string() });
    }
    // Only then does the journal do without the store, and the store may be behind it from here on.
    base.store.flush()?;
    for stream in Stream::ALL {
        go_on(&mut state, stream, tail[stream], lost.is_some(), journal, notes);
        // So that the first record on a disk that takes no writes has a number.
        if journal::keeps(stream) {
            let last = state.cursors[stream].last();
            state.side.promise(stream, last)?;
        }
    }
    if state.doubt && !doubt {
        keep_doubt(&base)?;
    }
    if let Some(moved) = moved::moved(&base.store)?.filter(|moved| moved.is_ahead_of(&state.cursors)) {
        notes.push(Note::Moved { from: moved.from, base: moved.base });
    }
    state.audit_hash = audit_hash(&base, &state.cursors[Stream::Audit])?;
    let cursors = state.cursors;
    let mut findings = PerStream::each(|stream| {
        let noted = notes.iter().filter_map(|note| note.gap_of(stream)).collect();
        verify::verify(&base, stream, &cursors[stream], &state.declared[stream], noted)
    })?;
    let behind = notes.iter().any(|note| note.newest_of(Stream::Predictions).is_some());
    if behind || Salvaged::untold(&base.store)?.is_some() {
        let told = Told::read(|first, last, limit| base.store.ascending(first, last, limit))?;
        balance::balance(&base, &state, &told, &mut findings[Stream::Predictions], notes)?;
    }
    if let Some(lost) = &lost {
        notes.push(Note::Replaced { lost: lost.store_id() });
    }
    let needless = note_repair(&base, opening, tail, &findings, notes)?;
    report::record(&base, &mut state, journal, now, notes, &findings)?;
    if let Some(damaged) = needless {
        generation::discard(&damaged);
    }
    journal.release(&state.done());
    state.journal_bytes = journal.bytes();
    state.unsettled = unsettled(&base, &state.cursors[Stream::Predictions])?;
    finish(base, state, outbox)
}

/// Notes what was done to make this store of a damaged one. Returns that one where nobody needs it: a power cut may look like
/// damage, and nothing is lost that was acknowledged.
fn note_repair(
    base: &Base,
    opening: &Opening,
    tail: &PerStream<u64>,
    findings: &PerStream<Findings>,
    notes: &mut Vec<Note>,
) -> Result<Option<PathBuf>, BufferError> {
    let Some(salvaged) = Salvaged::untold(&base.store)? else { return Ok(None) };
    let damaged = generation::newest_damaged(&opening.path);
    let is_needless = salvaged.complete
        && salvaged.reason == salvage::HOLED
        && !notes.iter().any(Note::is_loss)
        && Stream::ALL.into_iter().all(|stream| findings[stream].spare(tail[stream]));
    notes.push(Note::Salvaged(salvaged, damaged.clone().filter(|_| !is_needless)));
    Ok(damaged.filter(|_| is_needless))
}

/// Notes for later starts that something was lost that says what was sent.
fn keep_doubt(base: &Base) -> Result<(), BufferError> {
    let mut batch = Batch::default();
    batch.insert(keys::DOUBT, []);
    base.store.apply(batch)?;
    base.store.flush()
}

/// A state without a store: what the journal holds, in memory. For a start on a disk that takes no writes, where sled does
/// not open: alerts can be seen and acknowledged all the same, and all that is stored goes into the journal.
///
/// # Errors
/// When it was never known which store this is.
pub(super) fn load_journal(
    opening: &Opening,
    tail: &PerStream<u64>,
    journal: &Journal,
) -> Result<Option<Loaded>, BufferError> {
    let Some(Ok(side)) = Side::read(&opening.side_path())? else { return Ok(None) };
    if side.machine().differs_from(&opening.info.machine) {
        // Its numbers are that machine's to give out, and which are free here is to be written down first.
        tracing::error!(
            "the store comes from another machine, and this disk takes no writes: give it room, and start again"
        );
        return Ok(None);
    }
    let session = session(&opening.info, side.store_id());
    let base = Base::new(Arc::new(Front::without_store()), session, opening.pseudonyms.clone())?;
    let in_use = journal.known().values().iter().any(|known| known.range.is_some());
    let last = |stream: Stream| journal.known()[stream].range.map_or(0, |(_, last)| last).max(tail[stream]);
    let cursors = PerStream::each(|stream| {
        let known = &journal.known()[stream];
        let mut cursor = Cursor::starting_at(known.floor.max(known.range.map_or(1, |(first, _)| first)));
        cursor.next = cursor.next.max(last(stream).saturating_add(1));
        if journal::keeps(stream) && !in_use {
            // A store of before there was a journal: what numbers it gave out is out of sight.
            cursor.next = cursor.next.max(side.promised(stream).saturating_add(1));
        }
        cursor.uploaded = side.uploaded(stream);
        Ok::<_, BufferError>(cursor)
    })?;
    let mut state = State {
        cursors,
        batches: PerStream::default(),
        contents: PerStream::default(),
        filed: PerStream::default(),
        unsettled: BTreeSet::new(),
        audit_hash: [0; 32],
        side,
        journal_bytes: journal.bytes(),
        claimed: false,
        doubt: false,
        full: false,
        aged: None,
        aging: PerStream::default(),
        room: Room::default(),
        declared: PerStream::default(),
        sweeps: PerStream::default(),
    };
    reconcile::restore(&base, &mut state, journal, false, &mut Vec::new())?;
    state.audit_hash = audit_hash(&base, &state.cursors[Stream::Audit])?;
    // Which files belong to closed batches is in the store: none is touched.
    let mut loaded = finish(base, state, Outbox::unseen(&opening.outbox_path()))?;
    loaded.visible = PerStream::each(|stream| Ok::<_, BufferError>(AtomicU64::new(last(stream))))?;
    Ok(Some(loaded))
}

fn finish(base: Base, state: State, outbox: Outbox) -> Result<Loaded, BufferError> {
    let visible = PerStream::each(|stream| Ok::<_, BufferError>(AtomicU64::new(state.cursors[stream].last())))?;
    let book = book(&base, &state.cursors[Stream::Alerts])?;
    Ok(Loaded { base, state, visible, book, outbox })
}

pub(super) fn session(info: &SessionInfo, store_id: Uuid) -> Arc<Session> {
    Arc::new(Session {
        gateway: info.gateway.clone(),
        store_id,
        boot_id: info.boot_id,
        agent_version: info.agent_version.clone(),
        config_digest: info.config_digest.clone(),
    })
}

/// The id of a store; `None` for one that is empty.
pub(super) fn identity(store: &Store, path: &Path) -> Result<Option<Uuid>, BufferError> {
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

/// What is known of the stores before this one.
struct Before<'a> {
    side: Option<&'a Side>,
    tail: &'a PerStream<u64>,
    journal: &'a PerStream<journal::Known>,
    /// Numbers do not begin below this.
    least: u64,
}

impl Before<'_> {
    /// The highest number that may have been given out.
    fn given(&self, stream: Stream) -> u64 {
        let journalled = self.journal[stream].range.map_or(0, |(_, last)| last);
        self.side.map_or(0, |side| side.promised(stream)).max(self.tail[stream]).max(journalled)
    }

    /// Where a stream starts: its numbers go on above all that were given out, below that is what the journal has.
    fn cursor(&self, stream: Stream) -> Cursor {
        let next = self.given(stream).saturating_add(1).max(self.least);
        let known = &self.journal[stream];
        let Some((first, _)) = known.range.filter(|(_, last)| *last >= known.floor) else {
            return Cursor::starting_at(next);
        };
        let mut cursor = Cursor::starting_at(first.max(known.floor));
        cursor.next = next;
        // That it was uploaded is known of what the side file says only, whatever lies below the first that is here.
        cursor.uploaded = self.side.map_or(0, |side| side.uploaded(stream));
        cursor
    }
}

/// Makes an empty store a new one, whose numbers begin above all that were promised before.
fn create(store: &Store, side_path: &Path, store_id: Uuid, before: &Before<'_>) -> Result<Side, BufferError> {
    let unstorable = |error: codec::Unreadable| BufferError::Unstorable(error.to_string());
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, [FORMAT]);
    batch.insert(keys::STORE_ID, codec::seal(keys::STORE_ID, store_id.as_bytes()).map_err(unstorable)?);
    for stream in Stream::ALL {
        let key = keys::cursor(stream);
        batch.insert(key, codec::seal(&key, &before.cursor(stream)).map_err(unstorable)?);
    }
    // First the side file: should the power go in between, the empty store is made once more, with another id.
    let mut side = Side::new(side_path, store_id, before.side);
    for stream in Stream::ALL.into_iter().filter(|stream| journal::keeps(*stream)) {
        side.foresee(stream, before.given(stream));
    }
    side.save()?;
    store.apply(batch)?;
    store.flush()?;
    Ok(side)
}

/// Where a stream of the store stands. What its cursor does not say (any more) is counted; what was sent is then in
/// `doubt`.
pub(super) fn cursor(base: &Base, stream: Stream, side: &Side, doubt: &mut bool) -> Result<Cursor, BufferError> {
    let key = keys::cursor(stream);
    let stored = base.store.get(&key)?.and_then(|sealed| Cursor::open(&key, &sealed).ok());
    let mut cursor = match stored {
        Some(cursor) => cursor,
        None => {
            *doubt = true;
            recount(base, stream, side)?
        }
    };
    let newest = base.store.descending(&keys::record(stream, 0), &keys::record(stream, u64::MAX), 1)?;
    if let Some(last) = newest.first().and_then(|(key, _)| keys::sequence(key)) {
        cursor.next = cursor.next.max(last.saturating_add(1));
    }
    Ok(cursor)
}

/// Finds out where a stream's numbers go on, once the journal has put back what it can; notes what is lost for good.
fn go_on(state: &mut State, stream: Stream, given: u64, new_store: bool, journal: &Journal, notes: &mut Vec<Note>) {
    let side = &state.side;
    let (uploaded, promised) = (side.uploaded(stream), side.promised(stream));
    let cursor = &mut state.cursors[stream];
    let ahead = side.ahead(stream);
    let known = given.max(uploaded).max(ahead.last().map_or(0, |(_, last)| *last));
    if known > cursor.last() {
        // There were records that are not known (any more). Those of the last moments may not be known here either, so
        // numbers go on above all that were promised.
        let resumed = known.max(promised);
        notes.push(Note::Behind { stream, first: cursor.next, known, last: resumed, evicted: 0 });
        cursor.next = resumed.saturating_add(1);
    }
    if new_store
        && cursor.records > 0
        && let Some((_, last)) = journal.known()[stream].range
        && last < cursor.last()
    {
        notes.push(Note::PassedOver { stream, first: last.saturating_add(1), last: cursor.last() });
    }
    if new_store && !journal::keeps(stream) && given > uploaded && given <= cursor.last() {
        // Nobody has those that were not sent.
        let sent: Vec<Range> = ahead.iter().copied().filter(|(first, _)| *first > uploaded).collect();
        for (first, last) in verify::uncovered((uploaded.saturating_add(1), cursor.last()), &sent) {
            notes.push(Note::Behind { stream, first, known: given.min(last), last, evicted: 0 });
        }
    }
    cursor.uploaded = cursor.uploaded.max(uploaded);
    let mut doubt = false;
    for range in ahead {
        doubt |= !cursor.cover(range);
    }
    state.doubt |= doubt;
}

/// Builds a cursor from the records themselves.
fn recount(base: &Base, stream: Stream, side: &Side) -> Result<Cursor, BufferError> {
    let mut cursor = Cursor::starting_at(side.promised(stream).max(side.uploaded(stream)).saturating_add(1));
    let mut from = 0;
    loop {
        pulse::step();
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

/// The bounds of a stream's closed batch, and what its file holds once that was written. Bounds that cannot be read are
/// as good as none, but the batch may have been sent.
pub(super) fn closed(
    base: &Base,
    stream: Stream,
    doubt: &mut bool,
) -> Result<Option<(Closed, Option<Content>)>, BufferError> {
    let key = keys::batch(stream);
    let Some(sealed) = base.store.get(&key)? else { return Ok(None) };
    type Bounds = (u64, u64, i64);
    let filed = codec::open::<(Bounds, Content)>(&key, &sealed).map(|(bounds, content)| (bounds, Some(content)));
    // Until its file is written, and in the stores of earlier versions, a batch has bounds alone.
    let stored = filed.or_else(|_| codec::open::<Bounds>(&key, &sealed).map(|bounds| (bounds, None)));
    *doubt |= stored.is_err();
    Ok(stored
        .ok()
        .map(|((first, last, at), content)| (Closed { first, last, closed_at: Timestamp::from_micros(at) }, content)))
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
        pulse::step();
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
        pulse::step();
        let entries = base.store.ascending(&first, &last, PAGE)?;
        for (key, sealed) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            from = sequence.saturating_add(1);
            if let Ok(record) = base.decode(Stream::Alerts, sequence, sealed)
                && let Body::Alert(transition) = &record.body
            {
                book.apply(sequence, record.moment(), transition);
            }
        }
        if entries.len() < PAGE {
            return Ok(book);
        }
    }
}
