//! Who is in charge of an asset: its model, another one, a rule, or nobody; and who is beside. With real models.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads its model from a file, or fails")]

#[path = "support/press.rs"]
mod press;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use explaind_core::domain::alert::{AlarmState, Cover, Priority, Raised};
use explaind_core::domain::prediction::{Digest, Outcome, Role};
use explaind_core::domain::reason::Reason;
use explaind_core::domain::record::NewRecord;
use explaind_core::domain::sample::Sample;
use explaind_core::domain::time::Now;
use explaind_core::model::Model;
use explaind_core::model::manifest::Threshold;
use explaind_core::pipeline::alarm::Remembered;
use explaind_core::pipeline::{ActiveWhen, AssetPlan, Fallback, Stops, Wish};
use press::{
    Bench, DECISION, FAILING, FEATURES, HEALTHY, at, model, packed, predictions, press, sample, samples, signal,
    transitions, withheld,
};
use uuid::Uuid;

/// Of an engine; the model takes thirty of them in a row.
const SENSORS: [(&str, f64); 14] = [
    ("s2", 642.6),
    ("s3", 1591.85),
    ("s4", 1415.17),
    ("s7", 552.98),
    ("s8", 2388.08),
    ("s9", 9059.45),
    ("s11", 47.46),
    ("s12", 521.48),
    ("s13", 2388.09),
    ("s14", 8140.01),
    ("s15", 8.4497),
    ("s17", 394.0),
    ("s20", 38.79),
    ("s21", 23.3303),
];

fn plain(version: &str) -> Arc<Model> {
    model(version, DECISION, |_| "")
}

/// Takes thirty rows, and raises for a short remaining life.
fn windowed() -> Arc<Model> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/cmapss-rul-cnn");
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
    let features: String = SENSORS.iter().map(|(name, _)| format!("[[feature]]\nname = \"{name}\"\n")).collect();
    let manifest = format!(
        "schema = 1\nname = \"rul\"\nversion = \"9.0.0\"\n[input]\nkind = \"window\"\nsteps = 30\n\
         [output]\nkind = \"regression\"\ntensor = \"rul\"\n[decision]\nraise_below = 20.0\nclear_above = 30.0\n{features}"
    );
    packed(read("model.onnx"), manifest, read("background.csv"))
}

fn over(name: &str, limit: f64) -> ActiveWhen {
    ActiveWhen { signal: signal(name), threshold: Threshold::Above(limit) }
}

/// The press with a rule: too much torque, or too high a temperature.
fn with_rule() -> AssetPlan {
    let conditions = vec![over("torque_nm", 60.0), over("air_temperature_k", 310.0)];
    AssetPlan { fallback: Some(Fallback { conditions, priority: Priority::Critical }), ..press() }
}

/// The press and an engine in one.
fn with_sensors() -> AssetPlan {
    let mut plan = with_rule();
    plan.inputs.extend(SENSORS.map(|(name, _)| (name.into(), signal(name))));
    plan
}

fn everything(row: [f64; 6], now: Now) -> Vec<Sample> {
    let sensors = SENSORS.into_iter().map(|(name, value)| sample(name, value, now));
    sensors.chain(samples(row, now)).collect()
}

fn running(bench: &mut Bench, model: Option<Arc<Model>>, now: Now) -> Vec<NewRecord> {
    bench.ask(|pipeline, mint| pipeline.install("press-7", model, now, mint))
}

fn stops(gateway: Option<&str>, model: Option<&str>) -> Stops {
    let models = model.map(|reason| ("press-failure".into(), reason.to_owned()));
    Stops { gateway: gateway.map(str::to_owned), models: models.into_iter().collect() }
}

fn roles(records: &[NewRecord]) -> Vec<(Role, String)> {
    predictions(records).iter().map(|made| (made.role, made.model_version.to_string())).collect()
}

fn open(state: AlarmState) -> Remembered {
    Remembered {
        asset: "press-7".into(),
        model: "press-failure".into(),
        priority: Priority::High,
        open: Some((Uuid::from_u128(77), state)),
        cover: Cover::default(),
        shelved_for: Duration::ZERO,
    }
}

