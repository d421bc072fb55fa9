//! One machine: who is in charge of it, and what follows when it is predicted.
//!
//! In charge is the first that can be, of its model, its rule, and nobody. A model that takes windows comes into charge
//! when its own window is full; until then the one before it, or the rule, goes on. Whoever comes into charge takes up the
//! alert as it stands. A challenger has a window of its own and no say.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::alarm::Alarm;
use super::decide::{Decider, Verdict};
use super::engine::{Engine, Explained};
use super::plan::{AssetPlan, Stops};
use super::rule::Rule;
use super::validate::{DEFAULT_MAX_AGE, Readings, Row};
use crate::domain::alert::AlertTransition;
use crate::domain::live::LiveAsset;
use crate::domain::prediction::{Digest, Outcome, Prediction, Role, Withheld};
use crate::domain::sample::SignalId;
use crate::domain::time::Now;
use crate::model::Model;
use crate::model::manifest::Feature;

/// What stands in the place of a version on a rule's records.
const RULE: &str = "rule";

/// A machine and what watches it.
pub(super) struct Asset {
    pub(super) plan: AssetPlan,
    /// Its place among the alarms; an asset without a model has none.
    pub(super) alarm: Option<usize>,
    pub(super) due: Option<Duration>,
    champion: Option<Engine>,
    /// What takes the champion's place once its window is full.
    next: Option<Engine>,
    challenger: Option<Engine>,
    /// What was champion before and takes windows: it goes on to see rows, so that the way back is short.
    previous: Option<Engine>,
    rule: Option<Rule>,
    /// All inputs, unchecked, for records that no model stands behind.
    inputs: Vec<(Feature, SignalId)>,
    /// Who was in charge when last asked.
    charge: Option<Charge>,
    decider: Option<Decider>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charge {
    Model,
    Rule,
    Nobody,
}

/// What follows when a machine is predicted, in this order.
#[derive(Default)]
pub(super) struct Turn {
    /// Whoever came into charge raises no alerts, so the open one is cleared.
    pub(super) cleared: Option<AlertTransition>,
    /// The prediction of whoever is in charge, what is to be explained of it, and what it brings. None while its window
    /// waits for a later row.
    pub(super) main: Option<(Said, Option<AlertTransition>)>,
    /// The challenger's, which brings nothing.
    pub(super) beside: Option<Said>,
}

/// A prediction.
pub(super) struct Said {
    pub(super) prediction: Prediction,
    /// What is to be explained of it.
    pub(super) explained: Option<Explained>,
    /// What the model took; nothing where none ran.
    pub(super) took: Duration,
}

impl From<Prediction> for Said {
    fn from(prediction: Prediction) -> Self {
        Self { prediction, explained: None, took: Duration::ZERO }
    }
}

impl Asset {
    pub(super) fn new(plan: AssetPlan, model: Option<Arc<Model>>, alarm: Option<usize>) -> Self {
        let champion = model.map(|model| Engine::new(model, &plan));
        let inputs = plan.inputs.iter().map(|(name, signal)| (Feature::plain(name), signal.clone())).collect();
        let rule = plan.fallback.clone().map(Rule::new);
        Self {
            plan,
            alarm,
            due: None,
            champion,
            next: None,
            challenger: None,
            previous: None,
            rule,
            inputs,
            charge: None,
            decider: None,
        }
    }

    /// The model that predicts it now, or would.
    pub(super) fn model(&self) -> Option<&Arc<Model>> {
        self.champion.as_ref().map(Engine::model)
    }

    /// Gives it another model, or none. One that takes windows waits for its own to be full, while there is something
    /// else in charge; a challenger that is promoted, and the champion before, bring theirs along.
    pub(super) fn install(&mut self, model: Option<Arc<Model>>) {
        let Some(model) = model else {
            self.next = None;
            return self.crown(None);
        };
        let is_it = |engine: &mut Engine| engine.runs(&model);
        let waiting = self.next.take_if(is_it);
        self.next = None;
        if self.champion.as_ref().is_some_and(|engine| engine.runs(&model)) {
            return;
        }
        let known = waiting.or_else(|| self.challenger.take_if(is_it)).or_else(|| self.previous.take_if(is_it));
        let engine = known.unwrap_or_else(|| Engine::new(Arc::clone(&model), &self.plan));
        let stands_in = self.champion.is_some() || self.rule.is_some();
        if stands_in && engine.takes_windows() {
            self.next = Some(engine);
        } else {
            self.crown(Some(engine));
        }
    }

