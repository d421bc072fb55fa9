//! The contracts of the pipeline, with a real model: identity, age, quality, order, restart.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads its model from a file, or fails")]

#[path = "support/press.rs"]
mod press;

use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::alert::{AlarmState, Cover, Guidance, Priority, Suppression, Unfit};
use explaind_core::domain::command::Act;
use explaind_core::domain::prediction::Outcome;
use explaind_core::domain::record::{Body, NewRecord};
use explaind_core::domain::sample::{Quality, Sample, Value};
use explaind_core::domain::time::{Now, Timestamp};
use explaind_core::model::manifest::Threshold;
use explaind_core::pipeline::alarm::Remembered;
use explaind_core::pipeline::{ActiveWhen, AssetPlan, Follows, Trigger};
use press::{Bench, DECISION, FAILING, HEALTHY, at, model, predictions, press, samples, signal, transitions, withheld};
use uuid::Uuid;

fn started(trigger: Trigger, active_when: Option<ActiveWhen>, open: Vec<Remembered>) -> (Bench, Follows) {
    let plan = AssetPlan { trigger, active_when, ..press() };
    Bench::start(plan, Some(model("1.0.0", DECISION, |_| "")), open)
}

fn on_torque() -> Bench {
    started(Trigger::On(signal("torque_nm")), None, Vec::new()).0
}

fn tick(bench: &mut Bench, now: Now) -> Vec<NewRecord> {
    bench.ask(|pipeline, mint| pipeline.tick(now, mint))
}

#[test]
fn a_prediction_comes_before_its_alert_and_the_alert_is_named_by_its_first_record() {
    let mut bench = on_torque();
    let records = bench.take(&samples(FAILING, at(1)), at(1));
    assert_eq!(records.len(), 2);
    let (made, change) = (predictions(&records)[0], transitions(&records)[0]);
    assert!(matches!(records[0].body, Body::Prediction(_)));
    assert_eq!(Some(records[1].id), change.alert_id);
    assert_eq!(change.prediction_id, Some(records[0].id));
    assert_eq!(made.alert, change.alert_id);
    assert_eq!((change.from, change.to), (AlarmState::Normal, AlarmState::Unacknowledged));
    assert!(matches!(&made.outcome, Outcome::Predicted(output) if output.label.as_deref() == Some("failure")));
}

#[test]
fn what_is_missing_or_of_bad_quality_or_not_finite_or_out_of_range_is_withheld_with_the_reason() {
    let mut bench = on_torque();
    let mut row = samples(HEALTHY, at(1));
    assert_eq!(withheld(&bench.take(&row[4..5], at(1))), "missing");
    row[1].value = Value::Number(f64::NAN);
    assert_eq!(withheld(&bench.take(&row, at(1))), "non_finite");
    row[1].value = Value::Number(1e300);
    assert_eq!(withheld(&bench.take(&row, at(1))), "non_finite");
    row[1].value = Value::Number(-1.0);
    assert_eq!(withheld(&bench.take(&row, at(1))), "out_of_range");
    row[1].value = Value::Text("warm".into());
    assert_eq!(withheld(&bench.take(&row, at(1))), "not_a_number");
    row[1] = Sample { quality: Quality::Bad, status: 0x8000_0000, ..samples(HEALTHY, at(1))[1].clone() };
    assert_eq!(withheld(&bench.take(&row, at(1))), "bad_quality");
    row[1] = Sample { quality: Quality::Uncertain, ..samples(HEALTHY, at(1))[1].clone() };
    let records = bench.take(&row, at(1));
    assert!(withheld(&records).starts_with("predicted"));
    assert_eq!(predictions(&records)[0].input_quality, Quality::Uncertain);
}

#[test]
fn a_value_grows_old_unless_its_source_stands_by_it() {
    let mut bench = on_torque();
    bench.take(&samples(HEALTHY, at(1)), at(1));
    let torque = &samples(HEALTHY, at(20))[4..5];
    assert_eq!(withheld(&bench.take(torque, at(20))), "stale");
    // The source vouches for what it delivered since it connected, and for nothing from before.
    bench.pipeline.alive("plc", at(10), at(20));
    assert_eq!(withheld(&bench.take(torque, at(20))), "stale");
    bench.pipeline.alive("other", at(0), at(20));
    assert_eq!(withheld(&bench.take(torque, at(20))), "stale");
    bench.pipeline.alive("plc", at(0), at(20));
    assert!(withheld(&bench.take(torque, at(21))).starts_with("predicted"));
}

