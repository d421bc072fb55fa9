//! Alerts: what ISA-18.2 calls alarms. One open occurrence per (asset, decision rule).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Timestamp;

/// The asset that the gateway's own alerts belong to.
pub const GATEWAY: &str = "_gateway";

/// The state of one occurrence, after ISA-18.2. Stored by position: new ones go to the end.
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
    /// The condition is gone and nobody has seen it yet; it stays until a person resets it.
    LatchedUnacknowledged,
    /// The condition is gone and it was seen; it stays until a person resets it.
    LatchedAcknowledged,
}

impl AlarmState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unacknowledged,
        Self::Acknowledged,
        Self::ReturnedUnacknowledged,
        Self::LatchedUnacknowledged,
        Self::LatchedAcknowledged,
        Self::Normal,
    ];

    /// The name used in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unacknowledged => "unacknowledged",
            Self::Acknowledged => "acknowledged",
            Self::ReturnedUnacknowledged => "returned_unacknowledged",
            Self::Normal => "normal",
            Self::LatchedUnacknowledged => "latched_unacknowledged",
            Self::LatchedAcknowledged => "latched_acknowledged",
        }
    }

    /// Whether the occurrence is still on the list of a technician.
    pub fn is_open(self) -> bool {
        self != Self::Normal
    }

    /// Whether the condition holds.
    pub fn holds(self) -> bool {
        matches!(self, Self::Unacknowledged | Self::Acknowledged)
    }

    /// Whether nobody has said yet that they saw it.
    pub fn is_unseen(self) -> bool {
        matches!(self, Self::Unacknowledged | Self::ReturnedUnacknowledged | Self::LatchedUnacknowledged)
    }

    /// The condition holds (again). What is latched is raised anew, as the same occurrence.
    #[must_use]
    pub fn raise(self) -> Self {
        if self == Self::Acknowledged { Self::Acknowledged } else { Self::Unacknowledged }
    }

    /// The condition is gone. `latching`: it does not go with it.
    #[must_use]
    pub fn clear(self, latching: bool) -> Self {
        match (self, latching) {
            (Self::Unacknowledged, false) => Self::ReturnedUnacknowledged,
            (Self::Unacknowledged, true) => Self::LatchedUnacknowledged,
            (Self::Acknowledged, false) => Self::Normal,
            (Self::Acknowledged, true) => Self::LatchedAcknowledged,
            (gone, _) => gone,
        }
    }

    /// Somebody has seen it.
    #[must_use]
    pub fn acknowledge(self) -> Self {
        match self {
            Self::Unacknowledged | Self::Acknowledged => Self::Acknowledged,
            Self::ReturnedUnacknowledged | Self::Normal => Self::Normal,
            Self::LatchedUnacknowledged | Self::LatchedAcknowledged => Self::LatchedAcknowledged,
        }
    }

    /// Somebody lets go what is latched.
    ///
    /// # Errors
    /// While the condition holds, before it was acknowledged, and when it is not latched (OPC 10000-9, 5.8.5, demands the
    /// first two).
    pub fn reset(self) -> Result<Self, Unfit> {
        match self {
            Self::LatchedAcknowledged => Ok(Self::Normal),
            Self::LatchedUnacknowledged => Err(Unfit::Unseen),
            Self::Unacknowledged | Self::Acknowledged => Err(Unfit::Holds),
            Self::ReturnedUnacknowledged | Self::Normal => Err(Unfit::NotLatched),
        }
    }
}

/// Longest time for which an alert can be shelved: a week, so that who comes back from leave finds it again. What must be
/// quiet for longer is out of service, which an engineer answers for.
pub const LONGEST_SHELVING: Duration = Duration::from_secs(7 * 86_400);

/// Why an alarm cannot do what somebody asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Reset, while the condition holds.
    #[error("its condition still holds; it can be reset once that is gone")]
    Holds,
    /// Reset, before anybody has seen it.
    #[error("nobody has seen it yet; acknowledge it first")]
    Unseen,
    /// Reset, and it is not latched.
    #[error("it is not latched, so there is nothing to reset")]
    NotLatched,
    /// Shelved for no time, or for more than [`LONGEST_SHELVING`].
    #[error("an alert is shelved for more than nothing and at most 7 days; for longer, take it out of service")]
    Length,
    /// Unshelved, and it is not shelved.
    #[error("it is not shelved")]
    NotShelved,
    /// Taken out of service, and it is.
    #[error("it is out of service already")]
    OutOfService,
    /// Put back in service, and it is not out of it.
    #[error("it is not out of service")]
    InService,
    /// Nothing watches this any more.
    #[error("nothing watches this any more, so it raises no alert")]
    Unwatched,
}

/// What lies over an alarm and keeps it from the list. It belongs to the alarm, not to its occurrence, and the alarm's states
/// go on below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cover {
    /// An engineer has taken it out of service.
    pub out_of_service: bool,
    /// Somebody has shelved it, until then.
    pub shelved_until: Option<Timestamp>,
    /// The machine is off: `active_when` does not hold.
    pub by_design: bool,
}

impl Cover {
    /// The one that is shown: what lasts longest and was decided by whom it took most.
    pub fn shown(self) -> Suppression {
        if self.out_of_service {
            Suppression::OutOfService
        } else if self.shelved_until.is_some() {
            Suppression::Shelved
        } else if self.by_design {
            Suppression::ByDesign
        } else {
            Suppression::None
        }
    }

    /// Whether a person has laid something over it.
    pub fn is_by_people(self) -> bool {
        self.out_of_service || self.shelved_until.is_some()
    }
}

/// What lies over an alert's state, in a word. Stored by position: new ones go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suppression {
    /// Nothing.
    None,
    /// The machine is off: `active_when` does not hold.
    ByDesign,
    /// Somebody has put it aside for a time.
    Shelved,
    /// An engineer has taken it out of service.
    OutOfService,
}

impl Suppression {
    /// The name used in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ByDesign => "by_design",
            Self::Shelved => "shelved",
            Self::OutOfService => "out_of_service",
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

/// One change of an alarm: of its occurrence's state, or of what lies over it. An alert is the sum of its transitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertTransition {
    /// The occurrence, by the id of the record that raised it; `None` where something changes that lies over an alarm at rest.
    pub alert_id: Option<Uuid>,
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
    pub cover: Cover,
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
    /// What happens if nobody does anything, and what is to be done, by the rule that raises, of the transition that raises.
    pub guidance: Guidance,
}

/// What a technician is told beside the reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guidance {
    /// What happens if nobody does anything.
    pub consequence: Option<Arc<str>>,
    /// What is to be done.
    pub response: Option<Arc<str>>,
}
