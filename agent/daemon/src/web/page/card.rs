//! One alert as a card: what, why, what was said, and what can be done.

use std::hash::{DefaultHasher, Hash, Hasher};

use explaind_core::domain::alert::Priority;
use explaind_core::domain::feedback::{UserRole, Verdict};
use explaind_core::explain::words::{Picture, this_gateway};
use maud::{Markup, PreEscaped, html};
use uuid::Uuid;

use super::alarm_words::Words;
use super::{aside, bars, story as whole, tables, words};
use crate::web::access::Actor;
use crate::web::feedback::LONGEST_COMMENT;
use crate::web::story::Story;
use crate::web::verdicts::Said;

/// The card of an open alert.
pub(crate) fn open(story: &Story, actor: &Actor) -> Markup {
    let alert = &story.alert;
    let id = alert.id;
    let class = format!("card {} {}", alert.priority.as_str(), alert.state.as_str());
    let content = html! {
        header .head {
            (glyph(alert.priority))
            div .title {
                h2 #{ "h-" (id) } tabindex="-1" lang=[lang(story)] { (name(story)) }
                p .meta { (words::priority(alert.priority)) " priority · " (words::when(alert.raised_at)) }
            }
            p .state lang=(story.language.code()) { (Words::of(story.language).state(alert.state)) }
        }
        p .newer hidden {
            "This alert was raised again meanwhile. "
            button .quiet type="button" { "Show the newer one" }
        }
        (body(story, actor))
    };
    let label = format!("h-{id}");
    html! {
        article #{ "a-" (id) } class=(class) aria-labelledby=(label) data-key=(id) data-prediction=[alert.prediction_id]
            data-version=(version(&class, &content)) data-name={ (name(story)) ", " (words::priority(alert.priority)) } {
            (content)
        }
    }
}