#[test]
fn a_withheld_prediction_never_clears_an_alert() {
    let mut bench = on_torque();
    bench.take(&samples(FAILING, at(1)), at(1));
    for second in 10..20 {
        let torque = &samples(HEALTHY, at(second))[4..5];
        assert_eq!(transitions(&bench.take(torque, at(second))).len(), 0);
    }
    bench.take(&samples(HEALTHY, at(20)), at(20));
    let records = bench.take(&samples(HEALTHY, at(22)), at(22));
    assert_eq!(transitions(&records)[0].to, AlarmState::ReturnedUnacknowledged);
}

#[test]
fn after_a_restart_the_same_occurrence_goes_on() {
    let id = Uuid::from_u128(77);
    let open = Remembered {
        asset: "press-7".into(),
        model: "press-failure".into(),
        priority: Priority::High,
        open: Some((id, AlarmState::Acknowledged)),
        cover: Cover::default(),
        shelved_for: Duration::ZERO,
    };
    let (mut bench, follows) = started(Trigger::On(signal("torque_nm")), None, vec![open.clone()]);
    assert!(follows.records.is_empty());
    assert!(transitions(&bench.take(&samples(FAILING, at(1)), at(1))).is_empty(), "it is raised already");
    bench.take(&samples(HEALTHY, at(2)), at(2));
    let cleared = bench.take(&samples(HEALTHY, at(4)), at(4));
    let change = transitions(&cleared)[0];
    assert_eq!((change.alert_id, change.to), (Some(id), AlarmState::Normal));

    let gone = Remembered { asset: "press-9".into(), ..open };
    let (bench, follows) = started(Trigger::On(signal("torque_nm")), None, vec![gone.clone()]);
    assert_eq!(transitions(&follows.records)[0].to, AlarmState::Normal, "what is no longer watched is closed");
    assert!(bench.pipeline.acknowledgement(id, "ann".into(), None).is_none());
}

#[test]
fn acknowledging_holds_once_it_is_applied_and_only_for_open_alerts() {
    let mut bench = on_torque();
    let raised = bench.take(&samples(FAILING, at(1)), at(1));
    let id = transitions(&raised)[0].alert_id.unwrap();
    assert!(bench.pipeline.acknowledgement(Uuid::from_u128(999), "ann".into(), None).is_none());
    let change = bench.pipeline.acknowledgement(id, "ann".into(), Some("on my way".into())).unwrap();
    assert_eq!((change.from, change.to), (AlarmState::Unacknowledged, AlarmState::Acknowledged));
    bench.pipeline.apply(&change, at(2));
    let again = bench.pipeline.acknowledgement(id, "bob".into(), None).unwrap();
    assert_eq!((again.from, again.to), (AlarmState::Acknowledged, AlarmState::Acknowledged));
}

#[test]
fn a_machine_that_is_off_is_not_predicted_and_its_alert_is_suppressed_by_design() {
    let running = ActiveWhen { signal: signal("rotational_speed_rpm"), threshold: Threshold::Above(100.0) };
    let (mut bench, _) = started(Trigger::On(signal("torque_nm")), Some(running), Vec::new());
    bench.take(&samples(FAILING, at(1)), at(1));
    let mut off = samples(FAILING, at(2));
    off[3].value = Value::Number(0.0);
    let records = bench.take(&off, at(2));
    assert!(predictions(&records).is_empty());
    assert_eq!(transitions(&records)[0].cover.shown(), Suppression::ByDesign);
    assert!(bench.take(&off, at(3)).is_empty());
    let records = bench.take(&samples(FAILING, at(4)), at(4));
    assert_eq!(transitions(&records)[0].cover.shown(), Suppression::None);
    assert_eq!(predictions(&records).len(), 1);
}

#[test]
fn switching_off_is_noticed_without_a_prediction_and_not_knowing_lifts_nothing() {
    let running = ActiveWhen { signal: signal("rotational_speed_rpm"), threshold: Threshold::Above(100.0) };
    let (mut bench, _) = started(Trigger::On(signal("torque_nm")), Some(running), Vec::new());
    bench.take(&samples(FAILING, at(1)), at(1));
    let mut stopped = samples(FAILING, at(2))[3].clone();
    stopped.value = Value::Number(0.0);
    let records = bench.take(&[stopped], at(2));
    assert_eq!((records.len(), transitions(&records)[0].cover.shown()), (1, Suppression::ByDesign));
    // The speed is too old to tell anything by now; a prediction is withheld, and the alert stays suppressed.
    let torque = &samples(FAILING, at(500))[4..5];
    let records = bench.take(torque, at(500));
    assert_eq!((withheld(&records).as_str(), transitions(&records).len()), ("stale", 0));
}