#[test]
fn without_its_model_the_rule_decides_over_the_same_alert() {
    let (mut bench, _) = Bench::start(with_rule(), Some(plain("1.0.0")), Vec::new());
    let raised = bench.take(&samples(FAILING, at(1)), at(1));
    let alert = transitions(&raised)[0].clone();
    assert_eq!((alert.priority, roles(&raised)), (Priority::High, vec![(Role::Champion, "1.0.0".to_owned())]));

    assert!(running(&mut bench, None, at(2)).is_empty(), "the alert stays as it is");
    assert!(bench.pipeline.model("press-7").is_none());
    let records = bench.take(&samples(FAILING, at(3)), at(3));
    let made = predictions(&records)[0];
    assert_eq!((made.role, &*made.model, &*made.model_version), (Role::Fallback, "press-failure", "rule"));
    assert_eq!((made.model_digest, made.background_digest), (Digest([0; 32]), Digest([0; 32])));
    let seen: Vec<_> = made.inputs.iter().map(|input| (&*input.feature, input.value)).collect();
    assert_eq!(seen, [("plc/torque_nm", Some(60.7)), ("plc/air_temperature_k", Some(298.4))]);
    let Outcome::Predicted(output) = &made.outcome else { panic!("{:?}", made.outcome) };
    assert_eq!((output.value, &output.label, output.probability), (1.0, &None, None));
    assert_eq!((made.alert, records.len()), (alert.alert_id, 1), "it holds on");
    assert_eq!(bench.made[0].wish, Wish::Skip(Reason::Rule));

    assert_eq!(bench.take(&samples(HEALTHY, at(4)), at(4)).len(), 1, "not so fast");
    let cleared = bench.take(&samples(HEALTHY, at(14)), at(14));
    let change = transitions(&cleared)[0];
    assert_eq!((change.alert_id, change.to), (alert.alert_id, AlarmState::ReturnedUnacknowledged));
    assert_eq!((change.priority, change.reason.as_str()), (Priority::Critical, "no condition of the rule holds"));

    let mut hot = samples(HEALTHY, at(15));
    hot[1] = sample("air_temperature_k", 311.5, at(15));
    let again = bench.take(&hot, at(15));
    let change = transitions(&again)[0];
    assert_eq!((change.alert_id, change.raised), (alert.alert_id, Some(Raised::Above)));
    assert_eq!(change.reason, "plc/air_temperature_k = 311.5, above 310");
    assert_eq!(bench.made[0].wish, Wish::Skip(Reason::Rule), "even of what raises");

    assert!(running(&mut bench, Some(plain("1.0.1")), at(16)).is_empty());
    bench.take(&samples(HEALTHY, at(17)), at(17));
    let cleared = bench.take(&samples(HEALTHY, at(19)), at(19));
    assert_eq!(transitions(&cleared)[0].priority, Priority::High, "by the model's own rule");
    assert_eq!(roles(&cleared), [(Role::Champion, "1.0.1".to_owned())]);
}

#[test]
fn a_rule_raises_on_what_it_knows_and_clears_only_on_all_of_it() {
    let (mut bench, _) = Bench::start(with_rule(), None, Vec::new());
    let torque = |value, now| vec![sample("torque_nm", value, now)];
    assert_eq!(withheld(&bench.take(&torque(40.0, at(1)), at(1))), "missing", "of the temperature nothing is known");
    let raised = bench.take(&torque(61.0, at(2)), at(2));
    assert_eq!(transitions(&raised)[0].reason, "plc/torque_nm = 61, above 60");
    for second in 3..30 {
        let records = bench.take(&torque(40.0, at(second)), at(second));
        assert_eq!((withheld(&records).as_str(), transitions(&records).len()), ("missing", 0));
    }
    bench.take(&samples(HEALTHY, at(30)), at(30));
    // A minute later the temperature is old, and what is old is not known.
    let records = bench.take(&torque(40.0, at(95)), at(95));
    assert_eq!((withheld(&records).as_str(), transitions(&records).len()), ("stale", 0));
    bench.take(&samples(HEALTHY, at(96)), at(96));
    let cleared = bench.take(&samples(HEALTHY, at(106)), at(106));
    assert_eq!(transitions(&cleared)[0].to, AlarmState::ReturnedUnacknowledged);
}

#[test]
fn without_model_and_rule_predictions_are_withheld_with_the_samples_and_clear_nothing() {
    let (mut bench, follows) = Bench::start(press(), None, vec![open(AlarmState::Unacknowledged)]);
    assert!(follows.records.is_empty(), "its model may come back");
    for second in 1..100 {
        let records = bench.take(&samples(HEALTHY, at(second)), at(second));
        assert_eq!((withheld(&records).as_str(), records.len()), ("no_model", 1));
        assert_eq!(predictions(&records)[0].alert, Some(Uuid::from_u128(77)));
    }
    let records = bench.take(&samples(FAILING, at(100)), at(100));
    let made = predictions(&records)[0];
    let mut kept: Vec<_> = made.inputs.iter().map(|input| (&*input.feature, input.value.unwrap())).collect();
    kept.sort_by_key(|(name, _)| FEATURES.iter().position(|known| known == name));
    assert_eq!(kept, FEATURES.into_iter().zip(FAILING).collect::<Vec<_>>());
    assert_eq!((made.role, &*made.model, &*made.model_version), (Role::Champion, "press-failure", ""));
    assert_eq!(bench.made[0].wish, Wish::Skip(Reason::Nothing));

    running(&mut bench, Some(plain("1.0.0")), at(101));
    bench.take(&samples(HEALTHY, at(101)), at(101));
    let cleared = bench.take(&samples(HEALTHY, at(103)), at(103));
    assert_eq!((transitions(&cleared)[0].alert_id, cleared.len()), (Some(Uuid::from_u128(77)), 2));
}

