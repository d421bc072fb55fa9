//! What goes, what stays, and what is refused.

use super::*;
use crate::buffer::bounds::reserve;
use crate::buffer::samples::new;
use explaind_core::domain::extra::Kind;
use explaind_core::domain::time::{Now, Timestamp};

const SMALL: Config = Config { max_bytes: 300 << 10, history_bytes: 300 << 10, ..Config::DEFAULT };

fn skipped() -> Settlement {
    Settlement::Skipped { reason: "nothing to explain".to_owned() }
}

/// Appends settled predictions until the bound is reached, or `most`; says how many were taken.
fn fill(buffer: &Buffer, most: usize) -> usize {
    for taken in 0..most {
        match buffer.append(vec![prediction(taken as u64, 65.0)]) {
            Ok(stored) => buffer.settle(vec![(stored[0].id, skipped())]).unwrap(),
            Err(BufferError::Full { kept, bound }) => {
                assert!(kept >= bound);
                return taken;
            }
            Err(error) => panic!("{error}"),
        }
    }
    most
}

fn evictions(buffer: &Buffer, stream: &str) -> Vec<(u64, u64, u64, u64, String)> {
    reports(buffer)
        .into_iter()
        .filter(|(state, _)| state == "evicted")
        .filter_map(|(_, evidence)| {
            let get = |name| evidence.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            let number = |name| get(name)?.parse().ok();
            (get("stream")? == stream).then_some(())?;
            Some((number("first")?, number("last")?, number("records")?, number("kept")?, get("reason")?))
        })
        .collect()
}

/// Appends feedback until the bound is reached, and then only the reserve is left; says how much was taken.
fn fill_with_feedback(buffer: &Buffer) -> usize {
    for taken in 0..10_000 {
        match buffer.append(vec![prediction(1, 1.0)]) {
            Ok(stored) => buffer.settle(vec![(stored[0].id, skipped())]).unwrap(),
            Err(BufferError::Full { .. }) => return taken,
            Err(error) => panic!("{error}"),
        }
        buffer.append(vec![feedback(taken as u64, Uuid::from_u128(1))]).unwrap();
    }
    panic!("it never fills");
}

#[test]
fn what_people_said_stays_and_new_predictions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    let taken = fill_with_feedback(&buffer);
    assert!(taken > 100 && buffer.stat().full && buffer.fullness().is_some());
    assert_eq!(buffer.read(Stream::Feedback, 0, 5000).unwrap().len(), taken);
    assert_eq!((evictions(&buffer, "feedback"), evictions(&buffer, "alerts")), (vec![], vec![]));
    // Everything else goes on the reserve, and so does a prediction that brings an alert.
    buffer.append(vec![feedback(9, Uuid::from_u128(1)), audit(9, "ada")]).unwrap();
    let last = prediction(9, 99.0);
    let raise = transition(9, None, (Normal, Unacknowledged), Some(last.id), None);
    buffer.append(vec![last, raise]).unwrap();
    let health = buffer.last(Stream::Health);
    for _ in 0..20 {
        assert!(matches!(buffer.append(vec![prediction(9, 1.0)]), Err(BufferError::Full { .. })));
    }
    assert_eq!(buffer.last(Stream::Health), health, "a refusal writes nothing");
    buffer.mark_uploaded(Stream::Health, u64::MAX).unwrap();
    for _ in 0..20 {
        buffer.look_for_room(at(9));
    }
    assert!(buffer.last(Stream::Health) <= health + 2, "nor does one record of health go for another, for ever");
    assert_eq!(reports(&buffer).iter().filter(|(state, _)| state == "full").count(), 1, "said once");

    buffer.mark_uploaded(Stream::Feedback, (taken / 2) as u64).unwrap();
    buffer.look_for_room(at(10));
    assert!(!buffer.stat().full && buffer.fullness().is_none(), "also when nothing new comes");
    buffer.append(vec![prediction(10, 1.0)]).unwrap();
    let gone = evictions(&buffer, "feedback");
    assert_eq!((gone[0].0, gone[0].3, gone[0].4.as_str()), (1, 0, "space"));
    assert!(gone.iter().all(|range| range.1 <= (taken / 2) as u64), "{gone:?}");
    assert!(reports(&buffer).iter().any(|(state, _)| state == "accepting"));
}

#[test]
fn even_the_reserve_ends() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    let taken = (0..10_000).take_while(|n| buffer.append(vec![feedback(*n, Uuid::from_u128(1))]).is_ok()).count();
    assert!(taken < 10_000);
    let kept = buffer.stat().bytes;
    assert!(kept > SMALL.max_bytes && kept < SMALL.max_bytes + reserve(SMALL.max_bytes) + 1000, "{kept}");
    assert_eq!(buffer.read(Stream::Feedback, 0, 10_000).unwrap().len(), taken);
}

