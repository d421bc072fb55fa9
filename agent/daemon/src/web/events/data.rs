//! What events say, member by member.

use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::web::api::words::{Explained, Priorities, States, Suppressions};
use crate::web::time::Iso;

/// The content of an event, by which it also has its name.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    Hello(Hello),
    Alert(AlertNews),
    Feedback(FeedbackNews),
    Explanation(ExplanationNews),
    Prediction(PredictionNews),
    Gateway(GatewayNews),
    Heartbeat(Heartbeat),
    Reset(Reset),
}

impl Data {
    /// The name of the event.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Alert(_) => "alert",
            Self::Feedback(_) => "feedback",
            Self::Explanation(_) => "explanation",
            Self::Prediction(_) => "prediction",
            Self::Gateway(_) => "gateway",
            Self::Heartbeat(_) => "heartbeat",
            Self::Reset(_) => "reset",
        }
    }

    /// As it is sent.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// The first event.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Hello {
    pub(super) at: Iso,
    /// Whether what was missed follows.
    pub(super) resumes: bool,
}

/// An alert has changed, or what lies over its alarm.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct AlertNews {
    /// The alert; `null` where something changes that lies over an alarm at rest.
    pub(super) id: Option<Uuid>,
    pub(super) asset: Arc<str>,
    #[schemars(with = "States")]
    pub(super) state: &'static str,
    #[schemars(with = "Suppressions")]
    pub(super) suppression: &'static str,
    #[schemars(with = "Priorities")]
    pub(super) priority: &'static str,
    /// The number of the change in the stream `alerts`.
    pub(super) sequence: u64,
}

/// Somebody said something.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct FeedbackNews {
    pub(super) id: Uuid,
    pub(super) alert_id: Option<Uuid>,
    pub(super) prediction_id: Option<Uuid>,
    pub(super) asset: String,
    /// Its number in the stream `feedback`.
    pub(super) sequence: u64,
}

/// An alert's prediction is explained, or something was found out beside that.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(super) struct ExplanationNews {
    pub(super) prediction_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alert_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asset: Option<Arc<str>>,
    /// What became of the prediction's own explanation.
    #[schemars(with = "Option<Explained>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
    /// What else was found out: `counterfactuals`, `cases` or `space`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
}

/// A machine was predicted on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct PredictionNews {
    pub(super) id: Uuid,
    pub(super) asset: Arc<str>,
    pub(super) at: Iso,
    /// Its number in the stream `predictions`.
    pub(super) sequence: u64,
}

/// Something is otherwise with the gateway itself.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct GatewayNews {
    pub(super) subject: String,
    pub(super) state: String,
}

/// The line is up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Heartbeat {
    pub(super) at: Iso,
}

/// Everything is to be read anew.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Reset {
    /// Why, in one sentence.
    pub(super) reason: String,
}

/// The schema of each event's data, by its name.
pub(super) fn schemas(generator: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    all.insert("hello".to_owned(), json!(generator.subschema_for::<Hello>()));
    all.insert("alert".to_owned(), json!(generator.subschema_for::<AlertNews>()));
    all.insert("feedback".to_owned(), json!(generator.subschema_for::<FeedbackNews>()));
    all.insert("explanation".to_owned(), json!(generator.subschema_for::<ExplanationNews>()));
    all.insert("prediction".to_owned(), json!(generator.subschema_for::<PredictionNews>()));
    all.insert("gateway".to_owned(), json!(generator.subschema_for::<GatewayNews>()));
    all.insert("heartbeat".to_owned(), json!(generator.subschema_for::<Heartbeat>()));
    all.insert("reset".to_owned(), json!(generator.subschema_for::<Reset>()));
    all.into()
}
