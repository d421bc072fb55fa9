//! The check finds what is wrong, nothing else, and changes nothing; on a store in use and on one that is closed.

use std::fs;
use std::path::Path;

use explaind_core::domain::alert::AlarmState::{Normal, Unacknowledged};
use explaind_core::domain::record::Stream;
use uuid::Uuid;

use super::super::batch::Batch;
use super::super::samples::{
    at, audit, explained, extra, feedback, health, open, prediction, transition, try_open, withheld,
};
use super::super::tests::copy_as_killed;
use super::super::{Buffer, Closed, Config, codec, keys};
use super::*;

/// All that a check finds, in words.
fn found(inspect: impl Fn(Part, u64) -> Piece) -> Vec<String> {
    let mut found = Vec::new();
    for part in Part::all() {
        let mut after = 0;
        loop {
            let piece = inspect(part, after);
            let sentence = |f: &Finding| format!("{} {:?} {}", f.part, f.numbers, f.problem);
            found.extend(piece.findings.iter().map(sentence));
            match piece.next {
                Some(next) => after = next,
                None => break,
            }
        }
    }
    found
}

fn live(buffer: &Buffer) -> Vec<String> {
    found(|part, after| buffer.inspect(part, after).unwrap())
}

fn offline(folder: &Path) -> Vec<String> {
    let store = Offline::open(&folder.join("buffer")).unwrap().unwrap();
    found(|part, after| store.inspect(part, after).unwrap())
}

/// A store with something of everything, and two closed batches.
fn furnished(folder: &Path) -> Buffer {
    let buffer = open(folder);
    for n in 0..40 {
        let one = prediction(n, n as f64);
        let raise = transition(n, None, (Normal, Unacknowledged), Some(one.id), None);
        let stored = buffer.append(vec![one, raise, withheld(n), audit(n, "ada"), health(n)]).unwrap();
        buffer.settle(vec![(stored[0].id, explained(n as f64)), (stored[2].id, explained(1.0))]).unwrap();
        buffer.append(vec![feedback(n, stored[0].id), extra(n, stored[0].id)]).unwrap();
    }
    buffer.close(Stream::Health, Closed { first: 1, last: 20, closed_at: at(50).utc }).unwrap();
    buffer.fill(Stream::Health, b"rows").unwrap();
    buffer.close(Stream::Audit, Closed { first: 1, last: 5, closed_at: at(50).utc }).unwrap();
    buffer
}

fn change(buffer: &Buffer, key: &[u8], value: Option<Vec<u8>>) {
    let mut batch = Batch::default();
    match value {
        Some(value) => batch.insert(key, value),
        None => batch.remove(key),
    }
    buffer.0.base.store.apply(batch).unwrap();
    buffer.0.base.store.flush().unwrap();
}

fn spoil(buffer: &Buffer, key: &[u8]) {
    let mut value = buffer.0.base.store.get(key).unwrap().unwrap().to_vec();
    value[3] ^= 0x40;
    change(buffer, key, Some(value));
}

#[test]
fn a_sound_store_is_sound_in_use_closed_and_after_evictions() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = furnished(folder.path());
    assert_eq!(live(&buffer), [""; 0]);
    let whole = buffer.stat();
    drop(buffer);
    assert_eq!(offline(folder.path()), [""; 0]);
    let store = Offline::open(&folder.path().join("buffer")).unwrap().unwrap();
    let figures = store.stat(&Config::default()).unwrap();
    assert_eq!((figures.streams, figures.store_id), (whole.streams, whole.store_id));
    assert_eq!((figures.bytes, figures.journal_bytes, figures.wear), (whole.bytes, whole.journal_bytes, None));
    drop(store);

    // Declared gaps and evictions are no findings.
    let config = Config { max_age: std::time::Duration::from_secs(1), ..Config::default() };
    let buffer = try_open(folder.path(), &config).unwrap();
    buffer.mark_uploaded(Stream::Predictions, 50).unwrap();
    buffer.mark_uploaded(Stream::Feedback, 30).unwrap();
    buffer.append(vec![health(2_000_000)]).unwrap();
    assert!(buffer.read(Stream::Feedback, 0, 1).unwrap()[0].sequence > 1, "something was evicted");
    assert_eq!(live(&buffer), [""; 0]);
    drop(buffer);
    assert_eq!(offline(folder.path()), [""; 0]);
}

