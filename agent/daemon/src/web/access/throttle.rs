//! Slows down those who guess.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use explaind_core::domain::time::Now;

/// Buckets in a table. Two keys that share one slow each other down; which do cannot be foreseen from outside.
const BUCKETS: usize = 4096;

/// Token buckets in memory of a fixed size.
///
/// A map by key would have to forget under a flood of invented names, and forgetting is what an attacker wants. Here
/// every key has its bucket by a hash with a secret of this process, so nothing is ever forgotten early.
pub(crate) struct Throttle {
    buckets: Mutex<Box<[Bucket]>>,
    place: RandomState,
    burst: f64,
    /// Time after which one try comes back.
    refill: Duration,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Throttle {
    /// Lets `burst` tries through at once, then one per `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        let full = Bucket { tokens: f64::from(burst), at: Duration::ZERO };
        Self {
            buckets: Mutex::new(vec![full; BUCKETS].into_boxed_slice()),
            place: RandomState::new(),
            burst: f64::from(burst),
            refill,
        }
    }

    /// Takes one try for this key, or says how long to wait for the next.
    pub(crate) fn take(&self, key: impl Hash, now: Now) -> Result<(), Duration> {
        self.with(key, |bucket| {
            let gained = now.monotonic.saturating_sub(bucket.at).as_secs_f64() / self.refill.as_secs_f64();
            *bucket = Bucket { tokens: (bucket.tokens + gained).min(self.burst), at: now.monotonic };
            if bucket.tokens >= 1.0 {
                bucket.tokens -= 1.0;
                Ok(())
            } else {
                Err(self.refill.mul_f64(1.0 - bucket.tokens))
            }
        })
    }

    /// The try was a good one: it is not counted.
    pub(crate) fn give_back(&self, key: impl Hash) {
        self.with(key, |bucket| bucket.tokens = (bucket.tokens + 1.0).min(self.burst));
    }

    fn with<T>(&self, key: impl Hash, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = self.place.hash_one(key);
        let place = usize::try_from(hash % buckets.len() as u64).unwrap_or(0);
        change(&mut buckets[place])
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
    fn a_burst_passes_then_one_per_refill() {
        let throttle = Throttle::new(3, Duration::from_secs(10));
        for _ in 0..3 {
            assert_eq!(throttle.take("a", at(100)), Ok(()));
        }
        let wait = throttle.take("a", at(100)).unwrap_err();
        assert!(wait > Duration::from_secs(9) && wait <= Duration::from_secs(10), "{wait:?}");
        assert!(throttle.take("a", at(105)).is_err());
        assert_eq!(throttle.take("a", at(111)), Ok(()));
        assert!(throttle.take("a", at(111)).is_err());
    }

    #[test]
    fn good_tries_are_not_counted() {
        let throttle = Throttle::new(2, Duration::from_secs(10));
        for _ in 0..50 {
            assert_eq!(throttle.take("a", at(100)), Ok(()));
            throttle.give_back("a");
        }
    }

    #[test]
    fn a_flood_of_names_frees_nobody() {
        let throttle = Throttle::new(1, Duration::from_secs(1000));
        assert_eq!(throttle.take("victim", at(100)), Ok(()));
        for name in 0..100_000u32 {
            let _ = throttle.take(name, at(100));
        }
        assert!(throttle.take("victim", at(100)).is_err());
    }
}