#[test]
fn what_is_stopped_says_so_the_rule_goes_on_and_with_the_whole_gateway_not_even_that() {
    let (mut bench, _) = Bench::start(with_rule(), Some(plain("1.0.0")), Vec::new());
    let raised = bench.take(&samples(FAILING, at(1)), at(1));
    let alert = transitions(&raised)[0].alert_id;
    bench.pipeline.stop(stops(None, Some("ann: it cries wolf")));
    assert_eq!(roles(&bench.take(&samples(FAILING, at(2)), at(2))), [(Role::Fallback, "rule".to_owned())]);

    bench.pipeline.stop(stops(Some("ben: works on the line"), None));
    for second in 3..40 {
        let records = bench.take(&samples(HEALTHY, at(second)), at(second));
        assert_eq!((withheld(&records).as_str(), transitions(&records).len()), ("stopped", 0));
    }
    let records = bench.take(&samples(HEALTHY, at(40)), at(40));
    let made = predictions(&records)[0];
    let Outcome::Withheld(reason) = &made.outcome else { panic!("{:?}", made.outcome) };
    assert_eq!(reason.to_string(), "stopped: ben: works on the line");
    assert_eq!((&*made.model_version, made.inputs[4].value, made.alert), ("1.0.0", Some(HEALTHY[4]), alert));

    bench.pipeline.stop(Stops::default());
    let records = bench.take(&samples(HEALTHY, at(41)), at(41));
    assert_eq!(roles(&records), [(Role::Champion, "1.0.0".to_owned())]);
    assert!(transitions(&records).is_empty(), "the time to clear begins anew");
    assert_eq!(transitions(&bench.take(&samples(HEALTHY, at(43)), at(43)))[0].alert_id, alert);

    let (mut bare, _) = Bench::start(press(), Some(plain("1.0.0")), Vec::new());
    bare.pipeline.stop(stops(None, Some("registry")));
    assert_eq!(withheld(&bare.take(&samples(FAILING, at(1)), at(1))), "stopped");
    bare.pipeline.stop(Stops { models: [("another".into(), String::new())].into(), gateway: None });
    assert!(withheld(&bare.take(&samples(FAILING, at(2)), at(2))).starts_with("predicted"));
}

#[test]
fn an_asset_without_a_model_only_keeps_its_samples() {
    let plan = AssetPlan { model: None, active_when: Some(over("rotational_speed_rpm", 100.0)), ..press() };
    let (mut bench, _) = Bench::start(plan, None, vec![open(AlarmState::ReturnedUnacknowledged)]);
    let records = bench.take(&samples(FAILING, at(1)), at(1));
    let made = predictions(&records)[0];
    assert_eq!((withheld(&records).as_str(), records.len(), made.inputs.len()), ("pass_through", 1, 6));
    assert_eq!((&*made.model, &*made.model_version, made.alert), ("", "", None));
    assert_eq!(bench.made[0].wish, Wish::Skip(Reason::Nothing));
    let mut off = samples(FAILING, at(2));
    off[3] = sample("rotational_speed_rpm", 0.0, at(2));
    assert!(bench.take(&off, at(2)).is_empty(), "the machine is off");
    running(&mut bench, Some(plain("1.0.0")), at(3));
    bench.pipeline.shadow("press-7", Some(plain("1.0.0")));
    let records = bench.take(&samples(FAILING, at(4)), at(4));
    assert_eq!((withheld(&records).as_str(), records.len()), ("pass_through", 1));
    bench.pipeline.stop(stops(Some("all"), None));
    assert_eq!(withheld(&bench.take(&samples(FAILING, at(5)), at(5))), "stopped");
}

