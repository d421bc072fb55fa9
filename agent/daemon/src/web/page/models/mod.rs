//! The page of models: what runs where and why, and, for engineers, going back, stopping and releasing.
//!
//! Whatever changes something opens first and is confirmed inside, with a reason; none of it needs a script.

mod one;

use axum::extract::{Form, Path, Query, State};
use axum::response::Redirect;
use explaind_core::domain::command::Done;
use explaind_core::domain::feedback::UserRole;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{self, Place};
use super::{Reader, done};
use crate::clock;
use crate::web::access::{Actor, Engineer, Viewer};
use crate::web::feedback::LONGEST_COMMENT;
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::rollout::{self, Verb};
use crate::web::words::{Words, fill};
use crate::web::{Shared, time};

/// What was done just now: one of the names that there are words for, so that no link can put words on the page.
#[derive(Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    done: String,
}

/// `GET /models`.
pub(super) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Markup {
    let reader = Reader::new(&web, &actor, language);
    layout::page(&web, &actor, reader.words, Place::Models, &render(&reader, &shown.done))
}

/// What the forms send. `model` is not there where the whole gateway is meant.
#[derive(Deserialize)]
pub(super) struct Asked {
    model: String,
    reason: Option<String>,
}

/// What the forms for the whole gateway send.
#[derive(Deserialize)]
pub(super) struct Because {
    reason: Option<String>,
}

/// `POST /models/rollback`, `/models/stop`, `/models/release`.
pub(super) async fn change(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Path(verb): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, Verb::named(&verb, false)?, Some(asked.model), asked.reason).await
}

/// `POST /gateway/stop`, `/gateway/release`.
pub(super) async fn change_all(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Path(verb): Path<String>,
    Form(because): Form<Because>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, Verb::named(&verb, true)?, None, because.reason).await
}

async fn carry_out(
    web: &Shared,
    actor: &Actor,
    verb: Verb,
    model: Option<String>,
    reason: Option<String>,
) -> Result<Redirect, Problem> {
    Ok(Redirect::to(match rollout::ask(web, actor, verb, model, reason).await? {
        Done::RolledBack { .. } => "/models?done=rolled_back",
        Done::Released => "/models?done=released",
        Done::Stopped | Done::Acknowledged { .. } | Done::Alarm => "/models?done=stopped",
    }))
}

fn render(reader: &Reader, just_done: &str) -> Markup {
    let (words, said, running) = (reader.words, &reader.words.models, &reader.running);
    html! {
        div #models tabindex="-1" {
            (done(words, just_done))
            h1 { (said.title) }
            p .summary {
                (said.as_of) " " (super::words::when(clock::now().utc, words)) ". " (said.reload)
            }
            (whole(reader))
            @if running.models().is_empty() {
                p { (said.none) }
            }
            @for (number, model) in running.models().iter().enumerate() {
                (one::card(number, model, reader))
            }
        }
    }
}

/// The whole gateway: whether it is stopped, and the switch for that.
fn whole(reader: &Reader) -> Markup {
    let (said, stop) = (&reader.words.models, reader.running.stopped());
    html! {
        section .model.halted[stop.is_some()] aria-labelledby="whole" {
            header .head {
                h2 #whole { (said.whole) }
                @if stop.is_some() { p .state { (said.state("stopped")) } }
            }
            p .means { (if stop.is_some() { said.whole_stops } else { said.whole_runs }) }
            @if let Some(stop) = stop { (stopped(stop, reader.words)) }
            @if reader.is(UserRole::Engineer) {
                div .asks {
                    @match stop {
                        None => {
                            (confirm(&Step {
                                verb: Verb::Stop, model: None, id: "whole-stop", label: said.stop_all,
                                explains: said.what_stops_all, button: said.all_now,
                            }, reader))
                        }
                        Some(stop) if !by_registry(stop) => {
                            (confirm(&Step {
                                verb: Verb::Release, model: None, id: "whole-release", label: said.release_all,
                                explains: said.what_is_released, button: said.all_again,
                            }, reader))
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }
}

/// Who stopped it, when and why.
fn stopped(stop: &Value, words: &Words) -> Markup {
    html! {
        p .by {
            strong { (stopped_by(stop, words)) }
            @if let Some(at) = text(stop, "at") { ", " (when(&at, words)) }
            @if let Some(reason) = text(stop, "reason") { ". " q { (reason) } }
        }
        @if by_registry(stop) { p .by { (words.models.there) } }
    }
}

fn stopped_by(stop: &Value, words: &Words) -> String {
    fill(words.models.stopped_by, &[("who", &text(stop, "by").unwrap_or_default())])
}

fn by_registry(stop: &Value) -> bool {
    stop["in_registry"] == true
}

/// A change, and what is said before it is made.
struct Step<'a> {
    verb: Verb,
    model: Option<&'a str>,
    id: &'a str,
    label: &'a str,
    explains: &'a str,
    button: &'a str,
}

/// A button that opens what is to be confirmed.
fn confirm(step: &Step, reader: &Reader) -> Markup {
    let words = reader.words;
    let action = format!("/{}/{}", if step.model.is_some() { "models" } else { "gateway" }, step.verb.as_str());
    html! {
        details .ask {
            summary { (step.label) }
            form method="post" action=(action) {
                (reader.secret())
                @if let Some(model) = step.model {
                    input type="hidden" name="model" value=(model);
                }
                p { (step.explains) }
                label for=(step.id) { (words.models.reason) " " span { (words.card.optional) } }
                input #(step.id) type="text" name="reason" maxlength=(LONGEST_COMMENT) autocomplete="off";
                button .primary type="submit" { (step.button) }
            }
        }
    }
}

/// A time of the status, which scripts put into the viewer's own time zone.
fn when(at: &str, words: &Words) -> Markup {
    match time::parse(at) {
        Some(at) => super::words::when(at, words),
        None => html! { (at) },
    }
}

/// A member as text; `None` where there is nothing to show.
fn text(value: &Value, key: &str) -> Option<String> {
    match value.get(key)? {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Above the alerts, while something is stopped: what does not alarm is not for that reason well.
pub(super) fn banner(reader: &Reader) -> Markup {
    let (words, said, running) = (reader.words, &reader.words.models, &reader.running);
    let stops: Vec<(String, &Value)> = match running.stopped() {
        Some(stop) => vec![(format!("{}: {}", said.whole, said.whole_stops), stop)],
        None => running.stopped_models().map(|(name, stop)| (fill(said.model_is, &[("name", name)]), stop)).collect(),
    };
    html! {
        @if !stops.is_empty() {
            div .lost role="alert" {
                @for (sentence, stop) in stops {
                    p {
                        (sentence) " " (stopped_by(stop, words))
                        @if let Some(reason) = text(stop, "reason") { ": " q { (reason) } } @else { "." }
                    }
                }
                p { a href="/models" { (said.title) } }
            }
        }
    }
}
