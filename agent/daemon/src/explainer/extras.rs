//! What is said of a prediction beside its attributions: what would clear the alert, and what is like it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use explaind_core::domain::extra::{Counterfactuals, Extra, Kind, Outcome as Ended};
use explaind_core::domain::prediction::{Outcome, Prediction, Role};
use explaind_core::domain::record::{Body, NewRecord, Record};
use explaind_core::explain::neighbours::{Memory, Raised};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::again;
use super::shelf::Shelf;
use crate::buffer::Buffer;
use crate::clock;
use crate::question::{Answer, Found, Unanswered};

/// Earlier alerts that new ones are compared with.
const REMEMBERED: usize = 500;

/// Says it, and remembers earlier alerts.
pub(super) struct Extras {
    memory: Memory,
    buffer: Buffer,
}

impl Extras {
    /// Reads the newest alerts back.
    pub(super) fn new(buffer: Buffer) -> Self {
        let mut extras = Self { memory: Memory::new(REMEMBERED), buffer };
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
            let raised = Raised { alert_id, prediction_id: record.id, asset, model };
            self.memory.note(raised, explanation, &inputs(prediction));
        }
    }

    /// Open alerts of which an earlier run did not come to say all that can be said of them now. One that is not
    /// settled comes by itself when it is.
    pub(super) fn unsaid(&self, shelf: &Shelf) -> Vec<Uuid> {
        let open = self.buffer.alerts().into_iter().filter(|alert| alert.state.is_open());
        let sayable = |record: &Record| Kind::OF_ALERTS.into_iter().any(|kind| self.is_sayable(record, kind, shelf));
        open.filter_map(|alert| self.buffer.get(alert.prediction_id?).ok().flatten())
            .filter(|record| record.settlement.is_some() && sayable(record))
            .map(|record| record.id)
            .collect()
    }

    /// Whether this is yet to be said of the prediction, and the model that made it is there to say it.
    fn is_sayable(&self, record: &Record, kind: Kind, shelf: &Shelf) -> bool {
        let known = prediction(record).is_some_and(|prediction| shelf.of(prediction).is_some());
        let has_cause = kind != Kind::Cases || record.explanation().is_some();
        known && has_cause && matches!(self.buffer.extra(record.id, kind), Ok(None))
    }

    /// Says of an explained prediction that raised an alert what would clear it and what is like it.
    pub(super) fn follow_up(&mut self, id: Uuid, shelf: &Shelf) {
        let record = match self.buffer.get(id) {
            Ok(Some(record)) => record,
            // Evicted meanwhile, or unreadable: then there is nothing to say it of.
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "what an alert says beside its reasons is left out");
                return;
            }
        };
        if self.is_shown(&record) {
            self.say(&record, shelf);
        }
        self.remember(&record);
    }

    /// Remembers an explained prediction of which nothing more is said.
    pub(super) fn given_up(&mut self, id: Uuid) {
        if let Ok(Some(record)) = self.buffer.get(id) {
            self.remember(&record);
        }
    }

    /// Whether an alert shows this prediction; raised again meanwhile, it shows a newer one.
    fn is_shown(&self, record: &Record) -> bool {
        let alert = prediction(record).and_then(|prediction| self.buffer.alert(prediction.alert?));
        alert.is_some_and(|alert| alert.prediction_id == Some(record.id))
    }

    /// Says what is not said yet.
    fn say(&self, record: &Record, shelf: &Shelf) {
        let mut said = Vec::new();
        if self.is_sayable(record, Kind::Counterfactuals, shelf) {
            match counterfactuals(record, shelf) {
                Ok(found) => said.extend(extra(record.id, Kind::Counterfactuals, &found)),
                Err(error) => tracing::warn!(%error, prediction = %record.id, "no counterfactuals"),
            }
        }
        if self.is_sayable(record, Kind::Cases, shelf) {
            said.extend(self.cases(record, shelf));
        }
        if said.is_empty() {
            return;
        }
        if let Err(error) = self.buffer.append(said) {
            tracing::error!(%error, "what an alert says beside its reasons could not be stored");
        }
    }

    /// What would clear the alert of a prediction, as it is stored, or searched now. What was searched for is stored;
    /// that there was nothing to search for costs nothing to find again.
    pub(super) fn answer(&self, record: &Record, shelf: &Shelf) -> Answer<Counterfactuals> {
        if let Ok(Some(stored)) = self.buffer.extra(record.id, Kind::Counterfactuals)
            && let Some(found) = Found::stored(&stored)
        {
            return Ok(found);
        }
        let content = counterfactuals(record, shelf)?;
        if matches!(content.outcome, Ended::Found | Ended::NoneWithinLimits) {
            keep(&self.buffer, record.id, Kind::Counterfactuals, &content)
        } else {
            Ok(Found { id: None, content })
        }
    }

    fn cases(&self, record: &Record, shelf: &Shelf) -> Option<NewRecord> {
        let prediction = prediction(record)?;
        let explanation = record.explanation()?;
        // Rows of another background would be compared in another model's terms.
        let background = shelf.of(prediction)?.model().background();
        let cases =
            self.memory.cases(prediction.alert, &prediction.model, explanation, &inputs(prediction), background);
        extra(record.id, Kind::Cases, &cases)
    }
}

/// What the model was given; what was missing is no number.
fn inputs(prediction: &Prediction) -> Vec<f32> {
    prediction.inputs.iter().map(|input| input.value.map_or(f32::NAN, |value| value as f32)).collect()
}

fn counterfactuals(record: &Record, shelf: &Shelf) -> Result<Counterfactuals, Unanswered> {
    let prediction = asked(record)?;
    let prepared = shelf.of(prediction).ok_or(Unanswered::NotRunning)?;
    let row = again(prediction, prepared.model()).ok_or(Unanswered::NotRunning)?;
    let search = prepared.search().ok_or_else(Unanswered::within)?;
    // A panic, in a library on a row it cannot take, costs one answer and not the thread.
    let ask = |rows: &[f32]| prepared.model().outputs(rows);
    catch_unwind(AssertUnwindSafe(|| search.search(&row, prepared.searched(), ask)))
        .map_err(|_| Unanswered::within())?
        .map_err(|error| Unanswered::Failed(error.to_string()))
}

/// The prediction to answer for, if a model made it.
pub(super) fn asked(record: &Record) -> Result<&Prediction, Unanswered> {
    match prediction(record) {
        Some(Prediction { outcome: Outcome::Withheld(_), .. }) => Err(Unanswered::Withheld),
        Some(Prediction { role: Role::Fallback, .. }) => Err(Unanswered::OfRule),
        Some(prediction) => Ok(prediction),
        None => Err(Unanswered::NotRunning),
    }
}

/// Stores an answer, and gives it as it reads back, so that whoever asks next is told the same to the last digit.
pub(super) fn keep<T: Serialize + DeserializeOwned>(
    buffer: &Buffer,
    prediction_id: Uuid,
    kind: Kind,
    content: &T,
) -> Answer<T> {
    let odd = || Unanswered::Failed("the answer has a figure that is no number".to_owned());
    let new = extra(prediction_id, kind, content).ok_or_else(odd)?;
    let Body::Extra(Extra { content, .. }) = &new.body else { return Err(odd()) };
    let content = serde_json::from_str(content).map_err(|_| odd())?;
    let id = Some(new.id);
    buffer.append(vec![new]).map_err(|error| Unanswered::Failed(error.to_string()))?;
    Ok(Found { id, content })
}

pub(super) fn prediction(record: &Record) -> Option<&Prediction> {
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
