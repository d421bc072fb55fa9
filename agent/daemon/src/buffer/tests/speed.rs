//! How many records a second become durable, and what that writes: for `tests/bench/durable.py`, which measures a plain
//! file and SQLite beside it.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use explaind_core::domain::record::NewRecord;
use uuid::Uuid;

use super::{explained, feedback, open, prediction};

/// Bytes that this process had written to block devices so far, whole pages counted.
fn written() -> u64 {
    let figures = fs::read_to_string("/proc/self/io").unwrap();
    let line = figures.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// Appends `count` records in groups to a store of their own, each group durable before the next, and prints one line of
/// JSON.
fn measure(name: &str, count: usize, group: usize, settle: bool, make: impl Fn(u64) -> NewRecord) {
    let parent: PathBuf = std::env::var_os("EXPLAIND_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let buffer = open(folder.path());
    let records: Vec<NewRecord> = (0..count as u64).map(make).collect();
    let (begun, before) = (Instant::now(), written());
    for group in records.chunks(group) {
        let ids: Vec<Uuid> = group.iter().map(|record| record.id).collect();
        black_box(buffer.append(group.to_vec()).unwrap());
        if settle {
            buffer.settle(ids.into_iter().map(|id| (id, explained(65.0))).collect()).unwrap();
        }
    }
    let (seconds, bytes) = (begun.elapsed().as_secs_f64(), written() - before);
    println!(
        "{{\"name\": \"{name}\", \"per_second\": {:.0}, \"bytes_per_record\": {:.0}}}",
        count as f64 / seconds,
        bytes as f64 / count as f64
    );
}

#[test]
#[ignore = "a benchmark; tests/bench/durable.py runs it"]
fn durable_records() {
    measure("predictions, one by one", 2_000, 1, false, |n| prediction(n, 65.0));
    measure("predictions, by hundreds", 50_000, 100, false, |n| prediction(n, 65.0));
    measure("predictions with explanations, by hundreds", 50_000, 100, true, |n| prediction(n, 65.0));
    measure("feedback, one by one", 2_000, 1, false, |n| feedback(n, Uuid::from_u128(1)));
}
