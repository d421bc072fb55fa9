//! Journal and store: what one of them loses, the other has.

use super::*;
use crate::buffer::batch::Batch;
use crate::buffer::samples::new;
use crate::buffer::{SessionInfo, keys};

/// The streams that the journal keeps, but for health, which says what was found.
const KEPT: [Stream; 3] = [Stream::Alerts, Stream::Feedback, Stream::Audit];

/// What a technician's day leaves: an alert that was acknowledged, one that was not, feedback, audit, some of it
/// uploaded.
fn lived_in(folder: &Path) -> Buffer {
    let buffer = open(folder);
    let mut raised = Vec::new();
    for n in 0..3 {
        let one = prediction(n, 65.0);
        let raise = transition(n, None, (Normal, Unacknowledged), Some(one.id), None);
        raised.push((raise.id, one.id));
        buffer.append(vec![one, raise]).unwrap();
        buffer.append(vec![feedback(n, raised[0].1), audit(n, "ada")]).unwrap();
    }
    let seen = transition(5, Some(raised[0].0), (Unacknowledged, Acknowledged), None, Some("ada"));
    buffer.append(vec![seen, audit(5, "ada")]).unwrap();
    buffer.mark_uploaded(Stream::Feedback, 2).unwrap();
    buffer
}

fn kept(buffer: &Buffer) -> Vec<Record> {
    KEPT.into_iter().flat_map(|stream| buffer.read(stream, 0, 1000).unwrap()).collect()
}

fn states(buffer: &Buffer) -> Vec<String> {
    reports(buffer).into_iter().map(|(state, _)| state).collect()
}

fn the_chain_holds(buffer: &Buffer) {
    let mut previous = [0; 32];
    for record in buffer.read(Stream::Audit, 0, 1000).unwrap() {
        let Body::Audit(audit) = &record.body else { panic!("{record:?}") };
        assert_eq!(audit.previous_hash, previous, "{}", record.sequence);
        assert_eq!(audit.hash, chain::hash(record.id, record.sequence, record.at, audit));
        previous = audit.hash;
    }
    assert_ne!(previous, [0; 32]);
}

#[test]
fn all_that_people_did_survives_the_loss_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = lived_in(folder.path());
    let (before, alerts, lost) = (kept(&buffer), buffer.alerts(), buffer.store_id());
    assert_eq!((before.len(), alerts.len()), (4 + 3 + 4, 3));
    drop(buffer);
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();

    let buffer = open(folder.path());
    assert_eq!(kept(&buffer), before, "ids, numbers, times and sessions as they were");
    assert_eq!(buffer.alerts(), alerts, "open and acknowledged");
    assert_ne!(buffer.store_id(), lost);
    assert_eq!(buffer.predecessors(), [lost]);
    for record in &before {
        assert_eq!(buffer.get(record.id).unwrap().as_ref(), Some(record));
    }
    assert_eq!(buffer.uploaded(Stream::Feedback), 2);
    assert_eq!(buffer.pending(Stream::Feedback).unwrap().unwrap().oldest.sequence, 3, "what was not sent is sent");
    assert_eq!(buffer.waiting(Stream::Feedback), 3, "no more than there are");
    // The last of the gaps is that of the predictions, which nothing brings back.
    let expected = ["restored", "restored", "restored", "gap", "gap", "gap", "gap", "store_replaced"];
    assert_eq!(states(&buffer), expected);

    // Numbers go on above all that the lost store may have given out, and that is said.
    let stored = buffer.append(vec![feedback(9, Uuid::from_u128(1)), audit(9, "ben")]).unwrap();
    assert!(stored.iter().all(|record| record.sequence > 60_000));
    let gaps: Vec<_> = reports(&buffer).into_iter().filter(|(state, _)| state == "gap").collect();
    for (stream, first, next) in [("feedback", 4, stored[0].sequence), ("audit", 5, stored[1].sequence)] {
        let gap = gaps.iter().find(|(_, evidence)| evidence[0].1 == stream).unwrap();
        assert_eq!((gap.1[1].1.parse(), gap.1[2].1.parse()), (Ok(first), Ok(next - 1)), "{stream}");
    }
    the_chain_holds(&buffer);
    let (before, alerts) = (kept(&buffer), buffer.alerts());
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!((kept(&buffer), buffer.alerts()), (before, alerts));
    assert_eq!(states(&buffer).len(), 8, "said once");
}

#[test]
fn what_was_acknowledged_without_a_flush_is_there_after_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = lived_in(folder.path());
    let cut = folder.path().join("cut");
    copy_as_killed(&folder.path().join("buffer"), &cut.join("buffer"));
    // The store as it was before these, the journal as it was after them.
    let opinion = buffer.append(vec![feedback(7, Uuid::from_u128(1)), audit(7, "ben")]).unwrap();
    let before = kept(&buffer);
    for beside in ["buffer.high_water", "buffer.last"] {
        fs::copy(folder.path().join(beside), cut.join(beside)).unwrap();
    }
    copy_as_killed(&folder.path().join("buffer.journal"), &cut.join("buffer.journal"));
    let found = open(&cut);
    assert_eq!(kept(&found), before);
    assert_eq!(found.get(opinion[0].id).unwrap().as_ref(), Some(&*opinion[0]));
    assert_eq!(states(&found), Vec::<String>::new(), "that is how it should be");
    found.append(vec![audit(8, "eve")]).unwrap();
    the_chain_holds(&found);
}

