//! The features together: how far a row is from the reference where each of its values alone is nothing unusual.
//!
//! The distance is Mahalanobis', of standardised values, with correlations that are shrunk towards none as far as they are
//! uncertain, so that few rows do not make a wall of chance. A value that is missing counts as the mean.

use serde::{Deserialize, Serialize};

use super::{Marginal, quantiles, sorted};

/// The most features that are looked at together.
const MOST_FEATURES: usize = 128;
/// The most rows that correlations are taken from, spread over the reference.
const MOST_ROWS: usize = 4_000;
/// Values that the distances are told by.
const STEPS: usize = 1_001;
/// The least that correlations are shrunk, so that features that follow from each other can be told of.
const LEAST: f64 = 1e-3;

/// The features together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// Which features: those that vary. Numbers in the manifest's order, ascending.
    pub columns: Vec<usize>,
    /// Their means.
    pub means: Vec<f64>,
    /// Their standard deviations.
    pub deviations: Vec<f64>,
    /// Their correlations: below the diagonal, row after row, as they are in the reference.
    pub correlations: Vec<f64>,
    /// By how much of themselves correlations are reduced for the distance.
    pub shrinkage: f64,
    /// How far the reference's rows are: quantiles, from minimum to maximum in thousandths.
    pub distances: Vec<f64>,
}

impl Joint {
    /// `rows` are the reference's, with a value for each of the marginals.
    pub(super) fn of(rows: &[&[f32]], marginals: &[Marginal]) -> Option<Self> {
        let columns: Vec<usize> = (0..marginals.len()).filter(|&index| marginals[index].varies()).collect();
        if !(2..=MOST_FEATURES).contains(&columns.len()) || rows.len() <= 2 {
            return None;
        }
        let mut joint = Self {
            means: columns.iter().map(|&index| marginals[index].mean).collect(),
            deviations: columns.iter().map(|&index| marginals[index].deviation).collect(),
            columns,
            correlations: Vec::new(),
            shrinkage: 0.0,
            distances: Vec::new(),
        };
        let every = rows.len().div_ceil(MOST_ROWS);
        let standard: Vec<Vec<f64>> = rows.iter().step_by(every).map(|row| joint.standardised(row)).collect();
        (joint.correlations, joint.shrinkage) = correlations(&standard, joint.columns.len());
        let novelty = Novelty::new(&joint)?;
        let mut distances: Vec<f64> = standard.iter().map(|row| novelty.length(row.clone())).collect();
        distances.sort_unstable_by(f64::total_cmp);
        joint.distances = quantiles(&distances, STEPS);
        Some(joint)
    }

    fn standardised(&self, row: &[f32]) -> Vec<f64> {
        let scaled = |((&column, &mean), &deviation): ((&usize, &f64), &f64)| {
            let value = row.get(column).map_or(f64::NAN, |value| f64::from(*value));
            if value.is_nan() { 0.0 } else { (value - mean) / deviation }
        };
        self.columns.iter().zip(&self.means).zip(&self.deviations).map(scaled).collect()
    }

    pub(super) fn figures(&mut self) -> Vec<&mut f64> {
        let Self { columns: _, means, deviations, correlations, shrinkage, distances } = self;
        let lists = means.iter_mut().chain(deviations).chain(correlations).chain(distances);
        lists.chain(std::iter::once(shrinkage)).collect()
    }

    /// Whether it can be used with so many features.
    pub(super) fn is_sound(&self, features: usize) -> bool {
        let width = self.columns.len();
        (2..=MOST_FEATURES).contains(&width)
            && self.columns.is_sorted_by(|a, b| a < b)
            && self.columns.iter().all(|&column| column < features)
            && self.means.len() == width
            && self.means.iter().all(|mean| mean.is_finite())
            && self.deviations.len() == width
            && self.deviations.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0)
            && self.correlations.len() == width * (width - 1) / 2
            && self.correlations.iter().all(|correlation| (-1.0..=1.0).contains(correlation))
            && (0.0..=1.0).contains(&self.shrinkage)
            && self.distances.len() == STEPS
            && sorted(&self.distances)
            && Novelty::new(self).is_some()
    }
}

/// Correlations of standardised rows, and by how much to shrink them: the sum of their variances by that of their squares.
/// Source: Schäfer and Strimmer, "A shrinkage approach to large-scale covariance matrix estimation", 2005, target D.
fn correlations(rows: &[Vec<f64>], width: usize) -> (Vec<f64>, f64) {
    let count = rows.len() as f64;
    let mut found = Vec::with_capacity(width * width.saturating_sub(1) / 2);
    let (mut uncertain, mut squares) = (0.0, 0.0);
    for left in 1..width {
        for right in 0..left {
            let products = rows.iter().map(|row| row[left] * row[right]);
            let mean = products.clone().sum::<f64>() / count;
            let spread = products.map(|product| (product - mean).powi(2)).sum::<f64>();
            uncertain += spread / (count * (count - 1.0));
            squares += mean * mean;
            found.push(mean.clamp(-1.0, 1.0));
        }
    }
    let shrinkage: f64 = if squares > 0.0 { uncertain / squares } else { 1.0 };
    (found, shrinkage.clamp(LEAST, 1.0))
}

/// Says how unusual rows are.
#[derive(Debug, Clone)]
pub struct Novelty {
    joint: Joint,
    /// The Cholesky factor of the shrunk correlations: lower triangle, row after row.
    factor: Vec<f64>,
}

