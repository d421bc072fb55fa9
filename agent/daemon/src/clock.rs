//! The one place where the daemon reads clocks.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// A time as people and other programs read it: RFC 3339 in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).map_or_else(|_| "invalid".to_owned(), |time| time.to_string())
}

/// The processor time that this thread has taken: what a busy machine does to others does not count.
pub(crate) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Names this boot of the machine; a random id where the kernel does not say.
pub(crate) fn boot_id() -> Uuid {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(|| explaind_core::domain::record::mint(now(), random()))
}

/// Whether a time service was found to keep the wall clock right, other than the one that leaves a mark.
static KEPT_RIGHT: AtomicBool = AtomicBool::new(false);

/// Whether the wall clock is known to be right.
pub(crate) fn synchronised() -> bool {
    is_marked() || KEPT_RIGHT.load(Ordering::Relaxed)
}

/// Whether systemd-timesyncd left its mark: it has heard from a time server since the machine's boot.
pub(crate) fn is_marked() -> bool {
    Path::new("/run/systemd/timesync/synchronized").exists()
}

/// Notes what was found out about the other time services.
pub(crate) fn note_kept_right(right: bool) {
    KEPT_RIGHT.store(right, Ordering::Relaxed);
}

/// Whether the kernel counts its clock as synchronised, which chrony and ntpd bring about. `None` when nobody says.
///
/// Reading that takes `adjtimex`, which the service's sandbox forbids (`ProtectClock`), as it should; systemd-timedated
/// tells everyone. Takes up to two seconds: where it is not there, or does not answer, it counts as unknown.
pub(crate) fn kernel_says() -> Option<bool> {
    let mut asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + Duration::from_secs(2);
    let ended = loop {
        match asked.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(Some(status)) => break status.success(),
            Ok(None) | Err(_) => {
                // It may have ended just now; either way it is waited for, so that nothing is left of it.
                let _ = asked.kill();
                let _ = asked.wait();
                break false;
            }
        }
    };
    let mut said = String::new();
    asked.stdout.take()?.take(64).read_to_string(&mut said).ok()?;
    ended.then_some(())?;
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
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
