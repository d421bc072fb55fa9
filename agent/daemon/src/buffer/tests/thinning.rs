//! What goes of what is not uploaded: central can account for every number.

use std::collections::{BTreeMap, BTreeSet};

use explaind_core::domain::prediction::Role;

use super::*;
use crate::buffer::evict::Reason;
use crate::buffer::samples::new;
use crate::buffer::{batch, keys};

const SMALL: Config = Config { max_bytes: 300 << 10, history_bytes: 300 << 10, ..Config::DEFAULT };
const BULK: [Stream; 3] = [Stream::Predictions, Stream::Explanations, Stream::Health];

/// What central has.
#[derive(Default)]
struct Central {
    received: BTreeMap<Stream, BTreeSet<u64>>,
    /// What the health records there say was never sent.
    unsent: BTreeMap<String, u64>,
    /// What they say is lost of predictions.
    lost: u64,
}

impl Central {
    fn take(&mut self, records: &[Record]) {
        for record in records {
            let stream = record.body.stream();
            assert!(self.received.entry(stream).or_default().insert(record.sequence), "{stream:?} {}", record.sequence);
            let Body::Health(health) = &record.body else { continue };
            let text = |name| health.evidence.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let number = |name| text(name).and_then(|value| value.parse::<u64>().ok());
            if health.state == "gap" && text("stream") == Some("predictions") {
                let (first, last) = (number("first").unwrap(), number("last").unwrap());
                self.lost += number("records").unwrap_or(last - first + 1);
            }
            if (&*health.subject, &*health.state) != ("buffer", "evicted") {
                continue;
            }
            *self.unsent.entry(text("stream").unwrap().to_owned()).or_default() +=
                text("unsent").unwrap().parse::<u64>().unwrap();
        }
    }

    /// Sends a stream's next batch of `most` records, if there is one; says how many they were.
    fn send(&mut self, buffer: &Buffer, stream: Stream, most: u64) -> u64 {
        let Some(pending) = buffer.pending(stream).unwrap() else { return 0 };
        let first = pending.oldest.sequence;
        if pending.through < first {
            return 0;
        }
        let (last, count) = buffer.batch_end(stream, first, pending.through, most).unwrap();
        let batch = buffer.close(stream, Closed { first, last, closed_at: at(0).utc }).unwrap();
        let mut records = buffer.read(stream, batch.first - 1, 10_000).unwrap();
        records.retain(|record| record.sequence <= batch.last);
        if batch == (Closed { first, last, closed_at: at(0).utc }) {
            assert_eq!(records.len() as u64, count, "records are counted, not numbers");
        }
        self.take(&records);
        buffer.mark_sent(stream, (batch.first, batch.last)).unwrap();
        records.len() as u64
    }

    fn has(&self, stream: Stream) -> u64 {
        self.received.get(&stream).map_or(0, |received| received.len() as u64)
    }

    /// Sends all, and then every number must be accounted for.
    fn settle_up(&mut self, buffer: &Buffer, what: &str) {
        for stream in Stream::ALL {
            while self.send(buffer, stream, 50) > 0 {}
            assert_eq!((buffer.waiting(stream), buffer.pending(stream).unwrap()), (0, None), "{what}: {stream:?}");
        }
        // Health that came meanwhile.
        while self.send(buffer, Stream::Health, 50) > 0 {}
        for stream in Stream::ALL {
            let unsent = self.unsent.get(stream.as_str()).copied().unwrap_or(0);
            assert_eq!(self.has(stream) + unsent, buffer.last(stream), "{what}: {stream:?}");
            assert!(BULK.contains(&stream) || unsent == 0, "{what}: {stream:?} is never given up");
        }
    }
}

fn skipped() -> Settlement {
    Settlement::Skipped { reason: "nothing to explain".to_owned() }
}

/// Appends so many settled predictions.
fn predict(buffer: &Buffer, count: u64) {
    let stored = buffer.append((0..count).map(|n| prediction(n, 65.0)).collect()).unwrap();
    buffer.settle(stored.iter().map(|record| (record.id, skipped())).collect()).unwrap();
}

fn kept(buffer: &Buffer, stream: Stream) -> Vec<u64> {
    sequences(&buffer.read(stream, 0, 10_000).unwrap())
}

/// Nothing was found at a start that should not be.
fn assert_sound(buffer: &Buffer) {
    let found: Vec<_> = reports(buffer)
        .into_iter()
        .filter(|(state, _)| !matches!(&**state, "evicted" | "full" | "accepting"))
        .collect();
    assert_eq!(found, []);
}

