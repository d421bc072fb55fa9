//! One write: everything that goes into the store together, or not at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::extra::Kind;
use explaind_core::domain::record::{Body, Health, NewRecord, Record, Session, Stream};
use explaind_core::domain::time::Now;
use serde::Serialize;
use uuid::Uuid;

use super::base::{Base, index_entry};
use super::batch::Batch;
use super::codec;
use super::cursor::{Cursor, PerStream};
use super::declared::{Changes, numbers};
use super::error::BufferError;
use super::frames::NewFrames;
use super::journal::{self, Entry, Item};
use super::outbox::Content;
use super::state::State;
use super::stored::{Frame, StoredRecord, StoredSettlement, frame_of, frame_of_settlement};
use super::verify::Short;
use super::{Closed, audit, keys};
use crate::clock;

/// The most that one record, or one settlement, may take. Real ones take a few hundred bytes, windows some thousand.
const MOST_BYTES: usize = 1 << 20;

/// What became of a record of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restored {
    /// The store has it.
    Same,
    /// The store did not have it.
    Missing,
    /// Something else stood in its place.
    Displaced,
}

/// What one write evicted of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// First and last number.
    pub(super) range: Option<(u64, u64)>,
    /// How many records.
    pub(super) records: u64,
    /// How many records between them stay.
    pub(super) kept: u64,
    /// How many of those that are gone were never uploaded.
    pub(super) unsent: u64,
    /// Of thinned predictions: one in so many stays.
    pub(super) one_in: Option<u64>,
}

impl Gone {
    /// Counts one record.
    pub(super) fn note(&mut self, sequence: u64, is_uploaded: bool) {
        self.records += 1;
        self.unsent += u64::from(!is_uploaded);
        self.cover((sequence, sequence));
    }

    /// Stretches over a range.
    pub(super) fn cover(&mut self, added: (u64, u64)) {
        let (first, last) = self.range.unwrap_or(added);
        self.range = Some((first.min(added.0), last.max(added.1)));
    }
}

/// A write in the making. Dropping it changes nothing.
pub(super) struct Write<'a> {
    pub(super) base: &'a Base,
    pub(super) batch: Batch,
    pub(super) frames: NewFrames,
    pub(super) cursors: PerStream<Cursor>,
    before: PerStream<Cursor>,
    pub(super) batches: PerStream<Option<Closed>>,
    journal_bytes: u64,
    pub(super) contents: PerStream<Option<Content>>,
    in_outbox: u64,
    pub(super) audit_hash: [u8; 32],
    pub(super) unsettled: BTreeSet<u64>,
    pub(super) settled: BTreeSet<u64>,
    /// What changes of the ranges that are declared as evicted.
    pub(super) declared: Changes,
    /// Weights of the entries that lead to extras, where this write changes them.
    entries: HashMap<[u8; 18], u64>,
    /// Extras that cannot be read, by their numbers.
    lost_extras: BTreeSet<u64>,
    /// What is announced once it is durable.
    pub(super) news: Vec<Arc<Record>>,
    /// What goes into the journal.
    items: Vec<Item>,
    /// Records added, and their bytes, those of explanations included.
    pub(super) taken: (u64, u64),
    session: Arc<Session>,
    session_frame: Option<u32>,
    clock_synchronised: bool,
}

impl<'a> Write<'a> {
    /// Begins where the state stands.
    pub(super) fn new(base: &'a Base, state: &State) -> Self {
        Self {
            base,
            batch: Batch::default(),
            frames: NewFrames::default(),
            cursors: state.cursors,
            before: state.cursors,
            batches: state.batches,
            journal_bytes: state.journal_bytes,
            contents: state.contents,
            in_outbox: state.in_outbox(),
            audit_hash: state.audit_hash,
            unsettled: BTreeSet::new(),
            settled: BTreeSet::new(),
            declared: Changes::default(),
            entries: HashMap::new(),
            lost_extras: BTreeSet::new(),
            news: Vec::new(),
            items: Vec::new(),
            taken: (0, 0),
            session: base.session(),
            session_frame: None,
            clock_synchronised: clock::synchronised(),
        }
    }