#[test]
fn a_queue_that_is_uploaded_stays_within_its_bound_and_says_what_went() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    for round in 0..40 {
        assert_eq!(fill(&buffer, 50), 50, "round {round}");
        buffer.mark_uploaded(Stream::Predictions, u64::MAX).unwrap();
        buffer.mark_uploaded(Stream::Health, u64::MAX).unwrap();
        assert!(buffer.stat().bytes < SMALL.max_bytes + 1000);
    }
    let kept = buffer.read(Stream::Predictions, 0, 5000).unwrap();
    let stat = buffer.stat();
    let predictions = stat.streams.iter().find(|s| s.stream == "predictions").unwrap().clone();
    assert_eq!((predictions.first, predictions.last), (kept[0].sequence, 2000));
    assert_eq!(predictions.records, kept.len() as u64);
    let mut next = 1;
    for (first, last, records, kept, _) in evictions(&buffer, "predictions") {
        assert_eq!((first, records, kept), (next, last - first + 1, 0));
        next = last + 1;
    }
    assert_eq!(next, predictions.first);
    assert!(buffer.may_be_evicted(crate::clock::mint(at(0))).unwrap() || kept[0].at.utc <= at(0).utc);
    // The clock may have been put back an hour, so what is a little later than the oldest kept may be meant as well.
    let after = |hours: i64| {
        let utc = Timestamp::from_micros(kept[0].at.utc.as_micros() + hours * 3_600_000_000);
        crate::clock::mint(Now { utc, ..kept[0].at })
    };
    assert!(buffer.may_be_evicted(after(1)).unwrap() && !buffer.may_be_evicted(after(3)).unwrap());
    assert!(!buffer.may_be_evicted(Uuid::from_u128(7)).unwrap(), "no id of ours");

    let bytes = stat.bytes;
    drop(buffer);
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    assert_eq!(buffer.stat().bytes, bytes);
    assert!(reports(&buffer).iter().all(|(state, _)| state == "evicted"), "evictions are no gaps");
}

/// A settled prediction that an open alert names.
fn raised(buffer: &Buffer, seconds: u64) -> Uuid {
    let named = prediction(seconds, 65.0);
    let id = named.id;
    buffer.append(vec![named, transition(seconds, None, (Normal, Unacknowledged), Some(id), None)]).unwrap();
    buffer.settle(vec![(id, explained(65.0))]).unwrap();
    id
}

#[test]
fn predictions_that_alerts_name_go_last() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    let id = raised(&buffer, 0);
    for _ in 0..20 {
        fill(&buffer, 100);
        buffer.mark_uploaded(Stream::Predictions, u64::MAX).unwrap();
    }
    assert!(!evictions(&buffer, "predictions").is_empty());
    assert_eq!(evictions(&buffer, "predictions")[0].3, 1, "one of the first range stays");
    assert_eq!(buffer.get(id).unwrap().unwrap().settlement, Some(explained(65.0)));
    assert_eq!(buffer.stat().streams.iter().find(|s| s.stream == "predictions").unwrap().first, 1);

    // A hundred days later its time is up as well, and that of all others.
    buffer.append(vec![new(100 * 86_400, health(0).body)]).unwrap();
    assert_eq!(buffer.get(id).unwrap(), None);
    assert_eq!(buffer.read(Stream::Predictions, 0, 10).unwrap(), []);
    assert!(evictions(&buffer, "predictions").iter().any(|(first, .., reason)| *first == 1 && reason == "age"));
    assert!(buffer.may_be_evicted(id).unwrap());
    assert_eq!(buffer.stat().streams.iter().find(|s| s.stream == "predictions").unwrap().records, 0);
}

#[test]
fn age_takes_what_is_uploaded_but_no_alert_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let raise = transition(0, None, (Normal, Unacknowledged), None, None);
    let open_id = raise.id;
    buffer.append(vec![raise, feedback(1, Uuid::from_u128(1)), feedback(2, Uuid::from_u128(2))]).unwrap();
    buffer.mark_uploaded(Stream::Alerts, 1).unwrap();
    buffer.mark_uploaded(Stream::Feedback, 1).unwrap();
    let late = 100 * 86_400;
    buffer.append(vec![new(late, health(0).body)]).unwrap();
    assert_eq!(sequences(&buffer.read(Stream::Feedback, 0, 9).unwrap()), [2], "one was not uploaded");
    assert_eq!(sequences(&buffer.read(Stream::Alerts, 0, 9).unwrap()), [1]);
    let close = transition(late, Some(open_id), (Unacknowledged, Normal), None, Some("ada"));
    buffer.append(vec![close]).unwrap();
    buffer.append(vec![new(late + 700, health(0).body)]).unwrap();
    assert_eq!(sequences(&buffer.read(Stream::Alerts, 0, 9).unwrap()), [2]);
    drop(buffer);
    assert!(reports(&open(folder.path())).iter().all(|(state, _)| state == "evicted"));
}

