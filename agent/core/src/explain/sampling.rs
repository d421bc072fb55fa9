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
//! the error comes from the background. Until then most of it does, and most of that was seen before: at load, in the
//! shares of a few reference rows against every background row ([`profiles`]). It is taken off. One walk in [`AGAIN`] goes to a row that was visited before, which tells how
//! much chance there is in one walk.
//!
//! Of a network in two halves only the second is asked: walks then go through the sums between the two.
//!
//! Efficiency needs no care: every walk adds up to the change from its background row to the explained row, and what is
//! taken off adds up to the same number for all background rows but for their own output.

mod profiles;
mod tally;

use self::profiles::{Profiles, Weights};
pub(super) use self::tally::variance;
use self::tally::{Tally, Visited, within};
use super::ExplainError;
use super::mixing::{Explained, Mixing, Sums};
use super::players::Players;
use super::questions::{Ask, Questions};
use crate::model::Halves;
use crate::random::Random;

/// Attributions are good enough when no standard error is above this share of the outputs' spread over the background.
pub const TOLERANCE: f64 = 0.01;
/// Fewest walks: with fewer, their spread says little. So many are made even where the budget is less, but no more than
/// four times less;
const FEWEST_WALKS: usize = 8;
/// and so many in any case: with fewer, their spread says nothing.
const LEAST_WALKS: usize = 4;
/// Background rows that are visited before an error is believed to be small, where there are as many: weights fitted to
/// fewer may suit them by chance.
const PROOF: usize = 32;
/// Most walks, whatever the budget: an end also where walks ask nothing, since the row is like the background's.
const MOST_WALKS: usize = 100_000;
/// Fewest and most walks between two looks at the error: a part of those so far, so that looking costs little.
const ROUND: (usize, usize) = (16, 256);
/// One walk in so many goes to a row that was visited before.
const AGAIN: usize = 6;
/// Reference rows whose shares are computed at load: this many where [`PREPARATION`] pays for them.
const REFERENCES: usize = 8;
/// Model evaluations that preparing may take, where the budget does not say less.
const PREPARATION: u64 = 32_768;

