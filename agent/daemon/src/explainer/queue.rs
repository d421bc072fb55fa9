//! What waits for the explainer, and what is left out when it cannot keep up.
//!
//! The policy:
//!
//! 1. Models that are installed, so that what they predict is not explained before: of one name, beyond [`KEPT`] the
//!    oldest goes, as it would once it is installed.
//! 2. Predictions that raised an alert: all of them, in order.
//! 3. One of each in turn, so that none keeps the others waiting:
//!    - questions that somebody waits for: beyond [`QUESTIONS`] refused;
//!    - what would clear those alerts, and what is like them: beyond [`FOLLOW_UPS`] the oldest is given up; it can
//!      still be asked for;
//!    - all other predictions: of each machine, [`WAITING`] may wait. When one more comes, every other prediction of
//!      that machine is left out from then on, then three of four, and so on, until fewer than [`FEW`] wait; then half
//!      as many are left out with each one that comes. So what is explained stays evenly spread and fresh, and a fast
//!      machine does not crowd out a slow one. What is left out is settled as skipped, with the reason.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::prediction::{ModelKey, Role};
use explaind_core::domain::reason::Reason;
use explaind_core::domain::record::{Body, Record};
use explaind_core::model::Model;
use explaind_core::pipeline::{Made, Wish};
use uuid::Uuid;

use super::shelf::{KEPT, Prepared};
use super::{again, skip};
use crate::buffer::Buffer;
use crate::question::Question;

/// Predictions that raised an alert and may wait. More alerts at once than this are beyond any reader.
const URGENT: usize = 4096;
/// Questions that may wait.
const QUESTIONS: usize = 16;
/// Alerts whose counterfactuals and cases may wait.
const FOLLOW_UPS: usize = 256;
/// Other predictions of one machine that may wait.
const WAITING: usize = 64;
/// With fewer waiting than this, less is left out.
const FEW: usize = WAITING / 4;
/// Settlements of what is left out that may wait for the explainer's next flush; beyond, whoever left it out stores
/// them.
const LEFT_OUT: usize = 4096;
/// Of a machine's predictions at least one in so many is explained, if it can be at all.
const FEWEST: u32 = 1024;

/// A prediction to explain.
pub(super) struct Job {
    pub(super) prediction: Uuid,
    pub(super) asset: Arc<str>,
    pub(super) model: ModelKey,
    pub(super) wish: Wish,
}

impl Job {
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self.wish, Wish::Explain { urgent: true, .. })
    }
}

/// The next thing to do.
pub(super) enum Work {
    /// Explain this model's predictions too.
    Install(Box<Prepared>),
    Explain(Job),
    Answer(Question),
    /// Say of this prediction what would clear its alert, and what is like it.
    FollowUp(Uuid),
    /// Store what was left out.
    Settle,
}

#[derive(Default)]
struct Lanes {
    installed: VecDeque<Box<Prepared>>,
    urgent: VecDeque<Job>,
    questions: VecDeque<Question>,
    follow_ups: VecDeque<Uuid>,
    others: VecDeque<Job>,
    machines: HashMap<Arc<str>, Machine>,
    left_out: Vec<(Uuid, Settlement)>,
    turn: Turn,
    closed: bool,
}

/// Whose turn it is, once no alert waits for its explanation.
#[derive(Debug, Clone, Copy, Default)]
enum Turn {
    #[default]
    Question,
    FollowUp,
    Other,
}

impl Turn {
    fn next(self) -> Self {
        match self {
            Self::Question => Self::FollowUp,
            Self::FollowUp => Self::Other,
            Self::Other => Self::Question,
        }
    }
}

/// How one machine's other predictions are thinned.
struct Machine {
    waiting: usize,
    /// One in so many is explained.
    one_in: u32,
    /// Left out since the last one that was not.
    left_out: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self { waiting: 0, one_in: 1, left_out: u32::MAX }
    }
}

