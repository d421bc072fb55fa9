//! What would clear an alert: the smallest changes of what a person may set, each verified by running the model.
//!
//! Changes are counted in units of what is usual of a feature in the background (half the distance between its 10 % and
//! 90 % quantiles) and added up; a change of category counts as one. Single features are searched first, from the
//! present value outwards; then pairs and triples of those that move the output most, nearest first, and kept where they
//! are clearly nearer than what fewer features do. What follows from trees only changes at their thresholds, whatever
//! function (logistic, softmax) stands behind them: one value of each cell between them is enough. So of single features
//! nothing is left out, nor of sets whose cells the budget affords. Other models are asked on a grid, and between the
//! grid's points by bisection. Values are round where the model allows it. In a window a feature is moved in all steps: what
//! the model will say once the setting has lasted that long.
//!
//! The effort is counted in model evaluations, and the same question has the same answer, to the last digit.

mod dial;
mod sets;

use std::sync::Arc;

use dial::{Dial, Stop};

use crate::domain::extra::{Change, Counterfactual, Counterfactuals, Outcome};
use crate::model::manifest::Threshold;
use crate::model::{Manifest, Model, ModelError, Split};

/// At most so many features are moved at once.
pub const MOST_MOVED: usize = 3;
/// Alternatives given.
const MOST_ALTERNATIVES: usize = 3;
/// Features whose pairs and triples are searched: those that move the output most.
const MOST_COMBINED: usize = 5;
/// To move a further feature must save so much of the change.
const WORTH_ANOTHER: f64 = 0.8;
/// Rows that the model is asked about together.
const BATCH: usize = 64;
/// Values beyond a change that are tried to see whether it may be passed.
const MOST_BEYOND: usize = 512;

/// Searches for counterfactuals of one model. Prepared once.
#[derive(Debug)]
pub struct Search {
    dials: Vec<Dial>,
    clear: Option<Threshold>,
    features: usize,
    steps: usize,
}

impl Search {
    /// What the manifest lets a person set, and when an alert clears.
    pub fn of(model: &Model) -> Self {
        Self::new(model.manifest(), &model.background().rows, model.splits().as_deref())
    }

    /// From its parts: flat background rows, and the splits that the output follows from, where it follows from nothing else.
    pub fn new(manifest: &Manifest, background: &[f32], splits: Option<&[Split]>) -> Self {
        let clear = manifest.decision.as_ref().map(|decision| decision.clear);
        let dials = Dial::all(manifest, background, splits);
        Self { dials, clear, features: manifest.features.len(), steps: manifest.steps() }
    }

    /// The nearest changes to `row` that clear the alert, within `budget` model evaluations and one more for each that is told.
    ///
    /// `ask` answers flat rows with the outputs that are decided on: [`Model::outputs`].
    ///
    /// # Errors
    /// [`ModelError::Width`] when `row` does not have one value per feature and step; what `ask` returns.
    pub fn search(
        &self,
        row: &[f32],
        budget: u64,
        ask: impl FnMut(&[f32]) -> Result<Vec<f64>, ModelError>,
    ) -> Result<Counterfactuals, ModelError> {
        let width = self.features * self.steps;
        if row.len() != width {
            return Err(ModelError::Width { expected: width, found: row.len() });
        }
        let mut answer = Counterfactuals {
            outcome: Outcome::NoRule,
            clear: self.clear.map(|clear| clear.to_string()),
            alternatives: Vec::new(),
            searched: Vec::new(),
            at_most: MOST_MOVED,
            evaluations: 0,
            budget,
            complete: true,
        };
        let Some(clear) = self.clear else { return Ok(answer) };
        let mut run = Run {
            row,
            features: self.features,
            stops: Vec::new(),
            clear,
            ask,
            spent: 0,
            budget,
            limit: budget,
            complete: true,
        };
        if clear.holds(run.unchanged()?) {
            answer.outcome = Outcome::Clear;
        } else if self.dials.is_empty() {
            answer.outcome = Outcome::NothingAdjustable;
        } else {
            run.stops = self.dials.iter().map(|dial| dial.stops(run.present(dial))).collect();
            let (ways, searched) = self.ways(&mut run)?;
            answer.searched = searched.into_iter().map(|number| Arc::clone(&self.dials[number].name)).collect();
            for way in ways {
                let way = self.rounded(way, &mut run)?;
                answer.alternatives.extend(self.verified(&way, &mut run)?);
            }
            // Rounding may have swapped two that are all but equally far.
            answer.alternatives.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            let found = !answer.alternatives.is_empty();
            answer.outcome = if found { Outcome::Found } else { Outcome::NoneWithinLimits };
        }
        (answer.evaluations, answer.complete) = (run.spent, run.complete);
        Ok(answer)
    }