    /// Adds a record under the next number of its stream.
    pub(super) fn push(&mut self, mut new: NewRecord) -> Result<Arc<Record>, BufferError> {
        let stream = new.body.stream();
        let sequence = self.cursors[stream].next;
        if let Body::Audit(entry) = &mut new.body {
            entry.stand_in = audit::stand_in(&self.base.pseudonyms, entry);
            entry.previous_hash = self.audit_hash;
            entry.hash = audit::hash(new.id, sequence, new.at, entry);
            self.audit_hash = entry.hash;
        }
        let session = self.session()?;
        let frame = frame_of(&new.body).map(|frame| self.frame(frame)).transpose()?.unwrap_or(0);
        let key = keys::record(stream, sequence);
        let stored = StoredRecord::of(&new, self.clock_synchronised, session, frame);
        let value = self.seal(stream, &key, &stored)?;
        let (index_key, index_value) = index_entry(new.id, stream, sequence)?;

        self.taken.0 += 1;
        self.taken.1 += (key.len() + value.len()) as u64;
        let cursor = &mut self.cursors[stream];
        cursor.next += 1;
        cursor.records += 1;
        cursor.bytes += codec::weight(&key, &value) + codec::weight(&index_key, &index_value);
        self.batch.insert(key, value);
        self.batch.insert(index_key, index_value);
        if journal::keeps(stream) {
            self.items.push(Item::new(stream, sequence, stored));
        }
        match &new.body {
            Body::Prediction(_) => {
                self.unsettled.insert(sequence);
            }
            Body::Alert(transition) => {
                if let Some(prediction) = transition.prediction_id {
                    self.pin(prediction)?;
                }
            }
            Body::Extra(extra) => self.point_to(extra.prediction_id, extra.kind, sequence)?,
            Body::Feedback(_) | Body::Audit(_) | Body::Health(_) => {}
        }
        let record = Arc::new(Record {
            id: new.id,
            sequence,
            at: new.at,
            clock_synchronised: self.clock_synchronised,
            session: self.session.clone(),
            body: new.body,
            settlement: None,
        });
        self.news.push(record.clone());
        Ok(record)
    }

    /// Puts a record that the journal has back into its place. It comes as it is there: without a number of its session.
    pub(super) fn restore(
        &mut self,
        stream: Stream,
        sequence: u64,
        record: StoredRecord,
        session: &Arc<Session>,
    ) -> Result<Restored, BufferError> {
        let frame = self.frame(Frame::Session(session.clone()))?;
        let key = keys::record(stream, sequence);
        if self.batch.mentions(&key) {
            return Ok(Restored::Same);
        }
        let mut restored = Restored::Missing;
        if let Some(sealed) = self.base.store.get(&key)? {
            let there = codec::open(&key, &sealed).map(|there: StoredRecord| there.with_session(0));
            if there.is_ok_and(|there| there == record) {
                return Ok(Restored::Same);
            }
            self.displace(stream, sequence, &sealed)?;
            restored = Restored::Displaced;
        }
        let record = record.with_session(frame);
        let value = self.seal(stream, &key, &record)?;
        let (index_key, index_value) = index_entry(record.id(), stream, sequence)?;
        let cursor = &mut self.cursors[stream];
        cursor.next = cursor.next.max(sequence.saturating_add(1));
        cursor.records += 1;
        cursor.bytes += codec::weight(&key, &value) + codec::weight(&index_key, &index_value);
        self.batch.insert(key, value);
        self.batch.insert(index_key, index_value);
        if let Some(prediction) = record.raised_by() {
            self.pin(prediction)?;
        }
        Ok(restored)
    }

    /// Sets aside what stands in the place of a record.
    fn displace(&mut self, stream: Stream, sequence: u64, sealed: &[u8]) -> Result<(), BufferError> {
        let key = keys::record(stream, sequence);
        let mut weight = codec::weight(&key, sealed);
        if let Ok(other) = codec::open::<StoredRecord>(&key, sealed) {
            let (index_key, index_value) = index_entry(other.id(), stream, sequence)?;
            // It may be in another place as well, and the entry lead there.
            if self.base.locate(other.id())? == Some((stream, sequence)) {
                weight += codec::weight(&index_key, &index_value);
                self.batch.remove(index_key);
            }
        }
        self.batch.insert(keys::quarantined_record(stream, sequence), sealed);
        let cursor = &mut self.cursors[stream];
        cursor.bytes = cursor.bytes.saturating_sub(weight);
        cursor.records = cursor.records.saturating_sub(1);
        Ok(())
    }