/// Samples walks between background rows and the row to explain.
#[derive(Debug)]
pub struct Sampler {
    players: Players,
    background: Vec<f32>,
    /// Where the second half of a network is asked, not all of it.
    sums: Option<Box<Sums>>,
    /// The output for each background row, of the model or of the second half.
    outputs: Vec<f64>,
    /// What is taken off the shares of walks.
    known: Profiles,
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
        Self::through(None, players, background, outputs, seed, PREPARATION, ask)
    }

    /// Like [`new`](Self::new), for a network in two halves: the second is asked about mixed rows, `ask` only about the
    /// explained ones. Preparing takes at most `preparation` evaluations.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`ExplainError::Model`] when the second half gives no answer.
    pub fn through(
        halves: Option<Halves>,
        players: Players,
        background: &[f32],
        outputs: &[f64],
        seed: [u8; 32],
        preparation: u64,
        ask: &Ask<'_>,
    ) -> Result<Self, ExplainError> {
        let width = players.width();
        if width == 0 || outputs.is_empty() || background.len() != outputs.len() * width {
            return Err(ExplainError::Background { values: background.len(), width });
        }
        let mut sampler = Self {
            players,
            background: background.to_vec(),
            sums: halves.and_then(|halves| Sums::new(halves, &players, background)).map(Box::new),
            outputs: outputs.to_vec(),
            known: Profiles::of_outputs(players.count(), outputs),
            enough: enough(outputs),
        };
        if sampler.sums.is_some() {
            // Walks begin and end with the same half, so that a feature that it ignores has no share at all.
            let rows: Vec<f32> =
                background.chunks_exact(width).flat_map(|row| sampler.mixing().with(row).whole()).collect();
            sampler.outputs = sampler.mixing().answers(&rows, ask)?;
        }
        sampler.known = sampler.prepare(preparation.min(PREPARATION), Random::new(seed), ask)?;
        Ok(sampler)
    }

    /// What rows are mixed from.
    pub(super) fn mixing(&self) -> Mixing<'_> {
        Mixing { players: self.players, background: &self.background, sums: self.sums.as_deref() }
    }

    /// Prepares mixing with an input: by sums where they tell of it. Of a missing value every sum would be NaN, where the network
    /// itself may let some sums do without it.
    pub(super) fn with<'a>(&'a self, row: &'a [f32]) -> Explained<'a> {
        let mixing = self.mixing();
        let explained = mixing.with(row);
        if explained.is_finite() { explained } else { Mixing { sums: None, ..mixing }.with(row) }
    }

    /// The shares of a few reference rows against every background row; the outputs in equal parts where not even one row's
    /// are affordable, which keeps efficiency.
    fn prepare(&self, most: u64, mut random: Random, ask: &Ask<'_>) -> Result<Profiles, ExplainError> {
        let (count, rows) = (self.players.count(), self.outputs.len());
        let price = rows.saturating_mul(2 * count);
        let references = (most as usize / price.max(1)).min(REFERENCES).min(rows);
        if references == 0 {
            return Ok(Profiles::of_outputs(count, &self.outputs));
        }
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by(|&a, &b| self.outputs[a].total_cmp(&self.outputs[b]));
        let mixing = self.mixing();
        let answers = |rows: &[f32]| mixing.answers(rows, ask);
        let mut questions = Questions::new(mixing.width(), &answers);
        let mut tables = Vec::with_capacity(references);
        for reference in (0..references).map(|part| order[(2 * part + 1) * rows / (2 * references)]) {
            questions.forget();
            let explained = mixing.with(mixing.row(reference));
            let start = |background| start(&explained, background, &mut random, &mut questions);
            let walks: Vec<Walk> = (0..rows).map(start).collect::<Result<_, _>>()?;
            questions.settle()?;
            tables.push(walks.iter().flat_map(|walk| self.shares(walk, self.outputs[reference], &questions)).collect());
        }
        Ok(Profiles::new(count, rows, tables))
    }

    /// Estimates the attributions of `row` from at most `budget` evaluations; but from [`LEAST_WALKS`] walks at least, and
    /// from [`FEWEST_WALKS`] where that is no more than four times the budget.
    /// The same `seed` gives the same estimate.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` has another width; what `ask` returns.
    pub fn estimate(&self, row: &[f32], budget: u64, seed: [u8; 32], ask: &Ask<'_>) -> Result<Estimate, ExplainError> {
        if row.len() != self.players.width() {
            return Err(ExplainError::Width { expected: self.players.width(), got: row.len() });
        }
        let mut random = Random::new(seed);
        let explained = self.with(row);
        let mixing = explained.mixing;
        let answers = |rows: &[f32]| mixing.answers(rows, ask);
        let mut questions = Questions::new(mixing.width(), &answers);
        let place = questions.put(&explained.whole())?;
        questions.settle()?;
        let end = questions.answer(place);
        let (output, whole) = match mixing.sums {
            None => (end, 0),
            Some(_) => (ask(row)?.first().copied().unwrap_or(f64::NAN), 1),
        };
        let mut tally = Tally::default();
        let mut visits = Visits::new(self.outputs.len(), &mut random);
        let price = 2 * self.players.count().saturating_sub(1) as u64;
        let affordable = usize::try_from(budget.saturating_mul(4) / price.max(1)).unwrap_or(usize::MAX);
        let fewest = affordable.clamp(LEAST_WALKS, FEWEST_WALKS);
        loop {
            questions.forget();
            let round = (tally.walks / 4).clamp(ROUND.0, ROUND.1);
            let mut walks = Vec::with_capacity(round);
            let mut spent = false;
            while walks.len() < round && !spent {
                walks.push(start(&explained, visits.next(&mut random), &mut random, &mut questions)?);
                let enough_walks = tally.walks + walks.len() >= fewest;
                spent = enough_walks && questions.put_in_all().saturating_add(price + whole) > budget;
            }
            questions.settle()?;
            for walk in &walks {
                tally.add(walk.background, self.shares(walk, end, &questions));
            }
            let weights = self.known.weights(&tally);
            let standard_errors = self.standard_errors(&tally, &weights, row);
            let proven = tally.rows.len() >= PROOF.min(self.outputs.len());
            let good = proven && standard_errors.iter().all(|&error| error <= self.enough);
            if spent || good || tally.walks >= MOST_WALKS {
                let attributions = self.attributions(&tally, &weights);
                let evaluations = questions.asked() + whole;
                return Ok(Estimate { output, attributions, standard_errors, evaluations });
            }
        }
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

    /// The mean over the background of what walks found: of rows that were visited as it is, of the others as those of the
    /// one fold tell, corrected by what the other fold taught; and both the other way round.
    fn attributions(&self, tally: &Tally, weights: &Weights) -> Vec<f64> {
        let beyond = |weights: &[f64], row: usize, visited: &Visited, player: usize| {
            visited.mean(player) - self.known.known(weights, row, player)
        };
        let mean = |weights: &[f64], fold: usize, player: usize| {
            let rows = tally.rows.iter().filter(|(_, visited)| visited.fold == fold);
            let (count, sum) = rows.fold((0.0, 0.0), |(count, sum), (&row, visited)| {
                (count + 1.0, sum + beyond(weights, row, visited, player))
            });
            (sum / f64::max(count, 1.0), count)
        };
        let rows = self.outputs.len() as f64;
        let told = |weights: &[f64], fold: usize, player: usize| {
            let ((told, _), (taught, seen)) = (mean(weights, fold, player), mean(weights, 1 - fold, player));
            told + (taught - told) * seen / rows
        };
        (0..self.players.count())
            .map(|player| (told(&weights[0], 0, player) + told(&weights[1], 1, player)) / 2.0)
            .collect()
    }

    /// The standard errors of a sample in two stages: rows drawn from the background without putting back, then walks.
    /// Source: Cochran 1977, "Sampling techniques", 3rd edition, section 10.3.
    fn standard_errors(&self, tally: &Tally, weights: &Weights, row: &[f32]) -> Vec<f64> {
        let (rows, share) = (tally.rows.len() as f64, tally.rows.len() as f64 / self.outputs.len() as f64);
        let deviation = |player| tally.rows.values().map(|row| row.deviation(player)).sum::<f64>().max(0.0);
        let deviations: Vec<f64> = (0..self.players.count()).map(deviation).collect();
        let within = within(&deviations, tally.walks - tally.rows.len());
        let shrink: f64 = tally.rows.values().map(|row| 1.0 / row.walks as f64).sum::<f64>() / (rows * rows);
        let between: Vec<f64> = (0..self.players.count())
            .map(|player| {
                variance(tally.rows.iter().map(|(&row, visited)| {
                    visited.mean(player) - self.known.known(&weights[visited.fold], row, player)
                }))
            })
            .collect();
        let floor = self.floor(tally, &between);
        let may_differ = self.may_differ(tally, row);
        (0..self.players.count())
            .map(|player| {
                let between = between[player];
                let seen = match within.get(player) {
                    // A feature that did the same in every walk, as one does that the model ignores. That rows agree says
                    // nothing by itself: there may be only one.
                    _ if between == 0.0 && deviations[player] == 0.0 => 0.0,
                    Some(within) => ((1.0 - share) * between / rows + share * within * shrink).sqrt(),
                    None => (between / rows).sqrt(),
                };
                if may_differ[player] { seen.max(floor) } else { seen }
            })
            .collect()
    }

    /// What no error is below while there are rows that were not visited: that a feature did the same in `n` visits does not
    /// mean that it does so in the next, but that it differs in one of `n + 1` (Laplace's rule of succession), and then as
    /// features do on average.
    fn floor(&self, tally: &Tally, between: &[f64]) -> f64 {
        let (visited, all) = (tally.rows.len() as f64, self.outputs.len() as f64);
        let usual = between.iter().sum::<f64>() / between.len().max(1) as f64;
        let largest = self.outputs.iter().fold(0.0, |largest: f64, output| largest.max(output.abs()));
        let floor = ((1.0 - visited / all) * usual / (visited + 1.0) / visited.max(1.0)).sqrt();
        floor.max(f64::EPSILON * largest)
    }

    /// Per player whether a background row that was not visited has other values of it than the explained row.
    fn may_differ(&self, tally: &Tally, row: &[f32]) -> Vec<bool> {
        let mut differ = vec![false; self.players.count()];
        let rows = self.background.chunks_exact(self.players.width()).enumerate();
        for (_, other) in rows.filter(|(index, _)| !tally.rows.contains_key(index)) {
            let values = row.iter().zip(other).enumerate();
            for (column, _) in values.filter(|(_, (value, other))| value.to_bits() != other.to_bits()) {
                differ[self.players.owner(column)] = true;
            }
            if differ.iter().all(|differs| *differs) {
                break;
            }
        }
        differ
    }
}

/// Puts the questions of a pair of walks.
fn start(
    explained: &Explained<'_>,
    background: usize,
    random: &mut Random,
    questions: &mut Questions<'_>,
) -> Result<Walk, ExplainError> {
    let Mixing { players, .. } = explained.mixing;
    let mut order = players.differing(explained.mixing.row(background), explained.row);
    random.shuffle(&mut order);
    let between = order.len().saturating_sub(1);
    let mut places = Vec::with_capacity(2 * between);
    let mut mixed = explained.mixed(background);
    for &player in &order[..between] {
        mixed.take(player);
        places.push(questions.put(&mixed.values)?);
    }
    mixed.restart();
    for &player in order.iter().rev().take(between) {
        mixed.take(player);
        places.push(questions.put(&mixed.values)?);
    }
    Ok(Walk { background, order, places })
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

/// The standard error that is good enough, and never less than rounding allows.
fn enough(outputs: &[f64]) -> f64 {
    let largest = outputs.iter().fold(0.0, |largest: f64, output| largest.max(output.abs()));
    (TOLERANCE * variance(outputs.iter().copied()).sqrt()).max(f64::EPSILON * largest)
}

#[cfg(test)]
mod tests;