/// A closed alert: a line that opens.
pub(crate) fn closed(story: &Story, actor: &Actor) -> Markup {
    let alert = &story.alert;
    let id = alert.id;
    let content = html! {
        summary {
            (glyph(alert.priority))
            span .asset lang=[lang(story)] { (name(story)) }
            span .times { (words::when(alert.raised_at)) }
            span .brief lang=(story.language.code()) { (words::unbroken(&story.sentence())) }
            span .verdicts { (brief(&story.said)) }
        }
        (body(story, actor))
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

/// The language of that, where it is ours and no name.
fn lang(story: &Story) -> Option<&'static str> {
    story.own().map(|_| story.language.code())
}

/// Changes when the card does, so that the script leaves all others alone.
fn version(class: &str, content: &PreEscaped<String>) -> String {
    let mut hasher = DefaultHasher::new();
    (class, &content.0).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn body(story: &Story, actor: &Actor) -> Markup {
    let alert = &story.alert;
    let language = story.language.code();
    html! {
        div .body {
            div .why {
                p .sentence lang=(language) { (words::unbroken(&story.sentence())) }
                @if let Some(remedy) = story.would_clear() { p .remedy lang=(language) { (words::unbroken(&remedy)) } }
                @if let Some(similar) = story.similar() { p .similar lang=(language) { (words::unbroken(&similar)) } }
                p .reason { (words::sentence(&alert.reason)) (again(story)) }
                (aside::guidance(story))
                (said(story))
                (whole::link(alert.id, story.language))
                @if actor.role >= UserRole::Technician {
                    (form(story, actor))
                    @if alert.state.is_open() { (aside::asides(story, actor)) }
                }
            }
            @if story.own().is_none() { (reasons(story)) }
        }
    }
}

/// When it was last raised, where that is later than its beginning: the values shown are of then.
fn again(story: &Story) -> Markup {
    let began = story.alert.raised_at.as_micros();
    let last = story
        .evidence
        .as_ref()
        .map(|record| record.at.utc)
        .filter(|at| at.as_micros().saturating_sub(began) > 1_000_000);
    html! {
        @if let Some(at) = last { " Raised again " (words::when(at)) "." }
    }
}

/// Why the model said so, or why there is no telling.
fn reasons(story: &Story) -> Markup {
    let settlement = story.evidence.as_ref().map(|record| record.settlement.as_ref());
    let said = Picture(story.language);
    html! {
        div .reasons lang=(story.language.code()) {
            @match (settlement, story.explanation()) {
                (_, Some((_, explanation))) => {
                    (bars::picture(explanation, story.language))
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
fn said(story: &Story) -> Markup {
    let alert = &story.alert;
    html! {
        @if alert.acknowledged_by.is_some() || alert.cleared_at.is_some() || !story.said.is_empty() {
            ul .said {
                @if let Some(by) = &alert.acknowledged_by {
                    li { span .what { "Seen" } " by " (by) @if let Some(comment) = &alert.comment { ". " q { (comment) } } }
                }
                @if let Some(at) = alert.cleared_at {
                    li { span .what { "Back to normal" } " " (words::when(at)) }
                }
                @for said in &story.said { (opinion(said, alert.prediction_id)) }
            }
        }
    }
}

fn opinion(said: &Said, shown: Option<Uuid>) -> Markup {
    let feedback = &said.feedback;
    html! {
        li .revised[said.revised] {
            span .what {
                @match feedback.verdict {
                    Some(verdict) => { (words::verdict(verdict)) }
                    None => { "Noted" }
                }
            }
            @if let Some(corrected) = &feedback.corrected { ": " (corrected) }
            ", says " (feedback.author) ", " (words::when(said.at))
            @if said.revised { " (since revised)" }
            @if feedback.prediction_id.is_some() && feedback.prediction_id != shown { " (of the time before)" }
            @if let Some(cause) = &feedback.cause { ". Cause: " (cause) }
            @if let Some(comment) = &feedback.comment { ". " q { (comment) } }
        }
    }
}

/// The verdicts that stand, in a word each.
fn brief(said: &[Said]) -> Markup {
    let mut standing: Vec<Verdict> =
        said.iter().filter(|said| !said.revised).filter_map(|said| said.feedback.verdict).collect();
    standing.dedup();
    html! {
        @for verdict in standing.iter().take(3) {
            span class={ "chip " (verdict.as_str()) } { (words::verdict(*verdict)) }
        }
    }
}

/// One comment, and the buttons that it may go with.
fn form(story: &Story, actor: &Actor) -> Markup {
    let alert = &story.alert;
    let id = alert.id;
    let own = story.said.iter().rev().find(|said| {
        said.feedback.author == *actor.name && !said.revised && said.feedback.prediction_id == alert.prediction_id
    });
    let own = own.and_then(|said| said.feedback.verdict);
    html! {
        form .act method="post" action={ "/alerts/" (id) "/feedback" } data-act {
            @if let Some(session) = &actor.session {
                input type="hidden" name="csrf" value=(session.csrf);
            }
            @if let Some(prediction) = alert.prediction_id {
                input type="hidden" name="prediction_id" value=(prediction);
            }
            label for={ "comment-" (id) } { "Comment " span { "(optional)" } }
            textarea #{ "comment-" (id) } name="comment" rows="1" maxlength=(LONGEST_COMMENT) {}
            div .buttons {
                @if alert.state.is_unseen() {
                    button #{ "seen-" (id) } .primary type="submit" formaction={ "/alerts/" (id) "/acknowledge" }
                        data-done="Acknowledged." { "Acknowledge" }
                }
                (aside::reset_button(story))
                @if story.own().is_none() {
                    (verdict(id, Verdict::Confirm, own))
                    (verdict(id, Verdict::Reject, own))
                }
            }
            p .trouble role="alert" hidden {}
        }
    }
}

fn verdict(id: Uuid, verdict: Verdict, own: Option<Verdict>) -> Markup {
    let chosen = own == Some(verdict);
    html! {
        button #{ (verdict.as_str()) "-" (id) } .chosen[chosen] type="submit" name="verdict" value=(verdict.as_str())
            aria-pressed=(chosen) data-done="Noted, thank you." {
            (words::verdict(verdict))
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