    /// What of this write goes into the journal, if anything does.
    pub(super) fn journal_entry(&mut self) -> Option<Arc<Entry>> {
        let items = std::mem::take(&mut self.items);
        let floors = Stream::ALL.map(|stream| (stream, self.cursors[stream].floor));
        let floors = floors.into_iter().filter(|(stream, _)| journal::keeps(*stream));
        (!items.is_empty()).then(|| Arc::new(Entry::new(self.session.clone(), floors, items)))
    }

    /// Adds a record about the buffer itself.
    pub(super) fn health(&mut self, at: Now, state: &str, evidence: &[(&str, String)]) -> Result<(), BufferError> {
        let evidence = evidence.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let body = Body::Health(Health { subject: "buffer".to_owned(), state: state.to_owned(), evidence });
        self.push(NewRecord { id: clock::mint(at), at, body }).map(drop)
    }

    /// Adds a record about a range of numbers of a stream.
    fn range(
        &mut self,
        at: Now,
        state: &str,
        stream: Stream,
        (first, last): (u64, u64),
        figures: &[(&str, String)],
        reason: &str,
    ) -> Result<(), BufferError> {
        let mut evidence =
            vec![("stream", stream.as_str().to_owned()), ("first", first.to_string()), ("last", last.to_string())];
        evidence.extend_from_slice(figures);
        evidence.push(("reason", reason.to_owned()));
        self.health(at, state, &evidence)
    }

    /// Adds a record about records that could not be read.
    pub(super) fn quarantined(
        &mut self,
        at: Now,
        stream: Stream,
        (first, last): (u64, u64),
        records: usize,
        reason: &str,
    ) -> Result<(), BufferError> {
        self.range(at, "quarantined", stream, (first, last), &[("records", records.to_string())], reason)
    }

    /// Notes a range of numbers without records that nobody knew of, and adds a record about it.
    pub(super) fn missing(
        &mut self,
        at: Now,
        stream: Stream,
        (first, last): (u64, u64),
        reason: &str,
    ) -> Result<(), BufferError> {
        self.missing_some(at, stream, (first, last), 0, reason)
    }

    /// The same of a range of which so many records were evicted before.
    pub(super) fn missing_some(
        &mut self,
        at: Now,
        stream: Stream,
        (first, last): (u64, u64),
        evicted: u64,
        reason: &str,
    ) -> Result<(), BufferError> {
        self.gap(stream, first, last)?;
        let records = numbers((first, last)).saturating_sub(evicted).to_string();
        let figures: &[_] = if evicted > 0 { &[("records", records)] } else { &[] };
        self.range(at, "gap", stream, (first, last), figures, reason)
    }

    /// Notes records that are missing among others that were evicted, and adds a record about them.
    pub(super) fn lost_among_evicted(&mut self, at: Now, stream: Stream, short: &Short) -> Result<(), BufferError> {
        let reason = "records are missing from the store, among others that were evicted";
        self.range(at, "gap", stream, short.range, &[("records", short.lost.to_string())], reason)?;
        self.declare_more(stream, short.segment, short.lost)
    }

    /// Adds a record about an eviction.
    pub(super) fn evicted(&mut self, at: Now, stream: Stream, gone: &Gone, reason: &str) -> Result<(), BufferError> {
        let Some(range) = gone.range else { return Ok(()) };
        let mut figures = vec![
            ("records", gone.records.to_string()),
            ("kept", gone.kept.to_string()),
            ("unsent", gone.unsent.to_string()),
        ];
        figures.extend(gone.one_in.map(|share| ("one_in", share.to_string())));
        self.range(at, "evicted", stream, range, &figures, reason)
    }

    /// Settles the explanation of a prediction that is stored and unsettled.
    pub(super) fn settle(&mut self, mut prediction: Record, settlement: Settlement) -> Result<(), BufferError> {
        let frame = frame_of_settlement(&settlement).map(|frame| self.frame(frame)).transpose()?.unwrap_or(0);
        let key = keys::settlement(prediction.sequence);
        let value = self.seal(Stream::Predictions, &key, &StoredSettlement::of(&settlement, frame))?;
        self.cursors[Stream::Predictions].bytes += codec::weight(&key, &value);
        self.taken.1 += (key.len() + value.len()) as u64;
        self.batch.insert(key, value);
        self.settled.insert(prediction.sequence);
        prediction.settlement = Some(settlement);
        self.news.push(Arc::new(prediction));
        Ok(())
    }

