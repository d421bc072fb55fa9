//! The explainer's own thread on real models, also with more to do than it can.

mod replaced;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use explaind_core::domain::alert::{AlarmState, AlertTransition, Cover, Guidance, Priority, Raised};
use explaind_core::domain::explanation::Method;
use explaind_core::domain::extra::{Cases, Counterfactuals, Kind, Outcome as Ended};
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::{Input, Role, Space, Withheld};
use explaind_core::domain::record::{Body, NewRecord, Record, Stream};
use explaind_core::domain::sample::Quality;
use explaind_core::pipeline::Made;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::buffer::Buffer;
use crate::buffer::samples::{fail, open};
use crate::pace;
use crate::question::{About, Answer, Question, Unanswered};

/// Beyond the limits of a press: it fails.
const ALARMING: [f32; 6] = [0.0, 302.0, 311.0, 1290.0, 66.0, 215.0];
const HARMLESS: [f32; 6] = [1.0, 300.0, 310.0, 1540.0, 38.0, 60.0];

fn model(name: &str) -> Arc<Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo/bundles").join(name);
    Arc::new(Model::load(&crate::folder::files_of(&folder).unwrap()).unwrap())
}

fn ready(model: &Arc<Model>) -> Prepared {
    Prepared::new(&"press".into(), model, pace::assumed(model))
}

/// A gateway's explainer on its thread.
struct Rig {
    buffer: Buffer,
    queue: Queue,
    model: Arc<Model>,
    thread: Option<thread::JoinHandle<()>>,
    folder: TempDir,
}

impl Rig {
    fn new(model: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let mut rig =
            Self { queue: Queue::new(buffer.clone()), buffer, model: self::model(model), thread: None, folder };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let (queue, model) = (self.queue.clone(), Arc::clone(&self.model));
        self.thread = Some(thread::spawn(move || run(&queue, [ready(&model)], &Metrics::new())));
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
        let model = &self.model;
        let at = clock::now();
        let (id, alert) = (clock::mint(at), clock::mint(at));
        let inputs = model.manifest().features.iter().zip(row);
        let answer = model.predict(&row).unwrap();
        let prediction = Prediction {
            asset: asset.into(),
            model: "press".into(),
            model_version: "1".into(),
            model_digest: model.model_digest(),
            background_digest: model.background_digest(),
            role: Role::Champion,
            outcome: Outcome::Predicted(answer.output),
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
                alert_id: Some(alert),
                asset: asset.into(),
                model: "press".into(),
                prediction_id: Some(id),
                from: AlarmState::Normal,
                to: AlarmState::Unacknowledged,
                cover: Cover::default(),
                priority: Priority::High,
                author: None,
                comment: None,
                reason: "probability 0.93 above 0.5".to_owned(),
                raised: Some(Raised::Above),
                guidance: Guidance::default(),
            };
            records.push(NewRecord { id: alert, at, body: Body::Alert(transition) });
        }
        let wish = Wish::Explain { row: row.to_vec(), answer: Some(answer.explained), urgent: raises };
        (Made { id, asset: asset.into(), model: model.key(&"press".into()), wish }, records)
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

    fn ask(&self, prediction: Record) -> Answer<Counterfactuals> {
        let (answer, answered) = oneshot::channel();
        assert!(self.queue.ask(Question { prediction: Box::new(prediction), about: About::Counterfactuals(answer) }));
        answered.blocking_recv().unwrap()
    }

