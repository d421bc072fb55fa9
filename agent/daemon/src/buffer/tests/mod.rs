//! The buffer as its callers see it: what was taken is there, in order, once.

mod batches;
mod bounds;
mod damage;
mod earlier;
mod journal;
mod outage;
mod renew;
mod salvage;
mod speed;
mod thinning;

use std::fs;
use std::path::Path;

use explaind_core::domain::alert::AlarmState::{Acknowledged, Normal, Unacknowledged};
use explaind_core::domain::alert::Cover;
use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::record::{Body, Record, Stream};
use tokio::sync::broadcast::error::TryRecvError;
use uuid::Uuid;

use super::samples::{
    at, audit, explained, extra, feedback, health, open, prediction, session, transition, try_open, withheld,
};
use super::{Buffer, BufferError, Closed, Config, audit as chain};
use crate::telemetry::Metrics;

fn sequences(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.sequence).collect()
}

/// Health records about the buffer: state and evidence.
fn reports(buffer: &Buffer) -> Vec<(String, Vec<(String, String)>)> {
    buffer
        .read(Stream::Health, 0, 10_000)
        .unwrap()
        .into_iter()
        .filter_map(|record| match record.body {
            Body::Health(health) if health.subject == "buffer" => Some((health.state, health.evidence)),
            _ => None,
        })
        .collect()
}

/// What a `kill -9` leaves: the files as they are while the store is open.
pub(super) fn copy_as_killed(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_as_killed(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn records_come_back_as_they_were_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let one = prediction(1, 65.0);
    let (raise, note) = (transition(1, None, (Normal, Unacknowledged), Some(one.id), None), feedback(2, one.id));
    let all = vec![one, raise, withheld(2), note, audit(3, "ada"), health(4)];
    let stored = buffer.append(all.clone()).unwrap();
    buffer.settle(vec![(stored[0].id, explained(65.0))]).unwrap();
    let places: Vec<_> = stored.iter().map(|record| (record.body.stream(), record.sequence)).collect();
    let expected = [
        (Stream::Predictions, 1),
        (Stream::Alerts, 1),
        (Stream::Predictions, 2),
        (Stream::Feedback, 1),
        (Stream::Audit, 1),
        (Stream::Health, 1),
    ];
    assert_eq!(places, expected);
    let store_id = buffer.store_id();
    drop(buffer);

    let buffer = open(folder.path());
    assert_eq!(buffer.store_id(), store_id);
    for (new, stored) in all.iter().zip(&stored) {
        let read = buffer.get(new.id).unwrap().unwrap();
        assert_eq!((read.at, &read.body), (new.at, &stored.body), "{:?}", new.body.stream());
        assert_eq!(read.session, stored.session);
        if new.body.stream() != Stream::Audit {
            assert_eq!(read.body, new.body);
        }
    }
    assert_eq!(buffer.get(all[0].id).unwrap().unwrap().settlement, Some(explained(65.0)));
    assert_eq!(buffer.get(Uuid::from_u128(1)).unwrap(), None);
    assert!(reports(&buffer).is_empty(), "nothing was wrong with the store");
}

#[test]
fn reading_goes_both_ways_and_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..1200).map(|n| prediction(n, 1.0)).collect()).unwrap();
    let numbers = |records: Vec<Record>| sequences(&records);
    assert_eq!(numbers(buffer.read(Stream::Predictions, 0, 5000).unwrap()), (1..=1200).collect::<Vec<_>>());
    assert_eq!(numbers(buffer.read(Stream::Predictions, 1198, 5).unwrap()), [1199, 1200]);
    assert_eq!(numbers(buffer.latest(Stream::Predictions, None, 3).unwrap()), [1200, 1199, 1198]);
    assert_eq!(numbers(buffer.latest(Stream::Predictions, Some(3), 9).unwrap()), [2, 1]);
    assert_eq!(buffer.latest(Stream::Predictions, None, 5000).unwrap().len(), 1200);
    for (after, limit) in [(1200, 9), (u64::MAX, 9), (0, 0)] {
        assert!(buffer.read(Stream::Predictions, after, limit).unwrap().is_empty());
    }
    assert!(buffer.latest(Stream::Predictions, Some(0), 9).unwrap().is_empty());
    assert!(buffer.latest(Stream::Alerts, None, 9).unwrap().is_empty());
}

