//! How well the alarms of a machine serve the people who answer them, in the figures of ISA-18.2: how many are raised, which
//! chatter, which are stale, and whether there is a flood.
//!
//! Only what is shown counts: an alarm that is shelved, out of service or of a machine that is off asks nothing of anybody. An
//! occurrence that is raised again before anybody saw it counts again, since it is chattering that is looked for.
//! Everything here is bounded by the number of alarms, however many are raised.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::alert::{AlertTransition, Suppression};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// An alarm whose condition has held for longer is stale.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// What is looked back upon for a flood.
const FLOOD: Duration = Duration::from_secs(600);
/// More than so many within that begin a flood, and fewer than so many end it.
const BEGINS: usize = 10;
const ENDS: usize = 5;
/// An alarm raised so often within a minute chatters, and counts as chattering until it was quiet for [`FLOOD`].
const CHATTERS: usize = 3;

/// The figures of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Alarms raised within the last hour, by whole minutes.
    pub last_hour: u64,
    /// Alarms that chatter.
    pub chattering: usize,
    /// Alarms that have held for more than a day.
    pub stale: usize,
}

/// What was seen of all machines.
#[derive(Debug, Default)]
pub struct Rates {
    machines: BTreeMap<Arc<str>, Minutes>,
    alarms: BTreeMap<(Arc<str>, Arc<str>), Recent>,
    /// The newest raises of all, oldest first.
    newest: VecDeque<Duration>,
    flooded: bool,
}

/// Raises by minute, oldest first.
#[derive(Debug, Default)]
struct Minutes(VecDeque<(u64, u64)>);

#[derive(Debug, Default)]
struct Recent {
    raises: VecDeque<Duration>,
    holds_since: Option<Duration>,
    chattered: Option<Duration>,
    hidden: bool,
}

/// Times since boot, moved so that a day before it has a place, too.
fn place(now: Duration, age: Duration) -> Duration {
    now.saturating_add(STALE).saturating_add(HOUR).saturating_sub(age)
}

impl Rates {
    /// Takes in a transition that is `age` old now; in their order.
    pub fn note(&mut self, change: &AlertTransition, age: Duration, now: Duration) {
        let at = place(now, age);
        let of = (Arc::clone(&change.asset), Arc::clone(&change.model));
        let recent = self.alarms.entry(of).or_default();
        recent.hidden = change.cover.shown() != Suppression::None;
        if change.alert_id.is_none() {
            return;
        }
        let raised = change.to.holds() && !change.from.holds();
        if raised {
            recent.holds_since = Some(at);
        } else if !change.to.holds() {
            recent.holds_since = None;
        }
        if !raised || recent.hidden {
            return;
        }
        push(&mut recent.raises, at, CHATTERS);
        if recent.raises.len() == CHATTERS
            && recent.raises.front().is_some_and(|first| at.saturating_sub(*first) <= MINUTE)
        {
            recent.chattered = Some(at);
        }
        self.machines.entry(Arc::clone(&change.asset)).or_default().count(at);
        push(&mut self.newest, at, BEGINS + 1);
        self.look(at);
    }

    /// The alarm's condition has held for so long, as the list of alerts knows; what transitions say counts more.
    pub fn holds(&mut self, asset: &Arc<str>, model: &Arc<str>, age: Duration, now: Duration) {
        let recent = self.alarms.entry((Arc::clone(asset), Arc::clone(model))).or_default();
        recent.holds_since.get_or_insert(place(now, age));
    }

    /// The machines that anything is known of.
    pub fn machines(&self) -> Vec<Arc<str>> {
        let mut all: Vec<_> = self.alarms.keys().map(|(asset, _)| Arc::clone(asset)).collect();
        all.dedup();
        all
    }

