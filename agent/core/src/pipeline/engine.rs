//! One model at work for one asset: its features bound to signals, and, where it takes one, its window.

use std::sync::Arc;

use super::plan::AssetPlan;
use super::validate::{Readings, Row};
use super::window::Window;
use crate::domain::prediction::{Outcome, Withheld};
use crate::domain::sample::SignalId;
use crate::domain::time::Now;
use crate::model::manifest::Feature;
use crate::model::{Model, ModelError};

/// A row, and what the model said of it in its own space: what is explained of a prediction.
pub(super) type Explained = (Vec<f32>, f64);

/// A model bound to an asset's signals.
pub(super) struct Engine {
    model: Arc<Model>,
    bindings: Vec<(Feature, SignalId)>,
    /// Of a model that takes windows: the rows so far.
    window: Option<Window>,
}

impl Engine {
    /// Binds each of the model's features to its signal. One that has none stays without a value.
    pub(super) fn new(model: Arc<Model>, plan: &AssetPlan) -> Self {
        let signal = |feature: &Feature| plan.inputs.get(&feature.name).cloned().unwrap_or_else(|| SignalId::from(""));
        let bindings = model.manifest().features.iter().map(|feature| (feature.clone(), signal(feature))).collect();
        let window = Window::of(model.manifest());
        Self { model, bindings, window }
    }

    /// The model.
    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Whether this model is the one at work here, loaded anew perhaps.
    pub(super) fn runs(&self, model: &Arc<Model>) -> bool {
        let files = |model: &Model| (model.model_digest(), model.background_digest());
        Arc::ptr_eq(&self.model, model)
            || (files(&self.model) == files(model) && self.model.manifest() == model.manifest())
    }

    /// Its features, each with its signal.
    pub(super) fn bindings(&self) -> &[(Feature, SignalId)] {
        &self.bindings
    }

    /// Whether it must see some rows before it can predict.
    pub(super) fn takes_windows(&self) -> bool {
        self.window.is_some()
    }

    /// The machine was off: what comes after does not follow what was before.
    pub(super) fn interrupt(&mut self) {
        self.window.iter_mut().for_each(Window::interrupt);
    }

    /// The model's next input, or the reason why there is none; `None` when its window waits for a later row.
    ///
    /// `leads`: whether the asset is predicted now anyway. A model beside the one in charge goes by that as long as its
    /// own period allows, so that both see the same moments and can be compared.
    pub(super) fn next(&mut self, readings: &Readings, now: Now, leads: bool) -> Option<Row> {
        match &mut self.window {
            None => leads.then(|| readings.row(&self.bindings, now)),
            Some(window) if window.is_due(now) && (leads || window.is_pressing(now)) => {
                Some(window.push(readings.row(&self.bindings, now), now))
            }
            Some(_) => None,
        }
    }

    /// Runs the model on checked values. With its answer come the row to explain, and what is explained.
    pub(super) fn infer(&self, values: Result<Vec<f32>, Withheld>) -> (Outcome, Option<Explained>) {
        match values.map(|values| (self.model.predict(&values), values)) {
            Err(reason) => (Outcome::Withheld(reason), None),
            Ok((Ok(answer), values)) => (Outcome::Predicted(answer.output), Some((values, answer.explained))),
            Ok((Err(ModelError::NonFinite), _)) => (Outcome::Withheld(Withheld::ModelNonFinite), None),
            Ok((Err(error), _)) => (Outcome::Withheld(Withheld::ModelFailed { error: error.to_string() }), None),
        }
    }
}