impl Novelty {
    /// Prepared from what the reference looked like; `None` where that can be no reference.
    pub fn new(joint: &Joint) -> Option<Self> {
        let width = joint.columns.len();
        let mut factor: Vec<f64> = Vec::with_capacity(width * (width + 1) / 2);
        let start = |row: usize| row * (row + 1) / 2;
        let mut given = joint.correlations.iter();
        for row in 0..width {
            for column in 0..=row {
                let wanted = if column == row { 1.0 } else { given.next()? * (1.0 - joint.shrinkage) };
                let known: f64 = (0..column).map(|k| factor[start(row) + k] * factor[start(column) + k]).sum();
                let left = wanted - known;
                let value = if column == row { left.sqrt() } else { left / factor[start(column) + column] };
                if !value.is_finite() || (column == row && value <= 0.0) {
                    return None;
                }
                factor.push(value);
            }
        }
        Some(Self { joint: joint.clone(), factor })
    }

    /// How far a row is from the reference's mean: of a window, its newest row, with a value for each feature.
    pub fn distance(&self, row: &[f32]) -> f64 {
        self.length(self.joint.standardised(row))
    }

    /// The share of the reference's rows that are less unusual than this distance.
    pub fn share(&self, distance: f64) -> f64 {
        let distances = &self.joint.distances;
        let last = distances.len().saturating_sub(1).max(1);
        let above = distances.partition_point(|known| *known < distance);
        let (Some(&low), Some(&high)) =
            (above.checked_sub(1).and_then(|below| distances.get(below)), distances.get(above))
        else {
            return if above == 0 { 0.0 } else { 1.0 };
        };
        let part = if high > low { (distance - low) / (high - low) } else { 0.0 };
        ((above - 1) as f64 + part) / last as f64
    }

    /// The length of standardised values in the factor's terms, by forward substitution.
    fn length(&self, mut values: Vec<f64>) -> f64 {
        for row in 0..values.len() {
            let start = row * (row + 1) / 2;
            let known: f64 = (0..row).map(|k| self.factor[start + k] * values[k]).sum();
            values[row] = (values[row] - known) / self.factor[start + row];
        }
        values.iter().map(|value| value * value).sum::<f64>().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::Manifest;
    use crate::random::Random;

    /// Rows of three: two that go together but for a tenth, and one that never changes.
    fn rows() -> Vec<[f32; 3]> {
        let mut random = Random::new([3; 32]);
        let mut normal = move || (0..12).map(|_| random.below(1 << 24) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0;
        (0..2_000)
            .map(|_| {
                let first = normal();
                [10.0 + first, 100.0 + 20.0 * (first + 0.1 * normal()), 5.0]
            })
            .collect()
    }

    fn joint(rows: &[[f32; 3]]) -> Option<Joint> {
        let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\nname = \"a\"\n[[feature]]\nname = \"b\"\n\
                    [[feature]]\nname = \"c\"\n[output]\nkind = \"regression\"\ntensor = \"y\"\n";
        let manifest = Manifest::parse(text).unwrap();
        let marginals: Vec<Marginal> = (0..3)
            .map(|index| Marginal::of(&manifest.features[index], rows.iter().map(|row| f64::from(row[index]))))
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        Joint::of(&rows, &marginals)
    }

    #[test]
    fn a_row_that_breaks_the_correlation_is_far_though_each_value_is_ordinary() {
        let rows = rows();
        let joint = joint(&rows).unwrap();
        assert_eq!(joint.columns, [0, 1], "what never changes tells nothing");
        assert!((joint.correlations[0] - 0.995).abs() < 0.002 && joint.is_sound(3), "{:?}", joint.correlations);
        let novelty = Novelty::new(&joint).unwrap();
        let share = |row: [f32; 3]| novelty.share(novelty.distance(&row));
        assert!(share([10.0, 100.0, 5.0]) < 0.05);
        assert!(share([11.0, 120.0, 5.0]) < 0.9);
        assert_eq!(share([11.0, 80.0, 5.0]), 1.0, "each is one standard deviation off");
        assert!(share([11.0, f32::NAN, 5.0]) < 1.0 || novelty.distance(&[11.0, f32::NAN, 5.0]) > 1.0);
        let below = rows.iter().filter(|row| share(**row) < 0.9).count();
        assert!((1_790..=1_810).contains(&below), "{below} of 2,000 are below nine tenths");
    }

    #[test]
    fn the_distance_without_correlation_is_the_plain_one() {
        let joint = Joint {
            columns: vec![0, 1],
            means: vec![1.0, 2.0],
            deviations: vec![2.0, 4.0],
            correlations: vec![0.8],
            shrinkage: 1.0,
            distances: vec![0.0; STEPS],
        };
        let distance = Novelty::new(&joint).unwrap().distance(&[1.0 + 2.0 * 3.0, 2.0 + 4.0 * 4.0]);
        assert!((distance - 5.0).abs() < 1e-12, "{distance}");
        // With correlation r the squared distance of (x, y) is (x² - 2 r x y + y²) / (1 - r²).
        let distance = Novelty::new(&Joint { shrinkage: 0.0, ..joint }).unwrap().distance(&[7.0, 18.0]);
        assert!((distance.powi(2) - (9.0 - 1.6 * 12.0 + 16.0) / 0.36).abs() < 1e-9, "{distance}");
    }

    #[test]
    fn what_follows_from_each_other_and_what_is_too_little_is_no_trouble() {
        let same: Vec<[f32; 3]> = (0..50).map(|n| [n as f32, 2.0 * n as f32, 5.0]).collect();
        assert!(joint(&same).unwrap().is_sound(3));
        assert_eq!((joint(&same[..2]), joint(&[[1.0; 3]; 50])), (None, None));
        let mut broken = joint(&same).unwrap();
        broken.deviations[0] = 0.0;
        assert!(!broken.is_sound(3));
    }
}
