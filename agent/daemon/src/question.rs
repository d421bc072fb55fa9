//! The bounded way by which the API asks the explainer for what was not worked out by itself, and waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::extra::Counterfactuals;
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::Space;
use explaind_core::domain::record::{Body, Record};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

/// The longest that somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked about which prediction.
pub(crate) struct Question {
    /// The prediction's record.
    pub(crate) prediction: Box<Record>,
    /// What is asked, with the address for the answer; nobody may be waiting there any more.
    pub(crate) about: About,
}

/// What can be asked about a prediction.
pub(crate) enum About {
    /// What would clear its alert?
    Counterfactuals(oneshot::Sender<Answer<Counterfactuals>>),
    /// Why, in this space?
    Space(Space, oneshot::Sender<Answer<Figures>>),
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found<T> {
    /// The record that holds it. What says that there is nothing to change is not put on record.
    pub(crate) id: Option<Uuid>,
    /// What was found.
    pub(crate) content: T,
}

impl<T: DeserializeOwned> Found<T> {
    /// What a stored record says; `None` when it cannot be read back.
    pub(crate) fn stored(record: &Record) -> Option<Self> {
        let Body::Extra(extra) = &record.body else { return None };
        let content = serde_json::from_str(&extra.content).ok()?;
        Some(Self { id: Some(record.id), content })
    }
}

/// What was found, or why nothing was.
pub(crate) type Answer<T> = Result<Found<T>, Unanswered>;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The explainer has enough to do, or does not answer in time.
    #[error("the gateway is busy explaining; ask again in a moment")]
    Busy,
    /// Nothing was predicted, so nothing can be explained or changed about it.
    #[error("this prediction was withheld, so there is no output to explain or to change")]
    Withheld,
    /// A rule said it.
    #[error(
        "this prediction came from the rule that stands in for a model, so there is nothing to explain or to change"
    )]
    OfRule,
    /// The model is another by now, and this one is not kept.
    #[error("the model that made this prediction no longer runs here, so nothing more can be asked of it")]
    NotRunning,
    /// The model has no such space.
    #[error("{0}")]
    NoSuchSpace(String),
    /// The model failed on a row that was tried, or the answer could not be stored.
    #[error("{0}")]
    Failed(String),
}

impl Unanswered {
    /// A library panicked.
    pub(crate) fn within() -> Self {
        Self::Failed("the model failed from within; the log says how".to_owned())
    }
}

/// The asking side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Questions(Arc<dyn Fn(Question) -> bool + Send + Sync>);

impl Questions {
    /// `take` says whether it took the question over.
    pub(crate) fn new(take: impl Fn(Question) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Asks what would clear the alert of a prediction.
    pub(crate) async fn counterfactuals(&self, prediction: Record) -> Answer<Counterfactuals> {
        self.ask(prediction, About::Counterfactuals).await
    }

    /// Asks for the explanation of a prediction in a space.
    pub(crate) async fn in_space(&self, prediction: Record, space: Space) -> Answer<Figures> {
        self.ask(prediction, |answer| About::Space(space, answer)).await
    }

    /// Asks, and waits for an answer; what has an id is on disk by then.
    async fn ask<T>(&self, prediction: Record, about: impl FnOnce(oneshot::Sender<Answer<T>>) -> About) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        if !(self.0)(Question { prediction: Box::new(prediction), about: about(answer) }) {
            return Err(Unanswered::Busy);
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Unanswered::Busy),
        }
    }
}
