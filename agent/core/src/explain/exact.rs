//! Exact interventional Shapley values of any model, by asking it about every mixed row: of few features against few
//! background rows always, of more where the budget pays for it.
//!
//! A mixed row takes a set of features from a background row and the others from the explained row. Where the two rows
//! agree, or two background rows agree on the set, mixed rows coincide: each different one is asked for once.
//!
//! Of a network in two halves only the second is asked about them ([`halved`]).

mod halved;

use std::collections::HashMap;
use std::sync::Arc;

use super::ExplainError;
use super::mixing::Sums;
use super::players::Players;
use super::weights::Weights;
use crate::model::Halves;

/// So many mixed rows are worth more than the budget: what ten features need against eight background rows, or six
/// against 128. Each feature more doubles them.
const WORTH_MORE: u64 = 8_192;
/// But no more than so many times the budget.
const TIMES: u64 = 4;
/// Beyond so many features it is never prepared, whatever the budget: what is kept for each set of features would not
/// fit into memory.
pub const MOST_FEATURES: usize = 16;

/// And no more mixed rows than this are ever noted: 32 MiB.
const MOST_ROWS: u64 = 8 << 20;

/// Whether enumerating is within `budget` evaluations; or within four times as many, where it asks about 8,192 rows at
/// most: to be exact is worth that.
pub fn affords(features: usize, background_rows: usize, budget: u64) -> bool {
    let rows = (background_rows as u64).saturating_mul(1 << features.min(63));
    let worth = budget.saturating_mul(TIMES).min(WORTH_MORE);
    features <= MOST_FEATURES && rows <= budget.max(worth).min(MOST_ROWS)
}

/// The model is asked about so many rows at a time,
const BATCH_ROWS: usize = 1024;
/// and about no more than so many values, where that is more than one row.
const BATCH_VALUES: usize = 1 << 20;

/// Enumerates coalitions against one set of background rows.
#[derive(Debug, Clone)]
pub struct Enumeration {
    players: Players,
    background: Vec<f32>,
    /// Per set of features, per background row: the first row that has the same values in that set.
    alike: Vec<Vec<u32>>,
    weights: Weights,
    /// Where the second half of a network can be asked.
    sums: Option<Arc<Sums>>,
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
        Ok(Self { players, background: background.to_vec(), alike, weights: Weights::new(count), sums: None })
    }

    /// Like [`new`](Self::new), for a network in two halves: the second can be asked about mixed rows.
    pub(super) fn through(halves: Option<Halves>, players: Players, background: &[f32]) -> Result<Self, ExplainError> {
        let enumeration = Self::new(players, background)?;
        let sums = halves.and_then(|halves| Sums::new(halves, &players, background)).map(Arc::new);
        Ok(Self { sums, ..enumeration })
    }

    /// The attributions of `row`, and the rows that the second half was asked about. `None` where there are no halves, or
    /// none that suit this row.
    pub(super) fn by_halves(&self, row: &[f32]) -> Result<Option<(Vec<f64>, u64)>, ExplainError> {
        match &self.sums {
            Some(sums) if row.len() == self.players.width() => halved::attributions(self, sums, row),
            _ => Ok(None),
        }
    }

    /// Of each background row the players in which the explained row has other values.
    fn differences(&self, row: &[f32]) -> Vec<usize> {
        let rows = self.background.chunks_exact(self.players.width());
        rows.map(|values| self.players.differing(values, row).into_iter().fold(0, |set, player| set | 1 << player))
            .collect()
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
        let differences = self.differences(row);
        let mut found = Enumerated { output: f64::NAN, attributions: vec![0.0; self.players.count()], evaluations: 0 };
        let mut batch = Batch::new(self.players);
        let mut slots = vec![None; differences.len()];
        for (set, alike) in self.alike.iter().enumerate() {
            slots.fill(None);
            batch.answers.clear();
            let backgrounds = self.background.chunks_exact(width).zip(&differences).zip(alike);
            for ((background, &differs), &first) in backgrounds {
                if set & !differs != 0 {
                    // A row with fewer features from the background is the same: it comes with the smaller set.
                    continue;
                }
                let slot = match slots[first as usize] {
                    Some(slot) => slot,
                    None => {
                        if batch.is_full() {
                            batch.ask(&mut model, &mut found)?;
                        }
                        *slots[first as usize].insert(batch.push(row, background, set))
                    }
                };
                match batch.answer(slot) {
                    Some(value) => self.share(&mut found.attributions, value, set, differs),
                    None => self.share(batch.shares(slot), 1.0, set, differs),
                }
            }
        }
        batch.ask(&mut model, &mut found)?;
        found.attributions.iter_mut().for_each(|sum| *sum /= differences.len() as f64);
        Ok(found)
    }

    /// Adds what each feature gets of a mixed row's `value`, for one background row. Features in which that row agrees with
    /// the explained one take no part in the game.
    fn share(&self, shares: &mut [f64], value: f64, set: usize, differs: usize) {
        let from_row = differs & !set;
        let weight = self.weights.pair(from_row.count_ones() as usize, set.count_ones() as usize);
        for (feature, share) in shares.iter_mut().enumerate() {
            if set >> feature & 1 == 1 {
                *share -= value * weight.background;
            } else if from_row >> feature & 1 == 1 {
                *share += value * weight.row;
            }
        }
    }
}

