//! Stores that earlier versions wrote, as they were when the power went: they open, and all they had goes home.
//!
//! `stores/<commit>.tar.gz` is the state folder of a gateway that was killed at work, its registry away. A change of what
//! is stored adds one that the version before it wrote.

use std::process::Command;

use super::*;

#[test]
fn a_store_of_an_earlier_version_with_a_full_queue_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/buffer/tests/stores/e2bcc14.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());
    let buffer = open(folder.path());
    assert_eq!(reports(&buffer), [], "nothing is wrong with it");
    assert_eq!(buffer.alerts().len(), 2);
    let stored = |stream| buffer.read(stream, 0, 10_000).unwrap();
    let expected = [
        (Stream::Predictions, 248),
        (Stream::Alerts, 42),
        (Stream::Feedback, 12),
        (Stream::Audit, 13),
        (Stream::Health, 1),
        (Stream::Explanations, 47),
    ];
    for (stream, count) in expected {
        let records = stored(stream);
        assert_eq!(sequences(&records), (1..=count).collect::<Vec<_>>(), "{stream:?}");
        for record in &records {
            assert_eq!(buffer.get(record.id).unwrap().as_ref(), Some(record));
            assert_eq!(&*record.session.gateway, "test-gw");
        }
    }
    for (n, record) in stored(Stream::Feedback).iter().enumerate() {
        assert!(matches!(&record.body, Body::Feedback(said) if said.comment == Some(format!("number {n}"))));
    }
    assert!(buffer.alerts().iter().any(|alert| alert.comment.as_deref() == Some("on my way")));
    let explained = stored(Stream::Predictions).into_iter().filter(|record| record.settlement.is_some()).count();
    assert!(explained >= 240, "{explained}");
    for record in buffer.unsettled() {
        buffer.settle(vec![(record.id, super::explained(1.0))]).unwrap();
    }
    for (stream, count) in expected {
        let pending = buffer.pending(stream).unwrap().unwrap();
        assert_eq!((pending.oldest.sequence, pending.through.min(count)), (1, count));
        buffer.close(stream, Closed { first: 1, last: count, closed_at: at(1).utc }).unwrap();
        buffer.mark_sent(stream, (1, count)).unwrap();
        assert_eq!(buffer.pending(stream).unwrap(), None);
    }
    let next = buffer.append(vec![prediction(1, 1.0), feedback(1, Uuid::from_u128(1))]).unwrap();
    assert_eq!((next[0].sequence, next[1].sequence), (249, 13));
}
