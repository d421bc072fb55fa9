//! Models that are replaced while the explainer runs: whose explanation a prediction gets, and for how long.

use std::collections::HashMap;

use explaind_core::model::pack::{self, PackInputs};

use super::*;

/// The demo's model with other backgrounds, so that each says something else of the same row.
fn versions<const COUNT: usize>() -> [Arc<Model>; COUNT] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo/bundles/press-failure");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let reference = String::from_utf8(read("background.csv")).unwrap();
    let lines: Vec<&str> = reference.split_inclusive('\n').collect();
    std::array::from_fn(|n| {
        let inputs = PackInputs {
            model: read("model.onnx"),
            manifest: String::from_utf8(read("manifest.toml")).unwrap(),
            reference: lines[..=40 + 10 * n].concat().into_bytes(),
            golden: None,
            calibration: None,
        };
        Arc::new(Model::load(&pack::create(inputs).unwrap()).unwrap())
    })
}

/// A running explainer that was started with `model`.
fn running(model: &Arc<Model>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let queue = Queue::new(buffer.clone());
    let mut rig = Rig { queue, buffer, model: Arc::clone(model), thread: None, folder };
    rig.start();
    rig
}

impl Rig {
    /// Lets the next predictions be made by this model.
    fn swap(&mut self, model: &Arc<Model>) {
        self.model = Arc::clone(model);
    }

    /// Installs a model, and has its next predictions explained.
    fn install(&mut self, model: &Arc<Model>) {
        self.queue.install(ready(model));
        self.swap(model);
    }

    /// What becomes of a new prediction of the model at hand.
    fn settled(&self) -> Settlement {
        let made = self.stored("press-1", ALARMING, false);
        let id = made.id;
        self.queue.request(vec![made]);
        self.soon_settled(id)
    }

