//! What sync needs of the buffer: which batch is closed and its bytes, what the registry has, and whose it is.

use std::io;

use explaind_core::domain::record::Stream;
use uuid::Uuid;

use super::ahead::Range;
use super::cursor::Cursor;
use super::error::BufferError;
use super::moved::{self, Moved};
use super::outbox::Content;
use super::write::Write;
use super::{Buffer, Closed, Core, declared, keys, verify};
use crate::clock;
use crate::pseudonym::Pseudonyms;

/// Records looked up at a time.
const PAGE: usize = 500;

impl Buffer {
    /// All records of a stream up to here are in the registry.
    pub(crate) fn uploaded(&self, stream: Stream) -> u64 {
        self.0.state().cursors[stream].uploaded
    }

    /// Numbers of a stream that are not uploaded: so many records at most.
    pub(crate) fn waiting(&self, stream: Stream) -> u64 {
        let visible = self.0.commit.visible(stream);
        let state = self.0.state();
        let cursor = state.cursors[stream];
        let mut first = cursor.uploaded.saturating_add(1);
        let mut waiting = 0_u64;
        for (ahead, next) in cursor.ahead.ranges().iter().copied().chain([(u64::MAX, u64::MAX)]) {
            let range = (first, ahead.saturating_sub(1).min(visible));
            // What cannot be looked up counts as if nothing had been evicted.
            let left = declared::left(&self.0.base, stream, &state.declared[stream], range);
            waiting =
                waiting.saturating_add(left.unwrap_or_else(|_| range.1.saturating_add(1).saturating_sub(range.0)));
            first = next.saturating_add(1);
        }
        // Numbers may have been passed over, so there are never more than there are records.
        waiting.min(cursor.records)
    }

    /// Where a batch of `most` records ends that begins with the record `first` and goes no further than `through`: the
    /// number of its last, and how many they are. Among numbers that were evicted records are counted, else numbers.
    pub(crate) fn batch_end(
        &self,
        stream: Stream,
        first: u64,
        through: u64,
        most: u64,
    ) -> Result<(u64, u64), BufferError> {
        let last = through.min(first.saturating_add(most.saturating_sub(1)));
        let count = last.saturating_add(1).saturating_sub(first);
        if count == 0 || self.0.state().declared[stream].misses(first, last) {
            return Ok((last, count));
        }
        let (mut last, mut count, mut from) = (first, 0, first);
        while count < most && from <= through {
            let page = usize::try_from(most - count).unwrap_or(usize::MAX).min(PAGE);
            let entries =
                self.0.base.store.ascending(&keys::record(stream, from), &keys::record(stream, through), page)?;
            let Some(newest) = entries.last().and_then(|(key, _)| keys::sequence(key)) else { break };
            (last, from) = (newest, newest.saturating_add(1));
            count += entries.len() as u64;
        }
        Ok((last, count))
    }

    /// The last number above which nothing of a stream is in the registry, and whether what comes after may be sent
    /// before what is missing below it.
    pub(crate) fn front(&self, stream: Stream) -> (u64, bool) {
        let cursor = self.0.state().cursors[stream];
        (cursor.ahead.end().unwrap_or(cursor.uploaded), cursor.ahead.has_room())
    }

    /// What a record of a stream counts for, on average.
    pub(crate) fn mean_bytes(&self, stream: Stream) -> u64 {
        let cursor = self.0.state().cursors[stream];
        cursor.bytes.checked_div(cursor.records).unwrap_or(0)
    }

    /// The number of a stream's last durable record.
    pub(crate) fn last(&self, stream: Stream) -> u64 {
        self.0.commit.visible(stream)
    }

    /// Notes that the registry has everything up to `through`: from now on it may be evicted.
    #[cfg(test)]
    pub(crate) fn mark_uploaded(&self, stream: Stream, through: u64) -> Result<(), BufferError> {
        let first = self.uploaded(stream).saturating_add(1);
        self.mark_sent(stream, (first, through))
    }

    /// Notes that the registry has a range of numbers, or needs not have it. Durable when it returns. A closed batch in it
    /// is done with.
    pub(crate) fn mark_sent(&self, stream: Stream, range: Range) -> Result<(), BufferError> {
        self.mark(stream, range, false).map(drop)
    }

    /// The same of a range, and of all that lies between it and what was sent below it. Gives the first number of that.
    pub(crate) fn mark_sent_joined(&self, stream: Stream, range: Range) -> Result<u64, BufferError> {
        self.mark(stream, range, true)
    }