#[test]
fn a_feature_that_may_be_missing_reaches_the_model_without_a_value_and_others_withhold() {
    let model = model("1.0.0", DECISION, |name| if name == "torque_nm" { "missing = true\n" } else { "" });
    let row = |samples: &[Sample], second| {
        let mut bench = {
            let plan = AssetPlan { trigger: Trigger::On(signal("tool_wear_min")), ..press() };
            Bench::start(plan, Some(Arc::clone(&model)), Vec::new()).0
        };
        bench.take(samples, at(second))
    };
    let mut samples = samples(FAILING, at(1));
    let whole = row(&samples, 1);
    samples[4].quality = Quality::Bad;
    let without = row(&samples, 1);
    let prediction = predictions(&without)[0];
    let Outcome::Predicted(output) = &prediction.outcome else { panic!("{:?}", prediction.outcome) };
    let mut values = FAILING.map(|value| value as f32);
    values[4] = f32::NAN;
    assert_eq!(output, &model.predict(&values).unwrap().output);
    assert_ne!(&predictions(&whole)[0].outcome, &prediction.outcome);
    assert_eq!((prediction.inputs[4].value, prediction.inputs[3].value), (None, Some(1282.0)));
    samples.remove(4);
    assert_eq!(predictions(&row(&samples, 1))[0].outcome, prediction.outcome, "as if it had never come");
    // What is there and cannot be is no missing value; and the rest must be there.
    samples.insert(4, Sample { value: Value::Number(1e9), quality: Quality::Good, ..samples[0].clone() });
    samples[4].signal = signal("torque_nm");
    assert_eq!(withheld(&row(&samples, 1)), "out_of_range");
    samples.remove(3);
    assert_eq!(withheld(&row(&samples, 1)), "missing");
}

#[test]
fn a_step_is_too_fast_at_first_and_believed_once_it_has_stood() {
    let mut bench = on_torque();
    bench.take(&samples(HEALTHY, at(1)), at(1));
    let mut jump = samples(HEALTHY, at(2));
    jump[3].value = Value::Number(HEALTHY[3] + 1500.0);
    assert_eq!(withheld(&bench.take(&jump, at(2))), "too_fast");
    bench.pipeline.alive("plc", at(0), at(4));
    let torque = &samples(HEALTHY, at(4))[4..5];
    assert!(withheld(&bench.take(torque, at(4))).starts_with("predicted"), "1500 rpm in three seconds");
}

#[test]
fn an_interval_keeps_its_rhythm_and_a_late_tick_predicts_once() {
    let (mut bench, _) = started(Trigger::Every(Duration::from_secs(10)), None, Vec::new());
    assert!(bench.take(&samples(HEALTHY, at(0)), at(0)).is_empty());
    assert!(tick(&mut bench, at(0)).is_empty(), "the first tick starts the rhythm");
    assert_eq!(bench.pipeline.next_tick(), Some(Duration::from_secs(1_010)));
    assert!(tick(&mut bench, at(9)).is_empty());
    assert_eq!(tick(&mut bench, at(11)).len(), 1);
    assert_eq!(bench.pipeline.next_tick(), Some(Duration::from_secs(1_020)));
    assert_eq!(tick(&mut bench, at(500)).len(), 1);
    assert_eq!(bench.pipeline.next_tick(), Some(Duration::from_secs(1_510)));
}

#[test]
fn samples_out_of_order_do_not_replace_newer_ones_but_a_clock_set_back_is_followed() {
    let mut bench = on_torque();
    let timed = |row, seconds: i64, now| -> Vec<Sample> {
        let stamp =
            |sample: Sample| Sample { source_time: Some(Timestamp::from_micros(seconds * 1_000_000)), ..sample };
        samples(row, now).into_iter().map(stamp).collect()
    };
    bench.take(&timed(HEALTHY, 100, at(1)), at(1));
    assert!(bench.take(&timed(FAILING, 99, at(2)), at(2)).is_empty(), "what is no news fires nothing");
    let records = bench.take(&timed(FAILING, 50, at(9)), at(9));
    assert_eq!(predictions(&records)[0].inputs[4].value, Some(FAILING[4]));
}

/// The alarm of the press, or of another machine, as the records know it.
fn known(asset: &str, cover: Cover, left: u64) -> Remembered {
    Remembered {
        asset: asset.into(),
        model: "press-failure".into(),
        priority: Priority::High,
        open: None,
        cover,
        shelved_for: Duration::from_secs(left),
    }
}

fn shelved(until: Now) -> Cover {
    Cover { shelved_until: Some(until.utc), ..Cover::default() }
}

