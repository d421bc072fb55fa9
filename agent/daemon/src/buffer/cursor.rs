//! How far each stream has come.

use std::ops::{Index, IndexMut};

use explaind_core::domain::record::Stream;
use serde::{Deserialize, Serialize};

/// One stream's numbers. Stored with every write that moves them, in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Everything below was evicted, but for predictions that alerts name.
    pub(super) floor: u64,
    /// The number of the next record.
    pub(super) next: u64,
    /// All up to here are in the registry.
    pub(super) uploaded: u64,
    /// Of predictions: the explanations of all up to here are settled.
    pub(super) settled: u64,
    /// Records kept.
    pub(super) records: u64,
    /// Bytes that they count for.
    pub(super) bytes: u64,
}

impl Cursor {
    /// A stream whose first record gets the number `first`.
    pub(super) fn starting_at(first: u64) -> Self {
        let before = first.saturating_sub(1);
        Self { floor: first, next: first, uploaded: before, settled: before, records: 0, bytes: 0 }
    }

    /// The number of the last record; that before the first while there is none.
    pub(super) fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// One of something per stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PerStream<T>([T; 6]);

impl<T> PerStream<T> {
    /// Makes one for each stream.
    pub(super) fn each<E>(mut make: impl FnMut(Stream) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self([
            make(Stream::Predictions)?,
            make(Stream::Alerts)?,
            make(Stream::Feedback)?,
            make(Stream::Audit)?,
            make(Stream::Health)?,
            make(Stream::Explanations)?,
        ]))
    }

    /// All of them.
    pub(super) fn values(&self) -> &[T] {
        &self.0
    }
}

impl<T> Index<Stream> for PerStream<T> {
    type Output = T;

    fn index(&self, stream: Stream) -> &T {
        let [predictions, alerts, feedback, audit, health, explanations] = &self.0;
        match stream {
            Stream::Predictions => predictions,
            Stream::Alerts => alerts,
            Stream::Feedback => feedback,
            Stream::Audit => audit,
            Stream::Health => health,
            Stream::Explanations => explanations,
        }
    }
}

impl<T> IndexMut<Stream> for PerStream<T> {
    fn index_mut(&mut self, stream: Stream) -> &mut T {
        let [predictions, alerts, feedback, audit, health, explanations] = &mut self.0;
        match stream {
            Stream::Predictions => predictions,
            Stream::Alerts => alerts,
            Stream::Feedback => feedback,
            Stream::Audit => audit,
            Stream::Health => health,
            Stream::Explanations => explanations,
        }
    }
}