impl Machine {
    /// Whether the next prediction may wait; else the reason why it is left out.
    fn admit(&mut self) -> Result<(), Reason> {
        if self.waiting < FEW {
            self.one_in = (self.one_in / 2).max(1);
        }
        self.left_out = self.left_out.saturating_add(1);
        if self.left_out >= self.one_in {
            if self.waiting < WAITING {
                self.left_out = 0;
                self.waiting += 1;
                return Ok(());
            }
            self.one_in = (self.one_in * 2).min(FEWEST);
        }
        Err(Reason::Crowded { one_in: self.one_in })
    }
}

impl Lanes {
    /// Puts a job into its lane; returns what is left out for it, with the reason.
    fn push(&mut self, job: Job) -> Option<(Uuid, Settlement)> {
        if job.is_urgent() {
            self.urgent.push_back(job);
            let surplus = self.urgent.len() > URGENT;
            let oldest = if surplus { self.urgent.pop_front() } else { None };
            return oldest.map(|job| (job.prediction, skip(&Reason::ManyAlerts)));
        }
        if let Wish::Skip(reason) = &job.wish {
            // Costs nothing but the telling.
            return Some((job.prediction, skip(reason)));
        }
        match self.machines.entry(Arc::clone(&job.asset)).or_default().admit() {
            Ok(()) => {
                self.others.push_back(job);
                None
            }
            Err(reason) => Some((job.prediction, skip(&reason))),
        }
    }

    /// Puts a model into its lane; returns what it replaces there.
    fn install(&mut self, prepared: Box<Prepared>) -> Option<Box<Prepared>> {
        let key = prepared.key();
        let same = self.installed.iter().position(|waiting| waiting.key() == key);
        let of_name = || self.installed.iter().filter(|waiting| waiting.key().name == key.name).count();
        let first = || self.installed.iter().position(|waiting| waiting.key().name == key.name);
        let replaced = same.or_else(|| if of_name() < KEPT { None } else { first() });
        let replaced = replaced.and_then(|index| self.installed.remove(index));
        self.installed.push_back(prepared);
        replaced
    }

    fn take(&mut self) -> Option<Work> {
        if let Some(prepared) = self.installed.pop_front() {
            return Some(Work::Install(prepared));
        }
        if let Some(job) = self.urgent.pop_front() {
            return Some(Work::Explain(job));
        }
        // The next start takes them up.
        if self.closed {
            self.follow_ups.clear();
        }
        for turn in [self.turn, self.turn.next(), self.turn.next().next()] {
            if let Some(work) = self.take_of(turn) {
                self.turn = turn.next();
                return Some(work);
            }
        }
        (!self.left_out.is_empty()).then_some(Work::Settle)
    }

    fn take_of(&mut self, turn: Turn) -> Option<Work> {
        match turn {
            Turn::Question => self.questions.pop_front().map(Work::Answer),
            Turn::FollowUp => self.follow_ups.pop_front().map(Work::FollowUp),
            Turn::Other => {
                let job = self.others.pop_front()?;
                if let Some(machine) = self.machines.get_mut(&job.asset) {
                    machine.waiting = machine.waiting.saturating_sub(1);
                }
                Some(Work::Explain(job))
            }
        }
    }
}

/// What waits at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) urgent: bool,
    pub(super) anything: bool,
}

/// The queue between the driver and the explainer's thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queue {
    lanes: Arc<(Mutex<Lanes>, Condvar)>,
    pub(super) buffer: Buffer,
}

impl Queue {
    /// An empty queue; what it leaves out it settles in `buffer`.
    pub(crate) fn new(buffer: Buffer) -> Self {
        Self { lanes: Arc::default(), buffer }
    }

