//! All that people said of an alert, with what was revised since.

use explaind_core::domain::feedback::{ExplanationVerdict, Feedback};
use explaind_core::explain::words::{Language, named};
use maud::{Markup, html};

use super::Words;
use crate::web::page::views::{self, fill, when};
use crate::web::story::Story;
use crate::web::verdicts::Said;

/// Pieces shown: the last ones.
const SHOWN: usize = 50;

/// Everything, the first one first.
pub(super) fn section(story: &Story, language: Language, words: &Words) -> Markup {
    let skipped = story.said.len().saturating_sub(SHOWN);
    html! {
        @if story.said.is_empty() { p .means { (words.nothing_said) } }
        @else {
            ol .steps {
                @for said in story.said.iter().skip(skipped) { (one(said, story, language, words)) }
            }
        }
    }
}

fn one(said: &Said, story: &Story, language: Language, words: &Words) -> Markup {
    let feedback = &said.feedback;
    let elsewhere = feedback.prediction_id.is_some() && feedback.prediction_id != story.alert.prediction_id;
    html! {
        li .revised[said.revised] {
            p {
                span .when { (when(language, said.at)) } " "
                strong .what {
                    @match feedback.verdict {
                        Some(verdict) => { (views::verdict(language, verdict)) }
                        None => { (words.noted) }
                    }
                }
                ", "
                (fill(words.says_who, &[("name", &feedback.author), ("role", views::role(language, feedback.role))]))
                @if said.revised { ", " (words.revised) }
                @if feedback.revises.is_some() { ", " (words.revises) }
                @if elsewhere { ", " (words.other_prediction) }
                "."
            }
            (details(feedback, words))
            @if let Some(comment) = &feedback.comment { p { q { (comment) } } }
        }
    }
}

fn details(feedback: &Feedback, words: &Words) -> Markup {
    let names =
        |features: &[String]| features.iter().map(|feature| named(feature, "").0).collect::<Vec<_>>().join(", ");
    let judged = feedback.explanation_verdict.map(|verdict| match verdict {
        ExplanationVerdict::Agree => words.agree,
        ExplanationVerdict::Disagree => words.disagree,
    });
    let about_reasons = judged.is_some() || !feedback.relevant.is_empty() || !feedback.irrelevant.is_empty();
    html! {
        @if let Some(value) = &feedback.corrected { p { (fill(words.corrected, &[("value", value)])) } }
        @if let Some(cause) = &feedback.cause { p { (fill(words.cause, &[("cause", cause)])) } }
        @if let Some(judged) = judged { p { (judged) "." } }
        @if !feedback.relevant.is_empty() { p { (fill(words.relevant, &[("names", &names(&feedback.relevant))])) } }
        @if !feedback.irrelevant.is_empty() {
            p { (fill(words.irrelevant, &[("names", &names(&feedback.irrelevant))])) }
        }
        @if about_reasons {
            p .means { (if feedback.explanation_seen { words.had_seen } else { words.had_not_seen }) }
        }
    }
}
