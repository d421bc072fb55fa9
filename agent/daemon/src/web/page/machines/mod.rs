//! The machine view: what every machine's inputs stand at, which model watches it, and what it said last.

mod values;
mod words;

use axum::extract::{Query, State};
use explaind_core::domain::alert::Suppression;
use explaind_core::domain::record::Record;
use explaind_core::explain::words::{Language, outcome};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::layout::Place;
use super::views::{self, fill, lamp, text, when_told};
use crate::buffer::Alert;
use crate::web::access::Viewer;
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story;
use crate::web::{Shared, Web};

#[cfg(test)]
pub(super) use words::PAIRS;
use words::Words;

/// Machines on one page.
const SHOWN: usize = 50;
/// How often the page looks again, in milliseconds.
const EVERY: u32 = 2000;

/// Which part of the list.
#[derive(Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    from: usize,
}

/// `GET /machines`.
pub(super) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        Ok(views::page(web, &actor, language, Place::Machines, &view(web, language, shown.from)?))
    })
    .await
}

/// `GET /machines/live`: the view alone, for a page that is already there.
pub(super) async fn live(
    State(web): State<Shared>,
    _: Viewer,
    Reads(language): Reads,
    Query(shown): Query<Shown>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| view(web, language, shown.from)).await
}

fn view(web: &Web, language: Language, from: usize) -> Result<Markup, Problem> {
    let (words, status, alerts) = (Words::of(language), (web.status)(), web.buffer.alerts());
    let judged = web.verdicts.judged();
    let machines = status["assets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let from = if from < machines.len() { from } else { 0 };
    let shown = machines.iter().skip(from).take(SHOWN);
    let mut cards = Vec::with_capacity(SHOWN.min(machines.len()));
    for (number, machine) in shown.enumerate() {
        let id = text(machine, "id").unwrap_or_default();
        // A machine that was not predicted in this run, or whose last prediction was evicted, is shown without it.
        let last = match text(machine, "last_prediction_id").and_then(|id| id.parse::<Uuid>().ok()) {
            Some(id) => web.buffer.get(id).ok().flatten(),
            None => None,
        };
        let model = status["models"].as_array().into_iter().flatten().find(|model| model["name"] == machine["model"]);
        let machine = Machine {
            machine,
            id,
            model,
            last,
            alerts: alerts.iter().filter(|alert| *alert.asset == *id).collect(),
            judged: judged.get(id).copied().unwrap_or_default(),
            stopped: status["gateway"]["stopped"].is_object(),
        };
        cards.push(machine.card(number, language, words));
    }
    let rest = machines.len().saturating_sub(from + SHOWN);
    let content = html! {
        h1 { (words.title) }
        (views::as_of(language))
        @if machines.is_empty() { p { (words.nothing) } }
        @for card in cards { (card) }
        @if rest > 0 {
            p .more {
                (fill(words.more, &[("count", &rest.to_string())])) " "
                a .button href={ "/machines?from=" (from + SHOWN) } { (words.next) }
            }
        }
        @if from > 0 { p .more { a .button href="/machines" { (words.first) } } }
    };
    Ok(views::fresh(language, &format!("/machines/live?from={from}"), EVERY, &content))
}

/// One machine and what is known of it.
struct Machine<'a> {
    /// As the status has it.
    machine: &'a Value,
    id: &'a str,
    /// As the status has it.
    model: Option<&'a Value>,
    last: Option<Record>,
    alerts: Vec<&'a Alert>,
    /// Alerts that people judged, and how many of them are false.
    judged: (usize, usize),
    /// Everything is.
    stopped: bool,
}

