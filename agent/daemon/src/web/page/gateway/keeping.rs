//! What the gateway keeps: the buffer, what went lately to make room, and the disk below it.

use explaind_core::domain::record::{Body, Health, Record, Stream};
use explaind_core::explain::words::Language;
use maud::{Markup, html};
use serde_json::Value;

use super::{Words, fact, sending};
use crate::web::Web;
use crate::web::page::views::{bytes, fill, lamp, meter, technical, text, when};
use crate::web::page::words::percent;

/// Records of the gateway's own state that are looked through for evictions.
const LOOKED_AT: usize = 500;
/// Evictions shown.
const SHOWN: usize = 5;

/// The buffer, as the status has it.
pub(super) fn buffer(web: &Web, buffer: &Value, language: Language, words: &Words) -> Markup {
    let figure = |key: &str| buffer[key].as_u64().unwrap_or_default();
    let (kept, bound) = (figure("bytes"), figure("bound"));
    let degraded = text(buffer, "degraded");
    let (well, state) = match (degraded, buffer["full"] == true) {
        (Some(_), _) => (false, words.buffer_broken),
        (None, true) => (false, words.buffer_full),
        (None, false) => (true, words.buffer_well),
    };
    html! {
        p { (lamp(well, state)) }
        @if let Some(reason) = degraded { p .means { (technical(language, reason)) } }
        dl .facts {
            (fact(words.filled, &part(kept, bound, language, words)))
            (fact(words.journal, &html! { (bytes(language, figure("journal_bytes"))) }))
            (fact(words.evictions, &evictions(web, language, words)))
        }
        (streams(buffer, words))
    }
}

/// So much of a whole, in words and as a bar.
fn part(part: u64, whole: u64, language: Language, words: &Words) -> Markup {
    let share = if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
    html! {
        (fill(words.of, &[
            ("part", &bytes(language, part)), ("whole", &bytes(language, whole)), ("share", &percent(share * 100.0)),
        ]))
        (meter(share))
    }
}

fn streams(buffer: &Value, words: &Words) -> Markup {
    let streams = buffer["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        table .values {
            caption .unseen { (words.streams) }
            thead { tr { th scope="col" { (words.stream) } th scope="col" { (words.records) } } }
            tbody {
                @for stream in streams {
                    tr {
                        th scope="row" { (sending::stream(text(stream, "stream").unwrap_or_default(), words)) }
                        td .number { (stream["records"].as_u64().unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

/// What went lately. Where the store cannot be read nothing is known of it, and the state above says why.
fn evictions(web: &Web, language: Language, words: &Words) -> Markup {
    let newest = web.buffer.latest(Stream::Health, None, LOOKED_AT).unwrap_or_default();
    let gone: Vec<(&Record, &Health)> = newest.iter().filter_map(eviction).take(SHOWN).collect();
    html! {
        @if gone.is_empty() { (words.no_evictions) }
        @else {
            ul { @for (record, health) in gone { li { (when(language, record.at.utc)) ": " (said(health, language, words)) } } }
        }
    }
}

fn eviction(record: &Record) -> Option<(&Record, &Health)> {
    match &record.body {
        Body::Health(health) if health.subject == "buffer" && health.state == "evicted" => Some((record, health)),
        _ => None,
    }
}

fn said(health: &Health, language: Language, words: &Words) -> Markup {
    let of = |name: &str| {
        health.evidence.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let sentence = fill(
        words.eviction,
        &[
            ("records", of("records")),
            ("stream", sending::stream(of("stream"), words)),
            ("unsent", of("unsent")),
            ("reason", of("reason")),
        ],
    );
    html! { span lang=(language.code()) { (sentence) } }
}

/// The disk below it.
pub(super) fn disk(web: &Web, buffer: &Value, language: Language, words: &Words) -> Markup {
    let written = |key: &str| buffer["wear"][key].as_u64().unwrap_or_default();
    let all: u64 = ["store_bytes", "journal_bytes", "outbox_bytes", "side_bytes"].into_iter().map(written).sum();
    html! {
        dl .facts {
            @if let Some((free, size)) = web.buffer.disk() {
                (fact(words.free, &part(free, size, language, words)))
            }
            (fact(words.files, &html! { (bytes(language, buffer["disk_bytes"].as_u64().unwrap_or_default())) }))
            @if buffer["wear"].is_object() { (fact(words.written, &html! { (bytes(language, all)) })) }
        }
    }
}
