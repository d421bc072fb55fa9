//! What is said of a prediction beside its attributions: what would clear the alert, and what is like it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use explaind_core::domain::extra::{Extra, Kind};
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::record::{Body, NewRecord, Record};
use explaind_core::explain::counterfactual::Search;
use explaind_core::explain::neighbours::{Memory, Raised};
use explaind_core::model::Model;
use serde::Serialize;
use uuid::Uuid;

use super::again;
use crate::buffer::Buffer;
use crate::clock;
use crate::pace::{self, Budgets};
use crate::question::{Answer, Unanswered};

/// Earlier alerts that new ones are compared with.
const REMEMBERED: usize = 500;

/// Searches, and earlier alerts.
pub(super) struct Extras {
    searches: HashMap<Arc<str>, Prepared>,
    memory: Memory,
    buffer: Buffer,
}

struct Prepared {
    model: Arc<Model>,
    search: Search,
    /// Model evaluations that a search may take; kept on the record.
    budget: u64,
}

impl Extras {
    /// Prepares a search for each model, and reads the newest alerts back.
    pub(super) fn new(buffer: Buffer, models: &HashMap<Arc<str>, Arc<Model>>, budgets: &Budgets) -> Self {
        let prepared = |(name, model): (&Arc<str>, &Arc<Model>)| {
            let budget = pace::of(budgets, name, model).search;
            (Arc::clone(name), Prepared { search: Search::of(model), budget, model: Arc::clone(model) })
        };
        let searches = models.iter().map(prepared).collect();
        let mut extras = Self { searches, memory: Memory::new(REMEMBERED), buffer };
        extras.remember_stored();
        extras
    }

    fn remember_stored(&mut self) {
        let mut alerts = self.buffer.alerts();
        alerts.sort_unstable_by_key(|alert| alert.raised_at);
        let newest = alerts.len().saturating_sub(REMEMBERED);
        for id in alerts.iter().skip(newest).filter_map(|alert| alert.prediction_id) {
            if let Ok(Some(record)) = self.buffer.get(id) {
                self.remember(&record);
            }
        }
    }

    fn remember(&mut self, record: &Record) {
        if let (Body::Prediction(prediction), Some(explanation)) = (&record.body, record.explanation())
            && let Some(alert_id) = prediction.alert
        {
            let (asset, model) = (Arc::clone(&prediction.asset), Arc::clone(&prediction.model));
            self.memory.note(Raised { alert_id, prediction_id: record.id, asset, model }, explanation);
        }
    }

    /// Open alerts of which an earlier run did not come to say what would clear them.
    pub(super) fn unsaid(&self) -> Vec<Uuid> {
        let open = self.buffer.alerts().into_iter().filter(|alert| alert.state.is_open());
        open.filter_map(|alert| alert.prediction_id)
            .filter(|id| matches!(self.buffer.extra(*id, Kind::Counterfactuals), Ok(None)))
            .collect()
    }

    /// Says of an explained prediction that raised an alert what would clear it and what is like it.
    pub(super) fn follow_up(&mut self, id: Uuid) {
        let record = match self.buffer.get(id) {
            Ok(Some(record)) => record,
            // Evicted meanwhile, or unreadable: then there is nothing to say it of.
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "what an alert says beside its reasons is left out");
                return;
            }
        };
        let said_already = matches!(self.buffer.extra(id, Kind::Counterfactuals), Ok(Some(_)));
        if !said_already && self.is_shown(&record) {
            self.say(&record);
        }
        self.remember(&record);
    }

    /// Whether an alert shows this prediction; raised again meanwhile, it shows a newer one.
    fn is_shown(&self, record: &Record) -> bool {
        let alert = prediction(record).and_then(|prediction| self.buffer.alert(prediction.alert?));
        alert.is_some_and(|alert| alert.prediction_id == Some(record.id))
    }

    fn say(&self, record: &Record) {
        let mut said = Vec::new();
        match self.counterfactuals(record) {
            Ok(extra) => said.extend(extra),
            Err(error) => tracing::warn!(%error, prediction = %record.id, "no counterfactuals"),
        }
        said.extend(self.cases(record));
        if let Err(error) = self.buffer.append(said) {
            tracing::error!(%error, "what an alert says beside its reasons could not be stored");
        }
    }

    /// What would clear the alert of a prediction, stored; the one that is stored already, where there is one.
    pub(super) fn answer(&self, record: &Record) -> Answer {
        let failed = |error: &dyn std::fmt::Display| Unanswered::Failed(error.to_string());
        if let Ok(Some(stored)) = self.buffer.extra(record.id, Kind::Counterfactuals) {
            return Ok(Arc::new(stored));
        }
        let extra = self.counterfactuals(record)?.ok_or(Unanswered::NotRunning)?;
        let stored = self.buffer.append(vec![extra]).map_err(|error| failed(&error))?;
        stored.into_iter().next().ok_or(Unanswered::Busy)
    }

    /// `None` when the model that made the prediction no longer runs.
    fn counterfactuals(&self, record: &Record) -> Result<Option<NewRecord>, Unanswered> {
        let Some(prediction) = prediction(record) else { return Ok(None) };
        if matches!(prediction.outcome, Outcome::Withheld(_)) {
            return Err(Unanswered::Withheld);
        }
        let Some(prepared) = self.searches.get(&prediction.model) else { return Ok(None) };
        let Some(row) = again(prediction, Some(&prepared.model)) else { return Ok(None) };
        // A panic, in a library on a row it cannot take, costs one answer and not the thread.
        let ask = |rows: &[f32]| prepared.model.outputs(rows);
        let found = catch_unwind(AssertUnwindSafe(|| prepared.search.search(&row, prepared.budget, ask)))
            .map_err(|_| Unanswered::Failed("the model failed from within; the log says how".to_owned()))?
            .map_err(|error| Unanswered::Failed(error.to_string()))?;
        Ok(extra(record.id, Kind::Counterfactuals, &found))
    }

    fn cases(&self, record: &Record) -> Option<NewRecord> {
        let prediction = prediction(record)?;
        let explanation = record.explanation()?;
        let model = &self.searches.get(&prediction.model)?.model;
        let cases = self.memory.cases(prediction.alert, &prediction.model, explanation, model.background());
        extra(record.id, Kind::Cases, &cases)
    }
}

fn prediction(record: &Record) -> Option<&Prediction> {
    match &record.body {
        Body::Prediction(prediction) => Some(prediction),
        _ => None,
    }
}

/// `None` for content that JSON has no form for, which nothing here makes.
fn extra(prediction_id: Uuid, kind: Kind, content: &impl Serialize) -> Option<NewRecord> {
    let content = serde_json::to_string(content).ok()?;
    let at = clock::now();
    Some(NewRecord { id: clock::mint(at), at, body: Body::Extra(Extra { prediction_id, kind, content }) })
}