#[test]
fn a_backlog_that_does_not_fit_is_thinned_evenly_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = try_open(folder.path(), &SMALL).unwrap();
    for round in 0..400 {
        predict(&buffer, 10);
        if round % 50 == 25 {
            let sweep = buffer.0.state().sweeps[Stream::Predictions];
            let left = (kept(&buffer, Stream::Predictions), buffer.stat().bytes);
            drop(buffer);
            buffer = try_open(folder.path(), &SMALL).unwrap();
            let again = buffer.0.state().sweeps[Stream::Predictions];
            assert_eq!(again.through(), sweep.through(), "the pass is taken up where it was");
            assert_eq!((kept(&buffer, Stream::Predictions), buffer.stat().bytes), left);
        }
        assert!(buffer.stat().bytes <= SMALL.max_bytes + 10_000 && !buffer.stat().full);
    }
    let left = kept(&buffer, Stream::Predictions);
    assert!(left.len() > 100, "{}", left.len());
    let widest = left.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(left[0] <= 64 && widest <= 64, "spread over the outage: from {}, at most {widest} apart", left[0]);
    assert_eq!(buffer.waiting(Stream::Predictions), left.len() as u64);
    assert!(buffer.may_be_evicted(prediction(0, 1.0).id).unwrap(), "one of their time");
    assert_sound(&buffer);

    let mut central = Central::default();
    assert_eq!(central.send(&buffer, Stream::Predictions, 50), 50, "no batch is nearly empty");
    assert_eq!(buffer.waiting(Stream::Predictions), left.len() as u64 - 50);
    central.settle_up(&buffer, "at the end");
    assert_eq!(buffer.uploaded(Stream::Predictions), *left.last().unwrap());
    drop(buffer);
    assert_sound(&try_open(folder.path(), &SMALL).unwrap());
}

#[test]
fn machines_and_challengers_in_turn_keep_their_share() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    let turns = [("a", Role::Champion), ("a", Role::Shadow), ("b", Role::Champion), ("b", Role::Shadow)];
    let made = |(asset, role): (&str, Role)| {
        let mut record = prediction(1, 65.0);
        let Body::Prediction(made) = &mut record.body else { panic!("{:?}", record.body) };
        (made.asset, made.role) = (asset.into(), role);
        record
    };
    for _ in 0..500 {
        let stored = buffer.append(turns.map(made).into()).unwrap();
        buffer.settle(stored.iter().map(|record| (record.id, skipped())).collect()).unwrap();
    }
    let through = buffer.0.state().sweeps[Stream::Predictions].through();
    let left = buffer.read(Stream::Predictions, 0, 10_000).unwrap();
    let shares = turns.map(|(asset, role)| {
        let is = |record: &&Record| matches!(&record.body, Body::Prediction(made) if *made.asset == *asset && made.role == role);
        left.iter().filter(|record| record.sequence <= through).filter(is).count()
    });
    let mean = shares.iter().sum::<usize>() as f64 / 4.0;
    let fair = |share: usize| (share as f64 - mean).abs() <= 5.0 * mean.sqrt();
    assert!(through > 1_000 && mean > 30.0 && shares.into_iter().all(fair), "{shares:?} up to {through}");
    Central::default().settle_up(&buffer, "two machines with challengers");
}

#[test]
fn a_pass_with_too_little_left_to_take_is_not_work_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &Config::DEFAULT).unwrap();
    predict(&buffer, 24);
    let sweep = || {
        let mut state = buffer.0.writing().unwrap();
        buffer.0.sweep(&mut state, at(1), Stream::Predictions, Reason::Space(0)).unwrap()
    };
    let mut left = vec![24];
    while sweep() {
        left.push(kept(&buffer, Stream::Predictions).len());
        assert!(left.len() < 20, "{left:?}");
    }
    assert!(left.windows(2).all(|pair| pair[1] + 8 <= pair[0]), "each makes room: {left:?}");
    assert!(*left.last().unwrap() < 8, "{left:?}");
}

#[test]
fn what_is_lost_among_what_was_thinned_is_found_by_counting() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    for _ in 0..100 {
        predict(&buffer, 10);
    }
    let left = kept(&buffer, Stream::Predictions);
    assert!(left.len() < 900, "{}", left.len());
    let mut lost = batch::Batch::default();
    for sequence in left.iter().skip(20).step_by(10).take(3) {
        lost.remove(keys::record(Stream::Predictions, *sequence));
    }
    buffer.0.base.store.apply(lost).unwrap();
    drop(buffer);
    for start in 0..3 {
        let buffer = try_open(folder.path(), &SMALL).unwrap();
        let gaps: Vec<_> = reports(&buffer).into_iter().filter(|(state, _)| state == "gap").collect();
        assert_eq!(gaps.len(), 1, "start {start}: {gaps:?}");
        assert!(gaps[0].1.contains(&("records".to_owned(), "3".to_owned())), "{gaps:?}");
    }
}

