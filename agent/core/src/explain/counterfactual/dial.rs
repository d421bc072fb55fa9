//! The features that a person may set, and the values worth trying for each.

use std::sync::Arc;

use super::super::{USUAL, quantile};
use crate::model::manifest::{Adjustable, Feature};
use crate::model::tree::Branch;
use crate::model::{Manifest, Split};

/// Values tried of a feature where the model gives no hint which matter.
const GRID: u32 = 32;
/// More pieces than these take too long to find values for, at each alert: then such values are tried as well.
const MOST_PIECES: usize = 4096;
/// Rounding is refined so often, a decimal each time, before a value is taken as it is.
const FINEST: i32 = 6;
/// A number of notches this near to a whole one is that one.
const WHOLE: f64 = 1e-9;
/// Changes are rounded to at most this share of what is usual.
const ROUNDING: f64 = 0.1;

/// A feature that may be set.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    /// Its place in the row.
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) unit: Arc<str>,
    limits: Adjustable,
    /// Half of what is usual, never 0: the unit in which changes are counted.
    pub(super) spread: f64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The numbers that words stand for.
    Words(Vec<(f64, Arc<str>)>),
    /// The model only changes between these: each begins a piece on which it does not.
    Pieces(Vec<f32>),
    /// Anything may happen anywhere.
    Smooth,
}

/// A value worth trying.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stop {
    pub(super) value: f64,
    /// From the present value, in units of spread.
    pub(super) distance: f64,
}

impl Dial {
    /// The dials of a model, in its order. `splits` are those that its output follows from, where nothing else matters.
    pub(super) fn all(manifest: &Manifest, background: &[f32], splits: Option<&[Split]>) -> Vec<Self> {
        let width = manifest.features.len();
        let column = |index| background.iter().skip(index).step_by(width.max(1));
        let features = manifest.features.iter().enumerate();
        features.filter_map(|(index, feature)| Self::of(feature, index, column(index), splits)).collect()
    }

