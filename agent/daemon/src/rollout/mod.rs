//! Models come and go: aliases in the registry are followed, what they point at is fetched, checked in a process of its own,
//! and takes its place between two samples; it is watched there, and goes back by itself when it does not do well.
//!
//! Per model there is a state on disk ([`state`]) that says which bundle runs, which ran before and which is refused, and a
//! folder per bundle ([`slots`]). Every change is written there first, then made, then put on record. Following ([`follow`]),
//! watching ([`tend`]) and people ([`desk`]) are three tasks that take turns at a model; when to go back or ahead is said by
//! rules without a clock of their own ([`judge`]).

pub(crate) mod binding;
mod checks;
mod child;
mod config;
mod desk;
mod failing;
mod follow;
mod heed;
mod judge;
mod open;
mod slots;
mod state;
mod status;
mod stops;
mod supervise;
mod tend;
mod told;
pub(crate) mod verify;
mod version;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use explaind_core::model::Model;
use explaind_core::model::manifest::OutputSpec;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::failing::Failing;
use self::slots::Home;
use self::state::{Seat, State};
use self::stops::Stops;
use self::verify::Demands;
use crate::buffer::Buffer;
use crate::change::{Change, Changes};
use crate::clock;
use crate::mailbox::Letter;
use crate::registry::Registry;
use crate::vitals::{Running, Vitals};

pub(crate) use self::child::judge;
pub(crate) use self::config::{Config, Following};
pub(crate) use self::open::{Local, Opened, open};

/// Why a bundle is taken back when a person says so.
const PERSON: &str = "person";

/// What explains models, as far as the rollout has to do with it.
pub(crate) trait Stage: Send + Sync {
    /// Prepares what is costly, on this thread, so that a model that takes its place is explained from its first row. One
    /// that cannot be explained says so with each prediction.
    fn prepare(&self, name: &Arc<str>, model: &Arc<Model>);
}

/// One configured model.
pub(crate) struct Followed {
    config: Config,
    /// The assets that it watches.
    assets: Vec<Arc<str>>,
    /// What a bundle must fulfil here.
    demands: Demands,
    /// Its folder; none for a local bundle.
    home: Option<Home>,
    seats: tokio::sync::Mutex<Seats>,
    /// For the status, which must not wait.
    shown: Mutex<Shown>,
}

/// Who sits where. Behind a lock that is held while a change is made, and not while anything is fetched or checked.
#[derive(Default)]
struct Seats {
    state: State,
    champion: Option<Arc<Model>>,
    challenger: Option<Arc<Model>>,
    /// Since when they run, in this run of the daemon.
    since: BTreeMap<Seat, Instant>,
    /// The share that was withheld before the champion came, where it is known.
    before: Option<f64>,
    /// Whether the driver has yet to be told.
    to_make: bool,
    /// What was tried in vain.
    failing: Failing,
}

/// What the status shows of a model.
#[derive(Debug, Clone, Default)]
struct Shown {
    state: State,
    /// A local bundle, or what runs of the registry's.
    champion: Option<Running>,
    /// What that answers.
    output: Option<OutputSpec>,
    /// Why there is a bundle, and it does not run.
    trouble: Option<String>,
    checked_at: Option<i64>,
    /// Why what an alias points at is not to be had at present.
    errors: BTreeMap<Seat, String>,
    agreement: Option<f64>,
    compared: u64,
}

impl Seats {
    fn at(&self, seat: Seat) -> Option<&Arc<Model>> {
        match seat {
            Seat::Champion => self.champion.as_ref(),
            Seat::Challenger => self.challenger.as_ref(),
        }
    }

    fn runs(&self, seat: Seat) -> Duration {
        self.since.get(&seat).map_or(Duration::ZERO, Instant::elapsed)
    }
}

impl Followed {
    /// The model as it runs here.
    fn running(&self, model: &Model) -> Running {
        Running { model: model.key(&self.config.name), version: Arc::clone(&model.manifest().version) }
    }

    /// What the driver has to run for these seats.
    fn changes(&self, seats: &Seats) -> Vec<Change> {
        let mut changes = Vec::new();
        for asset in &self.assets {
            let canary = self.config.canary.contains(asset) && seats.challenger.is_some();
            let (champion, challenger) = match canary {
                true => (seats.challenger.clone(), None),
                false => (seats.champion.clone(), seats.challenger.clone()),
            };
            changes.push(Change::Champion { asset: Arc::clone(asset), model: champion });
            changes.push(Change::Challenger { asset: Arc::clone(asset), model: challenger });
        }
        changes
    }

