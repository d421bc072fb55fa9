//! The only way in which pages, terminals and brokers change the world: a command to the driver or to the rollout.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::alert::{AlarmState, Unfit};

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// "I have seen it."
    Acknowledge {
        /// Which alert.
        alert_id: Uuid,
        /// Who says so.
        author: String,
        /// What they add.
        comment: Option<String>,
    },
    /// Something else that people do to an alarm.
    Alarm {
        /// One of its occurrences, open or closed.
        alert_id: Uuid,
        /// Who asks.
        author: String,
        /// For what.
        act: Act,
    },
    /// Back to the bundle before.
    Rollback {
        /// Which model.
        model: Arc<str>,
        /// Who says so.
        author: String,
        /// Why.
        reason: Option<String>,
    },
    /// No more predictions, until somebody here releases it.
    Stop {
        /// Which model; absent: the whole gateway.
        model: Option<Arc<str>>,
        /// Who says so.
        author: String,
        /// Why.
        reason: Option<String>,
    },
    /// Predictions again.
    Release {
        /// Which model; absent: the whole gateway.
        model: Option<Arc<str>>,
        /// Who says so.
        author: String,
        /// Why.
        reason: Option<String>,
    },
}

/// What people do to an alarm beside acknowledging it.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Lets go an occurrence that is latched.
    Reset {
        /// What they add.
        comment: Option<String>,
    },
    /// Puts the alarm aside for a time.
    Shelve {
        /// For how long.
        length: Duration,
        /// Why.
        reason: String,
    },
    /// Takes it back from there.
    Unshelve {
        /// What they add.
        comment: Option<String>,
    },
    /// Takes the alarm out of service, until it is put back.
    OutOfService {
        /// Why.
        reason: String,
    },
    /// Puts it back in service.
    InService {
        /// What they add.
        comment: Option<String>,
    },
}

/// What a command led to, once it is on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// The alert is now in this state. Acknowledging again changes nothing and is no error.
    Acknowledged {
        /// The state after.
        state: AlarmState,
    },
    /// The alarm is as was asked for.
    Alarm,
    /// The bundle before decides again.
    RolledBack {
        /// Its version.
        version: Arc<str>,
    },
    /// It is stopped.
    Stopped,
    /// It is no longer stopped.
    Released,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No alert that is known has this id.
    #[error("no alert has the id {0}")]
    UnknownAlert(Uuid),
    /// The alarm cannot do that as it stands.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There is no such model.
    #[error("there is no model \"{0}\" in the configuration")]
    UnknownModel(String),
    /// No bundle ran before this one, or it is gone.
    #[error("model \"{0}\" has no bundle to go back to")]
    NothingToRollBackTo(String),
    /// The registry says that it is stopped, and would stop it again.
    #[error("the registry says that {0} is stopped; remove the tag explaind.stop there first")]
    CannotRelease(String),
    /// It could not be made durable.
    #[error("it could not be stored: {0}")]
    NotStored(String),
    /// The gateway does not get to it in time. The command may still be carried out: look before asking again.
    #[error("the gateway is too busy to answer; look whether it was done before you try again")]
    Busy,
}
