//! Linear models: the weighted sums that stand in one operator's attributes, read off it.

use tract_onnx::pb::GraphProto;

use super::columns::work::Work;
use super::columns::{Column, Columns};
use super::graph::Wiring;
use super::operators::{LinearScores, PostTransform};
use super::sum::WeightedSum;

/// The sums behind an output tensor, one per column.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) columns: Vec<WeightedSum>,
    /// Whether the tensor shows a function of the sums, such as the logistic, and not the sums themselves.
    pub(crate) has_link: bool,
}

impl Form {
    /// The sums behind `tensor` in a model of `width` features; none when it is computed in another way.
    ///
    /// # Errors
    /// A sentence on an operator that is wrong in itself.
    pub(crate) fn behind(graph: &GraphProto, tensor: &str, width: usize) -> Result<Option<Self>, String> {
        let wiring = Wiring::new(graph);
        let Some(source) = wiring.source(tensor) else { return Ok(None) };
        if !["LinearClassifier", "LinearRegressor"].contains(&source.node.op_type.as_str()) {
            return Ok(None);
        }
        let scores = LinearScores::read(source.node)?;
        // Shares of one stay what they are when they are normalised; other scores do not.
        if source.negated || source.normalised && scores.transform() != PostTransform::Softmax {
            return Ok(None);
        }
        let input = source.node.input.first().map_or("", String::as_str);
        let front = Columns::of(&wiring, input, width, &mut Work::to_trace())?;
        let Some(front) = front else { return Ok(None) };
        let Some(front) = front.affine().filter(|front| front.len() == scores.width()) else { return Ok(None) };
        let of_features = |(weights, sign, intercept)| through(&front, weights, sign, intercept, width);
        let columns: Vec<WeightedSum> = scores.columns().into_iter().map(of_features).collect();
        let columns = match source.picked {
            None => columns,
            Some(picked) => {
                let picked =
                    picked.iter().map(|&index| columns.get(index).cloned()).collect::<Option<Vec<WeightedSum>>>();
                let Some(picked) = picked else { return Ok(None) };
                picked
            }
        };
        Ok(Some(Self { columns, has_link: scores.transform() != PostTransform::None }))
    }
}

/// A sum over columns as the one over features that it is: `front` has `(feature, a, b)` of each column `a · feature + b`.
fn through(front: &[(u32, f64, f64)], weights: &[f64], sign: f64, intercept: f64, width: usize) -> WeightedSum {
    let mut sum = WeightedSum { weights: vec![0.0; width], intercept };
    for (&(feature, scale, shift), &weight) in front.iter().zip(weights) {
        if let Some(of_feature) = sum.weights.get_mut(feature as usize) {
            *of_feature += sign * weight * scale;
        }
        sum.intercept += sign * weight * shift;
    }
    sum
}

impl Columns {
    /// `(feature, a, b)` of each column where all are `a · feature + b`.
    fn affine(&self) -> Option<Vec<(u32, f64, f64)>> {
        let affine = |column: &Column| column.affine().map(|(a, b)| (column.feature, a, b));
        if self.allowed.is_empty() { self.columns.iter().map(affine).collect() } else { None }
    }
}
