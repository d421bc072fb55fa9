//! What a source holds of the daemon: the way to the driver, its own status, and the order to stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use explaind_core::domain::sample::{Quality, Sample, SourceEvent};
use explaind_core::domain::time::{Now, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::telemetry::Metrics;

/// The troubles of one signal are logged no more often than this; the status always shows them.
const QUIET: Duration = Duration::from_secs(60);
/// Reasons why a source is down are logged no more often than this, unless data flowed in between.
const QUIET_DOWN: Duration = Duration::from_secs(10);
/// Troubles named in a status; the rest is counted.
const NAMED: usize = 3;

/// How a source fares, as people see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    /// The source's name.
    pub(crate) name: Arc<str>,
    /// Data flows. A connection over which nothing arrives is not up.
    pub(crate) up: bool,
    /// It came to its end as configured (a file that was replayed): not up, and no error.
    pub(crate) finished: bool,
    /// When the newest sample arrived.
    pub(crate) last_sample_at: Option<Timestamp>,
    /// Why it is down; or, while it is up, what is wrong with single signals.
    pub(crate) error: Option<String>,
}

/// Why a source's connection ended before its source was exhausted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    /// The daemon stops.
    #[error("stopped")]
    Stopped,
    /// The connection failed; the reason is a sentence for the status page.
    #[error("{0}")]
    Lost(String),
}

impl From<String> for Ending {
    fn from(reason: String) -> Self {
        Self::Lost(reason)
    }
}

#[derive(Default)]
struct State {
    up: bool,
    connected: bool,
    finished: bool,
    /// Whether data flowed since the present connection began.
    flowed: bool,
    last_sample_at: Option<Timestamp>,
    reason: Option<String>,
    troubles: BTreeMap<String, String>,
    warned: BTreeMap<String, Instant>,
    /// The reason last logged, and when.
    logged: Option<(String, Instant)>,
}