#[test]
fn a_closed_batch_and_what_alerts_name_stay() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    predict(&buffer, 20);
    let bounds = Closed { first: 3, last: 12, closed_at: at(0).utc };
    buffer.close(Stream::Predictions, bounds).unwrap();
    buffer.append((0..20).map(health).collect()).unwrap();
    buffer.close(Stream::Health, Closed { first: 1, last: 5, ..bounds }).unwrap();
    let named = prediction(1, 99.0);
    let id = named.id;
    buffer.append(vec![named, transition(1, None, (Normal, Unacknowledged), Some(id), None)]).unwrap();
    buffer.settle(vec![(id, skipped())]).unwrap();
    buffer.append(vec![extra(1, id)]).unwrap();
    for round in 0..3000 {
        predict(&buffer, 4);
        buffer.append(vec![health(round), extra(round, Uuid::from_u128(5))]).unwrap();
    }
    let left = kept(&buffer, Stream::Predictions);
    assert!((3..=12).all(|sequence| left.contains(&sequence)), "{left:?}");
    assert!((1..=5).all(|sequence| kept(&buffer, Stream::Health).contains(&sequence)));
    assert!(kept(&buffer, Stream::Health).len() < 1000, "health goes as well");
    assert!(buffer.get(id).unwrap().is_some());
    assert!(buffer.extra(id, explaind_core::domain::extra::Kind::Counterfactuals).unwrap().is_some());
    assert!(kept(&buffer, Stream::Explanations).len() < 500);
    drop(buffer);
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    assert_sound(&buffer);
    let mut central = Central::default();
    central.settle_up(&buffer, "after all");
}

/// Numbers that are not random and look it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn received_and_declared_make_what_was_produced_whatever_happens() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let folder = tempfile::tempdir().unwrap();
        let config = Config { max_bytes: (200 << 10) + dice.roll(400 << 10), ..SMALL };
        let mut buffer = try_open(folder.path(), &config).unwrap();
        let mut central = Central::default();
        let mut people = 0;
        for step in 0..700 {
            match dice.roll(20) {
                0 => {
                    let named = prediction(step, 99.0);
                    let id = named.id;
                    let raise = transition(step, None, (Normal, Unacknowledged), Some(id), None);
                    let stored = buffer.append(vec![named, raise]);
                    if stored.is_ok() {
                        buffer.settle(vec![(id, skipped())]).unwrap();
                        buffer.append(vec![extra(step, id)]).ok();
                    }
                }
                1 if people < 60 => {
                    buffer.append(vec![feedback(step, Uuid::from_u128(1)), audit(step, "ada")]).unwrap();
                    people += 1;
                }
                2 => drop(buffer.append((0..dice.roll(60)).map(health).collect())),
                3 => drop(buffer.append(vec![extra(step, Uuid::from_u128(9))])),
                4 => {
                    drop(buffer);
                    buffer = try_open(folder.path(), &config).unwrap();
                }
                5 if dice.roll(4) == 0 => {
                    for stream in [Stream::Predictions, Stream::Explanations, Stream::Health, Stream::Alerts] {
                        for _ in 0..dice.roll(4) {
                            central.send(&buffer, stream, 1 + dice.roll(80));
                        }
                    }
                }
                6 => {
                    let stream = BULK[usize::try_from(dice.roll(3)).unwrap()];
                    if let Some(pending) = buffer.pending(stream).unwrap().filter(|p| p.through >= p.oldest.sequence) {
                        let first = pending.oldest.sequence;
                        let (last, _) = buffer.batch_end(stream, first, pending.through, 30).unwrap();
                        buffer.close(stream, Closed { first, last, closed_at: at(0).utc }).unwrap();
                    }
                }
                _ => {
                    if let Ok(stored) = buffer.append((0..1 + dice.roll(30)).map(|n| prediction(n, 65.0)).collect()) {
                        buffer.settle(stored.iter().map(|record| (record.id, skipped())).collect()).unwrap();
                    }
                }
            }
            if step % 20 == 0 {
                for stream in BULK {
                    let unsent = kept(&buffer, stream);
                    let cursor = buffer.0.state().cursors[stream];
                    let unsent = unsent.iter().filter(|sequence| !cursor.is_uploaded(**sequence)).count() as u64;
                    assert_eq!(buffer.waiting(stream), unsent, "seed {seed}, step {step}: {stream:?}");
                }
            }
        }
        drop(buffer);
        let buffer = try_open(folder.path(), &config).unwrap();
        assert_sound(&buffer);
        central.settle_up(&buffer, &format!("seed {seed}"));
        assert!(central.unsent["predictions"] > 0, "seed {seed}: it was tight");
    }
}

