//! One alert's story: its card as on the list, the signals around the moment it was raised, what happened to it since, what
//! would clear it, what is like it, how sure all that is, and what people said.
//!
//! It stays fresh as the list of alerts does, and by the same script: a board with one card. The curves are left out of
//! what is fetched anew while the prediction that they show is the same.

mod beside;
mod curves;
mod life;
mod said;
mod series;
mod words;

use axum::extract::{Path, Query, State};
use explaind_core::domain::alert::GATEWAY;
use explaind_core::explain::words::{Language, this_gateway};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::layout::Place;
use super::views::{self, fill};
use super::{Reader, card, history};
use crate::web::access::{Actor, Viewer};
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story::Story;
use crate::web::{Shared, Web};

#[cfg(test)]
pub(super) use words::PAIRS;
use words::Words;

/// What the page that is fetched anew shows already.
#[derive(Deserialize)]
pub(super) struct Drawn {
    drawn: Option<Uuid>,
    /// Of a page that is there already: its parts come in the same language, whatever was chosen since.
    language: Option<String>,
}

/// `GET /alerts/{id}`.
pub(super) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Path(id): Path<String>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        let id = known(&id)?;
        let view = view(web, &actor, language, id, None)?;
        Ok(views::page(web, &actor, language, Place::Story(id), &view))
    })
    .await
}

/// `GET /alerts/{id}/live`: the story alone, for a page that is already there.
pub(super) async fn live(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Path(id): Path<String>,
    Query(Drawn { drawn, language: shown }): Query<Drawn>,
) -> Result<Markup, Problem> {
    let language = shown.as_deref().and_then(Language::named).unwrap_or(language);
    web.off_thread(move |web| view(web, &actor, language, known(&id)?, drawn)).await
}

/// What is no id at all is the id of no alert.
fn known(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| unknown(&id))
}

fn unknown(id: &dyn std::fmt::Display) -> Problem {
    Problem::unknown(format!("no alert has the id {id}"))
}

fn view(web: &Web, actor: &Actor, language: Language, id: Uuid, drawn: Option<Uuid>) -> Result<Markup, Problem> {
    let alert = web.buffer.any_alert(id)?.ok_or_else(|| unknown(&id))?;
    let story = Story::tell(web, alert, language)?;
    story.served_to(&actor.seen);
    let words = Words::of(language);
    let (alert, drawn) = (&story.alert, drawn.filter(|drawn| story.alert.prediction_id == Some(*drawn)));
    let machine = if *alert.asset == *GATEWAY { this_gateway(language) } else { &alert.asset };
    let code = language.code();
    let live = match alert.prediction_id {
        Some(prediction) => format!("/alerts/{id}/live?language={code}&drawn={prediction}"),
        None => format!("/alerts/{id}/live?language={code}"),
    };
    let secret = actor.session.as_ref().map(|session| &*session.csrf);
    let steps = life::steps(web, alert)?;
    Ok(html! {
        div #board .story tabindex="-1" data-live=(live) data-waiting="0" data-csrf=[secret] {
            h1 lang=(language.code()) { (fill(words.title, &[("machine", machine)])) }
            p .pages lang=(language.code()) {
                a .button href={ "/#a-" (id) } { (words.back) }
                a .button href=(history::of_machine(&alert.asset)) { (words.more_of) }
            }
            div .cards data-list="open" { (card::open(&story, &Reader::new(web, actor, language))) }
            @if drawn.is_none() {
                (part("curves", words.curves, language, &curves::section(web, &story, words)?))
            }
            div .columns {
                (part("life", words.life, language, &life::section(&steps, language, words)))
                (part("said", words.said, language, &said::section(&story, language, words)))
                (part("clear", words.clear, language, &beside::clear(&story, language, words)))
                (part("similar", words.similar, language, &beside::similar(web, &story, language, words)))
                (part("trust", words.trust, language, &beside::trust(web, &story, language, words)))
            }
        }
    })
}

/// A part of the story under its name.
fn part(id: &str, title: &str, language: Language, content: &Markup) -> Markup {
    let label = format!("part-{id}");
    html! {
        section .model aria-labelledby=(label) lang=(language.code()) {
            h2 #(label) { (title) }
            div data-part=(id) { (content) }
        }
    }
}

/// The way to an alert's story, on its card.
pub(super) fn link(id: Uuid, language: Language) -> Markup {
    html! {
        p .whole { a .jump href={ "/alerts/" (id) } lang=(language.code()) { (Words::of(language).whole) } }
    }
}
