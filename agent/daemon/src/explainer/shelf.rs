//! What explaining each model takes, prepared once; of each name the models that ran last are kept.
//!
//! A gateway's models are replaced while it runs, and what an earlier one said is asked about afterwards: whatever waits
//! or is asked is explained by the very model that made it, for as long as that is kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use explaind_core::domain::prediction::{ModelKey, Prediction, Space};
use explaind_core::domain::reason::Reason;
use explaind_core::explain::counterfactual::Search;
use explaind_core::explain::{ExplainError, Explainer};
use explaind_core::model::Model;

use crate::pace::Allowance;
use crate::question::Unanswered;

/// Models of one name that are kept: the one that runs, the one before it, and two more. Each may take as much memory as
/// a model takes (ARCHITECTURE.md, "What a model may take").
pub(super) const KEPT: usize = 4;

/// All that explaining a model's predictions takes.
pub(crate) struct Prepared {
    key: ModelKey,
    model: Arc<Model>,
    allowance: Allowance,
    /// Of the model's own space, or why there is none.
    explainer: Result<Explainer, Reason>,
    /// `None` where preparing it failed.
    search: Option<Search>,
    /// Of other spaces, each since it was first asked for: a model has two others at most.
    spaces: HashMap<Space, Result<Explainer, Unanswered>>,
}

impl Prepared {
    /// Prepares, which takes up to seconds for a large model, on the caller's thread. What fails costs this model its
    /// explanations, and is said in their place and in the log.
    pub(crate) fn new(name: &Arc<str>, model: &Arc<Model>, allowance: Allowance) -> Self {
        Self {
            key: model.key(name),
            explainer: prepared(name, || Explainer::new(Arc::clone(model), allowance.explanation)),
            search: searching(name, || Search::of(model)),
            model: Arc::clone(model),
            allowance,
            spaces: HashMap::new(),
        }
    }

    /// Which model it explains.
    pub(super) fn key(&self) -> &ModelKey {
        &self.key
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The explainer in the model's own space, or why there is none.
    pub(super) fn explainer(&self) -> Result<&Explainer, &Reason> {
        self.explainer.as_ref()
    }

    /// The search for counterfactuals, where it could be prepared.
    pub(super) fn search(&self) -> Option<&Search> {
        self.search.as_ref()
    }

    /// Model evaluations that a search may take; kept on the record.
    pub(super) fn searched(&self) -> u64 {
        self.allowance.search
    }

    /// The explainer in a space, which is prepared when it is first asked for.
    pub(super) fn in_space(&mut self, space: Space) -> Result<&Explainer, Unanswered> {
        if self.model.space() == space
            && let Ok(explainer) = &self.explainer
        {
            return Ok(explainer);
        }
        let found = match self.spaces.entry(space) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let prepare = || Explainer::in_space(Arc::clone(&self.model), space, self.allowance.explanation);
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

/// A panic, in a model that only just loads, costs this model its explanations and nobody else anything.
pub(super) fn prepared(
    model: &str,
    prepare: impl FnOnce() -> Result<Explainer, ExplainError>,
) -> Result<Explainer, Reason> {
    let explainer = match catch_unwind(AssertUnwindSafe(prepare)) {
        Ok(Ok(explainer)) => return Ok(explainer),
        Ok(Err(error)) => Reason::Failed(error.to_string()),
        Err(_) => Reason::Within,
    };
    tracing::error!(model, reason = %explainer, "this model's predictions cannot be explained");
    Err(explainer)
}

/// A panic, in a model that only just loads, costs this model its searches and nobody else anything.
pub(super) fn searching(model: &str, prepare: impl FnOnce() -> Search) -> Option<Search> {
    let search = catch_unwind(AssertUnwindSafe(prepare));
    if search.is_err() {
        tracing::error!(model, "the search for what clears alerts could not be prepared; this model goes without");
    }
    search.ok()
}

/// The models that are kept.
#[derive(Default)]
pub(super) struct Shelf {
    /// With the turn in which it was last put there or used.
    kept: HashMap<ModelKey, (u64, Prepared)>,
    turn: u64,
}

impl Shelf {
    /// Keeps a model, in the place of itself if it is there; beyond [`KEPT`] of its name the one that was put here or
    /// used longest ago goes. So the one that runs stays, however many others were tried since it came.
    pub(super) fn put(&mut self, prepared: Prepared) {
        let name = Arc::clone(&prepared.key.name);
        self.turn += 1;
        self.kept.insert(prepared.key.clone(), (self.turn, prepared));
        while self.kept.keys().filter(|key| key.name == name).count() > KEPT {
            let others = self.kept.iter().filter(|(key, _)| key.name == name);
            let Some(oldest) = others.min_by_key(|(_, (turn, _))| *turn).map(|(key, _)| key.clone()) else { return };
            tracing::info!(model = &*name, digest = %oldest.model, "what this model predicted is explained no more");
            self.kept.remove(&oldest);
        }
    }

    /// The model that made a prediction, if it is kept.
    pub(super) fn of(&self, prediction: &Prediction) -> Option<&Prepared> {
        self.kept.get(&prediction.key()).map(|(_, prepared)| prepared)
    }

    /// A model that is used now, if it is kept.
    pub(super) fn used(&mut self, key: &ModelKey) -> Option<&mut Prepared> {
        let (turn, prepared) = self.kept.get_mut(key)?;
        self.turn += 1;
        *turn = self.turn;
        Some(prepared)
    }
}
