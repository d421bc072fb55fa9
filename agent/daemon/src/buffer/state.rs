//! What a writer must know and hold alone: the numbers to give out next, and what follows from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use explaind_core::domain::record::{Record, Stream};
use explaind_core::domain::time::Now;

use super::Closed;
use super::base::Base;
use super::cursor::{Cursor, PerStream};
use super::error::BufferError;
use super::side::Side;
use super::write::Write;

/// The writers' state. Whoever holds its lock gives out numbers; so a stream's numbers are dense.
pub(super) struct State {
    pub(super) cursors: PerStream<Cursor>,
    pub(super) batches: PerStream<Option<Closed>>,
    /// Predictions whose explanation is not settled.
    pub(super) unsettled: BTreeSet<u64>,
    pub(super) audit_hash: [u8; 32],
    pub(super) side: Side,
    /// Whether the registry has a folder that belongs to this store.
    pub(super) claimed: bool,
    /// Whether predictions are refused at present.
    pub(super) full: bool,
    /// When age was last looked at.
    pub(super) aged: Option<Now>,
    /// When the disk was last looked at.
    pub(super) measured: Option<Now>,
}

impl State {
    /// Bytes that all records count for.
    pub(super) fn kept(&self) -> u64 {
        self.cursors.values().iter().map(|cursor| cursor.bytes).sum()
    }

    /// Gets a write ready for the store: its cursors, and the promise of its numbers, are in order after this.
    pub(super) fn prepare(&mut self, write: &mut Write<'_>) -> Result<(), BufferError> {
        write.finish(self)?;
        for stream in Stream::ALL {
            self.side.promise(stream, write.cursors[stream].last())?;
        }
        Ok(())
    }

    /// Takes in a write that is in the store. What it returns may be announced after the next flush.
    pub(super) fn adopt(&mut self, base: &Base, mut write: Write<'_>) -> Vec<Arc<Record>> {
        base.frames.adopt(write.frames);
        self.cursors = write.cursors;
        self.batches = write.batches;
        self.audit_hash = write.audit_hash;
        self.unsettled.append(&mut write.unsettled);
        for sequence in &write.settled {
            self.unsettled.remove(sequence);
        }
        write.news
    }
}
