//! Exact interventional Shapley values of any model, by asking it about every mixed row: of few features against few
//! background rows always, of more where the budget pays for it.
//!
//! A mixed row takes a set of features from a background row and the others from the explained row. Where the two rows
//! agree, or two background rows agree on the set, mixed rows coincide: each different one is asked for once.

use std::collections::HashMap;

use super::ExplainError;
use super::players::Players;
use super::weights::Weights;

/// So many mixed rows are affordable whatever the budget: what ten features need against eight background rows, or six
/// against 128. Each feature more doubles them.
const ALWAYS: u64 = 8_192;
/// Beyond so many features it is never prepared, whatever the budget: what is kept for each set of features would not
/// fit into memory.
pub const MOST_FEATURES: usize = 16;

/// And no more mixed rows than this are ever noted: 32 MiB.
const MOST_ROWS: u64 = 8 << 20;

/// Whether enumerating is within `budget` evaluations, or asks about so few rows that it always is.
pub fn affords(features: usize, background_rows: usize, budget: u64) -> bool {
    let rows = (background_rows as u64).saturating_mul(1 << features.min(63));
    features <= MOST_FEATURES && rows <= budget.clamp(ALWAYS, MOST_ROWS)
}

/// The model is asked about so many rows at a time (and at most one background's more).
const BATCH: usize = 1024;

/// Enumerates coalitions against one set of background rows.
#[derive(Debug, Clone)]
pub struct Enumeration {
    players: Players,
    background: Vec<f32>,
    /// Per set of features, per background row: the first row that has the same values in that set.
    alike: Vec<Vec<u32>>,
    weights: Weights,
}

/// What an enumeration found.
#[derive(Debug, Clone, PartialEq)]
pub struct Enumerated {
    /// The model's answer for the explained row.
    pub output: f64,
    /// One per feature.
    pub attributions: Vec<f64>,
    /// Rows that the model was asked about.
    pub evaluations: u64,
}

impl Enumeration {
    /// Prepares explanations against `background`: flat inputs of the players' values.
    ///
    /// # Errors
    /// [`ExplainError::TooWide`] above [`MOST_FEATURES`]; [`ExplainError::Background`] when `background` is empty or no
    /// whole number of rows.
    pub fn new(players: Players, background: &[f32]) -> Result<Self, ExplainError> {
        let (width, count) = (players.width(), players.count());
        if count > MOST_FEATURES {
            return Err(ExplainError::TooWide { features: count });
        }
        if width == 0 || background.is_empty() || !background.len().is_multiple_of(width) {
            return Err(ExplainError::Background { values: background.len(), width });
        }
        let alike = alike(&players, background);
        Ok(Self { players, background: background.to_vec(), alike, weights: Weights::new(count) })
    }

    /// The attributions of `row`. `model` answers flat rows with one number each.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` does not have one value per feature; what `model` returns.
    pub fn attributions<E: From<ExplainError>>(
        &self,
        row: &[f32],
        mut model: impl FnMut(&[f32]) -> Result<Vec<f64>, E>,
    ) -> Result<Enumerated, E> {
        let width = self.players.width();
        if row.len() != width {
            return Err(ExplainError::Width { expected: width, got: row.len() }.into());
        }
        let rows: Vec<Background<'_>> =
            self.background.chunks_exact(width).map(|values| Background::new(values, row, &self.players)).collect();
        let mut found = Enumerated { output: f64::NAN, attributions: vec![0.0; self.players.count()], evaluations: 0 };
        let mut batch = Batch::new(self.players);
        let mut slots = vec![None; rows.len()];
        for (set, alike) in self.alike.iter().enumerate() {
            slots.fill(None);
            for (background, &first) in rows.iter().zip(alike) {
                if set & !background.differs != 0 {
                    // A row with fewer features from the background is the same: it comes with the smaller set.
                    continue;
                }
                let slot = *slots[first as usize].get_or_insert_with(|| batch.push(row, background.values, set));
                self.share(batch.shares(slot), set, background.differs);
            }
            if batch.len() >= BATCH || set + 1 == self.alike.len() {
                let values = model(&batch.rows)?;
                if found.evaluations == 0 {
                    // The empty set comes first, and its one mixed row is the explained row itself.
                    found.output = values.first().copied().unwrap_or(f64::NAN);
                }
                found.evaluations += values.len() as u64;
                batch.settle(&values, &mut found.attributions);
            }
        }
        found.attributions.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
        Ok(found)
    }

