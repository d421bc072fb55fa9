//! How long an alarm stays shelved: counted in time that passed, since wall clocks jump and gateways boot in 1970.
//!
//! On record is the end by the wall clock of that moment, and the moment: the difference is what was left then, whatever
//! the clock showed.

use std::time::Duration;

use crate::domain::time::{Moment, Now, Timestamp};

/// By how much the end on record may differ from what time that passed says, before it is put right on record: less than
/// people mind, and more than a clock drifts in a day.
const OFF: Duration = Duration::from_secs(60);

/// What is left of a shelving until `end`, as it was recorded `then`.
///
/// Within one boot, that much less as has passed since. Over a boot what the wall clock says, where it was and is known to
/// be right; else nobody knows how long the machine was off, and all that was left then is left.
pub fn left(end: Timestamp, then: &Moment, now: &Moment) -> Duration {
    let left_then = between(then.at.utc, end);
    let passed = if then.boot_id == now.boot_id {
        now.at.since(then.at)
    } else if then.synchronised && now.synchronised {
        between(then.at.utc, now.at.utc)
    } else {
        Duration::ZERO
    };
    left_then.saturating_sub(passed)
}

/// A shelving under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shelf {
    /// When it ends, as time since boot.
    pub(super) ends: Duration,
    /// What the record says of that.
    pub(super) until: Timestamp,
}

impl Shelf {
    /// From now on.
    pub(super) fn new(left: Duration, until: Timestamp, now: Now) -> Self {
        Self { ends: now.monotonic.saturating_add(left), until }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self, now: Now) -> bool {
        now.monotonic >= self.ends
    }

    /// What the record should say, where that is something else: the wall clock was set meanwhile.
    pub(super) fn corrected(&self, now: Now) -> Option<Timestamp> {
        let until = later(now.utc, self.ends.saturating_sub(now.monotonic));
        let off = between(until, self.until).max(between(self.until, until));
        (off > OFF).then_some(until)
    }
}

/// The moment that much later.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.as_micros().saturating_add(micros))
}

/// The time from one to the other; zero where that is backwards.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    let micros = to.as_micros().saturating_sub(from.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn moment(utc_hours: i64, up_hours: u64, boot: u128, synchronised: bool) -> Moment {
        let utc = Timestamp::from_micros(utc_hours * 3_600_000_000);
        Moment {
            at: Now { utc, monotonic: HOUR * u32::try_from(up_hours).unwrap() },
            boot_id: Uuid::from_u128(boot),
            synchronised,
        }
    }

    #[test]
    fn within_a_boot_time_passes_whatever_the_wall_clock_does() {
        let (then, end) = (moment(100, 1, 1, false), Timestamp::from_micros(108 * 3_600_000_000));
        assert_eq!(left(end, &then, &moment(102, 3, 1, false)), 6 * HOUR);
        assert_eq!(left(end, &then, &moment(480_000, 3, 1, true)), 6 * HOUR, "the clock was put right by 50 years");
        assert_eq!(left(end, &then, &moment(0, 3, 1, false)), 6 * HOUR, "and back");
        assert_eq!(left(end, &then, &moment(102, 40, 1, false)), Duration::ZERO);
    }

    #[test]
    fn over_a_boot_the_wall_clock_counts_where_it_can_be_trusted_on_both_sides() {
        let end = Timestamp::from_micros(108 * 3_600_000_000);
        let then = moment(100, 50, 1, true);
        assert_eq!(left(end, &then, &moment(103, 0, 2, true)), 5 * HOUR);
        assert_eq!(left(end, &then, &moment(300, 0, 2, true)), Duration::ZERO);
        assert_eq!(left(end, &then, &moment(0, 0, 2, false)), 8 * HOUR, "it boots in 1970");
        assert_eq!(left(end, &then, &moment(90, 0, 2, true)), 8 * HOUR, "never more than there was");
        let in_1970 = moment(1, 1, 1, false);
        let end = Timestamp::from_micros(9 * 3_600_000_000);
        assert_eq!(left(end, &in_1970, &moment(480_000, 0, 2, true)), 8 * HOUR);
    }

    #[test]
    fn the_end_on_record_is_put_right_when_the_clock_is() {
        let begun = moment(1, 1, 1, false).at;
        let shelf = Shelf::new(8 * HOUR, later(begun.utc, 8 * HOUR), begun);
        let mut now = moment(3, 3, 1, false).at;
        assert_eq!((shelf.corrected(now), shelf.is_over(now)), (None, false));
        now.utc = Timestamp::from_micros(480_000 * 3_600_000_000);
        assert_eq!(shelf.corrected(now), Some(later(now.utc, 6 * HOUR)));
        assert!(shelf.is_over(moment(0, 9, 1, false).at));
        assert_eq!(later(Timestamp::from_micros(i64::MAX), HOUR), Timestamp::from_micros(i64::MAX));
        assert_eq!(
            between(Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX)).as_micros(),
            i64::MAX.unsigned_abs().into()
        );
    }
}