    /// Nothing more comes; the thread ends when it has done what waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.lanes.1.notify_all();
    }

    /// Queues predictions that are stored.
    pub(crate) fn request(&self, made: Vec<Made>) {
        let mut surplus = Vec::new();
        {
            let mut lanes = self.lock();
            for Made { id, asset, model, wish } in made {
                let left_out = lanes.push(Job { prediction: id, asset, model, wish });
                lanes.left_out.extend(left_out);
            }
            if lanes.left_out.len() > LEFT_OUT {
                surplus = std::mem::take(&mut lanes.left_out);
            }
        }
        self.lanes.1.notify_one();
        if !surplus.is_empty()
            && let Err(error) = self.buffer.settle(surplus)
        {
            tracing::error!(%error, "what was left out could not be stored");
        }
    }

    /// Has the predictions of one more model explained; those of up to three others of its name still are. Comes before
    /// whatever waits, so a model that is installed before it predicts is there in time.
    pub(crate) fn install(&self, prepared: Prepared) {
        let replaced = self.lock().install(Box::new(prepared));
        self.lanes.1.notify_one();
        // Large, so it goes when the lock is free again.
        drop(replaced);
    }

    /// Takes over what is left out and not stored.
    pub(super) fn left_out(&self) -> Vec<(Uuid, Settlement)> {
        std::mem::take(&mut self.lock().left_out)
    }

    /// Queues the predictions that an earlier run stored and did not settle. Those that an alert names are urgent. `models`
    /// are those that [`run`](super::run) is given.
    pub(crate) fn resume(&self, unsettled: Vec<Record>, models: &[(Arc<str>, Arc<Model>)]) {
        let models: HashMap<ModelKey, &Arc<Model>> =
            models.iter().map(|(name, model)| (model.key(name), model)).collect();
        let named: HashSet<Uuid> = self.buffer.alerts().iter().filter_map(|alert| alert.prediction_id).collect();
        let made = unsettled.into_iter().filter_map(|record| match record.body {
            Body::Prediction(prediction) => {
                let model = prediction.key();
                let row = models.get(&model).and_then(|model| again(&prediction, model));
                let wish = match (prediction.role, row) {
                    (Role::Shadow, _) => Wish::Skip(Reason::Challenger),
                    (Role::Fallback, _) => Wish::Skip(Reason::Rule),
                    (Role::Champion, Some(row)) => {
                        Wish::Explain { row, answer: None, urgent: named.contains(&record.id) }
                    }
                    (Role::Champion, None) => Wish::Skip(Reason::Nothing),
                };
                Some(Made { id: record.id, asset: prediction.asset, model, wish })
            }
            _ => None,
        });
        self.request(made.collect());
    }

    /// Queues a question; false when too many wait.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut lanes = self.lock();
        let taken = lanes.questions.len() < QUESTIONS && !lanes.closed;
        if taken {
            lanes.questions.push_back(question);
            self.lanes.1.notify_one();
        }
        taken
    }

    /// Queues what is to be said of an explained prediction that raised an alert. Returns those that are given up for it.
    pub(super) fn follow_up(&self, predictions: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
        let mut lanes = self.lock();
        lanes.follow_ups.extend(predictions);
        let surplus = lanes.follow_ups.len().saturating_sub(FOLLOW_UPS);
        lanes.follow_ups.drain(..surplus).collect()
    }

    /// What waits.
    pub(super) fn glance(&self) -> Glance {
        let lanes = self.lock();
        let urgent = !lanes.urgent.is_empty();
        let later = lanes.questions.is_empty() && lanes.follow_ups.is_empty() && lanes.others.is_empty();
        Glance { urgent, anything: urgent || !later }
    }

    /// The next thing to do, once there is one; `None` when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Work> {
        let mut lanes = self.lock();
        loop {
            if let Some(work) = lanes.take() {
                return Some(work);
            }
            if lanes.closed {
                return None;
            }
            lanes = self.lanes.1.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // A panic elsewhere leaves the lanes whole: they are only ever pushed to and taken from.
        self.lanes.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::prediction::Digest;
    use tokio::sync::oneshot;

    use super::*;
    use crate::buffer::samples::{open, prediction};
    use crate::question::About;

    fn job(n: u128, asset: &str, urgent: bool) -> Job {
        let wish = Wish::Explain { row: Vec::new(), answer: None, urgent };
        let digest = Digest([0; 32]);
        let model = ModelKey { name: "m".into(), model: digest, background: digest };
        Job { prediction: Uuid::from_u128(n), asset: asset.into(), model, wish }
    }

    fn taken(lanes: &mut Lanes) -> Option<u128> {
        match lanes.take()? {
            Work::Explain(job) => Some(job.prediction.as_u128()),
            Work::FollowUp(id) => Some(id.as_u128()),
            Work::Answer(_) | Work::Settle | Work::Install(_) => None,
        }
    }

    #[test]
    fn alerts_go_first_then_what_is_said_of_them_then_the_rest() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.push(job(1, "a", false)), None);
        assert_eq!(lanes.push(job(2, "a", true)), None);
        lanes.follow_ups.push_back(Uuid::from_u128(3));
        assert_eq!(lanes.push(job(4, "a", true)), None);
        lanes.follow_ups.push_back(Uuid::from_u128(5));
        let order: Vec<u128> = std::iter::from_fn(|| taken(&mut lanes)).collect();
        assert_eq!(order, [2, 4, 3, 1, 5]);
    }

    #[test]
    fn questions_take_turns_with_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let record = open(folder.path()).append(vec![prediction(0, 65.0)]).unwrap().remove(0);
        let mut lanes = Lanes::default();
        for n in 0..3 {
            let prediction = Box::new(record.as_ref().clone());
            let about = About::Counterfactuals(oneshot::channel().0);
            lanes.questions.push_back(Question { prediction, about });
            assert_eq!(lanes.push(job(n, "a", false)), None);
            lanes.follow_ups.push_back(Uuid::from_u128(10 + n));
        }
        assert_eq!(lanes.push(job(20, "a", true)), None);
        let order: Vec<Option<u128>> = (0..10).map(|_| taken(&mut lanes)).collect();
        let question = None;
        let turns = [question, Some(10), Some(0), question, Some(11), Some(1), question, Some(12), Some(2)];
        assert_eq!(order[0], Some(20), "alerts first");
        assert_eq!(order[1..], turns);
    }

    /// Twice as many come as can be explained: what is left out is every other one, evenly, and little ever waits.
    #[test]
    fn under_load_predictions_are_thinned_evenly_and_say_so() {
        let mut lanes = Lanes::default();
        let (mut explained, mut skipped) = (Vec::new(), 0);
        for n in 0..20_000 {
            if let Some((_, Settlement::Skipped { reason })) = lanes.push(job(n, "fast", false)) {
                assert!(reason.starts_with("no capacity; of this machine's predictions one in "), "{reason}");
                skipped += 1;
            }
            if n % 2 == 0 {
                explained.extend(taken(&mut lanes));
            }
            assert!(lanes.others.len() <= WAITING);
        }
        assert!((9_000..=10_000).contains(&explained.len()), "{}", explained.len());
        assert_eq!(explained.len() + skipped + lanes.others.len(), 20_000);
        let widest = explained.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest <= Some(4), "{widest:?} predictions in a row were left out");
    }

    #[test]
    fn a_fast_machine_does_not_crowd_out_a_slow_one_and_recovers_by_itself() {
        let mut lanes = Lanes::default();
        for n in 0..10_000 {
            lanes.push(job(n, "fast", false));
            if n % 100 == 0 {
                assert_eq!(lanes.push(job(100_000 + n, "slow", false)), None);
                while taken(&mut lanes).is_some_and(|id| id < 100_000) {}
            }
        }
        while taken(&mut lanes).is_some() {}
        // With room again, soon nothing is left out any more.
        let admitted = (0..50).filter(|n| {
            let admitted = lanes.push(job(*n, "fast", false)).is_none();
            while taken(&mut lanes).is_some() {}
            admitted
        });
        assert!(admitted.count() > 45);
    }

    #[test]
    fn no_alert_is_left_out_for_others_and_beyond_all_bounds_the_oldest_goes() {
        let mut lanes = Lanes::default();
        for n in 0..URGENT as u128 {
            assert_eq!(lanes.push(job(n, "a", true)), None);
            lanes.push(job(1_000_000 + n, "a", false));
        }
        assert_eq!(lanes.push(job(9_999_999, "a", true)).map(|(id, _)| id), Some(Uuid::from_u128(0)));
    }
}
