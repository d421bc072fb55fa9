//! An event that no alert was raised for: a form with the machine and the time, and what was reported lately.

use axum::extract::{Form, Query, State};
use axum::response::Redirect;
use explaind_core::domain::feedback::{UserRole, Verdict};
use explaind_core::domain::time::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::judge::{Field, cause, field, key};
use super::{Reader, done, layout, words};
use crate::clock;
use crate::web::access::{Actor, Technician};
use crate::web::feedback::{self, Asked, LONGEST_COMMENT, LONGEST_WORD};
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::time::iso;
use crate::web::verdicts::Said;
use crate::web::words::fill;
use crate::web::{Shared, Web};

/// Reports shown.
const LATELY: usize = 20;
/// An hour, in microseconds: what is proposed as the time of an event.
const HOUR: i64 = 3_600 * 1_000_000;

/// What was done just now, and which report is to be revised.
#[derive(Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    done: String,
    revises: Option<Uuid>,
}

/// `GET /missed`.
pub(super) async fn form(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        let reader = Reader::new(web, &actor, language);
        let lately = web.verdicts.missed(LATELY);
        let earlier = lately.iter().find(|said| Some(said.id) == shown.revises && may_revise(said, &actor));
        let content = html! {
            (done(reader.words, &shown.done))
            div #missed tabindex="-1" {
                (sheet(web, earlier, &reader))
                (list(&lately, &reader))
            }
        };
        Ok(layout::page(web, &actor, reader.words, layout::Place::Missed, &content))
    })
    .await
}

/// `POST /missed`.
pub(super) async fn report(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Form(fields): Form<Vec<Field>>,
) -> Result<Redirect, Problem> {
    web.off_thread(move |web| {
        let key = key("missed", &fields);
        feedback::give_form(web, &actor, key.as_deref(), || Ok(Some(asked(&fields))))
    })
    .await?;
    Ok(Redirect::to("/missed?done=missed"))
}

fn asked(fields: &[Field]) -> Asked {
    Asked {
        verdict: Some(Verdict::Missed),
        asset: field(fields, "asset"),
        event_from: time(fields, "event_from"),
        event_to: time(fields, "event_to"),
        cause: cause(fields),
        comment: field(fields, "comment"),
        revises: field(fields, "revises").and_then(|id| id.parse().ok()),
        ..Asked::default()
    }
}

/// A time of the form: what the script made of it, which knows the person's time zone, else the field itself, in UTC.
fn time(fields: &[Field], name: &str) -> Option<String> {
    field(fields, &format!("{name}_utc")).or_else(|| {
        let local = field(fields, name)?;
        // Browsers leave out the seconds where they are none.
        let seconds = if local.matches(':').count() == 1 { ":00" } else { "" };
        Some(format!("{local}{seconds}Z"))
    })
}

fn may_revise(said: &Said, actor: &Actor) -> bool {
    !said.revised && (said.feedback.author == *actor.name || actor.role >= UserRole::Engineer)
}

/// A time as `datetime-local` fields have it, in UTC; the script puts it into the person's own time zone.
fn field_value(at: Timestamp) -> String {
    iso(at).chars().take("2026-01-31T14:05".len()).collect()
}

fn sheet(web: &Web, earlier: Option<&Said>, reader: &Reader) -> Markup {
    let (words, judge) = (reader.words, &reader.words.judge);
    let feedback = earlier.map(|said| &said.feedback);
    let now = clock::now().utc;
    let before = Timestamp::from_micros(now.as_micros().saturating_sub(HOUR));
    let from = feedback.and_then(|feedback| feedback.event_from).unwrap_or(before);
    let to = feedback.and_then(|feedback| feedback.event_to).unwrap_or(now);
    let said = feedback.and_then(|feedback| feedback.cause.as_deref());
    let known = reader.causes.iter().any(|cause| Some(cause.as_str()) == said);
    let when = |name: &str, label: &str, at: Timestamp| {
        html! {
            div {
                label for=(name) { (label) " " span .zone { (judge.utc) } }
                input #(name) type="datetime-local" name=(name) value=(field_value(at)) required data-utc={ (name) "_utc" };
                input type="hidden" name={ (name) "_utc" };
            }
        }
    };
    html! {
        section .model.report aria-labelledby="missed-title" {
            h1 #missed-title { (judge.title) }
            p .means { (judge.about) }
            form method="post" action="/missed" data-act data-again data-then="/missed?done=missed" {
                (reader.secret())
                input type="hidden" name="key" value=(clock::mint(clock::now()));
                @if let Some(said) = earlier {
                    input type="hidden" name="revises" value=(said.id);
                    p .hint { (judge.revises) " " (words::when(said.at, words)) "." }
                }
                label for="asset" { (judge.asset) }
                select #asset name="asset" required {
                    @for asset in &web.assets {
                        option value=(asset) selected[feedback.is_some_and(|feedback| *feedback.asset == **asset)] { (asset) }
                    }
                }
                div .span { (when("event_from", judge.from, from)) (when("event_to", judge.to, to)) }
                @if !reader.causes.is_empty() {
                    fieldset .chips {
                        legend { (judge.causes) " " span { (words.card.optional) } }
                        @for (number, cause) in reader.causes.iter().enumerate() {
                            label .tick {
                                input #{ "cause-" (number) } type="radio" name="cause" value=(cause)
                                    checked[said == Some(cause.as_str())] data-undo;
                                span { (cause) }
                            }
                        }
                    }
                }
                label for="own-cause" { (judge.other_cause) " " span { (words.card.optional) } }
                input #own-cause type="text" name="own_cause" maxlength=(LONGEST_WORD) value=[said.filter(|_| !known)]
                    autocomplete="off";
                label for="comment" { (words.card.comment) " " span { (words.card.optional) } }
                textarea #comment name="comment" rows="2" maxlength=(LONGEST_COMMENT) {
                    (feedback.and_then(|feedback| feedback.comment.as_deref()).unwrap_or_default())
                }
                button .primary type="submit" { (judge.report) }
                p .trouble role="alert" hidden {}
            }
        }
    }
}

/// What was reported, the newest first; a revision beside what it revises.
fn list(lately: &[Said], reader: &Reader) -> Markup {
    let (words, judge) = (reader.words, &reader.words.judge);
    html! {
        @if !lately.is_empty() {
            section .model aria-labelledby="lately" {
                h2 #lately { (judge.lately) }
                ul .said {
                    @for said in lately {
                        li .revised[said.revised] {
                            span .what { (fill(judge.between, &[("asset", &said.feedback.asset)])) }
                            @if let (Some(from), Some(to)) = (said.feedback.event_from, said.feedback.event_to) {
                                " " (words::when(from, words)) " " (judge.until) " " (words::when(to, words))
                            }
                            ", " (fill(words.card.says, &[("name", &said.feedback.author)])) ", " (words::when(said.at, words))
                            @if said.feedback.revises.is_some() { " " (words.card.revision) }
                            @if said.revised { " " (words.card.revised) }
                            "."
                            @if let Some(cause) = &said.feedback.cause { " " (fill(words.card.cause, &[("cause", cause)])) }
                            @if let Some(comment) = &said.feedback.comment { " " q { (comment) } }
                            @if may_revise(said, reader.actor) {
                                " " a .button.quiet href={ "/missed?revises=" (said.id) } { (judge.revise) }
                            }
                        }
                    }
                }
            }
        }
    }
}
