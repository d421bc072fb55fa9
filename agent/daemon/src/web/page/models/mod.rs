//! The page of models: what runs where and why, and, for engineers, going back, stopping and releasing.
//!
//! Whatever changes something opens first and is confirmed inside, with a reason; none of it needs a script.

mod one;
mod words;

use axum::extract::{Form, Path, Query, State};
use axum::response::Redirect;
use explaind_core::domain::command::Done;
use explaind_core::domain::feedback::UserRole;
use explaind_core::explain::words::Language;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{self, Place};
use crate::clock;
use crate::web::access::{Actor, Engineer, Viewer};
use crate::web::feedback::LONGEST_COMMENT;
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::rollout::{self, Running, Verb};
use crate::web::{Shared, Web, time};

pub(super) use words::Words;

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
    let running = Running::now(&web);
    layout::page(&web, &actor, language, Place::Models, &render(&running, &actor, language, &shown.done))
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

fn render(running: &Running, actor: &Actor, language: Language, done: &str) -> Markup {
    let words = Words::of(language);
    let done = words.done.iter().find(|(name, _)| *name == done).map(|(_, sentence)| sentence);
    html! {
        div #models tabindex="-1" lang=(language.code()) {
            @if let Some(done) = done {
                p .done role="status" { (done) }
            }
            h1 { (words.title) }
            p .summary {
                (words.as_of) " " (super::words::when(clock::now().utc)) ". " (words.reload)
            }
            (whole(running, actor, words))
            @if running.models().is_empty() {
                p { (words.none) }
            }
            @for (number, model) in running.models().iter().enumerate() {
                (one::card(number, model, running.stopped().is_some(), actor, words))
            }
        }
    }
}

/// The whole gateway: whether it is stopped, and the switch for that.
fn whole(running: &Running, actor: &Actor, words: &Words) -> Markup {
    let stop = running.stopped();
    html! {
        section .model.halted[stop.is_some()] aria-labelledby="whole" {
            header .head {
                h2 #whole { (words.whole) }
                @if stop.is_some() { p .state { (words.state("stopped")) } }
            }
            p .means { (if stop.is_some() { words.whole_stops } else { words.whole_runs }) }
            @if let Some(stop) = stop { (stopped(stop, words)) }
            @if actor.role >= UserRole::Engineer {
                div .asks {
                    @match stop {
                        None => {
                            (confirm(&Step {
                                verb: Verb::Stop, model: None, id: "whole-stop", label: words.stop_all,
                                explains: words.what_stops_all, button: words.all_now,
                            }, actor, words))
                        }
                        Some(stop) if !by_registry(stop) => {
                            (confirm(&Step {
                                verb: Verb::Release, model: None, id: "whole-release", label: words.release_all,
                                explains: words.what_is_released, button: words.all_again,
                            }, actor, words))
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
            strong { ((words.stopped_by)(&text(stop, "by").unwrap_or_default())) }
            @if let Some(at) = text(stop, "at") { ", " (when(&at)) }
            @if let Some(reason) = text(stop, "reason") { ". " q { (reason) } }
        }
        @if by_registry(stop) { p .by { (words.there) } }
    }
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
fn confirm(step: &Step, actor: &Actor, words: &Words) -> Markup {
    let action = format!("/{}/{}", if step.model.is_some() { "models" } else { "gateway" }, step.verb.as_str());
    html! {
        details .ask {
            summary { (step.label) }
            form method="post" action=(action) {
                @if let Some(session) = &actor.session {
                    input type="hidden" name="csrf" value=(session.csrf);
                }
                @if let Some(model) = step.model {
                    input type="hidden" name="model" value=(model);
                }
                p { (step.explains) }
                label for=(step.id) { (words.reason) " " span { (words.optional) } }
                input #(step.id) type="text" name="reason" maxlength=(LONGEST_COMMENT) autocomplete="off";
                button .primary type="submit" { (step.button) }
            }
        }
    }
}

/// A time of the status, which scripts put into the viewer's own time zone.
fn when(at: &str) -> Markup {
    match time::parse(at) {
        Some(at) => super::words::when(at),
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
pub(super) fn banner(web: &Web, language: Language) -> Markup {
    let (running, words) = (Running::now(web), Words::of(language));
    let stops: Vec<(String, &Value)> = match running.stopped() {
        Some(stop) => vec![(format!("{}: {}", words.whole, words.whole_stops), stop)],
        None => running.stopped_models().map(|(name, stop)| ((words.model_is)(name), stop)).collect(),
    };
    html! {
        @if !stops.is_empty() {
            div .lost role="alert" lang=(language.code()) {
                @for (sentence, stop) in stops {
                    p {
                        (sentence) " " ((words.stopped_by)(&text(stop, "by").unwrap_or_default()))
                        @if let Some(reason) = text(stop, "reason") { ": " q { (reason) } } @else { "." }
                    }
                }
                p { a href="/models" { (words.models) } }
            }
        }
    }
}
