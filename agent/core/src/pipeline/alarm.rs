//! One alarm: the life of its occurrences, as transitions for the record.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::alert::{AlarmState, AlertTransition, Priority, Raised, Suppression};

/// An occurrence that is still open, as the records tell it after a start.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAlert {
    /// The occurrence.
    pub id: Uuid,
    /// The machine.
    pub asset: Arc<str>,
    /// The model whose rule it is.
    pub model: Arc<str>,
    /// Its state.
    pub state: AlarmState,
    /// What lies over it.
    pub suppression: Suppression,
    /// How urgent it is.
    pub priority: Priority,
}

/// The alarm of one (asset, decision rule): at most one occurrence is open at a time.
#[derive(Debug)]
pub struct Alarm {
    asset: Arc<str>,
    model: Arc<str>,
    priority: Priority,
    open: Option<(Uuid, AlarmState)>,
    suppression: Suppression,
}

impl Alarm {
    /// An alarm at rest.
    pub fn new(asset: Arc<str>, model: Arc<str>, priority: Priority) -> Self {
        Self { asset, model, priority, open: None, suppression: Suppression::None }
    }

    /// An alarm whose occurrence the records know as open.
    pub fn restored(alert: OpenAlert) -> Self {
        Self {
            asset: alert.asset,
            model: alert.model,
            priority: alert.priority,
            open: Some((alert.id, alert.state)),
            suppression: alert.suppression,
        }
    }

    /// Whether this is the alarm of that asset and model.
    pub fn is_of(&self, asset: &str, model: &str) -> bool {
        *self.asset == *asset && *self.model == *model
    }

    /// Whether this is an alarm of that asset.
    pub fn is_of_asset(&self, asset: &str) -> bool {
        *self.asset == *asset
    }

    /// The open occurrence.
    pub fn id(&self) -> Option<Uuid> {
        self.open.map(|(id, _)| id)
    }

    /// Whether the condition holds, as far as the alarm was told.
    pub fn is_raised(&self) -> bool {
        matches!(self.open, Some((_, AlarmState::Unacknowledged | AlarmState::Acknowledged)))
    }

    /// Whether something lies over it.
    pub fn is_suppressed(&self) -> bool {
        self.suppression != Suppression::None
    }

    /// Takes over the priority of a new rule; it shows with the next transition.
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    /// The condition begins to hold: opens an occurrence named `fresh`, or wakes the one that is open. `cause`: the
    /// prediction that brings it, where one does, and on which side it is alarming.
    pub fn raise(&mut self, fresh: Uuid, cause: Option<(Uuid, Raised)>, reason: String) -> AlertTransition {
        let (id, from) = self.open.unwrap_or((fresh, AlarmState::Normal));
        let mut transition = self.transition(id, from, from.raise(), reason);
        (transition.prediction_id, transition.raised) = cause.unzip();
        self.apply(&transition);
        transition
    }

    /// The condition is gone.
    pub fn clear(&mut self, prediction: Option<Uuid>, reason: String) -> Option<AlertTransition> {
        let (id, from) = self.open?;
        let mut transition = self.transition(id, from, from.clear(), reason);
        transition.prediction_id = prediction;
        self.apply(&transition);
        Some(transition)
    }

    /// What acknowledging would change. It holds once [`Alarm::apply`] is told, which is when it is on disk.
    pub fn acknowledgement(&self, author: String, comment: Option<String>) -> Option<AlertTransition> {
        let (id, from) = self.open?;
        let mut transition = self.transition(id, from, from.acknowledge(), "acknowledged".to_owned());
        transition.author = Some(author);
        transition.comment = comment;
        Some(transition)
    }

    /// The machine was switched off or on: an open occurrence is suppressed by design, or no longer.
    pub fn suppress(&mut self, suppression: Suppression, reason: &str) -> Option<AlertTransition> {
        if self.suppression == suppression {
            return None;
        }
        self.suppression = suppression;
        let (id, state) = self.open?;
        Some(self.transition(id, state, state, reason.to_owned()))
    }

    /// Takes in a transition.
    pub fn apply(&mut self, transition: &AlertTransition) {
        self.open = transition.to.is_open().then_some((transition.alert_id, transition.to));
    }

    fn transition(&self, id: Uuid, from: AlarmState, to: AlarmState, reason: String) -> AlertTransition {
        AlertTransition {
            alert_id: id,
            asset: Arc::clone(&self.asset),
            model: Arc::clone(&self.model),
            prediction_id: None,
            from,
            to,
            suppression: self.suppression,
            priority: self.priority,
            author: None,
            comment: None,
            reason,
            raised: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm() -> Alarm {
        Alarm::new("press-7".into(), "press-failure".into(), Priority::High)
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn one_occurrence_lives_from_raise_to_acknowledged_and_returned() {
        let mut alarm = alarm();
        let raised = alarm.raise(id(1), Some((id(100), Raised::Above)), String::new());
        assert_eq!((raised.alert_id, raised.from, raised.to), (id(1), AlarmState::Normal, AlarmState::Unacknowledged));
        let seen = alarm.acknowledgement("ann".into(), None).unwrap();
        assert!(alarm.is_raised(), "nothing holds before it is applied");
        alarm.apply(&seen);
        let gone = alarm.clear(Some(id(101)), String::new()).unwrap();
        assert_eq!((gone.from, gone.to), (AlarmState::Acknowledged, AlarmState::Normal));
        assert_eq!(alarm.id(), None);
        assert_eq!(alarm.raise(id(2), Some((id(102), Raised::Above)), String::new()).alert_id, id(2));
    }

    #[test]
    fn what_comes_back_before_it_was_seen_is_the_same_occurrence() {
        let mut alarm = alarm();
        alarm.raise(id(1), Some((id(100), Raised::Above)), String::new());
        alarm.clear(None, String::new());
        let again = alarm.raise(id(2), Some((id(101), Raised::Above)), String::new());
        assert_eq!((again.alert_id, again.from), (id(1), AlarmState::ReturnedUnacknowledged));
        assert_eq!(again.prediction_id, Some(id(101)));
    }

    #[test]
    fn suppression_is_a_transition_only_while_an_occurrence_is_open() {
        let mut alarm = alarm();
        assert_eq!(alarm.suppress(Suppression::ByDesign, "off"), None);
        assert_eq!(alarm.suppress(Suppression::None, "on"), None);
        alarm.raise(id(1), Some((id(100), Raised::Above)), String::new());
        let off = alarm.suppress(Suppression::ByDesign, "off").unwrap();
        assert_eq!((off.from, off.to), (AlarmState::Unacknowledged, AlarmState::Unacknowledged));
        assert_eq!(alarm.suppress(Suppression::ByDesign, "off"), None);
    }
}