    fn soon_settled(&self, id: Uuid) -> Settlement {
        let begun = Instant::now();
        loop {
            if let Some(settlement) = self.settlement(id) {
                return settlement;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "not settled");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// By its base value it is known whose explanation it is.
fn base_value(model: &Arc<Model>) -> f64 {
    Explainer::new(Arc::clone(model), pace::assumed(model).explanation).unwrap().base_value()
}

fn base_value_of(settlement: &Settlement) -> f64 {
    settlement.explanation().expect("an explanation").base_value
}

fn gone() -> Settlement {
    skip(&Reason::Gone)
}

#[test]
fn a_model_that_is_installed_while_others_run_is_explained_from_its_first_prediction_on() {
    let [first, second] = versions();
    assert!((base_value(&first) - base_value(&second)).abs() > 1e-3, "they can be told apart");
    let mut rig = running(&first);
    rig.swap(&second);
    assert_eq!(rig.settled(), gone(), "nobody knows it yet");
    rig.install(&second);
    assert_eq!(base_value_of(&rig.settled()), base_value(&second));

    // Also what raises an alert is looked at once more, and questions are answered, in its terms.
    let alert = rig.stored("press-1", ALARMING, true);
    let id = alert.id;
    rig.queue.request(vec![alert]);
    let _: Cases = rig.soon_said(id, Kind::Cases);
    assert!(rig.said::<Counterfactuals>(id, Kind::Counterfactuals).is_some());
    let record = rig.buffer.get(id).unwrap().unwrap();
    assert_eq!(rig.ask_in(record, Space::Margin).unwrap().content.base_value, base_value(&second));
    rig.finish();
}

/// Whatever waits when a model is replaced, and whatever is asked later, is answered by the one that made it.
#[test]
fn what_an_earlier_model_predicted_is_explained_by_that_one() {
    let [first, second] = versions();
    let mut rig = running(&first);
    let earlier = rig.stored("press-1", ALARMING, true);
    let asked = rig.stored("press-1", ALARMING, false).id;
    rig.install(&second);
    let later = rig.stored("press-1", ALARMING, false);
    let (raised, ids) = (earlier.id, [earlier.id, later.id]);
    rig.queue.request(vec![later, earlier]);
    let base_values = ids.map(|id| base_value_of(&rig.soon_settled(id)));
    assert_eq!(base_values, [base_value(&first), base_value(&second)]);
    let _: Cases = rig.soon_said(raised, Kind::Cases);

    let record = || rig.buffer.get(asked).unwrap().unwrap();
    assert_eq!(rig.ask_in(record(), Space::Margin).unwrap().content.base_value, base_value(&first));
    assert_eq!(rig.ask(record()).unwrap().content.outcome, Ended::Found);
    rig.finish();
}

#[test]
fn four_models_of_a_name_are_kept_and_the_one_that_is_used_is_among_them() {
    let all: [Arc<Model>; 6] = versions();
    let mut rig = running(&all[0]);
    let asked = {
        rig.install(&all[1]);
        rig.stored("press-1", ALARMING, false).id
    };
    rig.queue.install(Prepared::new(&"pump".into(), &all[0], pace::assumed(&all[0])));
    for model in &all[2..4] {
        rig.install(model);
        // One that comes again takes no other's place.
        rig.install(model);
    }
    for model in &all[..4] {
        rig.swap(model);
        assert_eq!(base_value_of(&rig.settled()), base_value(model), "all four are kept");
    }
    // The first one runs on, while two more are tried.
    for model in &all[4..] {
        rig.swap(&all[0]);
        assert_eq!(base_value_of(&rig.settled()), base_value(&all[0]));
        rig.install(model);
        assert_eq!(base_value_of(&rig.settled()), base_value(model));
    }
    let is_kept = all.each_ref().map(|model| {
        rig.swap(model);
        rig.settled() != gone()
    });
    assert_eq!(is_kept, [true, false, false, true, true, true]);

    // What one said that is gone by now, nobody else explains in its place.
    let record = || rig.buffer.get(asked).unwrap().unwrap();
    assert_eq!(rig.ask(record()), Err(Unanswered::NotRunning));
    assert_eq!(rig.ask_in(record(), Space::Probability), Err(Unanswered::NotRunning));
    let mut other = rig.made("press-1", ALARMING, false);
    other.0.model = all[0].key(&"pump".into());
    let id = rig.buffer.append(other.1).unwrap()[0].id;
    rig.queue.request(vec![other.0]);
    assert_eq!(base_value_of(&rig.soon_settled(id)), base_value(&all[0]), "another name's models are another's");
    rig.finish();
}

/// While a long explanation is under way nothing is taken over; then what waits is what would be kept anyway.
#[test]
fn models_that_wait_to_be_taken_over_are_no_more_than_are_kept() {
    let all: [Arc<Model>; 6] = versions();
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::new(open(folder.path()));
    for model in &all {
        queue.install(ready(model));
    }
    queue.install(ready(&all[3]));
    queue.install(Prepared::new(&"pump".into(), &all[0], pace::assumed(&all[0])));
    queue.close();
    let mut keys = Vec::new();
    while let Some(work) = queue.next() {
        let Work::Install(prepared) = work else { panic!("nothing else waits") };
        keys.push(prepared.key().clone());
    }
    let name: Arc<str> = "press".into();
    let waited = [2, 4, 5, 3].map(|n: usize| all[n].key(&name));
    assert_eq!(keys[..4], waited);
    assert_eq!(keys[4..], [all[0].key(&"pump".into())]);
}

/// An earlier run stored a prediction of the bundle that is kept beside the one that runs, and came not to explain it.
#[test]
fn after_a_start_what_the_bundle_before_predicted_is_explained_too() {
    let [first, second, third] = versions();
    let mut rig = running(&first);
    rig.finish();
    let name: Arc<str> = "press".into();
    let ids: HashMap<Uuid, &Arc<Model>> = [&first, &second, &third]
        .into_iter()
        .map(|model| {
            rig.swap(model);
            (rig.stored("press-1", ALARMING, false).id, model)
        })
        .collect();
    let queue = Queue::new(rig.buffer.clone());
    let given = [first.clone(), second.clone()].map(|model| (Arc::clone(&name), model));
    queue.resume(rig.buffer.unsettled(), &given);
    queue.close();
    run(&queue, given.iter().map(|(_, model)| ready(model)), &Metrics::new());
    for (id, model) in ids {
        let settlement = rig.settlement(id).unwrap();
        if Arc::ptr_eq(model, &third) {
            assert_eq!(settlement, skip(&Reason::Nothing));
        } else {
            assert_eq!(base_value_of(&settlement), base_value(model));
        }
    }
}

/// A rule that stands in for a model has no reasons but itself.
#[test]
fn what_a_rule_said_is_not_asked_of_a_model() {
    let mut rig = Rig::new("press-failure");
    let (_, mut records) = rig.made("press-1", ALARMING, false);
    let Body::Prediction(prediction) = &mut records[0].body else { panic!("no prediction") };
    prediction.role = Role::Fallback;
    let record = rig.buffer.append(records).unwrap()[0].as_ref().clone();
    assert_eq!(rig.ask(record.clone()), Err(Unanswered::OfRule));
    assert_eq!(rig.ask_in(record, Space::Margin), Err(Unanswered::OfRule));
    rig.finish();
}
