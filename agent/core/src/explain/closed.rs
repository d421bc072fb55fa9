//! Exact interventional Shapley values in closed form, for models that are sums, and for squared errors of sums.

use super::ExplainError;
use super::players::Players;
use crate::domain::prediction::Space;
use crate::model::{AddedUp, Model, Sums, WeightedSum};

/// Shares of a [`WeightedSum`]. Against a background a value's share is `weight · (value − its mean)`.
///
/// Source: Štrumbelj and Kononenko 2014, "Explaining prediction models and individual predictions with feature
/// contributions", equation 13.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearShares {
    weights: Vec<f64>,
    means: Vec<f64>,
}

impl LinearShares {
    /// Prepares shares against `background`, flat inputs of one value per weight.
    pub fn new(weights: &[f64], background: &[f32]) -> Self {
        Self { weights: weights.to_vec(), means: means(weights.len(), background) }
    }

    /// The share of each of the input's values.
    pub fn shares(&self, input: &[f32]) -> Vec<f64> {
        let centred = input.iter().zip(&self.means).map(|(&value, mean)| f64::from(value) - mean);
        self.weights.iter().zip(centred).map(|(weight, value)| weight * value).collect()
    }
}

/// Shares of a sum with a part for each value: the part less its mean over the background.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedShares {
    sum: AddedUp,
    means: Vec<f64>,
}

impl AddedShares {
    /// Prepares shares against `background`, flat inputs of `width` values.
    pub fn new(sum: AddedUp, width: usize, background: &[f32]) -> Self {
        let mut means = vec![0.0; width];
        let rows = (background.len() / width.max(1)).max(1) as f64;
        for row in background.chunks_exact(width.max(1)) {
            means.iter_mut().zip(sum.parts(row)).for_each(|(mean, part)| *mean += part / rows);
        }
        Self { sum, means }
    }

    /// The share of each of the input's values.
    pub fn shares(&self, input: &[f32]) -> Vec<f64> {
        self.sum.parts(input).iter().zip(&self.means).map(|(part, mean)| part - mean).collect()
    }
}

/// Shares of the mean squared difference between an input and its reconstruction, where that is a sum for each value.
///
/// The differences `u` are a sum as well: `u(x) = M x − offset`, and going from a background row `b` to `x` the value `c`
/// changes them by `M_c (x_c − b_c)`. The score `u·u / n` has no more than pairwise interactions, for which a share is half of what
/// the value adds first and what it adds last; here that is `(u(b) + u(x)) · M_c (x_c − b_c) / n`. Its mean over the
/// background needs only what [`QuadraticShares::new`] adds up once.
///
/// Source of the half sum: Grabisch and Roubens 1999, "An axiomatic approach to the concept of interaction among
/// players in cooperative games": pairs' interactions are shared equally.
#[derive(Debug, Clone, PartialEq)]
pub struct QuadraticShares {
    /// Per value, what one unit of it adds to each difference.
    weights: Vec<Vec<f64>>,
    offset: Vec<f64>,
    means: Vec<f64>,
    /// Per value, `M_c ·` the mean of `u(b)`.
    slopes: Vec<f64>,
    /// Per value, `M_c ·` the mean of `u(b) b_c`.
    levels: Vec<f64>,
}

impl QuadraticShares {
    /// Prepares shares against `background`; `sums` are an input's reconstruction, one for each of its values.
    pub fn new(sums: &[WeightedSum], background: &[f32]) -> Self {
        let width = sums.len();
        let residual = |input: usize| -> Vec<f64> {
            let of = |(output, sum): (usize, &WeightedSum)| f64::from(u8::from(input == output)) - sum.weights[input];
            sums.iter().enumerate().map(of).collect()
        };
        let weights: Vec<Vec<f64>> = (0..width).map(residual).collect();
        let offset = sums.iter().map(|sum| -sum.intercept).collect();
        let mut score = Self {
            weights,
            offset,
            means: means(width, background),
            slopes: vec![0.0; width],
            levels: vec![0.0; width],
        };
        let rows = (background.len() / width.max(1)).max(1) as f64;
        for row in background.chunks_exact(width) {
            let differences = score.differences(row);
            for (input, &value) in row.iter().enumerate() {
                let slope = dot(&score.weights[input], &differences) / rows;
                score.slopes[input] += slope;
                score.levels[input] += slope * f64::from(value);
            }
        }
        score
    }

    /// The share of each of the input's values in its score.
    pub fn shares(&self, input: &[f32]) -> Vec<f64> {
        let differences = self.differences(input);
        let share = |(index, &value): (usize, &f32)| {
            let value = f64::from(value);
            let of_background = value * self.slopes[index] - self.levels[index];
            let of_input = dot(&self.weights[index], &differences) * (value - self.means[index]);
            (of_background + of_input) / input.len() as f64
        };
        input.iter().enumerate().map(share).collect()
    }

