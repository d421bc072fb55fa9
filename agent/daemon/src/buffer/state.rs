//! What a writer must know and hold alone: the numbers to give out next, and what follows from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use explaind_core::domain::record::{Record, Stream};
use explaind_core::domain::time::Now;

use super::Closed;
use super::base::Base;
use super::cursor::{Cursor, PerStream};
use super::declared::Declared;
use super::error::BufferError;
use super::journal;
use super::outbox::Content;
use super::room::Room;
use super::side::Side;
use super::sweep::Sweep;
use super::wear;
use super::write::Write;

/// The writers' state. Whoever holds its lock gives out numbers; so a stream's numbers are dense.
pub(super) struct State {
    pub(super) cursors: PerStream<Cursor>,
    pub(super) batches: PerStream<Option<Closed>>,
    /// What the files of closed batches hold, once they were written.
    pub(super) contents: PerStream<Option<Content>>,
    /// Bytes of those files.
    pub(super) filed: PerStream<u64>,
    /// Predictions whose explanation is not settled.
    pub(super) unsettled: BTreeSet<u64>,
    pub(super) audit_hash: [u8; 32],
    pub(super) side: Side,
    /// Bytes of the journal's entries.
    pub(super) journal_bytes: u64,
    /// Whether the registry has a folder that belongs to this store.
    pub(super) claimed: bool,
    /// Whether something was lost that says what was sent.
    pub(super) doubt: bool,
    /// Whether predictions are refused at present.
    pub(super) full: bool,
    /// When age was last looked at.
    pub(super) aged: Option<Now>,
    /// How far such a look got of what is not uploaded, where one append was not enough for it.
    pub(super) aging: PerStream<u64>,
    /// When the disk was last looked at, and the bound that follows from that.
    pub(super) room: Room,
    /// Which numbers above the floors were evicted.
    pub(super) declared: PerStream<Declared>,
    /// How far what is not uploaded was looked through for what may go.
    pub(super) sweeps: PerStream<Sweep>,
}

impl State {
    /// Bytes that all records count for, those that are in the journal as well twice, and the files of closed batches.
    pub(super) fn kept(&self) -> u64 {
        let records: u64 = self.cursors.values().iter().map(|cursor| cursor.bytes).sum();
        records.saturating_add(self.journal_bytes).saturating_add(self.in_outbox())
    }

    /// Bytes of the files of closed batches.
    pub(super) fn in_outbox(&self) -> u64 {
        self.filed.values().iter().sum()
    }

    /// Below which number everything was evicted, of the streams that the journal keeps.
    pub(super) fn floors(&self) -> impl Iterator<Item = (Stream, u64)> + use<> {
        let cursors = self.cursors;
        Stream::ALL
            .into_iter()
            .filter(|stream| journal::keeps(*stream))
            .map(move |stream| (stream, cursors[stream].floor))
    }

    /// Up to which number nothing needs a stream's records in the journal. Health only has to get home.
    pub(super) fn done(&self) -> PerStream<u64> {
        let mut done = PerStream::default();
        for stream in Stream::ALL {
            let cursor = &self.cursors[stream];
            done[stream] = cursor.floor.saturating_sub(1);
            if stream == Stream::Health {
                done[stream] = done[stream].max(cursor.uploaded);
                // Behind a batch under way, which is in the store and in the outbox, all may have gone.
                let behind = self.batches[stream].filter(|batch| batch.first <= done[stream].saturating_add(1));
                let gone = behind.and_then(|batch| self.declared[stream].around(batch.last.saturating_add(1)));
                done[stream] = gone.map_or(done[stream], |(_, span)| span.last);
            }
        }
        done
    }

    /// Gets a write ready for the store: its cursors, and the promise of its numbers, are in order after this.
    pub(super) fn prepare(&mut self, write: &mut Write<'_>) -> Result<(), BufferError> {
        write.finish(self)?;
        for stream in Stream::ALL {
            let last = write.cursors[stream].last();
            if last > self.cursors[stream].last() {
                self.side.promise(stream, last)?;
            }
        }
        Ok(())
    }

    /// Takes in a write that is in the store. What it returns may be announced after the next flush.
    pub(super) fn adopt(&mut self, base: &Base, mut write: Write<'_>) -> Vec<Arc<Record>> {
        base.frames.adopt(write.frames);
        wear::appended(write.taken);
        self.cursors = write.cursors;
        self.batches = write.batches;
        self.contents = write.contents;
        self.audit_hash = write.audit_hash;
        for stream in Stream::ALL {
            self.declared[stream].adopt(std::mem::take(&mut write.declared[stream]));
        }
        self.unsettled.append(&mut write.unsettled);
        for sequence in &write.settled {
            self.unsettled.remove(sequence);
        }
        write.news
    }
}
