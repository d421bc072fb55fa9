//! From samples to decisions, purely: one call takes samples, or a tick, and the time, and returns what follows.
//!
//! The story of one asset: its signals' newest readings are kept ([`validate`]); when its trigger fires they become one
//! checked row, or the reason why not; for models that take windows the newest rows become one ([`window`]); the model runs; the decision rule ([`decide`]) says whether its condition
//! begins or ends; the alarm ([`alarm`]) turns that into transitions. What the gateway is told of itself ([`gateway`]) does too. Every prediction, made or withheld, is a record,
//! and comes before the transitions that it brings.

pub mod alarm;
pub mod decide;
pub mod gateway;
pub mod validate;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::alert::{AlertTransition, GATEWAY, Suppression};
use crate::domain::prediction::{Outcome, Prediction, Role, Withheld};
use crate::domain::record::{Body, NewRecord};
use crate::domain::sample::{Sample, SignalId};
use crate::domain::time::Now;
use crate::model::manifest::{Decision, Feature, Threshold};
use crate::model::{Model, ModelError};
use alarm::{Alarm, OpenAlert};
use decide::{Decider, Verdict};
use validate::{DEFAULT_MAX_AGE, Readings, Row};
use window::Window;

/// When an asset is predicted.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// At this interval.
    Every(Duration),
    /// Whenever this signal arrives.
    On(SignalId),
}

/// The condition under which the machine counts as running.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveWhen {
    /// The signal that tells.
    pub signal: SignalId,
    /// Where it has to be.
    pub threshold: Threshold,
}

/// A machine to watch: every feature of its model is bound to a signal.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetPlan {
    /// Its name.
    pub id: Arc<str>,
    /// The name of its model in the configuration.
    pub model: Arc<str>,
    /// When it is predicted.
    pub trigger: Trigger,
    /// When it counts as running; absent: always.
    pub active_when: Option<ActiveWhen>,
    /// One signal per feature, in the model's order.
    pub signals: Vec<SignalId>,
}

/// What to do about a prediction's explanation.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Explain this row; `urgent` when somebody waits for it.
    Explain {
        /// The model's input.
        row: Vec<f32>,
        /// What the model said of it, in the model's own space; absent where that is no longer known.
        answer: Option<f64>,
        /// Whether the prediction raised an alert: it is the one that the alert shows.
        urgent: bool,
    },
    /// There is nothing to explain.
    Nothing,
}

/// A prediction that was made or withheld.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The record's id.
    pub id: Uuid,
    /// The machine.
    pub asset: Arc<str>,
    /// Which model it was, by digest and name, for whoever explains it.
    pub model: Arc<str>,
    /// Its explanation.
    pub wish: Wish,
}

/// What follows from one call: records in the order in which they must be stored, all together.
#[derive(Debug, Default)]
pub struct Follows {
    /// Predictions, each before the transitions that it brings.
    pub records: Vec<NewRecord>,
    /// The predictions among them.
    pub made: Vec<Made>,
}

/// Everything that is watched.
pub struct Pipeline {
    assets: Vec<Asset>,
    /// One per (asset, decision rule), and those of assets that are no longer configured but still open.
    alarms: Vec<Alarm>,
    readings: Readings,
    going: gateway::Going,
}

struct Asset {
    plan: AssetPlan,
    bindings: Vec<(Feature, SignalId)>,
    model: Arc<Model>,
    /// Of a model that takes windows: the rows so far.
    window: Option<Window>,
    decider: Option<Decider>,
    alarm: usize,
    due: Option<Duration>,
}

