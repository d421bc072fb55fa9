//! Going back, stopping and releasing, from the page, the API and the terminal alike; and what runs where.

use std::sync::Arc;

use explaind_core::domain::command::{Command, Done, Refusal};
use serde_json::Value;

use super::access::Actor;
use super::feedback::{LONGEST_COMMENT, text};
use super::problem::Problem;
use super::{Shared, Web, audit};

/// What an engineer may do to a model, or to the whole gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Back to the bundle before. Only of one model.
    Rollback,
    /// No more predictions.
    Stop,
    /// Predictions again.
    Release,
}

impl Verb {
    /// The verb of this name, where it can be said of one model, or of the whole gateway.
    pub(crate) fn named(name: &str, whole: bool) -> Result<Self, Problem> {
        let all = [Self::Stop, Self::Release, Self::Rollback];
        let verb = all.into_iter().find(|verb| verb.as_str() == name && !(whole && *verb == Self::Rollback));
        verb.ok_or_else(|| Problem::unknown("there is nothing at this address"))
    }

    /// Its name in addresses and in the audit.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Stop => "stop",
            Self::Release => "release",
        }
    }

    fn command(self, model: Option<Arc<str>>, author: String, reason: Option<String>) -> Result<Command, Problem> {
        match (self, model) {
            (Self::Rollback, Some(model)) => Ok(Command::Rollback { model, author, reason }),
            (Self::Rollback, None) => Err(Problem::unknown("only a single model can go back; name one")),
            (Self::Stop, model) => Ok(Command::Stop { model, author, reason }),
            (Self::Release, model) => Ok(Command::Release { model, author, reason }),
        }
    }
}

/// Asks the rollout and waits until it is done. `model`: absent, the whole gateway.
pub(crate) async fn ask(
    web: &Shared,
    actor: &Actor,
    verb: Verb,
    model: Option<String>,
    reason: Option<String>,
) -> Result<Done, Problem> {
    let reason = text("reason", reason, LONGEST_COMMENT)?;
    let author = actor.name.to_string();
    let command = verb.command(model.as_deref().map(Arc::from), author.clone(), reason)?;
    let web = Shared::clone(web);
    // A task of its own: somebody who hangs up meanwhile must not get away without the audit record.
    let done = tokio::spawn(async move {
        // The record comes after, so that nothing is stopped later because of it.
        let done = web.rollout.send(command).await;
        if let Err(refusal @ Refusal::UnknownModel(_)) = done {
            // Whatever somebody typed there is nothing that was touched.
            return Err(refusal);
        }
        let outcome = done.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        let object = model.map_or_else(|| "gateway".to_owned(), |name| format!("model {name}"));
        audit::note(&web, &author, verb.as_str(), &object, &outcome).await;
        done
    });
    Ok(done.await.map_err(|_| Refusal::Busy)??)
}

/// What runs where, as of now.
pub(crate) struct Running(Value);

impl Running {
    /// Looks.
    pub(crate) fn now(web: &Web) -> Self {
        Self((web.models)())
    }

    /// One object per model.
    pub(crate) fn models(&self) -> &[Value] {
        self.0["models"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// The model of this name.
    pub(crate) fn model(&self, name: &str) -> Option<&Value> {
        self.models().iter().find(|model| model["name"] == name)
    }

    /// Who stopped the whole gateway, if somebody did.
    pub(crate) fn stopped(&self) -> Option<&Value> {
        Some(&self.0["stopped"]).filter(|stop| stop.is_object())
    }

    /// Models that are stopped by themselves, with their stop.
    pub(crate) fn stopped_models(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.models().iter().filter_map(|model| {
            let stop = &model["stopped"];
            Some((model["name"].as_str()?, stop)).filter(|_| stop.is_object())
        })
    }
}