#[test]
fn another_model_takes_up_the_alert_and_one_that_raises_none_clears_it() {
    let (mut bench, _) = Bench::start(press(), Some(plain("1.0.0")), Vec::new());
    let alert = transitions(&bench.take(&samples(FAILING, at(1)), at(1)))[0].alert_id;
    let shy = "[decision]\nraise_above = 0.5\nclear_below = 0.4\non_delay = \"5s\"\npriority = \"low\"\n";
    assert!(running(&mut bench, Some(model("2.0.0", shy, |_| "")), at(2)).is_empty());
    let records = bench.take(&samples(FAILING, at(2)), at(2));
    assert_eq!((roles(&records), records.len()), (vec![(Role::Champion, "2.0.0".to_owned())], 1), "it holds on");
    assert_eq!(predictions(&records)[0].alert, alert);
    let cleared = bench.take(&samples(HEALTHY, at(3)), at(3));
    assert_eq!((transitions(&cleared)[0].alert_id, transitions(&cleared)[0].priority), (alert, Priority::Low));
    assert!(transitions(&bench.take(&samples(FAILING, at(4)), at(4))).is_empty(), "by the new rule's delay");
    let again = bench.take(&samples(FAILING, at(9)), at(9));
    assert_eq!((transitions(&again)[0].alert_id, transitions(&again)[0].to), (alert, AlarmState::Unacknowledged));

    let gone = running(&mut bench, Some(model("3.0.0", "", |_| "")), at(10));
    let change = transitions(&gone)[0];
    assert_eq!((gone.len(), change.alert_id, change.to), (1, alert, AlarmState::ReturnedUnacknowledged));
    assert_eq!((change.reason.as_str(), change.prediction_id), ("the model that runs now raises no alerts", None));
    assert_ne!(Some(gone[0].id), alert);
    let records = bench.take(&samples(FAILING, at(11)), at(11));
    assert_eq!((records.len(), predictions(&records)[0].alert), (1, None));
}

#[test]
fn the_old_model_predicts_until_the_new_ones_window_is_full() {
    for (before, expected) in [(Some(plain("1.0.0")), Role::Champion), (None, Role::Fallback)] {
        let (mut bench, _) = Bench::start(with_sensors(), before, Vec::new());
        bench.take(&everything(FAILING, at(1)), at(1));
        running(&mut bench, Some(windowed()), at(2));
        let mut versions = Vec::new();
        for second in 2..40 {
            let records = bench.take(&everything(FAILING, at(second)), at(second));
            assert!(matches!(predictions(&records)[0].outcome, Outcome::Predicted(_)), "one for every trigger");
            versions.extend(roles(&records));
        }
        assert!(versions[..29].iter().all(|(role, version)| *role == expected && version != "9.0.0"), "{versions:?}");
        assert!(versions[29..].iter().all(|made| *made == (Role::Champion, "9.0.0".to_owned())), "{versions:?}");
        assert_eq!((versions.len(), &*bench.pipeline.model("press-7").unwrap().manifest().version), (38, "9.0.0"));
        // Windows fill while their model is stopped.
        bench.pipeline.stop(stops(None, Some("for a while")));
        for second in 40..80 {
            bench.take(&everything(FAILING, at(second)), at(second));
        }
        bench.pipeline.stop(Stops::default());
        assert!(withheld(&bench.take(&everything(FAILING, at(80)), at(80))).starts_with("predicted"));
    }
    // Where nothing else is in charge, it says how far it is.
    let plan = AssetPlan { fallback: None, ..with_sensors() };
    let (mut bench, _) = Bench::start(plan, None, Vec::new());
    running(&mut bench, Some(windowed()), at(1));
    assert_eq!(withheld(&bench.take(&everything(FAILING, at(1)), at(1))), "window_filling");
}

#[test]
fn a_model_that_waits_for_its_window_can_be_replaced_or_called_off() {
    let (mut bench, _) = Bench::start(with_sensors(), Some(plain("1.0.0")), Vec::new());
    let old = Arc::clone(bench.pipeline.model("press-7").unwrap());
    running(&mut bench, Some(windowed()), at(1));
    running(&mut bench, Some(old), at(2));
    for second in 2..40 {
        let records = bench.take(&everything(FAILING, at(second)), at(second));
        assert_eq!(roles(&records), [(Role::Champion, "1.0.0".to_owned())]);
    }
}

