//! The gateway view: its sources, what it keeps and sends home, its disk and clock, and which models run.

mod keeping;
mod sending;
mod words;

use axum::extract::State;
use explaind_core::explain::words::Language;
use maud::{Markup, html};
use serde_json::Value;

use super::layout::Place;
use super::views::{self, fill, lamp, technical, text, when_told};
use crate::web::access::Viewer;
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::{Shared, Web};

#[cfg(test)]
pub(super) use words::PAIRS;
use words::Words;

/// How often the page looks again, in milliseconds.
const EVERY: u32 = 5000;
/// Digits of a digest that people compare.
const DIGITS: usize = 12;

/// `GET /gateway`.
pub(super) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| Ok(views::page(web, &actor, language, Place::Gateway, &view(web, language)))).await
}

/// `GET /gateway/live`: the view alone, for a page that is already there.
pub(super) async fn live(State(web): State<Shared>, _: Viewer, Reads(language): Reads) -> Result<Markup, Problem> {
    web.off_thread(move |web| Ok(view(web, language))).await
}

fn view(web: &Web, language: Language) -> Markup {
    let (words, status) = (Words::of(language), (web.status)());
    let content = html! {
        h1 { (words.gateway_title) " " (web.gateway) }
        (views::as_of(language))
        (itself(&status["gateway"], language, words))
        (section("sources", words.sources, &sources(&status["sources"], language, words)))
        (section("buffer", words.buffer, &keeping::buffer(web, &status["buffer"], language, words)))
        (section("disk", words.disk, &keeping::disk(web, &status["buffer"], language, words)))
        (section("sync", words.sync, &sending::sync(&status["sync"], language, words)))
        (section("broker", words.broker, &sending::broker(&status["publish"], language, words)))
        (section("models", words.models, &models(&status["models"], language, words)))
    };
    views::fresh(language, "/gateway/live", EVERY, &content)
}

/// A part of the gateway under its name.
fn section(id: &str, title: &str, content: &Markup) -> Markup {
    let label = format!("part-{id}");
    html! {
        section .model aria-labelledby=(label) {
            h2 #(label) { (title) }
            (content)
        }
    }
}

/// One line of facts.
fn fact(name: &str, content: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (content) } } }
}

fn itself(gateway: &Value, language: Language, words: &Words) -> Markup {
    let stop = &gateway["stopped"];
    let config: String = text(gateway, "config_digest").unwrap_or_default().chars().take(DIGITS).collect();
    let right = gateway["clock_synchronised"] == true;
    html! {
        section .model.halted[stop.is_object()] aria-label=(words.state) {
            p {
                @if stop.is_object() {
                    (lamp(false, words.stopped)) " " (fill(words.stopped_by, &[("name", text(stop, "by").unwrap_or_default())]))
                    @if let Some(reason) = text(stop, "reason") { ": " q { (reason) } }
                } @else { (lamp(true, words.runs)) }
            }
            @if stop.is_object() { p .means { a .jump href="/models" { (words.release) } } }
            @if gateway["alarm_flood"] == true { p .means { (lamp(false, words.flood)) } }
            @if let Some(error) = text(gateway, "stop_error") { p .means { (words.unheard) " " (technical(language, error)) } }
            dl .facts {
                (fact(words.version, &html! { (text(gateway, "version").unwrap_or_default()) }))
                (fact(words.since, &when_told(language, &gateway["started_at"])))
                (fact(words.config, &html! { code { (config) } }))
                (fact(words.clock, &lamp(right, if right { words.clock_right } else { words.clock_wrong })))
            }
        }
    }
}

fn sources(sources: &Value, language: Language, words: &Words) -> Markup {
    let sources = sources.as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if sources.is_empty() { p .means { (words.no_sources) } }
        @else {
            table .values {
                thead {
                    tr {
                        th scope="col" { (words.source) }
                        th scope="col" { (words.state) }
                        th scope="col" { (words.last_sample) }
                    }
                }
                tbody { @for source in sources { (source_row(source, language, words)) } }
            }
        }
    }
}

fn source_row(source: &Value, language: Language, words: &Words) -> Markup {
    let state = match (source["up"] == true, source["finished"] == true) {
        (true, _) => lamp(true, words.up),
        (false, true) => html! { (words.finished) },
        (false, false) => lamp(false, words.down),
    };
    html! {
        tr {
            th scope="row" { (text(source, "name").unwrap_or_default()) }
            td { (state) }
            td {
                @if source["last_sample_at"].is_string() { (when_told(language, &source["last_sample_at"])) }
                @else { (words.no_sample) }
            }
        }
        @if let Some(error) = text(source, "error") {
            tr .error { td colspan="3" { (words.error) ": " (technical(language, error)) } }
        }
    }
}

fn models(models: &Value, language: Language, words: &Words) -> Markup {
    let models = models.as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if models.is_empty() { p .means { (words.no_models) } }
        @else {
            table .values {
                thead {
                    tr {
                        th scope="col" { (words.model) }
                        th scope="col" { (words.version) }
                        th scope="col" { (words.state) }
                    }
                }
                tbody {
                    @for model in models {
                        tr {
                            th scope="row" { (text(model, "name").unwrap_or_default()) }
                            td { (version(model, words)) }
                            td {
                                @let state = text(model, "state").unwrap_or_default();
                                (lamp(matches!(state, "active" | "trial"), views::model_state(language, state)))
                            }
                        }
                    }
                }
            }
        }
        p .means { a .jump href="/models" { (words.all_models) } }
    }
}

fn version(model: &Value, words: &Words) -> String {
    match (text(model, "version"), model["registry_version"].as_u64()) {
        (Some(version), Some(number)) => {
            fill(words.registry_version, &[("version", version), ("number", &number.to_string())])
        }
        (Some(version), None) => version.to_owned(),
        (None, _) => "\u{2013}".to_owned(),
    }
}
