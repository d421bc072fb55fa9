//! Explains predictions in spaces that somebody asks for: other than the model's own, or the model's own where there was
//! no capacity for it.
//!
//! What such a space needs is prepared when it is first asked for, and kept: a model has two others at most.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use explaind_core::domain::extra::Kind;
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::{Prediction, Space};
use explaind_core::domain::record::Record;
use explaind_core::explain::{Budget, ExplainError, Explainer};
use explaind_core::model::Model;

use super::Explainers;
use super::extras::{keep, prediction, row_of};
use crate::buffer::Buffer;
use crate::pace::{self, Budgets};
use crate::question::{Answer, Found, Unanswered};

/// Explainers of other spaces.
pub(super) struct Spaces {
    models: HashMap<Arc<str>, (Arc<Model>, Budget)>,
    prepared: HashMap<(Arc<str>, Space), Result<Explainer, Unanswered>>,
    buffer: Buffer,
}

impl Spaces {
    /// None is prepared yet.
    pub(super) fn new(buffer: Buffer, models: &HashMap<Arc<str>, Arc<Model>>, budgets: &Budgets) -> Self {
        let granted = |(name, model): (&Arc<str>, &Arc<Model>)| {
            (Arc::clone(name), (Arc::clone(model), pace::of(budgets, name, model).explanation))
        };
        Self { models: models.iter().map(granted).collect(), prepared: HashMap::new(), buffer }
    }

    /// The explanation of a prediction in this space, as it is stored, or worked out and stored now. `own` are the
    /// explainers of the models' own spaces.
    pub(super) fn answer(&mut self, record: &Record, space: Space, own: &Explainers) -> Answer<Figures> {
        if let Ok(Some(stored)) = self.buffer.extra(record.id, Kind::Space(space))
            && let Some(found) = Found::stored(&stored)
        {
            return Ok(found);
        }
        let prediction = prediction(record).ok_or(Unanswered::NotRunning)?;
        let (model, _) = self.models.get(&prediction.model).ok_or(Unanswered::NotRunning)?;
        let row = row_of(prediction, model)?;
        let explainer = match own.get(&prediction.model) {
            Some(Ok(explainer)) if explainer.model().space() == space => explainer,
            _ => self.prepared(prediction, space)?,
        };
        // A panic, in a library on a row it cannot take, costs one answer and not the thread.
        let explanation = catch_unwind(AssertUnwindSafe(|| explainer.explain(&row, None)))
            .map_err(|_| Unanswered::within())?
            .map_err(|error| Unanswered::Failed(error.to_string()))?;
        keep(&self.buffer, record.id, Kind::Space(space), &Figures::from(&explanation))
    }

    fn prepared(&mut self, prediction: &Prediction, space: Space) -> Result<&Explainer, Unanswered> {
        let (model, budget) = self.models.get(&prediction.model).ok_or(Unanswered::NotRunning)?;
        let found = match self.prepared.entry((Arc::clone(&prediction.model), space)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let prepare = || Explainer::in_space(Arc::clone(model), space, *budget);
                let explainer = catch_unwind(AssertUnwindSafe(prepare)).map_err(|_| Unanswered::within());
                place.insert(explainer.and_then(|explainer| explainer.map_err(refused)))
            }
        };
        found.as_ref().map_err(Clone::clone)
    }
}

fn refused(error: ExplainError) -> Unanswered {
    match error {
        ExplainError::Space { .. } => Unanswered::NoSuchSpace(error.to_string()),
        _ => Unanswered::Failed(error.to_string()),
    }
}