    /// Shows what holds now.
    fn show(&self, seats: &Seats) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.state = seats.state.clone();
        shown.trouble = shown.trouble.take().filter(|_| seats.champion.is_none());
        shown.champion = seats.champion.as_ref().map(|model| self.running(model));
        shown.output = seats.champion.as_ref().map(|model| model.manifest().output.clone());
    }
}

/// The rollout while it runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rollout(Arc<Shared>);

struct Shared {
    gateway: String,
    models: Vec<Arc<Followed>>,
    stops: Mutex<Stops>,
    /// Why the registry does not say whether a model, or the whole gateway, is stopped.
    unheard: Mutex<BTreeMap<Option<Arc<str>>, String>>,
    following: Following,
    registry: Option<Registry>,
    /// This program, which checks bundles in a process of its own.
    program: PathBuf,
    buffer: Buffer,
    vitals: Vitals,
    changes: Changes,
    stage: Arc<dyn Stage>,
    /// Whether the driver has yet to be told what is stopped.
    stops_to_make: AtomicBool,
    /// Whoever has it tells the driver, so that what is told last is what holds.
    enacting: tokio::sync::Mutex<()>,
    /// Whoever has it checks a bundle.
    checking: Semaphore,
    stop: CancellationToken,
}

/// What the rollout needs of the other parts.
pub(crate) struct Ways {
    pub(crate) registry: Option<Registry>,
    pub(crate) buffer: Buffer,
    pub(crate) vitals: Vitals,
    pub(crate) changes: Changes,
    pub(crate) stage: Arc<dyn Stage>,
    pub(crate) letters: mpsc::Receiver<Letter>,
    pub(crate) stop: CancellationToken,
}

impl Rollout {
    /// Begins to follow, to watch and to listen.
    ///
    /// With it comes a task that ends when one of those ends that a gateway must not be without.
    pub(crate) fn spawn(opened: Opened, ways: Ways, tasks: &TaskTracker) -> (Self, JoinHandle<()>) {
        let Opened { gateway, models, stops, following } = opened;
        // The binary may be replaced while it runs: the one that runs is still there under this name.
        let program = PathBuf::from("/proc/self/exe");
        let Ways { registry, buffer, vitals, changes, stage, letters, stop } = ways;
        let stops = Mutex::new(stops);
        let checking = Semaphore::new(1);
        let shared = Shared {
            gateway,
            models,
            stops,
            unheard: Mutex::default(),
            following,
            registry,
            program,
            buffer,
            vitals,
            changes,
            stage,
            stops_to_make: AtomicBool::new(false),
            enacting: tokio::sync::Mutex::default(),
            checking,
            stop,
        };
        let rollout = Self(Arc::new(shared));
        let desk = tasks.spawn(desk::run(rollout.clone(), letters));
        let tend = tasks.spawn(tend::run(rollout.clone()));
        let minding = tokio::spawn(async move {
            tokio::select! {
                _ = desk => {}
                _ = tend => {}
            }
        });
        if rollout.0.registry.is_none() {
            rollout.forget_registry();
        }
        if let Some(registry) = &rollout.0.registry {
            for model in rollout.0.models.iter().cloned().map(Some).chain([None]) {
                tasks.spawn(heed::run(rollout.clone(), registry.clone(), model));
            }
            for model in rollout.0.models.iter().filter(|model| model.home.is_some()) {
                let aliases = [(Seat::Champion, &model.config.alias), (Seat::Challenger, &model.config.challenger)];
                for (seat, alias) in aliases {
                    let Some(alias) = alias.clone() else { continue };
                    let (rollout, model, registry) = (rollout.clone(), Arc::clone(model), registry.clone());
                    tasks.spawn(follow::run(rollout, model, registry, seat, alias));
                }
            }
        }
        (rollout, minding)
    }

    /// The daemon ends as it was told to: what is on trial is not to blame.
    pub(crate) async fn ended(&self) {
        for model in &self.0.models {
            let Some(home) = &model.home else { continue };
            let mut seats = model.seats.lock().await;
            let before = seats.state.clone();
            seats.state.end();
            if seats.state != before
                && let Err(error) = home.write(&seats.state)
            {
                tracing::warn!(model = &*model.config.name, %error, "the models' state could not be written at the end");
            }
        }
    }