impl Pipeline {
    /// Binds assets to their models and takes up the alarms where the records left them.
    ///
    /// The transitions returned close the alerts of assets and rules that are no longer configured.
    ///
    /// # Panics
    /// Never: an asset whose signals do not match its model's features watches the features that have one.
    pub fn new(
        plans: Vec<(AssetPlan, Arc<Model>)>,
        open: Vec<OpenAlert>,
        now: Now,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> (Self, Follows) {
        let mut pipeline = Self {
            assets: Vec::new(),
            alarms: open.into_iter().map(Alarm::restored).collect(),
            readings: Readings::default(),
            going: gateway::Going::default(),
        };
        let restored = pipeline.alarms.len();
        let mut kept = vec![false; restored];
        for (plan, model) in plans {
            let alarm = pipeline.alarm_of(&plan, model.manifest().decision.as_ref());
            if let (Some(kept), Some(_)) = (kept.get_mut(alarm), &model.manifest().decision) {
                *kept = true;
            }
            pipeline.add(plan, model, alarm);
        }
        let mut follows = Follows::default();
        let watched = |alarm: &Alarm, kept: bool| kept || alarm.is_of_asset(GATEWAY);
        for (alarm, _) in pipeline.alarms.iter_mut().zip(kept).filter(|(alarm, kept)| !watched(alarm, *kept)) {
            let reason = "the configuration no longer watches this";
            // Nothing would ever lift what lies over it, and nobody would see it.
            let lifted = alarm.suppress(Suppression::None, reason);
            let cleared = if alarm.is_raised() { alarm.clear(None, reason.to_owned()) } else { None };
            follows.records.extend(lifted.into_iter().chain(cleared).map(|change| record(mint(), now, change)));
        }
        (pipeline, follows)
    }

    fn alarm_of(&mut self, plan: &AssetPlan, rule: Option<&Decision>) -> usize {
        if let Some(index) = self.alarms.iter().position(|alarm| alarm.is_of(&plan.id, &plan.model)) {
            if let Some(rule) = rule {
                self.alarms[index].set_priority(rule.priority);
            }
            return index;
        }
        let priority = rule.map_or(crate::domain::alert::Priority::Low, |rule| rule.priority);
        self.alarms.push(Alarm::new(Arc::clone(&plan.id), Arc::clone(&plan.model), priority));
        self.alarms.len() - 1
    }

    fn add(&mut self, plan: AssetPlan, model: Arc<Model>, alarm: usize) {
        let bindings: Vec<_> = model.manifest().features.iter().cloned().zip(plan.signals.iter().cloned()).collect();
        let active = plan.active_when.as_ref().map(|condition| &condition.signal);
        let trigger = match &plan.trigger {
            Trigger::On(signal) => Some(signal),
            Trigger::Every(_) => None,
        };
        for signal in bindings.iter().map(|(_, signal)| signal).chain(active).chain(trigger) {
            self.readings.listen(signal);
        }
        let raised = self.alarms[alarm].is_raised();
        let decider = model.manifest().decision.clone().map(|rule| Decider::new(rule, raised));
        let window = Window::of(model.manifest());
        self.assets.push(Asset { plan, bindings, model, window, decider, alarm, due: None });
    }

    /// Takes in samples that arrived together, then predicts the assets that wait for one of them.
    pub fn samples(&mut self, samples: &[Sample], now: Now, mint: &mut dyn FnMut() -> Uuid) -> Follows {
        let news: Vec<&SignalId> =
            samples.iter().filter(|sample| self.readings.take(sample)).map(|sample| &sample.signal).collect();
        let mut follows = Follows::default();
        for index in 0..self.assets.len() {
            let plan = &self.assets[index].plan;
            let fires = matches!(&plan.trigger, Trigger::On(signal) if news.contains(&signal));
            let switches = plan.active_when.as_ref().is_some_and(|condition| news.contains(&&condition.signal));
            if fires {
                self.predict(index, now, mint, &mut follows);
            } else if switches {
                // A machine that is switched off may fall silent: its alert must not wait for a prediction.
                self.switch(index, now, mint, &mut follows);
            }
        }
        follows
    }

    /// Takes in that a source stands by what it delivered since `connected`.
    pub fn alive(&mut self, source: &str, connected: Now, at: Now) {
        self.readings.vouch(source, connected, at);
    }

    /// Predicts the assets whose interval has passed. One that is late predicts once and takes up its rhythm from now.
    pub fn tick(&mut self, now: Now, mint: &mut dyn FnMut() -> Uuid) -> Follows {
        let mut follows = Follows::default();
        for index in 0..self.assets.len() {
            let Trigger::Every(interval) = self.assets[index].plan.trigger else { continue };
            match self.assets[index].due {
                Some(due) if now.monotonic < due => {}
                due => {
                    let next = due.map_or(now.monotonic, |due| due).saturating_add(interval);
                    let late = next <= now.monotonic;
                    self.assets[index].due = Some(if late { now.monotonic.saturating_add(interval) } else { next });
                    // The first tick only starts the rhythm: sources have had no time to deliver.
                    if due.is_some() {
                        self.predict(index, now, mint, &mut follows);
                    }
                }
            }
        }
        follows
    }

    /// When [`Pipeline::tick`] has something to do next, as time since boot.
    pub fn next_tick(&self) -> Option<Duration> {
        self.assets
            .iter()
            .filter(|asset| matches!(asset.plan.trigger, Trigger::Every(_)))
            .map(|asset| asset.due.unwrap_or(Duration::ZERO))
            .min()
    }

    /// What acknowledging an alert changes; `None` when no open alert has this id. Nothing holds before
    /// [`Pipeline::apply`] is told that the transition is on disk.
    pub fn acknowledgement(&self, id: Uuid, author: String, comment: Option<String>) -> Option<AlertTransition> {
        self.alarms.iter().find(|alarm| alarm.id() == Some(id))?.acknowledgement(author, comment)
    }

    /// Takes in a transition that a person brought and that is on disk.
    pub fn apply(&mut self, transition: &AlertTransition) {
        if let Some(alarm) = self.alarms.iter_mut().find(|alarm| alarm.id() == Some(transition.alert_id)) {
            alarm.apply(transition);
        }
    }

    /// Looks whether the machine runs, and suppresses its alert while it does not. What is not known changes nothing,
    /// and counts as running, so that the missing signal shows as a withheld prediction.
    fn switch(&mut self, index: usize, now: Now, mint: &mut dyn FnMut() -> Uuid, follows: &mut Follows) -> bool {
        let Some(asset) = self.assets.get_mut(index) else { return false };
        let Some(alarm) = self.alarms.get_mut(asset.alarm) else { return false };
        let switched = match asset.is_running(&self.readings, now) {
            None => return true,
            Some(true) => alarm.suppress(Suppression::None, "the machine runs again"),
            Some(false) => alarm.suppress(Suppression::ByDesign, "the machine is off"),
        };
        follows.records.extend(switched.map(|transition| record(mint(), now, transition)));
        let running = !alarm.is_suppressed();
        if !running {
            asset.decider.iter_mut().for_each(Decider::rest);
            asset.window.iter_mut().for_each(Window::interrupt);
        }
        running
    }

    fn predict(&mut self, index: usize, now: Now, mint: &mut dyn FnMut() -> Uuid, follows: &mut Follows) {
        if !self.switch(index, now, mint, follows) {
            return;
        }
        let Some(asset) = self.assets.get_mut(index) else { return };
        let Some(alarm) = self.alarms.get_mut(asset.alarm) else { return };
        if asset.window.as_ref().is_some_and(|window| !window.is_due(now)) {
            return;
        }
        let mut row = self.readings.row(&asset.bindings, now);
        if let Some(window) = &mut asset.window {
            row = window.push(row, now);
        }
        let id = mint();
        let (prediction, wish) = asset.infer(row);
        let transition = asset.decide(&prediction, id, alarm, now, mint);
        let raises = transition.as_ref().is_some_and(|transition| transition.raised.is_some());
        let prediction = Prediction { alert: alarm.is_raised().then(|| alarm.id()).flatten(), ..prediction };
        follows.records.push(NewRecord { id, at: now, body: Body::Prediction(prediction) });
        follows.records.extend(transition.map(|transition| {
            // An alert's id is the id of the record that began it.
            let began = !transition.from.is_open();
            record(if began { transition.alert_id } else { mint() }, now, transition)
        }));
        let wish = match wish {
            Some((row, answer)) => Wish::Explain { row, answer: Some(answer), urgent: raises },
            None => Wish::Nothing,
        };
        let (asset, model) = (Arc::clone(&asset.plan.id), Arc::clone(&asset.plan.model));
        follows.made.push(Made { id, asset, model, wish });
    }
}

impl Asset {
    /// Whether the machine runs; `None` when the signal that tells is missing or old.
    fn is_running(&self, readings: &Readings, now: Now) -> Option<bool> {
        match &self.plan.active_when {
            None => Some(true),
            Some(condition) => {
                readings.number(&condition.signal, DEFAULT_MAX_AGE, now).map(|value| condition.threshold.holds(value))
            }
        }
    }

