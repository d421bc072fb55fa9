//! What spoilt records and missing files do: never wrong values, never the end of the daemon.

use explaind_core::domain::extra::Kind;

use super::*;
use crate::buffer::batch::Batch;
use crate::buffer::keys;

fn states(buffer: &Buffer) -> Vec<String> {
    reports(buffer).into_iter().map(|(state, _)| state).collect()
}

/// Changes a byte of a stored value behind the buffer's back.
fn spoil(buffer: &Buffer, key: &[u8]) {
    let store = &buffer.0.base.store;
    let mut value = store.get(key).unwrap().unwrap().to_vec();
    value[3] ^= 0x40;
    let mut batch = Batch::default();
    batch.insert(key, value);
    store.apply(batch).unwrap();
    store.flush().unwrap();
}

/// Settled predictions and some alerts, in a closed store; returns the predictions.
fn furnished(folder: &Path) -> Vec<Record> {
    let buffer = open(folder);
    for n in 0..300 {
        let stored = buffer.append(vec![prediction(n, n as f64), health(n)]).unwrap();
        buffer.settle(vec![(stored[0].id, explained(n as f64))]).unwrap();
    }
    buffer.read(Stream::Predictions, 0, 1000).unwrap()
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_when_it_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let before = furnished(folder.path());
    let buffer = open(folder.path());
    let key = keys::record(Stream::Predictions, 7);
    spoil(&buffer, &key);
    let read = buffer.read(Stream::Predictions, 4, 4).unwrap();
    assert_eq!(sequences(&read), [5, 6, 8, 9]);
    assert_eq!(buffer.get(before[6].id).unwrap(), None);
    assert_eq!(states(&buffer), ["quarantined"]);
    let kept = buffer.0.base.store.get(&keys::quarantined_record(Stream::Predictions, 7)).unwrap();
    assert!(kept.is_some() && buffer.0.base.store.get(&key).unwrap().is_none(), "its bytes are kept aside");
    drop(buffer);
    assert_eq!(states(&open(folder.path())), ["quarantined"], "said once");
}

#[test]
fn nothing_leads_to_an_extra_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let (lost, kept) = (Uuid::from_u128(1), Uuid::from_u128(2));
    buffer.append(vec![extra(1, lost), extra(2, kept)]).unwrap();
    spoil(&buffer, &keys::record(Stream::Explanations, 1));
    assert_eq!(buffer.extra(lost, Kind::Counterfactuals).unwrap(), None);
    assert_eq!(buffer.0.base.newest_extra(lost, Kind::Counterfactuals).unwrap(), None);
    assert_eq!(buffer.0.base.newest_extra(kept, Kind::Counterfactuals).unwrap(), Some(2));
}

#[test]
fn a_restart_finds_bad_records_bad_settlements_and_gaps() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    let buffer = open(folder.path());
    spoil(&buffer, &keys::record(Stream::Predictions, 7));
    spoil(&buffer, &keys::settlement(9));
    let mut batch = Batch::default();
    for sequence in 20..=22 {
        batch.remove(keys::record(Stream::Predictions, sequence));
    }
    buffer.0.base.store.apply(batch).unwrap();
    drop(buffer);

    let buffer = open(folder.path());
    assert_eq!(states(&buffer), ["quarantined", "quarantined", "gap"]);
    let (_, gap) = reports(&buffer).pop().unwrap();
    assert_eq!((gap[1].1.as_str(), gap[2].1.as_str()), ("20", "22"));
    let records = buffer.read(Stream::Predictions, 0, 1000).unwrap();
    assert_eq!(records.len(), 300 - 4);
    let ninth = records.iter().find(|record| record.sequence == 9).unwrap();
    assert!(matches!(&ninth.settlement, Some(Settlement::Failed { reason }) if reason.contains("lost")));
    assert_eq!(buffer.pending(Stream::Predictions).unwrap().unwrap().through, 300, "it holds up no batch");
    drop(buffer);
    assert_eq!(states(&open(folder.path())).len(), 3, "said once");
}

#[test]
fn a_lost_cursor_is_counted_anew() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    let buffer = open(folder.path());
    let before = buffer.stat();
    let mut batch = Batch::default();
    batch.remove(keys::cursor(Stream::Predictions));
    buffer.0.base.store.apply(batch).unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    let after = buffer.stat();
    assert_eq!(after.streams, before.streams);
    assert_eq!(buffer.append(vec![prediction(1, 1.0)]).unwrap()[0].sequence, 301);
}

#[test]
fn a_store_of_which_nothing_can_be_read_is_set_aside_and_numbers_go_on_above() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..10).map(health).collect()).unwrap();
    buffer.mark_uploaded(Stream::Health, 10).unwrap();
    let lost = buffer.store_id();
    drop(buffer);
    fs::write(folder.path().join("buffer/conf"), "neither segments nor a version").unwrap();
    fs::write(folder.path().join("buffer/db"), vec![7; 100_000]).unwrap();

    let buffer = open(folder.path());
    assert_ne!(buffer.store_id(), lost);
    assert_eq!(buffer.predecessors(), [lost]);
    assert_eq!(states(&buffer), ["set_aside", "restored", "gap", "store_replaced"]);
    assert!(folder.path().join("buffer.damaged-20261121T222640Z/conf").exists());
    let stored = buffer.append(vec![health(20), prediction(20, 1.0)]).unwrap();
    assert!(stored[0].sequence > 10 && stored[1].sequence == 1, "{stored:?}");
    assert_eq!(buffer.pending(Stream::Health).unwrap().unwrap().oldest.sequence, stored[0].sequence - 4);
    drop(buffer);
    let again = open(folder.path());
    assert_eq!(states(&again).len(), 4, "said once");
}

#[test]
fn a_lost_folder_is_noticed_and_an_older_one_goes_on_above_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let some = |numbers: std::ops::Range<u64>| numbers.map(|n| prediction(n, 65.0)).collect();
    buffer.append(some(0..10)).unwrap();
    copy_as_killed(&folder.path().join("buffer"), &folder.path().join("old"));
    buffer.append(some(10..30)).unwrap();
    buffer.mark_uploaded(Stream::Predictions, 30).unwrap();
    drop(buffer);
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();
    fs::rename(folder.path().join("old"), folder.path().join("buffer")).unwrap();
    let buffer = open(folder.path());
    assert_eq!(states(&buffer), ["gap"]);
    let stored = buffer.append(some(40..41)).unwrap();
    assert!(stored[0].sequence > 30);
    drop(buffer);
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();
    let buffer = open(folder.path());
    let expected = ["gap", "restored", "gap", "gap", "store_replaced"];
    assert_eq!(states(&buffer), expected, "the first is back from the journal, a prediction is not");
    assert!(buffer.append(some(50..51)).unwrap()[0].sequence > stored[0].sequence);
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, [9]);
    buffer.0.base.store.apply(batch).unwrap();
    drop(buffer);
    let refused = try_open(folder.path(), &Config::default());
    assert!(matches!(refused, Err(BufferError::Newer { found: 9, .. })));
    assert!(folder.path().join("buffer/db").exists());
}

#[test]
fn a_side_file_of_rubbish_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    fs::write(folder.path().join("buffer.high_water"), "{").unwrap();
    let buffer = open(folder.path());
    assert_eq!(states(&buffer), ["set_aside"]);
    assert_eq!(buffer.read(Stream::Predictions, 0, 1000).unwrap().len(), 300);
}