/// Mixed rows that wait for their values, and what each feature will get of them.
struct Batch {
    players: Players,
    most: usize,
    rows: Vec<f32>,
    shares: Vec<f64>,
    /// Rows asked about before those that wait: slots are counted through.
    asked: usize,
    /// The newest answers: those that came while the set under way was put together.
    answers: Vec<f64>,
}

impl Batch {
    fn new(players: Players) -> Self {
        let most = (BATCH_VALUES / players.width().max(1)).clamp(1, BATCH_ROWS);
        Self { players, most, rows: Vec::new(), shares: Vec::new(), asked: 0, answers: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.most * self.players.width()
    }

    fn push(&mut self, row: &[f32], background: &[f32], set: usize) -> usize {
        let slot = self.rows.len() / self.players.width();
        let players = self.players;
        let mixed = row.iter().zip(background).enumerate();
        let mixed = mixed.map(|(column, (own, other))| if set >> players.owner(column) & 1 == 1 { other } else { own });
        self.rows.extend(mixed);
        self.shares.resize((slot + 1) * players.count(), 0.0);
        self.asked + slot
    }

    /// The answer for a slot of the set under way, where it is there already.
    fn answer(&self, slot: usize) -> Option<f64> {
        let before = self.asked.checked_sub(slot).filter(|&before| before > 0)?;
        self.answers.len().checked_sub(before).and_then(|place| self.answers.get(place)).copied()
    }

    fn shares(&mut self, slot: usize) -> &mut [f64] {
        let count = self.players.count();
        &mut self.shares[(slot - self.asked) * count..][..count]
    }

    fn ask<E>(
        &mut self,
        model: &mut impl FnMut(&[f32]) -> Result<Vec<f64>, E>,
        found: &mut Enumerated,
    ) -> Result<(), E> {
        let values = model(&self.rows)?;
        if found.evaluations == 0 {
            // The empty set comes first, and its one mixed row is the explained row itself.
            found.output = values.first().copied().unwrap_or(f64::NAN);
        }
        found.evaluations += values.len() as u64;
        for (value, shares) in values.iter().zip(self.shares.chunks_exact(self.players.count())) {
            for (sum, share) in found.attributions.iter_mut().zip(shares) {
                *sum += value * share;
            }
        }
        self.asked += self.rows.len() / self.players.width();
        self.answers.extend(values);
        self.rows.clear();
        self.shares.clear();
        Ok(())
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
    fn the_model_is_never_asked_about_more_than_a_batch_however_many_rows_or_values_there_are() {
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
        assert_eq!(largest, BATCH_ROWS);
        // Windows of so many values that a set of them is more than a batch; of the second player half the rows are alike.
        let (players, steps) = (Players::of_window(2, 1 << 14), 1 << 14);
        let background: Vec<f32> =
            (0..60 * 2 * steps).map(|at| [at / (2 * steps), at / (4 * steps)][at % 2] as f32).collect();
        let model = |x: &[f32]| f64::from(x[0]) * (1.0 + f64::from(x[1]));
        let (mut largest, row) = (0, vec![-1.0; 2 * steps]);
        let wide = Enumeration::new(players, &background).unwrap();
        let wide = wide.attributions(&row, |rows| {
            largest = largest.max(rows.len());
            ask(rows, 2 * steps, model)
        });
        assert_eq!(largest, BATCH_VALUES);
        let narrow: Vec<f32> = (0..60 * 2).map(|at| [at / 2, at / 4][at % 2] as f32).collect();
        let narrow = Enumeration::new(Players::of_row(2), &narrow).unwrap();
        let narrow = narrow.attributions(&[-1.0; 2], |rows| ask(rows, 2, model)).unwrap();
        let wide = wide.unwrap();
        assert_eq!((wide.evaluations, wide.output), (1 + 60 + 30 + 60, narrow.output));
        let off = wide.attributions.iter().zip(&narrow.attributions).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-9, "{off}");
    }

    #[test]
    fn what_is_too_wide_or_does_not_fit_is_refused() {
        let wide = Enumeration::new(Players::of_row(17), &[0.0; 17]).err();
        assert_eq!(wide, Some(ExplainError::TooWide { features: 17 }));
        assert!(affords(10, 8, 2_048) && affords(6, 128, 2_048) && !affords(10, 9, 9_215) && affords(10, 9, 9_216));
        // Four times the budget, and no more.
        assert!(!affords(10, 8, 2_047) && !affords(3, 8, 15) && affords(3, 8, 16) && !affords(1, 1, 0));
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
