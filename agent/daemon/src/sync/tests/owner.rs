//! Cloned cards, moved cards, lost stores: central's data stays as it is, and each record is there once.

use explaind_core::domain::record::Body;

use super::*;
use crate::buffer::SessionInfo;
use crate::buffer::samples::{on_board, open_as, session};
use crate::buffer::unheard_of;

/// Copies a state folder as it is, like a card in a card reader.
fn clone_card(from: &Path, to: &Path) {
    for (name, content) in files(from).into_iter().filter(|(name, _)| !name.starts_with("registry")) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A gateway on board 1 that sent six of its ten records, and a clone of its card.
async fn original_and_clone() -> (tempfile::TempDir, tempfile::TempDir) {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let original = open_as(mine.path(), on_board("1"));
    original.append((0..6).map(health).collect()).unwrap();
    sync(&original, registry(mine.path()), 3).round(false, &EVER()).await.unwrap();
    original.append((6..10).map(health).collect()).unwrap();
    drop(original);
    clone_card(mine.path(), theirs.path());
    (mine, theirs)
}

fn adopted(buffer: &Buffer) -> registry::StoreMark {
    registry::StoreMark { predecessors: Vec::new(), ..claim_of(buffer) }
}

#[tokio::test]
async fn a_clone_is_stopped_and_the_original_goes_on() {
    let (mine, theirs) = original_and_clone().await;
    let (original, clone) = (open_as(mine.path(), on_board("1")), open_as(theirs.path(), on_board("2")));
    assert_ne!(original.store_id(), clone.store_id());
    clone.append((20..25).map(health).collect()).unwrap();
    let mut stopped = sync(&clone, registry(mine.path()), 2);
    let before = files(&mine.path().join("registry"));
    let refused = stopped.round(true, &EVER()).await.unwrap_err().to_string();
    assert!(refused.contains("copied from") && refused.contains("another [gateway] id"), "{refused}");
    assert!(refused.contains(&clone.store_id().to_string()) && !refused.contains('\n'), "{refused}");
    assert_eq!(files(&mine.path().join("registry")), before);
    sync(&original, registry(mine.path()), 3).round(true, &EVER()).await.unwrap();
    assert_eq!(sequences(mine.path(), "line-3", Stream::Health), (1..=10).collect::<Vec<i64>>());

    // The original is taken away, and a person says that the clone takes its place.
    drop(original);
    stopped.registry.set_store(&adopted(&clone)).await.unwrap();
    stopped.round(true, &EVER()).await.unwrap();
    let sent = sequences(mine.path(), "line-3", Stream::Health);
    let own = i64::try_from(clone.moved().unwrap().unwrap().base).unwrap();
    assert_eq!(sent[..10], (1..=10).collect::<Vec<i64>>(), "what the original sent is not sent again");
    assert_eq!(sent[10..], (own..own + sent.len() as i64 - 10).collect::<Vec<i64>>());
    assert_eq!(clone.waiting(Stream::Health), 0);
}

#[tokio::test]
async fn a_card_in_a_new_machine_brings_home_what_was_not_sent() {
    let (mine, _) = original_and_clone().await;
    let moved = open_as(mine.path(), on_board("2"));
    let mut sync = sync(&moved, registry(mine.path()), 100);
    assert!(matches!(sync.round(true, &EVER()).await, Err(SyncError::Foreign(_))));
    sync.registry.set_store(&adopted(&moved)).await.unwrap();
    sync.round(true, &EVER()).await.unwrap();
    let sent = sequences(mine.path(), "line-3", Stream::Health);
    assert_eq!(sent[..10], (1..=10).collect::<Vec<i64>>());
    assert_eq!(moved.waiting(Stream::Health), 0);
}

#[tokio::test]
async fn a_clone_with_a_name_of_its_own_leaves_the_originals_records_to_it() {
    let (mine, theirs) = original_and_clone().await;
    let clone = open_as(theirs.path(), SessionInfo { gateway: "line-4".into(), ..on_board("2") });
    let stored = clone.append(vec![health(30)]).unwrap();
    sync(&clone, registry(mine.path()), 100).round(true, &EVER()).await.unwrap();
    let sent = sequences(mine.path(), "line-4", Stream::Health);
    assert!(sent.contains(&i64::try_from(stored[0].sequence).unwrap()), "{sent:?}");
    let own = i64::try_from(clone.moved().unwrap().unwrap().base).unwrap();
    assert!(sent.iter().all(|sequence| *sequence >= own), "{sent:?}");
    assert_eq!(sent.len(), 3, "the move, what is left to the original, and its own");
}

#[tokio::test]
async fn what_the_registry_has_in_many_pieces_does_not_stop_it() {
    for (stream, goes_on) in [(Stream::Predictions, true), (Stream::Feedback, false)] {
        let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let original = open_as(mine.path(), on_board("1"));
        let record = |n: u64| match stream {
            Stream::Feedback => feedback(n, Uuid::from_u128(1)),
            _ => prediction(n, 1.0),
        };
        let stored = original.append((1..=60).map(record).collect()).unwrap();
        if stream == Stream::Predictions {
            original.settle(stored.iter().map(|record| (record.id, explained(1.0))).collect()).unwrap();
        }
        drop(original);
        clone_card(mine.path(), theirs.path());
        let moved = open_as(theirs.path(), on_board("2"));
        let mut sync = sync(&moved, registry(theirs.path()), 100);
        sync.registry.set_store(&adopted(&moved)).await.unwrap();
        // Every third, as it may be of what was thinned.
        for n in (3..=60).step_by(3) {
            let path = format!("line-3/{}/date=2026-11-21/{n}-{n}.parquet", stream.as_str());
            sync.registry.put(&path, b"somebody's".to_vec()).await.unwrap();
        }
        let done = sync.round(true, &EVER()).await;
        if goes_on {
            done.unwrap();
            assert_eq!(moved.waiting(stream), 0);
            let sent: Vec<String> = files(&theirs.path().join("registry")).into_keys().collect();
            let between = |n: u64| sent.iter().any(|name| name.ends_with(&format!("/{}-{}.parquet", n + 1, n + 2)));
            assert!(between(0) && between(18) && !between(21), "{sent:?}");
            let left = moved.read(Stream::Health, 0, 999).unwrap();
            let left =
                left.iter().filter(|record| matches!(&record.body, Body::Health(health) if health.state == "left"));
            assert_eq!(left.count(), 12, "the holes below the pieces for which there was no place");
        } else {
            let said = done.unwrap_err().to_string();
            assert!(said.contains("feedback in too many pieces") && said.contains("new [gateway] id"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_wiped_card_overwrites_nothing_and_counts_on_above() {
    let (mine, _) = original_and_clone().await;
    let before = files(&mine.path().join("registry"));
    // Numbers from 1: it was new when no registry was configured.
    let wiped = tempfile::tempdir().unwrap();
    let low = open(wiped.path());
    low.append((0..5).map(health).collect()).unwrap();
    let mut sync = super::sync(&low, registry(mine.path()), 100);
    assert!(matches!(sync.round(true, &EVER()).await, Err(SyncError::Foreign(_))));
    sync.registry.set_store(&adopted(&low)).await.unwrap();
    let refused = sync.round(true, &EVER()).await.unwrap_err().to_string();
    assert!(refused.contains("health up to number 6") && refused.contains("two stores"), "{refused}");
    let batches = |files: &BTreeMap<String, Vec<u8>>| {
        files.iter().filter(|(name, _)| name.ends_with("parquet")).map(|(n, c)| (n.clone(), c.clone())).collect()
    };
    let (before, after): (Vec<_>, Vec<_>) = (batches(&before), batches(&files(&mine.path().join("registry"))));
    assert_eq!(before, after);

    // As the daemon makes it when the registry knows the name.
    let fresh = tempfile::tempdir().unwrap();
    let high = open_as(fresh.path(), SessionInfo { first: unheard_of(at(0)), ..session() });
    high.append((0..5).map(health).collect()).unwrap();
    let mut sync = super::sync(&high, registry(mine.path()), 100);
    sync.registry.set_store(&adopted(&high)).await.unwrap();
    sync.round(true, &EVER()).await.unwrap();
    let sent = sequences(mine.path(), "line-3", Stream::Health);
    let first = i64::try_from(unheard_of(at(0))).unwrap();
    assert_eq!(sent, (1..=6).chain(first..first + 5).collect::<Vec<i64>>());
}
