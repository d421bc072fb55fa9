//! How far each stream has come.

use std::ops::{Index, IndexMut};

use explaind_core::domain::record::Stream;
use serde::{Deserialize, Serialize};

use super::ahead::{Ahead, Range};
use super::codec::{self, Unreadable};

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
    /// What is in the registry, or needs not go there, above `uploaded`. Earlier versions stored cursors without it.
    pub(super) ahead: Ahead,
}

/// What earlier versions stored: postcard writes fields one after the other, so a cursor of today begins with it, and it
/// alone never reads as one of today.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct Earlier {
    floor: u64,
    next: u64,
    uploaded: u64,
    settled: u64,
    records: u64,
    bytes: u64,
}

impl Cursor {
    /// Reads what is stored, by whichever version.
    pub(super) fn open(key: &[u8], sealed: &[u8]) -> Result<Self, Unreadable> {
        codec::open::<Self>(key, sealed).or_else(|_| {
            let Earlier { floor, next, uploaded, settled, records, bytes } = codec::open(key, sealed)?;
            Ok(Self { floor, next, uploaded, settled, records, bytes, ahead: Ahead::default() })
        })
    }

    /// Notes that a range is in the registry; says whether that could be remembered.
    #[must_use]
    pub(super) fn cover(&mut self, range: Range) -> bool {
        self.ahead.cover(&mut self.uploaded, range)
    }

    /// Whether the registry has a number.
    pub(super) fn is_uploaded(&self, sequence: u64) -> bool {
        sequence <= self.uploaded || self.ahead.contains(sequence)
    }

    /// A stream whose first record gets the number `first`.
    pub(super) fn starting_at(first: u64) -> Self {
        let before = first.saturating_sub(1);
        Self {
            floor: first,
            next: first,
            uploaded: before,
            settled: before,
            records: 0,
            bytes: 0,
            ahead: Ahead::default(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_stored_is_read() {
        let earlier = Earlier { floor: 3, next: 900, uploaded: 70, settled: 80, records: 5, bytes: 6000 };
        let sealed = codec::seal(b"c P", &earlier).unwrap();
        let mut cursor = Cursor::open(b"c P", &sealed).unwrap();
        assert_eq!((cursor.floor, cursor.last(), cursor.uploaded, cursor.settled), (3, 899, 70, 80));
        assert_eq!((cursor.records, cursor.bytes, cursor.ahead), (5, 6000, Ahead::default()));
        assert!(cursor.cover((800, 850)));
        assert!(cursor.is_uploaded(70) && cursor.is_uploaded(800) && !cursor.is_uploaded(71));
        let sealed = codec::seal(b"c P", &cursor).unwrap();
        assert_eq!(Cursor::open(b"c P", &sealed), Ok(cursor));
        assert!(Cursor::open(b"c X", &sealed).is_err());
    }
}