    /// The nearest ways found, nearest first, and the dials that were tried.
    fn ways<A: Ask>(&self, run: &mut Run<'_, A>) -> Result<(Vec<Way>, Vec<usize>), ModelError> {
        let singles = self.singles(run)?;
        let tried = (0..self.dials.len()).filter(|&number| singles[number].is_tried()).collect();
        run.complete &= singles.iter().all(|single| single.present && single.is_done());
        let mut promising: Vec<(f64, usize)> = singles
            .iter()
            .map(|single| single.progress)
            .zip(0..)
            .filter(|(progress, _)| *progress > f64::NEG_INFINITY)
            .collect();
        let mut ways: Vec<Way> = singles.into_iter().filter_map(|single| single.way).collect();
        promising.sort_by(|(a, first), (b, second)| b.total_cmp(a).then(first.cmp(second)));
        run.complete &= promising.len() <= MOST_COMBINED;
        promising.truncate(MOST_COMBINED);
        let mut numbers: Vec<usize> = promising.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        self.combine(&numbers, &mut ways, run)?;
        ways.sort_by(|a, b| a.distance().total_cmp(&b.distance()));
        ways.truncate(MOST_ALTERNATIVES);
        Ok((ways, tried))
    }

    /// Searches each dial by itself. The budget is dealt out in rounds, to those dials in equal parts that have not been
    /// searched to their end: so none is left untried because another one comes before it.
    fn singles<A: Ask>(&self, run: &mut Run<'_, A>) -> Result<Vec<Single>, ModelError> {
        let present = self.dials.iter().map(|dial| run.present(dial).is_finite());
        let mut singles: Vec<Single> =
            present.zip(&run.stops).map(|(present, stops)| Single::of(present, stops)).collect();
        loop {
            let open = singles.iter().filter(|single| !single.is_done()).count() as u64;
            let left = run.budget.saturating_sub(run.spent);
            if open == 0 || left == 0 {
                return Ok(singles);
            }
            let share = (left / open).max(1);
            for (number, single) in singles.iter_mut().enumerate().filter(|(_, single)| !single.is_done()) {
                run.limit = run.budget.min(run.spent.saturating_add(share));
                self.single(number, single, run)?;
                run.limit = run.budget;
            }
        }
    }

    /// Goes on from where the search of one feature ended, as far as the limit allows: to the nearest value that clears.
    fn single<A: Ask>(&self, number: usize, single: &mut Single, run: &mut Run<'_, A>) -> Result<(), ModelError> {
        let dial = &self.dials[number];
        while let Some(&stop) = single.stops.get(single.next) {
            // Each in turn, so that none beyond the first one that clears is paid for.
            if run.spent >= run.limit {
                return Ok(());
            }
            let output = run.one(&[(dial, stop.value)])?;
            single.next += 1;
            single.progress = single.progress.max(run.towards(output));
            if run.clear.holds(output) {
                // A few more, whatever the limit of this round.
                run.limit = run.budget;
                let stop = self.nearer(dial, stop, &single.stops, run)?;
                single.way = Some(Way { moves: vec![(number, stop)] });
                return Ok(());
            }
        }
        run.complete &= dial.is_exhaustive() || single.stops.is_empty();
        Ok(())
    }

