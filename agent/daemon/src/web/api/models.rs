//! Models: which run where, and going back, stopping and releasing.

use axum::Json;
use axum::extract::{Path, State};
use explaind_core::domain::command::Done;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::OptionalBody;
use crate::web::Shared;
use crate::web::access::{Actor, Engineer, Viewer};
use crate::web::problem::Problem;
use crate::web::rollout::{self, Running, Verb};

/// Every model, as the status has it.
pub(crate) async fn list(State(web): State<Shared>, _: Viewer) -> Json<Vec<Value>> {
    Json(Running::now(&web).models().to_vec())
}

/// What may be said with a change.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Because {
    reason: Option<String>,
}

/// `POST /api/v1/models/{name}/rollback`, `…/stop`, `…/release`.
pub(crate) async fn change(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Path((name, verb)): Path<(String, String)>,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Json<Value>, Problem> {
    carry_out(&web, &actor, &verb, Some(name), because).await
}

/// `POST /api/v1/gateway/stop`, `…/release`.
pub(crate) async fn change_all(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Path(verb): Path<String>,
    OptionalBody(because): OptionalBody<Because>,
) -> Result<Json<Value>, Problem> {
    carry_out(&web, &actor, &verb, None, because).await
}

async fn carry_out(
    web: &Shared,
    actor: &Actor,
    verb: &str,
    model: Option<String>,
    because: Because,
) -> Result<Json<Value>, Problem> {
    let verb = Verb::named(verb, model.is_none())?;
    let done = rollout::ask(web, actor, verb, model.clone(), because.reason).await?;
    let running = Running::now(web);
    let (done, version) = match done {
        Done::RolledBack { version } => ("rolled_back", Some(version)),
        Done::Released => ("released", None),
        Done::Stopped | Done::Acknowledged { .. } | Done::Alarm => ("stopped", None),
    };
    Ok(Json(json!({
        "done": done,
        "version": version.as_deref(),
        "model": model.and_then(|name| running.model(&name).cloned()),
        "gateway_stopped": running.stopped(),
    })))
}
