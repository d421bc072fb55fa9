//! What is known beside the reasons: what would clear the alert, what is like it, and how sure all that is.

use explaind_core::domain::alert::GATEWAY;
use explaind_core::domain::extra::{Change, Counterfactual, PastAlert};
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::sample::Quality;
use explaind_core::explain::words::{Judged, Language, named, remedy};
use maud::{Markup, html};

use super::{Words, life};
use crate::web::Web;
use crate::web::page::views::{self, figure, fill, when};
use crate::web::page::words::{percent, unbroken};
use crate::web::story::Story;

/// Digits of a digest that people compare.
const DIGITS: usize = 12;

/// What would clear it: the sentence, and each way in a table.
pub(super) fn clear(story: &Story, language: Language, words: &Words) -> Markup {
    html! {
        @match &story.counterfactuals {
            None => { p .means { (words.no_clear) } }
            Some((_, found)) => {
                p { (unbroken(&remedy(language, found))) }
                @for (number, way) in found.alternatives.iter().enumerate() {
                    (table(number + 1, way, language, words))
                }
            }
        }
    }
}

fn table(number: usize, way: &Counterfactual, language: Language, words: &Words) -> Markup {
    html! {
        table .values {
            caption { (fill(words.way, &[("number", &number.to_string())])) }
            thead { tr { th scope="col" { (words.signal) } th scope="col" { (words.now) } th scope="col" { (words.then) } } }
            tbody { @for change in &way.changes { (changed(change, language, words)) } }
        }
        p .means { (fill(words.output_then, &[("value", &figure(language, way.output))])) }
    }
}

fn changed(change: &Change, language: Language, words: &Words) -> Markup {
    let (name, unit) = named(&change.feature, &change.unit);
    let value = |value: f64| {
        let unit = if unit.is_empty() { String::new() } else { format!("\u{a0}{unit}") };
        format!("{}{unit}", figure(language, value))
    };
    html! {
        tr {
            th scope="row" { (name) }
            td .number { (value(change.from)) }
            td .number {
                @match &change.category {
                    Some(category) => { (category) }
                    None => {
                        (value(change.to))
                        @if change.and_beyond {
                            " " (if change.to < change.from { words.or_less } else { words.or_more })
                        }
                    }
                }
            }
        }
    }
}

/// What is like it, and what was said of that.
pub(super) fn similar(web: &Web, story: &Story, language: Language, words: &Words) -> Markup {
    let Some((_, cases)) = story.cases.as_ref().filter(|(_, cases)| cases.compared > 0) else {
        return html! { p .means { (words.no_similar) } };
    };
    html! {
        @if cases.alerts.is_empty() {
            p .means { (fill(words.none_alike, &[("count", &cases.compared.to_string())])) }
        } @else {
            @if let Some(sentence) = story.similar() { p { (unbroken(&sentence)) } }
            ol .steps {
                @for (past, judged) in cases.alerts.iter().zip(&story.judged) { (case(web, past, judged, language, words)) }
            }
        }
    }
}

fn case(web: &Web, past: &PastAlert, judged: &Judged, language: Language, words: &Words) -> Markup {
    // An alert that cannot be read is shown as one that is not kept.
    let kept = web.buffer.any_alert(past.alert_id).ok().flatten();
    let at = kept.as_ref().map(|alert| alert.raised_at).or_else(|| life::minted(past.alert_id));
    let name = html! { (past.asset) @if let Some(at) = at { ", " (when(language, at)) } };
    html! {
        li {
            @if kept.is_some() { a .jump href={ "/alerts/" (past.alert_id) } { (name) } }
            @else { (name) " (" (words.alert_gone) ")" }
            ", " (fill(words.alike, &[("share", &percent((1.0 - past.distance) * 100.0))])) ": "
            strong {
                @match judged.verdict {
                    Some(verdict) => { (views::verdict(language, verdict)) }
                    None => { (words.not_judged) }
                }
            }
            "."
            @if let Some(said) = &judged.words { " " q { (said) } }
        }
    }
}

/// How sure it is.
pub(super) fn trust(web: &Web, story: &Story, language: Language, words: &Words) -> Markup {
    let (judged, falsely) = web.verdicts.judged().get(&*story.alert.asset).copied().unwrap_or_default();
    html! {
        dl .facts {
            @if let Some(prediction) = story.prediction() {
                @if let Outcome::Predicted(output) = &prediction.outcome {
                    div {
                        dt { (words.says) }
                        dd {
                            @if let Some(label) = &output.label { (label) ", " }
                            @match output.probability {
                                Some(part) => { (fill(words.likely, &[("share", &percent(part * 100.0))])) }
                                None => { (figure(language, output.value)) }
                            }
                        }
                    }
                }
                div { dt { (words.reasons) } dd { (reasons(story, language, words)) } }
                (inputs(prediction, words))
                @if let Some(at) = prediction.source_time { div { dt { (words.measured_at) } dd { (when(language, at)) } } }
                (model(prediction, words))
            }
            (faithful(story, words))
            @if judged > 0 && *story.alert.asset != *GATEWAY {
                div {
                    dt { (words.of_machine) }
                    dd { (fill(words.judged, &[("count", &judged.to_string()), ("false", &falsely.to_string())])) }
                }
            }
        }
    }
}

fn reasons(story: &Story, language: Language, words: &Words) -> String {
    let Some((_, explanation)) = story.explanation() else {
        let pending = story.evidence.as_ref().is_some_and(|record| record.settlement.is_none());
        return (if pending { words.pending } else { words.no_reasons }).to_owned();
    };
    let largest = explanation.attributions.iter().map(|attribution| attribution.standard_error).fold(0.0, f64::max);
    if explanation.method.status() == "exact" {
        return words.exact.to_owned();
    }
    // Two standard errors: as the sentence counts a reason as sure.
    fill(words.estimated, &[("error", &figure(language, 2.0 * largest))])
}

fn inputs(prediction: &Prediction, words: &Words) -> Markup {
    let quality = match prediction.input_quality {
        Quality::Good => words.good,
        Quality::Uncertain => words.uncertain,
        Quality::Bad => words.bad,
    };
    html! { div { dt { (words.inputs) } dd { (quality) } } }
}

fn model(prediction: &Prediction, words: &Words) -> Markup {
    let digest: String = prediction.model_digest.to_string().chars().take(DIGITS).collect();
    html! {
        div {
            dt { (words.model) }
            dd { (prediction.model) " " (prediction.model_version) " " code title=(words.digest) { (digest) } }
        }
    }
}

/// How well the reasons stood the test, where it was made.
fn faithful(story: &Story, words: &Words) -> Markup {
    let scored = story.explanation().and_then(|(_, explanation)| explanation.faithfulness);
    html! {
        @if let Some(scored) = scored {
            div {
                dt { (words.faithful) }
                dd {
                    (fill(words.faithfulness, &[
                        ("deletion", &percent(scored.deletion * 100.0)), ("random", &percent(scored.random * 100.0)),
                    ]))
                }
            }
        }
    }
}
