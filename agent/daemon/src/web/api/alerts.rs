//! Alerts: the list, one with its story, and what people do to them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use explaind_core::domain::command::Act;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::body::{Body, OptionalBody};
use super::{Page, base, forms, id, is, limit};
use crate::buffer::Alert;
use crate::web::Shared;
use crate::web::access::{Actor, Engineer, Technician, Viewer};
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story::Story;
use crate::web::{acknowledge, alarm};

/// Which alerts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    limit: Option<usize>,
    /// The id of the last alert of the page before.
    before: Option<Uuid>,
    /// `open`, `closed`, or one of the states.
    state: Option<String>,
    asset: Option<String>,
}

/// What `state` may be.
const STATES: [&str; 8] = [
    "open",
    "closed",
    "unacknowledged",
    "acknowledged",
    "returned_unacknowledged",
    "latched_unacknowledged",
    "latched_acknowledged",
    "normal",
];

impl Wanted {
    fn fits(&self, alert: &Alert) -> bool {
        let state = match self.state.as_deref() {
            None => true,
            Some("open") => alert.state.is_open(),
            Some("closed") => !alert.state.is_open(),
            Some(name) => alert.state.as_str() == name,
        };
        state && is(self.asset.as_deref(), &alert.asset) && self.before.is_none_or(|before| alert.id < before)
    }
}

/// Open and lately closed alerts, the newest first.
pub(crate) async fn list(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    uri: Uri,
    Query(wanted): Query<Wanted>,
) -> Result<Page<Value>, Problem> {
    let limit = limit(wanted.limit)?;
    if let Some(state) = wanted.state.as_deref().filter(|state| !STATES.contains(state)) {
        return Err(Problem::unacceptable(format!("state = \"{state}\" is none of {}", STATES.join(", "))));
    }
    web.off_thread(move |web| {
        let mut alerts: Vec<Alert> = web.buffer.alerts().into_iter().filter(|alert| wanted.fits(alert)).collect();
        alerts.sort_unstable_by_key(|alert| std::cmp::Reverse(alert.id));
        let more = alerts.len() > limit;
        alerts.truncate(limit);
        let next = alerts.last().filter(|_| more).map(|alert| alert.id.to_string());
        let mut items = Vec::with_capacity(alerts.len());
        for alert in alerts {
            let story = Story::tell(web, alert, language)?;
            story.served_to(&actor.seen);
            items.push(forms::alert(&story));
        }
        Ok(Page { items, next, base: base(&uri) })
    })
    .await
}

/// One alert.
pub(crate) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = id(&text)?;
    web.off_thread(move |web| {
        let alert = web.buffer.alert(id).ok_or_else(|| Problem::unknown(format!("no alert has the id {id}")))?;
        let story = Story::tell(web, alert, language)?;
        story.served_to(&actor.seen);
        Ok(Json(forms::alert(&story)))
    })
    .await
}

/// What may be said with an acknowledgement.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Note {
    comment: Option<String>,
}

/// "I have seen it."
pub(crate) async fn acknowledge(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Path(text): Path<String>,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<Value>, Problem> {
    let id = id(&text)?;
    acknowledge::acknowledge(&web, &actor, id, note.comment).await?;
    show(State(web), Viewer(actor), language, Path(text)).await
}

/// Why, where that must be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    reason: Option<String>,
}

/// For how long and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aside {
    #[serde(rename = "for")]
    length: String,
    reason: Option<String>,
}

/// Lets go what is latched.
pub(crate) async fn reset(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Path(text): Path<String>,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<Value>, Problem> {
    change(web, actor, language, text, alarm::reset(note.comment)).await
}

/// Puts the alert's alarm aside for a time.
pub(crate) async fn shelve(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Path(text): Path<String>,
    Body(aside): Body<Aside>,
) -> Result<Json<Value>, Problem> {
    change(web, actor, language, text, alarm::shelve(&aside.length, aside.reason)).await
}

/// Takes it back from there.
pub(crate) async fn unshelve(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Path(text): Path<String>,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<Value>, Problem> {
    change(web, actor, language, text, alarm::unshelve(note.comment)).await
}

/// Takes the alert's alarm out of service.
pub(crate) async fn out_of_service(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    language: Reads,
    Path(text): Path<String>,
    Body(because): Body<Because>,
) -> Result<Json<Value>, Problem> {
    change(web, actor, language, text, alarm::out_of_service(because.reason)).await
}

/// Puts it back.
pub(crate) async fn in_service(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    language: Reads,
    Path(text): Path<String>,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<Value>, Problem> {
    change(web, actor, language, text, alarm::in_service(note.comment)).await
}

/// Asks for it, and shows the alert as it is then.
async fn change(
    web: Shared,
    actor: Actor,
    language: Reads,
    text: String,
    act: Result<Act, Problem>,
) -> Result<Json<Value>, Problem> {
    alarm::ask(&web, &actor, id(&text)?, act?).await?;
    show(State(web), Viewer(actor), language, Path(text)).await
}
