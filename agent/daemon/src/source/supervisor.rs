//! Keeps sources running: one task each, tried again for ever, none able to stop another.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use explaind_core::domain::sample::{Quality, Sample, SignalId, SourceEvent, Value};
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::Config;
use super::link::{Ending, Link, Status, Watch};
use crate::backoff::Backoff;
use crate::telemetry::Metrics;

/// First and longest wait before connecting again: recovery within seconds, and no storm on a peer that is gone.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a source may take to say goodbye to its peer once the daemon stops.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a probe waits for every signal to show itself.
const PROBE: Duration = Duration::from_secs(10);
/// Signals that a probe names.
const PROBE_NAMES: usize = 20;

/// The running sources. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources(Vec<Watch>);

impl Sources {
    /// How every source fares, in the order of the configuration.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        self.0.iter().map(Watch::status).collect()
    }
}

/// Starts one task per source. They run until `stop`; their events go to `events`, and wait there when it is full.
pub(crate) fn spawn(
    configs: Vec<Config>,
    events: mpsc::Sender<SourceEvent>,
    metrics: Metrics,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Sources {
    let mut watches = Vec::with_capacity(configs.len());
    for config in configs {
        let link = Link::new(&config.name, events.clone(), metrics.clone(), stop.clone());
        watches.push(link.watch());
        tracker.spawn(supervise(config, link));
    }
    Sources(watches)
}

async fn supervise(config: Config, link: Link) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        link.begin();
        // A panic is a fault of ours or of a library; it must not take the other sources with it.
        let run = AssertUnwindSafe(config.kind.run(&link)).catch_unwind();
        let ended = tokio::select! {
            ended = run => ended,
            () = late(&link) => return,
        };
        match ended {
            Ok(Ok(())) => {
                info!(source = link.name(), "the source is at its end");
                link.finished();
                return;
            }
            Ok(Err(Ending::Stopped)) => return,
            Ok(Err(Ending::Lost(reason))) => link.down(&reason),
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                error!(source = link.name(), message, "the source failed from within; please report this");
                link.down(&format!("failed from within: {message}; please report this"));
            }
        }
        if link.flowed() {
            backoff.reset();
        }
        tokio::select! {
            () = link.stopped() => return,
            () = sleep(backoff.next()) => {}
        }
    }
}

/// Resolves when the daemon stops and the source's time to say goodbye is over.
async fn late(link: &Link) {
    link.stopped().await;
    sleep(GOODBYE).await;
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic")
}

/// Connects once, for at most ten seconds, and says in one sentence what was found.
///
/// # Errors
/// A sentence that says why there is no connection.
pub(crate) async fn probe(config: &Config) -> Result<String, String> {
    let (events, mut arrived) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let link = Link::new(&config.name, events, Metrics::new(), stop.clone());
    let expected = config.signals();
    let mut seen = BTreeMap::new();
    link.begin();
    let mut run = Box::pin(config.kind.run(&link));
    let deadline = sleep(PROBE);
    tokio::pin!(deadline);
    let ended = loop {
        tokio::select! {
            biased;
            Some(event) = arrived.recv() => {
                note(event, &mut seen);
                if expected.iter().all(|signal| seen.contains_key(&signal.id)) {
                    break None;
                }
            }
            ended = &mut run => break Some(ended),
            () = &mut deadline => break None,
        }
    };
    // A source can send its last and end in one go.
    while let Ok(event) = arrived.try_recv() {
        note(event, &mut seen);
    }
    let (watch, running) = (link.watch(), ended.is_none());
    if running {
        stop.cancel();
        // Whether the goodbye worked or not, the probe has its answer.
        let _ = timeout(GOODBYE, run).await;
    }
    match ended {
        Some(Err(Ending::Lost(reason))) => Err(reason),
        _ if !watch.connected() && seen.is_empty() => {
            Err(watch.status().error.unwrap_or_else(|| "no answer within 10 s".to_owned()))
        }
        _ => Ok(describe(&expected.into_iter().map(|signal| signal.id).collect::<Vec<_>>(), &seen, &watch.status())),
    }
}

