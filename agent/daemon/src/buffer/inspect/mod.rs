//! A full check of store, journal and outbox that changes nothing: every record readable and found by its id, numbers
//! dense but for what is declared, predictions settled as far as it is said, the chain of audit records unbroken, the
//! journal and the store of one mind, closed batches the bytes that they were.
//!
//! It goes piece by piece, each bounded in records or in files, so that it can be asked for over HTTP and holds up
//! nobody: while the daemon runs no lock is held but for a moment, and what changed in between is looked at again
//! before it is called a finding. The check at the start (`verify`) is another: it is short, and puts right what it finds.

mod files;
mod live;
mod offline;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use explaind_core::domain::record::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use offline::Offline;

use super::Closed;
use super::base::Base;
use super::cursor::Cursor;
use super::error::BufferError;
use super::journal::look::Look;
use super::outbox::{Content, Outbox};

/// Records looked at in one piece.
const RECORDS: usize = 10_000;
/// Files of the journal looked at in one piece, a MiB each.
const SEGMENTS: usize = 16;

/// A part of what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Whether the store can be used at all.
    Store,
    /// The records of a stream.
    Records(Stream),
    /// The journal's files.
    Journal,
    /// The files of closed batches.
    Outbox,
}

impl Part {
    /// All parts, in the order in which they are looked at.
    pub(crate) fn all() -> Vec<Self> {
        let streams = Stream::ALL.into_iter().map(Self::Records);
        [Self::Store].into_iter().chain(streams).chain([Self::Journal, Self::Outbox]).collect()
    }

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Records(stream) => stream.as_str(),
            Self::Journal => "journal",
            Self::Outbox => "outbox",
        }
    }

    /// The part of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|part| part.as_str() == name)
    }
}

/// What one piece of the check came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Piece {
    /// Records, or files, that were looked at.
    pub(crate) checked: u64,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Where the next piece begins; `None` after the last one.
    pub(crate) next: Option<u64>,
    /// Of audit records, number and hash (in hexadecimal), for whoever compares them with what was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<(u64, String)>,
    /// Keys that are not here, by which there are pseudonyms in audit records.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) other_keys: BTreeSet<String>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Finding {
    /// Where.
    pub(crate) part: String,
    /// The numbers concerned, both included, where there are any.
    pub(crate) numbers: Option<(u64, u64)>,
    /// What is wrong.
    pub(crate) problem: String,
}

impl Finding {
    fn new(part: Part, numbers: Option<(u64, u64)>, problem: impl Into<String>) -> Self {
        Self { part: part.as_str().to_owned(), numbers, problem: problem.into() }
    }
}

/// What is looked at: a store that is in use, or one that nobody has open.
trait View {
    fn base(&self) -> &Base;
    /// Where a stream stands now.
    fn cursor(&self, stream: Stream) -> Cursor {
        self.standing(stream).0
    }
    /// Where a stream stands, and does while the other value is kept: writers wait.
    fn standing(&self, stream: Stream) -> (Cursor, impl Sized);
    /// The last number that is to be there.
    fn through(&self, stream: Stream) -> u64;
    /// A stream's closed batch and what its file holds, once that was written.
    fn batch(&self, stream: Stream) -> Option<(Closed, Content)>;
    fn outbox(&self) -> &Outbox;
    fn journal(&self) -> &Path;
    /// A segment of the journal, read while nobody writes to it.
    fn segment(&self, number: u64) -> io::Result<Look>;
}

/// Looks at the piece of a part that begins after a number.
fn piece(view: &impl View, part: Part, after: u64) -> Result<Piece, BufferError> {
    match part {
        Part::Store => Ok(Piece::default()),
        Part::Records(stream) => records::piece(view, stream, after, RECORDS),
        Part::Journal => files::journal(view, after, SEGMENTS),
        Part::Outbox => files::outbox(view),
    }
}
