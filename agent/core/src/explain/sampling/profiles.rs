//! What is known of the background before a row is explained: how a few reference rows are told from each of its rows.
//!
//! How far a background row moves each feature's share is much the same whatever row is explained: so the shares of
//! reference rows, weighted to be like those of the explained one, are taken off (a difference estimator: Särndal,
//! Swensson, Wretman 1992, "Model assisted survey sampling", section 6.3). The weights are fitted by least squares to what
//! walks found. So that they do not know the chance that they take off, the visited rows are dealt into two folds, and each
//! is corrected with weights fitted to the other (as Witter, Liu, Musco 2025, "Regression-adjusted Monte Carlo estimators
//! for Shapley values and probabilistic values", arXiv:2506.11849, fit a model to part of their samples and apply it to the
//! rest). Weights add up to one, which keeps efficiency.

use super::tally::Tally;

/// How much the weights are drawn towards equal ones: as much as so many visited rows draw them elsewhere.
const PRIOR: f64 = 2.0;
/// Differences between reference rows below this part of all that is known are rounding.
const ROUNDING: f64 = 1e-12;

/// The shares of reference rows against each background row, less their means over the background.
#[derive(Debug)]
pub(super) struct Profiles {
    players: usize,
    rows: usize,
    /// Per reference row, per background row, per player.
    shares: Vec<Vec<f64>>,
    /// How the references differ from the first one, on average over the background: their products, by pairs.
    products: Vec<Vec<f64>>,
}

/// Weights of the references for the rows of either fold.
pub(super) type Weights = [Vec<f64>; 2];

impl Profiles {
    /// What the shares of references tell, each a table of `rows` times `players`; one at least.
    pub(super) fn new(players: usize, rows: usize, mut shares: Vec<Vec<f64>>) -> Self {
        for table in &mut shares {
            for player in 0..players {
                let mean = table.iter().skip(player).step_by(players).sum::<f64>() / rows as f64;
                table.iter_mut().skip(player).step_by(players).for_each(|share| *share -= mean);
            }
        }
        let mut profiles = Self { players, rows, shares, products: Vec::new() };
        profiles.products = profiles.pairs(|one, other| {
            (0..rows * players).map(|at| profiles.differs(one, at) * profiles.differs(other, at)).sum::<f64>()
                / rows as f64
        });
        profiles
    }

    /// Where nothing was computed: one reference, whose shares are the output in equal parts.
    pub(super) fn of_outputs(players: usize, outputs: &[f64]) -> Self {
        let equal = outputs.iter().flat_map(|output| std::iter::repeat_n(-output / players as f64, players));
        Self::new(players, outputs.len(), vec![equal.collect()])
    }

    /// What is taken off the shares of a walk to a background row.
    pub(super) fn known(&self, weights: &[f64], row: usize, player: usize) -> f64 {
        let at = row * self.players + player;
        self.shares.iter().zip(weights).map(|(shares, weight)| weight * shares[at]).sum()
    }

    /// Whether there is nothing to weigh.
    pub(super) fn is_empty(&self) -> bool {
        self.shares.len() < 2
    }

    /// Equal weights.
    fn equal(&self) -> Vec<f64> {
        vec![1.0 / self.shares.len() as f64; self.shares.len()]
    }

    /// For each fold the weights fitted to the other. Equal ones where every row was visited: then what is taken off adds up
    /// to nothing.
    pub(super) fn weights(&self, tally: &Tally) -> Weights {
        if self.is_empty() || tally.rows.len() == self.rows {
            return [self.equal(), self.equal()];
        }
        [self.fitted(tally, 1), self.fitted(tally, 0)]
    }

    /// How a reference beside the first differs from it.
    fn differs(&self, reference: usize, at: usize) -> f64 {
        self.shares[reference + 1][at] - self.shares[0][at]
    }

    /// A symmetric table over pairs of references beside the first.
    fn pairs(&self, entry: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
        let count = self.shares.len() - 1;
        let half: Vec<Vec<f64>> = (0..count).map(|one| (0..=one).map(|other| entry(one, other)).collect()).collect();
        (0..count).map(|one| (0..count).map(|other| half[one.max(other)][one.min(other)]).collect()).collect()
    }

