//! How many records whoever likes may cause: of each kind a few from one address, and not many in all.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use explaind_core::domain::time::Now;

use crate::web::access::Throttle;

/// Of one kind, from one address: so many at once, then one in so much time.
const EACH: (u32, Duration) = (5, Duration::from_secs(600));
/// Of one kind, from everywhere: two thousand in a week, some hundred kilobytes.
const ALL: (u32, Duration) = (20, Duration::from_secs(300));
/// Pulls of one stream by one account.
const PULLS: (u32, Duration) = (1, Duration::from_secs(3600));
/// After this much time without a record, what was left out is said by itself.
const OVERDUE: Duration = Duration::from_secs(60);

/// What is put on record within a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A sign-in that was refused.
    SignIn,
    /// A token that no account has.
    Token,
    /// Somebody known asked for what their role does not allow, or a user on the socket who is nobody here.
    Role,
    /// A change without the secret of its sign-in.
    Secret,
    /// A change that a page of another site asked for, a foreign host name, a proxy where none may be.
    Origin,
    /// Records that were handed out: no refusal, and as frequent as the collector likes.
    Pull,
}

impl Kind {
    /// What it is called in the audit.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Token => "token",
            Self::Role | Self::Secret | Self::Origin => "request",
            Self::Pull => "pull",
        }
    }
}

/// The rate, in memory of a fixed size.
pub(crate) struct Rate {
    each: Throttle,
    all: Throttle,
    pulls: Throttle,
    left_out: Mutex<BTreeMap<Kind, LeftOut>>,
}

#[derive(Debug, Clone, Copy)]
struct LeftOut {
    count: u64,
    since: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        let throttle = |(burst, refill)| Throttle::new(burst, refill);
        Self { each: throttle(EACH), all: throttle(ALL), pulls: throttle(PULLS), left_out: Mutex::default() }
    }
}

impl Rate {
    /// Whether one more goes on record; how many of its kind were left out before it.
    pub(crate) fn take(&self, kind: Kind, who: impl Hash, now: Now) -> Option<u64> {
        let each = if kind == Kind::Pull { &self.pulls } else { &self.each };
        let granted = each.take((kind, &who), now).is_ok();
        let granted = granted && self.all.take(kind, now).is_ok();
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if granted {
            return Some(left_out.remove(&kind).map_or(0, |left_out| left_out.count));
        }
        let known = left_out.entry(kind).or_insert(LeftOut { count: 0, since: now.monotonic });
        known.count = known.count.saturating_add(1);
        None
    }

    /// What was left out and is to be said now: a record of each is to be made.
    pub(crate) fn overdue(&self, now: Now) -> Vec<(Kind, u64)> {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = |left_out: &LeftOut| now.monotonic.saturating_sub(left_out.since) >= OVERDUE;
        // Pulls come again by themselves, and nobody is kept from anything.
        let due: Vec<Kind> = left_out
            .iter()
            .filter(|(kind, left_out)| **kind != Kind::Pull && waited(left_out))
            .filter(|(kind, _)| self.all.take(**kind, now).is_ok())
            .map(|(kind, _)| *kind)
            .collect();
        due.into_iter().filter_map(|kind| left_out.remove(&kind).map(|left_out| (kind, left_out.count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::time::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_secs(seconds) }
    }

    #[test]
    fn one_address_is_soon_left_out_and_others_are_not() {
        let rate = Rate::default();
        let (each, _) = EACH;
        for _ in 0..each {
            assert_eq!(rate.take(Kind::SignIn, "a", at(1)), Some(0));
        }
        for _ in 0..100 {
            assert_eq!(rate.take(Kind::SignIn, "a", at(1)), None);
        }
        assert_eq!(rate.take(Kind::Token, "a", at(1)), Some(0), "another kind counts for itself");
        assert_eq!(rate.take(Kind::SignIn, "b", at(1)), Some(100), "the next one says what was left out");
        assert_eq!(rate.take(Kind::SignIn, "b", at(2)), Some(0));
    }

    #[test]
    fn a_flood_from_everywhere_makes_few_records_and_all_of_it_is_counted() {
        let rate = Rate::default();
        let (mut records, mut counted) = (0_u64, 0);
        let day = 86_400;
        for second in 0..day {
            for address in 0..10 {
                if let Some(left_out) = rate.take(Kind::Origin, (second, address), at(second)) {
                    records += 1;
                    counted += left_out + 1;
                }
            }
            for (kind, left_out) in rate.overdue(at(second)) {
                assert_eq!(kind, Kind::Origin);
                records += 1;
                counted += left_out;
            }
        }
        assert!(records <= u64::from(ALL.0) + day / ALL.1.as_secs() + 1, "{records}");
        let rest: u64 = rate.overdue(at(2 * day)).into_iter().map(|(_, left_out)| left_out).sum();
        assert_eq!(counted + rest, 10 * day);
        assert_eq!(rate.overdue(at(3 * day)), []);
    }

    #[test]
    fn what_was_left_out_is_said_also_when_nothing_more_comes() {
        let rate = Rate::default();
        while rate.take(Kind::Role, 1, at(10)).is_some() {}
        assert_eq!(rate.overdue(at(11)), []);
        assert_eq!(rate.overdue(at(70)), [(Kind::Role, 1)]);
        assert_eq!(rate.take(Kind::Pull, ("central", "alerts"), at(70)), Some(0));
        assert_eq!(rate.take(Kind::Pull, ("central", "alerts"), at(71)), None);
        assert_eq!(rate.take(Kind::Pull, ("central", "feedback"), at(71)), Some(1));
        assert_eq!(rate.overdue(at(1000)), []);
        assert_eq!(rate.take(Kind::Pull, ("central", "alerts"), at(4000)), Some(0));
    }
}
