//! The explainer's own thread on real models, also with more to do than it can.

use std::path::Path;
use std::thread;

use explaind_core::domain::alert::{AlarmState, AlertTransition, Priority, Raised, Suppression};
use explaind_core::domain::extra::{Cases, Counterfactuals, Kind, Outcome as Ended};
use explaind_core::domain::prediction::{Input, Role, Withheld};
use explaind_core::domain::record::{Body, NewRecord, Record, Stream};
use explaind_core::domain::sample::Quality;
use explaind_core::pipeline::Made;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::buffer::samples::open;
use crate::question::{Answer, Question, Unanswered};

/// Beyond the limits of a press: it fails.
const ALARMING: [f32; 6] = [0.0, 302.0, 311.0, 1290.0, 66.0, 215.0];
const HARMLESS: [f32; 6] = [1.0, 300.0, 310.0, 1540.0, 38.0, 60.0];

fn models(name: &str) -> HashMap<Arc<str>, Arc<Model>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo/bundles").join(name);
    let model = Model::load(&crate::app::files_of(&folder).unwrap()).unwrap();
    HashMap::from([("press".into(), Arc::new(model))])
}

/// A gateway's explainer on its thread.
struct Rig {
    buffer: Buffer,
    queue: Queue,
    models: HashMap<Arc<str>, Arc<Model>>,
    thread: Option<thread::JoinHandle<()>>,
    folder: TempDir,
}

impl Rig {
    fn new(model: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let mut rig = Self { queue: Queue::new(buffer.clone()), buffer, models: models(model), thread: None, folder };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let (queue, models) = (self.queue.clone(), self.models.clone());
        self.thread = Some(thread::spawn(move || run(&queue, &models, &Budgets::new(), &Metrics::new())));
    }

    /// Lets it do what waits, and end.
    fn finish(&mut self) {
        self.queue.close();
        self.thread.take().unwrap().join().unwrap();
    }

    /// A prediction of `asset` for `row`, stored as the driver would; with `raises` the alert that it raises.
    fn stored(&self, asset: &str, row: [f32; 6], raises: bool) -> Made {
        let (made, records) = self.made(asset, row, raises);
        self.buffer.append(records).unwrap();
        made
    }

    fn made(&self, asset: &str, row: [f32; 6], raises: bool) -> (Made, Vec<NewRecord>) {
        let model = &self.models["press"];
        let at = clock::now();
        let (id, alert) = (clock::mint(at), clock::mint(at));
        let inputs = model.manifest().features.iter().zip(row);
        let prediction = Prediction {
            asset: asset.into(),
            model: "press".into(),
            model_version: "1".into(),
            model_digest: model.model_digest(),
            background_digest: model.background_digest(),
            role: Role::Champion,
            outcome: Outcome::Predicted(model.predict(&row).unwrap()),
            source_time: None,
            inputs: inputs
                .map(|(feature, value)| Input { feature: Arc::clone(&feature.name), value: Some(f64::from(value)) })
                .collect(),
            input_quality: Quality::Good,
            alert: raises.then_some(alert),
        };
        let mut records = vec![NewRecord { id, at, body: Body::Prediction(prediction) }];
        if raises {
            let transition = AlertTransition {
                alert_id: alert,
                asset: asset.into(),
                model: "press".into(),
                prediction_id: Some(id),
                from: AlarmState::Normal,
                to: AlarmState::Unacknowledged,
                suppression: Suppression::None,
                priority: Priority::High,
                author: None,
                comment: None,
                reason: "probability 0.93 above 0.5".to_owned(),
                raised: Some(Raised::Above),
            };
            records.push(NewRecord { id: alert, at, body: Body::Alert(transition) });
        }
        let wish = Wish::Explain { row: row.to_vec(), urgent: raises };
        (Made { id, asset: asset.into(), model: "press".into(), wish }, records)
    }

    fn said<T: DeserializeOwned>(&self, prediction: Uuid, kind: Kind) -> Option<T> {
        let record = self.buffer.extra(prediction, kind).unwrap()?;
        let Body::Extra(extra) = record.body else { panic!("no extra") };
        Some(serde_json::from_str(&extra.content).unwrap())
    }

