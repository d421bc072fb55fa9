//! The JSON of alerts, predictions and feedback. Names are those of the records' columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use explaind_core::domain::alert::Raised;
use explaind_core::domain::explanation::{Faithfulness, IntervalShare, Settlement};
use explaind_core::domain::extra::{self, ReferenceRow};
use explaind_core::domain::feedback::{ExplanationVerdict, UserRole, Verdict};
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::{self, Outcome};
use explaind_core::domain::record::Record;
use explaind_core::explain::words::{self as sentences, Judged, Language};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::words::{Explained, Outcomes, Priorities, Qualities, Roles, Spaces, States, Suppressions};
use crate::web::story::{self, Story};
use crate::web::time::Iso;
use crate::web::verdicts::Said;

/// An alert with its reason, its explanation and what was said of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Alert {
    /// That of the record that raised it.
    id: Uuid,
    /// Its place among the alerts, by when they were raised: what `before` takes.
    sequence: u64,
    /// The machine; `_gateway` for the gateway's own alerts.
    asset: Arc<str>,
    /// The model whose rule it is, by its name in the configuration.
    model: Arc<str>,
    /// After ISA-18.2.
    #[schemars(with = "States")]
    state: &'static str,
    /// What lies over it.
    #[schemars(with = "Suppressions")]
    suppression: &'static str,
    shelved_until: Option<Iso>,
    suppressed_by: Option<String>,
    suppressed_because: Option<String>,
    #[schemars(with = "Priorities")]
    priority: &'static str,
    /// What happens if nobody does anything.
    consequence: Option<Arc<str>>,
    /// What is to be done.
    response: Option<Arc<str>>,
    raised_at: Iso,
    changed_at: Iso,
    /// When its condition went away; `null` while it holds.
    cleared_at: Option<Iso>,
    acknowledged_by: Option<String>,
    comment: Option<String>,
    /// What happened, in one phrase.
    reason: String,
    /// Why, in one sentence for people.
    sentence: String,
    /// The prediction that raised it.
    prediction_id: Option<Uuid>,
    /// What that said; `null` once it is no longer kept here.
    prediction: Option<Answer>,
    #[schemars(with = "Explained")]
    explanation_status: &'static str,
    explanation_reason: Option<String>,
    explanation: Option<Explanation>,
    /// What would clear it, in one sentence.
    would_clear: Option<String>,
    counterfactuals: Option<Counterfactuals>,
    /// What earlier alerts like it turned out to be, in one sentence.
    similar: Option<String>,
    cases: Option<Cases>,
    /// What was said of it, the oldest first.
    feedback: Vec<Feedback>,
}

impl Alert {
    /// As a story tells it.
    pub(crate) fn of(story: &Story) -> Self {
        let alert = &story.alert;
        let settlement = story.evidence.as_ref().and_then(|record| record.settlement.as_ref());
        let found = story.counterfactuals.as_ref();
        Self {
            id: alert.id,
            sequence: alert.number(),
            asset: Arc::clone(&alert.asset),
            model: Arc::clone(&alert.model),
            state: alert.state.as_str(),
            suppression: alert.suppression.as_str(),
            shelved_until: alert.cover.shelved_until.map(Iso),
            suppressed_by: alert.suppressed_by.clone(),
            suppressed_because: alert.suppressed_because.clone(),
            priority: alert.priority.as_str(),
            consequence: alert.guidance.consequence.clone(),
            response: alert.guidance.response.clone(),
            raised_at: Iso(alert.raised_at),
            changed_at: Iso(alert.changed_at),
            cleared_at: alert.cleared_at.map(Iso),
            acknowledged_by: alert.acknowledged_by.clone(),
            comment: alert.comment.clone(),
            reason: alert.reason.clone(),
            sentence: story.sentence(),
            prediction_id: alert.prediction_id,
            prediction: story.prediction().map(Answer::of),
            explanation_status: status(settlement),
            explanation_reason: settlement.and_then(Settlement::reason).map(str::to_owned),
            explanation: story.explanation().map(|(id, own)| Explanation { id, figures: Figures::from(own) }),
            would_clear: story.would_clear(),
            counterfactuals: found.map(|(id, found)| Counterfactuals::of(Some(*id), found, story.language)),
            similar: story.similar(),
            cases: story.cases.as_ref().map(|(id, cases)| Cases::of(*id, cases, &story.judged)),
            feedback: story.said.iter().map(Feedback::of).collect(),
        }
    }
}

/// What the model said, or why it said nothing.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Output")]
pub(crate) struct Answer {
    #[schemars(with = "Outcomes")]
    outcome: &'static str,
    output: Option<f64>,
    /// The class, of classifiers.
    label: Option<String>,
    /// Of the watched class, of classifiers.
    probability: Option<f64>,
    withheld_reason: Option<String>,
}