#[test]
fn a_journal_that_is_lost_or_new_is_written_anew_from_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = lived_in(folder.path());
    let other = SessionInfo { agent_version: "0.2.0".into(), ..session() };
    drop(buffer);
    let path = folder.path().join("buffer");
    let buffer = Buffer::open(&path, &Config::default(), other, at(20), Metrics::new()).unwrap();
    buffer.append(vec![feedback(21, Uuid::from_u128(1)), audit(21, "ben"), health(21)]).unwrap();
    let (before, alerts) = (kept(&buffer), buffer.alerts());
    drop(buffer);
    fs::remove_dir_all(folder.path().join("buffer.journal")).unwrap();
    let buffer = open(folder.path());
    assert_eq!((kept(&buffer), states(&buffer)), (before.clone(), Vec::new()));
    drop(buffer);
    // Now the journal alone has to do.
    fs::remove_dir_all(&path).unwrap();
    let buffer = open(folder.path());
    assert_eq!((kept(&buffer), buffer.alerts()), (before.clone(), alerts));
    assert_eq!(&*before.last().unwrap().session.agent_version, "0.2.0");
    assert_eq!(buffer.read(Stream::Health, 0, 1).unwrap()[0].body, health(21).body);
}

#[test]
fn where_they_disagree_the_journal_is_right_and_what_stood_there_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = lived_in(folder.path());
    let before = kept(&buffer);
    drop(buffer);
    let other = folder.path().join("other");
    let stranger = lived_in(&other);
    let foreign = stranger.read(Stream::Feedback, 0, 9).unwrap();
    drop(stranger);
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();
    fs::rename(other.join("buffer"), folder.path().join("buffer")).unwrap();
    let buffer = open(folder.path());
    assert_eq!(kept(&buffer), before);
    assert_eq!(buffer.get(foreign[0].id).unwrap(), None);
    let aside = buffer.0.base.store.get(&keys::quarantined_record(Stream::Feedback, 1)).unwrap();
    assert!(aside.is_some());
    assert_eq!(states(&buffer), ["restored", "restored", "restored"]);
    assert_eq!(reports(&buffer)[0].1[4], ("displaced".to_owned(), "3".to_owned()));
    let stat = buffer.stat();
    let feedback = stat.streams.iter().find(|stream| stream.stream == "feedback").unwrap();
    assert_eq!((feedback.records, feedback.last), (3, 3));
    drop(buffer);
    assert_eq!(states(&open(folder.path())).len(), 3, "said once");
}

#[test]
fn a_record_that_the_store_spoilt_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = lived_in(folder.path());
    let before = kept(&buffer);
    let key = keys::record(Stream::Feedback, 2);
    let mut value = buffer.0.base.store.get(&key).unwrap().unwrap().to_vec();
    value[3] ^= 0x40;
    let mut batch = Batch::default();
    batch.insert(key, value);
    batch.remove(keys::record(Stream::Audit, 1));
    buffer.0.base.store.apply(batch).unwrap();
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(kept(&buffer), before);
    assert_eq!(states(&buffer), ["restored", "restored"]);
    drop(buffer);
    assert_eq!(states(&open(folder.path())).len(), 2, "said once");
}

#[test]
fn what_was_evicted_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = lived_in(folder.path());
    buffer.mark_uploaded(Stream::Feedback, 2).unwrap();
    // A hundred days later.
    buffer.append(vec![new(100 * 86_400, health(0).body)]).unwrap();
    let before = kept(&buffer);
    assert_eq!(sequences(&buffer.read(Stream::Feedback, 0, 9).unwrap()), [3]);
    drop(buffer);
    let buffer = open(folder.path());
    assert_eq!(kept(&buffer), before, "not into the store that evicted it");
    drop(buffer);
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();
    let buffer = open(folder.path());
    assert_eq!(kept(&buffer), before, "nor into one that never knew it");
    assert_eq!(states(&buffer).iter().filter(|state| *state == "evicted").count(), 1, "evicted once");
}

#[test]
fn a_long_queue_leaves_a_short_journal() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 1 << 20, ..Config::default() };
    let buffer = try_open(folder.path(), &config).unwrap();
    let mut most = 0;
    for n in 0..40 {
        let at = n * 86_400;
        for _ in 0..25 {
            buffer.append(vec![new(at, health(0).body), new(at, feedback(0, Uuid::from_u128(1)).body)]).unwrap();
        }
        for stream in Stream::ALL {
            buffer.mark_uploaded(stream, u64::MAX).unwrap();
        }
        most = most.max(buffer.stat().journal_bytes);
    }
    assert!(most > 64 << 10, "{most}");
    let late = 200 * 86_400;
    buffer.append(vec![new(late, health(0).body)]).unwrap();
    buffer.append(vec![new(late + 1, health(0).body)]).unwrap();
    let stat = buffer.stat();
    assert!(stat.journal_bytes < 64 << 10, "{stat:?}");
    drop(buffer);
    assert_eq!(try_open(folder.path(), &config).unwrap().stat().journal_bytes, stat.journal_bytes);
}
