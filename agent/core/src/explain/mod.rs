//! Why a model said what it said.
//!
//! [`Explainer`] picks the method: sums of trees are explained from tables that walks over them filled, anything else of
//! few features by asking the model about every mixed row. Both give exact interventional Shapley values: what each feature's value adds to the
//! output, against the outputs for the bundle's background rows.

pub mod cells;
pub mod counterfactual;
pub mod exact;
pub mod neighbours;
pub mod tree;
mod weights;
pub mod words;

use std::sync::Arc;

use cells::TreeTables;
use exact::{Enumerated, Enumeration};

use crate::domain::explanation::{Attribution, Explanation, Method};
use crate::model::{Feature, Model, ModelError};

/// Shares of the background's values below and above which a value is not usual.
const USUAL: (f64, f64) = (0.1, 0.9);

/// Why a row was not explained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// Only estimates would be affordable.
    #[error(
        "the model has {features} inputs and is no sum of trees; only up to {} inputs can be explained exactly",
        exact::MOST_FEATURES
    )]
    TooWide {
        /// The model's features.
        features: usize,
    },
    /// The row does not fit the model.
    #[error("the row has {got} values where the model takes {expected}")]
    Width {
        /// What the model takes.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// The background is empty or ragged.
    #[error("the background has {values} values, which make no whole rows of {width}")]
    Background {
        /// Values in all.
        values: usize,
        /// Values a row.
        width: usize,
    },
    /// The model gave no answer for the row, or for one mixed from it and the background.
    #[error("the model was asked about a row and gave no answer: {0}")]
    Model(#[from] ModelError),
}

/// Explains rows of one model against its background.
#[derive(Debug)]
pub struct Explainer {
    model: Arc<Model>,
    way: Way,
    base_value: f64,
    features: Vec<Facts>,
}

#[derive(Debug)]
enum Way {
    Trees(TreeTables),
    Enumeration(Enumeration),
}

/// What an attribution tells of its feature beside the value.
#[derive(Debug)]
struct Facts {
    name: Arc<str>,
    unit: Arc<str>,
    usual: (f64, f64),
    categories: Vec<(f32, Arc<str>)>,
}

/// Whether a model can be explained, without preparing it.
///
/// # Errors
/// [`ExplainError::TooWide`] for a model that is no sum of trees and has more than [`exact::MOST_FEATURES`] features.
pub fn supports(model: &Model) -> Result<(), ExplainError> {
    if model.trees().is_none() && model.width() > exact::MOST_FEATURES {
        return Err(ExplainError::TooWide { features: model.width() });
    }
    Ok(())
}

impl Explainer {
    /// Picks the method, and computes what all explanations of this model share.
    ///
    /// # Errors
    /// [`ExplainError::TooWide`] for a model that is no sum of trees and has more than [`exact::MOST_FEATURES`] features;
    /// [`ExplainError::Model`] when the model gives no answer for a background row.
    pub fn new(model: Arc<Model>) -> Result<Self, ExplainError> {
        let (width, background) = (model.width(), &model.background().rows);
        let way = match model.trees() {
            Some(trees) => Way::Trees(TreeTables::new(trees, background)?),
            None => Way::Enumeration(Enumeration::new(width, background)?),
        };
        let outputs = model.explained(background)?;
        let base_value = outputs.iter().sum::<f64>() / outputs.len() as f64;
        let features = model.manifest().features.iter().enumerate();
        let features =
            features.map(|(index, feature)| Facts::new(feature, background.iter().skip(index).step_by(width)));
        Ok(Self { way, base_value, features: features.collect(), model })
    }

    /// The model that is explained.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The mean output over the background: what attributions are counted from.
    pub fn base_value(&self) -> f64 {
        self.base_value
    }

    /// Explains one row of features, in model order.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` does not have one value per feature; [`ExplainError::Model`] when the model gives
    /// no answer for it, or for a row mixed from it and the background.
    pub fn explain(&self, row: &[f32]) -> Result<Explanation, ExplainError> {
        let (method, found) = match &self.way {
            Way::Trees(trees) => {
                let attributions = trees.attributions(row)?;
                let output = self.model.explained(row)?.first().copied().unwrap_or(f64::NAN);
                (Method::TreeShapley, Enumerated { output, attributions, evaluations: 1 })
            }
            Way::Enumeration(enumeration) => {
                let ask = |rows: &[f32]| self.model.explained(rows).map_err(ExplainError::from);
                (Method::Enumeration, enumeration.attributions(row, ask)?)
            }
        };
        let made = self.base_value + found.attributions.iter().sum::<f64>();
        let attributions = self.features.iter().zip(row).zip(&found.attributions);
        Ok(Explanation {
            space: self.model.space(),
            base_value: self.base_value,
            output: found.output,
            attributions: attributions.map(|((facts, &input), &value)| facts.attribution(input, value)).collect(),
            method,
            evaluations: found.evaluations,
            additivity_gap: (made - found.output).abs(),
            faithfulness: None,
        })
    }
}

impl Facts {
    fn new<'a>(feature: &Feature, background: impl Iterator<Item = &'a f32>) -> Self {
        let mut values: Vec<f64> = background.map(|&value| f64::from(value)).filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        Self {
            name: Arc::clone(&feature.name),
            unit: Arc::clone(&feature.unit),
            usual: (quantile(&values, USUAL.0), quantile(&values, USUAL.1)),
            categories: feature.categories.iter().map(|(name, &value)| (value as f32, name.as_str().into())).collect(),
        }
    }

    fn attribution(&self, input: f32, value: f64) -> Attribution {
        let category = self.categories.iter().find(|(number, _)| *number == input);
        Attribution {
            feature: Arc::clone(&self.name),
            value,
            standard_error: 0.0,
            input: f64::from(input),
            unit: Arc::clone(&self.unit),
            usual: self.usual,
            category: category.map(|(_, name)| Arc::clone(name)),
            intervals: Vec::new(),
            error: None,
        }
    }
}

/// The value below which a share of sorted values lies, between two of them in proportion; NaN of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share * last as f64;
    let below = sorted[position as usize];
    let above = sorted[last.min(position as usize + 1)];
    if below == above { below } else { below + (above - below) * position.fract() }
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.1), quantile(&values, 0.9)), (1.0, 9.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.9), 1.9);
        assert_eq!(quantile(&[3.0], 0.1), 3.0);
        assert_eq!(quantile(&[f64::INFINITY; 2], 0.1), f64::INFINITY);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