    fn mark(&self, stream: Stream, (first, last): Range, joined: bool) -> Result<u64, BufferError> {
        let core = &self.0;
        let mut state = core.writing()?;
        let mut cursor = state.cursors[stream];
        let last = last.min(cursor.last());
        // Numbers just below that have no record belong to it, so that they take no place of their own.
        let below = cursor.ahead.ranges().iter().map(|(_, end)| *end).filter(|end| *end < first).max();
        let below = below.unwrap_or(cursor.uploaded).saturating_add(1);
        let none = joined || core.is_empty(stream, below, first.saturating_sub(1))?;
        let from = if none { below.min(first) } else { first };
        if !cursor.cover((from, last)) {
            return Err(BufferError::Scattered { stream });
        }
        core.close_holes(stream, &mut cursor)?;
        let mut write = Write::new(&core.base, &state);
        write.cursors[stream] = cursor;
        let done = state.batches[stream];
        let done = done.filter(|batch| cursor.is_uploaded(batch.first) && cursor.is_uploaded(batch.last));
        if done.is_some() {
            write.set_batch(stream, None, None)?;
        }
        let ticket = core.apply(&mut state, write)?;
        drop(state);
        core.commit.make_durable(ticket)?;
        if let Some(batch) = done {
            core.outbox.remove(stream, &batch);
        }
        let mut state = core.state();
        if done.is_some() {
            state.filed[stream] = 0;
        }
        // After the store: a side file that is ahead of it means that the store has lost something.
        state.side.note_uploaded(stream, cursor.uploaded, cursor.ahead)?;
        Ok(from)
    }

    /// The stream's closed batch that is not uploaded yet.
    pub(crate) fn closed(&self, stream: Stream) -> Option<Closed> {
        self.0.state().batches[stream]
    }

    /// Fixes the bounds of a stream's next batch. On disk when it returns. One that is closed already stays as it is.
    ///
    /// Numbers that have no record, in it or just below, are on record themselves with it: central takes nothing for
    /// complete that is not.
    pub(crate) fn close(&self, stream: Stream, bounds: Closed) -> Result<Closed, BufferError> {
        let core = &self.0;
        let from = {
            let state = core.state();
            if let Some(earlier) = state.batches[stream] {
                return Ok(earlier);
            }
            let cursor = &state.cursors[stream];
            let below = cursor.ahead.ranges().iter().map(|(_, end)| *end).filter(|end| *end < bounds.first).max();
            below.unwrap_or(cursor.uploaded).saturating_add(1).max(cursor.floor)
        };
        // Nobody waits for this first look; the second one, where something is missing, is not to cross an eviction.
        let is_dense = verify::is_dense(&core.base, stream, (from, bounds.last))?;
        let mut state = core.writing()?;
        if let Some(earlier) = state.batches[stream] {
            return Ok(earlier);
        }
        let mut write = Write::new(&core.base, &state);
        if !is_dense {
            let (cursor, declared) = (&state.cursors[stream], &state.declared[stream]);
            let range = (from.max(cursor.floor), bounds.last);
            let (gaps, short) = verify::undeclared(&core.base, stream, cursor, declared, range)?;
            let now = clock::now();
            for gap in gaps {
                write.missing(now, stream, gap, "records are missing from the store")?;
            }
            for short in short {
                write.lost_among_evicted(now, stream, &short)?;
            }
        }
        write.set_batch(stream, Some(bounds), None)?;
        let ticket = core.apply(&mut state, write)?;
        drop(state);
        core.commit.make_durable(ticket)?;
        Ok(bounds)
    }

    /// What the file of a stream's closed batch holds; `None` until it was written.
    pub(crate) fn content(&self, stream: Stream) -> Option<Content> {
        self.0.state().contents[stream]
    }

    /// The bytes of a stream's closed batch, as its first try sent them; `None` when they are lost or were never written.
    pub(crate) fn outbox(&self, stream: Stream) -> Result<Option<Vec<u8>>, BufferError> {
        let (batch, content) = {
            let state = self.0.state();
            (state.batches[stream], state.contents[stream])
        };
        match batch.zip(content) {
            Some((batch, content)) => self.0.outbox.read(stream, &batch, &content),
            None => Ok(None),
        }
    }

