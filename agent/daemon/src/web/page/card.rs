//! One alert as a card: what, why, what was said, and what can be done.

use std::hash::{DefaultHasher, Hash, Hasher};

use explaind_core::domain::alert::Priority;
use explaind_core::domain::feedback::{ExplanationVerdict, UserRole, Verdict};
use explaind_core::explain::words::{Language, Picture, limit, this_gateway};
use maud::{Markup, PreEscaped, html};
use uuid::Uuid;

use super::{Reader, aside, bars, opinion, story as whole, tables, words};
use crate::web::story::Story;
use crate::web::verdicts::Said;
use crate::web::words::{Words, fill, sentence};

/// The card of an open alert.
pub(crate) fn open(story: &Story, reader: &Reader) -> Markup {
    let (alert, words) = (&story.alert, reader.words);
    let id = alert.id;
    let class = format!("card {} {}", alert.priority.as_str(), alert.state.as_str());
    let priority = fill(words.card.priority, &[("level", words.priority(alert.priority))]);
    let content = html! {
        header .head {
            (glyph(alert.priority))
            div .title {
                h2 #{ "h-" (id) } tabindex="-1" { (name(story)) }
                p .meta { (priority) " · " (words::when(alert.raised_at, words)) }
            }
            p .state { (words.state(alert.state)) }
        }
        p .newer hidden {
            (words.card.newer) " "
            button .quiet type="button" { (words.card.show_newer) }
        }
        (body(story, reader))
    };
    let label = format!("h-{id}");
    html! {
        article #{ "a-" (id) } class=(class) aria-labelledby=(label) data-key=(id) data-prediction=[alert.prediction_id]
            data-version=(version(&class, &content)) data-name={ (name(story)) ", " (priority) } {
            (content)
        }
    }
}

/// A closed alert: a line that opens.
pub(crate) fn closed(story: &Story, reader: &Reader) -> Markup {
    let (alert, words) = (&story.alert, reader.words);
    let id = alert.id;
    let content = html! {
        summary {
            (glyph(alert.priority))
            span .asset { (name(story)) }
            span .times { (words::when(alert.raised_at, words)) }
            span .brief { (words::unbroken(&why(story))) }
            span .verdicts { (brief(&story.said, words)) }
        }
        (body(story, reader))
    };
    html! {
        details #{ "a-" (id) } .row data-key=(id) data-prediction=[alert.prediction_id]
            data-version=(version("row", &content)) {
            (content)
        }
    }
}

/// The machine, or that it is the gateway itself.
fn name(story: &Story) -> &str {
    if story.own().is_some() { this_gateway(story.language) } else { &story.alert.asset }
}

