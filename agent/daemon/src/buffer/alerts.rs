//! The list of alerts: the sum of the transitions in the alert stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use explaind_core::domain::alert::{AlarmState, AlertTransition, GATEWAY, Priority, Raised, Suppression};
use explaind_core::domain::condition::Condition;
use explaind_core::domain::time::{Now, Timestamp};
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
    /// What lies over the state.
    pub(crate) suppression: Suppression,
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
    /// Somebody says that they have seen it, once it is closed. It changes nothing, and is a record all the same.
    pub(crate) fn seen_after_all(&self, author: String, comment: Option<String>) -> AlertTransition {
        AlertTransition {
            alert_id: self.id,
            asset: Arc::clone(&self.asset),
            model: Arc::clone(&self.model),
            prediction_id: None,
            from: AlarmState::Normal,
            to: AlarmState::Normal,
            suppression: self.suppression,
            priority: self.priority,
            author: Some(author),
            comment,
            reason: "acknowledged".to_owned(),
            raised: None,
        }
    }
}

/// All open alerts, and the last closed ones.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<Uuid, Alert>,
    /// Oldest first.
    closed: VecDeque<Alert>,
}

impl Book {
    /// Takes in one transition. They must come in the order of their sequence.
    pub(super) fn apply(&mut self, sequence: u64, at: Now, transition: &AlertTransition) {
        if !transition.from.is_open() && !transition.to.is_open() {
            // Seen once more after it was closed: it keeps its place on the list, and who saw it first.
            if let Some(alert) = self.closed.iter_mut().rfind(|alert| alert.id == transition.alert_id) {
                alert.changed_at = at.utc;
            }
            return;
        }
        let earlier = self.open.remove(&transition.alert_id).or_else(|| self.take_closed(transition.alert_id));
        let mut alert = earlier.unwrap_or_else(|| begun(sequence, at, transition));
        let held = matches!(transition.from, AlarmState::Unacknowledged | AlarmState::Acknowledged);
        let holds = matches!(transition.to, AlarmState::Unacknowledged | AlarmState::Acknowledged);
        if holds && !held {
            alert.cleared_at = None;
            alert.prediction_id = transition.prediction_id;
            alert.reason.clone_from(&transition.reason);
            alert.raised = transition.raised;
        }
        if held && !holds {
            alert.cleared_at = Some(at.utc);
        }
        if let Some(author) = &transition.author
            && transition.to != transition.from
        {
            alert.acknowledged_by = Some(author.clone());
            alert.comment.clone_from(&transition.comment);
        }
        alert.state = transition.to;
        alert.suppression = transition.suppression;
        alert.priority = transition.priority;
        alert.changed_at = at.utc;
        if alert.state.is_open() {
            self.open.insert(alert.id, alert);
            return;
        }
        if self.closed.len() == CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(alert);
    }

    /// The open ones, the newest first, then the closed ones, the last closed first.
    pub(super) fn list(&self) -> Vec<Alert> {
        let mut open: Vec<Alert> = self.open.values().cloned().collect();
        open.sort_by_key(|alert| std::cmp::Reverse(alert.first_sequence));
        open.extend(self.closed.iter().rev().cloned());
        open
    }

    /// One alert, while it is open or among the last closed.
    pub(super) fn find(&self, id: Uuid) -> Option<Alert> {
        self.open.get(&id).or_else(|| self.closed.iter().rev().find(|alert| alert.id == id)).cloned()
    }

    /// The oldest record that an open alert rests on. Where room is made, the alert that there is none holds up nothing: or
    /// it would keep the buffer full itself.
    pub(super) fn oldest_needed(&self, for_room: bool) -> Option<u64> {
        let own = |alert: &Alert| *alert.asset == *GATEWAY && *alert.model == *Condition::BufferFull.as_str();
        self.open.values().filter(|alert| !(for_room && own(alert))).map(|alert| alert.first_sequence).min()
    }

    /// Shows how many are open.
    pub(super) fn count(&self, metrics: &Metrics) {
        const STATES: [AlarmState; 3] =
            [AlarmState::Unacknowledged, AlarmState::Acknowledged, AlarmState::ReturnedUnacknowledged];
        for state in STATES {
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
fn begun(sequence: u64, at: Now, transition: &AlertTransition) -> Alert {
    Alert {
        id: transition.alert_id,
        asset: transition.asset.clone(),
        model: transition.model.clone(),
        state: transition.to,
        suppression: transition.suppression,
        priority: transition.priority,
        raised_at: at.utc,
        prediction_id: transition.prediction_id,
        reason: transition.reason.clone(),
        raised: transition.raised,
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

    fn at(seconds: i64) -> Now {
        Now { utc: Timestamp::from_micros(seconds * 1_000_000), monotonic: Duration::from_secs(seconds.unsigned_abs()) }
    }

    fn step(id: u128, from: AlarmState, to: AlarmState, author: Option<&str>) -> AlertTransition {
        AlertTransition {
            alert_id: Uuid::from_u128(id),
            asset: "press-7".into(),
            model: "press-failure".into(),
            prediction_id: author.is_none().then(|| Uuid::from_u128(id + 100)),
            from,
            to,
            suppression: Suppression::None,
            priority: Priority::High,
            author: author.map(str::to_owned),
            comment: author.map(|_| "on my way".to_owned()),
            reason: "probability 0.93 above 0.5".to_owned(),
            raised: None,
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
        assert_eq!((alert.state, alert.cleared_at), (Normal, Some(at(3).utc)));
        assert_eq!((alert.raised_at, alert.changed_at), (at(1).utc, at(3).utc));
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
        assert_eq!((now.changed_at, now.acknowledged_by.as_deref()), (at(4).utc, Some("ada")));
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
        assert_eq!(book.list()[0].cleared_at, Some(at(2).utc));
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
        off.suppression = Suppression::ByDesign;
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
}
