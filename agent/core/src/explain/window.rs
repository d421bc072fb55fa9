//! Windows: how a feature's share spreads over time.
//!
//! A feature's steps are cut into stretches, which share out what the feature adds: in a game where the other features
//! come whole, and all stretches of this one come one after the other. So the stretches' shares add up to the feature's:
//! they are Owen values (Owen 1977, "Values of games with a priori unions"), estimated by sampling.

use super::ExplainError;
use super::mixing::{Explained, Mixing};
use super::players::Players;
use super::questions::Questions;
use super::sampling::variance;
use crate::domain::explanation::IntervalShare;
use crate::random::Random;

/// A window is cut into so many stretches, or one for each step where it has fewer.
const STRETCHES: usize = 6;
/// Features whose time is looked into: at most so many,
const MOST_FEATURES: usize = 3;
/// and only those with at least this part of all shares together; the largest always.
const PART_THAT_MATTERS: f64 = 0.1;
/// Background rows that are visited at least, whatever the budget: of one alone it is not known how far it may be off.
const FEWEST_VISITS: usize = 2;

/// The features that matter, the largest share first.
pub(super) fn that_matter(shares: &[f64]) -> Vec<usize> {
    let all: f64 = shares.iter().map(|share| share.abs()).sum();
    let mut order: Vec<usize> = (0..shares.len()).filter(|&feature| shares[feature] != 0.0).collect();
    order.sort_by(|&a, &b| shares[b].abs().total_cmp(&shares[a].abs()));
    let kept =
        order.iter().take(MOST_FEATURES).take_while(|&&feature| shares[feature].abs() >= PART_THAT_MATTERS * all);
    let kept = kept.count().max(1);
    order.truncate(kept);
    order
}

/// The stretches of a window, as the first step and the one after the last.
fn stretches(steps: usize) -> Vec<(usize, usize)> {
    let count = steps.min(STRETCHES);
    (0..count).map(|part| (part * steps / count, (part + 1) * steps / count)).collect()
}

/// The exact spread over time, where the share of every value is known.
pub(super) fn added_up(players: &Players, shares: &[f64], feature: usize) -> Vec<IntervalShare> {
    let stretch = |(from, to): (usize, usize)| IntervalShare {
        from: from as u32,
        to: to as u32,
        value: players.stretch(feature, from, to).map(|column| shares[column]).sum(),
        standard_error: 0.0,
    };
    stretches(players.steps()).into_iter().map(stretch).collect()
}

/// What a feature adds, and how far that may be off where it is an estimate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) value: f64,
    pub(super) standard_error: f64,
}

/// Estimates how one feature's share spreads over time.
pub(super) struct Spreading<'a, 'b> {
    pub(super) explained: &'a Explained<'a>,
    /// The same for all features, so that what they have in common is asked once.
    pub(super) questions: &'a mut Questions<'b>,
}

impl Spreading<'_, '_> {
    /// Spreads `share`, which is the feature's, from at most `budget` evaluations. Adds up to `share`: what sampling leaves
    /// over goes to the stretches by their length, and with it that part of the share's own error.
    pub(super) fn over_time(
        &mut self,
        feature: usize,
        share: Share,
        budget: u64,
        random: &mut Random,
    ) -> Result<Vec<IntervalShare>, ExplainError> {
        let Mixing { players, .. } = self.explained.mixing;
        let stretches = stretches(players.steps());
        self.questions.forget();
        let mut visits = Vec::new();
        for background in self.order(budget, stretches.len(), random) {
            visits.push(self.visit(background, feature, &stretches, random)?);
        }
        self.questions.settle()?;
        let found: Vec<Vec<f64>> = visits.iter().map(|visit| visit.shares(stretches.len(), self.questions)).collect();
        let visits = found.len().max(1) as f64;
        let interval = |(part, &(from, to)): (usize, &(usize, usize))| {
            let length = (to - from) as f64 / players.steps() as f64;
            // Of each visit, how far the stretch does more than its length's part of all that the feature does.
            let beyond = found.iter().map(|shares| shares[part] - length * shares.iter().sum::<f64>());
            let (mean, chance) = (beyond.clone().sum::<f64>() / visits, variance(beyond) / visits);
            IntervalShare {
                from: from as u32,
                to: to as u32,
                value: length * share.value + mean,
                standard_error: (chance + (length * share.standard_error).powi(2)).sqrt(),
            }
        };
        Ok(stretches.iter().enumerate().map(interval).collect())
    }

