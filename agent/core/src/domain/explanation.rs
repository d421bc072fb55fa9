//! Why a model said what it said.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::prediction::Space;

/// How attributions were computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Exact interventional Shapley values of a tree ensemble.
    TreeShapley,
    /// Exact interventional Shapley values by enumerating all coalitions.
    Enumeration,
    /// Exact interventional Shapley values of a model that is linear in its features, or in functions of single ones, in closed
    /// form.
    Linear,
    /// Exact interventional Shapley values of a score that is quadratic in its features, in closed form.
    Quadratic,
    /// Unbiased estimates from sampled orders of the features, each with its standard error.
    Sampling,
}

impl Method {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TreeShapley => "tree-shapley",
            Self::Enumeration => "enumeration",
            Self::Linear => "linear",
            Self::Quadratic => "quadratic",
            Self::Sampling => "sampling",
        }
    }

    /// The value of the column `explanation_status`. An estimate stays one when all that was sampled agreed.
    pub fn status(self) -> &'static str {
        match self {
            Self::TreeShapley | Self::Enumeration | Self::Linear | Self::Quadratic => "exact",
            Self::Sampling => "estimated",
        }
    }
}

/// One feature's share in the difference between the output and the base value.
///
/// Unit, value and usual range travel along, so that a record can be read years after its model is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// The feature's name.
    pub feature: Arc<str>,
    /// Its share, in the explanation's space.
    pub value: f64,
    /// Standard error of the share; zero when exact.
    pub standard_error: f64,
    /// What the model was given.
    pub input: f64,
    /// The feature's unit, empty where it has none.
    pub unit: Arc<str>,
    /// The middle 80 % of the background's values: what is usual.
    pub usual: (f64, f64),
    /// The name of the category that `input` stands for, for features with categories.
    pub category: Option<Arc<str>>,
    /// Of a window: how the share spreads over time, for the features that matter. They add up to the share.
    pub intervals: Vec<IntervalShare>,
    /// Of a reconstruction: this feature's part of the score itself.
    pub error: Option<f64>,
}

/// The share of one stretch of a window's time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntervalShare {
    /// The first step, counted from the oldest.
    pub from: u32,
    /// The step after the last.
    pub to: u32,
    /// The share, in the explanation's space.
    pub value: f64,
    /// Standard error of the share; zero when exact.
    pub standard_error: f64,
}

/// How well attributions tell what the model heeds: features are given back their background values, most important
/// first, and the output must move further and sooner than when they go in random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Faithfulness {
    /// Mean share of the way to the base value over the deletions, in the order of the attributions.
    pub deletion: f64,
    /// The same in random order: what attributions that know nothing would score.
    pub random: f64,
}

/// Attributions of one prediction: `base_value + Σ attributions = output`, within `additivity_gap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The space of all figures here.
    pub space: Space,
    /// Mean output over the background rows.
    pub base_value: f64,
    /// The model's output for this row, in `space`.
    pub output: f64,
    /// One per feature, in model order.
    pub attributions: Vec<Attribution>,
    /// How they were computed.
    pub method: Method,
    /// Model evaluations spent. The row itself counts as one, also where its prediction was at hand.
    pub evaluations: u64,
    /// |base value + Σ attributions − output|.
    pub additivity_gap: f64,
    /// How faithful the attributions are, where it was scored.
    pub faithfulness: Option<Faithfulness>,
}

/// What became of a prediction's explanation. A prediction has exactly one; until then it is unsettled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Settlement {
    /// Computed. The id names this explanation in feedback.
    Explained {
        /// Names this explanation.
        id: Uuid,
        /// The explanation.
        explanation: Explanation,
    },
    /// Left out, with the reason: nothing to explain, or no capacity.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Tried and failed.
    Failed {
        /// What went wrong.
        reason: String,
    },
}

impl Settlement {
    /// The value of the column `explanation_status`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Explained { explanation, .. } => explanation.method.status(),
            Self::Skipped { .. } => "skipped",
            Self::Failed { .. } => "failed",
        }
    }

    /// The explanation, where there is one.
    pub fn explanation(&self) -> Option<&Explanation> {
        match self {
            Self::Explained { explanation, .. } => Some(explanation),
            Self::Skipped { .. } | Self::Failed { .. } => None,
        }
    }

    /// The reason why there is none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Explained { .. } => None,
            Self::Skipped { reason } | Self::Failed { reason } => Some(reason),
        }
    }
}
