//! Models: which run where, and going back, stopping and releasing.

use axum::extract::State;
use explaind_core::domain::command::Done;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::body::OptionalBody;
use super::path::Name;
use super::{Told, shapes};
use crate::web::Shared;
use crate::web::access::{Actor, Engineer, Viewer};
use crate::web::problem::Problem;
use crate::web::rollout::{self, Running, Verb};

/// Every model, as the status has it.
pub(crate) async fn list(State(web): State<Shared>, _: Viewer) -> Told<Vec<shapes::Model>> {
    Told::new(Running::now(&web).models().into())
}

/// What may be said with a change.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Because {
    reason: Option<String>,
}

/// Back to the version before.
pub(crate) async fn rollback(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Name(name): Name,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Told<shapes::Change>, Problem> {
    carry_out(&web, &actor, Verb::Rollback, Some(name), because).await
}

/// No more predictions with this model.
pub(crate) async fn stop(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Name(name): Name,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Told<shapes::Change>, Problem> {
    carry_out(&web, &actor, Verb::Stop, Some(name), because).await
}

/// Predictions with this model again.
pub(crate) async fn release(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Name(name): Name,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Told<shapes::Change>, Problem> {
    carry_out(&web, &actor, Verb::Release, Some(name), because).await
}

/// No more predictions on this gateway.
pub(crate) async fn stop_all(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Told<shapes::Change>, Problem> {
    carry_out(&web, &actor, Verb::Stop, None, because).await
}

/// Predictions on this gateway again.
pub(crate) async fn release_all(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Told<shapes::Change>, Problem> {
    carry_out(&web, &actor, Verb::Release, None, because).await
}

async fn carry_out(
    web: &Shared,
    actor: &Actor,
    verb: Verb,
    model: Option<String>,
    because: Because,
) -> Result<Told<shapes::Change>, Problem> {
    let done = rollout::ask(web, actor, verb, model.clone(), because.reason).await?;
    let running = Running::now(web);
    let (done, version) = match done {
        Done::RolledBack { version } => ("rolled_back", Some(version)),
        Done::Released => ("released", None),
        Done::Stopped | Done::Acknowledged { .. } | Done::Alarm => ("stopped", None),
    };
    Ok(Told::new(json!({
        "done": done,
        "version": version.as_deref(),
        "model": model.and_then(|name| running.model(&name).cloned()),
        "gateway_stopped": running.stopped(),
    })))
}