#[test]
fn history_has_a_bound_of_its_own_that_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { history_bytes: 50 << 10, ..SMALL };
    let buffer = try_open(folder.path(), &config).unwrap();
    assert_eq!(fill(&buffer, 300), 300);
    assert!(buffer.stat().bytes > 2 * config.history_bytes && !buffer.stat().full, "nothing is uploaded yet");
    assert_eq!(evictions(&buffer, "predictions"), []);
    buffer.mark_uploaded(Stream::Predictions, u64::MAX).unwrap();
    assert_eq!(fill(&buffer, 5), 5);
    assert!(buffer.stat().bytes < config.history_bytes);
}

#[test]
fn the_newest_extra_of_a_prediction_is_found_and_extras_go_before_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    fill(&buffer, 100);
    let ids: Vec<Uuid> = buffer.read(Stream::Predictions, 0, 100).unwrap().iter().map(|record| record.id).collect();
    let named = raised(&buffer, 1);
    buffer.append(vec![extra(1, named)]).unwrap();
    let first = buffer.append(vec![extra(1, ids[0])]).unwrap();
    let again = buffer.append(vec![extra(2, ids[0])]).unwrap();
    let found = |id, kind| buffer.extra(id, kind).unwrap().map(|record| record.sequence);
    assert_eq!(found(ids[0], Kind::Counterfactuals), Some(again[0].sequence));
    assert_eq!((found(ids[0], Kind::Cases), found(ids[1], Kind::Counterfactuals)), (None, None));
    assert_ne!(first[0].sequence, again[0].sequence);
    for id in &ids {
        buffer.append(vec![extra(3, *id)]).unwrap();
    }
    buffer.mark_uploaded(Stream::Explanations, u64::MAX).unwrap();
    buffer.mark_uploaded(Stream::Predictions, u64::MAX).unwrap();
    let config = Config { history_bytes: buffer.stat().bytes + 2000, ..SMALL };
    drop(buffer);
    let buffer = try_open(folder.path(), &config).unwrap();
    let found = |id, kind| buffer.extra(id, kind).unwrap().map(|record| record.sequence);
    let mut rounds = 0;
    while evictions(&buffer, "explanations").is_empty() {
        assert_eq!(fill(&buffer, 10), 10);
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert_eq!(evictions(&buffer, "predictions"), [], "predictions have their turn after them");
    assert_eq!(found(ids[0], Kind::Counterfactuals), None);
    assert_eq!(found(named, Kind::Counterfactuals), Some(1), "what an alert needs stays");
    let bytes = buffer.stat().bytes;
    drop(buffer);
    let buffer = try_open(folder.path(), &config).unwrap();
    assert_eq!(buffer.stat().bytes, bytes);
    // Age takes it with its prediction, and no sooner.
    buffer.mark_uploaded(Stream::Predictions, u64::MAX).unwrap();
    buffer.append(vec![new(100 * 86_400, health(0).body)]).unwrap();
    buffer.append(vec![new(101 * 86_400, health(0).body)]).unwrap();
    assert_eq!((buffer.get(named).unwrap(), buffer.extra(named, Kind::Counterfactuals).unwrap()), (None, None));
    let last = evictions(&buffer, "explanations").pop().unwrap();
    assert_eq!((last.0, last.1, last.2, last.4.as_str()), (1, 1, 1, "age"));
    let left = buffer.0.state().cursors[Stream::Explanations];
    assert_eq!((left.records, left.bytes), (0, 0), "nothing is counted that is gone");
}

#[test]
fn what_is_too_old_goes_also_behind_a_batch_that_is_larger_than_one_look() {
    let folder = tempfile::tempdir().unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let mut config = Config { max_bytes: 1 << 30, history_bytes: 1 << 30, ..Config::DEFAULT };
    config.predictions.max_age = Some(day);
    config.explanations.max_age = Some(day);
    let buffer = try_open(folder.path(), &config).unwrap();
    // More than one append looks at, in a batch that is under way, and as many behind it.
    let in_batch = 9_000;
    for _ in 0..20 {
        let stored = buffer.append((0..1000).map(|n| prediction(n, 65.0)).collect()).unwrap();
        buffer.settle(stored.iter().map(|record| (record.id, skipped())).collect()).unwrap();
    }
    buffer.append((0..1000).map(|n| extra(n, Uuid::from_u128(1))).collect()).unwrap();
    buffer.close(Stream::Predictions, Closed { first: 1, last: in_batch, closed_at: at(50).utc }).unwrap();
    for _ in 0..8 {
        buffer.append(vec![new(2 * 86_400, prediction(0, 65.0).body)]).unwrap();
    }
    let left = sequences(&buffer.read(Stream::Predictions, 0, 10_000).unwrap());
    assert_eq!(left.len() as u64, in_batch + 8, "what is under way stays, and what is new");
    assert_eq!(left[..9_000], (1..=in_batch).collect::<Vec<_>>());
    assert_eq!(buffer.waiting(Stream::Explanations), 0);
    let gone: u64 = evictions(&buffer, "predictions").iter().map(|(.., records, _, _)| records).sum();
    assert_eq!(gone, 11_000);
}
