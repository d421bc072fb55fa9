//! The gateway's own alerts: what it must be told of itself that no model sees. They live as all alerts do.
//!
//! Each condition is a rule of the asset `_gateway`. It raises its alert when it is first seen to hold, and clears it once
//! it was seen not to hold for a while, so that what flickers is one occurrence. What is not known (after a start, say)
//! changes nothing: an alert that was open stays open until it is known better.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::alarm::Alarm;
use super::{Follows, Pipeline, record};
use crate::domain::alert::GATEWAY;
use crate::domain::condition::Condition;
use crate::domain::time::Now;

/// For so long a condition must be gone before its alert returns to normal.
const OFF_DELAY: Duration = Duration::from_secs(10);

/// What was seen of one condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seen {
    /// Nobody could look.
    #[default]
    Unknown,
    /// It does not hold.
    Gone,
    /// It holds, and in a phrase why.
    Holds(String),
}

/// All conditions as they were last seen, in the order of [`Condition::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions([Seen; Condition::ALL.len()]);

impl Conditions {
    /// Notes what was seen of one.
    pub fn set(&mut self, condition: Condition, seen: Seen) {
        for (known, place) in Condition::ALL.into_iter().zip(&mut self.0) {
            if known == condition {
                *place = seen;
                return;
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = (Condition, &Seen)> {
        Condition::ALL.into_iter().zip(&self.0)
    }
}

/// Since when each condition is gone whose alert is raised.
#[derive(Debug, Default)]
pub(super) struct Going([Option<Duration>; Condition::ALL.len()]);

impl Pipeline {
    /// Takes in what was seen of the gateway itself.
    pub fn gateway(&mut self, seen: &Conditions, now: Now, mint: &mut dyn FnMut() -> Uuid) -> Follows {
        let mut follows = Follows::default();
        for ((condition, seen), gone_since) in seen.each().zip(&mut self.going.0) {
            let found = self.alarms.iter().position(|alarm| alarm.is_of(GATEWAY, condition.as_str()));
            let raised = found.and_then(|index| self.alarms.get(index)).is_some_and(Alarm::is_raised);
            match seen {
                Seen::Holds(reason) => {
                    *gone_since = None;
                    if raised {
                        continue;
                    }
                    let index = found.unwrap_or_else(|| {
                        let (asset, rule) = (Arc::from(GATEWAY), Arc::from(condition.as_str()));
                        self.alarms.push(Alarm::new(asset, rule, condition.priority()));
                        self.alarms.len() - 1
                    });
                    let Some(alarm) = self.alarms.get_mut(index) else { continue };
                    let transition = alarm.raise(mint(), None, reason.clone());
                    let began = !transition.from.is_open();
                    let id = transition.alert_id.filter(|_| began).unwrap_or_else(&mut *mint);
                    follows.records.push(record(id, now, transition));
                }
                Seen::Gone if raised => {
                    let since = *gone_since.get_or_insert(now.monotonic);
                    if now.monotonic.saturating_sub(since) < OFF_DELAY {
                        continue;
                    }
                    *gone_since = None;
                    let alarm = found.and_then(|index| self.alarms.get_mut(index));
                    let cleared = alarm.and_then(|alarm| alarm.clear(None, "it is over".to_owned()));
                    follows.records.extend(cleared.map(|transition| record(mint(), now, transition)));
                }
                Seen::Gone | Seen::Unknown => *gone_since = None,
            }
        }
        follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Cover;
    use crate::domain::alert::{AlarmState, AlertTransition, Priority};
    use crate::domain::record::Body;
    use crate::domain::time::Timestamp;
    use crate::pipeline::alarm::Remembered;

    fn at(seconds: u64) -> Now {
        Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_secs(seconds) }
    }

    struct Bench(Pipeline, u128);

    impl Bench {
        fn new(open: Vec<Remembered>) -> Self {
            let (pipeline, follows) = Pipeline::new(Vec::new(), open, at(0), &mut || Uuid::from_u128(900));
            assert!(follows.records.is_empty(), "the gateway is always watched");
            Self(pipeline, 0)
        }

        fn see(&mut self, full: Seen, seconds: u64) -> Vec<AlertTransition> {
            let mut seen = Conditions::default();
            seen.set(Condition::BufferFull, full);
            let ids = &mut self.1;
            let mut mint = || {
                *ids += 1;
                Uuid::from_u128(*ids)
            };
            let records = self.0.gateway(&seen, at(seconds), &mut mint).records;
            let transitions = records.into_iter().map(|record| match record.body {
                Body::Alert(transition) => {
                    assert_eq!(Some(record.id) == transition.alert_id, !transition.from.is_open());
                    transition
                }
                other => panic!("{other:?}"),
            });
            transitions.collect()
        }
    }

    fn holds() -> Seen {
        Seen::Holds("full".to_owned())
    }

    #[test]
    fn it_is_raised_once_and_returns_when_it_is_gone_for_a_while() {
        let mut bench = Bench::new(Vec::new());
        assert_eq!(bench.see(Seen::Unknown, 1), []);
        assert_eq!(bench.see(Seen::Gone, 2), []);
        let raised = bench.see(holds(), 3);
        let one = &raised[0];
        assert_eq!((raised.len(), &*one.asset, &*one.model, &*one.reason), (1, "_gateway", "buffer_full", "full"));
        assert_eq!((one.to, one.priority, one.prediction_id), (AlarmState::Unacknowledged, Priority::High, None));
        assert_eq!(bench.see(holds(), 4), []);
        // It flickers.
        assert_eq!(bench.see(Seen::Gone, 5), []);
        assert_eq!(bench.see(Seen::Gone, 14), []);
        assert_eq!(bench.see(holds(), 14), []);
        assert_eq!(bench.see(Seen::Gone, 15), []);
        assert_eq!(bench.see(Seen::Unknown, 26), [], "nobody looked");
        assert_eq!(bench.see(Seen::Gone, 27), []);
        let gone = bench.see(Seen::Gone, 37);
        assert_eq!((gone.len(), gone[0].to), (1, AlarmState::ReturnedUnacknowledged));
        assert_eq!((gone[0].alert_id, bench.see(Seen::Gone, 60)), (one.alert_id, vec![]));
        let again = bench.see(holds(), 70);
        assert_eq!((again[0].alert_id, again[0].from), (one.alert_id, AlarmState::ReturnedUnacknowledged));
    }

    #[test]
    fn one_that_was_open_before_a_restart_goes_on() {
        let open = Remembered {
            asset: GATEWAY.into(),
            model: Condition::BufferFull.as_str().into(),
            priority: Priority::High,
            open: Some((Uuid::from_u128(77), AlarmState::Unacknowledged)),
            cover: Cover::default(),
            shelved_for: Duration::ZERO,
        };
        let mut bench = Bench::new(vec![open]);
        assert_eq!(bench.see(holds(), 1), [], "it is the same occurrence");
        let seen = bench.0.acknowledgement(Uuid::from_u128(77), "ann".into(), None).unwrap();
        bench.0.apply(&seen, at(1));
        bench.see(Seen::Gone, 2);
        let gone = bench.see(Seen::Gone, 12);
        let known = Some(Uuid::from_u128(77));
        assert_eq!((gone[0].alert_id, gone[0].to), (known, AlarmState::Normal));
        assert_ne!(bench.see(holds(), 13)[0].alert_id, known, "the next is another");
    }
}