    /// The background rows to visit, in random order: each once, and again while the budget lasts.
    fn order(&self, budget: u64, stretches: usize, random: &mut Random) -> Vec<usize> {
        let rows = self.explained.mixing.rows();
        let price = 2 * (stretches as u64 + 1);
        let visits = usize::try_from(budget / price).unwrap_or(usize::MAX).clamp(FEWEST_VISITS, 4 * rows.max(1));
        let mut order: Vec<usize> = (0..rows).collect();
        random.shuffle(&mut order);
        order.into_iter().cycle().take(visits).collect()
    }

    /// Puts the questions of one background row: a random set of the other features comes from the explained row, then the
    /// feature's stretches, one by one; and all of it the other way round.
    fn visit(
        &mut self,
        background: usize,
        feature: usize,
        stretches: &[(usize, usize)],
        random: &mut Random,
    ) -> Result<Visit, ExplainError> {
        let count = self.explained.mixing.players.count();
        let mut others: Vec<usize> = (0..count).filter(|&player| player != feature).collect();
        random.shuffle(&mut others);
        let (before, after) = others.split_at(random.below(others.len() + 1));
        let mut order: Vec<usize> = (0..stretches.len()).collect();
        random.shuffle(&mut order);
        let mut places = Vec::with_capacity(2 * (order.len() + 1));
        let backwards: Vec<usize> = order.iter().rev().copied().collect();
        for (present, order) in [(before, &order), (after, &backwards)] {
            let mut mixed = self.explained.mixed(background);
            present.iter().for_each(|&player| mixed.take(player));
            places.push(self.questions.put(&mixed.values)?);
            for &part in order {
                let (from, to) = stretches[part];
                mixed.take_stretch(feature, from, to);
                places.push(self.questions.put(&mixed.values)?);
            }
        }
        Ok(Visit { order, places })
    }
}

/// One visit to a background row: the order of the stretches, and where the answers are, there and back.
struct Visit {
    order: Vec<usize>,
    places: Vec<usize>,
}

