//! The list of alerts, and what lies over their alarms: the sum of the transitions in the alert stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use explaind_core::domain::alert::{
    AlarmState, AlertTransition, Cover, GATEWAY, Guidance, Priority, Raised, Suppression,
};
use explaind_core::domain::condition::Condition;
use explaind_core::domain::time::{Moment, Now, Timestamp};
use uuid::Uuid;

use crate::telemetry::Metrics;

/// Closed alerts that stay on the list.
const CLOSED: usize = 1000;

/// One occurrence, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alert {
    /// Its id: that of the record that raised it.
    pub(crate) id: Uuid,
    /// The machine.
    pub(crate) asset: Arc<str>,
    /// The model whose rule it is.
    pub(crate) model: Arc<str>,
    /// Its state after ISA-18.2.
    pub(crate) state: AlarmState,
    /// What lies over its alarm now, in a word.
    pub(crate) suppression: Suppression,
    /// The same in full.
    pub(crate) cover: Cover,
    /// Who laid that over it, where a person did.
    pub(crate) suppressed_by: Option<String>,
    /// Why, in their words.
    pub(crate) suppressed_because: Option<String>,
    /// How urgent it is.
    pub(crate) priority: Priority,
    /// When it was first raised.
    pub(crate) raised_at: Timestamp,
    /// The prediction that raised it last.
    pub(crate) prediction_id: Option<Uuid>,
    /// What happened then, in one phrase.
    pub(crate) reason: String,
    /// Which outputs are alarming; `None` of alerts raised before this was recorded.
    pub(crate) raised: Option<Raised>,
    /// What happens if nobody does anything, and what is to be done, as the rule had it that raised it last.
    pub(crate) guidance: Guidance,
    /// Who acknowledged it.
    pub(crate) acknowledged_by: Option<String>,
    /// What they said.
    pub(crate) comment: Option<String>,
    /// When its condition went away; `None` while it holds.
    pub(crate) cleared_at: Option<Timestamp>,
    /// The newest change.
    pub(crate) changed_at: Timestamp,
    /// Number of its first transition: from here on the alert stream is needed to rebuild it.
    pub(super) first_sequence: u64,
}

impl Alert {
    /// Its place among all alerts, by when they were first raised.
    pub(crate) fn number(&self) -> u64 {
        self.first_sequence
    }

    /// Somebody says that they have seen it, once it is closed. It changes nothing, and is a record all the same.
    pub(crate) fn seen_after_all(&self, author: String, comment: Option<String>) -> AlertTransition {
        AlertTransition {
            alert_id: Some(self.id),
            asset: Arc::clone(&self.asset),
            model: Arc::clone(&self.model),
            prediction_id: None,
            from: AlarmState::Normal,
            to: AlarmState::Normal,
            cover: self.cover,
            priority: self.priority,
            author: Some(author),
            comment,
            reason: "acknowledged".to_owned(),
            raised: None,
            guidance: Guidance::default(),
        }
    }
}

/// What a start needs to know of an alarm: its open occurrence, and what lies over it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    /// The machine.
    pub(crate) asset: Arc<str>,
    /// The model whose rule it is.
    pub(crate) model: Arc<str>,
    /// How urgent it is.
    pub(crate) priority: Priority,
    /// The occurrence that is open.
    pub(crate) open: Option<(Uuid, AlarmState)>,
    /// What lies over it, and as of when the records say so.
    pub(crate) cover: Option<(Cover, Moment)>,
}

/// All open alerts, the last closed ones, and what lies over alarms.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<Uuid, Alert>,
    /// Oldest first.
    closed: VecDeque<Alert>,
    /// By asset and model; only where something does.
    covers: BTreeMap<(Arc<str>, Arc<str>), Covered>,
}

/// What lies over one alarm.
#[derive(Debug)]
struct Covered {
    cover: Cover,
    priority: Priority,
    /// The newest record that says so.
    told: Moment,
    shelved: Option<Note>,
    out_of_service: Option<Note>,
}

