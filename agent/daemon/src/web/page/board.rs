//! The list of alerts: the open ones as cards, then those that are quiet or closed.

use std::cmp::Reverse;

use explaind_core::domain::alert::Suppression;
use explaind_core::domain::condition::Condition;
use explaind_core::explain::words::{Language, gateway};
use maud::{Markup, html};

use super::{aside, card, models, words};
use crate::buffer::Alert;
use crate::web::Web;
use crate::web::access::Actor;
use crate::web::problem::Problem;
use crate::web::story::Story;

/// Cards on one page.
const CARDS: usize = 50;
/// Closed alerts shown.
const CLOSED: usize = 20;

/// What the list shows.
pub(crate) struct Board {
    open: Vec<Story>,
    closed: Vec<Story>,
    /// What is put aside, or of a machine that is off.
    hidden: Vec<Alert>,
    language: Language,
    waiting: usize,
    total: usize,
    from: usize,
    /// Why predictions are not stored at present, if so.
    broken: Option<String>,
    /// The same where the buffer is full, and the language of it.
    full: Option<(&'static str, &'static str)>,
    /// What is stopped, if anything is.
    halted: Markup,
}

impl Board {
    /// Gathers it for this reader, who then counts as having seen the explanations on it.
    pub(crate) fn gather(web: &Web, actor: &Actor, language: Language, from: usize) -> Result<Self, Problem> {
        let all = web.buffer.alerts();
        let hidden = aside::hidden(&all);
        let (mut open, closed): (Vec<Alert>, Vec<Alert>) = all.into_iter().partition(|alert| alert.state.is_open());
        open.retain(|alert| alert.suppression == Suppression::None);
        // What nobody has seen comes first, then by urgency; within that the list stands still.
        open.sort_by_key(|alert| {
            (!alert.state.is_unseen(), Reverse(alert.priority), Reverse(alert.raised_at), alert.id)
        });
        let waiting = open.iter().filter(|alert| alert.state.is_unseen()).count();
        let total = open.len();
        let from = if from < total { from } else { 0 };
        let tell = |alerts: Vec<Alert>, from: usize, most: usize| -> Result<Vec<Story>, Problem> {
            let mut stories = Vec::new();
            for alert in alerts.into_iter().skip(from).take(most) {
                let story = Story::tell(web, alert, language)?;
                story.served_to(&actor.seen);
                stories.push(story);
            }
            Ok(stories)
        };
        let (open, closed) = (tell(open, from, CARDS)?, tell(closed, 0, CLOSED)?);
        let broken = web.buffer.check().err().map(|error| error.to_string());
        let sentence = || (language.code(), gateway(language, Condition::BufferFull));
        let full = web.buffer.fullness().filter(|_| broken.is_none()).map(|_| sentence());
        let halted = models::banner(web, language);
        Ok(Self { open, closed, hidden, language, waiting, total, from, broken, full, halted })
    }

    /// Alerts that nobody has seen yet.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.waiting
    }

    /// The list.
    pub(crate) fn render(&self, actor: &Actor) -> Markup {
        html! {
            div #board tabindex="-1" data-live={ "/live?from=" (self.from) } data-waiting=(self.waiting) {
                div data-part="head" { (self.head()) }
                div .cards data-list="open" {
                    @for story in &self.open { (card::open(story, actor)) }
                }
                div data-part="more" { (self.more(actor)) }
                section .closed aria-labelledby="closed-title" hidden[self.closed.is_empty()] data-part-hidden="closed" {
                    h2 #closed-title { "Closed lately" }
                    div .rows data-list="closed" {
                        @for story in &self.closed { (card::closed(story, actor)) }
                    }
                }
            }
        }
    }

    fn head(&self) -> Markup {
        html! {
            @if let Some(reason) = &self.broken {
                p .lost role="alert" { (words::sentence(reason)) }
            }
            @if let Some((language, sentence)) = &self.full {
                p .lost role="alert" lang=(language) { (sentence) }
            }
            (self.halted)
            h1 {
                @match (self.total, self.waiting) {
                    (0, _) => { "No alerts" }
                    (1, _) => { "1 alert" }
                    (total, _) => { (total) " alerts" }
                }
            }
            p .summary {
                @if self.total == 0 && !self.hidden.is_empty() {
                    "Nothing else is out of the ordinary on the machines that are watched; see below what is not shown."
                } @else if self.total == 0 {
                    "Nothing is out of the ordinary on the machines that are watched."
                } @else if self.waiting == 0 {
                    "All of them have been seen."
                } @else {
                    (self.waiting) " not seen yet."
                }
            }
        }
    }

    fn more(&self, actor: &Actor) -> Markup {
        let rest = self.total.saturating_sub(self.from + self.open.len());
        html! {
            @if rest > 0 {
                p .more {
                    (rest) " more. "
                    a .button href={ "/?from=" (self.from + CARDS) } { "Show the next" }
                }
            }
            @if self.from > 0 {
                p .more { a .button href="/" { "Back to the first" } }
            }
            (aside::list(&self.hidden, self.language, actor))
        }
    }
}