    /// Adds what each feature gets of a mixed row's value, for one background row. Features in which that row agrees with
    /// the explained one take no part in the game.
    fn share(&self, shares: &mut [f64], set: usize, differs: usize) {
        let from_row = differs & !set;
        let weight = self.weights.pair(from_row.count_ones() as usize, set.count_ones() as usize);
        for (feature, share) in shares.iter_mut().enumerate() {
            if set >> feature & 1 == 1 {
                *share -= weight.background;
            } else if from_row >> feature & 1 == 1 {
                *share += weight.row;
            }
        }
    }
}

/// A background row, and the features in which the explained row has another value.
struct Background<'a> {
    values: &'a [f32],
    differs: usize,
}

impl<'a> Background<'a> {
    fn new(values: &'a [f32], row: &[f32], players: &Players) -> Self {
        let differs = values
            .iter()
            .zip(row)
            .enumerate()
            .filter(|(_, (value, other))| value.to_bits() != other.to_bits())
            .fold(0, |set, (column, _)| set | 1 << players.owner(column));
        Self { values, differs }
    }
}

/// Mixed rows that wait for their values, and what each feature will get of them.
struct Batch {
    players: Players,
    rows: Vec<f32>,
    shares: Vec<f64>,
}

impl Batch {
    fn new(players: Players) -> Self {
        Self { players, rows: Vec::new(), shares: Vec::new() }
    }

    fn len(&self) -> usize {
        self.rows.len() / self.players.width()
    }

    fn push(&mut self, row: &[f32], background: &[f32], set: usize) -> usize {
        let slot = self.len();
        let players = self.players;
        let mixed = row.iter().zip(background).enumerate();
        let mixed = mixed.map(|(column, (own, other))| if set >> players.owner(column) & 1 == 1 { other } else { own });
        self.rows.extend(mixed);
        self.shares.resize((slot + 1) * players.count(), 0.0);
        slot
    }

    fn shares(&mut self, slot: usize) -> &mut [f64] {
        let count = self.players.count();
        &mut self.shares[slot * count..][..count]
    }

    fn settle(&mut self, values: &[f64], attributions: &mut [f64]) {
        for (value, shares) in values.iter().zip(self.shares.chunks_exact(self.players.count())) {
            for (sum, share) in attributions.iter_mut().zip(shares) {
                *sum += value * share;
            }
        }
        self.rows.clear();
        self.shares.clear();
    }
}

/// Per set of features, per background row: the first row with the same values in that set.
fn alike(players: &Players, background: &[f32]) -> Vec<Vec<u32>> {
    let rows = background.len() / players.width();
    let single: Vec<Vec<u32>> = (0..players.count()).map(|player| alike_in(players, background, player)).collect();
    let mut alike: Vec<Vec<u32>> = vec![vec![0; rows]];
    for set in 1..1_usize << players.count() {
        let mut firsts = HashMap::new();
        let pairs = alike[set & (set - 1)].iter().zip(&single[set.trailing_zeros() as usize]).zip(0..);
        let first = pairs.map(|((&group, &own), index)| *firsts.entry((group, own)).or_insert(index)).collect();
        alike.push(first);
    }
    alike
}