    /// Fixes the bounds of a stream's next batch, adds what its file holds, or takes both away.
    pub(super) fn set_batch(
        &mut self,
        stream: Stream,
        closed: Option<Closed>,
        content: Option<Content>,
    ) -> Result<(), BufferError> {
        let key = keys::batch(stream);
        let bounds = closed.map(|bounds| (bounds.first, bounds.last, bounds.closed_at.as_micros()));
        match (bounds, content) {
            (Some(bounds), Some(content)) => {
                let value = self.seal(stream, &key, &(bounds, content))?;
                self.batch.insert(key, value);
            }
            (Some(bounds), None) => {
                let value = self.seal(stream, &key, &bounds)?;
                self.batch.insert(key, value);
            }
            (None, _) => self.batch.remove(key),
        }
        self.batches[stream] = closed;
        self.contents[stream] = content;
        Ok(())
    }

    /// Notes a range of numbers as known to be empty.
    pub(super) fn gap(&mut self, stream: Stream, first: u64, last: u64) -> Result<(), BufferError> {
        let key = keys::gap(stream, first);
        let value = self.seal(stream, &key, &last)?;
        self.batch.insert(key, value);
        Ok(())
    }

    /// Takes a record away, with all that belongs to it.
    pub(super) fn evict(&mut self, stream: Stream, sequence: u64, sealed: &[u8]) -> Result<(), BufferError> {
        let key = keys::record(stream, sequence);
        let mut weight = codec::weight(&key, sealed);
        self.batch.remove(key);
        if let Ok(stored) = codec::open::<StoredRecord>(&key, sealed) {
            let (index_key, index_value) = index_entry(stored.id(), stream, sequence)?;
            weight += codec::weight(&index_key, &index_value);
            self.batch.remove(index_key);
            if let Some((prediction, kind)) = stored.explains() {
                weight += self.forget_extra(&keys::extra(prediction, kind), sequence)?;
            }
        }
        if stream == Stream::Predictions {
            let key = keys::settlement(sequence);
            weight += self.base.store.get(&key)?.map_or(0, |sealed| codec::weight(&key, &sealed));
            self.batch.remove(key);
            self.batch.remove(keys::pinned(sequence));
        }
        let cursor = &mut self.cursors[stream];
        cursor.bytes = cursor.bytes.saturating_sub(weight);
        cursor.records = cursor.records.saturating_sub(1);
        Ok(())
    }

    /// Notes where the newest extra of a kind is found; the entry takes the place of the one before.
    fn point_to(&mut self, prediction: Uuid, kind: Kind, sequence: u64) -> Result<(), BufferError> {
        let key = keys::extra(prediction, kind);
        let before = match self.entries.get(&key) {
            Some(weight) => *weight,
            None => self.base.store.get(&key)?.map_or(0, |sealed| codec::weight(&key, &sealed)),
        };
        let value = self.seal(Stream::Explanations, &key, &sequence)?;
        let weight = codec::weight(&key, &value);
        let cursor = &mut self.cursors[Stream::Explanations];
        cursor.bytes = (cursor.bytes + weight).saturating_sub(before);
        self.entries.insert(key, weight);
        self.batch.insert(key, value);
        Ok(())
    }

    /// Takes away where an extra is found, unless a newer one is found there. Returns what it counted for.
    fn forget_extra(&mut self, key: &[u8], sequence: u64) -> Result<u64, BufferError> {
        let Some(sealed) = self.base.store.get(key)? else { return Ok(0) };
        if codec::open::<u64>(key, &sealed).is_ok_and(|newest| newest == sequence) {
            self.batch.remove(key);
            return Ok(codec::weight(key, &sealed));
        }
        Ok(0)
    }

    /// Takes away what is said of a prediction and was passed over when its turn came; returns the numbers.
    pub(super) fn evict_spared(&mut self, prediction: Uuid) -> Result<Vec<u64>, BufferError> {
        let floor = self.cursors[Stream::Explanations].floor;
        let mut gone = Vec::new();
        for kind in Kind::ALL {
            // What lies above has its turn yet, and may not be uploaded.
            let newest = self.base.newest_extra(prediction, kind)?.filter(|sequence| *sequence < floor);
            let Some(sequence) = newest else { continue };
            if let Some(sealed) = self.base.store.get(&keys::record(Stream::Explanations, sequence))? {
                self.evict(Stream::Explanations, sequence, &sealed)?;
                gone.push(sequence);
            }
        }
        Ok(gone)
    }

