//! One model on the page of models.

use explaind_core::domain::feedback::UserRole;
use maud::{Markup, html};
use serde_json::Value;

use super::super::Reader;
use super::super::words::percent;
use super::{Step, by_registry, confirm, stopped, text, when};
use crate::web::rollout::Verb;
use crate::web::words::{Words, fill, sentence};

/// Digits of a digest that people compare.
const DIGITS: usize = 12;

/// The model as a card.
pub(super) fn card(number: usize, model: &Value, reader: &Reader) -> Markup {
    let (words, all) = (reader.words, reader.running.stopped().is_some());
    let name = text(model, "name").unwrap_or_default();
    let state = text(model, "state").unwrap_or_default();
    let stop = Some(&model["stopped"]).filter(|stop| stop.is_object());
    let halted = all || stop.is_some();
    let title = format!("m-{number}");
    html! {
        article .model.halted[halted] aria-labelledby=(title) data-model=(name) {
            header .head {
                h2 #(title) { (name) }
                p .state { (words.models.state(&state)) }
            }
            (means(&state, stop, all, words))
            @if let Some(error) = text(model, "error") { p .trouble lang="en" { (sentence(&error)) } }
            (facts(model, words))
            @if reader.is(UserRole::Engineer) {
                (asks(number, model, &name, stop, reader))
            }
        }
    }
}

/// The state in a sentence, where its name does not say it all.
fn means(state: &str, stop: Option<&Value>, all: bool, words: &Words) -> Markup {
    let said = &words.models;
    let sentence = match state {
        "trial" => Some(said.trial),
        "shadow" => Some(said.shadow),
        "fallback" => Some(said.fallback),
        "no_model" => Some(said.no_model),
        _ => None,
    };
    html! {
        @if let Some(sentence) = sentence { p .means { (sentence) } }
        @if let Some(stop) = stop { (stopped(stop, words)) }
        @else if all { p .by { (said.with_all) } }
    }
}

fn facts(model: &Value, words: &Words) -> Markup {
    let said = &words.models;
    let refused = model["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (previous, challenger, following) = (&model["previous"], &model["challenger"], &model["following"]);
    html! {
        dl .facts {
            @if model["version"].is_string() {
                div { dt { (said.version) } dd { (bundle(model, words)) } }
            }
            @if let Some(since) = text(model, "since") { div { dt { (said.since) } dd { (when(&since, words)) } } }
            @if let Some(assets) = names(&model["assets"]) { div { dt { (said.assets) } dd { (assets) } } }
            @if model["version"].is_string() {
                div { dt { (said.signed) } dd { (signed(&model["signed"], words)) } }
            }
            @if previous.is_object() { div { dt { (said.before) } dd { (bundle(previous, words)) } } }
            @if challenger.is_object() { div { dt { (said.challenger) } dd { (rival(challenger, words)) } } }
            @if following.is_object() { div { dt { (said.follows) } dd { (follows(following, words)) } } }
            @if !refused.is_empty() {
                div { dt { (said.refused) } dd { ul { @for one in refused { li { (refusal(one, words)) } } } } }
            }
        }
    }
}

/// `1.4.0, 7 in the registry, a3f1…`
fn bundle(bundle: &Value, words: &Words) -> Markup {
    html! {
        (text(bundle, "version").unwrap_or_default())
        @if let Some(number) = text(bundle, "registry_version") {
            ", " (fill(words.models.in_registry, &[("number", &number)]))
        }
        @if let Some(digest) = text(bundle, "digest") { " " code title=(digest) { (short(&digest)) } }
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGITS).collect()
}

/// `yes`, `no`, or by whom.
fn signed(value: &Value, words: &Words) -> String {
    match value {
        Value::Null | Value::Bool(false) => words.models.no.to_owned(),
        Value::String(by) => by.clone(),
        _ => words.models.yes.to_owned(),
    }
}

fn rival(challenger: &Value, words: &Words) -> Markup {
    let count = challenger["predictions"].as_u64().map(|count| count.to_string());
    let same = challenger["agreement"].as_f64().map(|share| percent(share * 100.0));
    let compared = count.map(|count| match same {
        Some(same) => fill(words.models.agreement, &[("count", &count), ("same", &same)]),
        None => fill(words.models.predictions, &[("count", &count)]),
    });
    html! {
        (bundle(challenger, words))
        @if let Some(compared) = compared { ", " (compared) }
        @if let Some(assets) = names(&challenger["canary"]) { ", " (fill(words.models.canary, &[("assets", &assets)])) }
    }
}

/// `champion, last looked 10:00; it answers 500`
fn follows(following: &Value, words: &Words) -> Markup {
    html! {
        @if let Some(model) = text(following, "registered_as") { (model) "@" }
        (text(following, "alias").unwrap_or_default())
        @if let Some(at) = text(following, "checked_at") { ", " (words.models.looked) " " (when(&at, words)) }
        @if let Some(error) = text(following, "error") { ". " span lang="en" { (sentence(&error)) } }
    }
}

fn refusal(refused: &Value, words: &Words) -> Markup {
    html! {
        (bundle(refused, words))
        @if let Some(at) = text(refused, "at") { ", " (when(&at, words)) }
        ": " span lang="en" { (sentence(&text(refused, "reason").unwrap_or_default())) }
        @if let Some(check) = text(refused, "check") { " (" code { (check) } ")" }
    }
}

/// Names in a row; `None` where there are none.
fn names(list: &Value) -> Option<String> {
    let names: Vec<&str> = list.as_array()?.iter().filter_map(Value::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn asks(number: usize, model: &Value, name: &str, stop: Option<&Value>, reader: &Reader) -> Markup {
    let words = &reader.words.models;
    let previous = text(&model["previous"], "version");
    let id = |what: &str| format!("{what}-{number}");
    html! {
        div .asks {
            @if let Some(version) = previous {
                (confirm(&Step {
                    verb: Verb::Rollback, model: Some(name), id: &id("back"), label: &fill(words.go_back, &[("version", &version)]),
                    explains: words.what_goes_back, button: &fill(words.back_now, &[("name", name), ("version", &version)]),
                }, reader))
            }
            @match stop {
                None => {
                    (confirm(&Step {
                        verb: Verb::Stop, model: Some(name), id: &id("stop"), label: words.stop,
                        explains: words.what_stops, button: &fill(words.now, &[("name", name)]),
                    }, reader))
                }
                Some(stop) if !by_registry(stop) => {
                    (confirm(&Step {
                        verb: Verb::Release, model: Some(name), id: &id("release"), label: words.release,
                        explains: words.what_is_released, button: &fill(words.again, &[("name", name)]),
                    }, reader))
                }
                Some(_) => {}
            }
        }
    }
}