    fn crown(&mut self, engine: Option<Engine>) {
        let before = std::mem::replace(&mut self.champion, engine);
        self.previous = before.filter(Engine::takes_windows).or(self.previous.take());
        self.charge = None;
    }

    /// Gives it another challenger, or none.
    pub(super) fn shadow(&mut self, model: Option<Arc<Model>>) {
        if let (Some(model), Some(engine)) = (&model, &self.challenger)
            && engine.runs(model)
        {
            return;
        }
        self.challenger = model.map(|model| Engine::new(model, &self.plan));
    }

    /// Whether the machine runs; `None` when the signal that tells is missing or old.
    pub(super) fn is_running(&self, readings: &Readings, now: Now) -> Option<bool> {
        match &self.plan.active_when {
            None => Some(true),
            Some(condition) => {
                readings.number(&condition.signal, DEFAULT_MAX_AGE, now).map(|value| condition.threshold.holds(value))
            }
        }
    }

    /// What its inputs stand at: those of the model in charge, or all of them where there is none.
    pub(super) fn live(&self, readings: &Readings, now: Now) -> LiveAsset {
        let bindings = self.champion.as_ref().map_or(self.inputs.as_slice(), Engine::bindings);
        LiveAsset {
            id: Arc::clone(&self.plan.id),
            running: self.is_running(readings, now),
            inputs: bindings.iter().map(|(feature, signal)| readings.live(feature, signal, now)).collect(),
        }
    }

    /// The machine is off: what was about to change, and what was seen, starts anew when it runs again.
    pub(super) fn rest(&mut self) {
        self.decider.iter_mut().for_each(Decider::rest);
        let engines = [&mut self.champion, &mut self.next, &mut self.challenger, &mut self.previous];
        engines.into_iter().flatten().for_each(Engine::interrupt);
    }

    /// Puts in charge whoever can be. Returns what that changes at once: a model that raises no alerts clears the open one.
    pub(super) fn settle(&mut self, stops: &Stops, alarm: Option<&mut Alarm>) -> Option<AlertTransition> {
        let can_run = self.champion.is_some() && stops.of(self.plan.model.as_ref()).is_none();
        let charge = match &self.rule {
            _ if can_run => Charge::Model,
            Some(_) if stops.gateway.is_none() => Charge::Rule,
            _ => Charge::Nobody,
        };
        if self.charge.replace(charge) == Some(charge) {
            return None;
        }
        let decision = match charge {
            Charge::Model => self.model().and_then(|model| model.manifest().decision.clone()),
            Charge::Rule => self.rule.as_ref().map(Rule::decision),
            Charge::Nobody => None,
        };
        let alarm = alarm?;
        let silent = charge == Charge::Model && decision.is_none() && alarm.is_raised();
        self.decider = decision.map(|decision| {
            if charge == Charge::Rule {
                alarm.stand_in(&decision)
            } else {
                alarm.follow(&decision)
            }
            Decider::new(decision, alarm.is_raised())
        });
        if silent { alarm.clear(None, "the model that runs now raises no alerts".to_owned()) } else { None }
    }

