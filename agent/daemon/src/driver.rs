//! The one loop that joins samples, ticks and commands to the pure pipeline, appends what follows, and only then tells.
//!
//! It has a thread of its own, since inference computes. What it appends in one go goes to disk with one flush, so the
//! busier it is, the less each record costs. Nothing that it could not store is told to anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use explaind_core::domain::command::{Command, Done, Refusal};
use explaind_core::domain::prediction::Outcome;
use explaind_core::domain::record::{Body, NewRecord};
use explaind_core::domain::sample::SourceEvent;
use explaind_core::domain::time::Now;
use explaind_core::pipeline::{Follows, Made, Pipeline};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::buffer::Buffer;
use crate::clock;
use crate::mailbox::Letter;
use crate::telemetry::Metrics;

/// Events taken in between two flushes: bounds how long a command waits while sources are busy.
const EVENTS_AT_ONCE: usize = 256;
/// The longest sleep, so that an idle driver still shows that it lives.
const IDLE: Duration = Duration::from_millis(500);
/// Records kept for another try while the buffer refuses them; beyond it the oldest are given up and counted.
const KEPT_FOR_RETRY: usize = 1024;

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
    /// Figures.
    pub(crate) metrics: Metrics,
    /// Proof of life.
    pub(crate) progress: Progress,
    /// What the buffer refused, to be tried again.
    pub(crate) retry: Vec<NewRecord>,
}

impl<E: Explanations> Driver<E> {
    /// Runs until every source has hung up and what they sent is stored.
    pub(crate) async fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut mail_open = true;
        loop {
            self.progress.step();
            let wait = self.wait();
            tokio::select! {
                biased;
                letter = self.letters.recv(), if mail_open => match letter {
                    Some(letter) => self.answer(letter),
                    None => mail_open = false,
                },
                taken = self.events.recv_many(&mut events, EVENTS_AT_ONCE) => {
                    if taken == 0 {
                        break;
                    }
                    self.take(&mut events);
                }
                () = tokio::time::sleep(wait) => {
                    let now = clock::now();
                    let follows = self.pipeline.tick(now, &mut || clock::mint(now));
                    self.store(follows);
                }
            }
        }
        self.store(Follows::default());
    }

    /// Time until the pipeline's next tick.
    fn wait(&self) -> Duration {
        let now = clock::now().monotonic;
        self.pipeline.next_tick().map_or(IDLE, |due| due.saturating_sub(now).min(IDLE))
    }

    fn take(&mut self, events: &mut Vec<SourceEvent>) {
        let mut all = Follows::default();
        for event in events.drain(..) {
            let now = clock::now();
            match event {
                SourceEvent::Samples(samples) => {
                    let begun = Instant::now();
                    let follows = self.pipeline.samples(&samples, now, &mut || clock::mint(now));
                    if !follows.made.is_empty() {
                        self.metrics.inference(begun.elapsed().as_secs_f64() / follows.made.len() as f64);
                    }
                    all.records.extend(follows.records);
                    all.made.extend(follows.made);
                }
                SourceEvent::Alive { source, connected, at } => self.pipeline.alive(&source, connected, at),
            }
        }
        // Samples never rest, so a busy source must not starve the assets that are predicted at an interval.
        let now = clock::now();
        let follows = self.pipeline.tick(now, &mut || clock::mint(now));
        all.records.extend(follows.records);
        all.made.extend(follows.made);
        self.store(all);
    }

    /// Appends, then tells. Records that the buffer refuses are tried again with the next ones.
    fn store(&mut self, follows: Follows) {
        if follows.records.is_empty() && self.retry.is_empty() {
            return;
        }
        let mut records = std::mem::take(&mut self.retry);
        records.extend(follows.records);
        match self.buffer.append(records.clone()) {
            Ok(_) => {
                self.count(&records);
                self.explanations.request(follows.made);
            }
            Err(error) => {
                tracing::error!(%error, records = records.len(), "records could not be stored; trying again");
                self.keep(records);
            }
        }
    }

    /// Keeps what was refused: transitions of alerts, and the predictions that they name, before other predictions.
    fn keep(&mut self, mut records: Vec<NewRecord>) {
        let before = records.len();
        records.retain(|record| match &record.body {
            Body::Prediction(prediction) => prediction.alert.is_some(),
            _ => true,
        });
        let surplus = records.len().saturating_sub(KEPT_FOR_RETRY);
        records.drain(..surplus);
        let dropped = before - records.len();
        self.metrics.dropped("predictions", "refused", u64::try_from(dropped).unwrap_or(u64::MAX));
        self.retry = records;
    }

    fn count(&self, records: &[NewRecord]) {
        for record in records {
            if let Body::Prediction(prediction) = &record.body {
                let outcome = match prediction.outcome {
                    Outcome::Predicted(_) => "predicted",
                    Outcome::Withheld(_) => "withheld",
                };
                self.metrics.prediction(&prediction.asset, &prediction.model, outcome);
            }
        }
    }

    fn answer(&mut self, letter: Letter) {
        let now = clock::now();
        let result = match letter.command {
            Command::Acknowledge { alert_id, author, comment } => self.acknowledge(alert_id, author, comment, now),
        };
        // Nobody waiting any more is no fault: the answer is on record.
        let _ = letter.answer.send(result);
    }

    fn acknowledge(
        &mut self,
        alert_id: Uuid,
        author: String,
        comment: Option<String>,
        now: Now,
    ) -> Result<Done, Refusal> {
        let transition =
            self.pipeline.acknowledgement(alert_id, author, comment).ok_or(Refusal::UnknownAlert(alert_id))?;
        let state = transition.to;
        let record = NewRecord { id: clock::mint(now), at: now, body: Body::Alert(transition.clone()) };
        // What waits for another try came first, and stays first.
        let mut records = std::mem::take(&mut self.retry);
        records.push(record);
        match self.buffer.append(records.clone()) {
            Ok(_) => {
                self.pipeline.apply(&transition);
                Ok(Done::Acknowledged { state })
            }
            Err(error) => {
                records.pop();
                self.retry = records;
                Err(Refusal::NotStored(error.to_string()))
            }
        }
    }
}