    /// Waits until something is said of a prediction.
    fn soon_said<T: DeserializeOwned>(&self, prediction: Uuid, kind: Kind) -> T {
        let begun = Instant::now();
        loop {
            if let Some(said) = self.said(prediction, kind) {
                return said;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing was said");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn ask(&self, prediction: Record) -> Answer {
        let (answer, answered) = oneshot::channel();
        assert!(self.queue.ask(Question { prediction: Box::new(prediction), answer }));
        answered.blocking_recv().unwrap()
    }

    fn settlement(&self, id: Uuid) -> Option<Settlement> {
        self.buffer.get(id).unwrap().unwrap().settlement
    }
}

#[test]
fn an_alert_gets_its_explanation_then_what_would_clear_it_and_what_is_like_it() {
    let mut rig = Rig::new("press-failure");
    let first = rig.stored("press-1", ALARMING, true);
    let quiet = rig.stored("press-1", HARMLESS, false);
    let ids = (first.id, quiet.id);
    rig.queue.request(vec![first, quiet]);
    let found: Counterfactuals = rig.soon_said(ids.0, Kind::Counterfactuals);
    assert_eq!(found.outcome, Ended::Found, "{found:?}");
    let model = Arc::clone(&rig.models["press"]);
    let clear = model.manifest().decision.as_ref().unwrap().clear;
    for way in &found.alternatives {
        let mut row = ALARMING;
        for change in &way.changes {
            let place = model.manifest().features.iter().position(|feature| feature.name == change.feature).unwrap();
            assert!(model.manifest().features[place].adjustable.unwrap().contains(change.to));
            row[place] = change.to as f32;
        }
        assert!(clear.holds(model.predict(&row).unwrap().value), "{way:?}");
    }
    let none: Cases = rig.soon_said(ids.0, Kind::Cases);
    assert_eq!((none.alerts.len(), none.compared, none.background.len()), (0, 0, 3));

    let alike = rig.stored("press-2", [0.0, 302.1, 311.0, 1295.0, 66.5, 214.0], true);
    let id = alike.id;
    rig.queue.request(vec![alike]);
    let cases: Cases = rig.soon_said(id, Kind::Cases);
    assert_eq!((cases.alerts[0].prediction_id, cases.compared), (ids.0, 1));
    rig.finish();
    assert!(rig.settlement(ids.1).unwrap().explanation().is_some());
    assert_eq!(rig.buffer.extra(ids.1, Kind::Counterfactuals).unwrap(), None, "nobody waits for it there");
}

#[test]
fn what_an_earlier_run_did_not_come_to_say_is_said_after_the_start_and_remembered_alerts_count() {
    let mut rig = Rig::new("press-failure");
    rig.finish();
    let first = rig.stored("press-1", ALARMING, true);
    rig.queue = Queue::new(rig.buffer.clone());
    rig.queue.resume(rig.buffer.unsettled().unwrap(), &rig.models);
    rig.start();
    let _: Cases = rig.soon_said(first.id, Kind::Cases);
    rig.finish();
    // The next run knows the alert from its records.
    rig.queue = Queue::new(rig.buffer.clone());
    rig.start();
    let second = rig.stored("press-1", ALARMING, true);
    let id = second.id;
    rig.queue.request(vec![second]);
    let cases: Cases = rig.soon_said(id, Kind::Cases);
    assert_eq!(cases.alerts[0].prediction_id, first.id);
    rig.finish();
    assert!(rig.folder.path().exists());
}

#[test]
fn questions_are_answered_once_or_say_why_not() {
    let mut rig = Rig::new("press-failure");
    let quiet = rig.stored("press-1", HARMLESS, false);
    let record = || rig.buffer.get(quiet.id).unwrap().unwrap();
    let answer = rig.ask(record()).unwrap();
    let found: Counterfactuals = rig.said(quiet.id, Kind::Counterfactuals).unwrap();
    assert_eq!(found.outcome, Ended::Clear);
    assert_eq!(rig.ask(record()).unwrap().id, answer.id, "the same record");

    let mut other = record();
    other.id = Uuid::from_u128(1);
    let Body::Prediction(prediction) = &mut other.body else { panic!("no prediction") };
    prediction.model_digest.0[0] ^= 1;
    assert_eq!(rig.ask(other.clone()), Err(Unanswered::NotRunning));
    let Body::Prediction(prediction) = &mut other.body else { panic!("no prediction") };
    prediction.outcome = Outcome::Withheld(Withheld::ModelNonFinite);
    assert_eq!(rig.ask(other), Err(Unanswered::Withheld));
    rig.finish();
}

/// Twice as much as the explainer can do, for some seconds: alerts have their explanation within a second, the driver is
/// not held up, and what is left out says so.
#[test]
fn at_twice_the_sustainable_load_alerts_are_explained_in_time_and_nobody_is_held_up() {
    const LASTS: Duration = Duration::from_secs(6);
    const TICK: Duration = Duration::from_millis(20);
    /// One prediction in so many raises an alert.
    const RAISES: usize = 40;
    let mut rig = Rig::new("press-network");
    let explainer =
        Explainer::new(Arc::clone(&rig.models["press"]), pace::assumed(&rig.models["press"]).explanation).unwrap();
    let begun = Instant::now();
    let mut explained = 0_u32;
    while begun.elapsed() < Duration::from_millis(500) {
        explainer.explain(&HARMLESS).unwrap();
        explained += 1;
    }
    let sustainable = f64::from(explained) / begun.elapsed().as_secs_f64();
    let news = rig.buffer.subscribe();
    let heard = thread::spawn(move || hear(news));

    let (mut made, mut held_up, mut appended) = (0_usize, Vec::new(), HashMap::new());
    let begun = Instant::now();
    while begun.elapsed() < LASTS {
        let due = (begun.elapsed().as_secs_f64() * 2.0 * sustainable) as usize;
        let (mut jobs, mut records) = (Vec::new(), Vec::new());
        while made < due {
            made += 1;
            let raises = made.is_multiple_of(RAISES);
            let asset = format!("press-{}", made % 3);
            let (job, stored) = rig.made(&asset, if raises { ALARMING } else { HARMLESS }, raises);
            jobs.push(job);
            records.extend(stored);
        }
        rig.buffer.append(records).unwrap();
        let now = Instant::now();
        let urgent = |job: &&Made| matches!(job.wish, Wish::Explain { urgent: true, .. });
        appended.extend(jobs.iter().filter(urgent).map(|job| (job.id, now)));
        rig.queue.request(jobs);
        held_up.push(now.elapsed());
        thread::sleep(TICK);
    }
    rig.finish();
    rig.buffer.append(vec![crate::buffer::samples::health(1)]).unwrap();
    let settled = heard.join().unwrap();

    let late =
        |(id, at): (&Uuid, &Instant)| settled.get(id).is_none_or(|settled| *settled > *at + Duration::from_secs(1));
    let late = appended.iter().filter(|(id, at)| late((id, at))).count();
    assert!(late * 1000 <= appended.len(), "{late} of {} alerts waited longer than a second", appended.len());
    held_up.sort_unstable();
    let most = held_up[held_up.len() * 95 / 100];
    assert!(most < Duration::from_millis(5), "handing over took {most:?}");

    let records = read_all(&rig.buffer);
    assert_eq!(records.len(), made);
    let (mut left_out, mut explained) = (0, 0);
    for record in &records {
        match record.settlement.as_ref().expect("every prediction is settled") {
            Settlement::Explained { .. } => explained += 1,
            Settlement::Skipped { reason } => {
                assert!(reason.starts_with("no capacity; of this machine's predictions one in "), "{reason}");
                left_out += 1;
            }
            Settlement::Failed { reason } => panic!("{reason}"),
        }
    }
    println!(
        "{sustainable:.0} a second are sustainable; of {made} in {LASTS:?}, {explained} explained and {left_out} left out; \
         {} alerts, {late} late; handing over took {:?} at most",
        appended.len(),
        held_up.last()
    );
    assert!(left_out > made / 4 && explained > made / 10, "{explained} explained and {left_out} left out of {made}");
}

/// When each prediction was settled, until a health record ends it.
fn hear(mut news: tokio::sync::broadcast::Receiver<Arc<Record>>) -> HashMap<Uuid, Instant> {
    let mut settled = HashMap::new();
    while let Ok(record) = news.blocking_recv() {
        match record.body {
            Body::Prediction(_) if record.explanation().is_some() => {
                settled.insert(record.id, Instant::now());
            }
            Body::Health(_) => break,
            _ => {}
        }
    }
    settled
}

fn read_all(buffer: &Buffer) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let page = buffer.read(Stream::Predictions, all.last().map_or(0, |record| record.sequence), 5000).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
