//! What goes before what, and how soon.

use super::*;

/// Sends batch after batch; returns stream, first and last of each.
async fn send_all(sync: &mut Sync) -> Vec<(Stream, u64, u64)> {
    let mut sent = Vec::new();
    while let Some((stream, batch)) = sync.next(true).await.unwrap() {
        sync.send(stream, batch).await.unwrap();
        sent.push((stream, batch.first, batch.last));
    }
    sent
}

#[tokio::test]
async fn after_an_outage_feedback_goes_first_then_the_present_then_the_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..30).map(health).collect()).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 10);
    sync.claim(Duration::ZERO).await.unwrap();
    sync.lanes.reached(&buffer, &sync.config);
    buffer.append((30..36).map(health).collect()).unwrap();
    buffer.append(vec![feedback(40, Uuid::from_u128(1))]).unwrap();

    let mut sent = Vec::new();
    for _ in 0..3 {
        let (stream, batch) = sync.next(true).await.unwrap().unwrap();
        sync.send(stream, batch).await.unwrap();
        sent.push((stream, batch.first, batch.last));
    }
    assert_eq!(sent, [(Stream::Feedback, 1, 1), (Stream::Health, 31, 36), (Stream::Health, 1, 10)]);
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (10, 20));
    let pending = buffer.pending(Stream::Health).unwrap().unwrap();
    assert_eq!((pending.oldest.sequence, pending.through), (11, 30));
    drop((sync, buffer));

    // What went ahead is known after a restart, and another outage puts another range on top of it.
    let buffer = open(folder.path());
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (10, 20));
    buffer.append((50..65).map(health).collect()).unwrap();
    let mut sync = super::sync(&buffer, registry(folder.path()), 10);
    sync.claim(Duration::ZERO).await.unwrap();
    sync.lanes.reached(&buffer, &sync.config);
    buffer.append((70..72).map(health).collect()).unwrap();
    let sent = send_all(&mut sync).await;
    let health = |first, last| (Stream::Health, first, last);
    assert_eq!(sent, [health(52, 53), health(11, 20), health(21, 30), health(37, 46), health(47, 51)]);
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (53, 0));
    assert_eq!(sequences(folder.path(), "line-3", Stream::Health), (1..=53).collect::<Vec<i64>>());
}

#[tokio::test]
async fn ever_new_outages_end_in_order_and_not_in_a_growing_list() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let mut sync = sync(&buffer, registry(folder.path()), 2);
    sync.claim(Duration::ZERO).await.unwrap();
    let mut made = 0;
    for _ in 0..20 {
        buffer.append((0..5).map(health).collect()).unwrap();
        sync.lanes.reached(&buffer, &sync.config);
        buffer.append((5..7).map(health).collect()).unwrap();
        made += 7;
        let (stream, batch) = sync.next(false).await.unwrap().unwrap();
        sync.send(stream, batch).await.unwrap();
    }
    send_all(&mut sync).await;
    assert_eq!((buffer.uploaded(Stream::Health), buffer.waiting(Stream::Health)), (made, 0));
    let made = i64::try_from(made).unwrap();
    assert_eq!(sequences(folder.path(), "line-3", Stream::Health), (1..=made).collect::<Vec<i64>>());
}

#[test]
fn people_are_heard_within_a_minute_and_an_age_that_is_given_holds_for_all() {
    let (usual, given) = (Config::default(), Config { batch_age: Duration::from_secs(5), ..Config::default() });
    for stream in Stream::ALL {
        let urgent = [Stream::Feedback, Stream::Alerts, Stream::Audit].contains(&stream);
        let age = Duration::from_secs(if urgent { 30 } else { 900 });
        assert_eq!((usual.age_of(stream), given.age_of(stream)), (age, given.batch_age), "{stream:?}");
    }
}

#[tokio::test]
async fn records_that_are_large_make_smaller_batches() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let large = |n| {
        let mut record = audit(n, "ada");
        if let explaind_core::domain::record::Body::Audit(entry) = &mut record.body {
            entry.object = "x".repeat(900_000);
        }
        record
    };
    buffer.append((0..30).map(large).collect()).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 5000);
    sync.claim(Duration::ZERO).await.unwrap();
    let sent = send_all(&mut sync).await;
    assert_eq!(sent, [(Stream::Audit, 1, 18), (Stream::Audit, 19, 30)]);
}

#[tokio::test]
async fn a_stream_that_does_not_get_on_stops_no_other_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    // Where the batches of one stream should lie before they are sent, something else is.
    let outbox = folder.path().join("buffer.outbox");
    fs::create_dir_all(&outbox).unwrap();
    fs::write(outbox.join("feedback"), "in the way").unwrap();
    buffer.append((0..6).map(health).collect()).unwrap();
    buffer.append(vec![feedback(9, Uuid::from_u128(1)), audit(9, "ada")]).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 3);
    for _ in 0..2 {
        let error = sync.round(true, &EVER()).await.unwrap_err();
        assert!(matches!(error, SyncError::Stuck(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("feedback: ") && !text.contains("health") && !text.contains('\n'), "{text}");
        sync.failed(&error);
        let uploaded = [Stream::Feedback, Stream::Audit, Stream::Health].map(|stream| buffer.uploaded(stream));
        assert_eq!(uploaded, [0, 1, 6]);
    }
    let snapshot = sync.status.snapshot();
    assert_eq!((snapshot.state, snapshot.error.is_some()), (State::CatchingUp, true));
    fs::remove_file(outbox.join("feedback")).unwrap();
    sync.round(true, &EVER()).await.unwrap();
    assert_eq!((buffer.uploaded(Stream::Feedback), sync.status.snapshot().error), (1, None));
}

#[tokio::test]
async fn verdicts_are_counted_for_good_and_records_are_those_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..3).map(|n| feedback(n, Uuid::from_u128(1))).collect()).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 2);
    sync.round(true, &EVER()).await.unwrap();
    let figure = |buffer: &Buffer, name: &str| {
        let all = figures::count(buffer, &[]).unwrap();
        all.into_iter().find(|figure| figure.name == name).map(|figure| figure.value)
    };
    let before = (figure(&buffer, "verdicts_reject"), figure(&buffer, "records_feedback"));
    assert_eq!(before, (Some(3.0), Some(3.0)));
    // A hundred days later what was sent is not kept any more.
    let late = at(100 * 86_400);
    let body = health(0).body;
    buffer.append(vec![explaind_core::domain::record::NewRecord { id: clock::mint(late), at: late, body }]).unwrap();
    assert_eq!(figure(&buffer, "records_feedback"), Some(0.0));
    drop((sync, buffer));
    let buffer = open(folder.path());
    assert_eq!(figure(&buffer, "verdicts_reject"), Some(3.0));
    buffer.append(vec![feedback(100 * 86_400 + 1, Uuid::from_u128(1))]).unwrap();
    assert_eq!((figure(&buffer, "verdicts_reject"), figure(&buffer, "records_feedback")), (Some(4.0), Some(1.0)));
}