    /// The figures of one machine.
    pub fn of(&self, asset: &str, now: Duration) -> Figures {
        let now = place(now, Duration::ZERO);
        let last_hour = self.machines.get(asset).map_or(0, |minutes| minutes.within_an_hour(now));
        let shown = self.alarms.iter().filter(|((of, _), recent)| **of == *asset && !recent.hidden);
        let (mut chattering, mut stale) = (0, 0);
        for (_, recent) in shown {
            chattering += usize::from(recent.chattered.is_some_and(|at| now.saturating_sub(at) < FLOOD));
            stale += usize::from(recent.holds_since.is_some_and(|since| now.saturating_sub(since) > STALE));
        }
        Figures { last_hour, chattering, stale }
    }

    /// Whether there is a flood: it began with more than ten alarms in ten minutes, and has not ended with fewer than five.
    pub fn is_flood(&mut self, now: Duration) -> bool {
        self.look(place(now, Duration::ZERO));
        self.flooded
    }

    fn look(&mut self, now: Duration) {
        let within = self.newest.iter().filter(|at| now.saturating_sub(**at) <= FLOOD).count();
        self.flooded = within > BEGINS || (self.flooded && within >= ENDS);
    }
}

impl Minutes {
    fn count(&mut self, at: Duration) {
        let minute = at.as_secs() / MINUTE.as_secs();
        match self.0.back_mut() {
            // What comes late, as clocks have it, counts for the newest minute.
            Some((last, count)) if *last >= minute => *count = count.saturating_add(1),
            _ => self.0.push_back((minute, 1)),
        }
        while self.0.front().is_some_and(|(first, _)| first + 60 <= minute) {
            self.0.pop_front();
        }
    }

