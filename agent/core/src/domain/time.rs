//! Time as the core sees it: handed in by the caller, never read from a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

/// A moment as a record tells of it, or the present one: what is needed to say how much lies between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What both clocks said.
    pub at: Now,
    /// Which boot of the machine it was.
    pub boot_id: Uuid,
    /// Whether the wall clock was known to be right.
    pub synchronised: bool,
}

impl Moment {
    /// How long before this moment `earlier` was, as well as is known: by time that passed within one boot, else by the wall
    /// clock; zero when it was not before.
    pub fn age(&self, earlier: &Moment) -> Duration {
        if self.boot_id == earlier.boot_id {
            return self.at.since(earlier.at);
        }
        let micros = self.at.utc.as_micros().saturating_sub(earlier.at.utc.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}
