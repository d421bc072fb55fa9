//! What is asked of the pipeline: which machine is watched by what, and what stands still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::alert::Priority;
use crate::domain::sample::SignalId;
use crate::model::manifest::Threshold;

/// When an asset is predicted.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// At this interval.
    Every(Duration),
    /// Whenever this signal arrives.
    On(SignalId),
}

/// A signal beyond a limit: the condition under which the machine counts as running, or one that a rule looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveWhen {
    /// The signal that tells.
    pub signal: SignalId,
    /// Where it has to be.
    pub threshold: Threshold,
}

/// The rule that stands in while no model can run.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    /// Any of them holding raises the alert; all of them known and none holding clears it.
    pub conditions: Vec<ActiveWhen>,
    /// How urgent its alert is.
    pub priority: Priority,
}

/// A machine to watch.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetPlan {
    /// Its name.
    pub id: Arc<str>,
    /// The name of its model in the configuration; absent: samples are kept, and nothing is predicted.
    pub model: Option<Arc<str>>,
    /// When it is predicted.
    pub trigger: Trigger,
    /// When it counts as running; absent: always.
    pub active_when: Option<ActiveWhen>,
    /// The signal of each feature that one of its models may ask for.
    pub inputs: BTreeMap<Arc<str>, SignalId>,
    /// What stands in while no model can run.
    pub fallback: Option<Fallback>,
}

impl AssetPlan {
    /// Every signal that tells something about it.
    pub(super) fn signals(&self) -> impl Iterator<Item = &SignalId> {
        let trigger = match &self.trigger {
            Trigger::On(signal) => Some(signal),
            Trigger::Every(_) => None,
        };
        let conditions = self.fallback.iter().flat_map(|rule| &rule.conditions).chain(&self.active_when);
        self.inputs.values().chain(conditions.map(|condition| &condition.signal)).chain(trigger)
    }
}

/// What people, or the registry, have stopped, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    /// Why everything stands still, rules too; absent while it does not.
    pub gateway: Option<String>,
    /// The models that stand still, by their name in the configuration.
    pub models: BTreeMap<Arc<str>, String>,
}

impl Stops {
    /// Why this model predicts nothing; `None` for the model of an asset that has none.
    pub(super) fn of(&self, model: Option<&Arc<str>>) -> Option<&String> {
        self.gateway.as_ref().or_else(|| self.models.get(model?))
    }
}
