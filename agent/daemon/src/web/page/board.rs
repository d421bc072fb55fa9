//! The list of alerts: the open ones as cards, then those that are quiet or closed.

use std::cmp::Reverse;

use explaind_core::domain::alert::Suppression;
use explaind_core::domain::condition::Condition;
use explaind_core::explain::words::{Language, gateway};
use maud::{Markup, html};

use super::{Reader, aside, card, models};
use crate::buffer::Alert;
use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::story::Story;
use crate::web::words::{fill, sentence};

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
    waiting: usize,
    total: usize,
    from: usize,
    /// Why predictions are not stored at present, if so.
    broken: Option<String>,
    /// The same where the buffer is full.
    full: Option<&'static str>,
    /// What is stopped, if anything is.
    halted: Markup,
}

impl Board {
    /// Gathers it for this reader, who then counts as having seen the explanations on it.
    pub(crate) fn gather(web: &Web, reader: &Reader, from: usize) -> Result<Self, Problem> {
        let (actor, language) = (reader.actor, reader.words.language);
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
        let full = web.buffer.fullness().filter(|_| broken.is_none());
        let full = full.map(|_| gateway(language, Condition::BufferFull));
        let halted = models::banner(reader);
        Ok(Self { open, closed, hidden, waiting, total, from, broken, full, halted })
    }

    /// Alerts that nobody has seen yet.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.waiting
    }

    /// The list.
    pub(crate) fn render(&self, reader: &Reader) -> Markup {
        let secret = reader.actor.session.as_ref().map(|session| &*session.csrf);
        html! {
            div #board tabindex="-1" data-live={ "/live?from=" (self.from) "&language=" (reader.words.language.code()) }
                data-waiting=(self.waiting) data-csrf=[secret] {
                div data-part="head" { (self.head(reader)) }
                div .cards data-list="open" {
                    @for story in &self.open { (card::open(story, reader)) }
                }
                div data-part="more" { (self.more(reader)) }
                section .closed aria-labelledby="closed-title" hidden[self.closed.is_empty()] data-part-hidden="closed" {
                    h2 #closed-title { (reader.words.page.closed) }
                    div .rows data-list="closed" {
                        @for story in &self.closed { (card::closed(story, reader)) }
                    }
                }
            }
        }
    }

    fn head(&self, reader: &Reader) -> Markup {
        let page = &reader.words.page;
        let counted = |phrase, count: usize| fill(phrase, &[("count", &count.to_string())]);
        html! {
            @if let Some(reason) = &self.broken {
                p .lost role="alert" {
                    @if reader.words.language == Language::English { (sentence(reason)) }
                    @else { (page.not_stored) " " (page.technically) " " q lang="en" { (reason) } }
                }
            }
            @if let Some(full) = self.full {
                p .lost role="alert" { (full) }
            }
            (self.halted)
            h1 {
                @match self.total {
                    0 => { (page.no_alerts) }
                    1 => { (page.one_alert) }
                    total => { (counted(page.many_alerts, total)) }
                }
            }
            p .summary {
                @if self.total == 0 && !self.hidden.is_empty() {
                    (page.else_well)
                } @else if self.total == 0 {
                    (page.all_well)
                } @else if self.waiting == 0 {
                    (page.all_seen)
                } @else {
                    (counted(page.not_seen, self.waiting))
                }
            }
        }
    }

    fn more(&self, reader: &Reader) -> Markup {
        let page = &reader.words.page;
        let rest = self.total.saturating_sub(self.from + self.open.len());
        html! {
            @if rest > 0 {
                p .more {
                    (fill(page.more, &[("count", &rest.to_string())])) " "
                    a .button href={ "/?from=" (self.from + CARDS) } { (page.next) }
                }
            }
            @if self.from > 0 {
                p .more { a .button href="/" { (page.first) } }
            }
            (aside::list(&self.hidden, reader))
        }
    }
}