    fn model(&self, name: &str) -> Option<&Arc<Followed>> {
        self.0.models.iter().find(|model| *model.config.name == *name)
    }

    /// Has the driver run what the seats say; what it does not get to is tried again by and by.
    async fn make(&self, model: &Followed, seats: &mut Seats) {
        seats.to_make = match self.0.changes.make(model.changes(seats)).await {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(model = &*model.config.name, %error, "models are changed later");
                true
            }
        };
        model.show(seats);
    }

    /// The bundle in a place is taken back; on disk, in the driver, on record.
    async fn take_back(
        &self,
        model: &Followed,
        seats: &mut Seats,
        seat: Seat,
        check: &str,
        reason: &str,
    ) -> Result<(), String> {
        let Some(home) = &model.home else { return Err("it is a local bundle".to_owned()) };
        let mut next = seats.state.clone();
        next.take_back(seat, check, reason, clock::now().utc.as_micros());
        let mut champion = seats.champion.clone().filter(|_| seat == Seat::Challenger);
        while let (Seat::Champion, Some(before)) = (seat, next.active.clone()) {
            match self.load(model, home, &before.digest).await {
                Ok(loaded) => {
                    champion = Some(loaded);
                    break;
                }
                // A person may think again.
                Err(error) if check == PERSON => {
                    return Err(format!("the bundle before does not load any more ({error}); this one goes on"));
                }
                // Then there is none; what is wrong with the one that runs is worse.
                Err(error) => drop(next.take_back(seat, "load", &error, clock::now().utc.as_micros())),
            }
        }
        write(home, &next)?;
        seats.state = next;
        match seat {
            Seat::Challenger => seats.challenger = None,
            Seat::Champion => {
                seats.champion.iter().for_each(|gone| self.0.vitals.forget(&model.running(gone)));
                seats.champion = champion;
                seats.champion.iter().for_each(|back| self.0.vitals.forget(&model.running(back)));
                seats.before = None;
            }
        }
        seats.since.insert(seat, Instant::now());
        tracing::warn!(model = &*model.config.name, seat = seat.as_str(), check, reason, "a bundle was taken back");
        self.make(model, seats).await;
        self.tell(model, seats);
        Ok(())
    }

    /// Loads a slot and prepares its explanations, where neither the driver nor the runtime waits for it.
    async fn load(&self, model: &Followed, home: &Home, digest: &str) -> Result<Arc<Model>, String> {
        let (slot, keys, stage) = (home.slot(digest), model.demands.keys.clone(), Arc::clone(&self.0.stage));
        let (name, digest) = (Arc::clone(&model.config.name), digest.to_owned());
        let loading = tokio::task::spawn_blocking(move || {
            let loaded = open::load_slot(&slot, &keys, &digest)?;
            stage.prepare(&name, &loaded);
            Ok(loaded)
        });
        loading.await.unwrap_or_else(|_| Err("loading it failed from within".to_owned()))
    }

    /// Puts on record what is not there yet. What the buffer refuses stays in the state, and is tried again.
    fn tell(&self, model: &Followed, seats: &mut Seats) {
        if seats.state.untold.is_empty() {
            return;
        }
        let Some(home) = &model.home else { return };
        let records = seats.state.untold.iter().flat_map(|event| told::records(&model.config.name, event)).collect();
        if let Err(error) = self.0.buffer.append(records) {
            tracing::debug!(%error, "what became of a model is put on record later");
            return;
        }
        seats.state.untold.clear();
        if let Err(error) = home.write(&seats.state) {
            tracing::warn!(%error, "what became of a model may be on record twice");
        }
        model.show(seats);
    }
}

fn write(home: &Home, state: &State) -> Result<(), String> {
    tokio::task::block_in_place(|| home.write(state)).map_err(|error| format!("its state cannot be written: {error}"))
}

/// Waits, unless it is time to stop. Returns whether it is.
async fn rest(stop: &CancellationToken, wait: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(wait) => false,
    }
}

/// Answers a letter; nobody waiting any more is no fault.
fn answer<T>(to: oneshot::Sender<T>, what: T) {
    let _ = to.send(what);
}
