//! Models that add up: weighted sums of the input's values.
//!
//! They are found in two ways, with one result. Linear models have their weights in one operator, off which they are
//! read ([`super::linear`]), also where a function such as the logistic follows. A network of matrix products and
//! convolutions is known to add up by its operators, and is asked for its weights ([`super::affine`]); it answers in
//! float32, so what is found that way must give the background's outputs again.

use std::sync::Arc;

use super::columns::Columns;
use super::error::ModelError;
use super::{Engine, General, Model, affine, reconstruction};
use crate::domain::prediction::Space;

/// Largest difference between a model and its sums that is taken for rounding, relative to the largest output.
const ROUNDING: f64 = 1e-5;

/// `intercept + Σ weight · value`
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedSum {
    /// One per value of an input: features in model order, times steps for windows.
    pub weights: Vec<f64>,
    /// The sum where all values are zero.
    pub intercept: f64,
}

impl WeightedSum {
    /// The sum for an input.
    pub fn of(&self, input: &[f32]) -> f64 {
        self.weights.iter().zip(input).map(|(weight, &value)| weight * f64::from(value)).sum::<f64>() + self.intercept
    }
}

/// A sum in which every feature has a part of its own: `weight · value`, and functions of the value, such as one for each
/// category.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedUp {
    pub(super) sum: WeightedSum,
    /// By their numbers the columns that are no multiple of their feature, with their weights.
    pub(super) bent: Vec<(usize, f64)>,
    pub(super) front: Arc<Columns>,
}

impl AddedUp {
    /// The weighted sum that it is, where it is nothing else.
    pub fn as_weighted(&self) -> Option<&WeightedSum> {
        (self.bent.is_empty() && self.front.allowed.is_empty()).then_some(&self.sum)
    }

    /// What each value of an input adds to the intercept; no numbers where the model would refuse the input.
    pub fn parts(&self, input: &[f32]) -> Vec<f64> {
        let value = |feature: u32| input.get(feature as usize).map_or(f64::NAN, |&value| f64::from(value));
        if self.front.allowed.iter().any(|(feature, region)| !region.contains(value(*feature))) {
            return vec![f64::NAN; input.len()];
        }
        let mut parts: Vec<f64> = self
            .sum
            .weights
            .iter()
            .zip(input)
            .map(|(weight, &value)| if *weight == 0.0 { 0.0 } else { weight * f64::from(value) })
            .collect();
        for &(index, weight) in &self.bent {
            let Some(column) = self.front.columns.get(index) else { continue };
            if let Some(part) = parts.get_mut(column.feature as usize) {
                *part += weight * column.of(value(column.feature));
            }
        }
        parts
    }

    /// The sum for an input.
    pub fn of(&self, input: &[f32]) -> f64 {
        self.parts(input).iter().sum::<f64>() + self.sum.intercept
    }
}

/// What the explained quantity is made of, where that adds up.
#[derive(Debug, Clone, PartialEq)]
pub enum Sums {
    /// It is a sum itself.
    Output(WeightedSum),
    /// It is a sum of functions of one value each.
    Functions(AddedUp),
    /// It is the mean squared difference between the input and these sums, one for each of its values.
    Reconstruction(Vec<WeightedSum>),
}

impl Sums {
    /// The explained quantity for an input.
    fn explained(&self, input: &[f32]) -> f64 {
        match self {
            Self::Output(sum) => sum.of(input),
            Self::Functions(sum) => sum.of(input),
            Self::Reconstruction(sums) => {
                let outputs: Vec<f64> = sums.iter().map(|sum| sum.of(input)).collect();
                reconstruction::score(input, &outputs)
            }
        }
    }
}

impl Model {
    /// The sums that what is explained in this space is made of, where it is made of such.
    ///
    /// # Errors
    /// [`ModelError`] when the model fails to run.
    pub fn sums_in(&self, space: Space) -> Result<Option<Sums>, ModelError> {
        match self.linear_in(space) {
            Some(sum) => {
                let weighted = sum.as_weighted().cloned().map(Sums::Output);
                Ok(Some(weighted.unwrap_or_else(|| Sums::Functions(sum.clone()))))
            }
            None => self.probed(space),
        }
    }

    /// The sums of a network whose operators do nothing but add up.
    fn probed(&self, space: Space) -> Result<Option<Sums>, ModelError> {
        let Engine::Network(General { network, .. }) = &self.engine else { return Ok(None) };
        if !network.is_affine() {
            return Ok(None);
        }
        let background = &self.background.rows;
        let scale = |value: usize| {
            let values = background.iter().skip(value).step_by(self.width());
            values.fold(1.0_f32, |largest, value| largest.max(value.abs()))
        };
        let scales: Vec<f32> = (0..self.width()).map(scale).collect();
        let probed = affine::probe(&scales, network.columns(), |rows| network.run(rows))?;
        let Some(mut columns) = probed.filter(|columns| self.column < columns.len()) else { return Ok(None) };
        let sums = match self.is_reconstruction() {
            true => Sums::Reconstruction(columns),
            false => Sums::Output(columns.swap_remove(self.column)),
        };
        let outputs = self.explained_in(space, background)?;
        let largest = outputs.iter().fold(0.0, |largest: f64, output| largest.max(output.abs()));
        let agree = |(row, output): (&[f32], &f64)| (sums.explained(row) - output).abs() <= ROUNDING * largest;
        Ok(self.background.iter().zip(&outputs).all(agree).then_some(sums))
    }
}