    fn within_an_hour(&self, now: Duration) -> u64 {
        let minute = now.as_secs() / MINUTE.as_secs();
        self.0.iter().filter(|(at, _)| at + 60 > minute).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

fn push(ring: &mut VecDeque<Duration>, at: Duration, most: usize) {
    ring.push_back(at);
    while ring.len() > most {
        ring.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::alert::{AlarmState, Cover, Guidance, Priority};

    fn step(asset: &str, from: AlarmState, to: AlarmState) -> AlertTransition {
        AlertTransition {
            alert_id: Some(Uuid::from_u128(1)),
            asset: asset.into(),
            model: "press-failure".into(),
            prediction_id: None,
            from,
            to,
            cover: Cover::default(),
            priority: Priority::High,
            author: None,
            comment: None,
            reason: String::new(),
            raised: None,
            guidance: Guidance::default(),
        }
    }

    fn raise(asset: &str) -> AlertTransition {
        step(asset, AlarmState::Normal, AlarmState::Unacknowledged)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn alarms_are_counted_for_an_hour_and_what_is_not_shown_is_not() {
        let mut rates = Rates::default();
        for minute in 0..90 {
            rates.note(&raise("press-7"), Duration::ZERO, seconds(minute * 60));
        }
        rates.note(
            &AlertTransition { cover: Cover { by_design: true, ..Cover::default() }, ..raise("press-8") },
            Duration::ZERO,
            seconds(5400),
        );
        let now = seconds(89 * 60 + 30);
        assert_eq!((rates.of("press-7", now).last_hour, rates.of("press-8", now).last_hour), (60, 0));
        assert_eq!(rates.of("press-7", seconds(150 * 60)).last_hour, 0);
    }

    #[test]
    fn what_comes_again_before_it_was_seen_chatters() {
        use AlarmState::{ReturnedUnacknowledged, Unacknowledged};
        let mut rates = Rates::default();
        rates.note(&raise("press-7"), Duration::ZERO, seconds(0));
        for at in [20, 40] {
            assert_eq!(rates.of("press-7", seconds(at)).chattering, 0);
            rates.note(&step("press-7", Unacknowledged, ReturnedUnacknowledged), Duration::ZERO, seconds(at - 5));
            rates.note(&step("press-7", ReturnedUnacknowledged, Unacknowledged), Duration::ZERO, seconds(at));
        }
        assert_eq!(rates.of("press-7", seconds(41)), Figures { last_hour: 3, chattering: 1, stale: 0 });
        assert_eq!(rates.of("press-7", seconds(640)).chattering, 0, "quiet for ten minutes");
        for at in [1000, 1031, 1062, 1093] {
            rates.note(&raise("press-7"), Duration::ZERO, seconds(at));
        }
        assert_eq!(rates.of("press-7", seconds(1093)).chattering, 0, "twice a minute is bad, and not that bad");
    }

    #[test]
    fn what_holds_for_a_day_is_stale_also_after_a_restart() {
        use AlarmState::{Acknowledged, Normal, Unacknowledged};
        let day = 24 * 3600;
        let mut rates = Rates::default();
        rates.note(&raise("press-7"), Duration::ZERO, seconds(10));
        rates.note(&step("press-7", Unacknowledged, Acknowledged), Duration::ZERO, seconds(20));
        assert_eq!(rates.of("press-7", seconds(10 + day)).stale, 0);
        assert_eq!(rates.of("press-7", seconds(11 + day)).stale, 1);
        rates.note(&step("press-7", Acknowledged, Normal), Duration::ZERO, seconds(12 + day));
        assert_eq!(rates.of("press-7", seconds(13 + day)).stale, 0);

        // Raised two days before this boot, and two hours before it.
        let mut rates = Rates::default();
        rates.holds(&"press-7".into(), &"press-failure".into(), seconds(2 * day), seconds(5));
        rates.note(&raise("press-8"), seconds(7200), seconds(5));
        rates.holds(&"press-8".into(), &"press-failure".into(), seconds(2 * day), seconds(5));
        let stale = |rates: &Rates, asset: &str, at| rates.of(asset, seconds(at)).stale;
        assert_eq!((stale(&rates, "press-7", 5), stale(&rates, "press-8", 5)), (1, 0));
        assert_eq!((rates.of("press-8", seconds(5)).last_hour, stale(&rates, "press-8", day)), (0, 1));
        let shelved = Cover { shelved_until: Some(crate::domain::time::Timestamp::from_micros(0)), ..Cover::default() };
        let aside = AlertTransition { alert_id: None, cover: shelved, ..raise("press-8") };
        rates.note(&aside, Duration::ZERO, seconds(day));
        assert_eq!(stale(&rates, "press-8", day), 0, "somebody has put it aside");
    }

    #[test]
    fn a_flood_begins_with_the_eleventh_alarm_in_ten_minutes_and_ends_below_five() {
        let mut rates = Rates::default();
        for n in 0..10 {
            rates.note(&raise(&format!("press-{n}")), Duration::ZERO, seconds(n * 50));
            assert!(!rates.is_flood(seconds(n * 50)));
        }
        rates.note(&raise("press-10"), Duration::ZERO, seconds(500));
        assert!(rates.is_flood(seconds(500)));
        // The last eleven came at 0, 50, …, 450 and 500.
        assert!(rates.is_flood(seconds(900)), "five within ten minutes, those of 300 to 500");
        assert!(!rates.is_flood(seconds(901)));
        assert!(!rates.is_flood(seconds(901)), "and what has ended stays so");
    }

    #[test]
    fn a_storm_takes_no_more_room_than_its_alarms() {
        let mut rates = Rates::default();
        for n in 0..10_000_u64 {
            rates.note(&raise("press-7"), Duration::ZERO, Duration::from_millis(n * 100));
        }
        let now = seconds(1000);
        assert_eq!(rates.of("press-7", now), Figures { last_hour: 10_000, chattering: 1, stale: 0 });
        assert!(rates.is_flood(now));
        let kept = rates.machines.values().map(|minutes| minutes.0.len()).sum::<usize>() + rates.newest.len();
        assert!(kept <= 61 + BEGINS + 1, "{kept}");
    }
}
