//! What a record costs the disk on its whole way through the store, for `tests/bench/durable.py`.

use std::time::Instant;

use super::*;
use crate::buffer::samples::try_open;
use crate::buffer::{self, Wear, wear};
use crate::sync::{self, Begun, Place, Sent};

const RECORDS: u64 = 100_000;
const GROUP: u64 = 100;
/// As `[sync] batch_records` has it by default.
const BATCH: u64 = 5_000;

/// Closes what is there, takes the batches out of the outbox, and lets go of them: the store's side of sync.
fn send(buffer: &Buffer) {
    let place = Place { name: "nowhere".to_owned(), mark: None, holds_batches: false };
    let begun: Begun = sync::begin(buffer, &place).unwrap();
    while let Some(batch) = sync::next(buffer, &Config::default(), &begun).unwrap() {
        let (first, last) = batch.numbers;
        let sent = Sent { stream: batch.stream.as_str().to_owned(), first, last, aside: None };
        sync::sent(buffer, &sent).unwrap();
    }
}

/// Takes predictions by hundreds, settles each, has a batch closed, written to the outbox and sent for every 5,000, and
/// evicts what was sent beyond 8 MiB of history. Prints one line of JSON.
#[test]
#[ignore = "a benchmark; tests/bench/durable.py runs it"]
fn whole_store() {
    let parent: PathBuf = std::env::var_os("EXPLAIND_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let config = buffer::Config { history_bytes: 8 << 20, ..buffer::Config::default() };
    let buffer = try_open(folder.path(), &config).unwrap();
    let (begun, before) = (Instant::now(), wear());
    for group in 0..RECORDS / GROUP {
        let records: Vec<_> = (0..GROUP).map(|n| prediction(group * GROUP + n, 65.0)).collect();
        let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
        buffer.append(records).unwrap();
        buffer.settle(ids.into_iter().map(|id| (id, explained(65.0))).collect()).unwrap();
        if ((group + 1) * GROUP).is_multiple_of(BATCH) {
            send(&buffer);
        }
    }
    let (seconds, after) = (begun.elapsed().as_secs_f64(), wear());
    assert_eq!(buffer.uploaded(Stream::Predictions), RECORDS);
    assert!(buffer.within(Stream::Predictions).0 > 1, "something was evicted");
    let each = |figure: fn(&Wear) -> u64| (figure(&after) - figure(&before)) as f64 / RECORDS as f64;
    println!(
        "{{\"name\": \"predictions, their whole way\", \"per_second\": {:.0}, \"bytes_per_record\": {:.0}, \"record\": {:.0}, \
         \"store\": {:.0}, \"journal\": {:.0}, \"outbox\": {:.0}, \"side\": {:.0}}}",
        RECORDS as f64 / seconds,
        each(|wear| wear.disk_written_bytes.unwrap()),
        each(|wear| wear.appended_bytes),
        each(|wear| wear.store_bytes),
        each(|wear| wear.journal_bytes),
        each(|wear| wear.outbox_bytes),
        each(|wear| wear.side_bytes),
    );
}
