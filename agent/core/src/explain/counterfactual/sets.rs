//! Pairs and triples of features, moved together.

use super::dial::{Dial, Stop};
use super::{Ask, BATCH, MOST_ALTERNATIVES, MOST_MOVED, Run, Search, WORTH_ANOTHER, Way};
use crate::model::ModelError;

/// Values per feature that are combined with those of others, for pairs and for triples, where not all can be.
const MOST_STOPS: [usize; 2] = [40, 12];
/// Combinations of a set held at once.
const MOST_COMBINATIONS: u64 = 1 << 16;

impl Search {
    /// Adds the sets of these dials that clear with clearly less change than what was found with fewer.
    pub(super) fn combine<A: Ask>(
        &self,
        dials: &[usize],
        ways: &mut Vec<Way>,
        run: &mut Run<'_, A>,
    ) -> Result<(), ModelError> {
        let sets = sets(dials);
        for (done, set) in sets.iter().enumerate() {
            let Some(bound) = bound(set, ways) else { continue };
            let left = run.budget.saturating_sub(run.spent) / (sets.len() - done) as u64;
            if let Some(way) = self.together(set, bound, left, run)? {
                ways.push(way);
            }
        }
        Ok(())
    }

    /// The nearest way to clear by moving all of a set, nearer than `bound` and found within `budget` evaluations.
    fn together<A: Ask>(
        &self,
        set: &[usize],
        bound: f64,
        budget: u64,
        run: &mut Run<'_, A>,
    ) -> Result<Option<Way>, ModelError> {
        let dials: Vec<&Dial> = set.iter().map(|number| &self.dials[*number]).collect();
        if dials.iter().any(|dial| !run.present(dial).is_finite()) {
            return Ok(None);
        }
        let near = |number: &usize| run.stops[*number].iter().filter(|stop| stop.distance < bound).copied().collect();
        let stops: Vec<Vec<Stop>> = set.iter().map(near).collect();
        let ways = match Self::every(&dials, &stops, bound, budget) {
            Some(all) => all,
            None => {
                let most = per_dial(budget, set.len());
                run.complete = false;
                combinations(&stops.into_iter().map(|stops| thinned(stops, most)).collect::<Vec<_>>(), bound)
            }
        };
        let end = run.spent.saturating_add(budget);
        for batch in ways.chunks(BATCH) {
            if run.spent.saturating_add(batch.len() as u64) > end {
                run.complete = false;
                return Ok(None);
            }
            let mut rows = Vec::with_capacity(batch.len() * run.row.len());
            for combination in batch {
                let moves: Vec<(&Dial, f64)> =
                    dials.iter().copied().zip(combination.iter().map(|stop| stop.value)).collect();
                run.add(&moves, &mut rows);
            }
            let outputs = run.all(&rows)?;
            let found = batch.iter().zip(outputs).find(|(_, output)| run.clear.holds(*output));
            if let Some((combination, _)) = found {
                let way = Way { moves: set.iter().copied().zip(combination.iter().copied()).collect() };
                return self.tightened(way, run).map(Some);
            }
        }
        Ok(None)
    }

    /// All ways to move these dials that are nearer than `bound`, where their stops leave nothing out and `budget` affords
    /// them.
    fn every(dials: &[&Dial], stops: &[Vec<Stop>], bound: f64, budget: u64) -> Option<Vec<Vec<Stop>>> {
        let most = stops.iter().fold(1_u64, |product, stops| product.saturating_mul(stops.len() as u64));
        let few = most <= MOST_COMBINATIONS && dials.iter().all(|dial| dial.is_exhaustive());
        few.then(|| combinations(stops, bound)).filter(|all| all.len() as u64 <= budget)
    }

