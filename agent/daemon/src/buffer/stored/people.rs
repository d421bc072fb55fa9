//! Alerts and feedback as they lie on disk.

use std::sync::Arc;

use explaind_core::domain::alert::{AlarmState, AlertTransition, Cover, Guidance, Priority, Raised, Suppression};
use explaind_core::domain::feedback::{ExplanationVerdict, Feedback, UserRole, Verdict};
use explaind_core::domain::prediction::Digest;
use explaind_core::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredAlert {
    alert_id: [u8; 16],
    asset: String,
    model: String,
    prediction_id: Option<[u8; 16]>,
    from: AlarmState,
    to: AlarmState,
    suppression: Suppression,
    priority: Priority,
    author: Option<String>,
    comment: Option<String>,
    reason: String,
}

/// A transition that says more than [`StoredAlert`] can: of an alarm at rest, below what people laid over it, or with what
/// the technician is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredAlarm {
    alert_id: Option<[u8; 16]>,
    asset: String,
    model: String,
    prediction_id: Option<[u8; 16]>,
    from: AlarmState,
    to: AlarmState,
    out_of_service: bool,
    shelved_until: Option<i64>,
    by_design: bool,
    priority: Priority,
    author: Option<String>,
    comment: Option<String>,
    reason: String,
    raised: Option<Raised>,
    consequence: Option<String>,
    response: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredFeedback {
    revises: Option<[u8; 16]>,
    prediction_id: Option<[u8; 16]>,
    explanation_id: Option<[u8; 16]>,
    alert_id: Option<[u8; 16]>,
    asset: String,
    event_from: Option<i64>,
    event_to: Option<i64>,
    author: String,
    role: UserRole,
    verdict: Option<Verdict>,
    corrected: Option<String>,
    explanation_verdict: Option<ExplanationVerdict>,
    relevant: Vec<String>,
    irrelevant: Vec<String>,
    cause: Option<String>,
    comment: Option<String>,
    explanation_seen: bool,
    model_digest: Option<[u8; 32]>,
    background_digest: Option<[u8; 32]>,
}

impl StoredAlert {
    /// `None` where it takes a [`StoredAlarm`] to say it all.
    pub(super) fn of(transition: &AlertTransition) -> Option<Self> {
        if transition.cover.is_by_people() || transition.guidance != Guidance::default() {
            return None;
        }
        Some(Self {
            alert_id: transition.alert_id?.into_bytes(),
            asset: transition.asset.as_ref().to_owned(),
            model: transition.model.as_ref().to_owned(),
            prediction_id: transition.prediction_id.map(Uuid::into_bytes),
            from: transition.from,
            to: transition.to,
            suppression: transition.cover.shown(),
            priority: transition.priority,
            author: transition.author.clone(),
            comment: transition.comment.clone(),
            reason: transition.reason.clone(),
        })
    }

    pub(super) fn prediction(&self) -> Option<Uuid> {
        self.prediction_id.map(Uuid::from_bytes)
    }

    pub(super) fn into_domain(self, raised: Option<Raised>) -> AlertTransition {
        AlertTransition {
            alert_id: Some(Uuid::from_bytes(self.alert_id)),
            asset: self.asset.into(),
            model: self.model.into(),
            prediction_id: self.prediction_id.map(Uuid::from_bytes),
            from: self.from,
            to: self.to,
            cover: Cover { by_design: self.suppression == Suppression::ByDesign, ..Cover::default() },
            priority: self.priority,
            author: self.author,
            comment: self.comment,
            reason: self.reason,
            raised,
            guidance: Guidance::default(),
        }
    }
}

impl StoredAlarm {
    pub(super) fn of(transition: &AlertTransition) -> Self {
        let AlertTransition { cover, guidance, .. } = transition;
        let owned = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            alert_id: transition.alert_id.map(Uuid::into_bytes),
            asset: transition.asset.as_ref().to_owned(),
            model: transition.model.as_ref().to_owned(),
            prediction_id: transition.prediction_id.map(Uuid::into_bytes),
            from: transition.from,
            to: transition.to,
            out_of_service: cover.out_of_service,
            shelved_until: cover.shelved_until.map(Timestamp::as_micros),
            by_design: cover.by_design,
            priority: transition.priority,
            author: transition.author.clone(),
            comment: transition.comment.clone(),
            reason: transition.reason.clone(),
            raised: transition.raised,
            consequence: owned(&guidance.consequence),
            response: owned(&guidance.response),
        }
    }

    pub(super) fn prediction(&self) -> Option<Uuid> {
        self.prediction_id.map(Uuid::from_bytes)
    }

    pub(super) fn into_domain(self) -> AlertTransition {
        let shelved_until = self.shelved_until.map(Timestamp::from_micros);
        AlertTransition {
            alert_id: self.alert_id.map(Uuid::from_bytes),
            asset: self.asset.into(),
            model: self.model.into(),
            prediction_id: self.prediction_id.map(Uuid::from_bytes),
            from: self.from,
            to: self.to,
            cover: Cover { out_of_service: self.out_of_service, shelved_until, by_design: self.by_design },
            priority: self.priority,
            author: self.author,
            comment: self.comment,
            reason: self.reason,
            raised: self.raised,
            guidance: Guidance { consequence: self.consequence.map(Arc::from), response: self.response.map(Arc::from) },
        }
    }
}

impl StoredFeedback {
    pub(super) fn of(feedback: &Feedback) -> Self {
        Self {
            revises: feedback.revises.map(Uuid::into_bytes),
            prediction_id: feedback.prediction_id.map(Uuid::into_bytes),
            explanation_id: feedback.explanation_id.map(Uuid::into_bytes),
            alert_id: feedback.alert_id.map(Uuid::into_bytes),
            asset: feedback.asset.clone(),
            event_from: feedback.event_from.map(Timestamp::as_micros),
            event_to: feedback.event_to.map(Timestamp::as_micros),
            author: feedback.author.clone(),
            role: feedback.role,
            verdict: feedback.verdict,
            corrected: feedback.corrected.clone(),
            explanation_verdict: feedback.explanation_verdict,
            relevant: feedback.relevant.clone(),
            irrelevant: feedback.irrelevant.clone(),
            cause: feedback.cause.clone(),
            comment: feedback.comment.clone(),
            explanation_seen: feedback.explanation_seen,
            model_digest: feedback.model_digest.map(|digest| digest.0),
            background_digest: feedback.background_digest.map(|digest| digest.0),
        }
    }

    pub(super) fn into_domain(self) -> Feedback {
        Feedback {
            revises: self.revises.map(Uuid::from_bytes),
            prediction_id: self.prediction_id.map(Uuid::from_bytes),
            explanation_id: self.explanation_id.map(Uuid::from_bytes),
            alert_id: self.alert_id.map(Uuid::from_bytes),
            asset: self.asset,
            event_from: self.event_from.map(Timestamp::from_micros),
            event_to: self.event_to.map(Timestamp::from_micros),
            author: self.author,
            role: self.role,
            verdict: self.verdict,
            corrected: self.corrected,
            explanation_verdict: self.explanation_verdict,
            relevant: self.relevant,
            irrelevant: self.irrelevant,
            cause: self.cause,
            comment: self.comment,
            explanation_seen: self.explanation_seen,
            model_digest: self.model_digest.map(Digest),
            background_digest: self.background_digest.map(Digest),
        }
    }
}