    /// Between a stop that clears and the one before it: where clearing begins, to a notch.
    fn nearer<A: Ask>(
        &self,
        dial: &Dial,
        found: Stop,
        stops: &[Stop],
        run: &mut Run<'_, A>,
    ) -> Result<Stop, ModelError> {
        if dial.is_exhaustive() {
            return Ok(found);
        }
        run.complete = false;
        let present = f64::from(run.present(dial));
        let same_side = |stop: &&Stop| (stop.value > present) == (found.value > present);
        let before = stops.iter().filter(same_side).rfind(|stop| stop.distance < found.distance);
        let mut refused = before.map_or(present, |stop| stop.value);
        let mut found = found;
        while let Some(middle) = dial.between(refused, found.value, run.present(dial)) {
            let Some(output) = run.affordable(&[(dial, middle.value)])? else { break };
            if run.clear.holds(output) {
                found = middle;
            } else {
                refused = middle.value;
            }
        }
        Ok(found)
    }

    /// The way with values that take fewer digits, where it clears with them as well.
    fn rounded<A: Ask>(&self, mut way: Way, run: &mut Run<'_, A>) -> Result<Way, ModelError> {
        for place in 0..way.moves.len() {
            let (number, found) = way.moves[place];
            let dial = &self.dials[number];
            let Some(rounder) = dial.rounder(found.value, run.present(dial)) else { continue };
            way.moves[place].1 = rounder;
            let clears = run.affordable(&self.moves(&way))?.is_some_and(|output| run.clear.holds(output));
            if !clears {
                way.moves[place].1 = found;
            }
        }
        Ok(way)
    }

    fn moves(&self, way: &Way) -> Vec<(&Dial, f64)> {
        way.moves.iter().map(|(number, stop)| (&self.dials[*number], stop.value)).collect()
    }

    /// The way as it is told, run once more and alone; `None` should it not clear after all.
    fn verified<A: Ask>(&self, way: &Way, run: &mut Run<'_, A>) -> Result<Option<Counterfactual>, ModelError> {
        let moves = self.moves(way);
        let output = run.one(&moves)?;
        if !run.clear.holds(output) {
            return Ok(None);
        }
        let alone = moves.len() == 1;
        let mut changes = Vec::with_capacity(moves.len());
        for ((number, _), (dial, to)) in way.moves.iter().zip(moves) {
            changes.push(Change {
                feature: Arc::clone(&dial.name),
                unit: Arc::clone(&dial.unit),
                from: f64::from(run.present(dial)),
                to,
                category: dial.word(to),
                and_beyond: alone && dial.is_ordered() && self.clears_beyond(*number, to, run)?,
            });
        }
        Ok(Some(Counterfactual { changes, distance: way.distance(), output }))
    }

