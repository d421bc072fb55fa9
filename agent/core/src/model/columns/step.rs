//! What is done to one number on its way from a feature into a model.

use std::sync::Arc;

use super::region::Region;
use crate::model::operators::encoder::Lookup;

/// One operation. Numbers are float64 throughout; where onnxruntime computes in float32 the result is rounded to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `x + by`
    Add { by: f64, single: bool },
    /// `by - x`
    From { by: f64, single: bool },
    /// `x · by`, `by` neither 0 nor infinite.
    Times { by: f64, single: bool },
    /// `x / by`, `by` neither 0 nor infinite.
    Over { by: f64, single: bool },
    /// Rounded to float32.
    Single,
    /// Cut to a whole number that is at most `±limit`; NaN becomes `-limit`, as on x86.
    Whole { limit: f64 },
    /// `by` in place of `replaced`, which may be NaN.
    Impute { replaced: f64, by: f64 },
    /// What a table says; NaN among the keys finds itself.
    Lookup(Arc<Lookup>),
    /// 1 above the threshold, else 0.
    Above(f64),
}

impl Step {
    /// The result for a number.
    pub(crate) fn apply(&self, x: f64) -> f64 {
        let rounded = |value: f64, single: bool| if single { f64::from(value as f32) } else { value };
        match *self {
            // Sums, products and quotients of two float32 numbers, computed in float64 and then rounded, are rounded right.
            Self::Add { by, single } => rounded(x + by, single),
            Self::From { by, single } => rounded(by - x, single),
            Self::Times { by, single } => rounded(x * by, single),
            Self::Over { by, single } => rounded(x / by, single),
            Self::Single => rounded(x, true),
            Self::Whole { limit } if x.is_nan() => -limit,
            Self::Whole { limit } => x.trunc().clamp(-limit, limit),
            Self::Impute { replaced, by } => {
                if x == replaced || x.is_nan() && replaced.is_nan() {
                    by
                } else {
                    x
                }
            }
            Self::Lookup(ref table) => table.of(x),
            Self::Above(threshold) => f64::from(u8::from(x > threshold)),
        }
    }

    /// How much [`Self::before`] has to look at.
    pub(crate) fn effort(&self, region: &Region) -> usize {
        // Halving down to one number is as dear as so many looks.
        const HALVINGS: usize = 8;
        let flips = region.flips.len();
        match self {
            Self::Lookup(table) => table.pairs.len(),
            Self::Impute { .. } => flips,
            _ => flips.saturating_mul(HALVINGS),
        }
    }

    /// The numbers that this step takes into `region`.
    pub(crate) fn before(&self, region: &Region) -> Region {
        match self {
            Self::Add { .. } | Self::From { .. } | Self::Times { .. } | Self::Over { .. } => {
                region.before_monotone(|x| self.apply(x))
            }
            Self::Single | Self::Whole { .. } | Self::Above(_) => region.before_monotone(|x| self.apply(x)),
            Self::Impute { replaced, by } => {
                let inside = region.contains(*by);
                if replaced.is_nan() {
                    return Region { nan: inside, ..region.clone() };
                }
                region.clone().toggled((region.contains(*replaced) != inside).then_some(*replaced))
            }
            Self::Lookup(table) => {
                let inside = region.contains(table.default);
                let others = table.pairs.iter().filter(|(_, value)| region.contains(*value) != inside);
                let nan = region.contains(table.of(f64::NAN));
                Region { nan, ..Region::constant(inside).toggled(others.map(|(key, _)| *key)) }
            }
        }
    }

    /// `(a, b)` where the step is `a·x + b` but for rounding.
    pub(crate) fn affine(&self) -> Option<(f64, f64)> {
        match *self {
            Self::Add { by, .. } => Some((1.0, by)),
            Self::From { by, .. } => Some((-1.0, by)),
            Self::Times { by, .. } => Some((by, 0.0)),
            Self::Over { by, .. } => Some((1.0 / by, 0.0)),
            Self::Single => Some((1.0, 0.0)),
            Self::Whole { .. } | Self::Impute { .. } | Self::Lookup(_) | Self::Above(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_before_a_step_is_what_it_takes_into_the_region() {
        let table = Lookup { pairs: vec![(1.0, 5.0), (2.0, 0.0), (f64::NAN, 5.0)], default: -1.0 };
        let steps = [
            Step::Add { by: -0.3, single: true },
            Step::From { by: 1.0, single: false },
            Step::Times { by: -2.5, single: true },
            Step::Over { by: 3.0, single: true },
            Step::Single,
            Step::Whole { limit: 9.0 },
            Step::Impute { replaced: f64::NAN, by: 2.0 },
            Step::Impute { replaced: 1.0, by: -4.0 },
            Step::Lookup(Arc::new(table)),
            Step::Above(0.5),
        ];
        let regions = [
            Region::points([0.0, 1.0, 5.0]),
            Region { nan: true, low: true, flips: vec![-1.5, 0.2, 0.7] },
            Region::constant(true),
        ];
        let values = [-1e300, -4.0, -1.5, -1.0, -0.3, -0.0, 0.0, 0.2, 0.5, 0.7, 1.0, 1.2, 2.0, 5.0, 7.0, 1e9];
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for step in &steps {
            for region in &regions {
                let before = step.before(region);
                for value in values.iter().chain(&odd).flat_map(|value| [value.next_down(), *value, value.next_up()]) {
                    assert_eq!(
                        before.contains(value),
                        region.contains(step.apply(value)),
                        "{step:?} {region:?} {value}"
                    );
                }
            }
        }
    }
}
