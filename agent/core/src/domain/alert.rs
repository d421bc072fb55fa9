//! Alerts: what ISA-18.2 calls alarms. One open occurrence per (asset, decision rule).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The asset that the gateway's own alerts belong to.
pub const GATEWAY: &str = "_gateway";

/// The state of one occurrence, after ISA-18.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AlarmState {
    /// Raised, and nobody has said yet that they saw it.
    Unacknowledged,
    /// Raised and seen.
    Acknowledged,
    /// The condition is gone, and nobody has seen the alert yet.
    ReturnedUnacknowledged,
    /// Closed: the condition is gone and the alert was seen.
    Normal,
}

impl AlarmState {
    /// The name used in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unacknowledged => "unacknowledged",
            Self::Acknowledged => "acknowledged",
            Self::ReturnedUnacknowledged => "returned_unacknowledged",
            Self::Normal => "normal",
        }
    }

    /// Whether the occurrence is still on the list of a technician.
    pub fn is_open(self) -> bool {
        self != Self::Normal
    }

    /// The condition holds (again).
    #[must_use]
    pub fn raise(self) -> Self {
        match self {
            Self::Normal | Self::ReturnedUnacknowledged | Self::Unacknowledged => Self::Unacknowledged,
            Self::Acknowledged => Self::Acknowledged,
        }
    }

    /// The condition is gone.
    #[must_use]
    pub fn clear(self) -> Self {
        match self {
            Self::Unacknowledged | Self::ReturnedUnacknowledged => Self::ReturnedUnacknowledged,
            Self::Acknowledged | Self::Normal => Self::Normal,
        }
    }

    /// Somebody has seen it.
    #[must_use]
    pub fn acknowledge(self) -> Self {
        match self {
            Self::Unacknowledged | Self::Acknowledged => Self::Acknowledged,
            Self::ReturnedUnacknowledged | Self::Normal => Self::Normal,
        }
    }
}

/// What lies over an alert's state and keeps it from the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suppression {
    /// Nothing.
    None,
    /// The machine is off: `active_when` does not hold.
    ByDesign,
}

impl Suppression {
    /// The name used in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ByDesign => "by_design",
        }
    }
}

/// How urgent an alert is. Ordered from low to critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Look at it when there is time.
    Low,
    /// This shift.
    Medium,
    /// Soon.
    High,
    /// Now.
    Critical,
}

impl Priority {
    /// The name used in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// On which side of its threshold an output raises an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Raised {
    /// Large outputs are alarming, as of probabilities of failure.
    Above,
    /// Small outputs are alarming, as of remaining life.
    Below,
}

/// One change of an alert's state or suppression. An alert is the sum of its transitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertTransition {
    /// The occurrence; the id of the record that raised it.
    pub alert_id: Uuid,
    /// The machine.
    pub asset: Arc<str>,
    /// The model whose decision rule this is, by its name in the configuration; of the gateway's own alerts the rule.
    pub model: Arc<str>,
    /// The prediction that brought the change, where one did.
    pub prediction_id: Option<Uuid>,
    /// The state before.
    pub from: AlarmState,
    /// The state after.
    pub to: AlarmState,
    /// What lies over it, after the change.
    pub suppression: Suppression,
    /// How urgent it is.
    pub priority: Priority,
    /// Who brought the change, where a person did.
    pub author: Option<String>,
    /// What that person said.
    pub comment: Option<String>,
    /// What happened, in one phrase: `probability 0.93 above 0.5`.
    pub reason: String,
    /// Which outputs are alarming, of the transition that raises.
    pub raised: Option<Raised>,
}
