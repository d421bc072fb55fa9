//! Damage to the files themselves, at many places of every kind of them: the store opens, what people did is there once,
//! and each prediction is there or on record as lost.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use explaind_core::domain::record::NewRecord;

use super::*;
use crate::buffer::samples::{at, new};
use crate::buffer::store::{Entry, Store};
use crate::buffer::{keys, salvage};
use explaind_core::domain::extra::{Extra, Kind};

fn is_long() -> bool {
    std::env::var_os("EXPLAIND_LONG").is_some_and(|long| long == "1")
}

/// Everything that was stored, per stream in order.
type Produced = BTreeMap<Stream, Vec<Record>>;

/// An extra that is too large for sled's log, and lies in a file of its own.
fn large(seconds: u64, prediction_id: Uuid) -> NewRecord {
    let content = format!("{{\"outcome\":\"{}\"}}", "x".repeat(300_000));
    new(seconds, Body::Extra(Extra { prediction_id, kind: Kind::Cases, content }))
}

/// A gateway that has run for a while and was started a few times, killed while it runs.
fn produced(folder: &Path, predictions: u64) -> Produced {
    let mut buffer = open(folder);
    let mut named = Uuid::nil();
    for n in 0..predictions {
        let one = prediction(n, n as f64);
        let id = one.id;
        let mut records = vec![one];
        if n % 25 == 0 {
            records.push(transition(n, None, (Normal, Unacknowledged), Some(id), None));
            named = id;
        }
        if n % 10 == 0 {
            records.push(health(n));
        }
        buffer.append(records).unwrap();
        if n % 7 == 0 {
            buffer.append(vec![feedback(n, named), audit(n, "ada")]).unwrap();
            buffer.append(vec![extra(n, id)]).unwrap();
        }
        if n % 500 == 303 {
            buffer.append(vec![large(n, id)]).unwrap();
        }
        if n % 2 == 0 || n < predictions - 20 {
            buffer.settle(vec![(id, explained(n as f64))]).unwrap();
        }
        if n % (predictions / 3) == 11 {
            drop(buffer);
            buffer = open(folder);
        }
    }
    // Some went home, of which the oldest are history.
    buffer.mark_uploaded(Stream::Predictions, predictions / 4).unwrap();
    let batch = Closed { first: 1, last: 20, closed_at: at(1).utc };
    buffer.close(Stream::Feedback, batch).unwrap();
    buffer.fill(Stream::Feedback, b"the bytes of a batch").unwrap();
    let all = Stream::ALL.map(|stream| (stream, buffer.read(stream, 0, 10_000).unwrap()));
    let after = tempfile::tempdir().unwrap();
    copy_as_killed(folder, after.path());
    drop(buffer);
    fs::remove_dir_all(folder.join("buffer")).unwrap();
    copy_as_killed(after.path(), folder);
    all.into_iter().collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Waits until the store, should it be out of use, is in use again.
fn wait_until_mended(buffer: &Buffer) {
    for _ in 0..600 {
        if buffer.check().is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the store is not mended: {:?}", buffer.check());
}

fn with_patience<T>(buffer: &Buffer, mut work: impl FnMut() -> Result<T, BufferError>) -> T {
    for _ in 0..5 {
        match work() {
            Ok(done) => return done,
            Err(BufferError::Damaged { .. } | BufferError::Broken(_)) => wait_until_mended(buffer),
            Err(error) => panic!("{error}"),
        }
    }
    work().unwrap()
}

/// Numbers of a stream that are on record as lost, and how many more records are.
fn declared(buffer: &Buffer, stream: Stream) -> (BTreeSet<u64>, u64) {
    let (mut lost, mut more) = (BTreeSet::new(), 0);
    for (state, evidence) in reports(buffer) {
        let figure = |name: &str| evidence.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        if figure("stream").as_deref() != Some(stream.as_str()) {
            continue;
        }
        let number = |name: &str| figure(name).unwrap().parse::<u64>().unwrap();
        match &*state {
            "gap" => lost.extend(number("first")..=number("last").min(20_000)),
            "quarantined" if !figure("reason").unwrap().contains("explanations") => more += number("records"),
            _ => {}
        }
    }
    (lost, more)
}

/// All that must hold of a store after whatever damage.
fn examine(buffer: &Buffer, produced: &Produced, what: &str) {
    for (stream, known) in produced {
        // By id, which meets the index as well.
        for record in known {
            let found = with_patience(buffer, || buffer.get(record.id));
            assert!(found.is_none_or(|found| found.body == record.body), "{what}: another record");
        }
        let read = with_patience(buffer, || buffer.read(*stream, 0, 10_000));
        let places: BTreeMap<u64, &Record> = read.iter().map(|record| (record.sequence, record)).collect();
        assert_eq!(places.len(), read.len(), "{what}: once");
        let (lost_numbers, more) = declared(buffer, *stream);
        let (mut missing, mut undeclared) = (0, 0);
        for record in known {
            match places.get(&record.sequence) {
                Some(found) => {
                    assert_eq!((found.id, &found.body), (record.id, &record.body), "{what}: {stream:?}");
                    let (is, was) = (&found.settlement, &record.settlement);
                    let lost = matches!(is, None | Some(Settlement::Failed { .. } | Settlement::Skipped { .. }));
                    assert!(is == was || lost, "{what}: another explanation: {is:?}");
                    assert!(!lost_numbers.contains(&record.sequence), "{what}: there, and declared");
                }
                None => {
                    missing += 1;
                    // What was sent is at the registry, should the whole store be gone.
                    let sent = *stream == Stream::Predictions && record.sequence <= known.len() as u64 / 4;
                    undeclared += u64::from(!sent && !lost_numbers.contains(&record.sequence));
                }
            }
        }
        assert!(undeclared <= more, "{what}: {undeclared} of {stream:?} are gone and {more} on record");
        if !matches!(stream, Stream::Predictions | Stream::Explanations) {
            assert_eq!(missing, 0, "{what}: {stream:?} has all");
        }
    }
    // It goes on, above all numbers that were given out.
    let one = prediction(90_000, 1.0);
    let id = one.id;
    let all = vec![one, transition(90_000, None, (Normal, Unacknowledged), Some(id), None), audit(90_000, "ben")];
    let stored = with_patience(buffer, || buffer.append(all.clone()));
    for record in &stored {
        let last = produced[&record.body.stream()].last().unwrap().sequence;
        assert!(record.sequence > last, "{what}: {} after {last}", record.sequence);
    }
    with_patience(buffer, || buffer.append(vec![feedback(90_000, id), extra(90_000, id), health(90_000)]));
    with_patience(buffer, || buffer.settle(vec![(id, explained(1.0))]));
    // What no explanation was made for before the kill, as the explainer would.
    with_patience(buffer, || buffer.check());
    for record in buffer.unsettled() {
        with_patience(buffer, || buffer.settle(vec![(record.id, explained(2.0))]));
    }
    for stream in Stream::ALL {
        drain(buffer, stream, what);
    }
}

/// Sends all of a stream as sync does: nothing is passed over in silence.
fn drain(buffer: &Buffer, stream: Stream, what: &str) {
    let end = with_patience(buffer, || Ok(buffer.last(stream)));
    let mut turns = 0;
    while let Some(pending) = with_patience(buffer, || buffer.pending(stream)) {
        turns += 1;
        assert!(turns < 1000, "{what}: {stream:?} is never sent");
        if pending.oldest.sequence > end {
            break;
        }
        let first = pending.oldest.sequence;
        assert!(pending.through >= first, "{what}: {stream:?} waits for ever at {first}");
        let bounds = Closed { first, last: pending.through.min(first + 999), closed_at: at(1).utc };
        let before = buffer.uploaded(stream);
        let closed = with_patience(buffer, || buffer.close(stream, bounds));
        let sent = with_patience(buffer, || buffer.read(stream, before, 10_000));
        let sent: BTreeSet<u64> = sent.iter().map(|record| record.sequence).collect();
        let (lost, more) = declared(buffer, stream);
        let silent = (before + 1..=closed.last.min(20_000))
            .filter(|number| !sent.contains(number) && !lost.contains(number))
            .count();
        assert!(silent as u64 <= more, "{what}: {silent} of {stream:?} are passed over in silence");
        with_patience(buffer, || buffer.mark_sent(stream, (closed.first, closed.last)));
    }
}

/// What is done to a file, at one of so many places.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip,
    Zero,
    Cut,
    Remove,
}

fn harm(path: &Path, harm: Harm, place: u64, places: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    // A file may be cut to nothing; otherwise it is somewhere inside.
    let halves = 2 * place + u64::from(!matches!(harm, Harm::Cut));
    let offset = (length * halves / (2 * places) + place * 37 % 1000).min(length.saturating_sub(1));
    match harm {
        Harm::Flip => {
            let mut byte = [0];
            if file.read_at(&mut byte, offset).unwrap() == 1 {
                file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
            }
        }
        Harm::Zero => {
            let page = offset / 4096 * 4096;
            let count = usize::try_from((length - page).min(4096)).unwrap();
            file.write_all_at(&vec![0; count], page).unwrap();
        }
        Harm::Cut => file.set_len(offset).unwrap(),
        Harm::Remove => fs::remove_file(path).unwrap(),
    }
}

#[test]
fn no_damage_to_any_file_stops_the_daemon_or_loses_what_is_not_said() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    fs::create_dir(&original).unwrap();
    let produced = produced(&original, if is_long() { 8000 } else { 1200 });
    let (mut salvaged, mut kept, mut cases, mut failed) = (0, 0, 0, Vec::new());
    for path in files(&original) {
        let name = path.strip_prefix(&original).unwrap();
        let is_log = name == Path::new("buffer/db");
        let places = match (is_log, is_long()) {
            (true, true) => 60,
            (true, false) => 6,
            (false, true) => 12,
            (false, false) => 1,
        };
        for kind in [Harm::Flip, Harm::Zero, Harm::Cut, Harm::Remove] {
            let places = if matches!(kind, Harm::Remove) { 1 } else { places };
            for n in 0..places {
                let what = format!("{}: {kind:?} {n}/{places}", name.display());
                let place = tempfile::tempdir().unwrap();
                copy_as_killed(&original, place.path());
                harm(&place.path().join(name), kind, n, places);
                let outcome = std::panic::catch_unwind(|| {
                    let buffer = try_open(place.path(), &Config::default()).unwrap();
                    examine(&buffer, &produced, &what);
                    with_patience(&buffer, || buffer.read(Stream::Predictions, 0, 10_000)).len() - 1
                });
                cases += 1;
                match outcome {
                    Ok(read) if is_log && !matches!(kind, Harm::Remove) => {
                        salvaged += 1;
                        kept += read;
                    }
                    Ok(_) => {}
                    Err(_) => failed.push(what),
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let all = salvaged * produced[&Stream::Predictions].len();
    println!("{cases} cases; of {all} predictions in {salvaged} damaged logs {kept} are there");
    assert!(kept * 10 > all * 6, "a flipped bit or a lost page costs little: {kept} of {all}");
}

/// All entries of a store, but for the one that says where they are from.
fn dump(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all: Vec<Entry> = store.ascending(&[], &[255], usize::MAX).unwrap();
    let all = all.into_iter().filter(|(key, _)| **key != *keys::REPAIR);
    all.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Much of it is evicted, so that old pages hold what is not to come back: after it was sent, or thinned because it was not.
#[test]
fn what_is_read_out_of_a_whole_store_is_the_store() {
    for is_sent in [true, false] {
        what_is_read_out_is_the_store(is_sent);
    }
}

fn what_is_read_out_is_the_store(is_sent: bool) {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = if is_sent { 4 << 20 } else { 1 << 20 };
    let small = Config { max_bytes, history_bytes: 600 << 10, ..Config::default() };
    let buffer = try_open(folder.path(), &small).unwrap();
    for n in 0..4000 {
        let one = prediction(n, n as f64);
        let id = one.id;
        let mut records = vec![one];
        if n % 50 == 0 {
            records.push(transition(n, None, (Normal, Unacknowledged), Some(id), None));
            records.push(extra(n, id));
        }
        buffer.append(records).unwrap();
        buffer.settle(vec![(id, explained(n as f64))]).unwrap();
        if n % 500 == 499 && is_sent {
            buffer.append(vec![large(n, id)]).unwrap();
            for stream in Stream::ALL {
                buffer.mark_uploaded(stream, buffer.last(stream)).unwrap();
            }
        }
    }
    if is_sent {
        assert!(buffer.within(Stream::Predictions).0 > 1000, "evicted: {:?}", buffer.within(Stream::Predictions));
    } else {
        assert!(buffer.read(Stream::Predictions, 0, 10_000).unwrap().len() < 3000, "thinned");
    }
    drop(buffer);
    let (path, copy) = (folder.path().join("buffer"), folder.path().join("copy"));
    let side = crate::buffer::side::Side::read(&folder.path().join("buffer.high_water")).unwrap().unwrap().unwrap();
    assert!(!salvage::is_needed(&path));
    let salvaged = salvage::read_out(&path, &copy, Some(&side), "a try", at(0)).unwrap().unwrap();
    let (was, is) = (dump(&Store::open(&path).unwrap()), dump(&Store::open(&copy).unwrap()));
    let differ: Vec<_> = was.iter().filter(|(key, value)| is.get(*key) != Some(value)).map(|(key, _)| key).collect();
    let more: Vec<_> = is.keys().filter(|key| !was.contains_key(*key)).collect();
    assert!(differ.is_empty() && more.is_empty(), "{differ:?} {more:?}");
    assert!(salvaged.complete && salvaged.total() > 500, "{salvaged:?}");
}

#[test]
fn a_store_that_is_found_damaged_while_it_runs_is_mended_while_people_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let produced = produced(folder.path(), 900);
    let buffer = open(folder.path());
    let store = buffer.store_id();
    let damaged = || BufferError::damaged(Path::new("/x"), "a page is gone");
    buffer.0.commit.fail(&damaged());
    buffer.append(vec![feedback(1, Uuid::from_u128(1)), audit(1, "ada")]).unwrap();
    wait_until_mended(&buffer);
    assert_eq!(buffer.store_id(), store, "it goes on under its id");
    let states: Vec<String> = reports(&buffer).into_iter().map(|(state, _)| state).collect();
    assert!(
        ["degraded", "set_aside", "salvaged"].iter().all(|state| states.contains(&(*state).to_owned())),
        "{states:?}"
    );
    let read = buffer.read(Stream::Predictions, 0, 10_000).unwrap();
    assert_eq!(read, produced[&Stream::Predictions], "nothing is lost when nothing is damaged");
    examine(&buffer, &produced, "while it runs");
    assert!(buffer.stat().disk_bytes > buffer.0.base.store.bytes_on_disk(), "what was set aside counts");
}

#[test]
fn a_gap_is_on_record_before_its_neighbours_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let stored = buffer.append((0..50).map(|n| prediction(n, 1.0)).collect()).unwrap();
    buffer.settle(stored.iter().map(|record| (record.id, explained(1.0))).collect()).unwrap();
    for sequence in [1, 2, 20, 30] {
        buffer.lose(Stream::Predictions, sequence);
    }
    let batch = Closed { first: 3, last: 25, closed_at: at(1).utc };
    buffer.close(Stream::Predictions, batch).unwrap();
    assert_eq!(declared(&buffer, Stream::Predictions).0, BTreeSet::from([1, 2, 20]));
    buffer.mark_sent(Stream::Predictions, (3, 25)).unwrap();
    buffer.close(Stream::Predictions, Closed { first: 26, last: 50, closed_at: at(1).utc }).unwrap();
    assert_eq!(declared(&buffer, Stream::Predictions).0, BTreeSet::from([1, 2, 20, 30]));
    assert_eq!(reports(&buffer).len(), 3, "said once");
}

/// A power cut may leave holes among what was never acknowledged.
#[test]
fn a_copy_is_kept_of_a_damaged_store_only_when_something_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (live, killed) = (folder.path().join("live"), folder.path().join("killed"));
    let buffer = open(&live);
    let predict = |count: u64| buffer.append((0..count).map(|n| prediction(n, 1.0)).collect()).unwrap();
    for _ in 0..20 {
        predict(20);
    }
    let end = |log: &[u8]| log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let acknowledged = end(&fs::read(live.join("buffer/db")).unwrap());
    let last = fs::read(live.join("buffer.last")).unwrap();
    for _ in 0..10 {
        predict(3);
    }
    copy_as_killed(&live, &killed);
    drop(buffer);
    fs::write(killed.join("buffer.last"), last).unwrap();
    for is_lost in [false, true] {
        let place = folder.path().join(is_lost.to_string());
        copy_as_killed(&killed, &place);
        let log = place.join("buffer/db");
        let mut bytes = fs::read(&log).unwrap();
        if is_lost {
            // One message is mostly in a later writing of its page as well: many are not.
            bytes[100..acknowledged].iter_mut().step_by(200).for_each(|byte| *byte ^= 0x10);
        } else {
            let spoilt = usize::midpoint(acknowledged, end(&bytes));
            bytes[spoilt] ^= 0x10;
        }
        fs::write(&log, bytes).unwrap();
        assert!(salvage::is_needed(&place.join("buffer")), "{is_lost}");
        let buffer = try_open(&place, &Config::default()).unwrap();
        let states: Vec<String> = reports(&buffer).into_iter().map(|(state, _)| state).collect();
        assert!(states.contains(&"salvaged".to_owned()), "{states:?}");
        let names = fs::read_dir(&place).unwrap().flatten().map(|entry| entry.file_name());
        let copies = names.filter(|name| name.to_string_lossy().contains("damaged-")).count();
        assert_eq!((copies, states.contains(&"set_aside".to_owned())), (usize::from(is_lost), is_lost), "{states:?}");
        let there = buffer.read(Stream::Predictions, 0, 10_000).unwrap();
        assert!(is_lost || there.iter().take(400).map(|record| record.sequence).eq(1..=400));
    }
}

#[test]
fn what_was_done_to_a_damaged_store_is_on_record_although_the_power_went_just_then() {
    let folder = tempfile::tempdir().unwrap();
    let _ = produced(folder.path(), 600);
    let (path, side) = (folder.path().join("buffer"), folder.path().join("buffer.high_water"));
    let side = crate::buffer::side::Side::read(&side).unwrap().unwrap().unwrap();
    let draft = crate::buffer::generation::draft(&path);
    salvage::read_out(&path, &draft, Some(&side), "a page is gone", at(0)).unwrap().unwrap();
    crate::buffer::generation::take_over(&path, Some(at(0))).unwrap().unwrap();
    // Here the power went; and once more after the next start.
    for _ in 0..2 {
        let said = reports(&open(folder.path()));
        let of = |name: &str| said.iter().filter(|(state, _)| state == name).collect::<Vec<_>>();
        assert_eq!((of("salvaged").len(), of("set_aside").len()), (1, 1), "{said:?}");
        assert!(of("salvaged")[0].1.contains(&("reason".to_owned(), "a page is gone".to_owned())));
        assert!(of("set_aside")[0].1.iter().any(|(key, value)| key == "to" && Path::new(value).is_dir()));
    }
}
