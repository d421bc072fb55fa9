//! What people do to an alarm beside acknowledging it, on the page: reset, shelve, out of service; and the list of what is
//! not shown because of that, or because the machine is off.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use explaind_core::domain::alert::{AlarmState, Suppression};
use explaind_core::domain::command::Act;
use explaind_core::domain::feedback::UserRole;
use explaind_core::explain::words::{Language, this_gateway};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::alarm_words::Words;
use super::words;
use crate::buffer::Alert;
use crate::web::access::{Actor, Engineer, Technician};
use crate::web::feedback::LONGEST_COMMENT;
use crate::web::problem::Problem;
use crate::web::story::Story;
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
pub(super) fn list(hidden: &[Alert], language: Language, actor: &Actor) -> Markup {
    let said = Words::of(language);
    html! {
        @if !hidden.is_empty() {
            section .suppressed aria-label=(said.aside) lang=(language.code()) {
                h2 { (said.aside) }
                @for alert in hidden { (one(alert, language, actor)) }
            }
        }
    }
}

fn one(alert: &Alert, language: Language, actor: &Actor) -> Markup {
    let said = Words::of(language);
    let own = *alert.asset == *explaind_core::domain::alert::GATEWAY;
    let lifts = match alert.suppression {
        Suppression::Shelved if actor.role >= UserRole::Technician => Some(("unshelve", said.unshelve)),
        Suppression::OutOfService if actor.role >= UserRole::Engineer => Some(("in-service", said.back)),
        _ => None,
    };
    html! {
        div .aside {
            p {
                strong { @if own { (this_gateway(language)) } @else { (alert.asset) } } ": "
                @match alert.suppression {
                    Suppression::Shelved => {
                        (said.is_shelved) " "
                        @if let Some(until) = alert.cover.shelved_until { (words::when(until)) }
                        (who(alert, said))
                    }
                    Suppression::OutOfService => { (said.is_out) (who(alert, said)) }
                    Suppression::ByDesign | Suppression::None => { (said.is_off) }
                }
                " " (said.its_alert) " " (words::when(alert.raised_at)) ": " (said.state(alert.state)) "."
            }
            @if let Some((verb, label)) = lifts {
                form method="post" action={ "/alerts/" (alert.id) "/" (verb) } {
                    (secret(actor))
                    button .quiet type="submit" aria-label={ (label) ": " (alert.asset) } { (label) }
                }
            }
        }
    }
}

fn who(alert: &Alert, said: &Words) -> Markup {
    html! {
        @if let Some(by) = &alert.suppressed_by { " " (said.by) " " (by) }
        "."
        @if let Some(why) = &alert.suppressed_because { " " q { (why) } }
    }
}

fn secret(actor: &Actor) -> Markup {
    html! {
        @if let Some(session) = &actor.session {
            input type="hidden" name="csrf" value=(session.csrf);
        }
    }
}

/// What the rule says beside its reason.
pub(super) fn guidance(story: &Story) -> Markup {
    let said = Words::of(story.language);
    let guidance = &story.alert.guidance;
    html! {
        @if let Some(response) = &guidance.response {
            p .response { strong lang=(story.language.code()) { (said.response) ": " } (response) }
        }
        @if let Some(consequence) = &guidance.consequence {
            p .consequence { strong lang=(story.language.code()) { (said.consequence) ": " } (consequence) }
        }
    }
}

/// The button that resets, where that is what an alert waits for: it stands in the form with the comment.
pub(super) fn reset_button(story: &Story) -> Markup {
    let (id, said) = (story.alert.id, Words::of(story.language));
    html! {
        @if story.alert.state == AlarmState::LatchedAcknowledged {
            button #{ "reset-" (id) } .primary type="submit" formaction={ "/alerts/" (id) "/reset" }
                lang=(story.language.code()) data-done=(said.done("reset").unwrap_or_default()) { (said.reset) }
        }
    }
}

/// What opens before it is done: shelving, and, for engineers, out of service.
pub(super) fn asides(story: &Story, actor: &Actor) -> Markup {
    let (id, said) = (story.alert.id, Words::of(story.language));
    let done = |name| said.done(name).unwrap_or_default();
    html! {
        div .asks lang=(story.language.code()) {
            details #{ "shelve-" (id) } .ask {
                summary { (said.shelve) }
                form method="post" action={ "/alerts/" (id) "/shelve" } data-act {
                    (secret(actor))
                    label for={ "for-" (id) } { (said.length) }
                    select #{ "for-" (id) } name="for" {
                        @for (length, words) in said.lengths {
                            option value=(length) selected[length == "8h"] { (words) }
                        }
                    }
                    (why(&format!("why-{id}"), said))
                    button .primary type="submit" data-done=(done("shelve")) { (said.shelve_now) }
                    p .trouble role="alert" hidden {}
                }
            }
            @if actor.role >= UserRole::Engineer {
                details #{ "out-" (id) } .ask {
                    summary { (said.out) }
                    form method="post" action={ "/alerts/" (id) "/out-of-service" } data-act {
                        (secret(actor))
                        p { (said.what_out_means) }
                        (why(&format!("why-out-{id}"), said))
                        button .primary type="submit" data-done=(done("out-of-service")) { (said.out_now) }
                        p .trouble role="alert" hidden {}
                    }
                }
            }
        }
    }
}

fn why(id: &str, said: &Words) -> Markup {
    html! {
        label for=(id) { (said.reason) }
        textarea #(id) name="reason" rows="1" maxlength=(LONGEST_COMMENT) required {}
    }
}
