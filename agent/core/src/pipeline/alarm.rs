//! One alarm: the life of its occurrences, and what lies over it, as transitions for the record.
//!
//! The states ([`AlarmState`]) belong to an occurrence; what is shelved, out of service or suppressed by design is the alarm,
//! whether an occurrence is open or not. Below a cover the states go on as ever, so that what is true then shows when it is
//! lifted. Each of the three covers is kept by itself: one that ends lifts no other.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::shelf::{Shelf, later};
use crate::domain::alert::{AlarmState, AlertTransition, Cover, Guidance, LONGEST_SHELVING, Priority, Raised, Unfit};
use crate::domain::command::Act;
use crate::domain::time::Now;
use crate::domain::units;
use crate::model::manifest::Decision;

/// What the records tell of an alarm after a start: its open occurrence, and what lies over it.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// The machine.
    pub asset: Arc<str>,
    /// The model whose rule it is.
    pub model: Arc<str>,
    /// How urgent it is.
    pub priority: Priority,
    /// The occurrence that is open, and its state.
    pub open: Option<(Uuid, AlarmState)>,
    /// What lies over it.
    pub cover: Cover,
    /// How long it is to stay shelved from now on, if it is.
    pub shelved_for: Duration,
}

/// The alarm of one (asset, decision rule): at most one occurrence is open at a time.
#[derive(Debug)]
pub struct Alarm {
    asset: Arc<str>,
    model: Arc<str>,
    priority: Priority,
    /// Whether it stays when its condition is gone.
    latching: bool,
    guidance: Guidance,
    open: Option<(Uuid, AlarmState)>,
    out_of_service: bool,
    shelf: Option<Shelf>,
    by_design: bool,
}

impl Alarm {
    /// An alarm at rest.
    pub fn new(asset: Arc<str>, model: Arc<str>, priority: Priority) -> Self {
        let guidance = Guidance::default();
        let (open, shelf) = (None, None);
        Self { asset, model, priority, latching: false, guidance, open, out_of_service: false, shelf, by_design: false }
    }

