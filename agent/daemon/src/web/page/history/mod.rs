//! The history: alerts that are over and those that are not, by machine, state, priority, time and verdict, page by page, each
//! leading to its story.

mod filter;
mod words;

use axum::extract::{Query, State};
use explaind_core::domain::alert::GATEWAY;
use explaind_core::explain::words::{Language, this_gateway};
use maud::{Markup, html};

use super::layout::Place;
use super::machines::encoded;
use super::views::{self, fill, when};
use crate::web::access::Viewer;
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story::Story;
use crate::web::{Shared, Web};

use filter::{Asked, Filter};
#[cfg(test)]
pub(super) use words::PAIRS;
use words::Words;

/// Alerts on one page.
const SHOWN: usize = 50;

/// `GET /history`.
pub(super) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Query(asked): Query<Asked>,
) -> Result<Markup, Problem> {
    web.off_thread(move |web| {
        let filter = Filter::of(&asked)?;
        let (alerts, next) = web.buffer.history(asked.before, SHOWN, |alert| filter.fits(web, alert))?;
        let mut stories = Vec::with_capacity(alerts.len());
        for alert in alerts {
            stories.push(Story::tell(web, alert, language)?);
        }
        let page = view(web, &asked, &stories, next, language);
        Ok(views::page(web, &actor, language, Place::History, &page))
    })
    .await
}

fn view(web: &Web, asked: &Asked, stories: &[Story], next: Option<u64>, language: Language) -> Markup {
    let words = Words::of(language);
    html! {
        div #view .view tabindex="-1" lang=(language.code()) {
            h1 { (words.title) }
            (filter::form(web, asked, language, words))
            p .summary role="status" {
                @match (stories.len(), next) {
                    (0, None) => { (words.nothing) }
                    (0, Some(_)) => { (words.nothing_here) }
                    (1, _) => { (words.one) }
                    (count, _) => { (fill(words.count, &[("count", &count.to_string())])) }
                }
            }
            @if !stories.is_empty() {
                ul .rows.past { @for story in stories { li .row { (row(story, language, words)) } } }
            }
            p .pages {
                @if let Some(next) = next {
                    a .button href={ "/history?" (asked.query()) "before=" (next) } rel="next" { (words.older) }
                }
                @if asked.before.is_some() { a .button href={ "/history?" (asked.query()) } { (words.newest) } }
            }
            @if next.is_none() { p .means { (words.gone) } }
        }
    }
}

/// One alert in a line that leads to its story.
fn row(story: &Story, language: Language, words: &Words) -> Markup {
    let alert = &story.alert;
    let own = *alert.asset == *GATEWAY;
    let judged = filter::standing(&story.said);
    html! {
        a .past href={ "/alerts/" (alert.id) } {
            span .asset { @if own { (this_gateway(language)) } @else { (alert.asset) } }
            span .times { (when(language, alert.raised_at)) }
            span .brief { (super::words::unbroken(&story.sentence())) }
            span .marks {
                span class={ "chip " (alert.priority.as_str()) } {
                    span .unseen { (words.priority) ": " } (views::priority(language, alert.priority))
                }
                span .chip { span .unseen { (words.state) ": " } (views::state(language, alert.state)) }
                @if let Some(verdict) = judged {
                    span class={ "chip " (verdict.as_str()) } {
                        span .unseen { (words.verdict) ": " } (views::verdict(language, verdict))
                    }
                }
            }
        }
    }
}

/// The history of one machine.
pub(super) fn of_machine(asset: &str) -> String {
    format!("/history?asset={}", encoded(asset))
}
