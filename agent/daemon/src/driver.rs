//! The one loop that joins samples, ticks and commands to the pure pipeline, appends what follows, and only then tells.
//!
//! It has a thread of its own, since inference computes. What it appends in one go goes to disk with one flush, and a flush
//! costs an SD card as much as dozens of records: so predictions that raise or clear nothing are gathered for a second, and
//! go together. An alert goes at once, with all that was gathered before it. Nothing that is not stored is told to anyone.

mod last;
mod people;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use explaind_core::domain::record::{Body, NewRecord};
use explaind_core::domain::sample::SourceEvent;
use explaind_core::domain::time::Now;
use explaind_core::pipeline::{Follows, Made, Pipeline};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::buffer::{Buffer, BufferError};
use crate::change::{Change, Order};
use crate::clock;
use crate::condition::Board;
use crate::live::Live;
use crate::mailbox::Letter;
use crate::rates::AlarmRates;
use crate::telemetry::Metrics;
use crate::vitals::Vitals;

pub(crate) use last::LastPredictions;

/// Events taken in between two flushes: bounds how long a command waits while sources are busy.
const EVENTS_AT_ONCE: usize = 256;
/// The longest sleep, so that an idle driver still shows that it lives.
const IDLE: Duration = Duration::from_millis(500);
/// How long predictions may wait for others, and how many may.
const TOGETHER: Duration = Duration::from_secs(1);
const GATHERED: usize = 512;
/// Records kept for another try while the buffer refuses them; beyond it the oldest are given up and counted.
const KEPT_FOR_RETRY: usize = 1024;

/// How often the log says that records are refused.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Counts the driver's turns. The watchdog is fed only while this moves, so a hang shows.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many turns there were.
    pub(crate) fn turns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where predictions go to be explained.
pub(crate) trait Explanations: Send {
    /// Takes over the predictions that were just stored.
    fn request(&self, made: Vec<Made>);
}

/// The driver's parts.
pub(crate) struct Driver<E> {
    /// The pure half.
    pub(crate) pipeline: Pipeline,
    /// Where records go.
    pub(crate) buffer: Buffer,
    /// Where explanations come from.
    pub(crate) explanations: E,
    /// From the sources. Its end ends the driver.
    pub(crate) events: mpsc::Receiver<SourceEvent>,
    /// From people.
    pub(crate) letters: mpsc::Receiver<Letter>,
    /// From the rollout: which models run.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// How they do.
    pub(crate) vitals: Vitals,
    /// Figures.
    pub(crate) metrics: Metrics,
    /// Proof of life.
    pub(crate) progress: Progress,
    /// For the status.
    pub(crate) last: LastPredictions,
    /// What the machines' inputs stand at.
    pub(crate) live: Live,
    /// How many alarms there are.
    pub(crate) rates: AlarmRates,
    /// How the gateway itself is.
    pub(crate) conditions: Board,
    /// What is to be stored with what comes within a second.
    pub(crate) gathered: Gathered,
    /// What the buffer refused, to be tried again.
    pub(crate) retry: Follows,
    /// When the log last said that the buffer refuses records; `None` while it takes them.
    pub(crate) refused_since: Option<Instant>,
}

/// Predictions that wait for others, since when.
#[derive(Default)]
pub(crate) struct Gathered {
    all: Follows,
    since: Option<Instant>,
}

impl Gathered {
    fn add(&mut self, new: Follows, now: Instant) {
        if !new.records.is_empty() {
            self.since.get_or_insert(now);
        }
        self.all.records.extend(new.records);
        self.all.made.extend(new.made);
    }

    /// Time for which the others can still come; none when somebody waits for what is there.
    fn time_left(&self, now: Instant) -> Option<Duration> {
        let left = TOGETHER.saturating_sub(now.saturating_duration_since(self.since?));
        let goes = self.all.records.len() >= GATHERED || !self.all.records.iter().all(can_wait);
        Some(if goes { Duration::ZERO } else { left })
    }

    fn take(&mut self) -> Follows {
        self.since = None;
        std::mem::take(&mut self.all)
    }
}