impl Machine<'_> {
    fn card(&self, number: usize, language: Language, words: &Words) -> Markup {
        let title = format!("machine-{number}");
        html! {
            article .model.machine aria-labelledby=(title) data-key=(self.id) {
                header .head {
                    h2 #(title) { (self.id) }
                    p .state { (self.state(words)) }
                }
                (self.facts(language, words))
                (values::table(self.id, &self.machine["inputs"], language, words))
            }
        }
    }

    fn state(&self, words: &Words) -> Markup {
        let halted = self.stopped || self.model.is_some_and(|model| model["state"] == "stopped");
        match self.machine["running"].as_bool() {
            _ if halted => lamp(false, words.stopped),
            Some(true) => lamp(true, words.running),
            Some(false) => html! { (words.off) },
            None => html! { (words.unknown) },
        }
    }

    fn facts(&self, language: Language, words: &Words) -> Markup {
        let open = self.alerts.iter().filter(|alert| alert.state.is_open()).count();
        let count = |key: &str| self.machine[key].as_u64().unwrap_or_default();
        let (judged, falsely) = self.judged;
        html! {
            dl .facts {
                div { dt { (words.last) } dd { (self.said(language, words)) } }
                div { dt { (words.model) } dd { (self.model(language, words)) } }
                div {
                    dt { (words.alerts) }
                    dd {
                        @if open > 0 { a .jump href={ "/history?state=open&asset=" (encoded(self.id)) } { (open) } }
                        @else { (words.no_alerts) }
                    }
                }
                @if let Some(covered) = self.covered(language, words) { div { dt { (words.not_shown) } dd { (covered) } } }
                div {
                    dt { (words.hour) }
                    dd {
                        (count("alarms_last_hour"))
                        @for (key, phrase) in [("chattering", words.chattering), ("stale", words.stale)] {
                            @if count(key) > 0 { ", " (fill(phrase, &[("count", &count(key).to_string())])) }
                        }
                    }
                }
                @if judged > 0 {
                    div {
                        dt { (words.judged) }
                        dd { (fill(words.of_judged, &[("count", &judged.to_string()), ("false", &falsely.to_string())])) }
                    }
                }
            }
        }
    }

    /// What was predicted last, and when.
    fn said(&self, language: Language, words: &Words) -> Markup {
        let sentence = self.last.as_ref().and_then(story::prediction).map(|prediction| outcome(language, prediction));
        html! {
            @if self.machine["last_prediction_at"].is_string() {
                (when_told(language, &self.machine["last_prediction_at"]))
                @if self.machine["role"] == "fallback" { ", " (words.by_rule) }
                @if let Some(sentence) = sentence { ": " (super::words::unbroken(&sentence)) }
                @else if let Some(reason) = text(self.machine, "withheld") { ": " span lang="en" { (reason) } }
            } @else { (words.never) }
        }
    }

    fn model(&self, language: Language, words: &Words) -> Markup {
        html! {
            @match (text(self.machine, "model"), self.model) {
                (None, _) => { (words.no_model_yet) }
                (Some(name), None) => { (name) }
                (Some(name), Some(model)) => {
                    a .jump href="/models" { (name) }
                    @if let Some(version) = text(model, "version") { " " (version) }
                    @if let Some(state) = text(model, "state") { ", " (views::model_state(language, state)) }
                }
            }
        }
    }

    /// What keeps its alerts from the list: of each alarm the newest occurrence tells.
    fn covered(&self, language: Language, words: &Words) -> Option<Markup> {
        let mut known: Vec<&str> = Vec::new();
        let mut covered: Vec<&Alert> = Vec::new();
        for alert in &self.alerts {
            if !known.contains(&&*alert.model) {
                known.push(&alert.model);
                covered.extend(Some(*alert).filter(|alert| alert.suppression != Suppression::None));
            }
        }
        (!covered.is_empty()).then(|| {
            html! { ul { @for alert in covered { li { (cover(alert, language, words)) } } } }
        })
    }
}

fn cover(alert: &Alert, language: Language, words: &Words) -> Markup {
    html! {
        (alert.model) ": "
        @match alert.suppression {
            Suppression::Shelved => {
                (words.shelved) " "
                @if let Some(until) = alert.cover.shelved_until { (views::when(language, until)) }
            }
            Suppression::OutOfService => { (words.out_of_service) }
            Suppression::ByDesign | Suppression::None => { (words.by_design) }
        }
        @if let Some(by) = &alert.suppressed_by { ", " (fill(words.by, &[("name", by)])) }
        @if let Some(why) = &alert.suppressed_because { ". " q { (why) } }
    }
}

/// A name in an address.
pub(super) fn encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect()
}
