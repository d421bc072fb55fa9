//! From samples to decisions, purely: one call takes samples, or a tick, and the time, and returns what follows.
//!
//! The story of one asset ([`asset`]): its signals' newest readings are kept ([`validate`]); when its trigger fires they
//! become one checked row, or the reason why not; for models that take windows the newest rows become one ([`window`]); the
//! model runs ([`engine`]), or, where none can, the asset's own rule does ([`rule`]); the decision rule ([`decide`]) says
//! whether its condition begins or ends; the alarm ([`alarm`]) turns that into transitions. What the gateway is told of itself
//! ([`gateway`]) does too. Every prediction, made or withheld, is a record, and comes before the transitions that it brings.
//!
//! Models come and go between two samples; alarms stay, under the same ids.

pub mod alarm;
mod asset;
pub mod decide;
mod engine;
pub mod gateway;
mod plan;
pub mod rates;
mod rule;
pub mod shelf;
pub mod validate;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::alarm::{Alarm, Remembered};
use self::asset::{Asset, Said, Turn};
pub use self::plan::{ActiveWhen, AssetPlan, Fallback, Stops, Trigger};
use self::validate::Readings;
use crate::domain::alert::{AlertTransition, Cover, GATEWAY, Priority, Unfit};
use crate::domain::command::Act;
use crate::domain::condition::Condition;
use crate::domain::live::LiveAsset;
use crate::domain::prediction::{ModelKey, Prediction, Role};
use crate::domain::reason::Reason;
use crate::domain::record::{Body, NewRecord};
use crate::domain::sample::{Sample, SignalId};
use crate::domain::time::Now;
use crate::model::Model;
use crate::model::manifest::Decision;

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
    /// There is nothing to explain, for this reason.
    Skip(Reason),
}

/// A prediction that was made or withheld.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The record's id.
    pub id: Uuid,
    /// The machine.
    pub asset: Arc<str>,
    /// Which model it was, for whoever explains it.
    pub model: ModelKey,
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
    /// What the model took for each of those, by [`Pipeline::timed_by`]'s stopwatch.
    pub took: Vec<Duration>,
}

/// Everything that is watched.
pub struct Pipeline {
    assets: Vec<Asset>,
    /// One per (asset, decision rule), and those of assets that are no longer configured but still open.
    alarms: Vec<Alarm>,
    readings: Readings,
    stops: Stops,
    stopwatch: fn() -> Duration,
    going: gateway::Going,
}

