//! How the models do, as the driver sees it: the last outcomes of each, and what champion and challenger said of the same
//! moment. The driver notes, the rollout looks; one place, in bounded memory, that neither waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use explaind_core::domain::prediction::{ModelKey, Outcome, Output, Prediction, Role, Withheld};

/// Outcomes remembered of each model.
const OUTCOMES: usize = 200;
/// Pairs remembered of each challenger.
pub(crate) const PAIRS: usize = 2000;
/// Models remembered; the ones longest unseen are forgotten.
const MODELS: usize = 64;

/// A model as it runs: bundles may have the same file and the same background, and differ in what they make of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Running {
    /// The file and the background.
    pub(crate) model: ModelKey,
    /// The bundle's version.
    pub(crate) version: Arc<str>,
}

impl Running {
    /// What made a prediction.
    pub(crate) fn of(prediction: &Prediction) -> Self {
        Self { model: prediction.key(), version: Arc::clone(&prediction.model_version) }
    }
}

/// What came of one prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seen {
    /// The model answered, in this time.
    Answered(Duration),
    /// The input was refused.
    Withheld,
    /// The model's answer is no number, or it failed to answer.
    Fault,
}

/// The last outcomes of one model, the oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Recent {
    /// At most 200.
    pub(crate) outcomes: VecDeque<Seen>,
    /// Predictions made in this run of the daemon.
    pub(crate) predicted: u64,
}

impl Recent {
    /// The time in which all but one in twenty predictions were made; `None` while too few were.
    pub(crate) fn usual_time(&self) -> Option<Duration> {
        let time = |seen: &Seen| if let Seen::Answered(time) = seen { Some(*time) } else { None };
        let mut times: Vec<Duration> = self.outcomes.iter().filter_map(time).collect();
        times.sort_unstable();
        (times.len() >= 10).then(|| times.get((times.len() * 19).div_ceil(20).saturating_sub(1)).copied())?
    }
}

/// What a model said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// What is decided on.
    pub(crate) value: f64,
    /// The class, where there are some.
    pub(crate) label: Option<String>,
}

/// What two models said of one machine at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    pub(crate) champion: Answer,
    pub(crate) challenger: Answer,
}

/// See the module. Cheap to clone; all clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vitals(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    models: HashMap<Running, Recent>,
    /// What the champion just said, by asset, and which it was.
    last: HashMap<Arc<str>, (Running, Answer)>,
    pairs: HashMap<(Running, Running), VecDeque<Pair>>,
    /// Models in the order in which they were last seen.
    order: VecDeque<Running>,
}

impl Vitals {
    /// Takes in a prediction and the processor's time that it took. A challenger's comes after the champion's of the same moment.
    pub(crate) fn note(&self, prediction: &Prediction, took: Duration) {
        let seen = match &prediction.outcome {
            Outcome::Predicted(_) => Seen::Answered(took),
            Outcome::Withheld(Withheld::ModelNonFinite | Withheld::ModelFailed { .. }) => Seen::Fault,
            Outcome::Withheld(reason) if !says_something(reason) => return,
            Outcome::Withheld(_) => Seen::Withheld,
        };
        if prediction.role == Role::Fallback {
            return;
        }
        let key = Running::of(prediction);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remember(&key);
        let recent = inner.models.entry(key.clone()).or_default();
        recent.predicted = recent.predicted.saturating_add(u64::from(matches!(seen, Seen::Answered(_))));
        push(&mut recent.outcomes, seen, OUTCOMES);
        let Outcome::Predicted(Output { value, label, .. }) = &prediction.outcome else {
            if prediction.role == Role::Champion {
                inner.last.remove(&prediction.asset);
            }
            return;
        };
        let answer = Answer { value: *value, label: label.clone() };
        if prediction.role == Role::Champion {
            inner.last.insert(Arc::clone(&prediction.asset), (key, answer));
        } else if let Some((champion, said)) = inner.last.remove(&prediction.asset) {
            let pair = Pair { champion: said, challenger: answer };
            push(inner.pairs.entry((champion, key)).or_default(), pair, PAIRS);
        }
    }

    /// What was lately seen of a model.
    pub(crate) fn recent(&self, key: &Running) -> Recent {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).models.get(key).cloned().unwrap_or_default()
    }

    /// What champion and challenger lately said of the same moments.
    pub(crate) fn pairs(&self, champion: &Running, challenger: &Running) -> Vec<Pair> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = inner.pairs.get(&(champion.clone(), challenger.clone()));
        pairs.into_iter().flatten().cloned().collect()
    }

    /// Forgets what was seen of a model: it begins anew.
    pub(crate) fn forget(&self, key: &Running) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
    }
}

