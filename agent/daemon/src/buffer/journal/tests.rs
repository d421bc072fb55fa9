//! What a journal gives back after it was torn, damaged, or kept from writing.

use std::collections::BTreeSet;

use super::*;
use crate::buffer::samples::{at, audit, feedback};
use crate::buffer::stored::StoredRecord;
use explaind_core::domain::record::Session;
use uuid::Uuid;

const SEGMENT: u64 = 4 << 10;

fn entry(sequence: u64) -> Arc<Entry> {
    let session = Arc::new(Session {
        gateway: "line-3".into(),
        store_id: Uuid::from_u128(1),
        boot_id: Uuid::from_u128(2),
        agent_version: "0.1.0".into(),
        config_digest: "c0ffee".into(),
    });
    let stored = |record| StoredRecord::of(&record, true, 7, 0);
    let items = vec![
        Item::new(Stream::Feedback, sequence, stored(feedback(sequence, Uuid::from_u128(9)))),
        Item::new(Stream::Audit, sequence, stored(audit(sequence, "ada"))),
    ];
    Arc::new(Entry::new(session, [(Stream::Feedback, 1)], items))
}

fn open(folder: &Path) -> (Journal, Vec<Note>) {
    Journal::open(folder, SEGMENT, at(0)).unwrap()
}

/// The numbers of the feedback in it, in order.
fn numbers(journal: &Journal) -> Vec<u64> {
    let mut numbers = Vec::new();
    journal
        .each(|entries| {
            for entry in entries {
                numbers
                    .extend(entry.items().iter().filter(|i| i.stream() == Some(Stream::Feedback)).map(|i| i.sequence));
            }
            Ok(())
        })
        .unwrap();
    numbers
}

/// A journal whose first segment holds so many entries. Returns its bytes, and where each entry ends.
fn written(folder: &Path, count: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut journal, notes) = open(folder);
    assert!(notes.is_empty());
    let mut ends = Vec::new();
    for sequence in 1..=count {
        journal.append(&[entry(sequence)]).unwrap();
        ends.push(usize::try_from(journal.current.as_ref().unwrap().used).unwrap());
    }
    assert_eq!(numbers(&journal), (1..=count).collect::<Vec<_>>());
    drop(journal);
    (segment::bytes(folder, 1).unwrap(), ends)
}

/// The same folder with other bytes in its first segment.
fn with_bytes(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(segment::path(folder.path(), 1), bytes).unwrap();
    folder
}

#[test]
fn entries_come_back_and_go_on_in_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    assert_eq!(segment::list(folder.path()).unwrap(), [1], "a spare is ready before the first entry");
    let reserve = journal.reserve();
    journal.append(&(1..=40).map(entry).collect::<Vec<_>>()).unwrap();
    assert!(journal.segments.len() > 3 && journal.reserve() >= reserve);
    let (bytes, known) = (journal.bytes(), *journal.known());
    assert_eq!(known[Stream::Feedback], Known { range: Some((1, 40)), floor: 1 });
    drop(journal);

    let (mut journal, notes) = open(folder.path());
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!((numbers(&journal), journal.bytes()), ((1..=40).collect(), bytes));
    assert_eq!(*journal.known(), known);
    journal.append(&[entry(41)]).unwrap();
    assert_eq!(numbers(&journal).last(), Some(&41));
    let first = &journal.segments[0];
    assert_eq!(
        fs::metadata(segment::path(folder.path(), first.number)).unwrap().len(),
        first.bytes,
        "cut to its length"
    );

    let mut done = PerStream::default();
    done[Stream::Feedback] = 30;
    journal.release(&done);
    assert_eq!(numbers(&journal).len(), 41, "audit records are needed yet");
    done[Stream::Audit] = 30;
    journal.release(&done);
    let left = numbers(&journal);
    assert!(left[0] > 1 && left[0] <= 31 && left.len() < 41, "{left:?}");
    done[Stream::Feedback] = u64::MAX;
    done[Stream::Audit] = u64::MAX;
    journal.release(&done);
    assert_eq!(journal.segments.len(), 1, "the one that is written to stays");
    assert_eq!(segment::list(folder.path()).unwrap().len(), 2);
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    let (session, items) = (*entry(1)).clone().into_parts();
    let large = Arc::new(Entry::new(session, [], std::iter::repeat_n(items, 50).flatten().collect()));
    journal.append(&[entry(1), large, entry(2)]).unwrap();
    drop(journal);
    let (journal, notes) = open(folder.path());
    assert!(notes.is_empty());
    assert_eq!((numbers(&journal).len(), numbers(&journal).last()), (52, Some(&2)));
}