fn note(event: SourceEvent, seen: &mut BTreeMap<SignalId, Sample>) {
    if let SourceEvent::Samples(samples) = event {
        seen.extend(samples.into_iter().map(|sample| (sample.signal.clone(), sample)));
    }
}

fn describe(expected: &[SignalId], seen: &BTreeMap<SignalId, Sample>, status: &Status) -> String {
    let arrived = expected.iter().filter(|id| seen.contains_key(id)).count();
    let mut values: Vec<_> = expected
        .iter()
        .take(PROBE_NAMES)
        .map(|id| {
            let name = id.as_str().split_once('/').map_or(id.as_str(), |(_, signal)| signal);
            match seen.get(id) {
                None => format!("{name}: nothing yet"),
                Some(Sample { quality: Quality::Bad, status, .. }) => format!("{name}: bad (0x{status:08X})"),
                Some(Sample { value: Value::Number(number), .. }) => format!("{name} = {number}"),
                Some(Sample { value: Value::Text(text), .. }) => format!("{name} = \"{text}\""),
            }
        })
        .collect();
    if expected.len() > PROBE_NAMES {
        values.push(format!("and {} more", expected.len() - PROBE_NAMES));
    }
    let trouble = status.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("connected; {arrived} of {} signals arrived: {}{trouble}", expected.len(), values.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn replay(name: &str, file: &Path) -> Config {
        let toml = format!("name='{name}'\ntype='replay'\ninterval='1ms'\npath='{}'", file.display());
        Config::parse(toml.parse().unwrap(), Path::new("/")).unwrap()
    }

    #[tokio::test]
    async fn a_dead_source_stops_no_other_and_comes_back_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (good, late) = (folder.path().join("good.csv"), folder.path().join("late.csv"));
        std::fs::write(&good, "a\n1\n").unwrap();
        let (events, mut arrived) = mpsc::channel(4);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let configs = vec![replay("late", &late), replay("good", &good)];
        let sources = spawn(configs, events, Metrics::new(), &tracker, stop.clone());

        let Some(SourceEvent::Samples(samples)) = arrived.recv().await else { panic!("no sample") };
        assert_eq!(samples[0].signal.as_str(), "good/a");
        let statuses = sources.statuses();
        assert!(!statuses[0].up && statuses[0].error.as_ref().unwrap().contains("late.csv does not exist"));

        std::fs::write(&late, "b\n2\n").unwrap();
        let Some(SourceEvent::Samples(samples)) = arrived.recv().await else { panic!("no sample") };
        assert_eq!(samples[0].signal.as_str(), "late/b");

        tracker.close();
        tracker.wait().await;
        for status in sources.statuses() {
            assert!(status.finished && !status.up && status.error.is_none(), "{status:?}");
        }
        assert!(!stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_stopped_daemon_ends_a_source_in_its_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (events, _arrived) = mpsc::channel(1);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let configs = vec![replay("none", &folder.path().join("none.csv"))];
        let _sources = spawn(configs, events, Metrics::new(), &tracker, stop.clone());
        stop.cancel();
        tracker.close();
        timeout(Duration::from_secs(1), tracker.wait()).await.unwrap();
    }

    #[tokio::test]
    async fn a_probe_says_what_it_found_or_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        let error = probe(&replay("r", &file)).await.unwrap_err();
        assert!(error.contains("does not exist"), "{error}");
        std::fs::write(&file, "torque,type,wear\n42.8,M,\n").unwrap();
        let found = probe(&replay("r", &file)).await.unwrap();
        let expected = "connected; 3 of 3 signals arrived: torque = 42.8, type = \"M\", wear: bad (0x809B0000)";
        assert_eq!(found, expected);
    }
}
