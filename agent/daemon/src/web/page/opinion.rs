//! What a technician says of an alert: one tap for the usual verdicts, a cause from the site's list before it, and below
//! "say more" all else. Whoever said something before finds it filled in; saying it anew revises it.

use explaind_core::domain::feedback::{ExplanationVerdict, Verdict};
use explaind_core::domain::prediction::Outcome;
use maud::{Markup, html};
use uuid::Uuid;

use super::{Reader, aside, words};
use crate::web::access::Actor;
use crate::web::answers::Answers;
use crate::web::feedback::{LONGEST_COMMENT, LONGEST_WORD};
use crate::web::story::Story;
use crate::web::verdicts::Said;
use crate::web::words::{Words, fill};

/// What this person said last of the prediction that the card shows, and has not taken back.
pub(super) fn own<'a>(story: &'a Story, actor: &Actor) -> Option<&'a Said> {
    let prediction = story.alert.prediction_id;
    story.said.iter().rev().find(|said| stands(said, &actor.name, prediction))
}

/// Whether this is what they think of it now.
pub(super) fn stands(said: &Said, author: &str, prediction: Option<Uuid>) -> bool {
    said.feedback.author == *author && said.feedback.prediction_id == prediction && !said.revised
}

/// One comment, and the buttons that it may go with.
pub(super) fn form(story: &Story, own: Option<&Said>, reader: &Reader) -> Markup {
    let (alert, words) = (&story.alert, reader.words);
    let id = alert.id;
    let judged = own.and_then(|said| said.feedback.verdict);
    html! {
        form #{ "act-" (id) } .act method="post" action={ "/alerts/" (id) "/feedback" } data-act data-again {
            (reader.secret())
            @if let Some(prediction) = alert.prediction_id {
                input type="hidden" name="prediction_id" value=(prediction);
            }
            // With what they had said when this form was made, the same form is the same filling-in.
            input type="hidden" name="key" value={ (id) "-" @if let Some(said) = own { (said.id) } };
            label for={ "comment-" (id) } { (words.card.comment) " " span { (words.card.optional) } }
            textarea #{ "comment-" (id) } name="comment" rows="1" maxlength=(LONGEST_COMMENT) {}
            div .buttons {
                @if alert.state.is_unseen() {
                    button #{ "seen-" (id) } .primary type="submit" formaction={ "/alerts/" (id) "/acknowledge" }
                        data-done=(words.card.done_acknowledged) { (words.card.acknowledge) }
                }
                (aside::reset_button(story, words))
            }
            @if story.own().is_none() {
                (causes(id, own, reader))
                div .buttons role="group" aria-label=(words.judge.verdicts) {
                    (verdict(id, Verdict::Confirm, judged, words))
                    (verdict(id, Verdict::Reject, judged, words))
                }
                (more(story, own, reader))
            }
            p .trouble role="alert" hidden {}
        }
    }
}

fn verdict(id: Uuid, verdict: Verdict, judged: Option<Verdict>, words: &Words) -> Markup {
    let chosen = judged == Some(verdict);
    html! {
        button #{ (verdict.as_str()) "-" (id) } .chosen[chosen] type="submit" name="verdict" value=(verdict.as_str())
            aria-pressed=(chosen) data-done=(words.judge.thanks) {
            (words.verdict(verdict))
        }
    }
}

/// The site's own list, as chips: a tap chooses one, and the verdict that follows takes it along.
fn causes(id: Uuid, own: Option<&Said>, reader: &Reader) -> Markup {
    let said = own.and_then(|said| said.feedback.cause.as_deref());
    html! {
        @if !reader.causes.is_empty() {
            fieldset .chips {
                legend { (reader.words.judge.causes) " " span { (reader.words.card.optional) } }
                @for (number, cause) in reader.causes.iter().enumerate() {
                    label .tick {
                        input #{ "cause-" (number) "-" (id) } type="radio" name="cause" value=(cause)
                            checked[said == Some(cause.as_str())] data-undo;
                        span { (cause) }
                    }
                }
            }
        }
    }
}