#[test]
fn what_is_shelved_at_rest_is_raised_in_silence_and_shows_when_its_time_is_over() {
    let trigger = Trigger::On(signal("torque_nm"));
    let (mut bench, follows) = started(trigger, None, vec![known("press-7", shelved(at(0)), 30)]);
    assert!(follows.records.is_empty());
    assert_eq!(bench.pipeline.next_tick(), Some(Duration::from_secs(1_030)), "thirty seconds from the start");
    let raised = bench.take(&samples(FAILING, at(1)), at(1));
    let change = transitions(&raised)[0].clone();
    assert_eq!((change.to, change.cover), (AlarmState::Unacknowledged, shelved(at(0))));
    assert!(tick(&mut bench, at(29)).is_empty());
    let over = tick(&mut bench, at(30));
    let lifted = transitions(&over)[0];
    assert_eq!((lifted.alert_id, lifted.to, lifted.cover), (change.alert_id, change.to, Cover::default()));
    assert_eq!((bench.pipeline.next_tick(), tick(&mut bench, at(31)).len()), (None, 0));
}

#[test]
fn what_lies_over_an_alarm_that_is_no_longer_watched_is_lifted_on_record() {
    let out = Cover { out_of_service: true, ..Cover::default() };
    let (mut bench, follows) =
        started(Trigger::On(signal("torque_nm")), None, vec![known("press-9", out, 0), known("press-7", out, 0)]);
    let changes = transitions(&follows.records);
    let lifted = (changes.len(), &*changes[0].asset, changes[0].alert_id, changes[0].cover);
    assert_eq!(lifted, (1, "press-9", None, Cover::default()));
    assert_eq!(bench.pipeline.cover("press-7", "press-failure"), out);
    let id = Uuid::from_u128(5);
    let mut ask = |asset: &str, model: &str, act| {
        let asked = bench.pipeline.asked((id, &asset.into(), &model.into()), act, "eve".into(), at(1));
        asked.map(|change| (change.alert_id, change.cover))
    };
    let back = || Act::InService { comment: None };
    assert_eq!(ask("press-7", "press-failure", back()), Ok((None, Cover::default())));
    assert_eq!(ask("press-8", "press-failure", back()), Err(Unfit::Unwatched));
    assert_eq!(ask("press-7", "press-failure", Act::Reset { comment: None }), Err(Unfit::NotLatched));
    // The gateway's own alarm need not have been raised since the start.
    let stop = || Act::OutOfService { reason: "known".into() };
    assert_eq!(ask("_gateway", "buffer_full", stop()), Ok((None, out)));
    assert_eq!(ask("_gateway", "nothing of ours", stop()), Err(Unfit::Unwatched));
}

#[test]
fn a_rule_that_latches_keeps_its_alert_until_it_is_reset_and_says_what_to_do() {
    let decision = format!("{DECISION}latching = true\nconsequence = \"It breaks.\"\nresponse = \"Stop it.\"\n");
    let plan = AssetPlan { trigger: Trigger::On(signal("torque_nm")), ..press() };
    let (mut bench, _) = Bench::start(plan, Some(model("1.0.0", &decision, |_| "")), Vec::new());
    let raised = bench.take(&samples(FAILING, at(1)), at(1));
    let first = transitions(&raised)[0].clone();
    let told = (first.guidance.consequence.as_deref(), first.guidance.response.as_deref());
    assert_eq!(told, (Some("It breaks."), Some("Stop it.")));
    bench.take(&samples(HEALTHY, at(2)), at(2));
    let gone = bench.take(&samples(HEALTHY, at(4)), at(4));
    assert_eq!(transitions(&gone)[0].to, AlarmState::LatchedUnacknowledged);
    assert_eq!(transitions(&gone)[0].guidance, Guidance::default(), "told once");
    assert_eq!(predictions(&gone)[0].alert, None, "its condition does not hold");

    // Raised again it is the same occurrence, and a model that does not latch changes nothing of what is latched.
    bench.ask(|pipeline, mint| pipeline.install("press-7", Some(model("1.0.1", DECISION, |_| "")), at(5), mint));
    bench.take(&samples(HEALTHY, at(6)), at(6));
    let id = first.alert_id.unwrap();
    let seen = bench.pipeline.acknowledgement(id, "ann".into(), None).unwrap();
    bench.pipeline.apply(&seen, at(7));
    assert_eq!(seen.to, AlarmState::LatchedAcknowledged);
    let again = bench.take(&samples(FAILING, at(8)), at(8));
    let change = transitions(&again)[0];
    assert_eq!((change.alert_id, change.from, change.to), (Some(id), seen.to, AlarmState::Unacknowledged));
    let (asset, name) = ("press-7".into(), "press-failure".into());
    let reset = |bench: &mut Bench| {
        let act = Act::Reset { comment: None };
        bench.pipeline.asked((id, &asset, &name), act, "ann".into(), at(9)).map(|change| change.to)
    };
    assert_eq!(reset(&mut bench), Err(Unfit::Holds));
    bench.take(&samples(HEALTHY, at(10)), at(10));
    let gone = bench.take(&samples(HEALTHY, at(12)), at(12));
    assert_eq!(transitions(&gone)[0].to, AlarmState::ReturnedUnacknowledged, "the rule of today does not latch");
}
