//! Why a model said what it said.
//!
//! [`Explainer`] picks the method, once per model: sums of trees are explained from tables that walks over them filled, sums
//! and squared errors of sums in closed form, anything else by asking the model about rows mixed from the explained one
//! and the background's: about all of them where the budget pays for that, else about a sample. So are trees that are too
//! large together with their background ([`tree::MOST_BYTES`]). All give interventional Shapley
//! values: what each feature's value adds to the output, against the outputs for the bundle's background rows.

pub mod cells;
pub mod closed;
pub mod counterfactual;
pub mod exact;
pub mod faithfulness;
mod mixing;
pub mod neighbours;
mod players;
mod questions;
pub mod sampling;
pub mod tree;
mod weights;
mod window;
pub mod words;

use std::sync::Arc;

use cells::TreeTables;
use closed::Closed;
use exact::Enumeration;
use faithfulness::Deletion;
use mixing::Mixing;
pub use players::Players;
use questions::Questions;
use sampling::Sampler;
use window::{Share, Spreading};

use crate::domain::explanation::{Attribution, Explanation, Faithfulness, IntervalShare, Method};
use crate::domain::prediction::Space;
use crate::model::{Feature, Model, ModelError, bundle};
use crate::random::Random;

/// Shares of the background's values below and above which a value is not usual.
const USUAL: (f64, f64) = (0.1, 0.9);

/// Why a row was not explained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// Enumeration was asked for more features than it can take. [`Explainer`] samples these.
    #[error("{features} features are too many to enumerate; at most {} can be", exact::MOST_FEATURES)]
    TooWide {
        /// The features.
        features: usize,
    },
    /// The row does not fit the model.
    #[error("the row has {got} values where the model takes {expected}")]
    Width {
        /// What the model takes.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// The background is empty or ragged.
    #[error("the background has {values} values, which make no whole rows of {width}")]
    Background {
        /// Values in all.
        values: usize,
        /// Values a row.
        width: usize,
    },
    /// The trees and the background together would take more memory than is set aside. [`Explainer`] asks such a model about
    /// mixed rows instead.
    #[error(
        "the trees and the background rows together would take more than {} MiB; use fewer background rows, or smaller \
         trees",
        most >> 20
    )]
    TooLarge {
        /// The bytes set aside.
        most: usize,
    },
    /// The model has no such space.
    #[error("this model has no {}; it can be explained as {}", space.as_str(), listed(has))]
    Space {
        /// What was asked for.
        space: Space,
        /// What there is.
        has: Vec<Space>,
    },
    /// What was found is no explanation: a share is not finite, or what is exact does not add up.
    #[error(
        "the explanation failed its own check: the attributions miss the model's answer by {gap:e}, where {most:e} is the \
         most that rounding may make of it"
    )]
    Unsound {
        /// How far the attributions are off the answer.
        gap: f64,
        /// How far they may be.
        most: f64,
    },
    /// The model gave no answer for the row, or for one mixed from it and the background.
    #[error("the model was asked about a row and gave no answer: {0}")]
    Model(#[from] ModelError),
}

fn listed(spaces: &[Space]) -> String {
    spaces.iter().map(|space| space.as_str()).collect::<Vec<_>>().join(" or ")
}

/// What one explanation may cost, in rows that the model is asked about.
///
/// It bounds what is estimated, and what is enumerated, but for the few thousand rows that [`exact::affords`] grants where
/// they are not four times as many. Trees and closed forms ask about one row. Of a network in two halves
/// ([`Model::halves_in`]) a row counts as one that only the second half is asked about. Scoring an explanation
/// ([`faithfulness`]) may take a quarter as much beside, and preparing a model as much as [`PREPARED`] explanations. Of a window
/// that is sampled, how shares spread over time is within the budget; of one that is enumerated it takes up to a third as much
/// beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Rows.
    pub evaluations: u64,
}

/// What is found out once, at load, may take so many times the budget of one explanation.
pub const PREPARED: u64 = 64;

/// The part of a budget that goes into how shares spread over time, for windows: one in so many.
const FOR_INTERVALS: u64 = 3;

