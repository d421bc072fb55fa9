//! What sync relies on: batches that stay as they are, ranges ahead of their turn, and a store that knows its machine.

use super::*;
use crate::buffer::samples::{on_board, open_as};
use crate::buffer::{codec, keys, unheard_of};

#[test]
fn what_is_sent_ahead_is_neither_waited_for_nor_evicted_before_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..50).map(health).collect()).unwrap();
    buffer.mark_sent(Stream::Health, (31, 40)).unwrap();
    buffer.mark_sent(Stream::Health, (1, 10)).unwrap();
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (10, 30));
    assert_eq!(buffer.front(Stream::Health), (40, true));
    let pending = buffer.pending(Stream::Health).unwrap().unwrap();
    assert_eq!((pending.oldest.sequence, pending.through), (11, 30));
    drop(buffer);
    // The store loses its cursor, and what is beside it still knows.
    let buffer = open(folder.path());
    assert_eq!((buffer.waiting(Stream::Health), buffer.in_doubt()), (30, false));
    let mut batch = crate::buffer::batch::Batch::default();
    batch.remove(keys::cursor(Stream::Health));
    buffer.0.base.store.apply(batch).unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (10, 30));
    assert!(buffer.in_doubt(), "the last word may be lost");
    buffer.mark_sent(Stream::Health, (11, 30)).unwrap();
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (40, 10));
    let pending = buffer.pending(Stream::Health).unwrap().unwrap();
    assert_eq!((pending.oldest.sequence, pending.through), (41, 50));
}

#[test]
fn numbers_without_records_hold_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..50).map(health).collect()).unwrap();
    buffer.mark_sent(Stream::Health, (31, 40)).unwrap();
    let mut batch = crate::buffer::batch::Batch::default();
    for sequence in (1..=5).chain(21..=30).chain(41..=44) {
        batch.remove(keys::record(Stream::Health, sequence));
    }
    buffer.0.base.store.apply(batch).unwrap();
    assert_eq!(buffer.pending(Stream::Health).unwrap().unwrap().oldest.sequence, 6);
    buffer.mark_sent(Stream::Health, (6, 20)).unwrap();
    assert_eq!(buffer.uploaded(Stream::Health), 40, "what is missing between is not waited for");
    buffer.mark_sent(Stream::Health, (45, 46)).unwrap();
    assert_eq!(buffer.uploaded(Stream::Health), 46);
}

#[test]
fn a_store_of_an_earlier_version_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..10).map(health).collect()).unwrap();
    let bounds = Closed { first: 3, last: 7, closed_at: at(9).utc };
    let (cursor_key, bounds_key) = (keys::cursor(Stream::Health), keys::batch(Stream::Health));
    let mut batch = crate::buffer::batch::Batch::default();
    let cursor = (1u64, 11u64, 2u64, 10u64, 10u64, 4000u64);
    batch.insert(cursor_key, codec::seal(&cursor_key, &cursor).unwrap());
    batch.insert(bounds_key, codec::seal(&bounds_key, &(3u64, 7u64, bounds.closed_at.as_micros())).unwrap());
    buffer.0.base.store.apply(batch).unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!((buffer.uploaded(Stream::Health), buffer.closed(Stream::Health)), (2, Some(bounds)));
    assert!(buffer.outbox(Stream::Health).unwrap().is_none() && !buffer.in_doubt());
    buffer.fill(Stream::Health, b"rows").unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(buffer.closed(Stream::Health), Some(bounds));
    assert_eq!(buffer.outbox(Stream::Health).unwrap().as_deref(), Some(&b"rows"[..]));
}

#[test]
fn the_outbox_counts_against_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 1 << 20, ..Config::default() };
    let buffer = try_open(folder.path(), &config).unwrap();
    let before = buffer.append(vec![prediction(1, 1.0), health(1)]).map(|_| buffer.stat().bytes).unwrap();
    buffer.close(Stream::Health, Closed { first: 1, last: 1, closed_at: at(2).utc }).unwrap();
    buffer.fill(Stream::Health, &vec![7; 1 << 20]).unwrap();
    assert_eq!(buffer.stat().bytes, before + (1 << 20));
    assert!(matches!(buffer.append(vec![prediction(3, 1.0)]), Err(BufferError::Full { .. })));
    drop(buffer);
    let buffer = try_open(folder.path(), &config).unwrap();
    assert!(buffer.stat().bytes > 1 << 20, "also after a restart");
    buffer.mark_sent(Stream::Health, (1, 1)).unwrap();
    buffer.append(vec![prediction(4, 1.0)]).unwrap();
}

#[test]
fn a_store_on_another_machine_gets_an_id_and_numbers_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open_as(folder.path(), on_board("1"));
    let stored = buffer.append((0..4).map(|n| prediction(n, 1.0)).chain((0..10).map(health)).collect()).unwrap();
    buffer.settle(vec![(stored[0].id, explained(1.0))]).unwrap();
    buffer.mark_sent(Stream::Health, (1, 6)).unwrap();
    buffer.set_claimed().unwrap();
    let first = buffer.store_id();
    drop(buffer);
    assert_eq!(open_as(folder.path(), on_board("1")).store_id(), first);

    let mut second = None;
    for start in 0..2 {
        let buffer = open_as(folder.path(), on_board("2"));
        let moved = buffer.moved().unwrap().unwrap();
        assert_eq!((moved.from, buffer.predecessors(), buffer.claimed()), (first, vec![], false));
        assert_eq!(*second.get_or_insert(buffer.store_id()), buffer.store_id());
        assert_ne!(buffer.store_id(), first);
        assert!(moved.base >= unheard_of(at(0)));
        assert_eq!(reports(&buffer).iter().map(|(state, _)| &**state).collect::<Vec<_>>(), ["moved"], "said once");
        assert_eq!(buffer.waiting(Stream::Health), 5, "four, and the record of the move");
        assert_eq!(buffer.waiting(Stream::Predictions), 4 + start);
        assert_eq!(buffer.pending(Stream::Health).unwrap().unwrap().through, 10);
        assert_eq!(buffer.unsettled().len() as u64, 3 + start, "explanations that were not made yet still are");
        let record = buffer.append(vec![prediction(20, 1.0)]).unwrap().remove(0);
        assert_eq!(record.sequence, moved.base + start);
    }
    let back = open_as(folder.path(), on_board("1"));
    assert!(back.store_id() != first && Some(back.store_id()) != second, "nor does it go back to what it was");
    assert!(back.append(vec![health(30)]).unwrap()[0].sequence > unheard_of(at(0)) + 1);
}

#[test]
fn a_power_cut_while_it_moves_leaves_it_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open_as(folder.path(), on_board("1"));
    buffer.append((0..4).map(health).collect()).unwrap();
    let first = buffer.store_id();
    drop(buffer);
    let after = folder.path().join("after");
    copy_as_killed(&folder.path().join("buffer"), &after.join("buffer"));
    drop(open_as(folder.path(), on_board("2")));
    // The side file was written, the store was not.
    fs::copy(folder.path().join("buffer.high_water"), after.join("buffer.high_water")).unwrap();
    let buffer = open_as(&after, on_board("2"));
    assert!(buffer.store_id() != first && !buffer.claimed());
    assert!(!buffer.predecessors().contains(&first), "it may not take over what the other machine has");
    assert_eq!(buffer.moved().unwrap().map(|moved| moved.from), Some(first));
}