    /// Moves each feature of a way back towards its present value as far as the alert stays clear, the furthest first.
    fn tightened<A: Ask>(&self, mut way: Way, run: &mut Run<'_, A>) -> Result<Way, ModelError> {
        let mut order: Vec<usize> = (0..way.moves.len()).collect();
        order.sort_by(|a, b| way.moves[*b].1.distance.total_cmp(&way.moves[*a].1.distance));
        for place in order {
            let (number, found) = way.moves[place];
            let dial = &self.dials[number];
            let present = run.present(dial);
            let upwards = found.value > f64::from(present);
            let before = |stop: &&Stop| stop.distance < found.distance && (stop.value > f64::from(present)) == upwards;
            let nearer: Vec<Stop> = run.stops[number].iter().filter(before).copied().collect();
            // By bisection over the stops: those before `refused` do not clear, as far as the model is monotonic.
            let (mut refused, mut clears) = (0, nearer.len());
            while refused < clears {
                let middle = refused + (clears - refused) / 2;
                way.moves[place].1 = nearer[middle];
                let moves = self.moves(&way);
                match run.affordable(&moves)? {
                    Some(output) if run.clear.holds(output) => clears = middle,
                    Some(_) => refused = middle + 1,
                    None => break,
                }
            }
            way.moves[place].1 = nearer.get(clears).copied().unwrap_or(found);
        }
        Ok(way)
    }
}

/// All pairs, then all triples.
fn sets(dials: &[usize]) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut grown: Vec<Vec<usize>> = dials.iter().map(|dial| vec![*dial]).collect();
    for _ in 1..MOST_MOVED {
        let larger = |set: &Vec<usize>| {
            let set = set.clone();
            let last = set.last().copied();
            let further = dials.iter().filter(move |dial| Some(**dial) > last);
            further.map(move |dial| set.iter().copied().chain([*dial]).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        grown = grown.iter().flat_map(larger).collect();
        all.extend(grown.iter().cloned());
    }
    all
}

/// How near a set must come to be worth telling; `None` when it cannot.
fn bound(set: &[usize], ways: &[Way]) -> Option<f64> {
    let within = |way: &&Way| way.moves.iter().all(|(number, _)| set.contains(number));
    let fewer = ways.iter().filter(within).map(Way::distance).fold(f64::INFINITY, f64::min);
    let mut all: Vec<f64> = ways.iter().map(Way::distance).collect();
    all.sort_by(f64::total_cmp);
    let last = all.get(MOST_ALTERNATIVES - 1).copied().unwrap_or(f64::INFINITY);
    let bound = (fewer * WORTH_ANOTHER).min(last);
    (bound > 0.0).then_some(bound)
}

/// So many values of each feature that all their combinations are affordable.
fn per_dial(budget: u64, dials: usize) -> usize {
    let most = MOST_STOPS.get(dials.saturating_sub(2)).copied().unwrap_or(1);
    (1..=most).rev().find(|count| (*count as u64).saturating_pow(dials as u32) <= budget).unwrap_or(0)
}

/// At most so many stops, evenly spread, the nearest and the furthest among them.
fn thinned(stops: Vec<Stop>, most: usize) -> Vec<Stop> {
    if stops.len() <= most {
        return stops;
    }
    let last = stops.len() - 1;
    (0..most).map(|place| stops[if most == 1 { last } else { place * last / (most - 1) }]).collect()
}

/// One stop of each dial, in all ways that are nearer than `bound`, the nearest first.
fn combinations(stops: &[Vec<Stop>], bound: f64) -> Vec<Vec<Stop>> {
    let mut all: Vec<Vec<Stop>> = vec![Vec::new()];
    for of_dial in stops {
        let longer = |start: &Vec<Stop>| {
            let start = start.clone();
            of_dial.iter().map(move |stop| start.iter().copied().chain([*stop]).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).filter(|moves| distance(moves) < bound).collect();
    }
    // Stable, so equally near ones stay in the order of the features.
    all.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    all
}

fn distance(moves: &[Stop]) -> f64 {
    moves.iter().map(|stop| stop.distance).sum()
}
