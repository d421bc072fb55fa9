//! Alerts and feedback as they lie on disk.

use explaind_core::domain::alert::{AlarmState, AlertTransition, Priority, Raised, Suppression};
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
    pub(super) fn of(transition: &AlertTransition) -> Self {
        Self {
            alert_id: transition.alert_id.into_bytes(),
            asset: transition.asset.as_ref().to_owned(),
            model: transition.model.as_ref().to_owned(),
            prediction_id: transition.prediction_id.map(Uuid::into_bytes),
            from: transition.from,
            to: transition.to,
            suppression: transition.suppression,
            priority: transition.priority,
            author: transition.author.clone(),
            comment: transition.comment.clone(),
            reason: transition.reason.clone(),
        }
    }

    pub(super) fn prediction(&self) -> Option<Uuid> {
        self.prediction_id.map(Uuid::from_bytes)
    }

    pub(super) fn into_domain(self, raised: Option<Raised>) -> AlertTransition {
        AlertTransition {
            alert_id: Uuid::from_bytes(self.alert_id),
            asset: self.asset.into(),
            model: self.model.into(),
            prediction_id: self.prediction_id.map(Uuid::from_bytes),
            from: self.from,
            to: self.to,
            suppression: self.suppression,
            priority: self.priority,
            author: self.author,
            comment: self.comment,
            reason: self.reason,
            raised,
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