impl Inner {
    fn remember(&mut self, key: &Running) {
        if self.order.back() == Some(key) {
            return;
        }
        self.order.retain(|known| known != key);
        self.order.push_back(key.clone());
        while self.order.len() > MODELS {
            if let Some(oldest) = self.order.pop_front() {
                self.forget(&oldest);
            }
        }
    }

    fn forget(&mut self, key: &Running) {
        self.models.remove(key);
        self.order.retain(|known| known != key);
        self.last.retain(|_, (known, _)| known != key);
        self.pairs.retain(|(champion, challenger), _| champion != key && challenger != key);
    }
}

/// Whether a reason says something of the model, or of what it asks of its input: a source that is away says nothing.
fn says_something(reason: &Withheld) -> bool {
    matches!(
        reason,
        Withheld::OutOfRange { .. }
            | Withheld::TooFast { .. }
            | Withheld::NotANumber { .. }
            | Withheld::ModelNonFinite
            | Withheld::ModelFailed { .. }
    )
}

fn push<T>(queue: &mut VecDeque<T>, new: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(new);
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::record::Body;

    use super::*;
    use crate::buffer::samples;

    fn prediction(role: Role, version: u8, outcome: Outcome) -> Prediction {
        let Body::Prediction(sample) = samples::prediction(1, 65.0).body else { panic!("a prediction") };
        let digest = explaind_core::domain::prediction::Digest([version; 32]);
        Prediction { role, model_digest: digest, outcome, ..sample }
    }

    fn said(value: f64) -> Outcome {
        Outcome::Predicted(Output { value, label: None, probability: None })
    }

    #[test]
    fn what_two_models_say_of_one_moment_is_a_pair() {
        let vitals = Vitals::default();
        let note = |role, version, outcome| {
            let prediction = prediction(role, version, outcome);
            vitals.note(&prediction, Duration::from_millis(1));
            Running::of(&prediction)
        };
        let champion = note(Role::Champion, 1, said(0.1));
        let challenger = note(Role::Shadow, 2, said(0.2));
        // Where one of them says nothing there is nothing to compare.
        note(Role::Champion, 1, Outcome::Withheld(Withheld::ModelNonFinite));
        note(Role::Shadow, 2, said(0.3));
        note(Role::Champion, 1, said(0.4));
        note(Role::Shadow, 2, Outcome::Withheld(Withheld::NoModel));
        note(Role::Champion, 1, said(0.5));
        note(Role::Fallback, 1, said(1.0));
        note(Role::Shadow, 2, said(0.6));
        let pairs: Vec<_> = vitals
            .pairs(&champion, &challenger)
            .iter()
            .map(|pair| (pair.champion.value, pair.challenger.value))
            .collect();
        assert_eq!(pairs, [(0.1, 0.2), (0.5, 0.6)]);
        let recent = vitals.recent(&champion);
        assert_eq!((recent.predicted, recent.outcomes.len()), (3, 4));
        assert_eq!(recent.outcomes.iter().filter(|seen| **seen == Seen::Fault).count(), 1);
        vitals.forget(&challenger);
        assert_eq!((vitals.recent(&challenger), vitals.pairs(&champion, &challenger)), (Recent::default(), Vec::new()));
    }

    #[test]
    fn memory_is_bounded_and_the_usual_time_is_not_the_worst() {
        let vitals = Vitals::default();
        let time = |number: u64| Duration::from_millis(if number.is_multiple_of(50) { 900 } else { 2 });
        let mut key = None;
        for number in 1..1000 {
            let prediction = prediction(Role::Champion, 7, said(0.1));
            vitals.note(&prediction, time(number));
            key = Some(Running::of(&prediction));
        }
        let recent = vitals.recent(&key.unwrap());
        assert_eq!((recent.outcomes.len(), recent.predicted), (OUTCOMES, 999));
        assert_eq!(recent.usual_time(), Some(Duration::from_millis(2)));
        for version in 0..200 {
            vitals.note(&prediction(Role::Champion, version, said(0.1)), Duration::ZERO);
        }
        assert_eq!(vitals.0.lock().unwrap().models.len(), MODELS);
    }
}
