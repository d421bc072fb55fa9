//! An explanation as it is told outside: in JSON, under the names that the columns of records have.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explanation::{Attribution, Explanation, Faithfulness, IntervalShare, Method};
use super::prediction::Space;

/// The figures of one explanation. JSON has no form for what is not a number: such a value is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// The model's output, in `space`.
    pub output: f64,
    /// The space of all figures here.
    pub space: Space,
    /// Mean output over the background rows.
    pub base_value: f64,
    /// The share of each feature.
    pub attributions: BTreeMap<Arc<str>, f64>,
    /// The standard error of each share; zero when exact.
    pub standard_errors: BTreeMap<Arc<str>, f64>,
    /// How they were computed.
    pub method: Method,
    /// Model evaluations spent.
    pub evaluations: u64,
    /// |base value + Σ attributions − output|.
    pub additivity_gap: f64,
    /// Of a window: how shares spread over time, for the features that matter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<Arc<str>, Vec<IntervalShare>>,
    /// Of a reconstruction: each feature's part of the score.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<Arc<str>, f64>,
    /// How faithful the shares are, where that was scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faithfulness: Option<Faithfulness>,
    /// The shares once more in the model's order, with what a reader needs beside them.
    pub features: Vec<Share>,
}

/// One feature's share, with what it was computed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The feature's name.
    pub feature: Arc<str>,
    /// What the model was given.
    pub value: Option<f64>,
    /// The feature's unit, empty where it has none.
    pub unit: Arc<str>,
    /// What is usual.
    pub usual: (Option<f64>, Option<f64>),
    /// The name of the category that `value` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Arc<str>>,
    /// The share.
    pub attribution: f64,
}

impl Figures {
    /// The value of the column `explanation_status`.
    pub fn status(&self) -> &'static str {
        self.method.status()
    }
}

impl From<&Explanation> for Figures {
    fn from(explanation: &Explanation) -> Self {
        let all = || explanation.attributions.iter();
        let name = |attribution: &Attribution| Arc::clone(&attribution.feature);
        let over_time = all().filter(|attribution| !attribution.intervals.is_empty());
        Self {
            output: explanation.output,
            space: explanation.space,
            base_value: explanation.base_value,
            attributions: all().map(|attribution| (name(attribution), attribution.value)).collect(),
            standard_errors: all().map(|attribution| (name(attribution), attribution.standard_error)).collect(),
            method: explanation.method,
            evaluations: explanation.evaluations,
            additivity_gap: explanation.additivity_gap,
            intervals: over_time.map(|attribution| (name(attribution), attribution.intervals.clone())).collect(),
            errors: all().filter_map(|attribution| Some((name(attribution), attribution.error?))).collect(),
            faithfulness: explanation.faithfulness,
            features: all().map(Share::from).collect(),
        }
    }
}

impl From<&Attribution> for Share {
    fn from(attribution: &Attribution) -> Self {
        let number = |value: f64| Some(value).filter(|value| value.is_finite());
        let (low, high) = attribution.usual;
        Self {
            feature: Arc::clone(&attribution.feature),
            value: number(attribution.input),
            unit: Arc::clone(&attribution.unit),
            usual: (number(low), number(high)),
            category: attribution.category.clone(),
            attribution: attribution.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribution(feature: &str, value: f64, input: f64) -> Attribution {
        Attribution {
            feature: feature.into(),
            value,
            standard_error: 0.0,
            input,
            unit: "Nm".into(),
            usual: (30.0, f64::NAN),
            category: None,
            intervals: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn figures_read_back_as_they_were_told_and_have_the_names_of_the_columns() {
        let mut torque = attribution("Torque [Nm]", 4.2, f64::NAN);
        torque.intervals = vec![IntervalShare { from: 0, to: 5, value: 4.2, standard_error: 0.0 }];
        torque.error = Some(0.25);
        let explanation = Explanation {
            space: Space::Probability,
            base_value: 0.03,
            output: 0.93,
            attributions: vec![torque, attribution("Speed", -0.5, 7.0)],
            method: Method::TreeShapley,
            evaluations: 12,
            additivity_gap: 0.0,
            faithfulness: Some(Faithfulness { deletion: 0.75, random: 0.5 }),
        };
        let figures = Figures::from(&explanation);
        assert_eq!(figures.status(), "exact");
        let text = serde_json::to_string(&figures).expect("JSON");
        let expected = "{\"output\":0.93,\"space\":\"probability\",\"base_value\":0.03,\
                        \"attributions\":{\"Speed\":-0.5,\"Torque [Nm]\":4.2},\
                        \"standard_errors\":{\"Speed\":0.0,\"Torque [Nm]\":0.0},\"method\":\"tree-shapley\",\
                        \"evaluations\":12,\"additivity_gap\":0.0,\
                        \"intervals\":{\"Torque [Nm]\":[{\"from\":0,\"to\":5,\"value\":4.2,\"standard_error\":0.0}]},\
                        \"errors\":{\"Torque [Nm]\":0.25},\
                        \"faithfulness\":{\"deletion\":0.75,\"random\":0.5},\"features\":[\
                        {\"feature\":\"Torque [Nm]\",\"value\":null,\"unit\":\"Nm\",\"usual\":[30.0,null],\"attribution\":4.2},\
                        {\"feature\":\"Speed\",\"value\":7.0,\"unit\":\"Nm\",\"usual\":[30.0,null],\"attribution\":-0.5}]}";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Figures>(&text).expect("figures"), figures);
    }

    /// The names in JSON are those in columns.
    #[test]
    fn spaces_and_methods_are_called_the_same_everywhere() {
        for space in [Space::Margin, Space::Probability, Space::Value] {
            assert_eq!(serde_json::to_string(&space).expect("JSON"), format!("\"{}\"", space.as_str()));
            assert_eq!(Space::named(space.as_str()), Some(space));
        }
        let methods = [Method::TreeShapley, Method::Enumeration, Method::Linear, Method::Quadratic, Method::Sampling];
        for method in methods {
            assert_eq!(serde_json::to_string(&method).expect("JSON"), format!("\"{}\"", method.as_str()));
        }
    }
}