    /// The weights that come closest to what walks to the rows of one fold found, each player up to a constant.
    fn fitted(&self, tally: &Tally, fold: usize) -> Vec<f64> {
        let visited: Vec<_> = tally.rows.iter().filter(|(_, visited)| visited.fold == fold).collect();
        let (count, equal) = (self.shares.len() - 1, self.equal());
        // Per reference, then for what is left of the shares, per player and row, less the mean over rows.
        let centred = |of: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            let mut values = Vec::with_capacity(self.players * visited.len());
            for player in 0..self.players {
                let from = values.len();
                values.extend((0..visited.len()).map(|index| of(index, player)));
                let mean = values[from..].iter().sum::<f64>() / visited.len() as f64;
                values[from..].iter_mut().for_each(|value| *value -= mean);
            }
            values
        };
        let references: Vec<Vec<f64>> = (0..count)
            .map(|reference| {
                centred(&|index, player| self.differs(reference, visited[index].0 * self.players + player))
            })
            .collect();
        let left = centred(&|index, player| {
            let (&row, found) = visited[index];
            found.mean(player) - self.known(&equal, row, player)
        });
        let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
        let table =
            self.pairs(|one, other| dot(&references[one], &references[other]) + PRIOR * self.products[one][other]);
        let right = references.iter().map(|reference| dot(reference, &left)).collect();
        let all: f64 = self.shares[0].iter().map(|share| share * share).sum();
        let shift = solve(table, right, ROUNDING * all);
        let first = equal[0] - shift.iter().sum::<f64>();
        std::iter::once(first).chain(shift.iter().map(|shift| equal[0] + shift)).collect()
    }
}

/// Solves symmetric positive equations by elimination; unknowns that the others leave less than `least` of are zero.
fn solve(mut table: Vec<Vec<f64>>, mut right: Vec<f64>, least: f64) -> Vec<f64> {
    let count = right.len();
    for pivot in 0..count {
        if table[pivot][pivot] <= least {
            continue;
        }
        for row in pivot + 1..count {
            let factor = table[row][pivot] / table[pivot][pivot];
            let (above, below) = table.split_at_mut(row);
            below[0][pivot..]
                .iter_mut()
                .zip(&above[pivot][pivot..])
                .for_each(|(value, above)| *value -= factor * above);
            right[row] -= factor * right[pivot];
        }
    }
    let mut found = vec![0.0; count];
    for row in (0..count).rev().filter(|&row| table[row][row] > least) {
        let others: f64 = (row + 1..count).map(|column| table[row][column] * found[column]).sum();
        found[row] = (right[row] - others) / table[row][row];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four references over 30 background rows and 3 players, without any order in them.
    fn tables() -> Vec<Vec<f64>> {
        (0..4_usize)
            .map(|table| {
                (0..90_usize).map(|at| ((at * 37 + table * 11 + at * at * (table + 1)) % 101) as f64).collect()
            })
            .collect()
    }

    fn visited(rows: impl Iterator<Item = usize>, share: impl Fn(usize, usize) -> f64) -> Tally {
        let mut tally = Tally::default();
        rows.for_each(|row| tally.add(row, (0..3).map(|player| share(row, player)).collect()));
        tally
    }

    #[test]
    fn a_row_that_is_like_some_references_is_told_as_they_are() {
        let tables = tables();
        let like = |row: usize, player: usize| {
            let at = row * 3 + player;
            1.4 * tables[1][at] - 0.4 * tables[3][at] + 100.0 * player as f64
        };
        let profiles = Profiles::new(3, 30, tables.clone());
        for (visits, off) in [(26, 0.25), (10, 0.5)] {
            let weights = profiles.weights(&visited(0..visits, like));
            for fold in &weights {
                assert!((fold.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{fold:?}");
                for (weight, expected) in fold.iter().zip([0.0, 1.4, 0.0, -0.4]) {
                    assert!((weight - expected).abs() < off, "{visits}: {fold:?}");
                }
            }
        }
    }

    #[test]
    fn weights_of_one_fold_do_not_know_it() {
        let profiles = Profiles::new(3, 30, tables());
        let share = |row: usize, player: usize| ((row * 29 + player * 7) % 17) as f64;
        let one = profiles.weights(&visited(0..12, share));
        // Every second row belongs to the second fold.
        let two =
            profiles.weights(&visited(0..12, |row, player| share(row, player) * if row % 2 == 1 { 5.0 } else { 1.0 }));
        assert_eq!(one[1], two[1]);
        assert_ne!(one[0], two[0]);
    }

    #[test]
    fn references_that_are_alike_get_equal_weights_and_all_rows_visited_need_none() {
        let same = Profiles::new(3, 30, vec![tables()[0].clone(); 4]);
        let share = |row: usize, player: usize| (row * player) as f64;
        assert_eq!(same.weights(&visited(0..12, share)), [vec![0.25; 4], vec![0.25; 4]]);
        let profiles = Profiles::new(3, 30, tables());
        assert_eq!(profiles.weights(&visited(0..30, share)), [vec![0.25; 4], vec![0.25; 4]]);
        let outputs = Profiles::of_outputs(3, &[3.0, 6.0]);
        assert_eq!((outputs.is_empty(), outputs.known(&[1.0], 0, 2)), (true, 0.5));
    }
}
