//! Explains what was appended, on its own thread, from a bounded queue: alerts first, never in the way of predictions.
//!
//! Full means: the oldest waiting prediction without an alert is skipped, and its record says so. Every prediction is
//! settled exactly once, with an explanation or with the reason why there is none.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::record::{Body, Record};
use explaind_core::explain::Explainer;
use explaind_core::model::Model;
use explaind_core::pipeline::{Made, Wish};
use uuid::Uuid;

use crate::buffer::Buffer;
use crate::clock;
use crate::pace::{self, Budgets};
use crate::telemetry::Metrics;

/// Predictions that may wait for their explanation, in each of the two lanes.
const CAPACITY: usize = 4096;
/// Explanations of alerts that are stored with one flush.
const ALERTS_AT_ONCE: usize = 32;
/// Others: few, since an alert that comes meanwhile waits for them.
const OTHERS_AT_ONCE: usize = 4;

struct Job {
    prediction: Uuid,
    model: Arc<str>,
    wish: Wish,
}

#[derive(Default)]
struct Lanes {
    alerts: VecDeque<Job>,
    others: VecDeque<Job>,
    closed: bool,
}

impl Lanes {
    /// Puts a job into its lane; returns the one that had to make room.
    fn push(&mut self, job: Job) -> Option<Job> {
        let lane = match job.wish {
            Wish::Explain { urgent: true, .. } => &mut self.alerts,
            Wish::Explain { .. } | Wish::Nothing => &mut self.others,
        };
        let displaced = if lane.len() >= CAPACITY { lane.pop_front() } else { None };
        lane.push_back(job);
        displaced
    }

    /// Takes the next jobs: alerts while there are any.
    fn take(&mut self) -> Vec<Job> {
        let (lane, most) = if self.alerts.is_empty() {
            (&mut self.others, OTHERS_AT_ONCE)
        } else {
            (&mut self.alerts, ALERTS_AT_ONCE)
        };
        lane.drain(..lane.len().min(most)).collect()
    }
}

/// The queue between the driver and the explainer's thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queue {
    lanes: Arc<(Mutex<Lanes>, Condvar)>,
    buffer: Buffer,
}

impl Queue {
    /// An empty queue; what it skips it settles in `buffer`.
    pub(crate) fn new(buffer: Buffer) -> Self {
        Self { lanes: Arc::default(), buffer }
    }

    /// No more jobs come; the thread ends when it has settled what waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.lanes.1.notify_all();
    }

    /// Queues predictions that are stored.
    pub(crate) fn request(&self, made: Vec<Made>) {
        let mut skipped = Vec::new();
        {
            let mut lanes = self.lock();
            for Made { id, model, wish } in made {
                skipped.extend(lanes.push(Job { prediction: id, model, wish }));
            }
        }
        self.lanes.1.notify_one();
        if !skipped.is_empty() {
            let settled = skipped.into_iter().map(|job| (job.prediction, skip("no capacity")));
            settle(&self.buffer, settled.collect());
        }
    }

    /// Queues the predictions that an earlier run stored and did not settle.
    pub(crate) fn resume(&self, unsettled: Vec<Record>, models: &HashMap<Arc<str>, Arc<Model>>) {
        let made = unsettled.into_iter().filter_map(|record| match record.body {
            Body::Prediction(prediction) => {
                let wish = again(&prediction, models.get(&prediction.model));
                Some(Made { id: record.id, model: prediction.model, wish })
            }
            _ => None,
        });
        self.request(made.collect());
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // A panic elsewhere leaves the lanes whole: they are only ever pushed to and drained.
        self.lanes.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Vec<Job>> {
        let mut lanes = self.lock();
        loop {
            let jobs = lanes.take();
            if !jobs.is_empty() {
                return Some(jobs);
            }
            if lanes.closed {
                return None;
            }
            lanes = self.lanes.1.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The row to explain once more, if the model that made the prediction still runs.
fn again(prediction: &Prediction, model: Option<&Arc<Model>>) -> Wish {
    let same = model.is_some_and(|model| {
        model.model_digest() == prediction.model_digest && model.background_digest() == prediction.background_digest
    });
    let row: Option<Vec<f32>> = prediction.inputs.iter().map(|input| input.value.map(|value| value as f32)).collect();
    match (&prediction.outcome, row) {
        (Outcome::Predicted(_), Some(row)) if same => Wish::Explain { row, urgent: prediction.alert.is_some() },
        _ => Wish::Nothing,
    }
}

/// Explains and settles until the queue is closed and empty. Runs on a thread of its own.
pub(crate) fn run(queue: &Queue, models: &HashMap<Arc<str>, Arc<Model>>, budgets: &Budgets, metrics: &Metrics) {
    let prepare = |(name, model): (&Arc<str>, &Arc<Model>)| {
        let budget = budgets.get(name).copied().unwrap_or_else(|| pace::assumed(model));
        (Arc::clone(name), Explainer::new(Arc::clone(model), budget).map_err(|error| error.to_string()))
    };
    let explainers: HashMap<_, _> = models.iter().map(prepare).collect();
    // Settlements that the buffer refused: tried again with the next ones.
    let mut owed = Vec::new();
    while let Some(jobs) = queue.next() {
        owed.extend(jobs.into_iter().map(|job| {
            let explainer = explainers.get(&job.model);
            (job.prediction, explain(explainer, &job.wish, metrics))
        }));
        if settle(&queue.buffer, owed.clone()) {
            owed.clear();
        } else {
            let surplus = owed.len().saturating_sub(CAPACITY);
            owed.drain(..surplus);
        }
    }
}

fn explain(explainer: Option<&Result<Explainer, String>>, wish: &Wish, metrics: &Metrics) -> Settlement {
    let row = match wish {
        Wish::Explain { row, .. } => row,
        Wish::Nothing => return skip("nothing to explain: withheld, or its model no longer runs"),
    };
    match explainer {
        None => skip("the model no longer runs"),
        Some(Err(reason)) => skip(reason),
        Some(Ok(explainer)) => {
            let begun = Instant::now();
            // A panic, in a library on a row it cannot take, costs one explanation and not the thread.
            let result = catch_unwind(AssertUnwindSafe(|| explainer.explain(row)));
            metrics.explanation(begun.elapsed().as_secs_f64());
            match result {
                Ok(Ok(explanation)) => Settlement::Explained { id: clock::mint(clock::now()), explanation },
                Ok(Err(error)) => Settlement::Failed { reason: error.to_string() },
                Err(_) => Settlement::Failed { reason: "the model failed from within; the log says how".to_owned() },
            }
        }
    }
}

fn skip(reason: &str) -> Settlement {
    Settlement::Skipped { reason: reason.to_owned() }
}

/// Stores settlements; says whether that worked. One that is given up leaves its prediction unsettled, and the next
/// start takes it up.
fn settle(buffer: &Buffer, settled: Vec<(Uuid, Settlement)>) -> bool {
    let result = buffer.settle(settled);
    if let Err(error) = &result {
        tracing::error!(%error, "explanations could not be stored");
    }
    result.is_ok()
}
