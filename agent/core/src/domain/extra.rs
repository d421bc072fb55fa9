//! What is explained of a prediction beside its attributions: what would clear the alert, what is like it, and the same in
//! another space.
//!
//! Each is a record of its own whose content is JSON, so that further kinds come without a new form on disk.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::prediction::Space;

/// One such explanation. Its record's id names it in feedback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// The prediction that is explained.
    pub prediction_id: Uuid,
    /// What is said of it.
    pub kind: Kind,
    /// A JSON object: [`Counterfactuals`], [`Cases`] or [`Figures`](super::figures::Figures).
    pub content: String,
}

/// What an [`Extra`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// What would clear the alert: [`Counterfactuals`].
    Counterfactuals,
    /// What is like it: [`Cases`].
    Cases,
    /// Its explanation in a space that was asked for: [`Figures`](super::figures::Figures).
    Space(Space),
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Counterfactuals,
        Self::Cases,
        Self::Space(Space::Margin),
        Self::Space(Space::Probability),
        Self::Space(Space::Value),
    ];
    /// What is said of alerts by itself, in this order.
    pub const OF_ALERTS: [Self; 2] = [Self::Counterfactuals, Self::Cases];

    /// The name used in records. Which space it is, the content says.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counterfactuals => "counterfactuals",
            Self::Cases => "cases",
            Self::Space(_) => "space",
        }
    }
}

/// How a search for counterfactuals ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is at least one.
    Found,
    /// No change within the limits clears the alert, as far as was searched.
    NoneWithinLimits,
    /// The output is beyond the threshold that clears already.
    Clear,
    /// The model has no decision rule, so there is nothing to clear.
    NoRule,
    /// The manifest lets a person set none of the features.
    NothingAdjustable,
}

/// The smallest changes that clear an alert, nearest first, and what was searched for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counterfactuals {
    /// How the search ended.
    pub outcome: Outcome,
    /// The threshold that clears: `below 0.4`.
    pub clear: Option<String>,
    /// Different ways to clear the alert; each moves another set of features.
    pub alternatives: Vec<Counterfactual>,
    /// The features that were moved to see what happens; none that the budget left untried.
    pub searched: Vec<Arc<str>>,
    /// At most so many of them were moved at once.
    pub at_most: usize,
    /// Model evaluations spent.
    pub evaluations: u64,
    /// Model evaluations allowed.
    pub budget: u64,
    /// Whether everything within the limits was looked at; else what lies between was left out, or the budget ended.
    pub complete: bool,
}

/// One way to clear an alert, verified by running the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counterfactual {
    /// What is set otherwise.
    pub changes: Vec<Change>,
    /// How far that is: the changes in units of what is usual, added up.
    pub distance: f64,
    /// The model's output then.
    pub output: f64,
}

/// One feature set to another value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The feature's name.
    pub feature: Arc<str>,
    /// Its unit, empty where it has none.
    pub unit: Arc<str>,
    /// What it was.
    pub from: f64,
    /// What would clear the alert.
    pub to: f64,
    /// The name of the category that `to` stands for.
    pub category: Option<Arc<str>>,
    /// Whether every value further on clears it too, up to the end of what a person may set.
    pub and_beyond: bool,
}

/// What is like a prediction, nearest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cases {
    /// Earlier alerts of this gateway and model.
    pub alerts: Vec<PastAlert>,
    /// Rows of the background.
    pub background: Vec<ReferenceRow>,
    /// How many earlier alerts were compared.
    pub compared: usize,
}

/// An earlier alert that is like this one. What people said of it is in the feedback on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastAlert {
    /// The alert.
    pub alert_id: Uuid,
    /// The prediction that raised it.
    pub prediction_id: Uuid,
    /// The machine.
    pub asset: Arc<str>,
    /// From 0, alike in values and reasons, to 1.
    pub distance: f64,
}

/// A row of the background that is like this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceRow {
    /// Its number in `background.csv`, from 0.
    pub row: usize,
    /// Its values, in the model's order; of a window the newest ones.
    pub values: Vec<f64>,
    /// From 0, alike in values, to 1.
    pub distance: f64,
}
