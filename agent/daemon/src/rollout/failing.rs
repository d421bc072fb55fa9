//! What fails again and again, as on a disk that takes nothing: it is said once, and again when the reason is another, and it is
//! tried less and less often. A log that fills with one sentence hides the others, and loading a bundle each second in vain takes
//! from what the gateway is there for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::state::Seat;
use crate::backoff::Backoff;

/// The first and the longest wait.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    TakingBack(Seat),
    Proving(Seat),
    Promoting,
}

/// What failed lately, of one model.
#[derive(Debug, Default)]
pub(super) struct Failing(BTreeMap<Deed, Failure>);

#[derive(Debug)]
struct Failure {
    reason: String,
    backoff: Backoff,
    until: Instant,
}

impl Failing {
    /// Whether it is time to try it.
    pub(super) fn is_due(&self, deed: Deed, now: Instant) -> bool {
        self.0.get(&deed).is_none_or(|failure| now >= failure.until)
    }

    /// It failed. Returns whether anybody should be told.
    pub(super) fn failed(&mut self, deed: Deed, reason: &str, now: Instant) -> bool {
        let new = || Failure { reason: String::new(), backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT), until: now };
        let failure = self.0.entry(deed).or_insert_with(new);
        failure.until = now + failure.backoff.next();
        let is_news = failure.reason != reason;
        reason.clone_into(&mut failure.reason);
        is_news
    }

    /// It worked, or there is no need for it any more.
    pub(super) fn over(&mut self, deed: Deed) {
        self.0.remove(&deed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_tried_less_and_less_often() {
        let (mut failing, deed, begun) = (Failing::default(), Deed::TakingBack(Seat::Champion), Instant::now());
        let (mut told, mut tries) = (0, 0);
        let mut seconds = |failing: &mut Failing, from: u64, to: u64, reason: &str| {
            for now in (from..to).map(|second| begun + Duration::from_secs(second)) {
                if failing.is_due(deed, now) {
                    tries += 1;
                    told += u32::from(failing.failed(deed, reason, now));
                }
            }
            (told, tries)
        };
        let (told, tries) = seconds(&mut failing, 0, 3_600, "the disk is full");
        assert!(told == 1 && (12..70).contains(&tries), "{told} {tries}");
        assert_eq!(seconds(&mut failing, 3_600, 7_200, "the disk is full").0, 1);
        assert_eq!(seconds(&mut failing, 7_200, 10_800, "the disk is read-only").0, 2);
        assert!(failing.is_due(Deed::Promoting, begun), "others are tried meanwhile");
        let later = begun + Duration::from_secs(10_801);
        failing.over(deed);
        assert!(
            failing.is_due(deed, later) && failing.failed(deed, "the disk is read-only", later),
            "it is a new story"
        );
    }
}