    /// Predicts it: whoever is in charge, and the challenger beside.
    pub(super) fn predict(
        &mut self,
        (readings, stops): (&Readings, &Stops),
        mut alarm: Option<&mut Alarm>,
        (id, now): (Uuid, Now),
        mint: &mut dyn FnMut() -> Uuid,
        stopwatch: fn() -> Duration,
    ) -> Turn {
        let mut turn = Turn::default();
        // Windows fill while their model is stopped, so that it goes on at once when it is released.
        let mut row = self.champion.as_mut().and_then(|engine| engine.next(readings, now, true));
        let leads = self.champion.is_none() || row.is_some();
        self.previous.iter_mut().for_each(|engine| drop(engine.next(readings, now, leads)));
        if let Some(full) = self.next.as_mut().and_then(|engine| engine.next(readings, now, leads))
            && full.values.is_ok()
        {
            let next = self.next.take();
            self.crown(next);
            row = Some(full);
        }
        turn.cleared = self.settle(stops, alarm.as_deref_mut());
        let made = match (self.charge, row) {
            (Some(Charge::Model), row) => row.and_then(|row| self.by_model(row, stopwatch)),
            (Some(Charge::Rule), _) => self.by_rule(readings, now).map(Said::from),
            (Some(Charge::Nobody) | None, _) => Some(self.by_nobody(readings, stops, now).into()),
        };
        let leads = made.is_some();
        if let Some(mut said) = made {
            let transition = alarm.as_deref_mut().and_then(|alarm| {
                let holding = self.rule.as_ref().filter(|_| self.charge == Some(Charge::Rule));
                let holding = holding.and_then(|rule| rule.holding(readings, now));
                self.decide(&said.prediction, holding, (id, now), alarm, mint)
            });
            said.prediction.alert = alarm.filter(|alarm| alarm.is_raised()).and_then(|alarm| alarm.id());
            turn.main = Some((said, transition));
        }
        let beside = self.challenger.as_mut().and_then(|engine| engine.next(readings, now, leads));
        if let (Some(row), Some(engine), None) = (beside, &self.challenger, stops.of(self.plan.model.as_ref())) {
            turn.beside = Some(self.said(engine, Role::Shadow, row, stopwatch));
        }
        turn
    }

    fn by_model(&self, row: Row, stopwatch: fn() -> Duration) -> Option<Said> {
        Some(self.said(self.champion.as_ref()?, Role::Champion, row, stopwatch))
    }

    fn said(&self, engine: &Engine, role: Role, mut row: Row, stopwatch: fn() -> Duration) -> Said {
        let begun = stopwatch();
        let values = std::mem::replace(&mut row.values, Ok(Vec::new()));
        let (outcome, explained) = engine.infer(values);
        let took = stopwatch().saturating_sub(begun);
        Said { prediction: self.prediction(Some(engine.model()), role, outcome, row), explained, took }
    }

    fn by_rule(&self, readings: &Readings, now: Now) -> Option<Prediction> {
        let (outcome, row) = self.rule.as_ref()?.answer(readings, now);
        let prediction = self.prediction(None, Role::Fallback, outcome, row);
        Some(Prediction { model_version: RULE.into(), ..prediction })
    }

    /// The inputs are recorded all the same: samples from such times are worth as much to whoever trains the next model.
    fn by_nobody(&self, readings: &Readings, stops: &Stops, now: Now) -> Prediction {
        let reason = match (stops.of(self.plan.model.as_ref()), &self.plan.model) {
            (Some(reason), _) => Withheld::Stopped { reason: reason.clone() },
            (None, Some(_)) => Withheld::NoModel,
            (None, None) => Withheld::PassThrough,
        };
        let bindings = self.champion.as_ref().map_or(self.inputs.as_slice(), Engine::bindings);
        let row = readings.row(bindings, now);
        self.prediction(self.model(), Role::Champion, Outcome::Withheld(reason), row)
    }

    fn prediction(&self, model: Option<&Arc<Model>>, role: Role, outcome: Outcome, row: Row) -> Prediction {
        let none = Digest([0; 32]);
        Prediction {
            asset: Arc::clone(&self.plan.id),
            model: self.plan.model.clone().unwrap_or_default(),
            model_version: model.map(|model| Arc::clone(&model.manifest().version)).unwrap_or_default(),
            model_digest: model.map_or(none, |model| model.model_digest()),
            background_digest: model.map_or(none, |model| model.background_digest()),
            role,
            outcome,
            source_time: row.source_time,
            inputs: row.inputs,
            input_quality: row.quality,
            alert: None,
        }
    }

    fn decide(
        &mut self,
        prediction: &Prediction,
        holding: Option<String>,
        (id, now): (Uuid, Now),
        alarm: &mut Alarm,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> Option<AlertTransition> {
        let by_rule = prediction.role == Role::Fallback;
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
                let said = holding.unwrap_or_else(|| format!("{word} {:.4} {}", output.value, rule.raise));
                Some(alarm.raise(mint(), Some((id, rule.raise.side())), said))
            }
            Verdict::Clear if by_rule => alarm.clear(Some(id), "no condition of the rule holds".to_owned()),
            Verdict::Clear => alarm.clear(Some(id), format!("{word} {:.4} {}", output.value, rule.clear)),
            Verdict::Holds | Verdict::Rests => None,
        }
    }
}