    /// Puts a record that cannot be read where nobody trips over it.
    pub(super) fn quarantine(&mut self, stream: Stream, sequence: u64, sealed: &[u8]) -> Result<(), BufferError> {
        let key = keys::record(stream, sequence);
        self.batch.remove(key);
        match stream {
            Stream::Explanations => drop(self.lost_extras.insert(sequence)),
            // Nobody explains it, and no batch waits for that.
            Stream::Predictions => drop(self.settled.insert(sequence)),
            _ => {}
        }
        self.batch.insert(keys::quarantined_record(stream, sequence), sealed);
        self.gap(stream, sequence, sequence)?;
        let cursor = &mut self.cursors[stream];
        cursor.bytes = cursor.bytes.saturating_sub(codec::weight(&key, sealed));
        cursor.records = cursor.records.saturating_sub(1);
        Ok(())
    }

    /// Like [`quarantine`](Self::quarantine), for a settlement.
    pub(super) fn quarantine_settlement(&mut self, sequence: u64, sealed: &[u8]) {
        let key = keys::settlement(sequence);
        self.batch.remove(key);
        self.batch.insert(keys::quarantined_settlement(sequence), sealed);
        let cursor = &mut self.cursors[Stream::Predictions];
        cursor.bytes = cursor.bytes.saturating_sub(codec::weight(&key, sealed));
    }

    /// Takes away where extras were found that cannot be read any more. Which predictions they explained is not known,
    /// so all entries are looked through: it is rare.
    fn forget_lost_extras(&mut self) -> Result<(), BufferError> {
        if self.lost_extras.is_empty() {
            return Ok(());
        }
        for (key, sealed) in self.base.store.all(&keys::EXTRAS)? {
            if codec::open::<u64>(&key, &sealed).is_ok_and(|newest| self.lost_extras.contains(&newest)) {
                self.batch.remove(&key);
                let cursor = &mut self.cursors[Stream::Explanations];
                cursor.bytes = cursor.bytes.saturating_sub(codec::weight(&key, &sealed));
            }
        }
        Ok(())
    }

    /// Adds every cursor that moved: the batch is then ready for the store.
    pub(super) fn finish(&mut self, state: &State) -> Result<(), BufferError> {
        self.forget_lost_extras()?;
        let first_unsettled =
            state.unsettled.iter().chain(&self.unsettled).find(|sequence| !self.settled.contains(sequence)).copied();
        let predictions = &mut self.cursors[Stream::Predictions];
        predictions.settled = first_unsettled.unwrap_or(predictions.next).saturating_sub(1);
        for stream in Stream::ALL {
            let cursor = self.cursors[stream];
            if cursor != self.before[stream] {
                let key = keys::cursor(stream);
                let value = self.seal(stream, &key, &cursor)?;
                self.batch.insert(key, value);
            }
        }
        Ok(())
    }

    /// Bytes kept once this is in the store.
    pub(super) fn kept(&self) -> u64 {
        let records: u64 = self.cursors.values().iter().map(|cursor| cursor.bytes).sum();
        records.saturating_add(self.journal_bytes).saturating_add(self.in_outbox)
    }

    /// An alert names the prediction: it outlives the others, so that the alert can still be understood.
    fn pin(&mut self, prediction: Uuid) -> Result<(), BufferError> {
        let here = self.news.iter().find(|record| record.id == prediction).map(|record| record.sequence);
        let sequence = match here {
            Some(sequence) => Some(sequence),
            None => self
                .base
                .locate(prediction)?
                .and_then(|(stream, sequence)| (stream == Stream::Predictions).then_some(sequence)),
        };
        if let Some(sequence) = sequence {
            self.batch.insert(keys::pinned(sequence), []);
        }
        Ok(())
    }

    fn session(&mut self) -> Result<u32, BufferError> {
        if let Some(number) = self.session_frame {
            return Ok(number);
        }
        let number = self.frame(Frame::Session(self.session.clone()))?;
        self.session_frame = Some(number);
        Ok(number)
    }

    fn frame(&mut self, frame: Frame) -> Result<u32, BufferError> {
        self.base.frames.number(frame, &mut self.frames, &mut self.batch)
    }

    pub(super) fn seal<T: Serialize>(&self, stream: Stream, key: &[u8], value: &T) -> Result<Vec<u8>, BufferError> {
        let sealed = codec::seal(key, value).map_err(|error| BufferError::Unstorable(error.to_string()))?;
        if sealed.len() > MOST_BYTES {
            return Err(BufferError::TooLarge { stream: stream.as_str(), bytes: sealed.len(), most: MOST_BYTES });
        }
        Ok(sealed)
    }
}