#[test]
fn a_tail_torn_at_any_byte_costs_the_last_entry_only_and_nothing_is_written_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, ends) = written(folder.path(), 3);
    for length in ends[1]..=ends[2] {
        for zeros in [true, false] {
            let mut torn = bytes[..length].to_vec();
            if zeros {
                torn.resize(bytes.len(), 0);
            }
            let folder = with_bytes(&torn);
            let (mut journal, notes) = open(folder.path());
            // Zeros at an entry's end are what was there before.
            let whole = torn.get(..ends[2]) == Some(&bytes[..ends[2]]);
            let expected: Vec<u64> = if whole { vec![1, 2, 3] } else { vec![1, 2] };
            assert_eq!(numbers(&journal), expected, "{length}");
            let torn = length > ends[1] && !whole;
            assert_eq!(notes.len(), usize::from(torn), "{length}: {notes:?}");
            journal.append(&[entry(4)]).unwrap();
            assert_eq!(journal.segments.len(), if torn || !zeros { 2 } else { 1 }, "{length}");
            drop(journal);
            let (journal, notes) = open(folder.path());
            assert!(notes.is_empty(), "said once");
            assert_eq!(numbers(&journal), [expected, vec![4]].concat());
        }
    }
}

#[test]
fn a_flipped_bit_at_any_byte_costs_one_entry_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, ends) = written(folder.path(), 4);
    for place in 0..ends[3] + 16 {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        let folder = with_bytes(&damaged);
        let (mut journal, notes) = open(folder.path());
        let hit = ends.iter().position(|end| place < *end).filter(|_| place >= segment::HEADER);
        let expected: Vec<u64> = (1..=4).filter(|n| Some(*n) != hit.map(|hit| hit as u64 + 1)).collect();
        assert_eq!(numbers(&journal), expected, "byte {place}");
        let [Note::SetAside { what: "journal", to, .. }] = &notes[..] else { panic!("byte {place}: {notes:?}") };
        assert_eq!(fs::read(to).unwrap(), damaged, "it is kept as it was");
        journal.append(&[entry(5)]).unwrap();
        drop(journal);
        let (journal, notes) = open(folder.path());
        assert!(notes.is_empty(), "said once");
        assert_eq!(numbers(&journal), [expected, vec![5]].concat());
    }
}

#[test]
fn a_sector_of_zeros_in_the_middle_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bytes, ends) = written(folder.path(), 4);
    bytes[ends[0] + 5..ends[2] - 3].fill(0);
    let folder = with_bytes(&bytes);
    let (journal, notes) = open(folder.path());
    assert_eq!((numbers(&journal), notes.len()), (vec![1, 4], 1));
}

#[test]
fn copies_of_damaged_segments_are_few() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, ends) = written(folder.path(), 1);
    for round in 0..20 {
        let mut damaged = bytes.clone();
        damaged[ends[0] - 1] ^= 1;
        fs::write(segment::path(folder.path(), 1), damaged).unwrap();
        Journal::open(folder.path(), SEGMENT, at(round)).unwrap();
    }
    assert_eq!(fs::read_dir(folder.path().join("damaged")).unwrap().count(), 8);
}

#[test]
fn a_segment_that_takes_no_entry_gives_way_to_the_spare() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    journal.append(&[entry(1)]).unwrap();
    journal.current = journal.current.take().map(Segment::failing);
    journal.append(&[entry(2), entry(3)]).unwrap();
    assert_eq!(journal.segments.len(), 2);
    assert_eq!(numbers(&journal), [1, 2, 3]);
    // Neither of two: refused, and what is there stays. The next try may find another.
    journal.current = journal.current.take().map(Segment::failing);
    journal.spare = journal.spare.take().map(Segment::failing);
    assert!(journal.append(&[entry(4)]).is_err());
    assert_eq!(numbers(&journal), [1, 2, 3]);
    journal.append(&[entry(4)]).unwrap();
    drop(journal);
    let (journal, notes) = open(folder.path());
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(numbers(&journal), [1, 2, 3, 4]);
}

#[test]
fn what_was_written_twice_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, ends) = written(folder.path(), 3);
    // The last entry reached the disk although it was said that it had not, and was written once more elsewhere.
    let mut again = segment::header(2).to_vec();
    again.extend_from_slice(&bytes[ends[1]..ends[2]]);
    again.resize(SEGMENT as usize, 0);
    let folder = with_bytes(&bytes);
    fs::write(segment::path(folder.path(), 2), again).unwrap();
    let (mut journal, notes) = open(folder.path());
    assert!(notes.is_empty());
    journal.append(&[entry(4)]).unwrap();
    drop(journal);
    let found = numbers(&open(folder.path()).0);
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>().len(), found.len(), "{found:?}");
    assert_eq!(found, [1, 2, 3, 4]);
}

#[test]
fn a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = written(folder.path(), 1);
    let mut later = bytes.clone();
    later[8] = 2;
    let sum = crc32fast::hash(&later[..20]).to_le_bytes();
    later[20..24].copy_from_slice(&sum);
    let folder = with_bytes(&later);
    let refused = Journal::open(folder.path(), SEGMENT, at(0));
    assert!(matches!(refused, Err(BufferError::Newer { found: 2, .. })));
    assert_eq!(segment::bytes(folder.path(), 1).unwrap(), later);
}
