//! The only way in which pages, terminals and brokers change the world: a command to the driver.

use uuid::Uuid;

use super::alert::AlarmState;

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
}

/// What a command led to, once it is on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// The alert is now in this state. Acknowledging again changes nothing and is no error.
    Acknowledged {
        /// The state after.
        state: AlarmState,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No open alert has this id.
    #[error("no open alert has the id {0}")]
    UnknownAlert(Uuid),
    /// It could not be made durable.
    #[error("it could not be stored: {0}")]
    NotStored(String),
    /// The gateway does not get to it in time. The command may still be carried out: look before asking again.
    #[error("the gateway is too busy to answer; look whether it was done before you try again")]
    Busy,
}