    fn of<'a>(
        feature: &Feature,
        index: usize,
        background: impl Iterator<Item = &'a f32>,
        splits: Option<&[Split]>,
    ) -> Option<Self> {
        let limits = feature.adjustable?;
        let kind = if !feature.categories.is_empty() {
            let words = feature.categories.iter().filter(|(_, number)| limits.contains(**number));
            Kind::Words(words.map(|(word, &number)| (number, word.as_str().into())).collect())
        } else {
            let starts = splits.map(|splits| pieces(splits, index)).filter(|starts| starts.len() <= MOST_PIECES);
            starts.map_or(Kind::Smooth, Kind::Pieces)
        };
        Some(Self {
            index,
            name: Arc::clone(&feature.name),
            unit: Arc::clone(&feature.unit),
            limits,
            spread: spread(background, limits),
            kind,
        })
    }

    /// The word that a value stands for.
    pub(super) fn word(&self, value: f64) -> Option<Arc<str>> {
        match &self.kind {
            Kind::Words(words) => words.iter().find(|(number, _)| *number == value).map(|(_, word)| Arc::clone(word)),
            Kind::Pieces(_) | Kind::Smooth => None,
        }
    }

    /// Whether values lie in an order, so that there is something beyond one of them and between two.
    pub(super) fn is_ordered(&self) -> bool {
        !matches!(self.kind, Kind::Words(_))
    }

    /// Whether the stops leave nothing out: the model does the same at each value between two of them as at one of the two.
    pub(super) fn is_exhaustive(&self) -> bool {
        !matches!(self.kind, Kind::Smooth)
    }

    /// The values worth trying instead of `present`, the nearest first.
    pub(super) fn stops(&self, present: f32) -> Vec<Stop> {
        let mut values: Vec<f64> = match &self.kind {
            Kind::Words(words) => words.iter().map(|(number, _)| *number).collect(),
            Kind::Pieces(starts) => self.one_of_each(starts, present),
            Kind::Smooth => (0..=GRID).filter_map(|step| self.on_grid(step, present)).collect(),
        };
        values.retain(|value| *value as f32 != present);
        let mut stops: Vec<Stop> = values.into_iter().map(|value| self.stop(value, present)).collect();
        // Equally far: the smaller value first, so that the order is the same each time.
        stops.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.value.total_cmp(&b.value)));
        stops.dedup_by(|a, b| a.value == b.value);
        stops
    }

    /// The value half-way between two that a person can set, as a stop; `None` when there is none between.
    pub(super) fn between(&self, a: f64, b: f64, present: f32) -> Option<Stop> {
        let (low, high) = (a.min(b), a.max(b));
        let (from, notch) = self.notches(0);
        let middle = tidy(from + ((low + (high - low) / 2.0 - from) / notch).round() * notch);
        let inside = low < middle && middle < high && self.limits.contains(middle);
        inside.then(|| self.stop(middle, present))
    }

    /// The next round value beyond one, away from `present`; `None` where it is round already, or where that is out of reach.
    pub(super) fn rounder(&self, value: f64, present: f32) -> Option<Stop> {
        if !self.is_ordered() {
            return None;
        }
        let (from, notch) = self.notches(0);
        let rounder = tidy(from + onwards((value - from) / notch, value > f64::from(present)) * notch);
        (rounder != value && self.limits.contains(rounder)).then(|| self.stop(rounder, present))
    }

    fn stop(&self, value: f64, present: f32) -> Stop {
        // One word is as far from another as any.
        let distance = if self.is_ordered() { (value - f64::from(present)).abs() / self.spread } else { 1.0 };
        Stop { value, distance }
    }

    /// Of each piece the value nearest to `present`, as round as the piece allows.
    fn one_of_each(&self, starts: &[f32], present: f32) -> Vec<f64> {
        let ends = starts.iter().skip(1).map(|start| start.next_down()).chain([f32::INFINITY]);
        let reachable = self.limits.contains(f64::from(present));
        starts
            .iter()
            .zip(ends)
            .filter_map(|(&start, end)| {
                let stands_there = reachable && start <= present && present <= end;
                if stands_there { None } else { self.round_within(start, end, present < start) }
            })
            .collect()
    }

    /// The value that a person can set next to the start (or the end) of a piece: on a notch, as round as may be. The
    /// limits hold for the value, the piece for the float32 that the model is given.
    fn round_within(&self, start: f32, end: f32, from_start: bool) -> Option<f64> {
        let fits = |value: &f64| {
            let given = *value as f32;
            self.limits.contains(*value) && start <= given && given <= end
        };
        let Adjustable { low, high, step } = self.limits;
        let edge = if from_start { f64::from(start).max(low) } else { f64::from(end).min(high) };
        let finest = if step.is_some() { 0 } else { FINEST };
        let rounded = (0..=finest).find_map(|finer| {
            let (from, notch) = self.notches(finer);
            let notches = (edge - from) / notch;
            // The next notch to the edge may be its own, but for a float's rounding.
            let inwards = if from_start { notches.ceil() } else { notches.floor() };
            [notches.round(), inwards].into_iter().map(|notches| tidy(from + notches * notch)).find(fits)
        });
        rounded.or_else(|| (step.is_none() && fits(&edge)).then_some(edge))
    }

    fn on_grid(&self, step: u32, present: f32) -> Option<f64> {
        let Adjustable { low, high, .. } = self.limits;
        let value = low + (high - low) * f64::from(step) / f64::from(GRID);
        let (from, notch) = self.notches(0);
        let rounded = tidy(from + ((value - from) / notch).round() * notch);
        // The ends themselves need not be round.
        let end = self.limits.step.is_none() && (step == 0 || step == GRID);
        let value = if self.limits.contains(rounded) { rounded } else { value };
        (end || self.limits.contains(rounded)).then_some(value).filter(|value| *value as f32 != present)
    }

    /// Where a person's settings are counted from, and how far apart they are: the manifest's step, or a power of ten
    /// below [`ROUNDING`] of what is usual and, `finer` times, a tenth of that.
    fn notches(&self, finer: i32) -> (f64, f64) {
        match self.limits.step {
            Some(step) => (self.limits.low, step),
            None => (0.0, 10_f64.powi(decade(self.spread * ROUNDING).saturating_sub(finer))),
        }
    }
}

