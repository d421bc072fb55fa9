//! What is written, for the sake of flash: it wears out by bytes written, and nobody sees it happen.
//!
//! Our own parts count what they hand to the kernel; what that makes of it, whole pages and all, the kernel counts for
//! the process (`write_bytes` in `/proc/self/io`). The two together tell what a record costs a card. Counted since the
//! process started, for all that it writes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

/// Nothing is said of a day before so long.
const LEAST: Duration = Duration::from_secs(3600);
const DAY: u128 = 86_400;

/// What writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// Keys and values handed to sled; what it makes of them, the kernel counts.
    Store,
    /// Segments of the journal, with the zeros that they are made of.
    Journal,
    /// Files of closed batches.
    Outbox,
    /// The small files beside the store.
    Side,
}

static STORE: AtomicU64 = AtomicU64::new(0);
static JOURNAL: AtomicU64 = AtomicU64::new(0);
static OUTBOX: AtomicU64 = AtomicU64::new(0);
static SIDE: AtomicU64 = AtomicU64::new(0);
static RECORDS: AtomicU64 = AtomicU64::new(0);
static RECORD_BYTES: AtomicU64 = AtomicU64::new(0);
static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Begins to count time; the first call counts.
pub(super) fn begin() {
    BEGUN.get_or_init(Instant::now);
}

/// So many bytes were handed to the kernel, or to sled.
pub(super) fn wrote(writer: Writer, bytes: u64) {
    let counter = match writer {
        Writer::Store => &STORE,
        Writer::Journal => &JOURNAL,
        Writer::Outbox => &OUTBOX,
        Writer::Side => &SIDE,
    };
    counter.fetch_add(bytes, Ordering::Relaxed);
}

/// Records were taken that have so many bytes, with their keys, checksums and explanations.
pub(super) fn appended((records, bytes): (u64, u64)) {
    RECORDS.fetch_add(records, Ordering::Relaxed);
    RECORD_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

/// What was written since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Wear {
    /// Seconds since then.
    pub(crate) seconds: u64,
    /// Bytes that the kernel wrote, or will write, to disks for this process; nothing where it does not say.
    pub(crate) disk_written_bytes: Option<u64>,
    /// Records taken.
    pub(crate) appended_records: u64,
    /// Their bytes, with their explanations.
    pub(crate) appended_bytes: u64,
    /// Bytes handed to sled.
    pub(crate) store_bytes: u64,
    /// Bytes written to the journal.
    pub(crate) journal_bytes: u64,
    /// Bytes written to the outbox.
    pub(crate) outbox_bytes: u64,
    /// Bytes written to the small files beside the store.
    pub(crate) side_bytes: u64,
    /// Bytes that a record cost the disk, all that the process wrote shared out among them.
    pub(crate) bytes_per_record: Option<u64>,
    /// Bytes that a day costs the disk at the rate since the start; nothing in the first hour, which says little of a day.
    pub(crate) bytes_per_day: Option<u64>,
}

/// What was written so far.
pub(crate) fn wear() -> Wear {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let since = BEGUN.get().map_or(Duration::ZERO, Instant::elapsed);
    let (written, records) = (by_kernel(), read(&RECORDS));
    Wear {
        seconds: since.as_secs(),
        disk_written_bytes: written,
        appended_records: records,
        appended_bytes: read(&RECORD_BYTES),
        store_bytes: read(&STORE),
        journal_bytes: read(&JOURNAL),
        outbox_bytes: read(&OUTBOX),
        side_bytes: read(&SIDE),
        bytes_per_record: written.and_then(|written| written.checked_div(records)),
        bytes_per_day: written.and_then(|written| per_day(written, since)),
    }
}

fn per_day(bytes: u64, since: Duration) -> Option<u64> {
    if since < LEAST {
        return None;
    }
    let bytes = u128::from(bytes).saturating_mul(DAY).checked_div(u128::from(since.as_secs()))?;
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// `write_bytes` of this process.
fn by_kernel() -> Option<u64> {
    let figures = std::fs::read_to_string("/proc/self/io").ok()?;
    figures.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_after_an_hour_and_not_before() {
        assert_eq!(per_day(1 << 30, LEAST - Duration::from_secs(1)), None);
        assert_eq!(per_day(1000, LEAST), Some(24_000));
        assert_eq!(per_day(u64::MAX, LEAST), Some(u64::MAX));
    }

    #[test]
    fn what_is_written_is_counted() {
        // Other tests write at the same time.
        let before = wear();
        wrote(Writer::Outbox, 1 << 40);
        appended((1, 1 << 40));
        let after = wear();
        assert!(after.outbox_bytes >= before.outbox_bytes + (1 << 40));
        assert!(after.appended_bytes >= before.appended_bytes + (1 << 40));
        assert!(after.appended_records > before.appended_records);
        assert!(after.disk_written_bytes.is_some() && after.bytes_per_day.is_none());
    }
}