    /// Whether all values beyond a change clear as well.
    fn clears_beyond<A: Ask>(&self, number: usize, to: f64, run: &mut Run<'_, A>) -> Result<bool, ModelError> {
        let dial = &self.dials[number];
        let upwards = to > f64::from(run.present(dial));
        let beyond = |value: &f64| if upwards { *value > to } else { *value < to };
        let beyond: Vec<f64> = run.stops[number].iter().map(|stop| stop.value).filter(beyond).collect();
        if beyond.is_empty() || beyond.len() > MOST_BEYOND {
            return Ok(false);
        }
        for value in beyond {
            match run.affordable(&[(dial, value)])? {
                Some(output) if run.clear.holds(output) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// What answers rows with outputs.
trait Ask: FnMut(&[f32]) -> Result<Vec<f64>, ModelError> {}
impl<F: FnMut(&[f32]) -> Result<Vec<f64>, ModelError>> Ask for F {}

/// The search of one feature.
struct Single {
    /// Whether it has a value to move from.
    present: bool,
    /// The values to try, nearest first, and how many of them were.
    stops: Vec<Stop>,
    next: usize,
    way: Option<Way>,
    /// How far the feature moves the output towards clearing.
    progress: f64,
}

impl Single {
    fn of(present: bool, stops: &[Stop]) -> Self {
        let stops = if present { stops.to_vec() } else { Vec::new() };
        Self { present, stops, next: 0, way: None, progress: f64::NEG_INFINITY }
    }

    /// Whether there is nothing left to try; a value that is missing leaves nothing.
    fn is_done(&self) -> bool {
        self.way.is_some() || self.next >= self.stops.len()
    }

    /// Whether the model was asked, or there was nothing that could be set otherwise.
    fn is_tried(&self) -> bool {
        self.present && (self.next > 0 || self.stops.is_empty())
    }
}

/// Dials by their number, each with where it is moved to.
#[derive(Debug, Clone)]
struct Way {
    moves: Vec<(usize, Stop)>,
}

impl Way {
    fn distance(&self) -> f64 {
        self.moves.iter().map(|(_, stop)| stop.distance).sum()
    }
}

/// One search under way.
struct Run<'a, A> {
    row: &'a [f32],
    /// Values of one step.
    features: usize,
    /// Of each dial the values worth trying, the nearest first.
    stops: Vec<Vec<Stop>>,
    clear: Threshold,
    ask: A,
    spent: u64,
    budget: u64,
    /// What may be spent by the end of the step under way.
    limit: u64,
    /// Whether nothing was left out so far.
    complete: bool,
}

impl<A: Ask> Run<'_, A> {
    /// Where a feature stands now: in the newest step.
    fn present(&self, dial: &Dial) -> f32 {
        let newest = self.row.len().saturating_sub(self.features);
        self.row.get(newest + dial.index).copied().unwrap_or(f32::NAN)
    }

    /// How far an output lies towards clearing.
    fn towards(&self, output: f64) -> f64 {
        match self.clear {
            Threshold::Above(_) => output,
            Threshold::Below(_) => -output,
        }
    }

    /// The output with these features moved, where the budget allows to ask.
    fn affordable(&mut self, moves: &[(&Dial, f64)]) -> Result<Option<f64>, ModelError> {
        if self.spent >= self.limit {
            self.complete = false;
            return Ok(None);
        }
        self.one(moves).map(Some)
    }

    /// The output with these features moved.
    fn one(&mut self, moves: &[(&Dial, f64)]) -> Result<f64, ModelError> {
        let mut row = Vec::with_capacity(self.row.len());
        self.add(moves, &mut row);
        Ok(self.all(&row)?.first().copied().unwrap_or(f64::NAN))
    }

    /// Appends the row with these features moved.
    fn add(&self, moves: &[(&Dial, f64)], rows: &mut Vec<f32>) {
        let start = rows.len();
        rows.extend_from_slice(self.row);
        for (dial, value) in moves {
            let places = rows.iter_mut().skip(start + dial.index).step_by(self.features);
            places.for_each(|place| *place = *value as f32);
        }
    }

    /// The output as things stand.
    fn unchanged(&mut self) -> Result<f64, ModelError> {
        self.spent += 1;
        Ok((self.ask)(self.row)?.first().copied().unwrap_or(f64::NAN))
    }

    /// The outputs of flat rows: NaN, which clears nothing, of one that the model refuses, such as a category that it does not
    /// know.
    fn all(&mut self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        let outputs = match (self.ask)(rows) {
            Ok(outputs) => outputs,
            Err(error @ ModelError::Width { .. }) => return Err(error),
            Err(ModelError::NonFinite | ModelError::Failed(_)) if rows.len() == self.row.len() => vec![f64::NAN],
            Err(ModelError::NonFinite | ModelError::Failed(_)) => {
                let mut outputs = Vec::with_capacity(rows.len() / self.row.len());
                for row in rows.chunks_exact(self.row.len()) {
                    outputs.extend(self.all(row)?);
                }
                return Ok(outputs);
            }
        };
        self.spent += outputs.len() as u64;
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests;