    fn differences(&self, input: &[f32]) -> Vec<f64> {
        let mut differences = self.offset.clone();
        for (weights, &value) in self.weights.iter().zip(input) {
            differences.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight * f64::from(value));
        }
        differences
    }
}

/// A closed form of what a model is explained by.
#[derive(Debug, Clone, PartialEq)]
pub enum Closed {
    /// The output is a sum.
    Linear(LinearShares),
    /// The output is a sum of functions of one value each.
    Functions(AddedShares),
    /// The output is the squared error of sums.
    Quadratic(QuadraticShares),
}

impl Closed {
    /// The closed form of a model in this space, where it has one.
    ///
    /// # Errors
    /// [`ExplainError::Model`] when the model fails to run.
    pub fn of(model: &Model, space: Space) -> Result<Option<Self>, ExplainError> {
        let background = &model.background().rows;
        Ok(model.sums_in(space)?.map(|sums| match sums {
            Sums::Output(sum) => Self::Linear(LinearShares::new(&sum.weights, background)),
            Sums::Functions(sum) => Self::Functions(AddedShares::new(sum, model.width(), background)),
            Sums::Reconstruction(sums) => Self::Quadratic(QuadraticShares::new(&sums, background)),
        }))
    }

    /// The share of each of the input's values.
    pub fn shares(&self, input: &[f32]) -> Vec<f64> {
        match self {
            Self::Linear(linear) => linear.shares(input),
            Self::Functions(sum) => sum.shares(input),
            Self::Quadratic(quadratic) => quadratic.shares(input),
        }
    }
}

/// The players' shares, from those of all values.
pub(super) fn by_player(players: &Players, shares: &[f64]) -> Vec<f64> {
    let of = |player| players.stretch(player, 0, players.steps()).map(|column| shares[column]).sum();
    (0..players.count()).map(of).collect()
}

fn means(width: usize, rows: &[f32]) -> Vec<f64> {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let column = |index| rows.iter().skip(index).step_by(width).map(|&value| f64::from(value)).sum::<f64>() / count;
    (0..width).map(column).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::exact::Enumeration;

    /// Shares by enumerating all sets of values.
    fn enumerated(input: &[f32], background: &[f32], model: impl Fn(&[f32]) -> f64) -> Vec<f64> {
        let enumeration = Enumeration::new(Players::of_row(input.len()), background).expect("few values");
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            Ok(rows.chunks_exact(input.len()).map(&model).collect())
        };
        enumeration.attributions(input, ask).expect("answers").attributions
    }

    const BACKGROUND: [f32; 12] = [0.0, 1.0, -2.0, 3.0, 0.5, 1.5, 10.0, -4.0, 2.0, 2.0, 2.0, 7.0];
    const INPUT: [f32; 4] = [1.0, 5.0, -3.0, 0.25];

    fn close(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-10, "{found} for {expected}");
        }
    }

    #[test]
    fn a_sum_is_shared_as_by_enumeration() {
        let weights = [2.0, -1.0, 0.0, 0.5];
        let model = |x: &[f32]| 3.0 + x.iter().zip(weights).map(|(&x, weight)| f64::from(x) * weight).sum::<f64>();
        let expected = enumerated(&INPUT, &BACKGROUND, model);
        close(&LinearShares::new(&weights, &BACKGROUND).shares(&INPUT), &expected);
    }

    #[test]
    fn a_squared_error_is_shared_as_by_enumeration() {
        let sum = |weights: [f64; 4], intercept| WeightedSum { weights: weights.to_vec(), intercept };
        let sums = [
            sum([0.5, 0.1, 0.0, 1.0], 1.0),
            sum([0.2, 0.9, -0.7, 0.0], -2.0),
            sum([0.0, 0.4, 0.3, 0.0], 0.0),
            sum([-0.3, 0.0, 0.2, 0.6], 0.5),
        ];
        let model = |x: &[f32]| {
            x.iter().zip(&sums).map(|(&value, sum)| (f64::from(value) - sum.of(x)).powi(2)).sum::<f64>() / 4.0
        };
        close(&QuadraticShares::new(&sums, &BACKGROUND).shares(&INPUT), &enumerated(&INPUT, &BACKGROUND, model));
    }

    #[test]
    fn a_window_s_values_add_up_to_its_features() {
        assert_eq!(by_player(&Players::of_window(2, 2), &[1.0, 10.0, 2.0, 20.0]), [3.0, 30.0]);
    }
}
