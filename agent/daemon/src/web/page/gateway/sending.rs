//! What goes out: records to the registry, results to a broker.

use explaind_core::explain::words::Language;
use maud::{Markup, html};
use serde_json::Value;

use super::{Words, fact};
use crate::web::page::views::{fill, lamp, span, technical, text, when_told};

/// A stream's name as people say it; one that is not known here as it is.
pub(super) fn stream<'a>(name: &'a str, words: &Words) -> &'a str {
    match name {
        "predictions" => words.predictions,
        "alerts" => words.alerts,
        "feedback" => words.feedback,
        "audit" => words.audit,
        "health" => words.health,
        "explanations" => words.explanations,
        other => other,
    }
}

/// Sync, as the status has it.
pub(super) fn sync(sync: &Value, language: Language, words: &Words) -> Markup {
    let (well, state) = match text(sync, "state").unwrap_or_default() {
        "off" => return html! { p .means { (words.sync_off) } },
        "online" => (true, words.online),
        "catching_up" => (true, words.catching_up),
        "stopped" => (false, words.sync_stopped),
        _ => (false, words.offline),
    };
    let streams = sync["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        p { (lamp(well, state)) }
        @if let Some(error) = text(sync, "error") { p .means { (technical(language, error)) } }
        dl .facts {
            (fact(words.registry, &html! { (text(sync, "registry").unwrap_or_default()) }))
            (fact(words.last_upload, &html! {
                @if sync["last_upload"].is_string() { (when_told(language, &sync["last_upload"])) } @else { (words.never) }
            }))
            @if let Some(conflicts) = sync["conflicts"].as_u64().filter(|conflicts| *conflicts > 0) {
                (fact(words.conflicts, &html! { (conflicts) }))
            }
        }
        @if !streams.is_empty() {
            table .values {
                caption .unseen { (words.waiting) }
                thead {
                    tr {
                        th scope="col" { (words.stream) }
                        th scope="col" { (words.waiting) }
                        th scope="col" { (words.lag) }
                    }
                }
                tbody { @for one in streams { (lag(one, language, words)) } }
            }
        }
    }
}

fn lag(of: &Value, language: Language, words: &Words) -> Markup {
    let waiting = of["waiting"].as_u64().unwrap_or_default();
    html! {
        tr {
            th scope="row" { (stream(text(of, "stream").unwrap_or_default(), words)) }
            td .number { (waiting) }
            td .number {
                @match of["lag_seconds"].as_f64() {
                    Some(seconds) if waiting > 0 => { (span(language, seconds)) }
                    _ => { "\u{2013}" }
                }
            }
        }
    }
}

/// Results to a broker, as the status has them.
pub(super) fn broker(publish: &Value, language: Language, words: &Words) -> Markup {
    let connected = match text(publish, "state").unwrap_or_default() {
        "off" | "" => return html! { p .means { (words.broker_off) } },
        state => state == "connected",
    };
    let figure = |key: &str| publish[key].as_u64().unwrap_or_default().to_string();
    html! {
        p {
            (lamp(connected, if connected { words.connected } else { words.disconnected }))
            " " (text(publish, "broker").unwrap_or_default())
        }
        @if let Some(error) = text(publish, "error") { p .means { (technical(language, error)) } }
        p .means {
            (fill(words.published, &[
                ("published", &figure("published")), ("waiting", &figure("waiting")), ("dropped", &figure("dropped")),
            ]))
        }
    }
}
