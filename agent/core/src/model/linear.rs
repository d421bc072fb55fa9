//! Linear models: the weighted sums that stand in one operator's attributes, read off it. Linear models over columns, that
//! is: a column may be made from its feature in any way, as those of a category are. Support vector machines with a linear
//! kernel are such models too.

use std::sync::Arc;

use tract_onnx::pb::GraphProto;

use super::columns::Columns;
use super::columns::work::Work;
use super::graph::Wiring;
use super::operators::{LinearScores, PostTransform, linear_kernel};
use super::sum::{AddedUp, WeightedSum};

/// The sums behind an output tensor, one per column.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) columns: Vec<AddedUp>,
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
        // Weights, sign and intercept of each score, and whether a function follows.
        let (scores, has_link) = match source.node.op_type.as_str() {
            "LinearClassifier" | "LinearRegressor" => {
                let scores = LinearScores::read(source.node)?;
                // Shares of one stay what they are when they are normalised; other scores do not.
                if source.normalised && scores.transform() != PostTransform::Softmax {
                    return Ok(None);
                }
                let columns = scores.columns().into_iter();
                let columns = columns.map(|(weights, sign, intercept)| (weights.to_vec(), sign, intercept)).collect();
                (columns, scores.transform() != PostTransform::None)
            }
            "SVMClassifier" | "SVMRegressor" if !source.normalised => match linear_kernel(source.node)? {
                Some(columns) => {
                    let columns = columns.into_iter().map(|(weights, intercept)| (weights, 1.0, intercept)).collect();
                    (columns, false)
                }
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let scores: Vec<(Vec<f64>, f64, f64)> = scores;
        if source.negated {
            return Ok(None);
        }
        let input = source.node.input.first().map_or("", String::as_str);
        let front = Columns::of(&wiring, input, width, &mut Work::to_trace())?;
        let fits = |front: &Columns| scores.iter().all(|(weights, ..)| weights.len() == front.columns.len());
        let Some(front) = front.filter(fits) else { return Ok(None) };
        let front = Arc::new(front);
        let columns: Vec<AddedUp> = scores
            .iter()
            .map(|(weights, sign, intercept)| through(&front, weights, *sign, *intercept, width))
            .collect();
        let columns = match source.picked {
            None => columns,
            Some(picked) => {
                let picked = picked.iter().map(|&index| columns.get(index).cloned()).collect::<Option<Vec<AddedUp>>>();
                let Some(picked) = picked else { return Ok(None) };
                picked
            }
        };
        Ok(Some(Self { columns, has_link }))
    }
}

/// A sum over columns as what it is of features.
fn through(front: &Arc<Columns>, weights: &[f64], sign: f64, intercept: f64, width: usize) -> AddedUp {
    let mut sum = WeightedSum { weights: vec![0.0; width], intercept };
    let mut bent = Vec::new();
    for ((index, column), &weight) in front.columns.iter().enumerate().zip(weights) {
        match (column.affine(), sum.weights.get_mut(column.feature as usize)) {
            (Some((scale, shift)), Some(of_feature)) => {
                *of_feature += sign * weight * scale;
                sum.intercept += sign * weight * shift;
            }
            _ => bent.push((index, sign * weight)),
        }
    }
    AddedUp { sum, bent, front: Arc::clone(front) }
}
