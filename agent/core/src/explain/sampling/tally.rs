//! What walks found, and how far apart they were.

use std::collections::BTreeMap;

/// How much the features' common spread weighs in each one's, in walks.
const PRIOR: f64 = 4.0;

/// What the walks found, by background row.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) walks: usize,
    pub(super) rows: BTreeMap<usize, Visited>,
}

/// What the walks to one background row found, by feature.
pub(super) struct Visited {
    pub(super) walks: usize,
    /// Every second row that is visited goes into the second of two folds.
    pub(super) fold: usize,
    /// The first walk's shares, from which the others are counted, so that sums of squares lose nothing.
    first: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Tally {
    pub(super) fn add(&mut self, row: usize, shares: Vec<f64>) {
        self.walks += 1;
        let fold = self.rows.len() % 2;
        let Some(visited) = self.rows.get_mut(&row) else {
            let zeros = vec![0.0; shares.len()];
            self.rows.insert(row, Visited { walks: 1, fold, first: shares, sums: zeros.clone(), squares: zeros });
            return;
        };
        visited.walks += 1;
        for (player, share) in shares.into_iter().enumerate() {
            let off = share - visited.first[player];
            visited.sums[player] += off;
            visited.squares[player] += off * off;
        }
    }
}

impl Visited {
    pub(super) fn mean(&self, player: usize) -> f64 {
        self.first[player] + self.sums[player] / self.walks as f64
    }

    /// The sum of squared distances from the mean.
    pub(super) fn deviation(&self, player: usize) -> f64 {
        self.squares[player] - self.sums[player] * self.sums[player] / self.walks as f64
    }
}

/// The sample variance; zero of fewer than two values.
pub(in crate::explain) fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count();
    let mean = values.clone().sum::<f64>() / count.max(1) as f64;
    values.map(|value| (value - mean).powi(2)).sum::<f64>() / count.saturating_sub(1).max(1) as f64
}

/// The variance of one walk's shares on the same background row, from their squared deviations and so many degrees of
/// freedom; empty for none.
///
/// From few second walks it would often come out far too small, where they happened to agree. So it is drawn towards the
/// mean over all features, as if that had been seen in [`PRIOR`] more.
pub(super) fn within(deviations: &[f64], freedom: usize) -> Vec<f64> {
    if freedom == 0 {
        return Vec::new();
    }
    let freedom = freedom as f64;
    let mean = deviations.iter().sum::<f64>() / freedom / deviations.len() as f64;
    deviations.iter().map(|deviation| (deviation + PRIOR * mean) / (freedom + PRIOR)).collect()
}