    /// Runs the model on a row. With the prediction come the row to explain, where there is one, and what is explained.
    fn infer(&self, row: Row) -> (Prediction, Option<(Vec<f32>, f64)>) {
        let manifest = self.model.manifest();
        let (outcome, explained) = match row.values {
            Err(reason) => (Outcome::Withheld(reason), None),
            Ok(values) => match self.model.predict(&values) {
                Ok(answer) => (Outcome::Predicted(answer.output), Some((values, answer.explained))),
                Err(ModelError::NonFinite) => (Outcome::Withheld(Withheld::ModelNonFinite), None),
                Err(error) => (Outcome::Withheld(Withheld::ModelFailed { error: error.to_string() }), None),
            },
        };
        let prediction = Prediction {
            asset: Arc::clone(&self.plan.id),
            model: Arc::clone(&self.plan.model),
            model_version: Arc::clone(&manifest.version),
            model_digest: self.model.model_digest(),
            background_digest: self.model.background_digest(),
            role: Role::Champion,
            outcome,
            source_time: row.source_time,
            inputs: row.inputs,
            input_quality: row.quality,
            alert: None,
        };
        (prediction, explained)
    }

    fn decide(
        &mut self,
        prediction: &Prediction,
        id: Uuid,
        alarm: &mut Alarm,
        now: Now,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> Option<AlertTransition> {
        let decider = self.decider.as_mut()?;
        let Outcome::Predicted(output) = &prediction.outcome else {
            decider.withheld();
            return None;
        };
        let word = if output.probability.is_some() { "probability" } else { "output" };
        let verdict = decider.predicted(output.value, now);
        let rule = decider.rule();
        match verdict {
            Verdict::Raise => {
                let reason = format!("{word} {:.4} {}", output.value, rule.raise);
                Some(alarm.raise(mint(), Some((id, rule.raise.side())), reason))
            }
            Verdict::Clear => alarm.clear(Some(id), format!("{word} {:.4} {}", output.value, rule.clear)),
            Verdict::Holds | Verdict::Rests => None,
        }
    }
}

fn record(id: Uuid, at: Now, transition: AlertTransition) -> NewRecord {
    NewRecord { id, at, body: Body::Alert(transition) }
}