#[test]
fn pieces_are_bounded_and_miss_nothing_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = furnished(folder.path());
    change(&buffer, &keys::record(Stream::Audit, 8), None);
    change(&buffer, &keys::record(Stream::Audit, 40), None);
    spoil(&buffer, &keys::record(Stream::Audit, 15));
    for size in [1, 3, 7, 39, 500] {
        let (mut after, mut checked, mut found) = (0, 0, Vec::new());
        loop {
            let piece = records::piece(&*buffer.0, Stream::Audit, after, size).unwrap();
            assert!(piece.checked <= size as u64);
            checked += piece.checked;
            found.extend(piece.findings.into_iter().map(|finding| finding.numbers.unwrap()));
            match piece.next {
                Some(next) => after = next,
                None => break,
            }
        }
        found.sort_unstable();
        assert_eq!((checked, found), (38, vec![(8, 8), (15, 15), (40, 40)]), "by {size}");
    }
}

#[test]
fn each_kind_of_damage_is_found_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = furnished(folder.path());
    let first = buffer.read(Stream::Feedback, 0, 1).unwrap().remove(0);
    spoil(&buffer, &keys::record(Stream::Predictions, 7));
    spoil(&buffer, &keys::settlement(9));
    change(&buffer, &keys::settlement(11), None);
    for sequence in 20..=22 {
        change(&buffer, &keys::record(Stream::Predictions, sequence), None);
    }
    change(&buffer, &keys::index(first.id), None);
    // A journal and a store that say different things: another record, sealed as it should be.
    let (one, two) = (keys::record(Stream::Alerts, 1), keys::record(Stream::Alerts, 2));
    let other: super::super::stored::StoredRecord =
        codec::open(&two, &buffer.0.base.store.get(&two).unwrap().unwrap()).unwrap();
    change(&buffer, &one, Some(codec::seal(&one, &other).unwrap()));
    fs::write(folder.path().join("buffer.outbox/health/1-20.parquet"), b"rowt").unwrap();
    let expected = [
        "feedback Some((1, 1)) it is not found by its id",
        "alerts Some((1, 1)) it is not found by its id",
        "predictions Some((20, 22)) no record, and nothing says why",
        "predictions Some((7, 7)) it cannot be read: the checksum does not match",
        "predictions Some((9, 9)) its explanation cannot be read: the checksum does not match",
        "predictions Some((11, 11)) its explanation is missing",
        "alerts Some((1, 1)) the journal and the store say different things",
        "outbox Some((1, 20)) the file of the closed batch of health is not what it was (4 bytes, once 4); it is made anew \
         from the records",
    ];
    assert_eq!(live(&buffer), expected);
    assert_eq!(live(&buffer), expected, "it was left as it is");
    drop(buffer);
    assert_eq!(offline(folder.path()), expected);
    assert_eq!(offline(folder.path()), expected);
}

#[test]
fn a_chain_that_was_tampered_with_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = furnished(folder.path());
    // Record 6 takes the place of record 5, with number and checksum put right: the hash is over the number as well.
    let (five, six) = (keys::record(Stream::Audit, 5), keys::record(Stream::Audit, 6));
    let other: super::super::stored::StoredRecord =
        codec::open(&six, &buffer.0.base.store.get(&six).unwrap().unwrap()).unwrap();
    change(&buffer, &five, Some(codec::seal(&five, &other).unwrap()));
    let found = live(&buffer);
    let chain: Vec<_> = found.iter().filter(|sentence| sentence.contains("the chain is broken")).collect();
    assert!(chain[0].starts_with("audit Some((5, 5))") && chain[0].contains("hash says"), "{found:?}");
    assert!(chain[1].starts_with("audit Some((6, 6))") && chain[1].contains("record before it"), "{found:?}");
}

