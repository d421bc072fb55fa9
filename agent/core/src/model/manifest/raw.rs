//! `manifest.toml` as it is written, before anything is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::alert::Priority;
use crate::domain::units;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    #[serde(rename = "schema")]
    _schema: u64,
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) input: Input,
    pub(super) feature: Vec<Feature>,
    pub(super) output: Output,
    pub(super) decision: Option<Decision>,
    #[serde(default)]
    pub(super) explanation: Explanation,
    #[serde(default)]
    pub(super) card: Card,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[serde(default)]
    pub(super) kind: InputKind,
    pub(super) steps: Option<u64>,
    #[serde(default, with = "units::duration_option")]
    pub(super) period: Option<Duration>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum InputKind {
    #[default]
    Row,
    Window,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Feature {
    pub(super) name: String,
    #[serde(default)]
    pub(super) unit: String,
    pub(super) range: Option<Vec<f64>>,
    pub(super) max_rate: Option<f64>,
    #[serde(default, with = "units::duration_option")]
    pub(super) max_age: Option<Duration>,
    pub(super) adjustable: Option<Vec<f64>>,
    #[serde(default)]
    pub(super) categories: BTreeMap<String, f64>,
    #[serde(default)]
    pub(super) refuse_uncertain: bool,
    #[serde(default)]
    pub(super) missing: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub(super) kind: OutputKind,
    pub(super) tensor: String,
    pub(super) index: Option<usize>,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    #[serde(default)]
    pub(super) unit: String,
    #[serde(default)]
    pub(super) space: Space,
    pub(super) target: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutputKind {
    Classification,
    Regression,
    Anomaly,
    Reconstruction,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Space {
    #[default]
    Auto,
    Margin,
    Probability,
    Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decision {
    pub(super) raise_above: Option<f64>,
    pub(super) raise_below: Option<f64>,
    pub(super) clear_above: Option<f64>,
    pub(super) clear_below: Option<f64>,
    #[serde(default, with = "units::duration")]
    pub(super) on_delay: Duration,
    #[serde(default, with = "units::duration")]
    pub(super) off_delay: Duration,
    #[serde(default = "medium")]
    pub(super) priority: Priority,
    #[serde(default)]
    pub(super) latching: bool,
    pub(super) consequence: Option<String>,
    pub(super) response: Option<String>,
}

fn medium() -> Priority {
    Priority::Medium
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Explanation {
    pub(super) background_rows: usize,
    #[serde(with = "units::duration")]
    pub(super) budget: Duration,
}

impl Default for Explanation {
    fn default() -> Self {
        Self { background_rows: 100, budget: Duration::from_millis(20) }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Card {
    pub(super) purpose: String,
    pub(super) data: String,
    pub(super) limits: String,
    pub(super) owner: String,
    pub(super) approved_by: String,
    pub(super) approved_on: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) hardware: Option<Vec<String>>,
    pub(super) assets: Option<Vec<String>>,
}
