//! The second of two passes over a damaged log, from its newest segment to its oldest: its records go into a fresh store.
//!
//! Records and settlements never change, so any whole copy of one is the record, wherever in the log it lies: also that
//! in an older writing of a page whose newest is damaged. The exception is what was evicted, which such an older writing
//! still has: of what lies below a stream's floor only pages as they were in the end count, and so do those of ranges from
//! which records were evicted. What alerts name is never evicted before it is sent, so an older copy of that will do.

use std::collections::BTreeSet;
use std::time::Instant;

use explaind_core::domain::record::Stream;

use super::log::{self, Kind, Message};
use super::page::{self, Link};
use super::ranges::Ranges;
use super::source::{Bytes, Source};
use super::survey::Survey;
use crate::buffer::base::index_entry;
use crate::buffer::batch::Batch;
use crate::buffer::codec;
use crate::buffer::cursor::{Cursor, PerStream};
use crate::buffer::declared::{Declared, numbers};
use crate::buffer::error::BufferError;
use crate::buffer::keys::{self, Numbered};
use crate::buffer::pulse;
use crate::buffer::store::Store;
use crate::buffer::stored::{StoredRecord, StoredSettlement};
use crate::buffer::told::Told;

/// Entries that go into the store in one write.
const CHUNK: usize = 2000;
/// Bytes of such a write, about.
const CHUNK_BYTES: usize = 4 << 20;

/// A fresh store in the making.
pub(super) struct Harvest<'a> {
    survey: &'a Survey,
    store: &'a Store,
    batch: Batch,
    pending: (usize, usize),
    /// Of each stream the cursor as it was last written, if that was found.
    cursors: PerStream<Option<Cursor>>,
    /// Numbers of which it is known what became of them, and those with a record.
    seen: PerStream<Ranges>,
    kept: PerStream<Ranges>,
    /// From where records were evicted above the floors.
    declared: PerStream<Declared>,
    /// Predictions that are only in older writings, and those that are in the last that can be read, which a spoilt one
    /// follows.
    outdated: Ranges,
    suspect: Ranges,
    settled: Ranges,
    pinned: BTreeSet<u64>,
    unpinned: BTreeSet<u64>,
    tallies: PerStream<Tally>,
}

/// What an entry's page was when it was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageState {
    /// It was written anew later, without the entry or with it.
    Outdated,
    /// What came later cannot be read.
    Suspect,
    Current,
}

/// What a stream has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    bytes: u64,
}

impl<'a> Harvest<'a> {
    /// Begins with what the first pass found.
    pub(super) fn new(survey: &'a Survey, store: &'a Store) -> Self {
        let cursor = |stream| {
            let key = keys::cursor(stream);
            let found = survey.small.get(&key[..]).and_then(|sealed| Cursor::open(&key, sealed).ok());
            Ok::<_, std::convert::Infallible>(found)
        };
        let Ok(cursors) = PerStream::each(cursor);
        let declared = |stream| {
            let of_it = survey.small.iter().filter(|(key, _)| keys::declares_of(key) == Some(stream));
            Ok::<_, std::convert::Infallible>(Declared::of(of_it.map(|(key, sealed)| (&**key, &**sealed))))
        };
        let Ok(declared) = PerStream::each(declared);
        Self {
            survey,
            store,
            batch: Batch::default(),
            pending: (0, 0),
            cursors,
            seen: PerStream::default(),
            kept: PerStream::default(),
            declared,
            outdated: Ranges::default(),
            suspect: Ranges::default(),
            settled: Ranges::default(),
            pinned: BTreeSet::new(),
            unpinned: BTreeSet::new(),
            tallies: PerStream::default(),
        }
    }

    /// Whether it is known of every stream where it stood.
    pub(super) fn knows_all_cursors(&self) -> bool {
        self.cursors.values().iter().all(Option::is_some)
    }