    /// Writes the bytes of a stream's closed batch.
    #[cfg(test)]
    pub(crate) fn fill(&self, stream: Stream, bytes: &[u8]) -> Result<(), BufferError> {
        self.closed(stream).map_or(Ok(()), |batch| self.fill_batch(stream, batch, bytes))
    }

    /// Writes the bytes of a closed batch: from now on every try sends these. On disk when it returns. Nothing happens when
    /// the batch is not the closed one any more: whoever else carries it was quicker.
    ///
    /// On a disk that is full the file is done without, or nothing would ever be sent that makes room. Its digest still
    /// tells a later try what an earlier one sent.
    pub(crate) fn fill_batch(&self, stream: Stream, batch: Closed, bytes: &[u8]) -> Result<(), BufferError> {
        let core = &self.0;
        if self.closed(stream) != Some(batch) {
            return Ok(());
        }
        let content = Content::of(bytes);
        let filed = match core.outbox.write(stream, &batch, bytes) {
            Ok(()) => content.size,
            Err(BufferError::Io { source, .. }) if is_full(&source) => {
                tracing::warn!(%source, "a closed batch is sent without a copy on this disk");
                0
            }
            Err(error) => return Err(error),
        };
        let mut state = core.writing()?;
        if state.batches[stream] != Some(batch) {
            drop(state);
            core.outbox.remove(stream, &batch);
            return Ok(());
        }
        let mut write = Write::new(&core.base, &state);
        write.set_batch(stream, Some(batch), Some(content))?;
        let ticket = core.apply(&mut state, write)?;
        state.filed[stream] = filed;
        drop(state);
        core.commit.make_durable(ticket)
    }

    /// Whether the registry has a folder that belongs to this store.
    pub(crate) fn claimed(&self) -> bool {
        self.0.state().claimed
    }

    /// Whether something was lost that says what was sent: the registry must be asked.
    pub(crate) fn in_doubt(&self) -> bool {
        self.0.state().doubt
    }

    /// Notes that the registry has a folder that belongs to this store, and that it is known what it holds.
    pub(crate) fn set_claimed(&self) -> Result<(), BufferError> {
        let core = &self.0;
        let mut state = core.writing()?;
        let mut write = Write::new(&core.base, &state);
        write.batch.insert(keys::CLAIMED, []);
        write.batch.remove(keys::DOUBT);
        let ticket = core.apply(&mut state, write)?;
        state.claimed = true;
        state.doubt = false;
        drop(state);
        core.commit.make_durable(ticket)
    }

    /// Where this store came from, when another machine made it.
    pub(crate) fn moved(&self) -> Result<Option<Moved>, BufferError> {
        moved::moved(&self.0.base.store)
    }

    /// The gateway's name.
    pub(crate) fn gateway(&self) -> &str {
        &self.0.opening.info.gateway
    }

    /// What stands for people where records leave the gateway.
    pub(crate) fn pseudonyms(&self) -> &Pseudonyms {
        &self.0.base.pseudonyms
    }

    /// This store's id.
    pub(crate) fn store_id(&self) -> Uuid {
        self.0.base.session().store_id
    }

    /// The stores on this machine that this one took over from.
    pub(crate) fn predecessors(&self) -> Vec<Uuid> {
        self.0.state().side.predecessors().to_vec()
    }

    /// The machine's boot, as this run's records name it.
    pub(crate) fn boot_id(&self) -> Uuid {
        self.0.opening.info.boot_id
    }
}

impl Core {
    /// Joins ranges between which there is no record any more, or never was one.
    fn close_holes(&self, stream: Stream, cursor: &mut Cursor) -> Result<(), BufferError> {
        let mut from = cursor.uploaded.saturating_add(1);
        for (first, last) in cursor.ahead.ranges().to_vec() {
            let end = first.saturating_sub(1);
            if self.is_empty(stream, from, end)? {
                // What joins two ranges always finds room.
                let _ = cursor.cover((from, end));
            }
            from = last.saturating_add(1);
        }
        Ok(())
    }

    /// Whether a range of numbers has no record.
    pub(super) fn is_empty(&self, stream: Stream, first: u64, last: u64) -> Result<bool, BufferError> {
        if first > last {
            return Ok(true);
        }
        let (first, last) = (keys::record(stream, first), keys::record(stream, last));
        Ok(self.base.store.ascending(&first, &last, 1)?.is_empty())
    }
}

/// Whether a disk takes no more.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