impl<E: Explanations> Driver<E> {
    /// Runs until every source has hung up and what they sent is stored.
    pub(crate) async fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let (mut mail_open, mut orders_open) = (true, true);
        loop {
            self.progress.step();
            self.look();
            let wait = self.wait();
            tokio::select! {
                biased;
                letter = self.letters.recv(), if mail_open => match letter {
                    Some(letter) => self.answer(letter),
                    None => mail_open = false,
                },
                order = self.orders.recv(), if orders_open => match order {
                    Some(order) => {
                        let mut follows = Follows::default();
                        self.change(order, &mut follows);
                        self.store(follows);
                    }
                    None => orders_open = false,
                },
                taken = self.events.recv_many(&mut events, EVENTS_AT_ONCE) => {
                    if taken == 0 {
                        break;
                    }
                    self.take(&mut events);
                }
                () = tokio::time::sleep(wait) => {
                    let follows = self.timed(|pipeline, now| pipeline.tick(now, &mut || clock::mint(now)));
                    self.store(follows);
                }
            }
        }
        self.store_all();
    }

    /// Makes alerts of what is wrong with the gateway itself, and shows what the machines' inputs stand at.
    fn look(&mut self) {
        let now = clock::now();
        if self.live.is_due(now) {
            self.live.show(now, self.pipeline.live(now));
        }
        self.rates.show(&self.metrics, now);
        let follows = self.pipeline.gateway(&self.conditions.read(), now, &mut || clock::mint(now));
        if !follows.records.is_empty() {
            self.store(follows);
        }
    }

    /// Time until the pipeline's next tick, or until what was gathered goes.
    fn wait(&self) -> Duration {
        let now = clock::now().monotonic;
        let tick = self.pipeline.next_tick().map_or(IDLE, |due| due.saturating_sub(now));
        let gathered = self.gathered.time_left(Instant::now()).unwrap_or(IDLE);
        tick.min(gathered).min(IDLE)
    }

    /// Asks the pipeline, and takes the time that each prediction took.
    fn timed(&mut self, ask: impl FnOnce(&mut Pipeline, Now) -> Follows) -> Follows {
        let begun = Instant::now();
        let follows = ask(&mut self.pipeline, clock::now());
        if !follows.made.is_empty() {
            self.metrics.inference(begun.elapsed().div_f64(follows.made.len() as f64).as_secs_f64());
            let predictions = follows.records.iter().filter_map(|record| match &record.body {
                Body::Prediction(prediction) => Some(prediction),
                _ => None,
            });
            for (prediction, took) in predictions.zip(&follows.took) {
                self.vitals.note(prediction, *took);
            }
        }
        follows
    }

    /// Changes what runs, between two samples. `all` is what follows from those before, and takes what follows from this.
    fn change(&mut self, order: Order, all: &mut Follows) {
        let now = clock::now();
        let stops = order.changes.iter().any(|change| matches!(change, Change::Stops(_)));
        for change in order.changes {
            match change {
                Change::Champion { asset, model } => {
                    let follows = self.pipeline.install(&asset, model, now, &mut || clock::mint(now));
                    all.records.extend(follows.records);
                    all.made.extend(follows.made);
                }
                Change::Challenger { asset, model } => self.pipeline.shadow(&asset, model),
                Change::Stops(stops) => self.pipeline.stop(stops),
            }
        }
        if stops {
            // What was made before a stop is on record before it is acknowledged: what comes behind that is stopped.
            self.store(std::mem::take(all));
            self.store_all();
        }
        // Nobody waiting any more is no fault: it asks again.
        let _ = order.made.send(());
    }

    fn take(&mut self, events: &mut Vec<SourceEvent>) {
        let mut all = Follows::default();
        for event in events.drain(..) {
            // A stop does not wait until all of them are through.
            while let Ok(order) = self.orders.try_recv() {
                self.change(order, &mut all);
            }
            self.progress.step();
            match event {
                SourceEvent::Samples(samples) => {
                    let follows = self.timed(|pipeline, now| pipeline.samples(&samples, now, &mut || clock::mint(now)));
                    all.records.extend(follows.records);
                    all.made.extend(follows.made);
                }
                SourceEvent::Alive { source, connected, at } => self.pipeline.alive(&source, connected, at),
            }
            // What many machines make of many samples goes in pieces: a stop waits for one of them, not for all.
            if all.records.len() >= GATHERED {
                self.store(std::mem::take(&mut all));
            }
        }
        // Samples never rest, so a busy source must not starve the assets that are predicted at an interval.
        let follows = self.timed(|pipeline, now| pipeline.tick(now, &mut || clock::mint(now)));
        all.records.extend(follows.records);
        all.made.extend(follows.made);
        self.store(all);
    }

    /// Stores what follows, now or together with what comes soon.
    fn store(&mut self, new: Follows) {
        let now = Instant::now();
        self.gathered.add(new, now);
        if !self.retry.records.is_empty() || self.gathered.time_left(now).is_some_and(|left| left.is_zero()) {
            self.store_all();
        }
    }

    /// Appends, then tells. What the buffer refuses is tried again with the next records.
    fn store_all(&mut self) {
        let new = self.gathered.take();
        let mut all = std::mem::take(&mut self.retry);
        all.records.extend(new.records);
        all.made.extend(new.made);
        if all.records.is_empty() {
            return;
        }
        match self.append(&mut all) {
            Ok(()) => self.stored(all),
            Err(error) => {
                self.complain(&error.to_string());
                self.keep(all);
            }
        }
    }

    /// Appends. While the store takes no predictions they are given up, since an alert must not wait for them.
    fn append(&mut self, all: &mut Follows) -> Result<(), BufferError> {
        let error = match self.buffer.append(all.records.clone()) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let before = all.records.len();
        if !matches!(error, BufferError::Broken(_)) || all.records.iter().all(is_prediction) {
            return Err(error);
        }
        self.complain(&error.to_string());
        all.records.retain(|record| !is_prediction(record));
        all.made.clear();
        self.refused("predictions", before - all.records.len());
        self.buffer.append(all.records.clone()).map(drop)
    }

    /// Tells of what is on disk.
    fn stored(&mut self, all: Follows) {
        if all.records.iter().any(is_prediction) && self.refused_since.take().is_some() {
            tracing::info!("the buffer takes records again");
        }
        self.count(&all.records);
        self.explanations.request(all.made);
    }

    /// Says that records are refused: at first, and then once a minute.
    fn complain(&mut self, error: &str) {
        let now = Instant::now();
        if self.refused_since.is_none_or(|said| now.duration_since(said) >= COMPLAIN_EVERY) {
            tracing::error!(error, "records could not be stored; those of alerts are tried again");
            self.refused_since = Some(now);
        }
    }

    /// Keeps what was refused and matters: transitions of alerts, and the predictions that they name. Other predictions
    /// are given up at once, named ones when there are too many, transitions last of all.
    fn keep(&mut self, mut all: Follows) {
        let named: HashSet<Uuid> = all.records.iter().filter_map(|record| prediction_of(&record.body)).collect();
        let before = all.records.len();
        all.records.retain(|record| !is_prediction(record) || named.contains(&record.id));
        let mut surplus = all.records.len().saturating_sub(KEPT_FOR_RETRY);
        all.records.retain(|record| {
            let go = surplus > 0 && is_prediction(record);
            surplus -= usize::from(go);
            !go
        });
        let predictions = before - all.records.len();
        let transitions = all.records.len().saturating_sub(KEPT_FOR_RETRY);
        all.records.drain(..transitions);
        self.refused("predictions", predictions);
        self.refused("alerts", transitions);
        let kept: HashSet<Uuid> = all.records.iter().map(|record| record.id).collect();
        all.made.retain(|made| kept.contains(&made.id));
        self.retry = all;
    }

    fn refused(&self, stream: &str, count: usize) {
        if count > 0 {
            self.metrics.dropped(stream, "refused", u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    fn count(&self, records: &[NewRecord]) {
        let now = clock::now();
        for record in records {
            match &record.body {
                Body::Prediction(prediction) => {
                    self.metrics.prediction(prediction);
                    self.last.note(record.id, prediction, record.at.utc);
                }
                Body::Alert(change) => self.rates.note(change, record.at, now),
                _ => {}
            }
        }
    }
}

/// Whether nobody waits for it: predictions, and that a machine without an alert was switched off or on.
fn can_wait(record: &NewRecord) -> bool {
    match &record.body {
        Body::Prediction(_) => true,
        Body::Alert(change) => change.alert_id.is_none() && change.author.is_none() && !change.cover.is_by_people(),
        _ => false,
    }
}

fn is_prediction(record: &NewRecord) -> bool {
    matches!(record.body, Body::Prediction(_))
}

/// The prediction that a transition names.
fn prediction_of(body: &Body) -> Option<Uuid> {
    match body {
        Body::Alert(transition) => transition.prediction_id,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::samples::{prediction, transition, withheld};
    use explaind_core::domain::alert::AlarmState::{Normal, Unacknowledged};

    fn follows(records: Vec<NewRecord>) -> Follows {
        Follows { records, ..Follows::default() }
    }

    #[test]
    fn predictions_go_together_within_a_second_and_alerts_at_once() {
        let (begun, mut gathered) = (Instant::now(), Gathered::default());
        let after = |millis| begun + Duration::from_millis(millis);
        gathered.add(Follows::default(), begun);
        assert_eq!(gathered.time_left(begun), None, "nothing waits for nothing");
        gathered.add(follows(vec![prediction(1, 65.0), withheld(1)]), begun);
        gathered.add(follows(vec![prediction(2, 65.0)]), after(700));
        assert_eq!(gathered.time_left(after(700)), Some(Duration::from_millis(300)), "the first has waited longest");
        assert_eq!(gathered.time_left(after(1500)), Some(Duration::ZERO));
        gathered.add(follows(vec![transition(2, None, (Normal, Unacknowledged), None, None)]), after(800));
        assert_eq!(gathered.time_left(after(800)), Some(Duration::ZERO));
        assert_eq!((gathered.take().records.len(), gathered.time_left(after(800))), (4, None));
        let mut off = transition(3, None, (Normal, Normal), None, None);
        if let Body::Alert(change) = &mut off.body {
            (change.alert_id, change.cover.by_design) = (None, true);
        }
        gathered.add(follows(vec![off]), begun);
        assert_eq!(gathered.time_left(begun), Some(TOGETHER), "nobody waits to hear that a machine rests");
        gathered.take();
        gathered.add(follows((0..512).map(|n| prediction(n, 65.0)).collect()), begun);
        assert_eq!(gathered.time_left(begun), Some(Duration::ZERO), "there is a bound");
    }
}
