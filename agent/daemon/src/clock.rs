//! The one place where the daemon reads clocks.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use explaind_core::domain::time::{Now, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// The present moment: wall clock, and time since boot (suspend included), which only ever goes forward.
pub(crate) fn now() -> Now {
    let utc = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(boot.tv_nsec).unwrap_or(0);
    Now { utc: Timestamp::from_micros(utc), monotonic: Duration::new(seconds, nanos) }
}

/// Names this boot of the machine; a random id where the kernel does not say.
pub(crate) fn boot_id() -> Uuid {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(|| explaind_core::domain::record::mint(now(), random()))
}

/// Whether the wall clock is known to be right: systemd-timesyncd leaves this mark once it has heard from a time server.
///
/// Other time services leave none, so their gateways say "not synchronised" although they are; never the other way.
pub(crate) fn synchronised() -> bool {
    Path::new("/run/systemd/timesync/synchronized").exists()
}

/// Ten fresh random bytes, for ids.
///
/// # Panics
/// When the kernel gives no randomness: without it, no id is safe to hand out.
pub(crate) fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    #[expect(
        clippy::expect_used,
        reason = "the kernel's generator cannot fail once it is up, and no id is safe without"
    )]
    getrandom::fill(&mut bytes).expect("the kernel's random generator works");
    bytes
}

/// A fresh UUIDv7 for a record made at `at`.
pub(crate) fn mint(at: Now) -> Uuid {
    explaind_core::domain::record::mint(at, random())
}