/// All else that can be said.
fn more(story: &Story, own: Option<&Said>, reader: &Reader) -> Markup {
    let (id, words, judge) = (story.alert.id, reader.words, &reader.words.judge);
    let feedback = own.map(|said| &said.feedback);
    let cause = feedback.and_then(|feedback| feedback.cause.as_deref());
    let cause = cause.filter(|cause| !reader.causes.iter().any(|known| known == cause));
    let agrees = feedback.and_then(|feedback| feedback.explanation_verdict);
    let judged = feedback.and_then(|feedback| feedback.verdict);
    let choice = |value: &str, label: &str, on: bool| {
        html! {
            label .tick {
                input #{ "reasons-" (value) "-" (id) } type="radio" name="explanation_verdict" value=(value) checked[on];
                span { (label) }
            }
        }
    };
    html! {
        details #{ "more-" (id) } .ask.more {
            summary { (judge.say_more) }
            div .panel {
                label for={ "own-cause-" (id) } { (judge.other_cause) }
                input #{ "own-cause-" (id) } type="text" name="own_cause" maxlength=(LONGEST_WORD) value=[cause] autocomplete="off";
                @if story.explanation().is_some() {
                    fieldset .chips {
                        legend { (judge.reasons) }
                        (choice("agree", judge.agree, agrees == Some(ExplanationVerdict::Agree)))
                        (choice("disagree", judge.disagree, agrees == Some(ExplanationVerdict::Disagree)))
                        (choice("", judge.not_said, agrees.is_none()))
                    }
                    p .hint { (judge.ticks) }
                }
                (instead(story, own, reader))
                div .buttons {
                    (verdict(id, Verdict::Unsure, judged, words))
                    button #{ "save-" (id) } .primary type="submit" data-done=(judge.thanks) { (judge.save) }
                }
            }
        }
    }
}

/// What the model should have said.
fn instead(story: &Story, own: Option<&Said>, reader: &Reader) -> Markup {
    let (id, judge) = (story.alert.id, &reader.words.judge);
    let label_for = format!("instead-{id}");
    let said = own.and_then(|said| said.feedback.corrected.as_deref());
    let predicted = match story.prediction().map(|prediction| &prediction.outcome) {
        Some(Outcome::Predicted(output)) => output.label.as_deref(),
        _ => None,
    };
    let field = match reader.answers(&story.alert.model) {
        Answers::Classes(classes) => html! {
            label for=(label_for) { (judge.what_else) }
            select #(label_for) name="corrected" {
                option value="" { (judge.choose) }
                @for class in classes.iter().filter(|class| predicted != Some(class.as_str())) {
                    option value=(class) selected[said == Some(class.as_str())] { (class) }
                }
            }
        },
        Answers::Value(unit) => html! {
            label for=(label_for) {
                (judge.value)
                @if !unit.is_empty() { " " (fill(judge.unit_gap, &[("unit", &unit)])) }
            }
            input #(label_for) type="text" name="corrected" inputmode="decimal" maxlength="40"
                value=[said.map(|said| words::numeral(said, reader.words))] autocomplete="off";
        },
        Answers::Unknown => html! {
            label for=(label_for) { (judge.what_else) }
            input #(label_for) type="text" name="corrected" maxlength=(LONGEST_WORD) value=[said] autocomplete="off";
        },
    };
    html! {
        div .instead {
            div { (field) }
            button #{ "correct-" (id) } type="submit" name="verdict" value=(Verdict::Correct.as_str()) data-done=(judge.thanks) {
                (judge.save_correction)
            }
        }
    }
}

/// What stands beside a bar: whether this signal really mattered. The boxes belong to the card's form.
pub(super) fn ticks(id: Uuid, (number, feature): (usize, &str), own: Option<&Said>, words: &Words) -> Markup {
    let named = |names: &[String]| names.iter().any(|name| name == feature);
    let sides = [
        ("relevant", words.judge.mattered, own.is_some_and(|said| named(&said.feedback.relevant))),
        ("irrelevant", words.judge.mattered_not, own.is_some_and(|said| named(&said.feedback.irrelevant))),
    ];
    html! {
        div .ticks role="group" aria-label=(feature) {
            @for (name, label, on) in sides {
                label .tick {
                    input #{ (name) "-" (number) "-" (id) } type="checkbox" name=(name) value=(feature) checked[on]
                        form={ "act-" (id) } data-either;
                    span { (label) }
                }
            }
        }
    }
}