/// What is exact may be off the answer by so much: this part of the largest outputs and of all shares together, and what is
/// nothing anywhere. Rounding to float32 makes a ten thousandth of the first; an attribution that was lost makes more.
const UNSOUND: f64 = 1e-2;
const NOTHING: f64 = 1e-6;

/// What scoring an explanation may take beside its budget: the part of it that is one in so many.
const FOR_SCORES: u64 = 4;

/// Explains rows of one model against its background.
#[derive(Debug)]
pub struct Explainer {
    model: Arc<Model>,
    space: Space,
    players: Players,
    budget: Budget,
    way: Way,
    base_value: f64,
    /// The largest output over the background, or its opposite.
    largest: f64,
    features: Vec<Facts>,
}

#[derive(Debug)]
enum Way {
    Trees(TreeTables),
    Closed(Closed),
    Enumeration(Enumeration),
    Sampling(Sampler),
}

/// What a method found, before it is told with names and units.
struct Found {
    method: Method,
    output: f64,
    shares: Vec<f64>,
    standard_errors: Vec<f64>,
    evaluations: u64,
    /// Of closed forms: the share of every value.
    values: Option<Vec<f64>>,
}

/// What an attribution tells of its feature beside the value.
#[derive(Debug)]
struct Facts {
    name: Arc<str>,
    unit: Arc<str>,
    usual: (f64, f64),
    categories: Vec<(f32, Arc<str>)>,
}

impl Explainer {
    /// Picks the method, and computes what all explanations of this model share.
    ///
    /// # Errors
    /// [`ExplainError::Model`] when the model gives no answer for a background row, or for one mixed from two of them.
    pub fn new(model: Arc<Model>, budget: Budget) -> Result<Self, ExplainError> {
        let space = model.space();
        Self::in_space(model, space, budget)
    }

    /// Like [`new`](Self::new), to explain in this space instead of the model's own.
    ///
    /// # Errors
    /// As of [`new`](Self::new); and [`ExplainError::Space`] when the model does not have it.
    pub fn in_space(model: Arc<Model>, space: Space, budget: Budget) -> Result<Self, ExplainError> {
        let has = model.spaces();
        if !has.contains(&space) {
            return Err(ExplainError::Space { space, has });
        }
        let background = &model.background().rows;
        let players = Players::of_window(model.manifest().features.len(), model.manifest().steps());
        let outputs = model.explained_in(space, background)?;
        let base_value = outputs.iter().sum::<f64>() / outputs.len() as f64;
        let largest = outputs.iter().fold(0.0_f64, |largest, output| largest.max(output.abs()));
        let tables = match model.trees_in(space).map(|trees| TreeTables::new(&trees, background)) {
            // An estimate, said as such, is better than nothing.
            None | Some(Err(ExplainError::TooLarge { .. })) => None,
            Some(tables) => Some(tables?),
        };
        let way = match tables {
            Some(tables) => Way::Trees(tables),
            None => match Closed::of(&model, space)? {
                Some(closed) => Way::Closed(closed),
                None if exact::affords(players.count(), outputs.len(), budget.evaluations) => {
                    Way::Enumeration(Enumeration::through(model.halves_in(space)?, players, background)?)
                }
                None => {
                    let ask = |rows: &[f32]| model.explained_in(space, rows).map_err(ExplainError::from);
                    let (halves, seed) = (model.halves_in(space)?, seed(&model, &[]));
                    let most = budget.evaluations.saturating_mul(PREPARED);
                    Way::Sampling(Sampler::through(halves, players, background, &outputs, seed, most, &ask)?)
                }
            },
        };
        let columns = |index| background.iter().skip(index).step_by(players.count());
        let features = model.manifest().features.iter().enumerate();
        let features = features.map(|(index, feature)| Facts::new(feature, columns(index))).collect();
        Ok(Self { space, players, budget, way, base_value, largest, features, model })
    }

    /// The model that is explained.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The mean output over the background: what attributions are counted from.
    pub fn base_value(&self) -> f64 {
        self.base_value
    }

