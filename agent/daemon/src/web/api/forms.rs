//! The JSON of alerts, predictions and feedback. Names are those of the records' columns.

use std::collections::BTreeMap;

use explaind_core::domain::alert::Raised;
use explaind_core::domain::explanation::{Attribution, Explanation};
use explaind_core::domain::extra::{Cases, Counterfactuals};
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::record::Record;
use explaind_core::explain::words::{self, Judged, Language};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::web::story::{self, Story};
use crate::web::time::iso;
use crate::web::verdicts::Said;

/// An alert with its reason, its explanation and what was said of it.
pub(crate) fn alert(story: &Story) -> Value {
    let alert = &story.alert;
    let settlement = story.evidence.as_ref().and_then(|record| record.settlement.as_ref());
    json!({
        "id": alert.id,
        "asset": alert.asset,
        "model": alert.model,
        "state": alert.state.as_str(),
        "suppression": alert.suppression.as_str(),
        "priority": alert.priority.as_str(),
        "raised_at": iso(alert.raised_at),
        "changed_at": iso(alert.changed_at),
        "cleared_at": alert.cleared_at.map(iso),
        "acknowledged_by": alert.acknowledged_by,
        "comment": alert.comment,
        "reason": alert.reason,
        "sentence": story.sentence(),
        "prediction_id": alert.prediction_id,
        "prediction": story.prediction().map(outcome),
        "explanation_status": settlement.map_or("pending", |settlement| settlement.status()),
        "explanation_reason": settlement.and_then(|settlement| settlement.reason()),
        "explanation": story.explanation().map(|(id, explanation)| explained(id, explanation)),
        "would_clear": story.would_clear(),
        "counterfactuals": story.counterfactuals.as_ref().map(|(id, found)| counterfactuals(Some(*id), found, story.language)),
        "similar": story.similar(),
        "cases": story.cases.as_ref().map(|(id, cases)| self::cases(*id, cases, &story.judged)),
        "feedback": story.said.iter().map(said).collect::<Vec<_>>(),
    })
}

/// A prediction with everything that is recorded of it. `None` for records of other streams.
pub(crate) fn prediction(record: &Record, raised: Option<Raised>, language: Language) -> Option<Value> {
    let prediction = story::prediction(record)?;
    let settlement = record.settlement.as_ref();
    let explanation = story::explanation(record).map(|(_, explanation)| explanation);
    let shown = record.output_and_space();
    let mut object = outcome(prediction);
    let more = json!({
        "id": record.id,
        "sequence": record.sequence,
        "recorded_at": iso(record.at.utc),
        "asset": prediction.asset,
        "model": prediction.model,
        "model_version": prediction.model_version,
        "model_digest": prediction.model_digest.to_string(),
        "background_digest": prediction.background_digest.to_string(),
        "role": prediction.role.as_str(),
        "source_time": prediction.source_time.map(iso),
        "inputs": inputs(prediction),
        "input_quality": prediction.input_quality.as_str(),
        "output": shown.map(|(output, _)| output),
        "space": shown.map(|(_, space)| space.as_str()),
        "base_value": explanation.map(|explanation| explanation.base_value),
        "attributions": explanation.map(|explanation| per_feature(explanation, |a| a.value)),
        "standard_errors": explanation.map(|explanation| per_feature(explanation, |a| a.standard_error)),
        "method": explanation.map(|explanation| explanation.method.as_str()),
        "evaluations": explanation.map(|explanation| explanation.evaluations),
        "additivity_gap": explanation.map(|explanation| explanation.additivity_gap),
        "alert_id": prediction.alert,
        "sentence": story::sentence(record, raised, language),
        "explanation_status": settlement.map_or("pending", |settlement| settlement.status()),
        "explanation_reason": settlement.and_then(|settlement| settlement.reason()),
        "explanation_id": story::explanation(record).map(|(id, _)| id),
        "explanation": story::explanation(record).map(|(id, explanation)| explained(id, explanation)),
    });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    Some(object)
}

/// What would clear an alert, with its sentence; `id` is null when it is not on record.
pub(crate) fn counterfactuals(id: Option<Uuid>, found: &Counterfactuals, language: Language) -> Value {
    let mut object = json!(found);
    if let Value::Object(object) = &mut object {
        object.insert("id".to_owned(), json!(id));
        object.insert("sentence".to_owned(), json!(words::remedy(language, found)));
    }
    object
}

