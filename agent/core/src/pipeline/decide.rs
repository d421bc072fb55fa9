//! Whether a condition holds: thresholds with hysteresis, and delays against flutter.

use std::time::Duration;

use crate::domain::time::Now;
use crate::model::manifest::Decision;

/// What a prediction does to the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It begins to hold now.
    Raise,
    /// It holds on.
    Holds,
    /// It ends now.
    Clear,
    /// It does not hold.
    Rests,
}

/// The memory of one decision rule.
#[derive(Debug, Clone)]
pub struct Decider {
    rule: Decision,
    raised: bool,
    /// Since when the output has been beyond the threshold that would change `raised`.
    beyond_since: Option<Now>,
}

impl Decider {
    /// A rule whose condition holds already, or not: after a start that is known from the alert.
    pub fn new(rule: Decision, raised: bool) -> Self {
        Self { rule, raised, beyond_since: None }
    }

    /// The rule.
    pub fn rule(&self) -> &Decision {
        &self.rule
    }

    /// Takes in the output of a prediction made.
    pub fn predicted(&mut self, value: f64, now: Now) -> Verdict {
        let (threshold, delay) =
            if self.raised { (self.rule.clear, self.rule.off_delay) } else { (self.rule.raise, self.rule.on_delay) };
        if !threshold.holds(value) {
            self.beyond_since = None;
        } else if self.lasted(now) >= delay {
            self.beyond_since = None;
            self.raised = !self.raised;
            return if self.raised { Verdict::Raise } else { Verdict::Clear };
        }
        if self.raised { Verdict::Holds } else { Verdict::Rests }
    }

    /// Takes in that a prediction was withheld: what is not known clears nothing, so the time to clear starts anew,
    /// and a condition that was about to raise still is.
    pub fn withheld(&mut self) {
        if self.raised {
            self.beyond_since = None;
        }
    }

    /// Takes in that the machine is off: what was about to change starts anew when it runs again.
    pub fn rest(&mut self) {
        self.beyond_since = None;
    }

    fn lasted(&mut self, now: Now) -> Duration {
        now.since(*self.beyond_since.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Guidance, Priority};
    use crate::domain::time::Timestamp;
    use crate::model::manifest::Threshold;

    fn at(seconds: u64) -> Now {
        Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_secs(seconds) }
    }

    fn decider(on: u64, off: u64) -> Decider {
        let rule = Decision {
            raise: Threshold::Above(0.5),
            clear: Threshold::Below(0.4),
            on_delay: Duration::from_secs(on),
            off_delay: Duration::from_secs(off),
            priority: Priority::High,
            latching: false,
            guidance: Guidance::default(),
        };
        Decider::new(rule, false)
    }

    #[test]
    fn between_the_thresholds_nothing_changes() {
        let mut decider = decider(0, 0);
        assert_eq!(decider.predicted(0.45, at(0)), Verdict::Rests);
        assert_eq!(decider.predicted(0.6, at(1)), Verdict::Raise);
        assert_eq!(decider.predicted(0.45, at(2)), Verdict::Holds);
        assert_eq!(decider.predicted(0.3, at(3)), Verdict::Clear);
        assert_eq!(decider.predicted(0.45, at(4)), Verdict::Rests);
    }

    #[test]
    fn delays_ask_for_an_unbroken_stretch() {
        let mut decider = decider(10, 5);
        assert_eq!(decider.predicted(0.9, at(0)), Verdict::Rests);
        assert_eq!(decider.predicted(0.1, at(9)), Verdict::Rests);
        assert_eq!(decider.predicted(0.9, at(10)), Verdict::Rests);
        assert_eq!(decider.predicted(0.9, at(20)), Verdict::Raise);
        assert_eq!(decider.predicted(0.1, at(21)), Verdict::Holds);
        assert_eq!(decider.predicted(0.1, at(26)), Verdict::Clear);
    }

    #[test]
    fn a_withheld_prediction_starts_the_time_to_clear_anew_and_leaves_the_time_to_raise() {
        let mut decider = decider(10, 5);
        decider.predicted(0.9, at(0));
        decider.withheld();
        assert_eq!(decider.predicted(0.9, at(10)), Verdict::Raise);
        decider.predicted(0.1, at(11));
        decider.withheld();
        assert_eq!(decider.predicted(0.1, at(16)), Verdict::Holds);
        assert_eq!(decider.predicted(0.1, at(21)), Verdict::Clear);
    }
}
