//! What the messages say: JSON, with the names that the HTTP API has.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use explaind_core::domain::alert::{GATEWAY, Suppression};
use explaind_core::domain::condition::Condition;
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::record::{Body, Record};
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::{self, Language};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::buffer::Alert;
use crate::clock::rfc3339;

/// Alerts of one machine that are listed beside the one that is shown.
const MOST_OTHERS: usize = 16;

/// The gateway is there.
pub(super) fn online(gateway: &str, since: Timestamp, about: &Value) -> String {
    let mut status = json!({
        "state": "online",
        "gateway": gateway,
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": rfc3339(since),
    });
    if let (Value::Object(status), Value::Object(about)) = (&mut status, about) {
        status.extend(about.clone());
    }
    status.to_string()
}

/// The gateway was stopped, and said goodbye.
pub(super) fn offline(gateway: &str, at: Timestamp) -> String {
    json!({ "state": "offline", "gateway": gateway, "reason": "stopped", "at": rfc3339(at) }).to_string()
}

/// The last will: the gateway is gone, and nobody knows since when.
pub(super) fn gone(gateway: &str) -> String {
    json!({ "state": "offline", "gateway": gateway, "reason": "lost" }).to_string()
}

/// One prediction.
pub(super) fn prediction(record: &Record, prediction: &Prediction) -> String {
    let (outcome, label, probability, withheld) = match &prediction.outcome {
        Outcome::Predicted(output) => ("predicted", output.label.as_deref(), output.probability, None),
        Outcome::Withheld(reason) => ("withheld", None, None, Some(reason.to_string())),
    };
    let shown = record.output_and_space();
    json!({
        "id": record.id,
        "sequence": record.sequence,
        "recorded_at": rfc3339(record.at.utc),
        "source_time": prediction.source_time.map(rfc3339),
        "asset": prediction.asset,
        "model": prediction.model,
        "model_version": prediction.model_version,
        "role": prediction.role.as_str(),
        "outcome": outcome,
        "output": shown.map(|(output, _)| output),
        "space": shown.map(|(_, space)| space.as_str()),
        "label": label,
        "probability": probability,
        "withheld_reason": withheld,
        "input_quality": prediction.input_quality.as_str(),
        "alert_id": prediction.alert,
    })
    .to_string()
}

/// What the broker keeps of each of these machines: its alerts in one object, or nothing where none is open.
///
/// `evidence` looks up the prediction that raised an alert.
pub(super) fn alerts(
    assets: impl IntoIterator<Item = Arc<str>>,
    alerts: Vec<Alert>,
    language: Language,
    evidence: &dyn Fn(Uuid) -> Option<Record>,
) -> Vec<(Arc<str>, String)> {
    let mut by_asset: BTreeMap<Arc<str>, Vec<Alert>> = BTreeMap::new();
    for alert in alerts.into_iter().filter(|alert| alert.state.is_open()) {
        by_asset.entry(Arc::clone(&alert.asset)).or_default().push(alert);
    }
    let told = assets.into_iter().map(|asset| {
        let payload = by_asset.remove(&asset).map(|open| of_one_asset(open, language, evidence));
        (asset, payload.unwrap_or_default())
    });
    told.collect()
}

/// The most urgent alert of a machine, with the others listed below it.
fn of_one_asset(mut open: Vec<Alert>, language: Language, evidence: &dyn Fn(Uuid) -> Option<Record>) -> String {
    open.sort_by_key(urgency);
    let Some((first, others)) = open.split_first() else { return String::new() };
    let mut told = short(first);
    if let Value::Object(object) = &mut told {
        let more = json!({
            "asset": first.asset,
            "cleared_at": first.cleared_at.map(rfc3339),
            "acknowledged_by": first.acknowledged_by,
            "comment": first.comment,
            "reason": first.reason,
            "sentence": sentence(first, language, evidence),
            "prediction_id": first.prediction_id,
            "open": open.len(),
            "others": others.iter().take(MOST_OTHERS).map(short).collect::<Vec<_>>(),
        });
        if let Value::Object(more) = more {
            object.extend(more);
        }
    }
    told.to_string()
}

fn short(alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "model": alert.model,
        "state": alert.state.as_str(),
        "suppression": alert.suppression.as_str(),
        "priority": alert.priority.as_str(),
        "raised_at": rfc3339(alert.raised_at),
        "changed_at": rfc3339(alert.changed_at),
    })
}

/// The most urgent first: what nothing lies over, then what waits for somebody, then by priority, and of equal ones the
/// newest.
fn urgency(alert: &Alert) -> impl Ord + use<> {
    let suppressed = alert.suppression != Suppression::None;
    (suppressed, Reverse(awaits(alert)), Reverse(alert.priority), Reverse(alert.id))
}

/// Whether acknowledging it would change anything.
pub(super) fn awaits(alert: &Alert) -> bool {
    alert.state.acknowledge() != alert.state
}

