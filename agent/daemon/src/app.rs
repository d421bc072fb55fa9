//! From settings to parts: loads, checks that all fits, joins by channels, spawns, waits, drains.

mod alarms;
mod bundles;
mod changed;
mod page;
mod results;
mod service;
mod status;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::record::{Body, Stream};
use explaind_core::domain::sample::SourceEvent;
use explaind_core::model::Model;
use explaind_core::pipeline::{Follows, Made, Pipeline};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::bundles::{check, load};
pub(crate) use self::page::describe as describe_page;
use crate::buffer::{Buffer, BufferError, Machine, SessionInfo, unheard_of};
use crate::change::changes;
use crate::condition::Board;
use crate::config::{ConfigError, Settings};
use crate::driver::{Driver, Explanations, Gathered, LastPredictions, Progress};
use crate::explainer::{self, Prepared, Queue};
use crate::live::Live;
use crate::mailbox::mailbox;
use crate::pace::{Host, Paces};
use crate::question::Questions;
use crate::rates::AlarmRates;
use crate::registry::Registry;
use crate::rollout::Rollout;
use crate::telemetry::Metrics;
use crate::vitals::Vitals;
use crate::web::Tls;
use crate::{clock, lookout, rollout, source, sync, timekeeper};

/// Events between sources and driver. Full: sources wait, so nothing is dropped unseen.
const EVENTS: usize = 1024;
/// How many of an earlier run's newest predictions are looked through for each asset's last one.
const LOOKED_AT: usize = 1000;
/// How long a new gateway waits for the registry to say whether it is new.
const ASKING: Duration = Duration::from_secs(10);
/// How long stopping may take, part by part, before the process goes anyway.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the daemon could not start or go on.
#[derive(Debug)]
pub(crate) enum AppError {
    /// The configuration does not hold together.
    Config(ConfigError),
    /// A bundle is not what it should be.
    Bundle {
        /// The bundle's folder.
        folder: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The store is not to be had.
    Buffer(BufferError),
    /// The operating system refused.
    Io {
        /// What was tried.
        doing: String,
        /// What it said.
        error: io::Error,
    },
    /// A part ended that must not.
    Died(&'static str),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Bundle { folder, message } => write!(f, "bundle {}: {message}", folder.display()),
            Self::Buffer(error) => error.fmt(f),
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Died(part) => write!(f, "the {part} ended unexpectedly; the log says why"),
        }
    }
}

impl From<ConfigError> for AppError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> AppError {
    move |error| AppError::Io { doing: doing.into(), error }
}