/// How a person laid something over an alarm.
#[derive(Debug, Clone)]
struct Note {
    /// From here on the alert stream is needed to know of it, and of an occurrence to name the alarm by.
    sequence: u64,
    by: Option<String>,
    why: Option<String>,
}

impl Book {
    /// Takes in one transition. They must come in the order of their sequence.
    pub(super) fn apply(&mut self, sequence: u64, told: Moment, transition: &AlertTransition) {
        self.lay_over(sequence, told, transition);
        let at = told.at;
        let Some(id) = transition.alert_id else { return };
        if !transition.from.is_open() && !transition.to.is_open() {
            // Seen once more after it was closed: it keeps its place on the list, and who saw it first.
            if let Some(alert) = self.closed.iter_mut().rfind(|alert| alert.id == id) {
                alert.changed_at = at.utc;
            }
            return;
        }
        let earlier = self.open.remove(&id).or_else(|| self.take_closed(id));
        let mut alert = earlier.unwrap_or_else(|| begun(sequence, at, id, transition));
        let (held, holds) = (transition.from.holds(), transition.to.holds());
        if holds && !held {
            alert.cleared_at = None;
            alert.prediction_id = transition.prediction_id;
            alert.reason.clone_from(&transition.reason);
            alert.raised = transition.raised;
            alert.guidance = transition.guidance.clone();
        }
        if held && !holds {
            alert.cleared_at = Some(at.utc);
        }
        if let Some(author) = &transition.author
            && transition.from.is_unseen()
            && !transition.to.is_unseen()
        {
            alert.acknowledged_by = Some(author.clone());
            alert.comment.clone_from(&transition.comment);
        }
        alert.state = transition.to;
        alert.priority = transition.priority;
        alert.changed_at = at.utc;
        if alert.state.is_open() {
            self.open.insert(alert.id, alert);
            return;
        }
        if self.closed.len() >= CLOSED {
            let goes = self.closed.iter().position(|closed| !self.is_kept(closed)).unwrap_or(0);
            self.closed.remove(goes);
        }
        self.closed.push_back(alert);
    }

    /// Every transition says all that lies over its alarm then.
    fn lay_over(&mut self, sequence: u64, told: Moment, transition: &AlertTransition) {
        let of = (Arc::clone(&transition.asset), Arc::clone(&transition.model));
        let (cover, before) = (transition.cover, self.covers.remove(&of));
        if cover == Cover::default() {
            return;
        }
        let last = self.last_of(&of.0, &of.1).map(|alert| alert.first_sequence);
        let note = || Note {
            sequence: last.unwrap_or(sequence),
            by: transition.author.clone(),
            why: transition.comment.clone(),
        };
        let before_cover = before.as_ref().map(|before| before.cover).unwrap_or_default();
        let (shelved, out) = before.map(|before| (before.shelved, before.out_of_service)).unwrap_or_default();
        // Shelved anew, and not only said so again.
        let anew = transition.author.is_some() && before_cover.shelved_until != cover.shelved_until;
        let shelved = cover.shelved_until.and_then(|_| shelved.filter(|_| !anew).or_else(|| Some(note())));
        let out_of_service = cover.out_of_service.then(|| out.unwrap_or_else(note));
        self.covers.insert(of, Covered { cover, priority: transition.priority, told, shelved, out_of_service });
    }

    /// The newest occurrence of an alarm that is known.
    fn last_of(&self, asset: &Arc<str>, model: &Arc<str>) -> Option<&Alert> {
        let mut all = self.open.values().chain(self.closed.iter().rev());
        all.find(|alert| alert.asset == *asset && alert.model == *model)
    }

    /// Whether people need it to name an alarm by that they have laid something over.
    fn is_kept(&self, alert: &Alert) -> bool {
        let of = (Arc::clone(&alert.asset), Arc::clone(&alert.model));
        let covered = self.covers.get(&of).is_some_and(|covered| covered.cover.is_by_people());
        covered && self.last_of(&of.0, &of.1).is_some_and(|last| last.id == alert.id)
    }