    /// An alarm as the records know it.
    pub fn restored(known: Remembered, now: Now) -> Self {
        let shelf = known.cover.shelved_until.map(|until| Shelf::new(known.shelved_for, until, now));
        Self {
            open: known.open.filter(|(_, state)| state.is_open()),
            out_of_service: known.cover.out_of_service,
            shelf,
            by_design: known.cover.by_design,
            ..Self::new(known.asset, known.model, known.priority)
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
        self.open.is_some_and(|(_, state)| state.holds())
    }

    /// What lies over it.
    pub fn cover(&self) -> Cover {
        let shelved_until = self.shelf.map(|shelf| shelf.until);
        Cover { out_of_service: self.out_of_service, shelved_until, by_design: self.by_design }
    }

    /// Takes over a model's rule; it shows with the next transition.
    pub fn follow(&mut self, rule: &Decision) {
        self.priority = rule.priority;
        self.latching = rule.latching;
        self.guidance = rule.guidance.clone();
    }

    /// Takes over what stands in for the model. Whether the alert latches stays as the model's rule has it.
    pub fn stand_in(&mut self, rule: &Decision) {
        self.priority = rule.priority;
        self.guidance = rule.guidance.clone();
    }

    /// The condition begins to hold: opens an occurrence named `fresh`, or wakes the one that is open. `cause`: the
    /// prediction that brings it, where one does, and on which side it is alarming.
    pub fn raise(&mut self, fresh: Uuid, cause: Option<(Uuid, Raised)>, reason: String) -> AlertTransition {
        let (id, from) = self.open.unwrap_or((fresh, AlarmState::Normal));
        let mut transition = self.transition(Some(id), from, from.raise(), reason);
        (transition.prediction_id, transition.raised) = cause.unzip();
        transition.guidance = self.guidance.clone();
        self.step(&transition);
        transition
    }

    /// The condition is gone.
    pub fn clear(&mut self, prediction: Option<Uuid>, reason: String) -> Option<AlertTransition> {
        let (id, from) = self.open?;
        let mut transition = self.transition(Some(id), from, from.clear(self.latching), reason);
        transition.prediction_id = prediction;
        self.step(&transition);
        Some(transition)
    }

    /// What acknowledging would change. It holds once [`Alarm::apply`] is told, which is when it is on disk.
    pub fn acknowledgement(&self, author: String, comment: Option<String>) -> Option<AlertTransition> {
        let (id, from) = self.open?;
        let mut transition = self.transition(Some(id), from, from.acknowledge(), "acknowledged".to_owned());
        transition.author = Some(author);
        transition.comment = comment;
        Some(transition)
    }

    /// What this would change that somebody asks for. It holds once [`Alarm::apply`] is told, which is when it is on disk.
    ///
    /// # Errors
    /// When it cannot be, as things stand.
    pub fn asked(&self, act: Act, author: String, now: Now) -> Result<AlertTransition, Unfit> {
        let (id, from) = self.open.unzip();
        let from = from.unwrap_or(AlarmState::Normal);
        let (mut to, mut cover) = (from, self.cover());
        let (reason, said) = match act {
            Act::Reset { comment } => {
                to = from.reset()?;
                ("reset".to_owned(), comment)
            }
            Act::Shelve { length, reason } => {
                if length.is_zero() || length > LONGEST_SHELVING {
                    return Err(Unfit::Length);
                }
                cover.shelved_until = Some(later(now.utc, length));
                (format!("shelved for {}", units::written(length)), Some(reason))
            }
            Act::Unshelve { comment } => {
                cover.shelved_until.take().ok_or(Unfit::NotShelved)?;
                ("unshelved".to_owned(), comment)
            }
            Act::OutOfService { reason } => {
                if std::mem::replace(&mut cover.out_of_service, true) {
                    return Err(Unfit::OutOfService);
                }
                ("taken out of service".to_owned(), Some(reason))
            }
            Act::InService { comment } => {
                if !std::mem::replace(&mut cover.out_of_service, false) {
                    return Err(Unfit::InService);
                }
                ("put back in service".to_owned(), comment)
            }
        };
        let transition = self.transition(id, from, to, reason);
        Ok(AlertTransition { cover, author: Some(author), comment: said, ..transition })
    }

    /// The machine was switched off or on: the alarm is suppressed by design, or no longer.
    pub fn switch(&mut self, off: bool) -> Option<AlertTransition> {
        if std::mem::replace(&mut self.by_design, off) == off {
            return None;
        }
        Some(self.remark(if off { "the machine is off" } else { "the machine runs again" }))
    }

    /// Lifts all that lies over it, where anything does.
    pub fn lift(&mut self, reason: &str) -> Option<AlertTransition> {
        if self.cover() == Cover::default() {
            return None;
        }
        (self.out_of_service, self.shelf, self.by_design) = (false, None, false);
        Some(self.remark(reason))
    }

    /// Ends a shelving whose time is over; puts right what is on record of its end when the wall clock was set.
    pub fn tick(&mut self, now: Now) -> Option<AlertTransition> {
        let shelf = self.shelf.as_mut()?;
        if shelf.is_over(now) {
            self.shelf = None;
            return Some(self.remark("the time for which it was shelved is over"));
        }
        shelf.until = shelf.corrected(now)?;
        Some(self.remark("the clock was set; the time for which it is shelved stays"))
    }

    /// When [`Alarm::tick`] has something to do, as time since boot.
    pub fn due(&self) -> Option<Duration> {
        self.shelf.map(|shelf| shelf.ends)
    }

    /// Takes in a transition that a person brought, made at this moment.
    pub fn apply(&mut self, transition: &AlertTransition, now: Now) {
        if transition.alert_id.is_some() && transition.alert_id == self.id() {
            self.step(transition);
        }
        let cover = transition.cover;
        (self.out_of_service, self.by_design) = (cover.out_of_service, cover.by_design);
        self.shelf = match (self.shelf, cover.shelved_until) {
            (Some(shelf), Some(until)) if shelf.until == until => Some(shelf),
            (_, until) => until.map(|until| Shelf::new(super::shelf::between(now.utc, until), until, now)),
        };
    }

    fn step(&mut self, transition: &AlertTransition) {
        self.open = transition.alert_id.map(|id| (id, transition.to)).filter(|(_, state)| state.is_open());
    }

    /// Something about what lies over it.
    fn remark(&self, reason: &str) -> AlertTransition {
        let (id, state) = self.open.unzip();
        let state = state.unwrap_or(AlarmState::Normal);
        self.transition(id, state, state, reason.to_owned())
    }

    fn transition(&self, id: Option<Uuid>, from: AlarmState, to: AlarmState, reason: String) -> AlertTransition {
        AlertTransition {
            alert_id: id,
            asset: Arc::clone(&self.asset),
            model: Arc::clone(&self.model),
            prediction_id: None,
            from,
            to,
            cover: self.cover(),
            priority: self.priority,
            author: None,
            comment: None,
            reason,
            raised: None,
            guidance: Guidance::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Suppression;
    use crate::domain::time::Timestamp;

    fn alarm() -> Alarm {
        Alarm::new("press-7".into(), "press-failure".into(), Priority::High)
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn at(seconds: u64) -> Now {
        let utc = Timestamp::from_micros(i64::try_from(seconds).unwrap() * 1_000_000);
        Now { utc, monotonic: Duration::from_secs(5_000 + seconds) }
    }

    fn shelve(seconds: u64) -> Act {
        Act::Shelve { length: Duration::from_secs(seconds), reason: "spare part comes tomorrow".into() }
    }

    fn ask(alarm: &mut Alarm, act: Act, now: Now) -> AlertTransition {
        let transition = alarm.asked(act, "ann".into(), now).unwrap();
        alarm.apply(&transition, now);
        transition
    }

    #[test]
    fn one_occurrence_lives_from_raise_to_acknowledged_and_returned() {
        let mut alarm = alarm();
        let raised = alarm.raise(id(1), Some((id(100), Raised::Above)), String::new());
        assert_eq!(
            (raised.alert_id, raised.from, raised.to),
            (Some(id(1)), AlarmState::Normal, AlarmState::Unacknowledged)
        );
        let seen = alarm.acknowledgement("ann".into(), None).unwrap();
        assert!(alarm.is_raised(), "nothing holds before it is applied");
        alarm.apply(&seen, at(0));
        let gone = alarm.clear(Some(id(101)), String::new()).unwrap();
        assert_eq!((gone.from, gone.to), (AlarmState::Acknowledged, AlarmState::Normal));
        assert_eq!(alarm.id(), None);
        assert_eq!(alarm.raise(id(2), Some((id(102), Raised::Above)), String::new()).alert_id, Some(id(2)));
    }

    #[test]
    fn what_comes_back_before_it_was_seen_is_the_same_occurrence() {
        let mut alarm = alarm();
        alarm.raise(id(1), Some((id(100), Raised::Above)), String::new());
        alarm.clear(None, String::new());
        let again = alarm.raise(id(2), Some((id(101), Raised::Above)), String::new());
        assert_eq!((again.alert_id, again.from), (Some(id(1)), AlarmState::ReturnedUnacknowledged));
        assert_eq!(again.prediction_id, Some(id(101)));
    }

    #[test]
    fn being_off_is_on_record_also_while_nothing_is_open() {
        let mut alarm = alarm();
        let off = alarm.switch(true).unwrap();
        assert_eq!((off.alert_id, off.cover.shown(), off.to), (None, Suppression::ByDesign, AlarmState::Normal));
        assert_eq!(alarm.switch(true), None);
        alarm.raise(id(1), Some((id(100), Raised::Above)), String::new());
        let on = alarm.switch(false).unwrap();
        assert_eq!(
            (on.alert_id, on.from, on.to),
            (Some(id(1)), AlarmState::Unacknowledged, AlarmState::Unacknowledged)
        );
    }

    #[test]
    fn a_machine_that_runs_again_unshelves_nothing() {
        let mut alarm = alarm();
        ask(&mut alarm, shelve(60), at(0));
        assert_eq!(alarm.switch(true).unwrap().cover.shown(), Suppression::Shelved);
        ask(&mut alarm, Act::OutOfService { reason: "rebuilt".into() }, at(1));
        let on = alarm.switch(false).unwrap();
        assert_eq!((on.cover.shown(), on.cover.shelved_until), (Suppression::OutOfService, Some(at(60).utc)));
        let back = ask(&mut alarm, Act::InService { comment: None }, at(2));
        assert_eq!(back.cover.shown(), Suppression::Shelved);
    }

    #[test]
    fn a_shelving_ends_by_itself_and_what_was_raised_meanwhile_shows() {
        let mut alarm = alarm();
        let shelved = ask(&mut alarm, shelve(60), at(0));
        assert_eq!((shelved.alert_id, shelved.reason.as_str()), (None, "shelved for 1m"));
        assert_eq!(shelved.comment.as_deref(), Some("spare part comes tomorrow"));
        let raised = alarm.raise(id(1), None, String::new());
        assert_eq!((raised.to, raised.cover.shown()), (AlarmState::Unacknowledged, Suppression::Shelved));
        assert_eq!((alarm.tick(at(59)), alarm.due()), (None, Some(Duration::from_secs(5_060))));
        let over = alarm.tick(at(60)).unwrap();
        assert_eq!((over.alert_id, over.cover, over.to), (Some(id(1)), Cover::default(), AlarmState::Unacknowledged));
        assert_eq!((alarm.tick(at(61)), alarm.due()), (None, None));
    }

    #[test]
    fn shelving_again_counts_anew_and_a_clock_that_is_set_changes_only_what_is_on_record() {
        let mut alarm = alarm();
        ask(&mut alarm, shelve(60), at(0));
        ask(&mut alarm, shelve(600), at(30));
        assert_eq!(alarm.due(), Some(Duration::from_secs(5_630)));
        let set = Now { utc: Timestamp::from_micros(1_700_000_000_000_000), ..at(40) };
        let put_right = alarm.tick(set).unwrap();
        assert_eq!(put_right.cover.shelved_until, Some(later(set.utc, Duration::from_secs(590))));
        assert_eq!((alarm.due(), alarm.tick(set)), (Some(Duration::from_secs(5_630)), None));
    }

    #[test]
    fn what_the_records_know_goes_on() {
        let until = Some(at(60).utc);
        let known = Remembered {
            asset: "press-7".into(),
            model: "press-failure".into(),
            priority: Priority::High,
            open: Some((id(1), AlarmState::LatchedAcknowledged)),
            cover: Cover { out_of_service: true, shelved_until: until, by_design: true },
            shelved_for: Duration::from_secs(20),
        };
        let mut alarm = Alarm::restored(known.clone(), at(40));
        assert_eq!((alarm.cover(), alarm.is_raised(), alarm.id()), (known.cover, false, Some(id(1))));
        assert!(alarm.tick(at(60)).is_some());
        let lifted = alarm.lift("gone").unwrap();
        assert_eq!((lifted.cover, alarm.lift("gone")), (Cover::default(), None));
    }
}
