//! Interventional Shapley values of any model, estimated: unbiased, each with its standard error, from as many model
//! evaluations as the budget allows.
//!
//! A *walk* takes one background row and one random order of the features, and goes from the background row to the
//! explained row feature by feature; each step's change of the output is one estimate of that feature's share. The same
//! order walked the other way is the walk's other half: what pairs of features do together cancels out between the two
//! exactly, so only what three and more do together is left to chance (Mitchell et al. 2022, "Sampling permutations for
//! Shapley value estimation", JMLR 23, section 4.1, on antithetic orders).
//!
//! Walks visit the background rows in random order and each of them before any twice, so once all were visited none of
//! the error comes from the background. Until then most of it does, and most of that is the same for whatever row is
//! explained: how far a background row lies from the others. It was computed at load, as the shares of a few reference
//! rows against every background row, and is taken off (a difference estimator: Särndal, Swensson, Wretman 1992, "Model
//! assisted survey sampling", section 6.3). One walk in [`AGAIN`] goes to a row that was visited before, which tells how
//! much chance there is in one walk.
//!
//! Efficiency needs no care: every walk adds up to the change from its background row to the explained row, and what is
//! taken off adds up to the same number for all background rows but for their own output.

use std::collections::BTreeMap;

use super::ExplainError;
use super::players::Players;
use super::questions::{Ask, Questions};
use crate::random::Random;

/// Attributions are good enough when no standard error is above this share of the outputs' spread over the background.
pub const TOLERANCE: f64 = 0.01;
/// Fewest walks: with fewer, their spread says nothing. They are made even where the budget is less.
const FEWEST_WALKS: usize = 8;
/// Most walks, whatever the budget: an end also where walks ask nothing, since the row is like the background's.
const MOST_WALKS: usize = 100_000;
/// Walks between two looks at the error.
const ROUND: usize = 16;
/// One walk in so many goes to a row that was visited before.
const AGAIN: usize = 6;
/// How much the features' common spread weighs in each one's, in walks.
const PRIOR: f64 = 4.0;
/// Reference rows whose shares are computed at load: this many where [`PREPARATION`] pays for them.
const REFERENCES: usize = 8;
/// Model evaluations that preparing may take.
const PREPARATION: usize = 32_768;

/// Samples walks between background rows and the row to explain.
#[derive(Debug)]
pub struct Sampler {
    players: Players,
    background: Vec<f32>,
    /// The model's output for each background row.
    outputs: Vec<f64>,
    /// Per background row, per feature: what is taken off a walk's shares. Empty where that would cost too much: then the
    /// row's output in equal parts, which keeps efficiency.
    known: Vec<f64>,
    /// Its mean over the background, which is put back.
    known_mean: Vec<f64>,
    /// Standard error below which no more is asked.
    enough: f64,
}

/// Estimated attributions.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The model's answer for the explained row.
    pub output: f64,
    /// One per feature.
    pub attributions: Vec<f64>,
    /// The standard error of each.
    pub standard_errors: Vec<f64>,
    /// Rows that the model was asked about.
    pub evaluations: u64,
}

/// One pair of walks between a background row and the explained row.
struct Walk {
    background: usize,
    /// The features that differ, in the order in which they change.
    order: Vec<usize>,
    /// Where the answers are, for the rows between the ends, in this order and then in the other.
    places: Vec<usize>,
}

impl Sampler {
    /// Prepares explanations against `background`, flat rows whose `outputs` the model gave. The same `seed` gives the
    /// same sampler.
    ///
    /// # Errors
    /// [`ExplainError::Background`] when the background is empty or no whole number of rows; what `ask` returns.
    pub fn new(
        players: Players,
        background: &[f32],
        outputs: &[f64],
        seed: [u8; 32],
        ask: &Ask<'_>,
    ) -> Result<Self, ExplainError> {
        let width = players.width();
        if width == 0 || outputs.is_empty() || background.len() != outputs.len() * width {
            return Err(ExplainError::Background { values: background.len(), width });
        }
        let mut sampler = Self {
            players,
            background: background.to_vec(),
            outputs: outputs.to_vec(),
            known: Vec::new(),
            known_mean: Vec::new(),
            enough: enough(outputs),
        };
        sampler.known = sampler.prepare(Random::new(seed), ask)?;
        let mean =
            |player| (0..outputs.len()).map(|row| sampler.known(row, player)).sum::<f64>() / outputs.len() as f64;
        sampler.known_mean = (0..players.count()).map(mean).collect();
        Ok(sampler)
    }