    /// An alert below what lies over its alarm now.
    pub(super) fn below(&self, alert: &Alert) -> Alert {
        let mut alert = alert.clone();
        if let Some(covered) = self.covers.get(&(Arc::clone(&alert.asset), Arc::clone(&alert.model))) {
            alert.cover = covered.cover;
            alert.suppression = covered.cover.shown();
            let note = match alert.suppression {
                Suppression::OutOfService => covered.out_of_service.as_ref(),
                Suppression::Shelved => covered.shelved.as_ref(),
                Suppression::ByDesign | Suppression::None => None,
            };
            alert.suppressed_by = note.and_then(|note| note.by.clone());
            alert.suppressed_because = note.and_then(|note| note.why.clone());
        }
        alert
    }

    /// The open ones, the newest first, then the closed ones, the last closed first.
    pub(super) fn list(&self) -> Vec<Alert> {
        let mut open: Vec<Alert> = self.open.values().map(|alert| self.below(alert)).collect();
        open.sort_by_key(|alert| std::cmp::Reverse(alert.first_sequence));
        open.extend(self.closed.iter().rev().map(|alert| self.below(alert)));
        open
    }

    /// One alert, while it is open or among the last closed.
    pub(super) fn find(&self, id: Uuid) -> Option<Alert> {
        let found = self.open.get(&id).or_else(|| self.closed.iter().rev().find(|alert| alert.id == id));
        found.map(|alert| self.below(alert))
    }

    /// Every alarm that is not at rest, or that something lies over.
    pub(super) fn standing(&self) -> Vec<Standing> {
        let cover = |of: &(Arc<str>, Arc<str>)| self.covers.get(of).map(|covered| (covered.cover, covered.told));
        let open = self.open.values().map(|alert| {
            let of = (Arc::clone(&alert.asset), Arc::clone(&alert.model));
            let cover = cover(&of);
            let (asset, model) = of;
            Standing { asset, model, priority: alert.priority, open: Some((alert.id, alert.state)), cover }
        });
        let is_open = |of: &(Arc<str>, Arc<str>)| self.open.values().any(|a| a.asset == of.0 && a.model == of.1);
        let at_rest = self.covers.iter().filter(|(of, _)| !is_open(of)).map(|(of, covered)| Standing {
            asset: Arc::clone(&of.0),
            model: Arc::clone(&of.1),
            priority: covered.priority,
            open: None,
            cover: cover(of),
        });
        open.chain(at_rest).collect()
    }

    /// The oldest record that an open alert rests on, or what a person laid over an alarm. Where room is made, the alert
    /// that there is none holds up nothing: or it would keep the buffer full itself.
    pub(super) fn oldest_needed(&self, for_room: bool) -> Option<u64> {
        let counts =
            |asset: &str, model: &str| !(for_room && *asset == *GATEWAY && *model == *Condition::BufferFull.as_str());
        let open = self.open.values().filter(|alert| counts(&alert.asset, &alert.model));
        let covers = self.covers.iter().filter(|((asset, model), _)| counts(asset, model));
        let notes = covers.flat_map(|(_, covered)| covered.shelved.iter().chain(&covered.out_of_service));
        open.map(|alert| alert.first_sequence).chain(notes.map(|note| note.sequence)).min()
    }

    /// Shows how many are open.
    pub(super) fn count(&self, metrics: &Metrics) {
        for state in AlarmState::ALL.into_iter().filter(|state| state.is_open()) {
            for priority in [Priority::Low, Priority::Medium, Priority::High, Priority::Critical] {
                let count = self.open.values().filter(|a| a.state == state && a.priority == priority).count();
                metrics.alerts(state.as_str(), priority.as_str(), count);
            }
        }
    }

