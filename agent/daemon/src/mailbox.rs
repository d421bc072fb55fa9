//! The bounded way by which pages, terminals and brokers hand a command to the driver, or to the rollout, and wait for its answer.

use std::time::Duration;

use explaind_core::domain::command::{Command, Done, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Commands that may wait. Full means that who answers is stuck: the next command is refused, not queued.
const CAPACITY: usize = 64;
/// The longest a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command on its way, with the address for its answer.
pub(crate) struct Letter {
    /// What is asked for.
    pub(crate) command: Command,
    /// Where the answer goes; nobody may be waiting any more.
    pub(crate) answer: oneshot::Sender<Result<Done, Refusal>>,
}

/// The senders' side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::Sender<Letter>);

/// A mailbox and the end of who answers.
pub(crate) fn mailbox() -> (Mailbox, mpsc::Receiver<Letter>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Mailbox(sender), receiver)
}

impl Mailbox {
    /// Sends a command and waits until its effect is on disk, or until it is refused.
    pub(crate) async fn send(&self, command: Command) -> Result<Done, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Letter { command, answer }).map_err(|_| Refusal::Busy)?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }
}
