//! How sync stands, for the page and the terminal.

use std::sync::{Arc, Mutex, PoisonError};

use explaind_core::domain::time::Timestamp;
use serde::Serialize;

/// Where sync is. Cheap to clone; all clones show the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status(Arc<Mutex<Snapshot>>);

/// Sync at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Snapshot {
    /// In one word.
    pub(crate) state: State,
    /// Where the registry is.
    pub(crate) registry: String,
    /// When a batch last arrived there, RFC 3339.
    pub(crate) last_upload: Option<String>,
    /// What went wrong last; gone once it works again.
    pub(crate) error: Option<String>,
    /// Batches that the registry had other content for, since the start.
    pub(crate) conflicts: u64,
    /// The streams.
    pub(crate) streams: Vec<Lag>,
}

/// Sync in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The registry does not answer, or was not asked yet.
    #[default]
    Offline,
    /// It answers, and more than one batch waits, or a stream that cannot be read.
    CatchingUp,
    /// It answers, and has all but the newest records.
    Online,
    /// It answers, and its records belong to another store: nothing is sent until a person decides.
    Stopped,
}

/// What of a stream is not in the registry yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Lag {
    /// The stream.
    pub(crate) stream: &'static str,
    /// Records that wait.
    pub(crate) waiting: u64,
    /// Age of the oldest of them in seconds; unknown while the stream cannot be read.
    pub(crate) lag_seconds: Option<f64>,
}

impl Status {
    /// Sync as it stands now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A time as RFC 3339, to the second.
pub(super) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_micros().div_euclid(1_000_000))
        .map_or_else(|_| "out of range".to_owned(), |time| time.to_string())
}

/// The day of a time, in UTC: `2026-11-21`.
pub(super) fn date(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_micros().div_euclid(1_000_000))
        .map_or_else(|_| "0000-00-00".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_states_read_as_people_expect() {
        let time = Timestamp::from_micros(1_795_300_000_000_000);
        assert_eq!((rfc3339(time).as_str(), date(time).as_str()), ("2026-11-21T22:26:40Z", "2026-11-21"));
        assert_eq!(date(Timestamp::from_micros(-1)), "1969-12-31");
        assert_eq!(serde_json::to_value(State::CatchingUp).unwrap(), "catching_up");
    }
}
