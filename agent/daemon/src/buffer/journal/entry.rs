//! One entry: what one append brought, with all that is needed to read it.
//!
//! ```text
//! mark (4)   length (u32)   CRC-32 (u32)   running number (u64)   version (u8)   postcard
//! ```
//!
//! Little-endian; the length is that of all after the checksum, and the checksum is over the length and all after itself.
//! The mark begins with a byte that no UTF-8 text holds before the letter after it, so none of what people write looks like one.

use std::sync::Arc;

use explaind_core::domain::record::{Session, Stream};
use serde::{Deserialize, Serialize};

use crate::buffer::error::BufferError;
use crate::buffer::keys;
use crate::buffer::stored::StoredRecord;

/// What each entry begins with.
pub(super) const MARK: [u8; 4] = [0xE5, b'j', b'r', b'n'];
/// The version that is written, and the newest that can be read.
pub(super) const VERSION: u8 = 1;
/// Mark, length and checksum.
const BEFORE: usize = 12;
/// Running number and version.
const WITHIN: usize = 9;
/// What an entry takes beside its content.
pub(super) const FRAMING: usize = BEFORE + WITHIN;

/// What one append brought to the streams that the journal keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) struct Entry {
    /// The run of the daemon that made the records.
    pub(in crate::buffer) session: Arc<Session>,
    /// Per stream, by its code on disk, the number below which everything was evicted then: what must not come back.
    floors: Vec<(u8, u64)>,
    /// The records.
    items: Vec<Item>,
}

/// One record in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) struct Item {
    stream: u8,
    /// Its number in its stream.
    pub(in crate::buffer) sequence: u64,
    /// The record, without numbers of frames: none of these streams' records needs one, and the session is the entry's.
    pub(in crate::buffer) record: StoredRecord,
}

impl Item {
    /// A record for its place.
    pub(in crate::buffer) fn new(stream: Stream, sequence: u64, record: StoredRecord) -> Self {
        Self { stream: keys::code(stream), sequence, record: record.with_session(0) }
    }

    /// Its stream; `None` for one that is not known here.
    pub(in crate::buffer) fn stream(&self) -> Option<Stream> {
        keys::stream(self.stream)
    }
}

impl Entry {
    /// An entry of records of one run.
    pub(in crate::buffer) fn new(
        session: Arc<Session>,
        floors: impl IntoIterator<Item = (Stream, u64)>,
        items: Vec<Item>,
    ) -> Self {
        let floors = floors.into_iter().map(|(stream, floor)| (keys::code(stream), floor)).collect();
        Self { session, floors, items }
    }

    /// Below which number each stream was evicted.
    pub(in crate::buffer) fn floors(&self) -> impl Iterator<Item = (Stream, u64)> {
        self.floors.iter().filter_map(|(code, floor)| Some((keys::stream(*code)?, *floor)))
    }

    /// The records.
    pub(in crate::buffer) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The records, with the session.
    pub(in crate::buffer) fn into_parts(self) -> (Arc<Session>, Vec<Item>) {
        (self.session, self.items)
    }

    /// The content for [`framed`].
    pub(in crate::buffer) fn content(&self) -> Result<Vec<u8>, BufferError> {
        postcard::to_stdvec(self).map_err(|error| BufferError::Unstorable(error.to_string()))
    }
}

/// A content as it lies in a segment.
pub(super) fn framed(running: u64, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(WITHIN + content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(FRAMING + content.len());
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&running.to_le_bytes());
    bytes.push(VERSION);
    bytes.extend_from_slice(content);
    let sum = checksum(&length, &bytes[BEFORE..]).to_le_bytes();
    bytes[8..BEFORE].copy_from_slice(&sum);
    bytes
}

/// Why bytes are no entry.
#[derive(Debug, PartialEq)]
pub(super) enum NoEntry {
    /// They never were one, or they changed.
    Damaged,
    /// A later version wrote it.
    Newer(u8),
}

/// The entry that begins with the first of these bytes: its running number, its content, and the bytes that it takes.
pub(super) fn read(bytes: &[u8]) -> Result<(u64, Entry, usize), NoEntry> {
    let length = bytes.strip_prefix(&MARK).and_then(|rest| rest.first_chunk::<4>()).ok_or(NoEntry::Damaged)?;
    let sum = bytes.get(8..BEFORE).and_then(|sum| sum.first_chunk::<4>()).ok_or(NoEntry::Damaged)?;
    let end = usize::try_from(u32::from_le_bytes(*length)).ok().and_then(|length| length.checked_add(BEFORE));
    let end = end.ok_or(NoEntry::Damaged)?;
    let body = bytes.get(BEFORE..end).ok_or(NoEntry::Damaged)?;
    if checksum(length, body) != u32::from_le_bytes(*sum) {
        return Err(NoEntry::Damaged);
    }
    let (running, rest) = body.split_first_chunk::<8>().ok_or(NoEntry::Damaged)?;
    let (version, content) = rest.split_first().ok_or(NoEntry::Damaged)?;
    if *version != VERSION {
        return Err(NoEntry::Newer(*version));
    }
    let entry = postcard::from_bytes(content).map_err(|_| NoEntry::Damaged)?;
    Ok((u64::from_le_bytes(*running), entry, end))
}

fn checksum(length: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(body);
    hasher.finalize()
}
