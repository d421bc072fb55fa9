//! What sources deliver: samples of signals, and the news that a source still stands by them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::time::{Now, Timestamp};

/// A signal's full name, `source/signal`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(Arc<str>);

impl SignalId {
    /// Joins a source's name and the name of one of its signals.
    pub fn new(source: &str, signal: &str) -> Self {
        Self(format!("{source}/{signal}").into())
    }

    /// The name before the first slash.
    pub fn source(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(source, _)| source)
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SignalId {
    fn from(full: &str) -> Self {
        Self(full.into())
    }
}

impl fmt::Display for SignalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a value can be trusted: the severity of an OPC UA status code. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Quality {
    /// Usable.
    Good,
    /// Usable, and marked.
    Uncertain,
    /// Not usable.
    Bad,
}

impl Quality {
    /// The name used in records, metrics and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }

    /// The severity of an OPC UA status code (its two top bits; the reserved fourth value counts as bad).
    pub fn of_status(code: u32) -> Self {
        match code >> 30 {
            0 => Self::Good,
            1 => Self::Uncertain,
            _ => Self::Bad,
        }
    }
}

/// A measured value as its source gave it. Booleans arrive as 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, after the source's own scaling.
    Number(f64),
    /// A word, for features with categories.
    Text(Arc<str>),
}

/// One signal's value at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Whose value this is.
    pub signal: SignalId,
    /// The value; of no meaning when `quality` is bad.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
    /// The OPC UA status code; for other protocols a code of the same severity.
    pub status: u32,
    /// When the source says it was measured; absent where the protocol has no such time.
    pub source_time: Option<Timestamp>,
    /// When it reached this process.
    pub arrival: Now,
}

/// What a source tells the driver.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceEvent {
    /// Samples that arrived together (a CSV row, a poll, a message): all are taken in before any prediction is made.
    Samples(Vec<Sample>),
    /// The source stands by every value that it delivered since `connected`: steady values do not grow old.
    Alive {
        /// The source's name.
        source: Arc<str>,
        /// Start of the connection that vouches.
        connected: Now,
        /// The moment of vouching.
        at: Now,
    },
}
