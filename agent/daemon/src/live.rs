//! What every machine's inputs stand at, as the driver last saw them: for the status and the page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use explaind_core::domain::live::LiveAsset;
use explaind_core::domain::time::Now;

/// How often the driver looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shared between the driver, who shows, and whoever asks. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Live(Arc<Mutex<Option<Seen>>>);

/// What was seen when.
struct Seen {
    at: Now,
    assets: Arc<[LiveAsset]>,
}

impl Live {
    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.seen().as_ref().is_none_or(|seen| now.since(seen.at) >= EVERY)
    }

    /// This is what they stand at.
    pub(crate) fn show(&self, at: Now, assets: Vec<LiveAsset>) {
        *self.seen() = Some(Seen { at, assets: assets.into() });
    }

    /// All machines, and how long ago that was; nothing before the driver has looked.
    pub(crate) fn all(&self, now: Now) -> (Arc<[LiveAsset]>, Duration) {
        self.seen().as_ref().map(|seen| (Arc::clone(&seen.assets), now.since(seen.at))).unwrap_or_default()
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::time::Timestamp;

    use super::*;

    #[test]
    fn the_driver_looks_once_a_second_and_others_see_how_old_that_is() {
        let at = |millis| Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_millis(millis) };
        let live = Live::default();
        assert!(live.is_due(at(0)) && live.all(at(0)).0.is_empty());
        live.show(at(100), vec![LiveAsset { id: "press-7".into(), running: Some(true), inputs: Vec::new() }]);
        assert!(!live.is_due(at(1000)) && live.is_due(at(1100)));
        let (assets, age) = live.all(at(600));
        assert_eq!((&*assets[0].id, age), ("press-7", Duration::from_millis(500)));
    }
}