#[test]
fn one_append_does_not_do_all_the_work_of_a_bound_that_shrank() {
    let folder = tempfile::tempdir().unwrap();
    let wide = Config { max_bytes: 64 << 20, ..Config::DEFAULT };
    let buffer = try_open(folder.path(), &wide).unwrap();
    for _ in 0..48 {
        predict(&buffer, 500);
    }
    drop(buffer);
    let buffer = try_open(folder.path(), &SMALL).unwrap();
    let mut appends = 0;
    while buffer.stat().bytes > SMALL.max_bytes {
        let before = buffer.stat().streams.iter().find(|s| s.stream == "predictions").unwrap().records;
        predict(&buffer, 1);
        let after = buffer.stat().streams.iter().find(|s| s.stream == "predictions").unwrap().records;
        assert!(before < after + 4 * 2048, "{before} {after}");
        appends += 1;
        assert!(appends < 200);
    }
    assert!(appends > 3 && !buffer.stat().full, "{appends}");
    let mut central = Central::default();
    central.settle_up(&buffer, "shrunk");
}

#[test]
fn streams_have_bounds_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { max_bytes: 16 << 20, ..Config::DEFAULT };
    config.predictions.max_bytes = Some(100 << 10);
    config.health.max_age = Some(std::time::Duration::from_secs(3600));
    config.feedback.max_bytes = Some(64 << 10);
    let buffer = try_open(folder.path(), &config).unwrap();
    for round in 0..100 {
        predict(&buffer, 10);
        buffer.append(vec![health(round), feedback(round, Uuid::from_u128(1))]).unwrap();
    }
    let bytes = |stream| buffer.0.state().cursors[stream].bytes;
    assert!(bytes(Stream::Predictions) < 110 << 10, "{}", bytes(Stream::Predictions));
    assert!(
        bytes(Stream::Feedback) < 64 << 10 || kept(&buffer, Stream::Feedback).len() == 100,
        "unsent feedback stays"
    );
    for round in 100..300 {
        buffer.append(vec![feedback(round, Uuid::from_u128(1))]).unwrap();
    }
    assert_eq!(kept(&buffer, Stream::Feedback).len(), 300, "unsent feedback stays");
    buffer.mark_uploaded(Stream::Feedback, u64::MAX).unwrap();
    // Four hours later.
    buffer.append(vec![new(4 * 3600, health(0).body), feedback(1, Uuid::from_u128(1))]).unwrap();
    assert!(kept(&buffer, Stream::Feedback).len() < 300 && bytes(Stream::Feedback) < 64 << 10);
    let oldest = buffer.read(Stream::Health, 0, 10_000).unwrap().iter().map(|record| record.at.utc).min().unwrap();
    assert!(oldest >= at(3 * 3600).utc, "health that was never sent is not older than an hour");
    let mut central = Central::default();
    central.received.insert(Stream::Feedback, (1..=300).collect());
    central.settle_up(&buffer, "with bounds");
}

/// A byte is flipped somewhere in the log of a store that was thinned: central can account for every number all the same.
#[test]
fn what_was_thinned_does_not_come_back_from_a_damaged_store() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    {
        let buffer = try_open(&original, &SMALL).unwrap();
        for _ in 0..100 {
            predict(&buffer, 20);
        }
        let killed = folder.path().join("killed");
        copy_as_killed(&original, &killed);
        drop(buffer);
        fs::remove_dir_all(&original).unwrap();
        fs::rename(&killed, &original).unwrap();
    }
    let (mut records, places) = (Vec::new(), 8);
    for place in 0..places {
        let damaged = folder.path().join(format!("damaged-{place}"));
        copy_as_killed(&original, &damaged);
        let log = damaged.join("buffer/db");
        let mut bytes = fs::read(&log).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end * (2 * place + 1) / (2 * places)] ^= 0x10;
        fs::write(&log, bytes).unwrap();
        let buffer = try_open(&damaged, &SMALL).unwrap();
        // Some may have lost their explanation, and would wait for one.
        let open = buffer.unsettled();
        buffer.settle(open.iter().map(|record| (record.id, skipped())).collect()).unwrap();
        let mut central = Central::default();
        for stream in Stream::ALL {
            while central.send(&buffer, stream, 50) > 0 {}
        }
        while central.send(&buffer, Stream::Health, 50) > 0 {}
        let unsent = central.unsent.get("predictions").copied().unwrap_or(0);
        let told = (central.has(Stream::Predictions), unsent, central.lost);
        let found: Vec<_> = reports(&buffer).into_iter().filter(|(state, _)| state != "evicted").collect();
        assert_eq!(told.0 + told.1 + told.2, buffer.last(Stream::Predictions), "{place}: {told:?}, {found:?}");
        records.push(buffer.last(Stream::Health));
    }
    println!("health records after damage: {records:?}");
    assert!(records.iter().all(|count| *count < 300), "what is lost is told in few words: {records:?}");
}