impl Visit {
    fn shares(&self, stretches: usize, questions: &Questions<'_>) -> Vec<f64> {
        let mut shares = vec![0.0; stretches];
        let (there, back) = self.places.split_at(self.order.len() + 1);
        let mut follow = |places: &[usize], parts: &mut dyn Iterator<Item = usize>| {
            for (part, ends) in parts.zip(places.windows(2)) {
                shares[part] += (questions.answer(ends[1]) - questions.answer(ends[0])) / 2.0;
            }
        };
        follow(there, &mut self.order.iter().copied());
        follow(back, &mut self.order.iter().rev().copied());
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_spread;
    use super::*;

    #[test]
    fn stretches_cover_the_window_without_overlap() {
        for steps in 1..40 {
            let stretches = stretches(steps);
            assert_eq!((stretches[0].0, stretches[stretches.len() - 1].1), (0, steps));
            assert!(stretches.iter().all(|(from, to)| from < to));
            assert!(stretches.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
    }

    #[test]
    fn only_large_shares_matter_and_of_equal_ones_the_first() {
        assert_eq!(that_matter(&[0.5, -9.0, 0.4, 3.0]), [1, 3]);
        assert_eq!(that_matter(&[1.0; 20]), [0]);
        assert!(that_matter(&[0.0, 0.0]).is_empty());
    }

    #[test]
    fn a_planted_defect_is_found_where_it_is() {
        // Two features over 30 steps. The output grows with how far the first was above 2 at any step, and more when the
        // second was high in the end.
        let model = |x: &[f32]| -> f64 {
            let high: f64 = x.chunks_exact(2).map(|step| f64::from((step[0] - 2.0).max(0.0))).sum();
            high * (1.0 + 0.1 * f64::from(x[59]))
        };
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> { Ok(rows.chunks_exact(60).map(model).collect()) };
        let background: Vec<f32> = (0..12 * 60).map(|i| ((i * 37) % 23) as f32 / 10.0).collect();
        for defect in [0, 5, 12, 25] {
            let mut row: Vec<f32> = background[60..120].to_vec();
            (defect..defect + 5).for_each(|step| row[2 * step] = 6.0);
            let mixing = Mixing { players: Players::of_window(2, 30), background: &background, sums: None };
            let mut questions = Questions::new(60, &ask);
            let mut spreading = Spreading { explained: &mixing.with(&row), questions: &mut questions };
            let share = Share { value: 20.0, standard_error: 0.0 };
            let intervals = spreading.over_time(0, share, 500, &mut Random::new([1; 32])).expect("answers");
            let asked = questions.asked();
            assert!((intervals.iter().map(|interval| interval.value).sum::<f64>() - 20.0).abs() < 1e-9);
            assert!(asked <= 500, "{asked}");
            let found = intervals.iter().max_by(|a, b| a.value.total_cmp(&b.value)).expect("intervals");
            assert!(found.from as usize <= defect + 4 && found.to as usize > defect, "{defect}: {intervals:?}");
        }
    }

    #[test]
    fn what_is_left_over_brings_the_share_s_own_error_and_no_other() {
        // The output is the mean of the steps, and each background row's steps are all the same: however far a row lies
        // off, each stretch has a sixth of it.
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            Ok(rows.chunks_exact(12).map(|x| x.iter().map(|&x| f64::from(x)).sum::<f64>() / 12.0).collect())
        };
        let background: Vec<f32> = (0..8 * 12).map(|i| -((i / 12) as f32)).collect();
        let mixing = Mixing { players: Players::of_window(1, 12), background: &background, sums: None };
        let mut questions = Questions::new(12, &ask);
        let mut spreading = Spreading { explained: &mixing.with(&[1.0; 12]), questions: &mut questions };
        for standard_error in [0.0, 0.6] {
            let share = Share { value: 4.5, standard_error };
            let intervals = spreading.over_time(0, share, 70, &mut Random::new([1; 32])).expect("answers");
            for interval in intervals {
                assert!((interval.value - 0.75).abs() < 1e-9, "{interval:?}");
                assert!((interval.standard_error - standard_error / 6.0).abs() < 1e-9, "{interval:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_spread_over_time() {
        // The output is none where the last of 12 steps is above 0: in the row, and in no background row.
        let odd = |x: &[f32]| if x[11] > 0.0 { f64::NAN } else { 1.0 };
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> { Ok(rows.chunks_exact(12).map(odd).collect()) };
        let background = [0.0; 8 * 12];
        let mixing = Mixing { players: Players::of_window(1, 12), background: &background, sums: None };
        let mut questions = Questions::new(12, &ask);
        let mut spreading = Spreading { explained: &mixing.with(&[1.0; 12]), questions: &mut questions };
        let mut spread = |value: f64, standard_error: f64| {
            let share = Share { value, standard_error };
            spreading.over_time(0, share, 70, &mut Random::new([1; 32])).expect("answers")
        };
        let refused = |found: Result<(), ExplainError>| matches!(found, Err(ExplainError::Unsound { .. }));
        assert!(refused(check_spread(&spread(1.0, 0.0), 1.0)), "no stretch has a part of what is no number");

        let of = |value: f64, standard_error: f64| IntervalShare { from: 0, to: 1, value, standard_error };
        assert_eq!(check_spread(&[of(1.0, 0.0), of(2.0, 0.1)], 3.0), Ok(()));
        for interval in [of(f64::NAN, 0.0), of(f64::INFINITY, 0.0), of(1.0, f64::NAN)] {
            assert!(refused(check_spread(&[of(1.0, 0.0), interval], 3.0)));
        }
        let values = added_up(&Players::of_window(1, 12), &[vec![1.0; 11], vec![f64::NAN]].concat(), 0);
        assert!(refused(check_spread(&values, 12.0)));
        assert_eq!(that_matter(&[0.5, f64::NAN]), [1], "it is looked into, and refused");
    }
}
