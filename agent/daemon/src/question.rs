//! The bounded way by which the API asks the explainer what would clear an alert, and waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::extra::Counterfactuals;
use explaind_core::domain::record::{Body, Record};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

/// The longest that somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which prediction is asked about, with the address for the answer.
pub(crate) struct Question {
    /// The prediction's record.
    pub(crate) prediction: Box<Record>,
    /// Where the answer goes; nobody may be waiting any more.
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What would clear an alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// The record that holds it. What says that there is nothing to change is not put on record.
    pub(crate) id: Option<Uuid>,
    /// What was found.
    pub(crate) counterfactuals: Counterfactuals,
}

impl Found {
    /// What a stored record says; `None` when it cannot be read back.
    pub(crate) fn stored(record: &Record) -> Option<Self> {
        let Body::Extra(extra) = &record.body else { return None };
        let counterfactuals = serde_json::from_str(&extra.content).ok()?;
        Some(Self { id: Some(record.id), counterfactuals })
    }
}

/// What was found, or why nothing was.
pub(crate) type Answer = Result<Found, Unanswered>;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The explainer has enough to do, or does not answer in time.
    #[error("the gateway is busy explaining; ask again in a moment")]
    Busy,
    /// Nothing was predicted, so nothing can be changed about it.
    #[error("this prediction was withheld, so there is no output to change")]
    Withheld,
    /// The model is another by now.
    #[error("the model that made this prediction no longer runs here, so no change can be tried on it")]
    NotRunning,
    /// The model failed on a row that was tried, or the answer could not be stored.
    #[error("{0}")]
    Failed(String),
}

/// The asking side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Questions(Arc<dyn Fn(Question) -> bool + Send + Sync>);

impl Questions {
    /// `take` says whether it took the question over.
    pub(crate) fn new(take: impl Fn(Question) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Asks, and waits for an answer; what has an id is on disk by then.
    pub(crate) async fn ask(&self, prediction: Record) -> Answer {
        let (answer, answered) = oneshot::channel();
        if !(self.0)(Question { prediction: Box::new(prediction), answer }) {
            return Err(Unanswered::Busy);
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Unanswered::Busy),
        }
    }
}
