//! The spaces in which one model can be explained, and what is explained in each.

use std::borrow::Cow;

use super::error::{BundleError, ModelError};
use super::manifest::{Manifest, OutputKind};
use super::operators::Shown;
use super::sum::AddedUp;
use super::{Engine, General, Halves, Model, TreeSum, reconstruction};
use crate::domain::prediction::Space;

impl Model {
    /// The spaces in which the output can be explained; [`space`](Self::space) is one of them. The tensor's own value always
    /// is; a probability where the model gives one; a margin where a function stands between it and the tensor, or where
    /// the tensor of an ensemble is one.
    pub fn spaces(&self) -> Vec<Space> {
        let margin = match &self.engine {
            _ if self.is_reconstruction() => false,
            Engine::Trees(_) => self.engine.has_link() || self.engine.shown() != Shown::Probabilities,
            Engine::Network(_) => self.engine.has_link(),
        };
        let has = |space| match space {
            Space::Probability => self.gives_probability(),
            Space::Margin => margin,
            Space::Value => true,
        };
        let all = [Space::Probability, Space::Margin, Space::Value];
        all.into_iter().filter(|&space| space == self.space || has(space)).collect()
    }

    pub(super) fn gives_probability(&self) -> bool {
        let output = &self.manifest.output;
        let classifier = output.kind == OutputKind::Classification && output.space != Some(Space::Value);
        classifier && self.engine.shown() == Shown::Probabilities
    }

    /// What is explained in this space as a sum of trees, where it is one.
    pub fn trees_in(&self, space: Space) -> Option<Cow<'_, TreeSum>> {
        match (&self.engine, &self.trees) {
            (Engine::Trees(ensemble), own) if !self.is_reconstruction() => {
                let is_sum = space == Space::Margin || !ensemble.has_link();
                let sum = || match own {
                    Some(own) => Some(Cow::Borrowed(own)),
                    None => ensemble.tree_sum(self.column).map(Cow::Owned),
                };
                if is_sum { sum() } else { None }
            }
            _ => None,
        }
    }

    /// What is explained in this space as a sum with a part for each feature, where it is one.
    pub fn linear_in(&self, space: Space) -> Option<&AddedUp> {
        match &self.engine {
            Engine::Network(general) if !self.is_reconstruction() => {
                let form = general.linear.as_ref().filter(|form| !form.has_link || space == Space::Margin);
                form.and_then(|form| form.columns.get(self.column))
            }
            Engine::Trees(_) | Engine::Network(_) => None,
        }
    }

    /// What is explained in this space in two halves, where the model is a network whose first half is affine.
    ///
    /// # Errors
    /// [`ModelError`] when the model fails to run.
    pub fn halves_in(&self, space: Space) -> Result<Option<Halves>, ModelError> {
        match &self.engine {
            Engine::Network(General { network, .. }) if !self.is_reconstruction() && space != Space::Margin => {
                Halves::of(network, self.column, &self.background.rows)
            }
            Engine::Trees(_) | Engine::Network(_) => Ok(None),
        }
    }

    /// Like [`explained`](Self::explained), in another of its [`spaces`](Self::spaces).
    ///
    /// # Errors
    /// As of [`explained`](Self::explained).
    pub fn explained_in(&self, space: Space, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        if !rows.len().is_multiple_of(self.width()) {
            return Err(ModelError::Width { expected: self.width(), found: rows.len() % self.width() });
        }
        let values: Vec<f64> = match &self.engine {
            engine if self.is_reconstruction() => reconstruction::scores(rows, &engine.run(rows)?, self.width()),
            Engine::Trees(ensemble) if space == Space::Margin => ensemble.margins(rows, self.column)?,
            Engine::Network(_) if space == Space::Margin => {
                let sum = self.linear_in(space);
                rows.chunks_exact(self.width()).map(|row| sum.map_or(f64::NAN, |sum| sum.of(row))).collect()
            }
            engine => engine.run(rows)?.into_iter().skip(self.column).step_by(engine.columns()).collect(),
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NonFinite);
        }
        Ok(values)
    }
}

/// Resolves `auto`: the margin where a link stands between the trees and the tensor, else the tensor's own value.
pub(super) fn choose_space(text: &str, manifest: &Manifest, engine: &Engine) -> Result<Space, BundleError> {
    let scores = engine.shown() != Shown::Probabilities;
    match (manifest.output.space, engine) {
        (Some(Space::Margin), Engine::Network(_)) if !engine.has_link() => {
            let problem = "only tree ensembles and linear models with a function over their scores have a margin; write \"auto\", \
                           \"probability\" or \"value\"";
            Err(Manifest::error(text, "output.space", problem))
        }
        (Some(space), _) => Ok(space),
        (None, Engine::Trees(_)) if engine.has_link() || scores => Ok(Space::Margin),
        (None, _) if manifest.output.kind == OutputKind::Classification && !scores => Ok(Space::Probability),
        (None, _) => Ok(Space::Value),
    }
}