    /// Explains one input: a row of features, or all steps of a window, in model order. `answer` is what the model just said of
    /// this very input ([`Answer::explained`](crate::model::Answer)), which saves asking it again. What trees, closed forms and
    /// halves of networks give is held against it; what asks the model about whole rows, or samples, asks about this one as
    /// well. The gap is on the explanation.
    ///
    /// One explanation in [`faithfulness::ONE_IN`] is also scored, by the input's digest.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` does not have the model's width; [`ExplainError::Model`] when the model gives
    /// no answer for it, or for a row mixed from it and the background; [`ExplainError::Unsound`] when what was found is not
    /// finite, or is said to be exact and is not.
    pub fn explain(&self, row: &[f32], answer: Option<f64>) -> Result<Explanation, ExplainError> {
        if row.len() != self.players.width() {
            return Err(ExplainError::Width { expected: self.players.width(), got: row.len() });
        }
        let seed = seed(&self.model, row);
        // An explainer of another space has to ask.
        let answer = answer.filter(|_| self.space == self.model.space());
        let found = self.shares(row, answer, seed)?;
        let made = self.base_value + found.shares.iter().sum::<f64>();
        check(&found, made, self.largest)?;
        let attributions = self.features.iter().enumerate();
        let newest = &row[row.len() - self.players.count()..];
        let attributions = attributions
            .map(|(index, facts)| facts.attribution(newest[index], found.shares[index], found.standard_errors[index]));
        let mut explanation = Explanation {
            space: self.space,
            base_value: self.base_value,
            output: found.output,
            attributions: attributions.collect(),
            method: found.method,
            evaluations: found.evaluations,
            additivity_gap: (made - found.output).abs(),
            faithfulness: None,
        };
        if self.players.steps() > 1 {
            self.spread_over_time(row, &found, &mut Draw::Intervals.from(seed), &mut explanation)?;
        }
        if let Some(parts) = self.model.score_parts(row)? {
            explanation.evaluations += 1;
            explanation.attributions.iter_mut().zip(parts).for_each(|(share, part)| share.error = Some(part));
        }
        if Draw::Scored.from(seed).below(faithfulness::ONE_IN as usize) == 0 {
            let (faithfulness, evaluations) = self.score(row, &explanation)?;
            explanation.faithfulness = faithfulness;
            explanation.evaluations += evaluations;
        }
        Ok(explanation)
    }

    /// How faithful the explanation of an input is; `None` where there is nothing to score.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` does not have the model's width; [`ExplainError::Model`] when the model gives
    /// no answer for a row mixed from it and the background.
    pub fn faithfulness(&self, row: &[f32], explanation: &Explanation) -> Result<Option<Faithfulness>, ExplainError> {
        if row.len() != self.players.width() {
            return Err(ExplainError::Width { expected: self.players.width(), got: row.len() });
        }
        Ok(self.score(row, explanation)?.0)
    }

    fn score(&self, row: &[f32], explanation: &Explanation) -> Result<(Option<Faithfulness>, u64), ExplainError> {
        let deletion = Deletion {
            players: self.players,
            background: &self.model.background().rows,
            row,
            output: explanation.output,
            base_value: explanation.base_value,
            ask: &|rows: &[f32]| self.ask(rows),
        };
        let shares: Vec<f64> = explanation.attributions.iter().map(|attribution| attribution.value).collect();
        let most = self.budget.evaluations / FOR_SCORES;
        deletion.score(&shares, most, &mut Draw::Deletions.from(seed(&self.model, row)))
    }

    fn ask(&self, rows: &[f32]) -> Result<Vec<f64>, ExplainError> {
        Ok(self.model.explained_in(self.space, rows)?)
    }