    /// The mean shares of a few reference rows against every background row; empty where not even one is affordable.
    fn prepare(&self, mut random: Random, ask: &Ask<'_>) -> Result<Vec<f64>, ExplainError> {
        let (count, rows) = (self.players.count(), self.outputs.len());
        let price = rows.saturating_mul(2 * count);
        let references = (PREPARATION / price.max(1)).min(REFERENCES).min(rows);
        if references == 0 {
            return Ok(Vec::new());
        }
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by(|&a, &b| self.outputs[a].total_cmp(&self.outputs[b]));
        let mut known = vec![0.0; rows * count];
        let mut questions = Questions::new(self.players.width(), ask);
        for reference in (0..references).map(|part| order[(2 * part + 1) * rows / (2 * references)]) {
            questions.forget();
            let start = |background| self.start(self.row(reference), background, &mut random, &mut questions);
            let walks: Vec<Walk> = (0..rows).map(start).collect::<Result<_, _>>()?;
            questions.settle()?;
            for (walk, known) in walks.iter().zip(known.chunks_exact_mut(count)) {
                let shares = self.shares(walk, self.outputs[reference], &questions);
                known.iter_mut().zip(shares).for_each(|(mean, share)| *mean += share / references as f64);
            }
        }
        Ok(known)
    }

    /// Estimates the attributions of `row` from at most `budget` evaluations (and [`FEWEST_WALKS`] walks at least).
    /// The same `seed` gives the same estimate.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` has another width; what `ask` returns.
    pub fn estimate(&self, row: &[f32], budget: u64, seed: [u8; 32], ask: &Ask<'_>) -> Result<Estimate, ExplainError> {
        if row.len() != self.players.width() {
            return Err(ExplainError::Width { expected: self.players.width(), got: row.len() });
        }
        let mut random = Random::new(seed);
        let mut questions = Questions::new(self.players.width(), ask);
        let place = questions.put(row)?;
        questions.settle()?;
        let output = questions.answer(place);
        let mut tally = Tally::default();
        let mut visits = Visits::new(self.outputs.len(), &mut random);
        let price = 2 * self.players.count().saturating_sub(1) as u64;
        loop {
            questions.forget();
            let mut walks = Vec::with_capacity(ROUND);
            let mut spent = false;
            while walks.len() < ROUND && !spent {
                walks.push(self.start(row, visits.next(&mut random), &mut random, &mut questions)?);
                let enough_walks = tally.walks + walks.len() >= FEWEST_WALKS;
                spent = enough_walks && questions.put_in_all().saturating_add(price) > budget;
            }
            questions.settle()?;
            for walk in &walks {
                tally.add(walk.background, self.shares(walk, output, &questions));
            }
            let standard_errors = self.standard_errors(&tally);
            let good = standard_errors.iter().all(|&error| error <= self.enough);
            if spent || good || tally.walks >= MOST_WALKS {
                let attributions = self.attributions(&tally);
                return Ok(Estimate { output, attributions, standard_errors, evaluations: questions.asked() });
            }
        }
    }

    fn row(&self, background: usize) -> &[f32] {
        &self.background[background * self.players.width()..][..self.players.width()]
    }

    /// Puts the questions of a pair of walks.
    fn start(
        &self,
        row: &[f32],
        background: usize,
        random: &mut Random,
        questions: &mut Questions<'_>,
    ) -> Result<Walk, ExplainError> {
        let from = self.row(background);
        let mut order = self.players.differing(from, row);
        random.shuffle(&mut order);
        let mut places = Vec::with_capacity(2 * order.len());
        let between = order.len().saturating_sub(1);
        let mut mixed = from.to_vec();
        for &player in &order[..between] {
            self.players.take(&mut mixed, row, player);
            places.push(questions.put(&mixed)?);
        }
        mixed.copy_from_slice(from);
        for &player in order.iter().rev().take(between) {
            self.players.take(&mut mixed, row, player);
            places.push(questions.put(&mixed)?);
        }
        Ok(Walk { background, order, places })
    }

    /// Each feature's share in the change from the background row's output to `output`: the mean over both ways.
    fn shares(&self, walk: &Walk, output: f64, questions: &Questions<'_>) -> Vec<f64> {
        let mut shares = vec![0.0; self.players.count()];
        let begin = self.outputs[walk.background];
        let between = walk.order.len().saturating_sub(1);
        let (there, back) = walk.places.split_at(between);
        let mut follow = |places: &[usize], players: &mut dyn Iterator<Item = usize>| {
            let mut last = begin;
            let reached = places.iter().map(|&place| questions.answer(place)).chain([output]);
            for (player, next) in players.zip(reached) {
                shares[player] += (next - last) / 2.0;
                last = next;
            }
        };
        follow(there, &mut walk.order.iter().copied());
        follow(back, &mut walk.order.iter().rev().copied());
        shares
    }

    /// What is taken off a walk's shares.
    fn known(&self, background: usize, player: usize) -> f64 {
        let count = self.players.count();
        match self.known.get(background * count + player) {
            Some(known) => *known,
            None => -self.outputs[background] / count as f64,
        }
    }