/// What is like an alert, with the verdicts on it that stand now.
fn cases(id: Uuid, cases: &Cases, judged: &[Judged]) -> Value {
    let alerts = cases.alerts.iter().zip(judged).map(|(past, judged)| {
        json!({
            "alert_id": past.alert_id,
            "prediction_id": past.prediction_id,
            "asset": past.asset,
            "distance": past.distance,
            "verdict": judged.verdict.map(|verdict| verdict.as_str()),
            "words": judged.words,
        })
    });
    json!({
        "id": id,
        "compared": cases.compared,
        "alerts": alerts.collect::<Vec<_>>(),
        "background": cases.background,
    })
}

fn inputs(prediction: &Prediction) -> Map<String, Value> {
    prediction.inputs.iter().map(|input| (input.feature.to_string(), json!(input.value))).collect()
}

/// What the model said, or why it said nothing.
fn outcome(prediction: &Prediction) -> Value {
    match &prediction.outcome {
        Outcome::Predicted(output) => json!({
            "outcome": "predicted",
            "output": output.value,
            "label": output.label,
            "probability": output.probability,
            "withheld_reason": null,
        }),
        Outcome::Withheld(reason) => json!({
            "outcome": "withheld",
            "output": null,
            "label": null,
            "probability": null,
            "withheld_reason": reason.to_string(),
        }),
    }
}

#[derive(Serialize)]
struct Explained<'a> {
    id: Uuid,
    output: f64,
    space: &'static str,
    base_value: f64,
    attributions: BTreeMap<&'a str, f64>,
    standard_errors: BTreeMap<&'a str, f64>,
    method: &'static str,
    evaluations: u64,
    additivity_gap: f64,
    /// Once more in the model's order, with what a reader needs beside the share.
    features: Vec<Share<'a>>,
}

#[derive(Serialize)]
struct Share<'a> {
    feature: &'a str,
    value: f64,
    unit: &'a str,
    usual: (f64, f64),
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    attribution: f64,
}

fn explained(id: Uuid, explanation: &Explanation) -> Value {
    let explained = Explained {
        id,
        output: explanation.output,
        space: explanation.space.as_str(),
        base_value: explanation.base_value,
        attributions: per_feature(explanation, |a| a.value),
        standard_errors: per_feature(explanation, |a| a.standard_error),
        method: explanation.method.as_str(),
        evaluations: explanation.evaluations,
        additivity_gap: explanation.additivity_gap,
        features: explanation.attributions.iter().map(share).collect(),
    };
    json!(explained)
}

fn per_feature(explanation: &Explanation, part: fn(&Attribution) -> f64) -> BTreeMap<&str, f64> {
    explanation.attributions.iter().map(|attribution| (&*attribution.feature, part(attribution))).collect()
}

fn share(attribution: &Attribution) -> Share<'_> {
    Share {
        feature: &attribution.feature,
        value: attribution.input,
        unit: &attribution.unit,
        usual: attribution.usual,
        category: attribution.category.as_deref(),
        attribution: attribution.value,
    }
}

/// One piece of feedback.
pub(crate) fn said(said: &Said) -> Value {
    let feedback = &said.feedback;
    json!({
        "id": said.id,
        "recorded_at": iso(said.at),
        "revised": said.revised,
        "revises": feedback.revises,
        "prediction_id": feedback.prediction_id,
        "explanation_id": feedback.explanation_id,
        "alert_id": feedback.alert_id,
        "asset": feedback.asset,
        "event_from": feedback.event_from.map(iso),
        "event_to": feedback.event_to.map(iso),
        "author": feedback.author,
        "role": feedback.role.as_str(),
        "verdict": feedback.verdict.map(|verdict| verdict.as_str()),
        "corrected": feedback.corrected,
        "explanation_verdict": feedback.explanation_verdict.map(|verdict| verdict.as_str()),
        "relevant": feedback.relevant,
        "irrelevant": feedback.irrelevant,
        "cause": feedback.cause,
        "comment": feedback.comment,
        "explanation_seen": feedback.explanation_seen,
        "model_digest": feedback.model_digest.map(|digest| digest.to_string()),
        "background_digest": feedback.background_digest.map(|digest| digest.to_string()),
    })
}