impl Pipeline {
    /// Binds assets to their models, where they have one at present, and takes up the alarms where the records left them.
    /// Features are bound to signals by name; whether all have one is for the caller to see.
    ///
    /// The transitions returned close the alerts of assets and rules that are no longer configured, and lift what lies over
    /// them.
    pub fn new(
        plans: Vec<(AssetPlan, Option<Arc<Model>>)>,
        known: Vec<Remembered>,
        now: Now,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> (Self, Follows) {
        let mut pipeline = Self {
            assets: Vec::new(),
            alarms: known.into_iter().map(|known| Alarm::restored(known, now)).collect(),
            readings: Readings::default(),
            stops: Stops::default(),
            stopwatch: || Duration::ZERO,
            going: gateway::Going::default(),
        };
        let restored = pipeline.alarms.len();
        let mut kept = vec![false; restored];
        for (plan, model) in plans {
            let alarm = plan.model.as_ref().map(|name| {
                let decision = model.as_ref().and_then(|model| model.manifest().decision.as_ref());
                let alarm = pipeline.alarm_of(&plan.id, name, decision);
                // While no model is there it is not known what its alert would be, so nothing happens to it.
                let watched = decision.is_some() || model.is_none();
                if let (Some(kept), true) = (kept.get_mut(alarm), watched) {
                    *kept = true;
                }
                alarm
            });
            plan.signals().for_each(|signal| pipeline.readings.listen(signal));
            pipeline.assets.push(Asset::new(plan, model, alarm));
        }
        let mut follows = Follows::default();
        let watched = |alarm: &Alarm, kept: bool| kept || alarm.is_of_asset(GATEWAY);
        for (alarm, _) in pipeline.alarms.iter_mut().zip(kept).filter(|(alarm, kept)| !watched(alarm, *kept)) {
            let reason = "the configuration no longer watches this";
            // Nothing would ever lift what lies over it, and nobody would see it.
            let lifted = alarm.lift(reason);
            let cleared = if alarm.is_raised() { alarm.clear(None, reason.to_owned()) } else { None };
            follows.records.extend(lifted.into_iter().chain(cleared).map(|change| record(mint(), now, change)));
        }
        (pipeline, follows)
    }

    /// Takes the time of each model's run on this stopwatch, which says how much has passed since whenever.
    #[must_use]
    pub fn timed_by(mut self, stopwatch: fn() -> Duration) -> Self {
        self.stopwatch = stopwatch;
        self
    }

    fn alarm_of(&mut self, asset: &Arc<str>, model: &Arc<str>, rule: Option<&Decision>) -> usize {
        if let Some(index) = self.alarms.iter().position(|alarm| alarm.is_of(asset, model)) {
            if let (Some(alarm), Some(rule)) = (self.alarms.get_mut(index), rule) {
                alarm.follow(rule);
            }
            return index;
        }
        let mut alarm = Alarm::new(Arc::clone(asset), Arc::clone(model), Priority::Low);
        rule.into_iter().for_each(|rule| alarm.follow(rule));
        self.alarms.push(alarm);
        self.alarms.len() - 1
    }

    /// Gives one asset another model, or none. It predicts from the next sample on; one that takes windows when its own
    /// is full, and until then what was there does.
    ///
    /// An open alert stays, under the same id, and the new model's rule takes it up; where that has none, the condition
    /// is cleared, as the transitions returned say.
    pub fn install(
        &mut self,
        asset: &str,
        model: Option<Arc<Model>>,
        now: Now,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> Follows {
        let mut follows = Follows::default();
        let Some(asset) = self.assets.iter_mut().find(|known| *known.plan.id == *asset && known.plan.model.is_some())
        else {
            return follows;
        };
        asset.install(model);
        let alarm = asset.alarm.and_then(|index| self.alarms.get_mut(index));
        let changed = asset.settle(&self.stops, alarm);
        follows.records.extend(changed.map(|transition| record(mint(), now, transition)));
        follows
    }

    /// Gives one asset another challenger, or none. It sees what the model in charge sees; its predictions are records,
    /// and nothing else follows from them.
    pub fn shadow(&mut self, asset: &str, model: Option<Arc<Model>>) {
        if let Some(asset) = self.assets.iter_mut().find(|known| *known.plan.id == *asset && known.plan.model.is_some())
        {
            asset.shadow(model);
        }
    }

    /// Stops what is named here, and lets go on what is not, from the next sample on.
    pub fn stop(&mut self, stops: Stops) {
        self.stops = stops;
    }

    /// The model that predicts this asset, or would if it were not stopped: not yet one whose window is filling while
    /// another predicts.
    pub fn model(&self, asset: &str) -> Option<&Arc<Model>> {
        self.assets.iter().find(|known| *known.plan.id == *asset)?.model()
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

    /// What every machine's inputs stand at, for people to look at.
    pub fn live(&self, now: Now) -> Vec<LiveAsset> {
        self.assets.iter().map(|asset| asset.live(&self.readings, now)).collect()
    }

    /// Takes in that a source stands by what it delivered since `connected`.
    pub fn alive(&mut self, source: &str, connected: Now, at: Now) {
        self.readings.vouch(source, connected, at);
    }

    /// Predicts the assets whose interval has passed. One that is late predicts once and takes up its rhythm from now.
    /// Ends what was shelved for as long as it was to be.
    pub fn tick(&mut self, now: Now, mint: &mut dyn FnMut() -> Uuid) -> Follows {
        let mut follows = Follows::default();
        let over = self.alarms.iter_mut().filter_map(|alarm| alarm.tick(now));
        follows.records.extend(over.map(|transition| record(mint(), now, transition)));
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
        let timed = self.assets.iter().filter(|asset| matches!(asset.plan.trigger, Trigger::Every(_)));
        let predictions = timed.map(|asset| asset.due.unwrap_or(Duration::ZERO));
        predictions.chain(self.alarms.iter().filter_map(Alarm::due)).min()
    }

    /// What acknowledging an alert changes; `None` when no open alert has this id. Nothing holds before
    /// [`Pipeline::apply`] is told that the transition is on disk.
    pub fn acknowledgement(&self, id: Uuid, author: String, comment: Option<String>) -> Option<AlertTransition> {
        self.alarms.iter().find(|alarm| alarm.id() == Some(id))?.acknowledgement(author, comment)
    }

    /// What this would change that somebody asks of an alarm: the one whose open occurrence has this id, or, where that is
    /// closed, the one of this asset and model. Nothing holds before [`Pipeline::apply`] is told that it is on disk.
    ///
    /// # Errors
    /// When there is no such alarm any more, or it cannot do that as it stands.
    pub fn asked(
        &mut self,
        (id, asset, model): (Uuid, &Arc<str>, &Arc<str>),
        act: Act,
        author: String,
        now: Now,
    ) -> Result<AlertTransition, Unfit> {
        let mut found = self.alarms.iter().position(|alarm| alarm.is_of(asset, model));
        if found.is_none() && **asset == *GATEWAY {
            // The gateway's own come into being when they are first raised, which may have been in an earlier run.
            let own = Condition::named(model).ok_or(Unfit::Unwatched)?;
            self.alarms.push(Alarm::new(Arc::clone(asset), Arc::clone(model), own.priority()));
            found = Some(self.alarms.len() - 1);
        }
        let alarm = found.and_then(|index| self.alarms.get(index)).ok_or(Unfit::Unwatched)?;
        if matches!(act, Act::Reset { .. }) && alarm.id() != Some(id) {
            // That occurrence is closed, whatever the newest one does.
            return Err(Unfit::NotLatched);
        }
        alarm.asked(act, author, now)
    }

    /// What lies over the alarm of that asset and model.
    pub fn cover(&self, asset: &str, model: &str) -> Cover {
        self.alarms.iter().find(|alarm| alarm.is_of(asset, model)).map(Alarm::cover).unwrap_or_default()
    }

    /// Takes in a transition that a person brought at this moment and that is on disk.
    pub fn apply(&mut self, transition: &AlertTransition, now: Now) {
        if let Some(alarm) = self.alarms.iter_mut().find(|alarm| alarm.is_of(&transition.asset, &transition.model)) {
            alarm.apply(transition, now);
        }
    }

    /// Looks whether the machine runs, and suppresses its alert while it does not. What is not known changes nothing,
    /// and counts as running, so that the missing signal shows as a withheld prediction.
    fn switch(&mut self, index: usize, now: Now, mint: &mut dyn FnMut() -> Uuid, follows: &mut Follows) -> bool {
        let Some(asset) = self.assets.get_mut(index) else { return false };
        let Some(running) = asset.is_running(&self.readings, now) else { return true };
        if let Some(alarm) = asset.alarm.and_then(|index| self.alarms.get_mut(index)) {
            follows.records.extend(alarm.switch(!running).map(|transition| record(mint(), now, transition)));
        }
        if !running {
            asset.rest();
        }
        running
    }

    fn predict(&mut self, index: usize, now: Now, mint: &mut dyn FnMut() -> Uuid, follows: &mut Follows) {
        if !self.switch(index, now, mint, follows) {
            return;
        }
        let Some(asset) = self.assets.get_mut(index) else { return };
        let alarm = asset.alarm.and_then(|index| self.alarms.get_mut(index));
        let id = mint();
        let Turn { cleared, main, beside } =
            asset.predict((&self.readings, &self.stops), alarm, (id, now), &mut *mint, self.stopwatch);
        follows.records.extend(cleared.map(|transition| record(mint(), now, transition)));
        if let Some((Said { prediction, explained, took }, transition)) = main {
            let raises = transition.as_ref().is_some_and(|transition| transition.raised.is_some());
            let wish = match explained {
                Some((row, answer)) => Wish::Explain { row, answer: Some(answer), urgent: raises },
                None if prediction.role == Role::Fallback => Wish::Skip(Reason::Rule),
                None => Wish::Skip(Reason::Nothing),
            };
            follows.add(id, now, prediction, wish, took);
            follows.records.extend(transition.map(|transition| {
                // An alert's id is the id of the record that began it.
                let began = !transition.from.is_open();
                record(transition.alert_id.filter(|_| began).unwrap_or_else(&mut *mint), now, transition)
            }));
        }
        if let Some(Said { prediction, took, .. }) = beside {
            follows.add(mint(), now, prediction, Wish::Skip(Reason::Challenger), took);
        }
    }
}

impl Follows {
    fn add(&mut self, id: Uuid, at: Now, prediction: Prediction, wish: Wish, took: Duration) {
        let (asset, model) = (Arc::clone(&prediction.asset), prediction.key());
        self.records.push(NewRecord { id, at, body: Body::Prediction(prediction) });
        self.made.push(Made { id, asset, model, wish });
        self.took.push(took);
    }
}

fn record(id: Uuid, at: Now, transition: AlertTransition) -> NewRecord {
    NewRecord { id, at, body: Body::Alert(transition) }
}