    /// The mean over the visited rows of what walks found beyond what is known, and the known mean.
    fn attributions(&self, tally: &Tally) -> Vec<f64> {
        let rows = tally.rows.len().max(1) as f64;
        let beyond = |player: usize| {
            let beyond = tally.rows.iter().map(|(&row, visited)| visited.mean(player) - self.known(row, player));
            beyond.sum::<f64>() / rows
        };
        self.known_mean.iter().enumerate().map(|(player, known)| beyond(player) + known).collect()
    }

    /// The standard errors of a sample in two stages: rows drawn from the background without putting back, then walks.
    /// Source: Cochran 1977, "Sampling techniques", 3rd edition, section 10.3.
    fn standard_errors(&self, tally: &Tally) -> Vec<f64> {
        let (rows, share) = (tally.rows.len() as f64, tally.rows.len() as f64 / self.outputs.len() as f64);
        let deviation = |player| tally.rows.values().map(|row| row.deviation(player)).sum::<f64>().max(0.0);
        let deviations: Vec<f64> = (0..self.players.count()).map(deviation).collect();
        let within = within(&deviations, tally.walks - tally.rows.len());
        let shrink: f64 = tally.rows.values().map(|row| 1.0 / row.walks as f64).sum::<f64>() / (rows * rows);
        (0..self.players.count())
            .map(|player| {
                let beyond = tally.rows.iter().map(|(&row, visited)| visited.mean(player) - self.known(row, player));
                let between = variance(beyond);
                match within.get(player) {
                    // A feature that did the same in every walk, as one does that the model ignores. That rows agree says
                    // nothing by itself: there may be only one.
                    _ if between == 0.0 && deviations[player] == 0.0 => 0.0,
                    Some(within) => ((1.0 - share) * between / rows + share * within * shrink).sqrt(),
                    None => (between / rows).sqrt(),
                }
            })
            .collect()
    }
}

/// The variance of one walk's shares on the same background row, from their squared deviations and so many degrees of
/// freedom; empty for none.
///
/// From few second walks it would often come out far too small, where they happened to agree. So it is drawn towards the
/// mean over all features, as if that had been seen in [`PRIOR`] more.
fn within(deviations: &[f64], freedom: usize) -> Vec<f64> {
    if freedom == 0 {
        return Vec::new();
    }
    let freedom = freedom as f64;
    let mean = deviations.iter().sum::<f64>() / freedom / deviations.len() as f64;
    deviations.iter().map(|deviation| (deviation + PRIOR * mean) / (freedom + PRIOR)).collect()
}

/// Which background row is walked next: each of them, in a random order, with visits to earlier ones in between; then
/// the same again.
struct Visits {
    order: Vec<usize>,
    fresh: usize,
    walks: usize,
}

impl Visits {
    fn new(rows: usize, random: &mut Random) -> Self {
        let mut order: Vec<usize> = (0..rows).collect();
        random.shuffle(&mut order);
        Self { order, fresh: 0, walks: 0 }
    }

    fn next(&mut self, random: &mut Random) -> usize {
        self.walks += 1;
        if self.fresh < self.order.len() && self.walks.is_multiple_of(AGAIN) {
            return self.order[random.below(self.fresh)];
        }
        let index = self.fresh % self.order.len();
        self.fresh += 1;
        self.order[index]
    }
}

/// What the walks found, by background row.
#[derive(Default)]
struct Tally {
    walks: usize,
    rows: BTreeMap<usize, Visited>,
}

/// What the walks to one background row found, by feature.
struct Visited {
    walks: usize,
    /// The first walk's shares, from which the others are counted, so that sums of squares lose nothing.
    first: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Tally {
    fn add(&mut self, row: usize, shares: Vec<f64>) {
        self.walks += 1;
        let Some(visited) = self.rows.get_mut(&row) else {
            let zeros = vec![0.0; shares.len()];
            self.rows.insert(row, Visited { walks: 1, first: shares, sums: zeros.clone(), squares: zeros });
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
    fn mean(&self, player: usize) -> f64 {
        self.first[player] + self.sums[player] / self.walks as f64
    }

    /// The sum of squared distances from the mean.
    fn deviation(&self, player: usize) -> f64 {
        self.squares[player] - self.sums[player] * self.sums[player] / self.walks as f64
    }
}

/// The sample variance; zero of fewer than two values.
pub(super) fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count();
    let mean = values.clone().sum::<f64>() / count.max(1) as f64;
    values.map(|value| (value - mean).powi(2)).sum::<f64>() / count.saturating_sub(1).max(1) as f64
}

/// The standard error that is good enough, and never less than rounding allows.
fn enough(outputs: &[f64]) -> f64 {
    let largest = outputs.iter().fold(0.0, |largest: f64, output| largest.max(output.abs()));
    (TOLERANCE * variance(outputs.iter().copied()).sqrt()).max(f64::EPSILON * largest)
}

#[cfg(test)]
mod tests;