/// Why, in one sentence.
fn sentence(alert: &Alert, language: Language, evidence: &dyn Fn(Uuid) -> Option<Record>) -> String {
    if let Some(condition) = (*alert.asset == *GATEWAY).then(|| Condition::named(&alert.model)).flatten() {
        return words::gateway(language, condition).to_owned();
    }
    let record = alert.prediction_id.and_then(evidence);
    let said = record.as_ref().and_then(|record| match &record.body {
        Body::Prediction(prediction) => {
            Some(words::sentence(language, prediction, record.settlement.as_ref(), alert.raised))
        }
        _ => None,
    });
    said.unwrap_or_else(|| alert.reason.clone())
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::alert::AlarmState::{self, Acknowledged, Normal, Unacknowledged};

    use super::*;
    use crate::buffer::Buffer;
    use crate::buffer::samples::{at, explained, open, prediction as sample, transition, withheld};

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn raise(buffer: &Buffer, seconds: u64, to: AlarmState) -> Uuid {
        let raised = transition(seconds, None, (Normal, to), None, None);
        let id = raised.id;
        buffer.append(vec![raised]).unwrap();
        id
    }

    fn told(buffer: &Buffer) -> Vec<(Arc<str>, String)> {
        let evidence = |id| buffer.get(id).unwrap();
        alerts(["press-7".into(), "press-8".into()], buffer.alerts(), Language::English, &evidence)
    }

    #[test]
    fn the_most_urgent_alert_is_shown_and_the_others_can_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let seen = raise(&buffer, 9, Acknowledged);
        let older = raise(&buffer, 1, Unacknowledged);
        let newer = raise(&buffer, 2, Unacknowledged);
        let told = told(&buffer);
        assert_eq!(told[1], ("press-8".into(), String::new()));
        let alert = json(&told[0].1);
        assert_eq!((&alert["id"], &alert["open"]), (&json!(newer), &json!(3)));
        let others = alert["others"].as_array().unwrap();
        assert_eq!((&others[0]["id"], &others[1]["id"]), (&json!(older), &json!(seen)));
        assert_eq!(alert["raised_at"], rfc3339(at(2).utc));
        assert_eq!((&alert["suppression"], &alert["priority"]), (&json!("none"), &json!("high")));
        assert_eq!(
            alert["sentence"], "probability 0.93 above 0.5",
            "without the prediction its reason is all there is"
        );
    }

    #[test]
    fn a_storm_makes_no_large_message_and_the_gateways_own_alert_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let mut storm: Vec<_> = (0..500).map(|n| transition(n, None, (Normal, Unacknowledged), None, None)).collect();
        if let Body::Alert(own) = &mut storm[0].body {
            (own.asset, own.model) = (GATEWAY.into(), Condition::BufferFull.as_str().into());
        }
        buffer.append(storm).unwrap();
        let told = alerts([GATEWAY.into(), "press-7".into()], buffer.alerts(), Language::English, &|_| None);
        let own = json(&told[0].1);
        assert_eq!(own["sentence"], words::gateway(Language::English, Condition::BufferFull));
        assert_eq!((&own["model"], &own["others"]), (&json!("buffer_full"), &json!([])));
        let alert = json(&told[1].1);
        assert_eq!((&alert["open"], alert["others"].as_array().map(Vec::len)), (&json!(499), Some(MOST_OTHERS)));
        assert!(told[1].1.len() < 8192);
    }

    #[test]
    fn the_sentence_is_the_one_that_technicians_read() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let made = sample(1, 65.0);
        let raised = transition(1, None, (Normal, Unacknowledged), Some(made.id), None);
        let id = made.id;
        buffer.append(vec![made, raised]).unwrap();
        let early = json(&told(&buffer)[0].1)["sentence"].as_str().unwrap().to_owned();
        buffer.settle(vec![(id, explained(65.0))]).unwrap();
        let alert = json(&told(&buffer)[0].1);
        let late = alert["sentence"].as_str().unwrap();
        assert!(!early.contains("Torque") && late.contains("Torque 65 Nm"), "{early} / {late}");
        assert_eq!(alert["prediction_id"], json!(id));
    }

    #[test]
    fn a_prediction_says_what_it_is_or_why_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let stored = buffer.append(vec![sample(1, 65.0), withheld(2)]).unwrap();
        let told: Vec<_> = stored
            .iter()
            .map(|record| match &record.body {
                Body::Prediction(made) => json(&prediction(record, made)),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((&told[0]["outcome"], &told[0]["probability"]), (&json!("predicted"), &json!(0.93)));
        assert_eq!((&told[0]["output"], &told[0]["space"]), (&json!(0.93), &json!("probability")));
        assert_eq!((&told[0]["label"], &told[0]["withheld_reason"]), (&json!("failure"), &Value::Null));
        assert_eq!((&told[1]["outcome"], &told[1]["output"]), (&json!("withheld"), &Value::Null));
        assert_eq!(told[1]["withheld_reason"], "stale: Torque [Nm], 7.2 s old");
        assert!(told.iter().all(|told| told["asset"] == "press-7" && told["id"].is_string()));
    }

    #[test]
    fn a_gateway_that_is_gone_says_so_without_a_time_that_nobody_knows() {
        let about = json!({ "stopped": null, "sources_down": ["floor"] });
        let here = json(&online("line-3", at(1).utc, &about));
        assert_eq!((&here["state"], &here["sources_down"][0]), (&json!("online"), &json!("floor")));
        let (left, lost) = (json(&offline("line-3", at(2).utc)), json(&gone("line-3")));
        assert_eq!((&left["state"], &left["reason"]), (&json!("offline"), &json!("stopped")));
        assert_eq!((&lost["state"], &lost["reason"], lost.get("at")), (&json!("offline"), &json!("lost"), None));
    }
}