impl Explanations for Queue {
    fn request(&self, made: Vec<Made>) {
        Queue::request(self, made);
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When it cannot start, or when a part that must live has died.
pub(crate) fn run(settings: Settings) -> Result<(), AppError> {
    // What the configuration names must be right; what the registry offers is judged while it runs.
    let local = bundles::local(&settings)?;
    let state_dir = settings.gateway.state_dir.clone();
    std::fs::create_dir_all(&state_dir)
        .map_err(io(format!("creating {} ([gateway] state_dir)", state_dir.display())))?;
    let tls = page::tls(&settings)?;

    let metrics = Metrics::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(io("starting the runtime"))?;
    let store = state_dir.join("buffer");
    let boot_id = clock::boot_id();
    let session = SessionInfo {
        gateway: settings.gateway.id.as_str().into(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        config_digest: settings.digest.as_str().into(),
        boot_id,
        machine: Machine::here(),
        first: runtime.block_on(first_number(&settings, &store)),
    };
    let now = clock::now();
    let opening = service::opening();
    let buffer = Buffer::open(&store, &settings.buffer, session, now, metrics.clone()).map_err(AppError::Buffer)?;
    drop(opening);
    changed::note(&buffer, &settings.digest, now);
    let asked = |config: &rollout::Config| bundles::demands(&settings, config);
    let opened = rollout::open(&settings.gateway.id, &state_dir, &settings.models, &settings.following, &local, &asked)
        .map_err(|message| AppError::Bundle { folder: state_dir.join("models"), message })?;
    let plans = settings.assets.iter().map(|asset| (bundles::plan(asset), opened.champion_of(&asset.id))).collect();
    let here = alarms::here(&buffer, boot_id, now);
    let (known, rates) = (alarms::remembered(&buffer, &here), alarms::rates(&buffer, &here));
    let (mut pipeline, follows) = Pipeline::new(plans, known, now, &mut || clock::mint(now));
    pipeline = pipeline.timed_by(clock::worked);
    for asset in &settings.assets {
        pipeline.shadow(&asset.id, opened.challenger_of(&asset.id));
    }
    pipeline.stop(opened.stops());

    let result = runtime.block_on(live(settings, opened, buffer, (pipeline, follows, rates), (metrics, tls)));
    runtime.shutdown_timeout(DRAIN);
    result
}

/// Where the numbers of a store begin that knows of none before it: at 1 for a gateway that is new, and far above
/// whatever was given out under its name when central has heard of it.
///
/// A registry that does not answer is no reason for odd numbers: most gateways that start without one are new, and sync
/// compares numbers before it sends anything there.
async fn first_number(settings: &Settings, store: &Path) -> u64 {
    if !Buffer::is_new(store) {
        return unheard_of(clock::now());
    }
    let Some(config) = &settings.registry else { return 1 };
    match timeout(ASKING, Registry::new(config).knows(&settings.gateway.id)).await {
        Ok(Ok(true)) => {
            tracing::warn!(
                "the registry knows a gateway of this name: numbers begin above all that it may have given out"
            );
            unheard_of(clock::now())
        }
        Ok(Ok(false)) => 1,
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("the registry does not say whether it knows a gateway of this name; numbers begin at 1");
            1
        }
    }
}

/// Spawns every part, waits for the signal to stop or the death of a part, and drains.
async fn live(
    settings: Settings,
    opened: rollout::Opened,
    buffer: Buffer,
    (pipeline, follows, rates): (Pipeline, Follows, AlarmRates),
    (metrics, tls): (Metrics, Option<Tls>),
) -> Result<(), AppError> {
    let (events, events_in) = mpsc::channel(EVENTS);
    let (mail, letters) = mailbox();
    let (changes, orders) = changes();
    let (desk, at_desk) = mailbox();
    let vitals = Vitals::default();
    let progress = Progress::default();
    let (last, seen) = (last_predictions(&buffer), Live::default());

    let queue = Queue::new(buffer.clone());
    let given = opened.all();
    queue.resume(buffer.unsettled(), &given);
    let paces = paces(&settings.gateway.state_dir);
    let explaining = spawn_explainer(queue.clone(), given, paces.clone(), metrics.clone())?;
    let conditions = Board::default();
    let driver = Driver {
        pipeline,
        buffer: buffer.clone(),
        explanations: queue.clone(),
        events: events_in,
        letters,
        orders,
        vitals: vitals.clone(),
        metrics: metrics.clone(),
        progress: progress.clone(),
        last: last.clone(),
        live: seen.clone(),
        rates: rates.clone(),
        conditions: conditions.clone(),
        // A buffer that takes nothing at present is no reason not to start: it is tried again with the next records.
        gathered: Gathered::default(),
        retry: follows,
        refused_since: None,
    };
    let driving = spawn_driver(driver)?;

    let (stop_sources, sources_running) = (CancellationToken::new(), TaskTracker::new());
    let sources = source::spawn(
        settings.sources.clone(),
        events.clone(),
        metrics.clone(),
        &sources_running,
        stop_sources.clone(),
    );
    sources_running.close();
    let stop_rest = CancellationToken::new();
    let (stop_rollout, rolling) = (CancellationToken::new(), TaskTracker::new());
    let stage = Arc::new(Preparing { paces, queue: queue.clone() });
    let ways = rollout::Ways {
        registry: settings.registry.as_ref().map(Registry::new),
        buffer: buffer.clone(),
        vitals,
        changes,
        stage,
        letters: at_desk,
        stop: stop_rollout.clone(),
    };
    let (rollout, minding) = Rollout::spawn(opened, ways, &rolling);
    rolling.close();
    let (syncing, sync_status) = spawn_sync(&settings, &buffer, &metrics, &stop_rest);
    let timing = tokio::spawn(timekeeper::run(buffer.clone(), stop_rest.clone()));
    let (syncs, stop) = (settings.registry.is_some(), stop_rest.clone());
    let (told, shown) = (rollout.clone(), tls.clone());
    let told = Box::new(move || [told.conditions(), vec![page::condition(shown.as_ref())]].concat());
    let looking = tokio::spawn(lookout::run(buffer.clone(), sync_status.clone(), syncs, told, conditions, stop));
    let told = (mail.clone(), rollout.clone(), sources.clone());
    let (publishing, publish_status) = results::spawn(&settings, &buffer, &metrics, told, &stop_rest).unzip();
    let statuses = (sync_status, publish_status);
    let status =
        status::Report::new(&settings, rollout.clone(), sources, buffer.clone(), (last, seen, rates), statuses);
    let asked = queue.clone();
    let ways =
        page::Ways { mailbox: mail, rollout: desk, questions: Questions::new(move |question| asked.ask(question)) };
    let serving = match page::spawn(&settings, &buffer, ways, metrics, (status, tls), &stop_rest).await {
        Ok(serving) => serving,
        Err(error) => {
            // A port that somebody else has is no bundle's fault.
            rollout.ended().await;
            return Err(error);
        }
    };
    let parts = Running {
        stop_sources,
        sources_running,
        events,
        driving,
        queue,
        explaining,
        stop_rest,
        syncing,
        publishing,
        timing,
        looking,
        serving,
        rollout,
        minding,
        stop_rollout,
        rolling,
    };
    let died = parts.until_stopped(progress).await;
    let _ = std::fs::remove_file(&settings.gateway.socket);
    died.map_or(Ok(()), Err)
}

/// The parts while they run, in the order in which they stop.
struct Running {
    stop_sources: CancellationToken,
    sources_running: TaskTracker,
    /// The driver ends when the last sender is gone; a replay at its end must not be the last.
    events: mpsc::Sender<SourceEvent>,
    driving: JoinHandle<()>,
    queue: Queue,
    explaining: JoinHandle<()>,
    stop_rest: CancellationToken,
    /// Absent without a registry.
    syncing: Option<JoinHandle<()>>,
    /// Absent without a broker. What becomes of it is no reason to end anything.
    publishing: Option<JoinHandle<()>>,
    timing: JoinHandle<()>,
    looking: JoinHandle<()>,
    serving: JoinHandle<io::Result<()>>,
    rollout: Rollout,
    /// What of the rollout must live: it takes back what does not do well, and stops what people stop.
    minding: JoinHandle<()>,
    stop_rollout: CancellationToken,
    rolling: TaskTracker,
}

impl Running {
    /// Waits for the signal to stop or the death of a part, which it returns, and drains.
    async fn until_stopped(mut self, progress: Progress) -> Option<AppError> {
        service::ready();
        let watchdog = tokio::spawn(service::watchdog(progress));
        let died = tokio::select! {
            () = service::stop_signal() => None,
            _ = &mut self.driving => Some(AppError::Died("driver")),
            _ = &mut self.explaining => Some(AppError::Died("explainer")),
            _ = &mut self.serving => Some(AppError::Died("page")),
            () = ended(&mut self.syncing) => Some(AppError::Died("sync")),
            _ = &mut self.timing => Some(AppError::Died("timekeeper")),
            _ = &mut self.looking => Some(AppError::Died("lookout")),
            _ = &mut self.minding => Some(AppError::Died("rollout")),
        };
        service::stopping();
        watchdog.abort();
        // Only what runs models can have died of one.
        let blameless = !matches!(died, Some(AppError::Died("driver" | "explainer" | "rollout")));
        self.drain(blameless).await;
        died
    }

    /// Stops part by part. `blameless`: no model can be the reason.
    async fn drain(self, blameless: bool) {
        // First of all, so that nothing is begun any more, and nothing that is cut off now is laid at a bundle's door.
        self.stop_rollout.cancel();
        self.stop_sources.cancel();
        if timeout(DRAIN, self.sources_running.wait()).await.is_err() {
            tracing::warn!("the sources did not stop in time");
        }
        drop(self.events);
        drain("driver", self.driving).await;
        self.queue.close();
        drain("explainer", self.explaining).await;
        self.stop_rest.cancel();
        if timeout(DRAIN, self.rolling.wait()).await.is_err() {
            tracing::warn!(part = "rollout", "did not stop in time");
        }
        if blameless {
            self.rollout.ended().await;
        }
        if let Some(syncing) = self.syncing {
            drain("sync", syncing).await;
        }
        if let Some(publishing) = self.publishing {
            drain("publishing", publishing).await;
        }
        drain("timekeeper", self.timing).await;
        drain("lookout", self.looking).await;
        drain("page", self.serving).await;
    }
}

/// What an earlier run knew of each asset, as far as the newest records tell.
fn last_predictions(buffer: &Buffer) -> LastPredictions {
    let last = LastPredictions::default();
    let newest = buffer.latest(Stream::Predictions, None, LOOKED_AT).unwrap_or_default();
    for record in newest.iter().rev() {
        if let Body::Prediction(prediction) = &record.body {
            last.note(record.id, prediction, record.at.utc);
        }
    }
    last
}

/// Waits for the end of a part that there may be.
async fn ended(part: &mut Option<JoinHandle<()>>) {
    match part {
        Some(part) => {
            let _ = part.await;
        }
        None => std::future::pending().await,
    }
}

/// Waits for a part to end, unless it has: a task whose end was seen must not be asked again.
async fn drain<T>(part: &str, task: JoinHandle<T>) {
    if !task.is_finished() && timeout(DRAIN, task).await.is_err() {
        tracing::warn!(part, "did not stop in time");
    }
}

/// The driver's own thread; the handle resolves when it has ended, however it did.
fn spawn_driver(driver: Driver<Queue>) -> Result<JoinHandle<()>, AppError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io("starting the driver"))?;
    on_thread("driver", move || runtime.block_on(driver.run()))
}

