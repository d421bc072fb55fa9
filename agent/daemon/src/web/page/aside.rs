//! What people do to an alarm beside acknowledging it, on the page: reset, shelve, out of service; and the list of what is
//! not shown because of that, or because the machine is off.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use explaind_core::domain::alert::{AlarmState, Suppression};
use explaind_core::domain::command::Act;
use explaind_core::domain::feedback::UserRole;
use explaind_core::explain::words::this_gateway;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::{Reader, words};
use crate::buffer::Alert;
use crate::web::access::{Actor, Engineer, Technician};
use crate::web::feedback::LONGEST_COMMENT;
use crate::web::problem::Problem;
use crate::web::story::Story;
use crate::web::words::{Words, fill};
use crate::web::{Shared, alarm};

/// What the forms send; each only what it has.
#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(rename = "for", default)]
    length: String,
    reason: Option<String>,
    comment: Option<String>,
}

/// `POST /alerts/{id}/reset`.
pub(super) async fn reset(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Path(id): Path<Uuid>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, id, alarm::reset(asked.comment)?, "reset").await
}

/// `POST /alerts/{id}/shelve`.
pub(super) async fn shelve(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Path(id): Path<Uuid>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, id, alarm::shelve(&asked.length, asked.reason)?, "shelve").await
}

/// `POST /alerts/{id}/unshelve`.
pub(super) async fn unshelve(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Path(id): Path<Uuid>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, id, alarm::unshelve(asked.comment)?, "unshelve").await
}

/// `POST /alerts/{id}/out-of-service`.
pub(super) async fn out_of_service(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Path(id): Path<Uuid>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, id, alarm::out_of_service(asked.reason)?, "out-of-service").await
}

/// `POST /alerts/{id}/in-service`.
pub(super) async fn in_service(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    Path(id): Path<Uuid>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, Problem> {
    carry_out(&web, &actor, id, alarm::in_service(asked.comment)?, "in-service").await
}

async fn carry_out(web: &Shared, actor: &Actor, id: Uuid, act: Act, name: &str) -> Result<Redirect, Problem> {
    alarm::ask(web, actor, id, act).await?;
    Ok(Redirect::to(&format!("/?done={name}#a-{id}")))
}

/// What is not shown among the open alerts: those, and, of alarms at rest that a person has laid something over, the newest.
pub(super) fn hidden(alerts: &[Alert]) -> Vec<Alert> {
    let mut known: HashSet<(&Arc<str>, &Arc<str>)> = HashSet::new();
    let hidden = alerts.iter().filter(|alert| {
        let first = known.insert((&alert.asset, &alert.model));
        let open = alert.state.is_open() && alert.suppression != Suppression::None;
        open || (first && alert.cover.is_by_people())
    });
    hidden.cloned().collect()
}

/// The list of it.
pub(super) fn list(hidden: &[Alert], reader: &Reader) -> Markup {
    html! {
        @if !hidden.is_empty() {
            section .suppressed aria-labelledby="aside-title" {
                h2 #aside-title { (reader.words.alarm.aside) }
                @for alert in hidden { (one(alert, reader)) }
            }
        }
    }
}

fn one(alert: &Alert, reader: &Reader) -> Markup {
    let (words, said) = (reader.words, &reader.words.alarm);
    let own = *alert.asset == *explaind_core::domain::alert::GATEWAY;
    let name = if own { this_gateway(words.language) } else { &alert.asset };
    let lifts = match alert.suppression {
        Suppression::Shelved if reader.is(UserRole::Technician) => Some(("unshelve", said.unshelve)),
        Suppression::OutOfService if reader.is(UserRole::Engineer) => Some(("in-service", said.back)),
        _ => None,
    };
    html! {
        div .aside {
            p {
                strong { (name) } ": "
                @match alert.suppression {
                    Suppression::Shelved => {
                        (said.is_shelved) " "
                        @if let Some(until) = alert.cover.shelved_until { (words::when(until, words)) }
                        (who(alert, words))
                    }
                    Suppression::OutOfService => { (said.is_out) (who(alert, words)) }
                    Suppression::ByDesign | Suppression::None => { (said.is_off) }
                }
                " " (said.its_alert) " " (words::when(alert.raised_at, words)) ": " (words.state(alert.state)) "."
            }
            @if let Some((verb, label)) = lifts {
                form method="post" action={ "/alerts/" (alert.id) "/" (verb) } {
                    (reader.secret())
                    button #{ (verb) "-" (alert.id) } .quiet type="submit" aria-label={ (label) ": " (name) } { (label) }
                }
            }
        }
    }
}

fn who(alert: &Alert, words: &Words) -> Markup {
    html! {
        @if let Some(by) = &alert.suppressed_by { " " (fill(words.alarm.by, &[("name", by)])) }
        "."
        @if let Some(why) = &alert.suppressed_because { " " q { (why) } }
    }
}

/// What the rule says beside its reason.
pub(super) fn guidance(story: &Story, words: &Words) -> Markup {
    let guidance = &story.alert.guidance;
    html! {
        @if let Some(response) = &guidance.response {
            p .response { strong { (words.card.response) ": " } (response) }
        }
        @if let Some(consequence) = &guidance.consequence {
            p .consequence { strong { (words.card.consequence) ": " } (consequence) }
        }
    }
}

/// The button that resets, where that is what an alert waits for: it stands in the form with the comment.
pub(super) fn reset_button(story: &Story, words: &Words) -> Markup {
    let id = story.alert.id;
    html! {
        @if story.alert.state == AlarmState::LatchedAcknowledged {
            button #{ "reset-" (id) } .primary type="submit" formaction={ "/alerts/" (id) "/reset" }
                data-done=(words.alarm.done_reset) { (words.alarm.reset) }
        }
    }
}

/// What opens before it is done: shelving, and, for engineers, out of service.
pub(super) fn asides(story: &Story, reader: &Reader) -> Markup {
    let (id, said) = (story.alert.id, &reader.words.alarm);
    html! {
        div .asks {
            details #{ "shelve-" (id) } .ask {
                summary { (said.shelve) }
                form method="post" action={ "/alerts/" (id) "/shelve" } data-act {
                    (reader.secret())
                    label for={ "for-" (id) } { (said.length) }
                    select #{ "for-" (id) } name="for" {
                        @for (length, words) in said.lengths() {
                            option value=(length) selected[length == "8h"] { (words) }
                        }
                    }
                    (why(&format!("why-{id}"), said.reason))
                    button .primary type="submit" data-done=(said.done_shelve) { (said.shelve_now) }
                    p .trouble role="alert" hidden {}
                }
            }
            @if reader.is(UserRole::Engineer) {
                details #{ "out-" (id) } .ask {
                    summary { (said.out) }
                    form method="post" action={ "/alerts/" (id) "/out-of-service" } data-act {
                        (reader.secret())
                        p { (said.what_out_means) }
                        (why(&format!("why-out-{id}"), said.reason))
                        button .primary type="submit" data-done=(said.done_out_of_service) { (said.out_now) }
                        p .trouble role="alert" hidden {}
                    }
                }
            }
        }
    }
}

fn why(id: &str, label: &str) -> Markup {
    html! {
        label for=(id) { (label) }
        textarea #(id) name="reason" rows="1" maxlength=(LONGEST_COMMENT) required {}
    }
}
