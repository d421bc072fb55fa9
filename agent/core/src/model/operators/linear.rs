//! `LinearClassifier` and `LinearRegressor`: weighted sums of a row, and a function over them.

use tract_onnx::pb::NodeProto;

use super::transform::{PostTransform, logistic};
use super::{Rows, Shape};
use crate::model::graph::attributes::Attributes;

/// Scores `w·x + b`, and what is shown of them.
#[derive(Debug)]
pub(crate) struct LinearScores {
    /// One row of weights per score, flat.
    weights: Vec<f64>,
    intercepts: Vec<f64>,
    transform: PostTransform,
    /// One score stands for two classes: `1 - p` and `p` are shown.
    mirrored: bool,
}

impl LinearScores {
    pub(crate) fn read(node: &NodeProto) -> Result<Self, String> {
        let attributes = Attributes(node);
        let coefficients = attributes.floats("coefficients");
        let intercepts = attributes.floats("intercepts");
        let classifier = node.op_type == "LinearClassifier";
        let count = if classifier {
            intercepts.len()
        } else {
            usize::try_from(attributes.int("targets").unwrap_or(1)).unwrap_or(0)
        };
        let sizes = count > 0 && !coefficients.is_empty() && coefficients.len().is_multiple_of(count);
        if !sizes || !(intercepts.len() == count || intercepts.is_empty()) {
            return Err(format!(
                "the operator {} has {} coefficients and {} intercepts for {count} scores; export the model again",
                node.op_type,
                coefficients.len(),
                intercepts.len()
            ));
        }
        if coefficients.iter().chain(intercepts).any(|value| !value.is_finite()) {
            return Err(format!(
                "the operator {} has a coefficient that is not a finite number; export the model again",
                node.op_type
            ));
        }
        let transform = PostTransform::read(&attributes)?;
        let labels = attributes.ints("classlabels_ints").len().max(attributes.strings("classlabels_strings").len());
        let mirrored = classifier && count == 1 && labels == 2;
        if classifier && !mirrored && labels != count {
            return Err(format!(
                "the operator LinearClassifier has {labels} labels for {count} scores; export the model again"
            ));
        }
        if mirrored && transform != PostTransform::Logistic {
            return Err("the linear classifier has one score for two classes and no logistic function, so that the scores and labels \
                        of onnxruntime contradict each other; export it with post_transform LOGISTIC"
                .to_owned());
        }
        if !classifier && count == 1 && !matches!(transform, PostTransform::None | PostTransform::Probit) {
            return Err("the linear regressor has one target and a post_transform, which onnxruntime ignores and ONNX does not; \
                        export it with post_transform NONE"
                .to_owned());
        }
        let intercepts = intercepts.iter().map(|&value| f64::from(value)).chain(std::iter::repeat(0.0)).take(count);
        Ok(Self {
            weights: coefficients.iter().map(|&value| f64::from(value)).collect(),
            intercepts: intercepts.collect(),
            transform,
            mirrored,
        })
    }

    /// What follows the scores.
    pub(crate) fn transform(&self) -> PostTransform {
        self.transform
    }

    /// Columns of a row that the scores are made from.
    pub(crate) fn width(&self) -> usize {
        self.weights.len() / self.intercepts.len()
    }

    /// What is shown, before the function over it: weights, sign and intercept of each column.
    pub(crate) fn columns(&self) -> Vec<(&[f64], f64, f64)> {
        let scores: Vec<_> =
            self.weights.chunks_exact(self.width()).zip(&self.intercepts).map(|(w, &b)| (w, 1.0, b)).collect();
        match scores.as_slice() {
            [(weights, _, intercept)] if self.mirrored => {
                vec![(*weights, -1.0, -intercept), (*weights, 1.0, *intercept)]
            }
            _ => scores,
        }
    }
}

impl Rows for LinearScores {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        if columns != self.width() {
            return Err(format!("the linear model takes {} columns and is given {columns}", self.width()));
        }
        Ok(Shape::Columns(if self.mirrored { 2 } else { self.intercepts.len() }))
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let start = out.len();
        let scores = self.weights.chunks_exact(self.width()).zip(&self.intercepts);
        out.extend(
            scores.map(|(weights, intercept)| weights.iter().zip(row).map(|(w, x)| w * x).sum::<f64>() + intercept),
        );
        if let (true, &[score]) = (self.mirrored, &out[start..]) {
            out.truncate(start);
            out.extend([logistic(-score), logistic(score)]);
        } else {
            self.transform.apply(&mut out[start..]);
        }
        Ok(())
    }

    fn work(&self) -> usize {
        self.weights.len()
    }
}
