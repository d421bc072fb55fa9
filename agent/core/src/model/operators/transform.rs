//! `post_transform`: the last function over the scores of a row, with onnxruntime's own formulas.

use crate::model::graph::attributes::{Attributes, brief};

/// The function over all scores of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostTransform {
    /// The scores as they are.
    None,
    /// The logistic function of each.
    Logistic,
    /// Shares that add up to one.
    Softmax,
    /// Softmax in which columns of exactly zero stay zero.
    SoftmaxZero,
    /// The quantile of the normal distribution, of each.
    Probit,
}

impl PostTransform {
    /// From an attribute of that name; absent means none.
    pub(crate) fn read(attributes: &Attributes<'_>) -> Result<Self, String> {
        match attributes.string("post_transform").unwrap_or("NONE") {
            "NONE" => Ok(Self::None),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX" => Ok(Self::Softmax),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            "PROBIT" => Ok(Self::Probit),
            other => Err(format!("post_transform {} is not known; export the model again", brief(other))),
        }
    }

    /// Turns a row of scores into what the model shows.
    pub(crate) fn apply(self, row: &mut [f64]) {
        match self {
            Self::None => {}
            Self::Logistic => row.iter_mut().for_each(|value| *value = logistic(*value)),
            Self::Softmax => softmax(row, |_| false),
            Self::SoftmaxZero => softmax(row, |value| value.abs() <= 1e-7),
            Self::Probit => row.iter_mut().for_each(|value| *value = probit(*value)),
        }
    }
}

/// `1 / (1 + e^-x)`, without overflow on either side.
pub(crate) fn logistic(value: f64) -> f64 {
    let half = 1.0 / (1.0 + (-value.abs()).exp());
    if value < 0.0 { 1.0 - half } else { half }
}

/// Softmax over a row, shifted by its largest value. Columns that `stays_zero` keep a share of zero.
fn softmax(row: &mut [f64], stays_zero: impl Fn(f64) -> bool) {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for value in &mut *row {
        *value = if stays_zero(*value) { 0.0 } else { (*value - largest).exp() };
    }
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}

/// `√2 · erf⁻¹(2x - 1)`, with the approximation that onnxruntime uses.
/// Source: Winitzki 2008, "A handy approximation for the error function and its inverse", eq. 7, with a = 0.147.
fn probit(value: f64) -> f64 {
    const A: f64 = 0.147;
    let x = 2.0 * value - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f64::consts::PI * A) + 0.5 * log;
    let root = ((half * half - log / A).sqrt() - half).sqrt();
    std::f64::consts::SQRT_2 * if x < 0.0 { -root } else { root }
}
