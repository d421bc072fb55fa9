//! The technician's page: server-rendered, whole without scripts, live with them, in the language of its reader.

mod aside;
mod assets;
mod back;
mod bars;
mod board;
mod card;
mod gateway;
mod history;
mod judge;
mod layout;
mod machines;
mod missed;
mod models;
mod opinion;
mod refused;
mod sign;
mod story;
mod tables;
mod views;
mod words;

use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::{Extensions, HeaderMap};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use explaind_core::domain::feedback::UserRole;
use explaind_core::explain::words::Language;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::access::{Actor, Technician, Viewer};
use super::answers::Answers;
use super::language::{CHOSEN, Reads};
use super::problem::Problem;
use super::rollout::Running;
use super::wire::Wire;
use super::words::Words;
use super::{Shared, Web, acknowledge};
use board::Board;

pub(crate) use refused::Asker;

/// The page's routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(home))
        .route("/live", get(live))
        .route("/alerts/{id}/acknowledge", post(seen))
        .route("/alerts/{id}/feedback", post(judge::said))
        .route("/alerts/{id}/reset", post(aside::reset))
        .route("/alerts/{id}/shelve", post(aside::shelve))
        .route("/alerts/{id}/unshelve", post(aside::unshelve))
        .route("/alerts/{id}/out-of-service", post(aside::out_of_service))
        .route("/alerts/{id}/in-service", post(aside::in_service))
        .route("/missed", get(missed::form).post(missed::report))
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
        .route("/language", post(choose_language))
        .route("/sign-in", get(sign::form).post(sign::sign_in))
        .route("/sign-out", post(sign::sign_out))
        .route("/assets/{name}", get(assets::serve))
}

/// Who looks, in which language, and what they may choose from.
pub(crate) struct Reader<'a> {
    actor: &'a Actor,
    words: &'static Words,
    causes: &'a [String],
    running: Running,
}

impl<'a> Reader<'a> {
    fn new(web: &'a Web, actor: &'a Actor, language: Language) -> Self {
        Self { actor, words: Words::of(language), causes: &web.causes, running: Running::now(web) }
    }

    fn is(&self, least: UserRole) -> bool {
        self.actor.role >= least
    }

    fn answers(&self, model: &str) -> Answers {
        Answers::of(&self.running, model)
    }

    /// What every form of somebody who is signed in carries.
    fn secret(&self) -> Markup {
        secret(self.actor)
    }
}

fn secret(actor: &Actor) -> Markup {
    html! {
        @if let Some(session) = &actor.session {
            input type="hidden" name="csrf" value=(session.csrf);
        }
    }
}

/// Which part of the list, and what was done just now.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    from: usize,
    /// One of the names that there are words for, so that no link can put words on the page.
    #[serde(default)]
    done: String,
    /// Of a page that is there already: a part of it comes in the same language, whatever was chosen since.
    language: Option<String>,
}

async fn home(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        let reader = Reader::new(web, &actor, language);
        let board = Board::gather(web, &reader, shown.from)?;
        let place = layout::Place::Alerts(board.unacknowledged());
        let content = html! {
            (done(reader.words, &shown.done))
            (board.render(&reader))
        };
        Ok(layout::page(web, &actor, reader.words, place, &content))
    })
    .await
}

/// What was done just now.
fn done(words: &Words, name: &str) -> Markup {
    html! { @if let Some(done) = words.done(name) { p .done role="status" { (done) } } }
}

/// The board alone, for a page that is already there.
async fn live(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        let language = shown.language.as_deref().and_then(Language::named).unwrap_or(language);
        let reader = Reader::new(web, &actor, language);
        Ok(Board::gather(web, &reader, shown.from)?.render(&reader))
    })
    .await
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

#[derive(Deserialize)]
struct Chosen {
    language: String,
    #[serde(default)]
    back: String,
}

/// `POST /language`: keeps the choice in a cookie, and shows the view again.
async fn choose_language(
    extensions: Extensions,
    headers: HeaderMap,
    Form(chosen): Form<Chosen>,
) -> Result<Response, Problem> {
    let language = Language::named(&chosen.language);
    let language = language.ok_or_else(|| Problem::unacceptable("there is no such language here"))?;
    let to = if chosen.back == "/sign-in" { chosen.back } else { back::safe(&chosen.back) };
    let a_year = 365 * 86_400;
    let cookie = sign::cookie(&headers, Wire::is_tls(&extensions), CHOSEN, language.code(), a_year);
    Ok(sign::with_cookie(Redirect::to(&to).into_response(), &cookie))
}
