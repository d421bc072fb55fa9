//! What is kept, numbered and sent home.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::alert::AlertTransition;
use super::explanation::{Explanation, Settlement};
use super::extra::Extra;
use super::feedback::Feedback;
use super::prediction::{Outcome, Prediction, Space};
use super::time::{Moment, Now};

/// The version of the column set of every stream. Columns are only ever added. To `predictions` version 2 added `intervals`
/// and `errors`, version 3 `faithfulness`; to `alerts` version 4 added `shelved_until`, `consequence` and `response`; to `audit`
/// version 5 added `hashed_actor` and `hashed_object`.
pub const SCHEMA_VERSION: u16 = 5;

/// A sequence of records of one kind, numbered without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Predictions, with their explanations.
    Predictions,
    /// Transitions of alerts.
    Alerts,
    /// What people said.
    Feedback,
    /// Who did what on this gateway.
    Audit,
    /// The gateway's own state: evictions, gaps, salvage.
    Health,
    /// What is explained of predictions beside their attributions.
    Explanations,
}

impl Stream {
    /// All streams, most precious first: the order in which sync serves them. What the buffer notes beside its store is in
    /// this order too, so a further stream goes to the end.
    pub const ALL: [Self; 6] =
        [Self::Feedback, Self::Alerts, Self::Audit, Self::Health, Self::Predictions, Self::Explanations];

    /// The name used in paths, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Predictions => "predictions",
            Self::Alerts => "alerts",
            Self::Feedback => "feedback",
            Self::Audit => "audit",
            Self::Health => "health",
            Self::Explanations => "explanations",
        }
    }

    /// The stream of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == name)
    }
}

/// Somebody did something that changes the gateway or who may use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Who.
    pub actor: String,
    /// Did what: `sign_in`, `acknowledge`, …
    pub action: String,
    /// To what.
    pub object: String,
    /// With what result: `done`, or the reason of a refusal.
    pub outcome: String,
    /// What stands for the people in it, where there are any. Set by the buffer; absent also in records of earlier versions.
    pub stand_in: Option<StandIn>,
    /// The hash of the audit record before this one; zeros for the first. Set by the buffer.
    pub previous_hash: [u8; 32],
    /// SHA-256 over `previous_hash` and this record's own fields, with pseudonyms for people. Set by the buffer.
    pub hash: [u8; 32],
}

/// An audit record's people under their pseudonyms: what its hash is over, so that whoever gets no names can check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// For the actor.
    pub actor: String,
    /// For the object, where that names a person.
    pub object: Option<String>,
}

impl Audit {
    /// What is to be put on record; the buffer adds the rest.
    pub fn new(
        actor: impl Into<String>,
        action: impl Into<String>,
        object: impl Into<String>,
        outcome: impl Into<String>,
    ) -> Self {
        Self {
            actor: actor.into(),
            action: action.into(),
            object: object.into(),
            outcome: outcome.into(),
            stand_in: None,
            previous_hash: [0; 32],
            hash: [0; 32],
        }
    }

    /// Actor and object as the hash has them.
    pub fn hashed(&self) -> (&str, &str) {
        match &self.stand_in {
            Some(stand_in) => (&stand_in.actor, stand_in.object.as_deref().unwrap_or(&self.object)),
            None => (&self.actor, &self.object),
        }
    }

    /// The user that an object of the form `user NAME` names.
    pub fn user_in(object: &str) -> Option<&str> {
        object.strip_prefix("user ")
    }
}

/// Something about the gateway itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// What it is about: `buffer`, `source/press-plc`, …
    pub subject: String,
    /// What is the case: `evicted`, `gap`, …
    pub state: String,
    /// The figures behind it.
    pub evidence: Vec<(String, String)>,
}

/// A record's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// See [`Prediction`].
    Prediction(Prediction),
    /// See [`AlertTransition`].
    Alert(AlertTransition),
    /// See [`Feedback`].
    Feedback(Feedback),
    /// See [`Audit`].
    Audit(Audit),
    /// See [`Health`].
    Health(Health),
    /// See [`Extra`].
    Extra(Extra),
}

impl Body {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Prediction(_) => Stream::Predictions,
            Self::Alert(_) => Stream::Alerts,
            Self::Feedback(_) => Stream::Feedback,
            Self::Audit(_) => Stream::Audit,
            Self::Health(_) => Stream::Health,
            Self::Extra(_) => Stream::Explanations,
        }
    }
}

/// A record before it is stored: the id is minted by who made it, the sequence is the buffer's to give.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    /// A UUIDv7.
    pub id: Uuid,
    /// When it was made.
    pub at: Now,
    /// The content.
    pub body: Body,
}

/// What all records of one run of the daemon share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The gateway's name.
    pub gateway: Arc<str>,
    /// The store that numbers these records.
    pub store_id: Uuid,
    /// The machine's boot.
    pub boot_id: Uuid,
    /// The agent's version.
    pub agent_version: Arc<str>,
    /// SHA-256 of the effective configuration, in hexadecimal.
    pub config_digest: Arc<str>,
}

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// A UUIDv7.
    pub id: Uuid,
    /// Its number in its stream, from 1, without gaps but for recorded evictions.
    pub sequence: u64,
    /// When it was made.
    pub at: Now,
    /// Whether the wall clock was known to be right then.
    pub clock_synchronised: bool,
    /// The run of the daemon that made it.
    pub session: Arc<Session>,
    /// The content.
    pub body: Body,
    /// What became of a prediction's explanation; `None` for other streams, and until it is settled.
    pub settlement: Option<Settlement>,
}

impl Record {
    /// When it was made, as far as that tells anything about other times.
    pub fn moment(&self) -> Moment {
        Moment { at: self.at, boot_id: self.session.boot_id, synchronised: self.clock_synchronised }
    }

    /// A prediction's explanation, where there is one.
    pub fn explanation(&self) -> Option<&Explanation> {
        self.settlement.as_ref()?.explanation()
    }

    /// A prediction's output, and the space it is in; `None` where none was made.
    ///
    /// `base_value + Σ attributions = output` holds in the explanation's space, so that is the one shown where there is
    /// an explanation; else the space that was decided in.
    pub fn output_and_space(&self) -> Option<(f64, Space)> {
        if let Some(explanation) = self.explanation() {
            return Some((explanation.output, explanation.space));
        }
        let Body::Prediction(Prediction { outcome: Outcome::Predicted(output), .. }) = &self.body else { return None };
        Some((output.value, if output.probability.is_some() { Space::Probability } else { Space::Value }))
    }
}

/// A UUIDv7: the time in its leading bits, so that ids sort by when they were made. `random` must be fresh.
pub fn mint(at: Now, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(at.utc.as_micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
