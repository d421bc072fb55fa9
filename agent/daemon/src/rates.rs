//! How many alarms there are, as the driver tells, and the status and the figures show: see the core's `pipeline::rates`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use explaind_core::domain::alert::AlertTransition;
use explaind_core::domain::record::{Body, Record};
use explaind_core::domain::time::{Moment, Now};
use explaind_core::pipeline::rates::{Figures, Rates};

use crate::telemetry::Metrics;

/// How often the figures are counted anew: they are of minutes and more.
const EVERY: Duration = Duration::from_secs(5);

/// Shared between the driver, who tells, and whoever asks. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct AlarmRates(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    rates: Rates,
    shown: Option<Duration>,
}

impl AlarmRates {
    /// What earlier runs knew: the newest transitions, oldest first, and which alarms hold since when.
    pub(crate) fn remember<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
        holding: impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>, Duration)>,
        here: &Moment,
    ) {
        let mut inner = self.inner();
        for record in records {
            if let Body::Alert(change) = &record.body {
                inner.rates.note(change, here.age(&record.moment()), here.at.monotonic);
            }
        }
        for (asset, model, age) in holding {
            inner.rates.holds(asset, model, age, here.at.monotonic);
        }
    }

    /// This is on disk.
    pub(crate) fn note(&self, change: &AlertTransition, at: Now, now: Now) {
        self.inner().rates.note(change, now.since(at), now.monotonic);
    }

    /// The figures of one machine.
    pub(crate) fn of(&self, asset: &str, now: Now) -> Figures {
        self.inner().rates.of(asset, now.monotonic)
    }

    /// Whether there are more alarms than people can answer.
    pub(crate) fn is_flood(&self, now: Now) -> bool {
        self.inner().rates.is_flood(now.monotonic)
    }

    /// Puts the figures among the metrics, every few seconds.
    pub(crate) fn show(&self, metrics: &Metrics, now: Now) {
        let mut inner = self.inner();
        if inner.shown.is_some_and(|shown| now.monotonic.saturating_sub(shown) < EVERY) {
            return;
        }
        inner.shown = Some(now.monotonic);
        metrics.alarm_flood(inner.rates.is_flood(now.monotonic));
        for asset in inner.rates.machines() {
            let figures = inner.rates.of(&asset, now.monotonic);
            metrics.alarm_rates(&asset, figures.last_hour, figures.chattering, figures.stale);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
