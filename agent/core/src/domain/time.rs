//! Time as the core sees it: handed in by the caller, never read from a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

/// The moment of a call: what the wall clock says, and a clock that only ever goes forward.
///
/// Ages, delays and intervals are measured on `monotonic`, since wall clocks jump; `utc` is for people and records.
/// `monotonic` counts from the machine's boot, so it goes on over a restart of the process and starts anew with a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The wall clock.
    pub utc: Timestamp,
    /// Time since boot.
    pub monotonic: Duration,
}

impl Now {
    /// How long before this moment `earlier` was; zero when it was not before.
    pub fn since(&self, earlier: Now) -> Duration {
        self.monotonic.saturating_sub(earlier.monotonic)
    }
}