impl Answer {
    fn of(prediction: &prediction::Prediction) -> Self {
        match &prediction.outcome {
            Outcome::Predicted(output) => Self {
                outcome: "predicted",
                output: Some(output.value),
                label: output.label.clone(),
                probability: output.probability,
                withheld_reason: None,
            },
            Outcome::Withheld(reason) => Self {
                outcome: "withheld",
                output: None,
                label: None,
                probability: None,
                withheld_reason: Some(reason.to_string()),
            },
        }
    }
}

/// A prediction with everything that is recorded of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Prediction {
    id: Uuid,
    /// Its number in its stream: what `before` takes.
    sequence: u64,
    recorded_at: Iso,
    asset: Arc<str>,
    model: Arc<str>,
    model_version: Arc<str>,
    model_digest: String,
    background_digest: String,
    #[schemars(with = "Roles")]
    role: &'static str,
    source_time: Option<Iso>,
    /// The values that the model was given, by feature.
    inputs: BTreeMap<Arc<str>, Option<f64>>,
    /// The worst among them.
    #[schemars(with = "Qualities")]
    input_quality: &'static str,
    #[schemars(with = "Outcomes")]
    outcome: &'static str,
    /// In `space`.
    output: Option<f64>,
    label: Option<String>,
    probability: Option<f64>,
    withheld_reason: Option<String>,
    /// The space of the figures here.
    #[schemars(with = "Option<Spaces>")]
    space: Option<&'static str>,
    /// Mean output over the background rows.
    base_value: Option<f64>,
    /// The share of each feature: with the base value they add up to the output.
    attributions: Option<BTreeMap<Arc<str>, f64>>,
    standard_errors: Option<BTreeMap<Arc<str>, f64>>,
    method: Option<&'static str>,
    /// Model evaluations that the explanation took.
    evaluations: Option<u64>,
    additivity_gap: Option<f64>,
    /// Of windows: how shares spread over time.
    intervals: Option<BTreeMap<Arc<str>, Vec<IntervalShare>>>,
    /// Of reconstructions: each feature's part of the score.
    errors: Option<BTreeMap<Arc<str>, f64>>,
    faithfulness: Option<Faithfulness>,
    /// The alert that it raised or belongs to.
    alert_id: Option<Uuid>,
    /// Why, in one sentence for people.
    sentence: Option<String>,
    #[schemars(with = "Explained")]
    explanation_status: &'static str,
    explanation_reason: Option<String>,
    explanation_id: Option<Uuid>,
    explanation: Option<Explanation>,
}

impl Prediction {
    /// As it was stored. `None` for records of other streams.
    pub(crate) fn of(record: &Record, raised: Option<Raised>, language: Language) -> Option<Self> {
        let own = story::explanation(record).map(|(id, explanation)| (id, Figures::from(explanation)));
        Self::explained(record, own, raised, language)
    }

    /// With this explanation, in a space that was asked for.
    pub(crate) fn explained(
        record: &Record,
        explanation: Option<(Uuid, Figures)>,
        raised: Option<Raised>,
        language: Language,
    ) -> Option<Self> {
        let prediction = story::prediction(record)?;
        let settlement = record.settlement.as_ref();
        let figures = explanation.as_ref().map(|(_, figures)| figures);
        let own = record.output_and_space();
        let shown = figures.map(|figures| (figures.output, figures.space)).or(own);
        let Answer { outcome, output: _, label, probability, withheld_reason } = Answer::of(prediction);
        Some(Self {
            id: record.id,
            sequence: record.sequence,
            recorded_at: Iso(record.at.utc),
            asset: Arc::clone(&prediction.asset),
            model: Arc::clone(&prediction.model),
            model_version: Arc::clone(&prediction.model_version),
            model_digest: prediction.model_digest.to_string(),
            background_digest: prediction.background_digest.to_string(),
            role: prediction.role.as_str(),
            source_time: prediction.source_time.map(Iso),
            inputs: prediction.inputs.iter().map(|input| (Arc::clone(&input.feature), input.value)).collect(),
            input_quality: prediction.input_quality.as_str(),
            outcome,
            output: shown.map(|(output, _)| output),
            label,
            probability,
            withheld_reason,
            space: shown.map(|(_, space)| space.as_str()),
            base_value: figures.map(|figures| figures.base_value),
            attributions: figures.map(|figures| figures.attributions.clone()),
            standard_errors: figures.map(|figures| figures.standard_errors.clone()),
            method: figures.map(|figures| figures.method.as_str()),
            evaluations: figures.map(|figures| figures.evaluations),
            additivity_gap: figures.map(|figures| figures.additivity_gap),
            intervals: figures.map(|figures| figures.intervals.clone()).filter(|intervals| !intervals.is_empty()),
            errors: figures.map(|figures| figures.errors.clone()).filter(|errors| !errors.is_empty()),
            faithfulness: figures.and_then(|figures| figures.faithfulness),
            alert_id: prediction.alert,
            sentence: story::sentence(record, raised, language),
            explanation_status: figures.map_or_else(|| status(settlement), Figures::status),
            explanation_reason: settlement
                .filter(|_| figures.is_none())
                .and_then(Settlement::reason)
                .map(str::to_owned),
            explanation_id: explanation.as_ref().map(|(id, _)| *id),
            explanation: explanation.map(|(id, figures)| Explanation { id, figures }),
        })
    }
}

