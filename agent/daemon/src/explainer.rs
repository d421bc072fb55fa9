//! Explains what was appended, on its own thread, from a bounded queue: alerts first, never in the way of predictions.
//!
//! Every prediction is settled exactly once, with an explanation or with the reason why there is none. The predictions
//! that raised an alert are then looked at once more: what would clear it, and what is like it ([`extras`]). Other spaces
//! are explained in when somebody asks ([`spaces`]). Each prediction is explained by the very model that made it, which may be
//! an earlier one by now ([`shelf`]). What is left out when more comes than can be explained is the queue's
//! policy ([`queue`]).

mod extras;
mod queue;
mod shelf;
mod spaces;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::prediction::{Input, Outcome, Prediction};
use explaind_core::domain::reason::Reason;
use explaind_core::explain::Explainer;
use explaind_core::model::{Feature, Model};
use explaind_core::pipeline::Wish;
use uuid::Uuid;

pub(crate) use queue::Queue;
pub(crate) use shelf::Prepared;

use extras::Extras;
use queue::{Glance, Job, Work};
use shelf::Shelf;

use crate::clock;
use crate::question::{About, Question};
use crate::telemetry::Metrics;

/// Explanations that are stored with one flush.
const AT_ONCE: usize = 64;
/// How long an explanation may wait for others to be stored with it.
const TOGETHER: Duration = Duration::from_millis(25);
/// Explanations kept for another try while the buffer refuses them.
const KEPT: usize = 4096;
/// How long the buffer is left alone once it has refused; doubled with each refusal.
const LEFT_ALONE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The row to explain once more, of a prediction that `model` made.
fn again(prediction: &Prediction, model: &Model) -> Option<Vec<f32>> {
    // All features of the oldest row of a window come first.
    let features = model.manifest().features.iter().cycle();
    let value = |(input, feature): (&Input, &Feature)| {
        let missing = feature.missing.then_some(f32::NAN);
        input.value.map(|value| value as f32).or(missing)
    };
    let row: Option<Vec<f32>> = prediction.inputs.iter().zip(features).map(value).collect();
    row.filter(|_| matches!(prediction.outcome, Outcome::Predicted(_)))
}

/// Explains, settles and answers until the queue is closed and empty. Runs on a thread of its own, on which the models
/// of the start are prepared first, if `models` does so as it goes; of one name the one that counts as used last comes
/// last. Others are [installed](Queue::install) later.
pub(crate) fn run(queue: &Queue, models: impl IntoIterator<Item = Prepared>, metrics: &Metrics) {
    let mut worker = Worker::new(queue, models, metrics);
    while let Some(work) = queue.next() {
        worker.work(work);
    }
    worker.flush();
    worker.store();
}

struct Worker<'a> {
    queue: &'a Queue,
    metrics: &'a Metrics,
    shelf: Shelf,
    extras: Extras,
    /// Settlements that are not stored, or that the buffer refused, which are tried again with the next ones.
    owed: Vec<(Uuid, Settlement)>,
    /// Those among them that raised an alert.
    raised: Vec<Uuid>,
    since: Instant,
    /// While the buffer refuses: until when it is left alone, and for how long the next time.
    refused: Option<(Instant, Duration)>,
}