#[test]
fn damage_to_files_is_found_when_no_daemon_runs() {
    let folder = tempfile::tempdir().unwrap();
    drop(furnished(folder.path()));
    let before = || {
        let journal = fs::read_dir(folder.path().join("buffer.journal")).unwrap();
        let mut names: Vec<_> = journal.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (names, fs::read(folder.path().join("buffer.last")).unwrap())
    };
    let path = folder.path().join("buffer.journal/000000000001.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let as_it_was = before();
    let found = offline(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("journal Some((1, 1)) it is damaged: bytes from"), "{found:?}");

    fs::write(folder.path().join("buffer/conf"), b"neither segments nor a version").unwrap();
    let found = offline(folder.path());
    assert!(found[0].starts_with("store None it is damaged, and the next start"), "{found:?}");
    assert_eq!(before(), as_it_was);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(
        !folder.path().read_dir().unwrap().any(|entry| entry.unwrap().path().to_string_lossy().contains("damaged-"))
    );
}

#[test]
fn a_log_with_a_hole_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (live, killed) = (folder.path().join("live"), folder.path().join("killed"));
    let buffer = furnished(&live);
    copy_as_killed(&live, &killed);
    drop(buffer);
    let log = killed.join("buffer/db");
    let mut bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 0x10;
    fs::write(&log, &bytes).unwrap();
    let names =
        || fs::read_dir(killed.join("buffer")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = names();
    let found = offline(&killed);
    assert!(found[0].contains("messages of its log are spoilt"), "{found:?}");
    let store = Offline::open(&killed.join("buffer")).unwrap().unwrap();
    assert!(store.stat(&Config::default()).unwrap().degraded.unwrap().contains("spoilt"));
    assert_eq!((names(), fs::read(&log).unwrap() == bytes), (before, true));
}

#[test]
fn numbers_that_were_given_out_and_are_gone_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = furnished(folder.path());
    drop(buffer);
    let (tail, mut last) = super::super::tail::Tail::open(&folder.path().join("buffer.last"));
    last[Stream::Predictions] += 5;
    tail.note(&last);
    assert_eq!(offline(folder.path()), ["predictions Some((81, 85)) they were given out, and are lost"]);
}

#[test]
fn a_store_in_use_is_not_opened_twice_and_no_store_is_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Offline::open(&folder.path().join("buffer")).unwrap().is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    let _buffer = open(folder.path());
    let second = Offline::open(&folder.path().join("buffer"));
    assert!(matches!(second, Err(BufferError::InUse { .. })));
    assert_eq!(Part::named("journal"), Some(Part::Journal));
    assert_eq!(Part::named(&Uuid::nil().to_string()), None);
}

#[test]
fn writers_go_on_while_it_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = furnished(folder.path());
    let writer = {
        let buffer = buffer.clone();
        std::thread::spawn(move || {
            for n in 100..400 {
                let one = prediction(n, 1.0);
                let id = one.id;
                buffer.append(vec![one, audit(n, "ada"), feedback(n, id)]).unwrap();
                buffer.settle(vec![(id, explained(1.0))]).unwrap();
                buffer.mark_uploaded(Stream::Predictions, n - 90).unwrap();
            }
        })
    };
    let mut rounds = 0;
    while !writer.is_finished() {
        assert_eq!(live(&buffer), [""; 0]);
        rounds += 1;
    }
    writer.join().unwrap();
    assert!(rounds > 1);
    assert_eq!(live(&buffer), [""; 0]);
}

#[test]
fn a_check_beside_evictions_finds_nothing_that_is_not_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 1 << 20, history_bytes: 1 << 20, ..Config::default() };
    let buffer = try_open(folder.path(), &config).unwrap();
    let looks = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..400 {
                let stored = buffer.append((0..40).map(|_| prediction(n, 65.0)).collect()).unwrap();
                buffer.settle(stored.iter().map(|record| (record.id, explained(65.0))).collect()).unwrap();
                if n % 50 == 49 {
                    buffer.mark_uploaded(Stream::Predictions, n * 20).unwrap();
                }
            }
        });
        let mut looks = 0;
        while !writer.is_finished() {
            assert_eq!(live(&buffer), [""; 0]);
            looks += 1;
        }
        looks
    });
    assert!(looks > 3 && buffer.stat().streams.iter().any(|one| one.records < one.last), "{looks}");
    assert_eq!(live(&buffer), [""; 0]);
}