    /// Takes what the log has; says whether there was time for all of it.
    pub(super) fn gather<B: Bytes>(&mut self, source: &Source<B>, deadline: Instant) -> Result<bool, BufferError> {
        let mut buffer = Vec::new();
        for (_, index) in self.survey.segments.iter().rev() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            let Some(segment) = log::segment(source.segment(*index, &mut buffer)) else { continue };
            for message in segment.messages.iter().rev() {
                match message.kind {
                    Kind::Node => self.take_page(message, message.body)?,
                    Kind::Link => self.take_link(message, message.body)?,
                    Kind::NodeAside => {
                        if let Some(body) = source.aside(message.body) {
                            self.take_page(message, &body)?;
                        }
                    }
                    Kind::LinkAside => {
                        if let Some(body) = source.aside(message.body) {
                            self.take_link(message, &body)?;
                        }
                    }
                    Kind::Free | Kind::Other => {}
                }
            }
        }
        self.write()?;
        Ok(true)
    }

    fn take_page(&mut self, message: &Message<'_>, body: &[u8]) -> Result<(), BufferError> {
        let Some(leaf) = page::leaf(body) else { return Ok(()) };
        let state = self.state(message);
        for (suffix, value) in leaf.entries {
            self.take(&[leaf.prefix, suffix].concat(), value, state)?;
        }
        Ok(())
    }

    fn take_link(&mut self, message: &Message<'_>, body: &[u8]) -> Result<(), BufferError> {
        match page::link(body) {
            Some(Link::Set(suffix, value)) => match self.survey.key(message, suffix, Some(value)) {
                Some(key) => self.take(&key, value, self.state(message)),
                None => Ok(()),
            },
            Some(Link::Del(suffix)) => {
                if let Some(key) = self.survey.key(message, suffix, None) {
                    self.pass_over(&key);
                }
                Ok(())
            }
            Some(Link::Other) | None => Ok(()),
        }
    }

    fn state(&self, message: &Message<'_>) -> PageState {
        match (self.survey.is_current(message), self.survey.is_suspect(message)) {
            (false, _) => PageState::Outdated,
            (true, true) => PageState::Suspect,
            (true, false) => PageState::Current,
        }
    }

    fn floor(&self, stream: Stream) -> u64 {
        self.cursors[stream].map_or(0, |cursor| cursor.floor)
    }

    /// What was taken away, and did not come back later, is not taken from an older page.
    fn pass_over(&mut self, key: &[u8]) {
        match keys::numbered(key) {
            Some(Numbered::Record(stream, number)) => drop(self.seen[stream].insert(number)),
            Some(Numbered::Settlement(number)) => drop(self.settled.insert(number)),
            Some(Numbered::Pinned(number)) if !self.pinned.contains(&number) => drop(self.unpinned.insert(number)),
            Some(Numbered::Pinned(_)) | None => {}
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8], page: PageState) -> Result<(), BufferError> {
        let current = page != PageState::Outdated;
        match keys::numbered(key) {
            Some(Numbered::Record(stream, number)) => {
                let spared = current && matches!(stream, Stream::Predictions | Stream::Explanations);
                if self.seen[stream].contains(number) || (number < self.floor(stream) && !spared) {
                    return Ok(());
                }
                if !current && stream != Stream::Predictions && self.declared[stream].around(number).is_some() {
                    return Ok(());
                }
                let Ok(record) = codec::open::<StoredRecord>(key, value) else { return Ok(()) };
                if stream == Stream::Predictions {
                    match page {
                        PageState::Outdated => drop(self.outdated.insert(number)),
                        PageState::Suspect => drop(self.suspect.insert(number)),
                        PageState::Current => {}
                    }
                }
                let (index_key, index_value) = index_entry(record.id(), stream, number)?;
                self.seen[stream].insert(number);
                self.kept[stream].insert(number);
                let tally = &mut self.tallies[stream];
                tally.records += 1;
                tally.bytes += codec::weight(key, value) + codec::weight(&index_key, &index_value);
                self.put(key, value)?;
                self.put(&index_key, &index_value)
            }
            Some(Numbered::Settlement(number)) => {
                let spared = current || number >= self.floor(Stream::Predictions);
                if !spared || codec::open::<StoredSettlement>(key, value).is_err() || !self.settled.insert(number) {
                    return Ok(());
                }
                self.put(key, value)
            }
            Some(Numbered::Pinned(number)) => {
                let spared = current || number >= self.floor(Stream::Predictions);
                if spared && !self.unpinned.contains(&number) {
                    self.pinned.insert(number);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), BufferError> {
        self.batch.insert(key, value);
        self.pending = (self.pending.0 + 1, self.pending.1 + key.len() + value.len());
        if self.pending.0 >= CHUNK || self.pending.1 >= CHUNK_BYTES { self.write() } else { Ok(()) }
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), BufferError> {
        self.batch.remove(key);
        self.pending.0 += 1;
        if self.pending.0 >= CHUNK { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), BufferError> {
        self.pending = (0, 0);
        pulse::step();
        self.store.apply(std::mem::take(&mut self.batch))
    }

    /// Adds what follows from the records, and where each stream stands.
    pub(super) fn finish(mut self, side_promised: &PerStream<u64>) -> Result<PerStream<Tally>, BufferError> {
        self.pin_what_alerts_name()?;
        self.drop_unpinned()?;
        self.weigh_settlements()?;
        self.point_to_extras()?;
        for number in std::mem::take(&mut self.pinned) {
            if self.kept[Stream::Predictions].contains(number) {
                self.put(&keys::pinned(number), &[])?;
            }
        }
        for (key, value) in &self.survey.small {
            if keys::is_lasting(key) || (keys::is_changing(key) && !keys::says_where_a_stream_stands(key)) {
                self.put(key, value)?;
            }
            if let Some(stream) = keys::declares_of(key) {
                self.tallies[stream].bytes += codec::weight(key, value);
            }
        }
        for stream in Stream::ALL {
            let tally = self.tallies[stream];
            let (first, last) = (self.kept[stream].first(), self.kept[stream].last());
            let promised = side_promised[stream].saturating_add(1);
            let mut cursor = self.cursors[stream].unwrap_or(Cursor::starting_at(first.unwrap_or(promised)));
            cursor.next = cursor.next.max(last.map_or(0, |last| last.saturating_add(1)));
            (cursor.records, cursor.bytes) = (tally.records, tally.bytes);
            let key = keys::cursor(stream);
            self.put(&key, &sealed(&key, &cursor)?)?;
            let key = keys::batch(stream);
            if let Some(bounds) = self.survey.small.get(&key[..]) {
                self.put(&key, bounds)?;
            }
        }
        self.write()?;
        Ok(self.tallies)
    }

    /// Predictions that alerts name outlive the others.
    fn pin_what_alerts_name(&mut self) -> Result<(), BufferError> {
        let mut from = 0;
        while let Some(page) = self.records(Stream::Alerts, from, u64::MAX)? {
            for (number, key, sealed) in page {
                from = number.saturating_add(1);
                let raised_by = codec::open::<StoredRecord>(&key, &sealed).ok().and_then(|record| record.raised_by());
                let Some(prediction) = raised_by else { continue };
                let key = keys::index(prediction);
                let place: Option<(u8, u64)> = self.store.get(&key)?.and_then(|sealed| codec::open(&key, &sealed).ok());
                if let Some((code, number)) = place
                    && keys::stream(code) == Some(Stream::Predictions)
                {
                    self.pinned.insert(number);
                }
            }
        }
        Ok(())
    }

    /// Of what lies below the floor, and of what may have been evicted above it, only predictions that alerts name are kept.
    fn drop_unpinned(&mut self) -> Result<(), BufferError> {
        let told = Told::read(|first, last, limit| self.store.ascending(first, last, limit))?;
        let floor = self.floor(Stream::Predictions);
        let below = floor.checked_sub(1).map(|last| (0, last));
        for range in below.into_iter().chain(self.outdated.iter()).collect::<Vec<_>>() {
            let declared = self.declared[Stream::Predictions].clone();
            let is_evicted = |number| number < floor || declared.around(number).is_some() || told.covers(number);
            self.drop_unpinned_of(range, u64::MAX, is_evicted)?;
        }
        self.write()?;
        // Of these some more were evicted than can be told. Which is not known, and how many is.
        for ((first, last), gone) in told.above(floor) {
            let kept = self.count(first, last)?;
            let mut surplus = kept.saturating_add(gone).saturating_sub(numbers((first, last)));
            for suspect in self.suspect.iter().collect::<Vec<_>>() {
                let range = (suspect.0.max(first), suspect.1.min(last));
                surplus = surplus.saturating_sub(self.drop_unpinned_of(range, surplus, |_| true)?);
            }
            self.write()?;
        }
        Ok(())
    }

    /// How many predictions of a range there are.
    fn count(&self, mut from: u64, last: u64) -> Result<u64, BufferError> {
        let mut count: u64 = 0;
        while let Some(page) = self.records(Stream::Predictions, from, last)? {
            count = count.saturating_add(page.len() as u64);
            from = page.last().map_or(u64::MAX, |(number, ..)| number.saturating_add(1));
        }
        Ok(count)
    }

    /// Takes away up to `most` of those that no alert names; says how many.
    fn drop_unpinned_of(
        &mut self,
        (mut from, last): (u64, u64),
        most: u64,
        goes: impl Fn(u64) -> bool,
    ) -> Result<u64, BufferError> {
        let mut dropped = 0;
        while let Some(page) = self.records(Stream::Predictions, from, last)? {
            for (number, key, sealed) in page {
                from = number.saturating_add(1);
                if dropped >= most {
                    return Ok(dropped);
                }
                if self.pinned.contains(&number) || !goes(number) {
                    continue;
                }
                dropped += 1;
                let mut weight = codec::weight(&key, &sealed);
                if let Ok(record) = codec::open::<StoredRecord>(&key, &sealed) {
                    let (index_key, index_value) = index_entry(record.id(), Stream::Predictions, number)?;
                    weight += codec::weight(&index_key, &index_value);
                    self.remove(&index_key)?;
                }
                self.remove(&key)?;
                let tally = &mut self.tallies[Stream::Predictions];
                tally.records = tally.records.saturating_sub(1);
                tally.bytes = tally.bytes.saturating_sub(weight);
            }
        }
        Ok(dropped)
    }

    /// Settlements count with their predictions, and go without them.
    fn weigh_settlements(&mut self) -> Result<(), BufferError> {
        let mut from = 0;
        loop {
            pulse::step();
            let entries = self.store.ascending(&keys::settlement(from), &keys::settlement(u64::MAX), CHUNK)?;
            for (key, sealed) in &entries {
                let Some(number) = keys::sequence(key) else { continue };
                from = number.saturating_add(1);
                if self.store.get(&keys::record(Stream::Predictions, number))?.is_some() {
                    self.tallies[Stream::Predictions].bytes += codec::weight(key, sealed);
                } else {
                    self.remove(key)?;
                }
            }
            if entries.len() < CHUNK {
                return self.write();
            }
        }
    }

    /// The newest extra of a kind is the one that is found.
    fn point_to_extras(&mut self) -> Result<(), BufferError> {
        let mut from = 0;
        while let Some(page) = self.records(Stream::Explanations, from, u64::MAX)? {
            for (number, key, sealed) in page {
                from = number.saturating_add(1);
                let explains = codec::open::<StoredRecord>(&key, &sealed).ok().and_then(|record| record.explains());
                if let Some((prediction, kind)) = explains {
                    let key = keys::extra(prediction, kind);
                    self.put(&key, &sealed_number(&key, number)?)?;
                }
            }
            self.write()?;
        }
        for (key, sealed) in self.store.all(&keys::EXTRAS)? {
            self.tallies[Stream::Explanations].bytes += codec::weight(&key, &sealed);
        }
        Ok(())
    }

    /// The next records of a stream; `None` when there are none.
    #[expect(clippy::type_complexity, reason = "number, key and value of each")]
    fn records(
        &self,
        stream: Stream,
        from: u64,
        last: u64,
    ) -> Result<Option<Vec<(u64, sled::IVec, sled::IVec)>>, BufferError> {
        pulse::step();
        let entries = self.store.ascending(&keys::record(stream, from), &keys::record(stream, last), CHUNK)?;
        let page: Vec<_> =
            entries.into_iter().filter_map(|(key, sealed)| Some((keys::sequence(&key)?, key, sealed))).collect();
        Ok((!page.is_empty() && from <= last).then_some(page))
    }
}

fn sealed_number(key: &[u8], number: u64) -> Result<Vec<u8>, BufferError> {
    sealed(key, &number)
}

fn sealed<T: serde::Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, BufferError> {
    codec::seal(key, value).map_err(|error| BufferError::Unstorable(error.to_string()))
}