    fn take_closed(&mut self, id: Uuid) -> Option<Alert> {
        let place = self.closed.iter().rposition(|alert| alert.id == id)?;
        self.closed.remove(place)
    }
}

/// An alert at its first transition, or at the first that is still kept.
fn begun(sequence: u64, at: Now, id: Uuid, transition: &AlertTransition) -> Alert {
    Alert {
        id,
        asset: transition.asset.clone(),
        model: transition.model.clone(),
        state: transition.to,
        suppression: Suppression::None,
        cover: Cover::default(),
        suppressed_by: None,
        suppressed_because: None,
        priority: transition.priority,
        raised_at: at.utc,
        prediction_id: transition.prediction_id,
        reason: transition.reason.clone(),
        raised: transition.raised,
        guidance: transition.guidance.clone(),
        acknowledged_by: None,
        comment: None,
        cleared_at: None,
        changed_at: at.utc,
        first_sequence: sequence,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Moment {
        let utc = Timestamp::from_micros(seconds * 1_000_000);
        let at = Now { utc, monotonic: Duration::from_secs(seconds.unsigned_abs()) };
        Moment { at, boot_id: Uuid::nil(), synchronised: true }
    }

    fn step(id: u128, from: AlarmState, to: AlarmState, author: Option<&str>) -> AlertTransition {
        AlertTransition {
            alert_id: Some(Uuid::from_u128(id)),
            asset: "press-7".into(),
            model: "press-failure".into(),
            prediction_id: author.is_none().then(|| Uuid::from_u128(id + 100)),
            from,
            to,
            cover: Cover::default(),
            priority: Priority::High,
            author: author.map(str::to_owned),
            comment: author.map(|_| "on my way".to_owned()),
            reason: "probability 0.93 above 0.5".to_owned(),
            raised: None,
            guidance: Guidance::default(),
        }
    }

    #[test]
    fn an_occurrence_is_raised_acknowledged_and_closed() {
        use AlarmState::{Acknowledged, Normal, Unacknowledged};
        let mut book = Book::default();
        book.apply(1, at(1), &step(1, Normal, Unacknowledged, None));
        assert_eq!((book.oldest_needed(false), book.oldest_needed(true)), (Some(1), Some(1)));
        book.apply(2, at(2), &step(1, Unacknowledged, Acknowledged, Some("ada")));
        let alert = book.find(Uuid::from_u128(1)).unwrap();
        assert_eq!((alert.state, alert.acknowledged_by.as_deref()), (Acknowledged, Some("ada")));
        assert_eq!(alert.prediction_id, Some(Uuid::from_u128(101)), "acknowledging does not hide the reason");
        book.apply(3, at(3), &step(1, Acknowledged, Normal, None));
        let alert = &book.list()[0];
        assert_eq!((alert.state, alert.cleared_at), (Normal, Some(at(3).at.utc)));
        assert_eq!((alert.raised_at, alert.changed_at), (at(1).at.utc, at(3).at.utc));
        assert_eq!(book.oldest_needed(false), None);
        let own = AlertTransition {
            asset: GATEWAY.into(),
            model: Condition::BufferFull.as_str().into(),
            ..step(9, Normal, Unacknowledged, None)
        };
        book.apply(4, at(4), &own);
        assert_eq!((book.oldest_needed(false), book.oldest_needed(true)), (Some(4), None), "it makes room for itself");
    }

    #[test]
    fn who_sees_it_once_it_is_closed_moves_nothing_and_is_not_taken_for_the_first() {
        use AlarmState::{Acknowledged, Normal, Unacknowledged};
        let mut book = Book::default();
        for id in [1, 2] {
            book.apply(1, at(1), &step(id, Normal, Unacknowledged, None));
            book.apply(2, at(2), &step(id, Unacknowledged, Acknowledged, Some("ada")));
            book.apply(3, at(3), &step(id, Acknowledged, Normal, None));
        }
        let first = book.find(Uuid::from_u128(1)).unwrap();
        let late = first.seen_after_all("ben".into(), Some("me too".into()));
        assert_eq!((late.from, late.to, late.author.as_deref()), (Normal, Normal, Some("ben")));
        book.apply(4, at(4), &late);
        let now = book.find(Uuid::from_u128(1)).unwrap();
        assert_eq!((now.changed_at, now.acknowledged_by.as_deref()), (at(4).at.utc, Some("ada")));
        assert_eq!((&now.comment, now.cleared_at, book.list().len()), (&first.comment, first.cleared_at, 2));
        assert_eq!(book.list()[1].id, first.id, "in its place");
        book.apply(5, at(5), &step(99, Normal, Normal, Some("ben")));
        assert_eq!(book.list().len(), 2, "of what is no longer kept it makes nothing");
    }

    #[test]
    fn raised_again_before_anybody_saw_it_is_one_occurrence_with_the_newest_prediction() {
        use AlarmState::{Normal, ReturnedUnacknowledged, Unacknowledged};
        let mut book = Book::default();
        book.apply(1, at(1), &step(1, Normal, Unacknowledged, None));
        book.apply(2, at(2), &step(1, Unacknowledged, ReturnedUnacknowledged, None));
        assert_eq!(book.list()[0].cleared_at, Some(at(2).at.utc));
        let mut again = step(1, ReturnedUnacknowledged, Unacknowledged, None);
        again.prediction_id = Some(Uuid::from_u128(7));
        book.apply(3, at(3), &again);
        assert_eq!(book.list().len(), 1);
        assert_eq!(book.list()[0].cleared_at, None);
        assert_eq!(book.list()[0].prediction_id, Some(Uuid::from_u128(7)));
    }

    #[test]
    fn suppression_changes_nothing_else_and_closed_alerts_are_bounded() {
        use AlarmState::{Normal, Unacknowledged};
        let mut book = Book::default();
        book.apply(1, at(1), &step(1, Normal, Unacknowledged, None));
        let mut off = step(1, Unacknowledged, Unacknowledged, None);
        off.cover.by_design = true;
        off.reason = "the machine is off".to_owned();
        book.apply(2, at(2), &off);
        let alert = book.find(Uuid::from_u128(1)).unwrap();
        assert_eq!((alert.suppression, alert.state), (Suppression::ByDesign, Unacknowledged));
        assert_eq!(alert.reason, "probability 0.93 above 0.5");
        for n in 0..u128::from(2 * CLOSED as u64) {
            book.apply(3, at(3), &step(1000 + n, Unacknowledged, Normal, None));
        }
        assert_eq!(book.list().len(), CLOSED + 1);
        assert_eq!(book.list()[0].id, Uuid::from_u128(1), "open ones come first");
    }

    /// Something that a person lays over the alarm, or lifts, while nothing is open.
    fn laid(author: Option<&str>, cover: Cover) -> AlertTransition {
        let step = step(0, AlarmState::Normal, AlarmState::Normal, author);
        AlertTransition { alert_id: None, cover, ..step }
    }

    #[test]
    fn what_people_lay_over_an_alarm_outlives_its_occurrences_and_is_needed_while_it_lasts() {
        use AlarmState::{Normal, Unacknowledged};
        let mut book = Book::default();
        let shelved = Cover { shelved_until: Some(at(90).at.utc), ..Cover::default() };
        book.apply(1, at(1), &laid(Some("ada"), shelved));
        let standing = book.standing();
        assert_eq!((standing.len(), standing[0].open, standing[0].cover), (1, None, Some((shelved, at(1)))));
        assert_eq!((book.oldest_needed(false), book.oldest_needed(true)), (Some(1), Some(1)));
        book.apply(2, at(2), &AlertTransition { cover: shelved, ..step(1, Normal, Unacknowledged, None) });
        let alert = book.find(Uuid::from_u128(1)).unwrap();
        assert_eq!((alert.suppression, alert.suppressed_by.as_deref()), (Suppression::Shelved, Some("ada")));
        assert_eq!((alert.suppressed_because.as_deref(), alert.acknowledged_by), (Some("on my way"), None));
        assert_eq!(book.standing()[0].open, Some((alert.id, Unacknowledged)));

        let both = Cover { out_of_service: true, ..shelved };
        book.apply(3, at(3), &AlertTransition { alert_id: Some(alert.id), ..laid(Some("eve"), both) });
        book.apply(4, at(4), &AlertTransition { cover: both, ..step(1, Unacknowledged, Normal, None) });
        let alert = book.find(alert.id).unwrap();
        assert_eq!((alert.suppression, alert.suppressed_by.as_deref()), (Suppression::OutOfService, Some("eve")));
        assert_eq!(book.oldest_needed(false), Some(1), "the shelving is still on");

        book.apply(5, at(5), &laid(None, Cover { shelved_until: None, ..both }));
        assert_eq!(book.oldest_needed(false), Some(2), "from the occurrence on that it can be named by");
        book.apply(6, at(6), &laid(Some("eve"), Cover::default()));
        assert_eq!((book.oldest_needed(false), book.standing()), (None, vec![]));
        assert_eq!(book.find(alert.id).unwrap().suppression, Suppression::None);
    }

    #[test]
    fn an_alarm_that_is_out_of_service_can_be_named_for_ever() {
        use AlarmState::{Acknowledged, Normal};
        let mut book = Book::default();
        let out = Cover { out_of_service: true, ..Cover::default() };
        let other = |id| AlertTransition { asset: "press-8".into(), ..step(id, Acknowledged, Normal, None) };
        for id in [1, 2] {
            book.apply(1, at(1), &AlertTransition { cover: out, ..step(id, Acknowledged, Normal, None) });
        }
        for id in 0..2 * CLOSED as u128 {
            book.apply(3, at(3), &other(1000 + id));
        }
        assert_eq!(book.list().len(), CLOSED);
        let find = |id| book.find(Uuid::from_u128(id)).map(|alert| alert.suppression);
        assert_eq!((find(1), find(2)), (None, Some(Suppression::OutOfService)), "by its newest occurrence");
    }

    #[test]
    fn shelved_anew_is_by_whoever_did_it_last_and_a_clock_that_was_set_is_nobody() {
        let mut book = Book::default();
        let until = |seconds| Cover { shelved_until: Some(at(seconds).at.utc), ..Cover::default() };
        book.apply(1, at(1), &step(1, AlarmState::Normal, AlarmState::Unacknowledged, None));
        book.apply(2, at(2), &laid(Some("ada"), until(90)));
        book.apply(3, at(3), &laid(Some("ben"), until(900)));
        book.apply(4, at(4), &laid(None, until(9000)));
        let alert = book.find(Uuid::from_u128(1)).unwrap();
        assert_eq!((alert.suppressed_by.as_deref(), alert.cover), (Some("ben"), until(9000)));
        assert_eq!(book.standing()[0].cover, Some((until(9000), at(4))));
    }

    #[test]
    fn an_acknowledged_latched_alert_names_who_saw_it_and_not_who_reset_it() {
        use AlarmState::{LatchedAcknowledged, LatchedUnacknowledged, Normal, Unacknowledged};
        let mut book = Book::default();
        book.apply(1, at(1), &step(1, Normal, Unacknowledged, None));
        book.apply(2, at(2), &step(1, Unacknowledged, LatchedUnacknowledged, None));
        assert_eq!(book.list()[0].cleared_at, Some(at(2).at.utc));
        book.apply(3, at(3), &step(1, LatchedUnacknowledged, LatchedAcknowledged, Some("ada")));
        book.apply(4, at(4), &step(1, LatchedAcknowledged, Normal, Some("ben")));
        assert_eq!((book.list()[0].acknowledged_by.as_deref(), book.list()[0].state), (Some("ada"), Normal));
    }
}