/// Per background row: the first row with the same values of one player.
fn alike_in(players: &Players, background: &[f32], player: usize) -> Vec<u32> {
    let mut firsts = HashMap::new();
    let values = background.chunks_exact(players.width()).map(|row| {
        players.stretch(player, 0, players.steps()).map(|column| row[column].to_bits()).collect::<Vec<u32>>()
    });
    values.zip(0..).map(|(values, index)| *firsts.entry(values).or_insert(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rows: &[f32], width: usize, model: impl Fn(&[f32]) -> f64) -> Result<Vec<f64>, ExplainError> {
        Ok(rows.chunks_exact(width).map(model).collect())
    }

    #[test]
    fn a_product_is_shared_equally_and_a_sum_by_its_terms() {
        let enumeration = Enumeration::new(Players::of_row(3), &[0.0, 0.0, 1.0]).unwrap();
        let model = |x: &[f32]| f64::from(x[0] * x[1]) + 10.0 * f64::from(x[2]);
        let found = enumeration.attributions(&[2.0, 3.0, 4.0], |rows| ask(rows, 3, model)).unwrap();
        assert_eq!((found.output, found.evaluations), (46.0, 8));
        let off = |expected: [f64; 3]| found.attributions.iter().zip(expected).map(|(a, b)| (a - b).abs()).sum::<f64>();
        assert!(off([3.0, 3.0, 30.0]) < 1e-12, "{:?}", found.attributions);
    }

    #[test]
    fn the_steps_of_a_window_change_together() {
        // Two features over two steps: a product over time of the first, and the newest value of the second.
        let enumeration = Enumeration::new(Players::of_window(2, 2), &[0.0; 8]).unwrap();
        let model = |x: &[f32]| f64::from(x[0] * x[2]) + f64::from(x[3]);
        let found = enumeration.attributions(&[2.0, 9.0, 3.0, 4.0], |rows| ask(rows, 4, model)).unwrap();
        assert_eq!((found.attributions, found.evaluations), (vec![6.0, 4.0], 4));
    }

    #[test]
    fn rows_that_coincide_are_asked_for_once() {
        // Three background rows of which two are alike; the third agrees with the explained row in the first feature.
        let enumeration = Enumeration::new(Players::of_row(2), &[0.0, 1.0, 0.0, 1.0, 5.0, 1.0]).unwrap();
        let mut asked = Vec::new();
        let found = enumeration
            .attributions(&[5.0, 2.0], |rows| {
                asked.extend(rows.chunks_exact(2).map(<[f32]>::to_vec));
                ask(rows, 2, |x| f64::from(x[0] + x[1]))
            })
            .unwrap();
        assert_eq!(asked, [[5.0, 2.0], [0.0, 2.0], [5.0, 1.0], [0.0, 1.0]]);
        assert_eq!(found.evaluations, 4);
        assert!((found.attributions[0] - 10.0 / 3.0).abs() < 1e-12 && (found.attributions[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_row_that_is_the_background_is_asked_for_once_and_owes_nothing_to_anything() {
        let enumeration = Enumeration::new(Players::of_row(2), &[f32::NAN, 1.0]).unwrap();
        let found = enumeration.attributions(&[f32::NAN, 1.0], |rows| ask(rows, 2, |x| f64::from(x[1]))).unwrap();
        assert_eq!(found, Enumerated { output: 1.0, attributions: vec![0.0, 0.0], evaluations: 1 });
    }

    #[test]
    fn the_model_is_never_asked_about_more_than_a_batch_and_a_background() {
        let background: Vec<f32> = (0..300 * 10).map(|value| value as f32).collect();
        let enumeration = Enumeration::new(Players::of_row(10), &background).unwrap();
        let mut largest = 0;
        let found = enumeration
            .attributions(&[-1.0; 10], |rows| {
                largest = largest.max(rows.len() / 10);
                ask(rows, 10, |x| x.iter().map(|&value| f64::from(value)).sum())
            })
            .unwrap();
        assert_eq!(found.evaluations, 1023 * 300 + 1);
        assert!(largest < BATCH + 300, "{largest}");
    }

    #[test]
    fn what_is_too_wide_or_does_not_fit_is_refused() {
        let wide = Enumeration::new(Players::of_row(17), &[0.0; 17]).err();
        assert_eq!(wide, Some(ExplainError::TooWide { features: 17 }));
        assert!(affords(10, 8, 0) && affords(6, 128, 0) && !affords(10, 9, 9_215) && affords(10, 9, 9_216));
        assert!(!affords(11, 1_000, 2_047_999) && affords(11, 1_000, 2_048_000));
        assert!(!affords(17, 1, u64::MAX) && !affords(16, 1_000, u64::MAX) && !affords(usize::MAX, 1, 5));
        assert_eq!(
            Enumeration::new(Players::of_row(2), &[0.0; 3]).err(),
            Some(ExplainError::Background { values: 3, width: 2 })
        );
        let enumeration = Enumeration::new(Players::of_row(2), &[0.0; 4]).unwrap();
        let refused = enumeration.attributions(&[1.0], |rows| ask(rows, 2, |_| 0.0));
        assert_eq!(refused, Err(ExplainError::Width { expected: 2, got: 1 }));
    }
}