/// An explanation under the id that feedback names.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explanation {
    id: Uuid,
    #[serde(flatten)]
    figures: Figures,
}

/// What would clear an alert, with its sentence.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Counterfactuals {
    /// The id that feedback names; `null` when it is not on record.
    id: Option<Uuid>,
    sentence: String,
    #[serde(flatten)]
    found: extra::Counterfactuals,
}

impl Counterfactuals {
    /// As they were found.
    pub(crate) fn of(id: Option<Uuid>, found: &extra::Counterfactuals, language: Language) -> Self {
        Self { id, sentence: sentences::remedy(language, found), found: found.clone() }
    }
}

/// What is like an alert, with the verdicts on it that stand now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Cases {
    /// The id that feedback names.
    id: Uuid,
    /// How many earlier alerts were compared.
    compared: usize,
    /// The nearest first.
    alerts: Vec<Case>,
    /// Rows of the background, the nearest first.
    background: Vec<ReferenceRow>,
}

/// An earlier alert that is like this one.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Case {
    alert_id: Uuid,
    prediction_id: Uuid,
    asset: Arc<str>,
    /// From 0, alike in values and reasons, to 1.
    distance: f64,
    verdict: Option<Verdict>,
    /// The cause that was named, or else the comment.
    words: Option<String>,
}

impl Cases {
    fn of(id: Uuid, cases: &extra::Cases, judged: &[Judged]) -> Self {
        let alerts = cases.alerts.iter().zip(judged).map(|(past, judged)| Case {
            alert_id: past.alert_id,
            prediction_id: past.prediction_id,
            asset: Arc::clone(&past.asset),
            distance: past.distance,
            verdict: judged.verdict,
            words: judged.words.clone(),
        });
        Self { id, compared: cases.compared, alerts: alerts.collect(), background: cases.background.clone() }
    }
}

fn status(settlement: Option<&Settlement>) -> &'static str {
    settlement.map_or("pending", Settlement::status)
}

/// One piece of feedback.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Feedback {
    id: Uuid,
    /// Its number in its stream: what `before` takes.
    sequence: u64,
    recorded_at: Iso,
    /// Whether a later one took its place.
    revised: bool,
    revises: Option<Uuid>,
    prediction_id: Option<Uuid>,
    explanation_id: Option<Uuid>,
    alert_id: Option<Uuid>,
    asset: String,
    /// Start of a missed event.
    event_from: Option<Iso>,
    /// Its end.
    event_to: Option<Iso>,
    author: String,
    /// The author's, at the time.
    role: UserRole,
    verdict: Option<Verdict>,
    /// What it should have been.
    corrected: Option<String>,
    explanation_verdict: Option<ExplanationVerdict>,
    /// Features that mattered, in the author's view.
    relevant: Vec<String>,
    /// Features that did not.
    irrelevant: Vec<String>,
    cause: Option<String>,
    comment: Option<String>,
    /// Whether the explanation had been served to the author before.
    explanation_seen: bool,
    model_digest: Option<String>,
    background_digest: Option<String>,
}

impl Feedback {
    /// As it was said.
    pub(crate) fn of(said: &Said) -> Self {
        let feedback = said.feedback.clone();
        Self {
            id: said.id,
            sequence: said.sequence,
            recorded_at: Iso(said.at),
            revised: said.revised,
            revises: feedback.revises,
            prediction_id: feedback.prediction_id,
            explanation_id: feedback.explanation_id,
            alert_id: feedback.alert_id,
            asset: feedback.asset,
            event_from: feedback.event_from.map(Iso),
            event_to: feedback.event_to.map(Iso),
            author: feedback.author,
            role: feedback.role,
            verdict: feedback.verdict,
            corrected: feedback.corrected,
            explanation_verdict: feedback.explanation_verdict,
            relevant: feedback.relevant,
            irrelevant: feedback.irrelevant,
            cause: feedback.cause,
            comment: feedback.comment,
            explanation_seen: feedback.explanation_seen,
            model_digest: feedback.model_digest.map(|digest| digest.to_string()),
            background_digest: feedback.background_digest.map(|digest| digest.to_string()),
        }
    }
}
