//! At the start, journal and store are made to say the same: what one has and the other lost is put back.
//!
//! Where they disagree about a number, the journal is right. What stood in the store there is set aside in it.

use std::sync::Arc;

use explaind_core::domain::record::{Session, Stream};

use super::{Entry, Item, Journal, keeps};
use crate::buffer::base::Base;
use crate::buffer::cursor::PerStream;
use crate::buffer::error::BufferError;
use crate::buffer::report::Note;
use crate::buffer::state::State;
use crate::buffer::stored::{Frame, Frames as _, StoredRecord};
use crate::buffer::write::{Restored, Write};
use crate::buffer::{codec, keys};

/// Records of the store that are looked at in one go.
const PAGE: usize = 500;
/// Bytes of records in an entry that is made of what the store has.
const ENTRY_BYTES: usize = 32 << 10;

/// Such entries that are made to last together.
const AT_ONCE: usize = 32;

/// What was put back into the store, of one stream.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    /// Records among those that the store has, or of a store that starts anew.
    missing: u64,
    /// Others stood in their place, or something that could not be read.
    displaced: u64,
    range: Option<(u64, u64)>,
}

/// Puts into the store what the journal has and it has not, and notes what a person should know of that. After a crash
/// the store is some records behind as a rule, since it is not flushed for each: that is not worth a word.
pub(in crate::buffer) fn restore(
    base: &Base,
    state: &mut State,
    journal: &Journal,
    new_store: bool,
    notes: &mut Vec<Note>,
) -> Result<Ranges, BufferError> {
    let mut ranges = Ranges::default();
    let mut tallies: PerStream<Tally> = PerStream::default();
    let before = state.cursors;
    let evicted = state.declared.clone();
    journal.each(|entries| {
        let mut write = Write::new(base, state);
        let mut changed = false;
        for (session, items) in entries.into_iter().map(Entry::into_parts) {
            for item in items {
                let Some(stream) = item.stream().filter(|stream| keeps(*stream)) else { continue };
                let sequence = item.sequence;
                ranges.add(stream, sequence);
                if sequence < before[stream].floor.max(journal.known()[stream].floor)
                    || evicted[stream].is_gone(sequence)
                {
                    continue;
                }
                let restored = write.restore(stream, sequence, item.record, &session)?;
                changed |= restored != Restored::Same;
                let tally = &mut tallies[stream];
                match restored {
                    Restored::Missing if new_store || sequence <= before[stream].last() => tally.missing += 1,
                    Restored::Displaced => tally.displaced += 1,
                    Restored::Missing | Restored::Same => continue,
                }
                let (first, last) = tally.range.unwrap_or((sequence, sequence));
                tally.range = Some((first.min(sequence), last.max(sequence)));
            }
        }
        if changed {
            state.prepare(&mut write)?;
            base.store.apply(std::mem::take(&mut write.batch))?;
            state.adopt(base, write);
        }
        Ok(())
    })?;
    for stream in Stream::ALL {
        let Tally { missing, displaced, range: Some(range) } = tallies[stream] else { continue };
        notes.push(Note::Restored { stream, range, missing, displaced });
    }
    ranges.sort();
    Ok(ranges)
}

/// Puts into the journal what the store has and it has not: all, when the journal is new or was lost.
pub(in crate::buffer) fn complete(
    base: &Base,
    state: &State,
    journal: &mut Journal,
    has: &Ranges,
) -> Result<(), BufferError> {
    for stream in Stream::ALL.into_iter().filter(|stream| keeps(*stream)) {
        let cursor = &state.cursors[stream];
        let mut from = cursor.floor;
        let mut group: Group = Group::default();
        loop {
            let entries = base.store.ascending(&keys::record(stream, from), &keys::record(stream, u64::MAX), PAGE)?;
            for (key, sealed) in &entries {
                let Some(sequence) = keys::sequence(key) else { continue };
                from = sequence.saturating_add(1);
                if has.contains(stream, sequence) {
                    continue;
                }
                // What cannot be read is found, and set aside, when the store is verified.
                let Ok(record) = codec::open::<StoredRecord>(key, sealed) else { continue };
                let Some(frame) = base.frames.frame(record.session) else { continue };
                let Frame::Session(session) = &*frame else { continue };
                if group.bytes >= ENTRY_BYTES || group.session.as_ref().is_some_and(|other| other != session) {
                    group.close(state);
                }
                if group.entries.len() >= AT_ONCE {
                    journal.append(&std::mem::take(&mut group.entries))?;
                }
                group.session = Some(session.clone());
                group.bytes += sealed.len();
                group.items.push(Item::new(stream, sequence, record));
            }
            if entries.len() < PAGE {
                break;
            }
        }
        group.close(state);
        journal.append(&group.entries)?;
    }
    Ok(())
}

/// Records of one run on their way into the journal.
#[derive(Default)]
struct Group {
    session: Option<Arc<Session>>,
    items: Vec<Item>,
    bytes: usize,
    /// Those before them, each of one run.
    entries: Vec<Arc<Entry>>,
}

impl Group {
    fn close(&mut self, state: &State) {
        let Some(session) = self.session.take() else { return };
        self.bytes = 0;
        let items = std::mem::take(&mut self.items);
        self.entries.push(Arc::new(Entry::new(session, state.floors(), items)));
    }
}

/// Which numbers of each stream there are.
#[derive(Debug, Default)]
pub(in crate::buffer) struct Ranges(PerStream<Vec<(u64, u64)>>);

impl Ranges {
    fn add(&mut self, stream: Stream, sequence: u64) {
        match self.0[stream].last_mut() {
            Some((_, last)) if sequence.checked_sub(1) == Some(*last) => *last = sequence,
            _ => self.0[stream].push((sequence, sequence)),
        }
    }

    /// Puts them in order, once all are known: entries that were written twice make ranges that overlap.
    fn sort(&mut self) {
        for stream in Stream::ALL {
            let ranges = &mut self.0[stream];
            ranges.sort_unstable();
            ranges.dedup_by(|later, earlier| {
                let touch = later.0 <= earlier.1.saturating_add(1);
                if touch {
                    earlier.1 = earlier.1.max(later.1);
                }
                touch
            });
        }
    }

    fn contains(&self, stream: Stream, sequence: u64) -> bool {
        let ranges = &self.0[stream];
        let above = ranges.partition_point(|(first, _)| *first <= sequence);
        ranges[..above].last().is_some_and(|(_, last)| sequence <= *last)
    }
}
