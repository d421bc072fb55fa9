//! The technician's page: server-rendered, whole without scripts, live with them.

mod alarm_words;
mod aside;
mod assets;
mod bars;
mod board;
mod card;
mod gateway;
mod history;
mod layout;
mod machines;
mod models;
mod sign;
mod story;
mod tables;
mod views;
mod words;

use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use explaind_core::domain::feedback::Verdict;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::access::{Actor, Technician, Viewer};
use super::feedback::{self, Asked};
use super::language::Reads;
use super::problem::Problem;
use super::{Shared, Web, acknowledge};
use board::Board;

/// The page's routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(home))
        .route("/live", get(live))
        .route("/alerts/{id}/acknowledge", post(seen))
        .route("/alerts/{id}/feedback", post(said))
        .route("/alerts/{id}/reset", post(aside::reset))
        .route("/alerts/{id}/shelve", post(aside::shelve))
        .route("/alerts/{id}/unshelve", post(aside::unshelve))
        .route("/alerts/{id}/out-of-service", post(aside::out_of_service))
        .route("/alerts/{id}/in-service", post(aside::in_service))
        .route("/alerts/{id}", get(story::show))
        .route("/alerts/{id}/live", get(story::live))
        .route("/machines", get(machines::show))
        .route("/machines/live", get(machines::live))
        .route("/history", get(history::show))
        .route("/gateway", get(gateway::show))
        .route("/gateway/live", get(gateway::live))
        .route("/models", get(models::show))
        .route("/models/{verb}", post(models::change))
        .route("/gateway/{verb}", post(models::change_all))
        .route("/sign-in", get(sign::form).post(sign::sign_in))
        .route("/sign-out", post(sign::sign_out))
        .route("/assets/{name}", get(assets::serve))
}

/// Which part of the list, and what was done just now.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    from: usize,
    /// One of the names that there are words for, so that no link can put words on the page.
    #[serde(default)]
    done: String,
}

async fn home(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        let board = Board::gather(web, &actor, language, shown.from)?;
        let done = match shown.done.as_str() {
            "acknowledged" => Some(("Acknowledged.", "en")),
            "thanks" => Some(("Noted, thank you.", "en")),
            other => alarm_words::Words::of(language).done(other).map(|words| (words, language.code())),
        };
        Ok(layout::page(
            web,
            &actor,
            language,
            layout::Place::Alerts(board.unacknowledged()),
            &html! {
                @if let Some((done, language)) = done {
                    p .done role="status" lang=(language) { (done) }
                }
                (board.render(&actor))
            },
        ))
    })
    .await
}

/// The board alone, for a page that is already there.
async fn live(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| Ok(Board::gather(web, &actor, language, shown.from)?.render(&actor))).await
}

#[derive(Deserialize)]
struct Seen {
    comment: Option<String>,
}

async fn seen(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Path(id): Path<Uuid>,
    Form(form): Form<Seen>,
) -> Result<Redirect, Problem> {
    acknowledge::acknowledge(&web, &actor, id, form.comment).await?;
    Ok(Redirect::to(&format!("/?done=acknowledged#a-{id}")))
}

/// The prediction is the one that the person was looking at, which by now need not be the alert's newest.
#[derive(Deserialize)]
struct Opinion {
    prediction_id: Option<Uuid>,
    verdict: Verdict,
    comment: Option<String>,
}

async fn said(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Path(id): Path<Uuid>,
    Form(form): Form<Opinion>,
) -> Result<Redirect, Problem> {
    web.off_thread(move |web| {
        let asked = Asked {
            prediction_id: form.prediction_id,
            alert_id: Some(id),
            verdict: Some(form.verdict),
            comment: form.comment,
            revises: own_earlier(web, &actor, id, form.prediction_id),
            ..Asked::default()
        };
        feedback::give(web, &actor, asked).map(drop)
    })
    .await?;
    Ok(Redirect::to(&format!("/?done=thanks#a-{id}")))
}

/// Who presses the other button changes their mind: the new verdict revises their last one on the same prediction.
fn own_earlier(web: &Web, actor: &Actor, alert: Uuid, prediction: Option<Uuid>) -> Option<Uuid> {
    let said = web.verdicts.on(Some(alert), prediction);
    let own = |said: &&super::verdicts::Said| {
        said.feedback.author == *actor.name && said.feedback.prediction_id == prediction && !said.revised
    };
    said.iter().rev().find(own).map(|said| said.id)
}

/// Where those go who are not signed in.
pub(crate) fn to_sign_in() -> Response {
    Redirect::to("/sign-in").into_response()
}

/// An error as a page.
pub(crate) fn problem(web: &Web, problem: &Problem) -> Response {
    let title = problem.status.canonical_reason().unwrap_or("Error");
    let page = layout::bare(
        web,
        title,
        &html! {
            h1 { (title) }
            p role="alert" { (words::sentence(&problem.detail)) }
            p { a .button href="/" { "Back to the alerts" } }
        },
    );
    (problem.status, page).into_response()
}