/// One source's side of the daemon.
///
/// When the driver's channel is full the source waits: back-pressure goes on to the peer, and nothing is dropped here.
pub(super) struct Link {
    name: Arc<str>,
    events: mpsc::Sender<SourceEvent>,
    metrics: Metrics,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

/// Reads a source's status from anywhere.
#[derive(Clone)]
pub(super) struct Watch {
    name: Arc<str>,
    state: Arc<Mutex<State>>,
}

impl Link {
    pub(super) fn new(
        name: &str,
        events: mpsc::Sender<SourceEvent>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        metrics.source_up(name, false);
        let state = State { reason: Some("not connected yet".to_owned()), ..State::default() };
        Self { name: name.into(), events, metrics, state: Arc::new(Mutex::new(state)), stop }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn watch(&self) -> Watch {
        Watch { name: Arc::clone(&self.name), state: Arc::clone(&self.state) }
    }

    /// Resolves when the daemon stops.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Hands over samples that arrived together, waiting for the driver as long as it takes.
    pub(super) async fn samples(&self, samples: Vec<Sample>) -> Result<(), Ending> {
        let Some(newest) = samples.iter().map(|sample| sample.arrival.utc).max() else { return Ok(()) };
        let counts = [Quality::Good, Quality::Uncertain, Quality::Bad]
            .map(|quality| (quality, samples.iter().filter(|sample| sample.quality == quality).count()));
        self.send(SourceEvent::Samples(samples)).await?;
        for (quality, count) in counts {
            if let (1.., Ok(count)) = (count, u64::try_from(count)) {
                self.metrics.samples(&self.name, quality.as_str(), count);
            }
        }
        self.state().last_sample_at = Some(newest);
        Ok(())
    }

    /// Vouches for every value delivered since `connected`.
    pub(super) async fn alive(&self, connected: Now) -> Result<(), Ending> {
        self.send(SourceEvent::Alive { source: Arc::clone(&self.name), connected, at: clock::now() }).await
    }

    async fn send(&self, event: SourceEvent) -> Result<(), Ending> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ending::Stopped),
            // No driver any more: the daemon is on its way down.
            sent = self.events.send(event) => sent.map_err(|_| Ending::Stopped),
        }
    }

    /// A new attempt to connect begins. The reason of the last failure stays to be seen until data flows.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.flowed = false;
        state.connected = false;
        state.troubles.clear();
    }

    /// The peer answers, but no data has come yet: `reason` says what is waited for.
    pub(super) fn waiting(&self, reason: &str) {
        let mut state = self.state();
        state.connected = true;
        if !state.up {
            state.reason = Some(reason.to_owned());
        }
    }

    /// Data flows.
    pub(super) fn up(&self) {
        let mut state = self.state();
        state.connected = true;
        state.flowed = true;
        state.reason = None;
        if !std::mem::replace(&mut state.up, true) {
            self.metrics.source_up(&self.name, true);
            info!(source = &*self.name, "data flows");
        }
    }

    /// Data does not flow any more, or not yet.
    pub(super) fn down(&self, reason: &str) {
        let mut state = self.state();
        let was_up = std::mem::replace(&mut state.up, false);
        let repeated = state.logged.as_ref().is_some_and(|(last, at)| last == reason || at.elapsed() < QUIET_DOWN);
        if was_up || !repeated {
            warn!(source = &*self.name, reason, "no data from this source; trying again");
            state.logged = Some((reason.to_owned(), Instant::now()));
        }
        state.reason = Some(reason.to_owned());
        self.metrics.source_up(&self.name, false);
    }

    /// The source is at its end, as configured.
    pub(super) fn finished(&self) {
        let mut state = self.state();
        state.up = false;
        state.finished = true;
        state.reason = None;
        self.metrics.source_up(&self.name, false);
    }

    /// Whether data flowed since the present connection began.
    pub(super) fn flowed(&self) -> bool {
        self.state().flowed
    }

    /// Something is wrong with one signal (or topic, …) while the others go on.
    pub(super) fn trouble(&self, what: &str, fault: &str) {
        let mut state = self.state();
        let changed = state.troubles.insert(what.to_owned(), fault.to_owned()).as_deref() != Some(fault);
        let quiet = state.warned.get(what).is_some_and(|last| last.elapsed() < QUIET);
        if changed && !quiet {
            warn!(source = &*self.name, signal = what, fault, "a signal is not usable");
            state.warned.insert(what.to_owned(), Instant::now());
        }
    }

    /// That signal is well again.
    pub(super) fn fine(&self, what: &str) {
        self.state().troubles.remove(what);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The status now.
    pub(super) fn status(&self) -> Status {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Status {
            name: Arc::clone(&self.name),
            up: state.up,
            finished: state.finished,
            last_sample_at: state.last_sample_at,
            error: state.reason.clone().or_else(|| summary(&state.troubles)),
        }
    }

    /// Whether the peer answered at all, data or not.
    pub(super) fn connected(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).connected
    }
}

fn summary(troubles: &BTreeMap<String, String>) -> Option<String> {
    if troubles.is_empty() {
        return None;
    }
    let named: Vec<_> = troubles.iter().take(NAMED).map(|(what, fault)| format!("{what}: {fault}")).collect();
    let rest = troubles.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    Some(named.join("; ") + &more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_first_troubles_and_counts_the_rest() {
        let (events, _kept) = mpsc::channel(1);
        let link = Link::new("plc", events, Metrics::new(), CancellationToken::new());
        let watch = link.watch();
        assert_eq!(watch.status().error.as_deref(), Some("not connected yet"));
        link.up();
        assert_eq!(watch.status().error, None);
        for signal in ["a", "b", "c", "d", "e"] {
            link.trouble(signal, "unknown");
        }
        let status = watch.status();
        assert!(status.up);
        assert_eq!(status.error.as_deref(), Some("a: unknown; b: unknown; c: unknown; and 2 more"));
        link.down("gone");
        assert_eq!(watch.status().error.as_deref(), Some("gone"));
        assert!(!watch.status().up);
        link.begin();
        link.up();
        assert_eq!(watch.status().error, None, "a new connection starts without the old one's troubles");
    }

    #[tokio::test]
    async fn a_full_channel_makes_the_source_wait_until_it_is_stopped() {
        let (events, mut arrived) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let link = Link::new("plc", events, Metrics::new(), stop.clone());
        link.alive(clock::now()).await.unwrap();
        let mut second = Box::pin(link.alive(clock::now()));
        assert!(futures::poll!(&mut second).is_pending());
        arrived.recv().await.unwrap();
        second.await.unwrap();
        stop.cancel();
        assert!(matches!(link.alive(clock::now()).await, Err(Ending::Stopped)));
    }
}