/// How fast models run on this machine, with this version.
fn paces(state_dir: &Path) -> Paces {
    let here = Machine::here();
    let version = env!("CARGO_PKG_VERSION");
    let is = |host: &str| {
        let known = host.split_once(' ').filter(|(other, _)| *other == version);
        known
            .and_then(|(_, machine)| serde_json::from_str::<Machine>(machine).ok())
            .is_some_and(|machine| !machine.differs_from(&here))
    };
    let described = format!("{version} {}", serde_json::to_string(&here).unwrap_or_default());
    Paces::open(state_dir, &Host { described, is: &is })
}

/// The explainer's own thread, which measures and prepares the models of the start first.
fn spawn_explainer(
    queue: Queue,
    models: Vec<(Arc<str>, Arc<Model>)>,
    paces: Paces,
    metrics: Metrics,
) -> Result<JoinHandle<()>, AppError> {
    on_thread("explainer", move || {
        let prepare = |(name, model)| Prepared::new(&name, &model, paces.allowance(&name, &model));
        explainer::run(&queue, models.into_iter().map(prepare), &metrics);
    })
}

/// Runs `work` on a named thread. A panic there ends the thread, not the process; the handle resolves either way.
fn on_thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, AppError> {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _ended = ended;
            work();
        })
        .map_err(io(format!("starting the {name}")))?;
    Ok(tokio::spawn(async move {
        let _ = end.await;
    }))
}

fn spawn_sync(
    settings: &Settings,
    buffer: &Buffer,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> (Option<JoinHandle<()>>, sync::Status) {
    let status = sync::Status::default();
    let Some(config) = &settings.registry else { return (None, status) };
    let registry = Registry::new(config);
    let running =
        sync::run(buffer.clone(), registry, settings.sync.clone(), metrics.clone(), status.clone(), stop.clone());
    (Some(tokio::spawn(running)), status)
}

/// Explanations, as the rollout has them prepared.
struct Preparing {
    paces: Paces,
    queue: Queue,
}

impl rollout::Stage for Preparing {
    fn prepare(&self, name: &Arc<str>, model: &Arc<Model>) {
        let allowance = self.paces.allowance(name, model);
        self.queue.install(Prepared::new(name, model, allowance));
    }
}