    fn shares(&self, row: &[f32], answer: Option<f64>, seed: [u8; 32]) -> Result<Found, ExplainError> {
        let exact = |method, output, shares: Vec<f64>, evaluations| Found {
            method,
            output,
            standard_errors: vec![0.0; shares.len()],
            shares,
            evaluations,
            values: None,
        };
        let output = || match answer {
            Some(output) if output.is_finite() => Ok(output),
            Some(_) => Err(ExplainError::Model(ModelError::NonFinite)),
            None => Ok(self.ask(row)?.first().copied().unwrap_or(f64::NAN)),
        };
        Ok(match &self.way {
            Way::Trees(trees) => exact(Method::TreeShapley, output()?, trees.attributions(row)?, 1),
            Way::Closed(closed) => {
                let method = match closed {
                    Closed::Linear(_) | Closed::Functions(_) => Method::Linear,
                    Closed::Quadratic(_) => Method::Quadratic,
                };
                let values = closed.shares(row);
                let shares = closed::by_player(&self.players, &values);
                Found { values: Some(values), ..exact(method, output()?, shares, 1) }
            }
            Way::Enumeration(enumeration) => {
                if let Some((shares, evaluations)) = enumeration.by_halves(row)? {
                    return Ok(exact(Method::Enumeration, output()?, shares, evaluations + 1));
                }
                let found = enumeration.attributions(row, |rows| self.ask(rows))?;
                exact(Method::Enumeration, found.output, found.attributions, found.evaluations)
            }
            Way::Sampling(sampler) => {
                let mut budget = self.budget.evaluations;
                if self.players.steps() > 1 {
                    budget -= budget / FOR_INTERVALS;
                }
                let found = sampler.estimate(row, budget, seed, &|rows: &[f32]| self.ask(rows))?;
                let standard_errors = found.standard_errors;
                Found {
                    standard_errors,
                    ..exact(Method::Sampling, found.output, found.attributions, found.evaluations)
                }
            }
        })
    }

    /// Of a window: cuts the shares of the features that matter into stretches of time.
    fn spread_over_time(
        &self,
        row: &[f32],
        found: &Found,
        random: &mut Random,
        explanation: &mut Explanation,
    ) -> Result<(), ExplainError> {
        let that_matter = window::that_matter(&found.shares);
        let budget = self.budget.evaluations / FOR_INTERVALS / that_matter.len().max(1) as u64;
        let whole = Mixing { players: self.players, background: &self.model.background().rows, sums: None };
        let explained = match &self.way {
            Way::Sampling(sampler) => sampler.with(row),
            _ => whole.with(row),
        };
        let mixing = explained.mixing;
        let ask = |rows: &[f32]| self.ask(rows);
        let answers = |rows: &[f32]| mixing.answers(rows, &ask);
        let mut questions = Questions::new(mixing.width(), &answers);
        for feature in that_matter {
            let intervals: Vec<IntervalShare> = match &found.values {
                Some(values) => window::added_up(&self.players, values, feature),
                None => {
                    let mut spreading = Spreading { explained: &explained, questions: &mut questions };
                    let share = Share { value: found.shares[feature], standard_error: found.standard_errors[feature] };
                    spreading.over_time(feature, share, budget, random)?
                }
            };
            check_spread(&intervals, found.shares[feature])?;
            explanation.attributions[feature].intervals = intervals;
        }
        explanation.evaluations += questions.asked();
        Ok(())
    }
}

/// Refuses what is no explanation: `made` is what the shares and the base value make, `largest` the background's largest output.
fn check(found: &Found, made: f64, largest: f64) -> Result<(), ExplainError> {
    let gap = (made - found.output).abs();
    let size: f64 = found.shares.iter().map(|share| share.abs()).sum();
    let most = NOTHING + UNSOUND * (largest + found.output.abs() + size);
    let finite = gap.is_finite() && size.is_finite() && found.standard_errors.iter().all(|error| error.is_finite());
    let exact = found.method != Method::Sampling;
    if finite && (!exact || gap <= most) { Ok(()) } else { Err(ExplainError::Unsound { gap, most }) }
}

/// Refuses stretches of time whose shares are no numbers.
fn check_spread(intervals: &[IntervalShare], share: f64) -> Result<(), ExplainError> {
    let finite = |interval: &IntervalShare| interval.value.is_finite() && interval.standard_error.is_finite();
    if intervals.iter().all(finite) {
        return Ok(());
    }
    let gap = (intervals.iter().map(|interval| interval.value).sum::<f64>() - share).abs();
    Err(ExplainError::Unsound { gap, most: NOTHING + UNSOUND * share.abs() })
}