#[test]
fn a_promoted_challenger_and_the_model_before_have_their_windows_with_them() {
    let (mut bench, _) = Bench::start(with_sensors(), Some(plain("1.0.0")), Vec::new());
    bench.pipeline.shadow("press-7", Some(windowed()));
    for second in 1..31 {
        bench.take(&everything(FAILING, at(second)), at(second));
    }
    let version = |bench: &mut Bench, second| {
        let records = bench.take(&everything(FAILING, at(second)), at(second));
        assert!(matches!(predictions(&records)[0].outcome, Outcome::Predicted(_)));
        predictions(&records)[0].model_version.to_string()
    };
    // Loaded anew: it is the same bundle all the same.
    running(&mut bench, Some(windowed()), at(31));
    bench.pipeline.shadow("press-7", None);
    assert_eq!(version(&mut bench, 31), "9.0.0");
    running(&mut bench, Some(plain("2.0.0")), at(32));
    for second in 32..50 {
        assert_eq!(version(&mut bench, second), "2.0.0");
    }
    running(&mut bench, Some(windowed()), at(50));
    assert_eq!(version(&mut bench, 50), "9.0.0", "the way back is short");
}

#[test]
fn a_challenger_sees_the_same_and_has_no_say() {
    let (mut bench, _) = Bench::start(with_rule(), Some(plain("1.0.0")), Vec::new());
    let (alone, _) = Bench::start(with_rule(), Some(plain("1.0.0")), Vec::new());
    let mut alone = alone;
    bench.pipeline.shadow("press-7", Some(plain("2.0.0")));
    for (second, row) in [(1, HEALTHY), (2, FAILING), (3, FAILING), (4, HEALTHY), (9, HEALTHY)] {
        let records = bench.take(&samples(row, at(second)), at(second));
        let made = predictions(&records);
        let [champion, challenger] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((champion.role, challenger.role), (Role::Champion, Role::Shadow));
        assert_eq!((&challenger.outcome, &challenger.inputs), (&champion.outcome, &champion.inputs));
        assert_eq!((&*challenger.model_version, challenger.alert), ("2.0.0", None));
        let shadow = bench.made.iter().find(|made| Some(made.id) == records.last().map(|record| record.id)).unwrap();
        assert_eq!(shadow.wish, Wish::Skip(Reason::Challenger));
        let without = alone.take(&samples(row, at(second)), at(second));
        let states = |records: &[NewRecord]| transitions(records).iter().map(|change| change.to).collect::<Vec<_>>();
        assert_eq!(states(&records), states(&without), "nothing is raised or cleared by it");
    }
    running(&mut bench, None, at(10));
    let beside_rule = bench.take(&samples(FAILING, at(10)), at(10));
    assert_eq!(roles(&beside_rule), [(Role::Fallback, "rule".to_owned()), (Role::Shadow, "2.0.0".to_owned())]);
    bench.pipeline.stop(stops(None, Some("stopped")));
    assert_eq!(roles(&bench.take(&samples(FAILING, at(11)), at(11))), [(Role::Fallback, "rule".to_owned())]);
    bench.pipeline.stop(Stops::default());
    bench.pipeline.shadow("press-7", None);
    assert_eq!(roles(&bench.take(&samples(FAILING, at(12)), at(12))), [(Role::Fallback, "rule".to_owned())]);
}

#[test]
fn a_challenger_has_a_window_of_its_own() {
    let (mut bench, _) = Bench::start(with_sensors(), Some(plain("1.0.0")), Vec::new());
    bench.pipeline.shadow("press-7", Some(windowed()));
    for second in 1..40 {
        let records = bench.take(&everything(FAILING, at(second)), at(second));
        let made = predictions(&records);
        assert_eq!((made.len(), made[1].role, made[1].model_version.as_ref()), (2, Role::Shadow, "9.0.0"));
        assert_eq!(matches!(made[1].outcome, Outcome::Predicted(_)), second >= 30);
        assert_eq!(made[0].inputs.len(), 6);
    }
}

#[test]
fn each_model_is_timed_alone() {
    // Seven milliseconds between any two looks at it.
    fn stopwatch() -> Duration {
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        Duration::from_millis(7 * LOOKS.fetch_add(1, Ordering::Relaxed))
    }
    let (bench, _) = Bench::start(press(), Some(plain("1.0.0")), Vec::new());
    let mut pipeline = bench.pipeline.timed_by(stopwatch);
    pipeline.shadow("press-7", Some(plain("2.0.0")));
    let mut ids = 0;
    let follows = pipeline.samples(&samples(HEALTHY, at(1)), at(1), &mut || {
        ids += 1;
        Uuid::from_u128(ids)
    });
    assert_eq!(follows.took, [Duration::from_millis(7); 2], "champion and challenger, each for itself");
    pipeline.stop(Stops { gateway: Some("works".to_owned()), ..Stops::default() });
    let follows = pipeline.samples(&samples(HEALTHY, at(2)), at(2), &mut || Uuid::from_u128(99));
    assert_eq!(follows.took, [Duration::ZERO], "nobody ran");
}
