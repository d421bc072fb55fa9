//! Logging, and the one list of metric names.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use explaind_core::domain::explanation::Faithfulness;
use explaind_core::domain::prediction::{Outcome, Prediction, Role};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

/// Label sets, as Prometheus names them.
type Labels<const N: usize> = [(&'static str, String); N];

/// Every figure that the daemon shows. Cheap to clone; all clones count together.
#[derive(Clone)]
pub(crate) struct Metrics {
    source_up: Family<Labels<1>, Gauge>,
    samples: Family<Labels<2>, Counter>,
    predictions: Family<Labels<3>, Counter>,
    shadow_predictions: Family<Labels<3>, Counter>,
    inference: Histogram,
    explanation: Histogram,
    faithfulness: Family<Labels<1>, Histogram, fn() -> Histogram>,
    buffer_records: Family<Labels<1>, Gauge>,
    buffer_bytes: Gauge,
    buffer_degraded: Gauge,
    buffer_full: Gauge,
    buffer_written: Family<Labels<1>, Counter>,
    buffer_appended_records: Counter,
    buffer_appended_bytes: Counter,
    disk_written: Counter,
    dropped: Family<Labels<2>, Counter>,
    sync_lag: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    alerts: Family<Labels<2>, Gauge>,
    publish_connected: Family<Labels<1>, Gauge>,
    publish_waiting: Gauge,
    published: Family<Labels<1>, Counter>,
    publish_dropped: Family<Labels<1>, Counter>,
    publish_commands: Family<Labels<1>, Counter>,
    alarms_last_hour: Family<Labels<1>, Gauge>,
    alarms_chattering: Family<Labels<1>, Gauge>,
    alarms_stale: Family<Labels<1>, Gauge>,
    alarm_flood: Gauge,
    alarm_nuisance: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    registry: Arc<Registry>,
}

impl Metrics {
    /// All metrics, at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("explaind");
        let seconds = || Histogram::new([1e-5, 1e-4, 1e-3, 5e-3, 2e-2, 0.1, 0.5, 2.0, 10.0]);
        let mut metrics = Self {
            source_up: Family::default(),
            samples: Family::default(),
            predictions: Family::default(),
            shadow_predictions: Family::default(),
            inference: seconds(),
            explanation: seconds(),
            faithfulness: Family::new_with_constructor(|| {
                Histogram::new((0..=12).map(|tenths| f64::from(tenths) / 10.0))
            }),
            buffer_records: Family::default(),
            buffer_bytes: Gauge::default(),
            buffer_degraded: Gauge::default(),
            buffer_full: Gauge::default(),
            buffer_written: Family::default(),
            buffer_appended_records: Counter::default(),
            buffer_appended_bytes: Counter::default(),
            disk_written: Counter::default(),
            dropped: Family::default(),
            sync_lag: Family::default(),
            alerts: Family::default(),
            publish_connected: Family::default(),
            publish_waiting: Gauge::default(),
            published: Family::default(),
            publish_dropped: Family::default(),
            publish_commands: Family::default(),
            alarms_last_hour: Family::default(),
            alarms_chattering: Family::default(),
            alarms_stale: Family::default(),
            alarm_flood: Gauge::default(),
            alarm_nuisance: Family::default(),
            registry: Arc::default(),
        };
        registry.register("source_up", "Whether data flows from the source", metrics.source_up.clone());
        registry.register("samples", "Samples that arrived", metrics.samples.clone());
        let outcomes = "Predictions made or withheld; fallback: made by a rule that stands in for the model";
        registry.register("predictions", outcomes, metrics.predictions.clone());
        let shadows = "Predictions of challengers, which nobody is shown";
        registry.register("shadow_predictions", shadows, metrics.shadow_predictions.clone());
        registry.register(
            "inference_seconds",
            "Time of one prediction: input checked, model run, decided",
            metrics.inference.clone(),
        );
        registry.register("explanation_seconds", "Time of one explanation", metrics.explanation.clone());
        registry.register(
            "explanation_faithfulness",
            "Of explanations scored: how far deleting features moves the output back, on average over the deletions, in the \
             order of the attributions and in random order (1 is all the way)",
            metrics.faithfulness.clone(),
        );
        registry.register("buffer_records", "Records kept", metrics.buffer_records.clone());
        registry.register("buffer_bytes", "Bytes that the buffer takes on disk", metrics.buffer_bytes.clone());
        registry.register(
            "buffer_degraded",
            "Whether the store takes no writes: predictions are refused, the journal goes on",
            metrics.buffer_degraded.clone(),
        );
        registry.register(
            "buffer_full",
            "Whether predictions are refused since nothing of what is kept may go",
            metrics.buffer_full.clone(),
        );
        registry.register(
            "buffer_dropped_records",
            "Records refused, or evicted: unsent those that were never uploaded, space and age the others",
            metrics.dropped.clone(),
        );
        registry.register(
            "buffer_written_bytes",
            "Bytes that the buffer handed to its store, journal, outbox and side files",
            metrics.buffer_written.clone(),
        );
        registry.register("buffer_appended_records", "Records taken", metrics.buffer_appended_records.clone());
        registry.register(
            "buffer_appended_bytes",
            "Bytes of the records taken, with their explanations",
            metrics.buffer_appended_bytes.clone(),
        );
        registry.register(
            "disk_written_bytes",
            "Bytes that the kernel wrote to disks for the whole process",
            metrics.disk_written.clone(),
        );
        registry.register("sync_lag_seconds", "Age of the oldest record not uploaded", metrics.sync_lag.clone());
        registry.register("alerts", "Open alerts", metrics.alerts.clone());
        metrics.register_publish(&mut registry);
        let last_hour = "Alarms raised within the last hour and shown";
        registry.register("alarms_last_hour", last_hour, metrics.alarms_last_hour.clone());
        let chattering = "Alarms that were raised three times within a minute";
        registry.register("alarms_chattering", chattering, metrics.alarms_chattering.clone());
        registry.register("alarms_stale", "Alarms that have held for a day", metrics.alarms_stale.clone());
        let flood = "Whether more than ten alarms were raised within ten minutes, and not fewer than five since";
        registry.register("alarm_flood", flood, metrics.alarm_flood.clone());
        let nuisance = "Of the alerts that people judged right or false, the part that is false";
        registry.register("alarm_nuisance_share", nuisance, metrics.alarm_nuisance.clone());
        metrics.registry = Arc::new(registry);
        metrics
    }

    fn register_publish(&self, registry: &mut Registry) {
        registry.register(
            "publish_connected",
            "Whether the broker that results go to is connected",
            self.publish_connected.clone(),
        );
        registry.register("publish_waiting", "Messages that wait for the broker", self.publish_waiting.clone());
        registry.register(
            "publish_messages",
            "Messages that the broker acknowledged: status, alert, prediction",
            self.published.clone(),
        );
        registry.register(
            "publish_dropped_messages",
            "Not told to the broker: full, too many predictions waited; stopped, no time was left; behind, announcements \
             that went by too quickly",
            self.publish_dropped.clone(),
        );
        registry.register(
            "publish_commands",
            "Acknowledgements from the broker, by what became of them",
            self.publish_commands.clone(),
        );
    }

    /// Whether data flows from a source.
    pub(crate) fn source_up(&self, source: &str, up: bool) {
        self.source_up.get_or_create(&[("source", source.to_owned())]).set(up.into());
    }

    /// Samples of one quality arrived.
    pub(crate) fn samples(&self, source: &str, quality: &str, count: u64) {
        let labels = [("source", source.to_owned()), ("quality", quality.to_owned())];
        self.samples.get_or_create(&labels).inc_by(count);
    }

    /// A prediction was made or withheld.
    pub(crate) fn prediction(&self, made: &Prediction) {
        let outcome = match (&made.outcome, made.role) {
            (Outcome::Predicted(_), Role::Fallback) => "fallback",
            (Outcome::Predicted(_), Role::Champion | Role::Shadow) => "predicted",
            (Outcome::Withheld(_), _) => "withheld",
        };
        let family = if made.role == Role::Shadow { &self.shadow_predictions } else { &self.predictions };
        let labels =
            [("asset", made.asset.to_string()), ("model", made.model.to_string()), ("outcome", outcome.to_owned())];
        family.get_or_create(&labels).inc();
    }

    /// A model ran for so long.
    pub(crate) fn inference(&self, seconds: f64) {
        self.inference.observe(seconds);
    }

    /// An explanation took so long.
    pub(crate) fn explanation(&self, seconds: f64) {
        self.explanation.observe(seconds);
    }

    /// An explanation was scored.
    pub(crate) fn faithfulness(&self, found: Faithfulness) {
        for (order, score) in [("attributions", found.deletion), ("random", found.random)] {
            self.faithfulness.get_or_create(&[("order", order.to_owned())]).observe(score);
        }
    }

    /// Records kept in a stream.
    pub(crate) fn buffer_records(&self, stream: &str, records: u64) {
        self.buffer_records
            .get_or_create(&[("stream", stream.to_owned())])
            .set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Bytes that the buffer takes on disk.
    pub(crate) fn buffer_bytes(&self, bytes: u64) {
        self.buffer_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Whether the store takes no writes.
    pub(crate) fn buffer_degraded(&self, degraded: bool) {
        self.buffer_degraded.set(degraded.into());
    }

    /// Whether predictions are refused since nothing of what is kept may go.
    pub(crate) fn buffer_full(&self, full: bool) {
        self.buffer_full.set(full.into());
    }

    /// Bytes that one part of the buffer has written since the start.
    pub(crate) fn buffer_written(&self, part: &str, bytes: u64) {
        let counter = self.buffer_written.get_or_create_owned(&[("part", part.to_owned())]);
        counter.inner().store(bytes, Ordering::Relaxed);
    }

    /// Records taken since the start, and their bytes.
    pub(crate) fn buffer_appended(&self, records: u64, bytes: u64) {
        self.buffer_appended_records.inner().store(records, Ordering::Relaxed);
        self.buffer_appended_bytes.inner().store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the kernel has written to disks for this process since its start.
    pub(crate) fn disk_written(&self, bytes: u64) {
        self.disk_written.inner().store(bytes, Ordering::Relaxed);
    }

    /// Records were evicted or refused.
    pub(crate) fn dropped(&self, stream: &str, reason: &str, count: u64) {
        let labels = [("stream", stream.to_owned()), ("reason", reason.to_owned())];
        self.dropped.get_or_create(&labels).inc_by(count);
    }

    /// Age of the oldest record of a stream that is not uploaded; zero when all are.
    pub(crate) fn sync_lag(&self, stream: &str, seconds: f64) {
        self.sync_lag.get_or_create(&[("stream", stream.to_owned())]).set(seconds);
    }

    /// Open alerts of one state and priority.
    pub(crate) fn alerts(&self, state: &str, priority: &str, count: usize) {
        let labels = [("state", state.to_owned()), ("priority", priority.to_owned())];
        self.alerts.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether the broker that results go to is connected.
    pub(crate) fn publish_connected(&self, broker: &str, connected: bool) {
        self.publish_connected.get_or_create(&[("broker", broker.to_owned())]).set(connected.into());
    }

    /// Messages that wait for the broker.
    pub(crate) fn publish_waiting(&self, count: usize) {
        self.publish_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The broker acknowledged a message of this kind.
    pub(crate) fn published(&self, kind: &str) {
        self.published.get_or_create(&[("kind", kind.to_owned())]).inc();
    }

    /// Messages were given up.
    pub(crate) fn publish_dropped(&self, reason: &str, count: u64) {
        self.publish_dropped.get_or_create(&[("reason", reason.to_owned())]).inc_by(count);
    }

    /// What became of an acknowledgement from the broker.
    pub(crate) fn publish_command(&self, outcome: &str) {
        self.publish_commands.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// How many alarms one machine has.
    pub(crate) fn alarm_rates(&self, asset: &str, last_hour: u64, chattering: usize, stale: usize) {
        let labels = [("asset", asset.to_owned())];
        self.alarms_last_hour.get_or_create(&labels).set(i64::try_from(last_hour).unwrap_or(i64::MAX));
        self.alarms_chattering.get_or_create(&labels).set(i64::try_from(chattering).unwrap_or(i64::MAX));
        self.alarms_stale.get_or_create(&labels).set(i64::try_from(stale).unwrap_or(i64::MAX));
    }

    /// Whether there are more alarms than people can answer.
    pub(crate) fn alarm_flood(&self, is: bool) {
        self.alarm_flood.set(is.into());
    }

    /// Which part of a machine's alerts people said was false.
    pub(crate) fn alarm_nuisance(&self, asset: &str, share: f64) {
        self.alarm_nuisance.get_or_create(&[("asset", asset.to_owned())]).set(share);
    }

    /// The Prometheus text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# the metrics could not be written");
        }
        text
    }
}

/// Sends log lines to standard error. `EXPLAIND_LOG` filters them as `RUST_LOG` would (default `info`);
/// `json` is for log collectors.
pub(crate) fn init_logging(json: bool) {
    // The OPC UA stack and sled report as errors what our supervisors handle and log themselves.
    let filter = EnvFilter::try_from_env("EXPLAIND_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,opcua=off,sled=warn,tract=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let installed = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
    // A second call (tests) keeps the first subscriber.
    let _ = installed;
}

/// Makes of every panic one line of the log, where one is kept, instead of a backtrace on standard error: libraries
/// panic on damaged files, and whoever catches that says what follows from it.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no reason given");
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or_default(), place, message, "panicked");
    }));
}
