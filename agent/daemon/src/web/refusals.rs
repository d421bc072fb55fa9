//! Logs what is refused at a bounded rate: the first of a kind in a minute with its address, the others as a number.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// For so long others of the same kind are only counted.
const WHILE: Duration = Duration::from_secs(60);
/// Longest piece of what a client sent that gets into the log.
const LONGEST: usize = 100;

#[derive(Debug)]
struct Window {
    ends: Instant,
    more: u64,
}

/// What was refused lately. Cheap to clone; all clones share it. Kinds are names in the code, so their number is bounded.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<BTreeMap<&'static str, Window>>>);

impl Refusals {
    /// Notes one, and logs it if it is the first of its kind for a while. `what` says what was asked, and why not.
    pub(super) fn note(&self, kind: &'static str, from: IpAddr, what: impl FnOnce() -> String) {
        if self.is_first(kind, Instant::now()) {
            tracing::warn!(%from, kind, "refused on the page's port: {}", what());
        }
    }

    fn is_first(&self, kind: &'static str, now: Instant) -> bool {
        let mut windows = self.lock();
        if let Some(window) = windows.get_mut(kind)
            && window.ends > now
        {
            window.more += 1;
            return false;
        }
        if let Some(Window { more: more @ 1.., .. }) = windows.insert(kind, Window { ends: now + WHILE, more: 0 }) {
            say(kind, more);
        }
        true
    }

    /// Says of each minute that is over how many more there were. Never ends.
    pub(super) async fn tell(&self) {
        loop {
            let now = Instant::now();
            sleep_until(self.over(now).unwrap_or(now + WHILE).max(now + Duration::from_secs(1))).await;
        }
    }

    /// Closes what is over, and says when to look again.
    fn over(&self, now: Instant) -> Option<Instant> {
        let mut windows = self.lock();
        windows.retain(|kind, window| {
            let open = window.ends > now;
            if !open && window.more > 0 {
                say(kind, window.more);
            }
            open
        });
        windows.values().map(|window| window.ends).min()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(kind: &str, more: u64) {
    tracing::warn!(kind, more, "refused on the page's port: {more} more like it in a minute");
}

/// What a client sent, short enough for the log.
pub(super) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).filter(|c| !c.is_control()).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_logged_and_the_others_are_counted() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert!(refusals.is_first("path", now));
        for _ in 0..1000 {
            assert!(!refusals.is_first("path", now + Duration::from_secs(59)));
        }
        assert!(refusals.is_first("host", now + Duration::from_secs(1)), "another kind");
        assert_eq!(refusals.lock()["path"].more, 1000);
        assert_eq!(refusals.over(now + WHILE), Some(now + WHILE + Duration::from_secs(1)));
        assert_eq!(refusals.lock().len(), 1);
        assert!(refusals.is_first("path", now + WHILE));
        assert!(refusals.is_first("path", now + 2 * WHILE), "also when nobody looked in between");
    }

    #[test]
    fn what_a_client_sent_does_not_fill_the_log() {
        assert_eq!(short("/a\r\n\x1b[31mb"), "/a[31mb");
        assert_eq!(short(&"x".repeat(5000)).chars().count(), LONGEST + 1);
    }
}