    fn ask_in(&self, prediction: Record, space: Space) -> Answer<Figures> {
        let (answer, answered) = oneshot::channel();
        assert!(self.queue.ask(Question { prediction: Box::new(prediction), about: About::Space(space, answer) }));
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
    let model = Arc::clone(&rig.model);
    let clear = model.manifest().decision.as_ref().unwrap().clear;
    for way in &found.alternatives {
        let mut row = ALARMING;
        for change in &way.changes {
            let place = model.manifest().features.iter().position(|feature| feature.name == change.feature).unwrap();
            assert!(model.manifest().features[place].adjustable.unwrap().contains(change.to));
            row[place] = change.to as f32;
        }
        assert!(clear.holds(model.predict(&row).unwrap().output.value), "{way:?}");
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
    rig.queue.resume(rig.buffer.unsettled(), &[("press".into(), Arc::clone(&rig.model))]);
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
fn a_question_before_the_follow_up_costs_the_alert_nothing() {
    let mut rig = Rig::new("press-failure");
    let alert = rig.stored("press-1", ALARMING, true);
    let id = alert.id;
    let asked = rig.ask(rig.buffer.get(id).unwrap().unwrap()).unwrap();
    rig.queue.request(vec![alert]);
    let _: Cases = rig.soon_said(id, Kind::Cases);
    rig.finish();
    assert_eq!(rig.buffer.extra(id, Kind::Counterfactuals).unwrap().map(|record| record.id), asked.id);
    assert_eq!(rig.buffer.read(Stream::Explanations, 0, 9).unwrap().len(), 2, "each once");
}

/// An alert of an earlier bundle, and one whose explanation failed.
#[test]
fn what_cannot_be_said_is_not_tried_in_other_terms_and_restarts_repeat_nothing() {
    let mut rig = Rig::new("press-failure");
    rig.finish();
    let (_, mut replaced) = rig.made("press-1", ALARMING, true);
    let Body::Prediction(prediction) = &mut replaced[0].body else { panic!("no prediction") };
    prediction.background_digest.0[0] ^= 1;
    let replaced = rig.buffer.append(replaced).unwrap()[0].id;
    let failed = rig.stored("press-1", ALARMING, true).id;
    let explained = Explainer::new(Arc::clone(&rig.model), pace::assumed(&rig.model).explanation);
    let explanation = explained.unwrap().explain(&ALARMING, None).unwrap();
    let settled = Settlement::Explained { id: clock::mint(clock::now()), explanation };
    let failure = Settlement::Failed { reason: "not finite".to_owned() };
    rig.buffer.settle(vec![(replaced, settled), (failed, failure)]).unwrap();
    for _ in 0..3 {
        rig.queue = Queue::new(rig.buffer.clone());
        rig.start();
        let _: Counterfactuals = rig.soon_said(failed, Kind::Counterfactuals);
        rig.finish();
    }
    assert_eq!(rig.buffer.read(Stream::Explanations, 0, 9).unwrap().len(), 1);
    let mut shelf = Shelf::default();
    shelf.put(ready(&rig.model));
    assert!(Extras::new(rig.buffer.clone()).unsaid(&shelf).is_empty());
}

#[test]
fn questions_are_answered_once_or_say_why_not() {
    let mut rig = Rig::new("press-failure");
    let asked = rig.stored("press-1", ALARMING, false);
    let record = || rig.buffer.get(asked.id).unwrap().unwrap();
    let answer = rig.ask(record()).unwrap();
    assert_eq!(rig.said::<Counterfactuals>(asked.id, Kind::Counterfactuals), Some(answer.content.clone()));
    assert!(answer.id.is_some());
    assert_eq!(rig.ask(record()), Ok(answer), "the same record");
    let quiet = rig.stored("press-1", HARMLESS, false);
    let nothing = rig.ask(rig.buffer.get(quiet.id).unwrap().unwrap()).unwrap();
    assert_eq!((nothing.id, nothing.content.outcome), (None, Ended::Clear));
    assert_eq!(rig.buffer.extra(quiet.id, Kind::Counterfactuals).unwrap(), None, "not worth a record");

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

#[test]
fn another_space_is_worked_out_once_and_then_answered_from_its_record() {
    let mut rig = Rig::new("press-failure");
    let asked = rig.stored("press-1", ALARMING, false);
    let record = || rig.buffer.get(asked.id).unwrap().unwrap();
    let model = Arc::clone(&rig.model);
    assert_eq!(model.space(), Space::Margin);
    let found = rig.ask_in(record(), Space::Probability).unwrap();
    let figures = &found.content;
    assert_eq!(figures.space, Space::Probability);
    assert!((figures.output - model.predict(&ALARMING).unwrap().output.value).abs() < 1e-9, "{figures:?}");
    let made = figures.base_value + figures.attributions.values().sum::<f64>();
    assert!((made - figures.output).abs() <= figures.additivity_gap + 1e-12);
    assert_eq!(rig.said::<Figures>(asked.id, Kind::Space(Space::Probability)).as_ref(), Some(figures));
    assert_eq!(rig.ask_in(record(), Space::Probability).as_ref(), Ok(&found), "the same record");
    // Its own space too, where there was no capacity for it.
    let own = rig.ask_in(record(), Space::Margin).unwrap();
    assert_eq!((own.content.space, own.content.method), (Space::Margin, Method::TreeShapley));
    assert_eq!(rig.buffer.read(Stream::Explanations, 0, 9).unwrap().len(), 2, "each once");

    let mut other = record();
    other.id = Uuid::from_u128(1);
    let Body::Prediction(prediction) = &mut other.body else { panic!("no prediction") };
    prediction.background_digest.0[0] ^= 1;
    assert_eq!(rig.ask_in(other.clone(), Space::Probability), Err(Unanswered::NotRunning));
    let Body::Prediction(prediction) = &mut other.body else { panic!("no prediction") };
    prediction.outcome = Outcome::Withheld(Withheld::ModelNonFinite);
    assert_eq!(rig.ask_in(other, Space::Margin), Err(Unanswered::Withheld));
    rig.finish();
}

#[test]
fn a_space_that_the_model_does_not_have_is_refused_in_one_sentence() {
    let mut rig = Rig::new("press-network");
    let asked = rig.stored("press-1", ALARMING, false);
    let refused = rig.ask_in(rig.buffer.get(asked.id).unwrap().unwrap(), Space::Margin);
    let sentence = "this model has no margin; it can be explained as probability or value";
    assert_eq!(refused, Err(Unanswered::NoSuchSpace(sentence.to_owned())));
    rig.finish();
    assert!(rig.buffer.read(Stream::Explanations, 0, 9).unwrap().is_empty());
}

/// A library may panic on a model that only just loads, and then on the next one too.
#[test]
fn a_model_that_panics_when_it_is_prepared_goes_without_explanations_and_nobody_else() {
    let reason = shelf::prepared("press", || panic!("an index out of bounds")).err();
    assert_eq!(reason, Some(Reason::Within));
    let wish = Wish::Explain { row: ALARMING.to_vec(), answer: None, urgent: true };
    let settled = explained(reason.as_ref().map(Err), &wish, &Metrics::new());
    assert_eq!(settled, Settlement::Failed { reason: Reason::Within.to_string() });
    assert!(shelf::searching("press", || panic!("an index out of bounds")).is_none());
}

#[test]
fn a_buffer_that_refuses_is_left_alone_for_longer_each_time_and_what_is_owed_is_kept() {
    let mut rig = Rig::new("press-failure");
    rig.finish();
    rig.queue = Queue::new(rig.buffer.clone());
    let metrics = Metrics::new();
    let mut worker = Worker::new(&rig.queue, [ready(&rig.model)], &metrics);
    let made: Vec<Made> = (0..10).map(|_| rig.stored("press-1", HARMLESS, false)).collect();
    fail(&rig.buffer);
    rig.queue.request(made);
    let next = |worker: &mut Worker<'_>| worker.work(rig.queue.next().unwrap());
    for _ in 0..9 {
        next(&mut worker);
    }
    worker.store();
    let (_, wait) = worker.refused.expect("refused");
    let refused = (Instant::now() + Duration::from_secs(60), wait);
    worker.refused = Some(refused);
    next(&mut worker);
    worker.flush();
    worker.flush();
    assert_eq!((worker.refused, worker.owed.len()), (Some(refused), 10), "left alone");
    worker.refused = Some((Instant::now(), refused.1));
    worker.flush();
    assert_eq!(worker.refused.map(|(_, wait)| wait), Some(refused.1 * 2));
    assert_eq!(worker.owed.len(), 10);
}

/// More alerts come at once than can be told what they are like: those count all the same when others are.
#[test]
fn an_alert_of_which_nothing_more_is_said_is_remembered() {
    let mut rig = Rig::new("press-failure");
    rig.finish();
    rig.queue = Queue::new(rig.buffer.clone());
    let metrics = Metrics::new();
    let mut worker = Worker::new(&rig.queue, [ready(&rig.model)], &metrics);
    let first = rig.stored("press-1", ALARMING, true);
    let id = first.id;
    rig.queue.request(vec![first]);
    worker.work(rig.queue.next().unwrap());
    worker.flush();
    let given_up = rig.queue.follow_up((0..256).map(Uuid::from_u128));
    assert_eq!(given_up, [id]);
    given_up.into_iter().for_each(|id| worker.extras.given_up(id));
    let second = rig.stored("press-2", ALARMING, true);
    let alike = second.id;
    rig.queue.request(vec![second]);
    rig.queue.close();
    while let Some(work) = rig.queue.next() {
        worker.work(work);
    }
    // Among 256 that are gone the newest waits its turn.
    worker.extras.follow_up(alike, &worker.shelf);
    let cases: Cases = rig.said(alike, Kind::Cases).expect("cases");
    assert_eq!(cases.alerts.first().map(|alert| alert.prediction_id), Some(id));
    assert_eq!(rig.said::<Cases>(id, Kind::Cases), None);
}

/// Twice as many predictions come as are explained, whatever the machine: an alert is the next thing that is explained
/// and stored, and what is left out of the rest says so.
#[test]
fn at_twice_the_sustainable_load_alerts_go_first_and_the_rest_is_thinned() {
    const ROUNDS: usize = 100;
    const COME: usize = 20;
    const EXPLAINED: usize = COME / 2;
    let mut rig = Rig::new("press-failure");
    rig.finish();
    rig.queue = Queue::new(rig.buffer.clone());
    let metrics = Metrics::new();
    let mut worker = Worker::new(&rig.queue, [ready(&rig.model)], &metrics);
    for _ in 0..ROUNDS {
        let (mut jobs, mut records) = (Vec::new(), Vec::new());
        for n in 0..COME {
            // One of each round raises an alert, in the midst of others.
            let raises = n == COME / 2;
            let row = if raises { ALARMING } else { HARMLESS };
            let (job, stored) = rig.made(&format!("press-{}", n % 3), row, raises);
            jobs.push(job);
            records.extend(stored);
        }
        rig.buffer.append(records).unwrap();
        let alert = jobs[COME / 2].id;
        rig.queue.request(jobs);
        for done in 0..EXPLAINED {
            worker.work(rig.queue.next().unwrap());
            if done == 0 {
                assert!(rig.settlement(alert).is_some_and(|settlement| settlement.explanation().is_some()));
            }
        }
    }
    rig.queue.close();
    while let Some(work) = rig.queue.next() {
        worker.work(work);
    }
    worker.flush();

    let records = read_all(&rig.buffer);
    assert_eq!(records.len(), ROUNDS * COME);
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
    // Half is explained, but for the turns of what is said of alerts.
    assert!(explained > records.len() / 3 && left_out > records.len() / 3, "{explained} explained, {left_out} not");
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
