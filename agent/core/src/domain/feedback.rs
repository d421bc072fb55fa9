//! What people say of predictions and of explanations. Acknowledging is not feedback.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::prediction::Digest;
use super::time::Timestamp;

/// Who somebody is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// A machine that pulls batches.
    Collector,
    /// Looks.
    Viewer,
    /// Acknowledges and gives feedback.
    Technician,
    /// Manages users, models and the kill switch.
    Engineer,
}

impl UserRole {
    /// The name used in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Viewer => "viewer",
            Self::Technician => "technician",
            Self::Engineer => "engineer",
        }
    }
}

/// The verdict on a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was right.
    Confirm,
    /// It was wrong: a false alarm.
    Reject,
    /// It was wrong, and this is what it should have been.
    Correct,
    /// Cannot tell.
    Unsure,
    /// Something happened that no alert was raised for.
    Missed,
}

impl Verdict {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Reject => "reject",
            Self::Correct => "correct",
            Self::Unsure => "unsure",
            Self::Missed => "missed",
        }
    }
}

/// The verdict on an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExplanationVerdict {
    /// These are the reasons.
    Agree,
    /// These are not.
    Disagree,
}

impl ExplanationVerdict {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Disagree => "disagree",
        }
    }
}

/// One piece of feedback. A later one may revise it; nothing is ever overwritten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The feedback that this one replaces.
    pub revises: Option<Uuid>,
    /// The prediction judged.
    pub prediction_id: Option<Uuid>,
    /// The explanation judged.
    pub explanation_id: Option<Uuid>,
    /// The alert it was given on.
    pub alert_id: Option<Uuid>,
    /// The machine.
    pub asset: String,
    /// Start of a missed event.
    pub event_from: Option<Timestamp>,
    /// End of a missed event.
    pub event_to: Option<Timestamp>,
    /// The signed-in person.
    pub author: String,
    /// Their role at the time.
    pub role: UserRole,
    /// On the prediction.
    pub verdict: Option<Verdict>,
    /// What it should have been.
    pub corrected: Option<String>,
    /// On the explanation.
    pub explanation_verdict: Option<ExplanationVerdict>,
    /// Features that mattered, in the author's view.
    pub relevant: Vec<String>,
    /// Features that did not.
    pub irrelevant: Vec<String>,
    /// What it really was.
    pub cause: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// Whether the explanation had been served to this author before.
    pub explanation_seen: bool,
    /// The model judged.
    pub model_digest: Option<Digest>,
    /// The background its explanation was taken against.
    pub background_digest: Option<Digest>,
}