/// Changes when the card does, so that the script leaves all others alone.
fn version(class: &str, content: &PreEscaped<String>) -> String {
    let mut hasher = DefaultHasher::new();
    (class, &content.0).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Why, in one sentence; what only the record says of it, in our words where we have any.
fn why(story: &Story) -> String {
    let sentence = story.sentence();
    if sentence == story.alert.reason { limit(story.language, &sentence).unwrap_or(sentence) } else { sentence }
}

fn body(story: &Story, reader: &Reader) -> Markup {
    let (alert, words) = (&story.alert, reader.words);
    let own = opinion::own(story, reader.actor);
    let technician = reader.is(UserRole::Technician);
    html! {
        div .body {
            div .why {
                p .sentence { (words::unbroken(&why(story))) }
                @if let Some(remedy) = story.would_clear() { p .remedy { (words::unbroken(&remedy)) } }
                @if let Some(similar) = story.similar() { p .similar { (words::unbroken(&similar)) } }
                p .reason { (reason(story, words)) (again(story, words)) }
                (aside::guidance(story, words))
                (said(story, words))
                (whole::link(alert.id, words.language))
                @if technician {
                    (opinion::form(story, own, reader))
                    @if alert.state.is_open() { (aside::asides(story, reader)) }
                }
            }
            @if story.own().is_none() { (reasons(story, words, technician.then_some(own))) }
        }
    }
}

/// What happened, as the record has it: by how much which limit was passed, or what is wrong with the gateway.
fn reason(story: &Story, words: &Words) -> Markup {
    let reason = &story.alert.reason;
    html! {
        @match (limit(words.language, reason), words.language) {
            (Some(limit), _) => { (limit) }
            (None, Language::English) => { (sentence(reason)) }
            (None, Language::German) => { (words.page.technically) " " q lang="en" { (reason) } }
        }
    }
}

/// When it was last raised, where that is later than its beginning: the values shown are of then.
fn again(story: &Story, words: &Words) -> Markup {
    let began = story.alert.raised_at.as_micros();
    let last = story
        .evidence
        .as_ref()
        .map(|record| record.at.utc)
        .filter(|at| at.as_micros().saturating_sub(began) > 1_000_000);
    html! {
        @if let Some(at) = last { " " (words.card.raised_again) " " (words::when(at, words)) "." }
    }
}

/// Why the model said so, or why there is no telling. `ticks`: for somebody who may say which signals mattered, with what
/// they said before.
fn reasons(story: &Story, words: &Words, ticks: Option<Option<&Said>>) -> Markup {
    let settlement = story.evidence.as_ref().map(|record| record.settlement.as_ref());
    let said = Picture(story.language);
    html! {
        div .reasons {
            @match (settlement, story.explanation()) {
                (_, Some((_, explanation))) => {
                    (bars::picture(explanation, story.language, |number, feature| html! {
                        @if let Some(own) = ticks { (opinion::ticks(story.alert.id, (number, feature), own, words)) }
                    }))
                    (tables::tables(explanation, story.language))
                }
                (None, _) => { p .pending { (said.gone()) } }
                (Some(None), _) => { p .pending data-pending { (said.pending()) } }
                (Some(Some(settlement)), _) => { p .pending { (said.none(settlement.reason())) } }
            }
        }
    }
}

/// What people did and said, in order.
fn said(story: &Story, words: &Words) -> Markup {
    let alert = &story.alert;
    html! {
        @if alert.acknowledged_by.is_some() || alert.cleared_at.is_some() || !story.said.is_empty() {
            ul .said {
                @if let Some(by) = &alert.acknowledged_by {
                    li { (fill(words.card.seen_by, &[("name", by)])) @if let Some(comment) = &alert.comment { ". " q { (comment) } } }
                }
                @if let Some(at) = alert.cleared_at {
                    li { span .what { (words.card.back_to_normal) } " " (words::when(at, words)) }
                }
                @for said in &story.said { (opinion(said, alert.prediction_id, words)) }
            }
        }
    }
}

/// One thing that was said. What was revised stays, and says so.
fn opinion(said: &Said, shown: Option<Uuid>, words: &Words) -> Markup {
    let (feedback, card) = (&said.feedback, &words.card);
    html! {
        li .revised[said.revised] {
            span .what { (feedback.verdict.map_or(card.noted, |verdict| words.verdict(verdict))) }
            @if let Some(corrected) = &feedback.corrected { ": " (words::numeral(corrected, words)) }
            ", " (fill(card.says, &[("name", &feedback.author)])) ", " (words::when(said.at, words))
            @if feedback.revises.is_some() { " " (card.revision) }
            @if said.revised { " " (card.revised) }
            @if feedback.prediction_id.is_some() && feedback.prediction_id != shown { " " (card.of_before) }
            "."
            @if let Some(cause) = &feedback.cause { " " (fill(card.cause, &[("cause", cause)])) }
            @match feedback.explanation_verdict {
                Some(ExplanationVerdict::Agree) => { " " (card.agreed) }
                Some(ExplanationVerdict::Disagree) => { " " (card.disagreed) }
                None => {}
            }
            @for (phrase, names) in [(card.mattered, &feedback.relevant), (card.mattered_not, &feedback.irrelevant)] {
                @if !names.is_empty() { " " (fill(phrase, &[("names", &names.join(", "))])) }
            }
            @if let Some(comment) = &feedback.comment { " " q { (comment) } }
        }
    }
}

/// The verdicts that stand, in a word each.
fn brief(said: &[Said], words: &Words) -> Markup {
    let mut standing: Vec<Verdict> =
        said.iter().filter(|said| !said.revised).filter_map(|said| said.feedback.verdict).collect();
    standing.dedup();
    html! {
        @for verdict in standing.iter().take(3) {
            span class={ "chip " (verdict.as_str()) } { (words.verdict(*verdict)) }
        }
    }
}

/// Urgency by shape and number as well as by colour.
fn glyph(priority: Priority) -> Markup {
    let number = match priority {
        Priority::Critical => "1",
        Priority::High => "2",
        Priority::Medium => "3",
        Priority::Low => "4",
    };
    html! {
        svg class={ "glyph " (priority.as_str()) } viewBox="0 0 24 24" aria-hidden="true" focusable="false" {
            @match priority {
                Priority::Critical => { rect x="2" y="2" width="20" height="20" rx="2" {} }
                Priority::High => { path d="M12 1.5 23 21.5H1Z" {} }
                Priority::Medium => { path d="M12 1 23 12 12 23 1 12Z" {} }
                Priority::Low => { circle cx="12" cy="12" r="10.5" {} }
            }
            text x="12" y=(if priority == Priority::High { "19" } else { "16.5" }) text-anchor="middle" { (number) }
        }
    }
}
