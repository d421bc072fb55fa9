//! The JSON of alerts, predictions and feedback. Names are those of the records' columns.

use explaind_core::domain::alert::Raised;
use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::extra::{Cases, Counterfactuals};
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::record::Record;
use explaind_core::explain::words::{self, Judged, Language};
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
        "shelved_until": alert.cover.shelved_until.map(iso),
        "suppressed_by": alert.suppressed_by,
        "suppressed_because": alert.suppressed_because,
        "priority": alert.priority.as_str(),
        "consequence": alert.guidance.consequence,
        "response": alert.guidance.response,
        "raised_at": iso(alert.raised_at),
        "changed_at": iso(alert.changed_at),
        "cleared_at": alert.cleared_at.map(iso),
        "acknowledged_by": alert.acknowledged_by,
        "comment": alert.comment,
        "reason": alert.reason,
        "sentence": story.sentence(),
        "prediction_id": alert.prediction_id,
        "prediction": story.prediction().map(outcome),
        "explanation_status": status(settlement),
        "explanation_reason": settlement.and_then(|settlement| settlement.reason()),
        "explanation": story.explanation().map(|(id, explanation)| explained(id, &Figures::from(explanation))),
        "would_clear": story.would_clear(),
        "counterfactuals": story.counterfactuals.as_ref().map(|(id, found)| counterfactuals(Some(*id), found, story.language)),
        "similar": story.similar(),
        "cases": story.cases.as_ref().map(|(id, cases)| self::cases(*id, cases, &story.judged)),
        "feedback": story.said.iter().map(said).collect::<Vec<_>>(),
    })
}

/// A prediction with everything that is recorded of it. `None` for records of other streams.
pub(crate) fn prediction(record: &Record, raised: Option<Raised>, language: Language) -> Option<Value> {
    let own = story::explanation(record).map(|(id, explanation)| (id, Figures::from(explanation)));
    with_figures(record, own.as_ref(), raised, language)
}

/// The same with the explanation in a space that was asked for.
pub(crate) fn prediction_in(
    record: &Record,
    found: &(Uuid, Figures),
    raised: Option<Raised>,
    language: Language,
) -> Option<Value> {
    with_figures(record, Some(found), raised, language)
}

fn with_figures(
    record: &Record,
    explanation: Option<&(Uuid, Figures)>,
    raised: Option<Raised>,
    language: Language,
) -> Option<Value> {
    let prediction = story::prediction(record)?;
    let settlement = record.settlement.as_ref();
    let figures = explanation.map(|(_, figures)| figures);
    let own = record.output_and_space();
    let shown = figures.map(|figures| (figures.output, figures.space)).or(own);
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
        "base_value": figures.map(|figures| figures.base_value),
        "attributions": figures.map(|figures| &figures.attributions),
        "standard_errors": figures.map(|figures| &figures.standard_errors),
        "method": figures.map(|figures| figures.method.as_str()),
        "evaluations": figures.map(|figures| figures.evaluations),
        "additivity_gap": figures.map(|figures| figures.additivity_gap),
        "intervals": figures.map(|figures| &figures.intervals).filter(|intervals| !intervals.is_empty()),
        "errors": figures.map(|figures| &figures.errors).filter(|errors| !errors.is_empty()),
        "faithfulness": figures.and_then(|figures| figures.faithfulness),
        "alert_id": prediction.alert,
        "sentence": story::sentence(record, raised, language),
        "explanation_status": figures.map_or_else(|| status(settlement), Figures::status),
        "explanation_reason": settlement.filter(|_| figures.is_none()).and_then(|settlement| settlement.reason()),
        "explanation_id": explanation.map(|(id, _)| id),
        "explanation": explanation.map(|(id, figures)| explained(*id, figures)),
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

fn status(settlement: Option<&Settlement>) -> &'static str {
    settlement.map_or("pending", Settlement::status)
}

fn explained(id: Uuid, figures: &Figures) -> Value {
    let mut object = json!(figures);
    if let Value::Object(object) = &mut object {
        object.insert("id".to_owned(), json!(id));
    }
    object
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