impl<'a> Worker<'a> {
    fn new(queue: &'a Queue, models: impl IntoIterator<Item = Prepared>, metrics: &'a Metrics) -> Self {
        let mut shelf = Shelf::default();
        models.into_iter().for_each(|prepared| shelf.put(prepared));
        let extras = Extras::new(queue.buffer.clone());
        // What is given up here is remembered already: it was read back with the other alerts.
        queue.follow_up(extras.unsaid(&shelf).into_iter());
        let (owed, raised, since) = (Vec::new(), Vec::new(), Instant::now());
        Self { queue, metrics, shelf, extras, owed, raised, since, refused: None }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Install(prepared) => self.shelf.put(*prepared),
            Work::Explain(job) => {
                self.explain(job);
                if self.is_due(self.queue.glance()) {
                    self.flush();
                }
            }
            Work::Answer(question) => {
                self.flush();
                self.answer(question);
            }
            Work::FollowUp(prediction) => {
                self.flush();
                self.extras.follow_up(prediction, &self.shelf);
            }
            Work::Settle => self.flush(),
        }
    }

    /// Nobody waiting any more is no fault: what took long is on record.
    fn answer(&mut self, Question { prediction, about }: Question) {
        match about {
            About::Counterfactuals(answer) => {
                let _ = answer.send(self.extras.answer(&prediction, &self.shelf));
            }
            About::Space(space, answer) => {
                let _ = answer.send(spaces::answer(&self.queue.buffer, &prediction, space, &mut self.shelf));
            }
        }
    }

    fn explain(&mut self, job: Job) {
        if self.owed.is_empty() {
            self.since = Instant::now();
        }
        let settlement = explained(self.shelf.used(&job.model).map(|model| model.explainer()), &job.wish, self.metrics);
        if job.is_urgent() {
            self.raised.push(job.prediction);
        }
        self.owed.push((job.prediction, settlement));
    }

    /// Whether what is owed should be stored now: an alert's explanation as soon as no other alert waits.
    fn is_due(&self, waiting: Glance) -> bool {
        let alert = !self.raised.is_empty() && !waiting.urgent;
        alert || !waiting.anything || self.owed.len() >= AT_ONCE || self.since.elapsed() >= TOGETHER
    }

    /// Stores what is owed, and what was left out meanwhile, unless the buffer refused just now.
    fn flush(&mut self) {
        self.owed.extend(self.queue.left_out());
        if self.refused.is_none_or(|(until, _)| Instant::now() >= until) {
            self.store();
        }
        let mut surplus = self.owed.len().saturating_sub(KEPT);
        if surplus == 0 {
            return;
        }
        // Those of alerts last.
        let raised: HashSet<Uuid> = self.raised.iter().copied().collect();
        self.owed.retain(|(id, _)| {
            let go = surplus > 0 && !raised.contains(id);
            surplus -= usize::from(go);
            !go
        });
        for (id, _) in self.owed.drain(..surplus) {
            self.raised.retain(|raised| *raised != id);
        }
    }

    /// Stores what is owed. One that is given up leaves its prediction unsettled, and the next start takes it up.
    fn store(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        match self.queue.buffer.settle(self.owed.clone()) {
            Ok(()) => {
                self.owed.clear();
                for given_up in self.queue.follow_up(self.raised.drain(..)) {
                    self.extras.given_up(given_up);
                }
                if self.refused.take().is_some() {
                    tracing::info!("explanations are stored again");
                }
            }
            Err(error) => {
                if self.refused.is_none() {
                    tracing::error!(%error, "explanations could not be stored; they are kept and tried again");
                }
                let wait = self.refused.map_or(LEFT_ALONE.0, |(_, wait)| (wait * 2).min(LEFT_ALONE.1));
                self.refused = Some((Instant::now() + wait, wait));
            }
        }
    }
}

fn explained(explainer: Option<Result<&Explainer, &Reason>>, wish: &Wish, metrics: &Metrics) -> Settlement {
    let (row, answer) = match wish {
        Wish::Explain { row, answer, .. } => (row, *answer),
        Wish::Skip(reason) => return skip(reason),
    };
    match explainer {
        None => skip(&Reason::Gone),
        Some(Err(reason)) => fail(reason),
        Some(Ok(explainer)) => {
            let begun = Instant::now();
            // A panic, in a library on a row it cannot take, costs one explanation and not the thread.
            let result = catch_unwind(AssertUnwindSafe(|| explainer.explain(row, answer)));
            metrics.explanation(begun.elapsed().as_secs_f64());
            match result {
                Ok(Ok(explanation)) => {
                    if let Some(faithfulness) = explanation.faithfulness {
                        metrics.faithfulness(faithfulness);
                    }
                    Settlement::Explained { id: clock::mint(clock::now()), explanation }
                }
                Ok(Err(error)) => fail(&Reason::Failed(error.to_string())),
                Err(_) => fail(&Reason::Within),
            }
        }
    }
}

fn skip(reason: &Reason) -> Settlement {
    Settlement::Skipped { reason: reason.to_string() }
}

fn fail(reason: &Reason) -> Settlement {
    Settlement::Failed { reason: reason.to_string() }
}