/// The whole number of notches at or after (or before) so many, which are whole but for what a division leaves over.
fn onwards(notches: f64, upwards: bool) -> f64 {
    let near = notches.round();
    if (notches - near).abs() < WHOLE {
        near
    } else if upwards {
        notches.ceil()
    } else {
        notches.floor()
    }
}

fn decade(number: f64) -> i32 {
    number.log10().floor().clamp(-30.0, 30.0) as i32
}

/// The float that a person would write: `0.1 * 3` becomes `0.3`.
fn tidy(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// Half the distance between the ends of what is usual; of constants, half of all there is; else a tenth of the limits.
fn spread<'a>(background: impl Iterator<Item = &'a f32>, limits: Adjustable) -> f64 {
    let mut values: Vec<f64> = background.map(|&value| f64::from(value)).filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let usual = quantile(&values, USUAL.1) - quantile(&values, USUAL.0);
    let all = values.last().zip(values.first()).map_or(0.0, |(last, first)| last - first);
    [usual / 2.0, all / 2.0].into_iter().find(|spread| *spread > 0.0).unwrap_or((limits.high - limits.low) / 10.0)
}

/// Where the pieces begin on which no split notices changes of one feature.
fn pieces(splits: &[Split], feature: usize) -> Vec<f32> {
    let mut starts = vec![f32::NEG_INFINITY];
    for split in splits {
        if split.feature as usize != feature || split.threshold.is_nan() {
            continue;
        }
        match split.branch {
            Branch::Leq | Branch::Gt => starts.push(split.threshold.next_up()),
            Branch::Lt | Branch::Gte => starts.push(split.threshold),
            Branch::Eq | Branch::Neq => starts.extend([split.threshold, split.threshold.next_up()]),
        }
    }
    starts.sort_by(f32::total_cmp);
    starts.dedup();
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(low: f64, high: f64, step: Option<f64>, spread: f64, kind: Kind) -> Dial {
        let limits = Adjustable { low, high, step };
        Dial { index: 0, name: "torque".into(), unit: "Nm".into(), limits, spread, kind }
    }

    fn values(dial: &Dial, present: f32) -> Vec<f64> {
        dial.stops(present).into_iter().map(|stop| stop.value).collect()
    }

    #[test]
    fn each_piece_is_tried_once_at_a_round_value_next_to_the_present_one() {
        let starts = vec![f32::NEG_INFINITY, 20.3_f32, 41.7, 52.34, 52.36, 70.0];
        let torque = dial(10.0, 60.0, None, 11.0, Kind::Pieces(starts));
        // Below 41.7 and 20.3, and the piece from 52.34 to below 52.36, which takes more digits; 70 is out of reach.
        assert_eq!(values(&torque, 45.0), [41.0, 52.34, 53.0, 20.0]);
        assert_eq!(torque.stops(45.0)[0].distance, 4.0 / 11.0);
        // From outside the limits everything within is in reach.
        assert_eq!(values(&torque, 65.0), [60.0, 52.35, 52.0, 41.0, 20.0]);
    }

    #[test]
    fn more_pieces_than_can_be_looked_through_are_tried_here_and_there() {
        let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\nname = \"f\"\nadjustable = [0, 100000]\n\
                    [output]\ntensor = \"y\"\nkind = \"regression\"\n";
        let manifest = Manifest::parse(text).unwrap();
        let split = |threshold: usize| Split {
            feature: 0,
            threshold: threshold as f32,
            branch: Branch::Leq,
            missing_yes: false,
            yes: 0,
            no: 0,
        };
        for (count, exhaustive) in [(100, true), (MOST_PIECES - 1, true), (MOST_PIECES, false), (40_000, false)] {
            let splits: Vec<Split> = (1..=count).map(split).collect();
            let dials = Dial::all(&manifest, &[0.0, 1.0], Some(&splits));
            assert_eq!(dials[0].is_exhaustive(), exhaustive, "{count}");
            assert_eq!(dials[0].stops(0.5).len() > 50, exhaustive, "{count}");
        }
    }

    #[test]
    fn steps_are_counted_from_the_lower_limit_and_kept_to() {
        let starts = vec![f32::NEG_INFINITY, 20.3_f32, 20.4, 31.0];
        let speed = dial(1.0, 60.0, Some(2.5), 11.0, Kind::Pieces(starts));
        assert_eq!(values(&speed, 45.0), [28.5, 18.5], "no step lies between 20.3 and 20.4");
        let smooth = dial(0.0, 10.0, Some(2.5), 1.0, Kind::Smooth);
        assert_eq!(values(&smooth, 5.0), [2.5, 7.5, 0.0, 10.0]);
        assert_eq!(smooth.between(0.0, 10.0, 1.0).map(|stop| stop.value), Some(5.0));
        assert_eq!(smooth.between(2.5, 5.0, 1.0), None);
    }

    #[test]
    fn a_step_that_floats_miss_can_be_set() {
        // 0.3 is 2.9999999999999996 steps of 0.1.
        let speed = dial(0.0, 0.3, Some(0.1), 1.0, Kind::Pieces(vec![f32::NEG_INFINITY, 0.25]));
        assert_eq!(values(&speed, 0.38), [0.3, 0.2]);
        // The model is given 0.3 as the float32 that begins the piece, which is a little more.
        let speed = dial(0.0, 1.0, Some(0.1), 1.0, Kind::Pieces(vec![f32::NEG_INFINITY, 0.3]));
        assert_eq!(values(&speed, 0.0), [0.3]);
    }

    #[test]
    fn what_is_round_already_is_neither_rounded_nor_halved_further() {
        let torque = dial(0.0, 1.0, None, 1.0, Kind::Smooth);
        assert_eq!(torque.rounder(0.3, 0.38), None);
        assert_eq!(torque.rounder(0.34, 0.38).map(|stop| stop.value), Some(0.3));
        assert_eq!(torque.rounder(0.34, 0.1).map(|stop| stop.value), Some(0.4));
        // The middle is 3.4 notches of 0.1, and three of them are 0.30000000000000004.
        assert_eq!(torque.between(0.38, 0.3, 0.38), None);
        assert_eq!(torque.between(0.5, 0.3, 0.5).map(|stop| stop.value), Some(0.4));
    }

    #[test]
    fn words_are_all_equally_far() {
        let words = vec![(0.0, "L".into()), (2.0, "H".into())];
        let kind = dial(0.0, 2.0, None, 1.0, Kind::Words(words));
        assert_eq!(kind.stops(1.0), [Stop { value: 0.0, distance: 1.0 }, Stop { value: 2.0, distance: 1.0 }]);
        assert_eq!(kind.word(2.0).as_deref(), Some("H"));
    }

    #[test]
    fn a_smooth_dial_is_tried_all_over_its_range_at_round_values() {
        let smooth = dial(10.0, 60.0, None, 11.0, Kind::Smooth);
        let stops = values(&smooth, 45.0);
        assert!(stops.len() > 25 && stops.iter().all(|value| value.fract() == 0.0 && (10.0..=60.0).contains(value)));
        assert!(stops.contains(&10.0) && stops.contains(&60.0));
    }

    #[test]
    fn the_unit_of_change_is_never_nothing() {
        let limits = Adjustable { low: 0.0, high: 10.0, step: None };
        assert_eq!(spread([1.0_f32; 5].iter(), limits), 1.0);
        assert_eq!(spread([].iter(), limits), 1.0);
        let mut rare = [1.0_f32; 50];
        rare[7] = 5.0;
        assert_eq!(spread(rare.iter(), limits), 2.0);
        assert_eq!(spread((0..=10).map(|n| n as f32).collect::<Vec<_>>().iter(), limits), 4.0);
    }
}