#[test]
fn repeating_an_append_stores_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let records = vec![prediction(1, 65.0), prediction(2, 66.0)];
    let first = buffer.append(records.clone()).unwrap();
    let again = buffer.append(records).unwrap();
    assert_eq!(first.iter().map(|r| r.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(first, again);
    assert_eq!(buffer.read(Stream::Predictions, 0, 10).unwrap().len(), 2);
}

#[test]
fn the_first_settlement_stands_and_what_is_open_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let stored = buffer.append((0..4).map(|n| prediction(n, 65.0)).collect()).unwrap();
    let late = Settlement::Skipped { reason: "too late".to_owned() };
    buffer.settle(vec![(stored[0].id, explained(65.0)), (stored[0].id, late.clone())]).unwrap();
    buffer.settle(vec![(stored[0].id, late.clone()), (stored[2].id, late.clone())]).unwrap();
    buffer.settle(vec![(Uuid::from_u128(9), late.clone())]).unwrap();
    assert_eq!(buffer.get(stored[0].id).unwrap().unwrap().settlement, Some(explained(65.0)));
    assert_eq!(buffer.pending(Stream::Predictions).unwrap().unwrap().through, 1);
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(sequences(&buffer.unsettled()), [2, 4]);
    buffer.settle(vec![(stored[1].id, late.clone())]).unwrap();
    assert_eq!(buffer.pending(Stream::Predictions).unwrap().unwrap().through, 3);
    assert_eq!(buffer.get(stored[2].id).unwrap().unwrap().settlement, Some(late));
}

#[test]
fn news_comes_in_order_and_only_of_what_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let mut news = buffer.subscribe();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let buffer = buffer.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    let stored = buffer.append(vec![prediction(n, f64::from(writer)), health(n)]).unwrap();
                    assert!(buffer.get(stored[0].id).unwrap().is_some());
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    for stream in [Stream::Predictions, Stream::Health] {
        assert_eq!(sequences(&buffer.read(stream, 0, 1000).unwrap()), (1..=200).collect::<Vec<_>>());
    }
    let mut told = Vec::new();
    while let Ok(record) = news.try_recv() {
        told.push((record.body.stream(), record.sequence));
    }
    for stream in [Stream::Predictions, Stream::Health] {
        let numbers: Vec<u64> = told.iter().filter(|(s, _)| *s == stream).map(|(_, n)| *n).collect();
        assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    }
    let one = buffer.latest(Stream::Predictions, None, 1).unwrap().remove(0);
    buffer.settle(vec![(one.id, explained(1.0))]).unwrap();
    assert_eq!(news.try_recv().unwrap().settlement, Some(explained(1.0)));
    assert_eq!(news.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn alerts_are_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let one = prediction(1, 65.0);
    let raise = transition(1, None, (Normal, Unacknowledged), Some(one.id), None);
    let (id, prediction_id) = (raise.id, one.id);
    buffer.append(vec![one, raise]).unwrap();
    buffer.append(vec![transition(2, Some(id), (Unacknowledged, Acknowledged), None, Some("ada"))]).unwrap();
    let before = buffer.alerts();
    assert_eq!(before.len(), 1);
    assert_eq!((before[0].id, before[0].prediction_id), (id, Some(prediction_id)));
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(buffer.alerts(), before);
    assert_eq!(buffer.alert(id).unwrap().acknowledged_by.as_deref(), Some("ada"));
}

#[test]
fn what_lies_over_an_alarm_at_rest_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let mut aside = transition(3, None, (Normal, Normal), None, Some("ada"));
    let cover = Cover { shelved_until: Some(at(90).utc), ..Cover::default() };
    if let Body::Alert(change) = &mut aside.body {
        (change.alert_id, change.cover, change.comment) = (None, cover, Some("spare part".into()));
    }
    buffer.append(vec![aside]).unwrap();
    let before = buffer.standing();
    assert_eq!((before.len(), before[0].open, before[0].cover.map(|(cover, _)| cover)), (1, None, Some(cover)));
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(buffer.standing(), before);
    let raise = transition(4, None, (Normal, Unacknowledged), None, None);
    let id = raise.id;
    buffer.append(vec![raise]).unwrap();
    assert_eq!(buffer.alert(id).unwrap().suppression.as_str(), "none", "each transition says what lies over it");
}

#[test]
fn a_storm_of_10_000_raises_is_on_record_and_the_list_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    for some in 0..100_u64 {
        let mut storm = Vec::new();
        for n in 0..100 {
            let raise = transition(some * 100 + n, None, (Normal, Unacknowledged), None, None);
            let id = Some(raise.id);
            storm.push(raise);
            // The last one stays open.
            if some * 100 + n < 9_999 {
                storm.push(transition(some * 100 + n, id, (Unacknowledged, Normal), None, None));
            }
        }
        buffer.append(storm).unwrap();
    }
    let alerts = buffer.alerts();
    assert_eq!((alerts.len(), alerts[0].state, alerts[1].state), (1_001, Unacknowledged, Normal));
    assert_eq!(buffer.latest(Stream::Alerts, None, 1).unwrap()[0].sequence, 19_999);
    drop(buffer);
    assert_eq!(open(folder.path()).alerts(), alerts);
}

