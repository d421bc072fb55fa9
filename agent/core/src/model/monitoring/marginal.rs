//! One feature alone, as the reference has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QUANTILES, quantiles, sorted};
use crate::model::manifest::Feature;

/// A feature with no more different values than this is told by them.
const FEW: usize = 20;
/// Groups of about equal size that a quantity is cut into.
const BINS: usize = 10;

/// One feature, as the reference has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marginal {
    /// The feature.
    pub name: String,
    /// Rows with a value.
    pub present: u64,
    /// Rows without one.
    pub missing: u64,
    /// The mean of the values.
    pub mean: f64,
    /// Their standard deviation: that of the reference itself, divided by its number of rows.
    pub deviation: f64,
    /// How they are spread.
    pub shape: Shape,
}

/// How a feature's values are spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Shape {
    /// So many different values that they are a quantity.
    Numeric {
        /// From the minimum to the maximum in hundredths.
        quantiles: Vec<f64>,
        /// The bounds between bins, ascending: a value belongs to the bin above each bound that is at most as large.
        edges: Vec<f64>,
        /// Rows in each bin, one more than bounds.
        counts: Vec<u64>,
    },
    /// Few different values, or words that stand for numbers.
    Discrete {
        /// The values, ascending.
        values: Vec<f64>,
        /// Rows with each.
        counts: Vec<u64>,
    },
}

impl Marginal {
    pub(super) fn of(feature: &Feature, values: impl Iterator<Item = f64>) -> Self {
        let (mut present, mut missing) = (Vec::new(), 0_u64);
        for value in values {
            if value.is_nan() {
                missing += 1;
            } else {
                // No two zeros.
                present.push(value + 0.0);
            }
        }
        present.sort_unstable_by(f64::total_cmp);
        let count = present.len().max(1) as f64;
        let mean = present.iter().sum::<f64>() / count;
        let variance = present.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Self {
            name: feature.name.to_string(),
            present: present.len() as u64,
            missing,
            mean,
            deviation: variance.sqrt(),
            shape: Shape::of(&present, !feature.categories.is_empty()),
        }
    }

    /// Whether there is more than one value.
    pub(super) fn varies(&self) -> bool {
        self.deviation > 1e-12 * self.mean.abs().max(f64::MIN_POSITIVE)
    }

    /// The least and the largest value, in words.
    pub(crate) fn seen(&self) -> String {
        let values = match &self.shape {
            Shape::Numeric { quantiles, .. } => quantiles,
            Shape::Discrete { values, .. } => values,
        };
        match (values.first(), values.last()) {
            (Some(low), Some(high)) if low == high => format!("only {low}"),
            (Some(low), Some(high)) => format!("{low} to {high}"),
            _ => "nothing".to_owned(),
        }
    }

    pub(super) fn figures(&mut self) -> Vec<&mut f64> {
        let mut figures = vec![&mut self.mean, &mut self.deviation];
        match &mut self.shape {
            Shape::Numeric { quantiles, edges, .. } => figures.extend(quantiles.iter_mut().chain(edges)),
            Shape::Discrete { values, .. } => figures.extend(values),
        }
        figures
    }

    pub(super) fn is_sound(&self) -> bool {
        let counted =
            |counts: &[u64]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count)) == self.present;
        let shape = match &self.shape {
            Shape::Numeric { quantiles, edges, counts } => {
                sorted(quantiles) && sorted(edges) && counts.len() == edges.len() + 1 && counted(counts)
            }
            Shape::Discrete { values, counts } => sorted(values) && counts.len() == values.len() && counted(counts),
        };
        shape && self.mean.is_finite() && self.deviation.is_finite() && self.deviation >= 0.0
    }
}

impl Shape {
    fn of(sorted: &[f64], words: bool) -> Self {
        let mut counted: BTreeMap<u64, (f64, u64)> = BTreeMap::new();
        for &value in sorted {
            counted.entry(value.to_bits()).or_insert((value, 0)).1 += 1;
            if !words && counted.len() > FEW {
                return Self::numeric(sorted);
            }
        }
        let mut pairs: Vec<(f64, u64)> = counted.into_values().collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (values, counts) = pairs.into_iter().unzip();
        Self::Discrete { values, counts }
    }

    fn numeric(sorted: &[f64]) -> Self {
        let mut edges: Vec<f64> = quantiles(sorted, BINS + 1).into_iter().skip(1).take(BINS - 1).collect();
        edges.dedup();
        // A bound at the minimum has nothing below it.
        edges.retain(|edge| sorted.first().is_some_and(|first| edge > first));
        let mut counts = Vec::with_capacity(edges.len() + 1);
        let mut below = 0;
        for edge in &edges {
            let end = sorted.partition_point(|value| value < edge);
            counts.push((end - below) as u64);
            below = end;
        }
        counts.push((sorted.len() - below) as u64);
        Self::Numeric { quantiles: quantiles(sorted, QUANTILES), edges, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Manifest;

    fn marginal(values: impl Iterator<Item = f64>, more: &str) -> Marginal {
        let text = format!(
            "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\nname = \"a\"\n{more}[output]\nkind = \"regression\"\ntensor = \"y\"\n"
        );
        Marginal::of(&Manifest::parse(&text).unwrap().features[0], values)
    }

    #[test]
    fn a_quantity_is_cut_into_tenths_and_its_ties_stay_together() {
        let even = marginal((0..1_000).map(f64::from), "");
        assert!(even.is_sound() && even.varies());
        assert!((even.mean - 499.5).abs() < 1e-9 && (even.deviation - 288.675).abs() < 1e-3, "{even:?}");
        let Shape::Numeric { quantiles, edges, counts } = &even.shape else { panic!("{even:?}") };
        assert_eq!((quantiles.len(), edges.len(), counts.as_slice()), (101, 9, &[100; 10][..]));
        // Half of it at one value: as at a machine that stands still.
        let half = marginal((0..1_000).map(|n| f64::from((n - 500).max(0))), "");
        let Shape::Numeric { edges, counts, .. } = &half.shape else { panic!("{half:?}") };
        assert!(half.is_sound() && edges[0] > 0.0 && counts[0] > 500, "{half:?}");
    }

    #[test]
    fn few_values_are_told_apart_and_what_is_missing_is_counted() {
        let few = marginal([2.0, f64::NAN, -0.0, 0.0, 2.0, 2.0].into_iter(), "");
        assert_eq!((few.present, few.missing, few.seen().as_str()), (5, 1, "0 to 2"));
        assert_eq!(few.shape, Shape::Discrete { values: vec![0.0, 2.0], counts: vec![2, 3] });
        let words = "categories = { A = 0, B = 1 }\n";
        assert!(matches!(marginal((0..50).map(f64::from), words).shape, Shape::Discrete { .. }));
        let nothing = marginal(std::iter::repeat_n(f64::NAN, 3), "");
        assert!(nothing.is_sound() && !nothing.varies() && nothing.seen() == "nothing");
        assert!(!marginal(std::iter::repeat_n(0.1, 1_000), "").varies());
    }
}
