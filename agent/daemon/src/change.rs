//! The bounded way by which the rollout says which models the driver runs: it changes them between two samples.

use std::sync::Arc;
use std::time::Duration;

use explaind_core::model::Model;
use explaind_core::pipeline::Stops;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Orders that may wait for the driver. Full means that it is stuck: the next one is tried again later.
const CAPACITY: usize = 16;
/// The longest that an order waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A change of what runs.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// From now on this model decides for the asset; `None`: none can.
    Champion {
        /// The machine.
        asset: Arc<str>,
        /// Its model.
        model: Option<Arc<Model>>,
    },
    /// From now on this model runs beside it; `None`: none does.
    Challenger {
        /// The machine.
        asset: Arc<str>,
        /// What is tried.
        model: Option<Arc<Model>>,
    },
    /// What is stopped from now on, all of it.
    Stops(Stops),
}

/// Changes that are made together.
pub(crate) struct Order {
    /// In this order.
    pub(crate) changes: Vec<Change>,
    /// Told once they are made.
    pub(crate) made: oneshot::Sender<()>,
}

/// The driver did not get to it in time; it may still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver is too busy to change models")]
pub(crate) struct Busy;

/// The senders' side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Changes(mpsc::Sender<Order>);

/// The way, and the driver's end of it.
pub(crate) fn changes() -> (Changes, mpsc::Receiver<Order>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Changes(sender), receiver)
}

impl Changes {
    /// Has changes made, and waits until they are.
    pub(crate) async fn make(&self, changes: Vec<Change>) -> Result<(), Busy> {
        if changes.is_empty() {
            return Ok(());
        }
        let (made, done) = oneshot::channel();
        self.0.try_send(Order { changes, made }).map_err(|_| Busy)?;
        match timeout(PATIENCE, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }
}
