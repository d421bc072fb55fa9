//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with full jitter: each failure doubles the ceiling, the wait is drawn below it, so that a
/// plant's gateways do not all come back in the same second. Source: M. Brooker, "Exponential Backoff and Jitter", 2015.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits of up to `first` after one failure, and never more than `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// It worked: the next failure starts from the bottom again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: between a quarter of the ceiling and the ceiling.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(0.25 + 0.75 * fraction())
    }
}

/// A random number in [0, 1]. Without randomness the longest wait is the safe one.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_start_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for failure in 0..100u32 {
            let ceiling = Duration::from_millis(100 * (1 << failure.min(10))).min(Duration::from_secs(2));
            let wait = backoff.next();
            assert!(wait <= ceiling && wait >= ceiling / 4, "failure {failure}: {wait:?} of {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