#[test]
fn the_audit_chain_goes_on_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append(vec![audit(1, "ada"), audit(2, "ben")]).unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    buffer.append(vec![audit(3, "eve")]).unwrap();
    let mut previous = [0; 32];
    for record in buffer.read(Stream::Audit, 0, 10).unwrap() {
        let Body::Audit(audit) = &record.body else { panic!("{record:?}") };
        assert_eq!(audit.previous_hash, previous);
        assert_eq!(audit.hash, chain::hash(record.id, record.sequence, record.at, audit));
        previous = audit.hash;
    }
    assert_ne!(previous, [0; 32]);
}

#[test]
fn a_kill_loses_nothing_that_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let mut taken = Vec::new();
    for n in 0..30 {
        let pair = vec![prediction(n, 65.0), transition(n, None, (Normal, Unacknowledged), None, None)];
        taken.extend(buffer.append(pair).unwrap());
        if n % 5 == 0 {
            buffer.settle(vec![(taken[taken.len() - 2].id, explained(65.0))]).unwrap();
        }
        let after = folder.path().join(format!("killed-{n}"));
        copy_as_killed(&folder.path().join("buffer"), &after.join("buffer"));
        copy_as_killed(&folder.path().join("buffer.journal"), &after.join("buffer.journal"));
        fs::copy(folder.path().join("buffer.high_water"), after.join("buffer.high_water")).unwrap();
        let found = open(&after);
        assert_eq!(found.read(Stream::Predictions, 0, 100).unwrap().len(), taken.len() / 2);
        assert_eq!(found.read(Stream::Alerts, 0, 100).unwrap().len(), taken.len() / 2);
        assert!(reports(&found).is_empty());
        for record in &taken {
            assert_eq!(found.get(record.id).unwrap().unwrap().body, record.body);
        }
    }
}

#[test]
fn the_bounds_of_a_batch_survive_until_it_is_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..10).map(health).collect()).unwrap();
    assert_eq!(buffer.closed(Stream::Health), None);
    let bounds = Closed { first: 1, last: 6, closed_at: at(9).utc };
    assert_eq!(buffer.close(Stream::Health, bounds).unwrap(), bounds);
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(buffer.closed(Stream::Health), Some(bounds));
    let other = Closed { first: 1, last: 10, closed_at: at(20).utc };
    assert_eq!(buffer.close(Stream::Health, other).unwrap(), bounds, "it does not change any more");
    buffer.mark_uploaded(Stream::Health, 6).unwrap();
    buffer.set_claimed().unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    assert!(buffer.claimed());
    assert_eq!((buffer.closed(Stream::Health), buffer.uploaded(Stream::Health)), (None, 6));
    let pending = buffer.pending(Stream::Health).unwrap().unwrap();
    assert_eq!((pending.oldest.sequence, pending.through, buffer.waiting(Stream::Health)), (7, 10, 4));
    buffer.mark_uploaded(Stream::Health, u64::MAX).unwrap();
    assert_eq!((buffer.pending(Stream::Health).unwrap(), buffer.uploaded(Stream::Health)), (None, 10));
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let second = try_open(folder.path(), &Config::default());
    assert!(matches!(second, Err(BufferError::InUse { .. })), "the second was let in");
    drop(buffer);
    open(folder.path());
}

#[test]
fn runs_with_another_configuration_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).append(vec![health(1)]).unwrap();
    let path = folder.path().join("buffer");
    let other = super::SessionInfo { config_digest: "beef".into(), ..session() };
    let buffer = Buffer::open(&path, &Config::default(), other, at(5), Metrics::new()).unwrap();
    buffer.append(vec![health(6)]).unwrap();
    let read = buffer.read(Stream::Health, 0, 10).unwrap();
    assert_eq!(read.iter().map(|r| &*r.session.config_digest).collect::<Vec<_>>(), ["c0ffee", "beef"]);
    let stat = buffer.stat();
    assert_eq!((stat.streams.len(), stat.full, stat.store_id), (6, false, buffer.store_id()));
    assert!(stat.bytes > 0 && stat.disk_bytes > stat.bytes);
}
