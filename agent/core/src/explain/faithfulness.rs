//! Whether attributions tell what the model heeds, found out by deleting features.
//!
//! Features are given back their background values, those first that are said to have moved the output most; the share
//! of the way back to the base value that the output has gone by then is averaged over the deletions. Good attributions get
//! far soon; an order that knows nothing is half way on average.
//!
//! Source: Samek et al. 2017, "Evaluating the visualization of what a deep neural network has learned", on deletion
//! against random order.

use super::ExplainError;
use super::players::Players;
use super::questions::{Ask, Questions};
use crate::domain::explanation::Faithfulness;
use crate::random::Random;

/// One explanation in so many is scored, by its row's digest.
pub const ONE_IN: u64 = 64;
/// Background rows whose values features are given back, where the budget pays for as many.
const ROWS: usize = 8;
/// Deletions at which the output is looked at, where there are that many features.
const LOOKS: usize = 16;
/// Random orders, each also walked backwards.
const ORDERS: usize = 2;
/// No score is given where the output is nearer to the base value than this part of the attributions together: there is
/// no way to go.
const NO_WAY: f64 = 0.05;

/// What is scored, and against what.
pub(super) struct Deletion<'a> {
    pub(super) players: Players,
    pub(super) background: &'a [f32],
    pub(super) row: &'a [f32],
    pub(super) output: f64,
    pub(super) base_value: f64,
    pub(super) ask: &'a Ask<'a>,
}

impl Deletion<'_> {
    /// Scores attributions, one per feature, from at most `budget` evaluations; `None` for a single feature, where there is no
    /// way to go, or where the budget does not pay for one background row. Also returns the evaluations spent.
    pub(super) fn score(
        &self,
        attributions: &[f64],
        budget: u64,
        random: &mut Random,
    ) -> Result<(Option<Faithfulness>, u64), ExplainError> {
        let way = self.base_value - self.output;
        let all: f64 = attributions.iter().map(|share| share.abs()).sum();
        if attributions.len() < 2 || way.is_nan() || way.abs() <= NO_WAY * all {
            return Ok((None, 0));
        }
        let price = (1 + 2 * ORDERS) * (attributions.len() - 1).min(LOOKS);
        let affordable = usize::try_from(budget).unwrap_or(usize::MAX) / price;
        if affordable == 0 {
            return Ok((None, 0));
        }
        let mut order: Vec<usize> = (0..attributions.len()).collect();
        order.sort_by(|&a, &b| (attributions[a] * way).total_cmp(&(attributions[b] * way)));
        let mut orders = vec![order.clone()];
        for _ in 0..ORDERS {
            random.shuffle(&mut order);
            orders.push(order.clone());
            orders.push(order.iter().rev().copied().collect());
        }
        let rows = self.rows(affordable, random);
        let mut questions = Questions::new(self.players.width(), self.ask);
        let mut places = Vec::new();
        for order in &orders {
            places.push(self.delete(order, &rows, &mut questions)?);
        }
        questions.settle()?;
        let scores: Vec<f64> = places
            .iter()
            .map(|places| {
                let went = places.iter().map(|&place| (questions.answer(place) - self.output) / way);
                went.sum::<f64>() / places.len() as f64
            })
            .collect();
        let random = scores.iter().skip(1).sum::<f64>() / (2 * ORDERS) as f64;
        Ok((Some(Faithfulness { deletion: scores[0], random }), questions.asked()))
    }

    fn rows(&self, most: usize, random: &mut Random) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.background.len() / self.players.width()).collect();
        random.shuffle(&mut rows);
        rows.truncate(most.min(ROWS));
        rows
    }

    /// Puts the questions about one order: after each look's deletions, with the values of each of `rows`.
    fn delete(
        &self,
        order: &[usize],
        rows: &[usize],
        questions: &mut Questions<'_>,
    ) -> Result<Vec<usize>, ExplainError> {
        let looks = (order.len() - 1).min(LOOKS);
        let mut places = Vec::with_capacity(rows.len() * looks);
        for &row in rows {
            let values = &self.background[row * self.players.width()..][..self.players.width()];
            let mut mixed = self.row.to_vec();
            let mut deleted = 0;
            for look in 1..=looks {
                let until = look * order.len() / (looks + 1);
                order[deleted..until].iter().for_each(|&player| self.players.take(&mut mixed, values, player));
                deleted = until;
                places.push(questions.put(&mixed)?);
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_attributions_of_a_sum_score_as_computed_by_hand_and_wrong_ones_below_random() {
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            Ok(rows.chunks_exact(3).map(|x| f64::from(6.0 * x[0] + 3.0 * x[1] + x[2])).collect())
        };
        let deletion = Deletion {
            players: Players::of_row(3),
            background: &[0.0; 3],
            row: &[1.0; 3],
            output: 10.0,
            base_value: 0.0,
            ask: &ask,
        };
        let score = |attributions: &[f64]| {
            deletion.score(attributions, 640, &mut Random::new([3; 32])).expect("answers").0.expect("a score")
        };
        let right = score(&[6.0, 3.0, 1.0]);
        assert!((right.deletion - (0.6 + 0.9) / 2.0).abs() < 1e-12 && (right.random - 0.5).abs() < 1e-12, "{right:?}");
        let wrong = score(&[1.0, 3.0, 6.0]);
        assert!((wrong.deletion - (0.1 + 0.4) / 2.0).abs() < 1e-12, "{wrong:?}");
        let little = |budget| deletion.score(&[6.0, 3.0, 1.0], budget, &mut Random::new([3; 32])).expect("answers");
        assert_eq!(little(9), (None, 0));
        assert!(little(10).0.is_some() && little(10).1 <= 10);
        let nowhere = Deletion { base_value: 10.0, ..deletion };
        assert_eq!(nowhere.score(&[1.0, -1.0, 0.0], 640, &mut Random::new([3; 32])).expect("no questions"), (None, 0));
    }
}