/// What the randomness of one explanation follows from: the model, its background, and the input.
fn seed(model: &Model, row: &[f32]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(64 + 4 * row.len());
    bytes.extend_from_slice(&model.model_digest().0);
    bytes.extend_from_slice(&model.background_digest().0);
    row.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bundle::digest(&bytes).0
}

/// What an explanation draws random numbers for beside its shares. Each has numbers of its own: were they the same, an
/// explanation drawn to be scored would also be known by the orders that it is scored against.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Intervals,
    Scored,
    Deletions,
}

impl Draw {
    /// The numbers of an explanation with this [`seed`].
    fn from(self, seed: [u8; 32]) -> Random {
        let purpose = match self {
            Self::Intervals => 1,
            Self::Scored => 2,
            Self::Deletions => 3,
        };
        let mut bytes = [purpose; 33];
        bytes[..32].copy_from_slice(&seed);
        Random::new(bundle::digest(&bytes).0)
    }
}

impl Facts {
    fn new<'a>(feature: &Feature, background: impl Iterator<Item = &'a f32>) -> Self {
        let mut values: Vec<f64> = background.map(|&value| f64::from(value)).filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        Self {
            name: Arc::clone(&feature.name),
            unit: Arc::clone(&feature.unit),
            usual: (quantile(&values, USUAL.0), quantile(&values, USUAL.1)),
            categories: feature.categories.iter().map(|(name, &value)| (value as f32, name.as_str().into())).collect(),
        }
    }

    fn attribution(&self, input: f32, value: f64, standard_error: f64) -> Attribution {
        let category = self.categories.iter().find(|(number, _)| *number == input);
        Attribution {
            feature: Arc::clone(&self.name),
            value,
            standard_error,
            input: f64::from(input),
            unit: Arc::clone(&self.unit),
            usual: self.usual,
            category: category.map(|(_, name)| Arc::clone(name)),
            intervals: Vec::new(),
            error: None,
        }
    }
}

/// The value below which a share of sorted values lies, between two of them in proportion; NaN of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share * last as f64;
    let below = sorted[position as usize];
    let above = sorted[last.min(position as usize + 1)];
    if below == above { below } else { below + (above - below) * position.fract() }
}

#[cfg(test)]
mod tests {
    use super::faithfulness::ONE_IN;
    use super::{Draw, ExplainError, Found, Method, bundle, check, quantile};

    #[test]
    fn what_is_not_finite_or_does_not_add_up_is_no_explanation() {
        let found = |method, output, share| Found {
            method,
            output,
            shares: vec![share, 1.0],
            standard_errors: vec![0.0; 2],
            evaluations: 1,
            values: None,
        };
        let checked = |method, output, share| check(&found(method, output, share), 1.0 + share, 2.0);
        for method in [Method::TreeShapley, Method::Linear, Method::Quadratic, Method::Enumeration] {
            assert_eq!(checked(method, 3.001, 2.0), Ok(()));
            assert!(matches!(checked(method, 3.2, 2.0), Err(ExplainError::Unsound { .. })));
        }
        assert_eq!(checked(Method::Sampling, 3.2, 2.0), Ok(()), "an estimate says how far it may be off");
        for share in [f64::NAN, f64::INFINITY] {
            assert!(matches!(checked(Method::Sampling, 3.0, share), Err(ExplainError::Unsound { .. })));
        }
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.1), quantile(&values, 0.9)), (1.0, 9.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.9), 1.9);
        assert_eq!(quantile(&[3.0], 0.1), 3.0);
        assert_eq!(quantile(&[f64::INFINITY; 2], 0.1), f64::INFINITY);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn what_is_scored_is_scored_against_any_order() {
        let seeds = (0..64_000_u32).map(|number| bundle::digest(&number.to_le_bytes()).0);
        let scored: Vec<_> = seeds.filter(|&seed| Draw::Scored.from(seed).below(ONE_IN as usize) == 0).collect();
        let first = scored.iter().filter(|&&seed| Draw::Deletions.from(seed).below(4) == 0).count();
        // Binomial: 1,000 with a standard deviation of 31, and of these a quarter with one of 14.
        assert!(scored.len().abs_diff(1_000) < 150 && (4 * first).abs_diff(scored.len()) < 280, "{first}");
    }
}
