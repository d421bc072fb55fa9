//! What is like a prediction: earlier alerts of this gateway, and rows of the background.
//!
//! Two explanations are alike when they have the same reasons and the same values where it matters. Their distance is
//! the mean of two parts, each from 0 to 1:
//!
//! - reasons: Σ|φ − ψ| / (Σ|φ| + Σ|ψ|), over the attributions φ and ψ;
//! - values: the mean over the features of min(|x − y| / s, 1), weighted with |φ| + |ψ|, where s is twice the spread of
//!   the feature (half the distance between the background's 10 % and 90 % quantiles). Categories differ by 0 or 1.
//!
//! So a feature that moves neither output does not make two alerts different, whatever its value. A background row has no
//! attributions: for it the values alone count, weighted with |φ|.
//!
//! In a window a feature has a value at each step. Of alerts its newest value and its mean over the window are compared, each
//! for one half: a level that drifted and one that jumped are told apart, and what is remembered of an alert stays a few
//! numbers. A background window is there as a whole: its steps are compared one by one, and the mean of that counts.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::explanation::{Attribution, Explanation};
use crate::domain::extra::{Cases, PastAlert, ReferenceRow};
use crate::domain::prediction::Space;
use crate::model::Table;

/// Up to this distance an earlier alert is called like this one.
const ALIKE: f64 = 0.25;
/// Earlier alerts named.
const MOST_ALERTS: usize = 20;
/// Background rows named.
const MOST_ROWS: usize = 3;

/// The newest alerts of a gateway, with their explanations.
#[derive(Debug)]
pub struct Memory {
    /// Oldest first.
    past: VecDeque<Past>,
    most: usize,
}

#[derive(Debug)]
struct Past {
    alert_id: Uuid,
    prediction_id: Uuid,
    asset: Arc<str>,
    model: Arc<str>,
    space: Space,
    points: Vec<Point>,
}

/// One feature of an explained row.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    feature: Arc<str>,
    share: f64,
    /// The newest value, and the mean over a window; of a row both are its value.
    values: [f64; 2],
    /// Values so far apart are entirely different; `None` of categories, which are whenever they differ.
    reach: Option<f64>,
}

/// An alert, and the prediction that raised it.
#[derive(Debug, Clone)]
pub struct Raised {
    /// The alert.
    pub alert_id: Uuid,
    /// Its prediction.
    pub prediction_id: Uuid,
    /// The machine.
    pub asset: Arc<str>,
    /// The model, by its name in the configuration.
    pub model: Arc<str>,
}

impl Memory {
    /// Remembers the newest `most` alerts.
    pub fn new(most: usize) -> Self {
        Self { past: VecDeque::new(), most }
    }

    /// Remembers an alert, with the input that was explained; one raised again counts with its newest explanation.
    pub fn note(&mut self, raised: Raised, explanation: &Explanation, input: &[f32]) {
        self.past.retain(|past| past.alert_id != raised.alert_id);
        if self.most > 0 && self.past.len() >= self.most {
            self.past.pop_front();
        }
        let Raised { alert_id, prediction_id, asset, model } = raised;
        let points = points(explanation, input);
        self.past.push_back(Past { alert_id, prediction_id, asset, model, space: explanation.space, points });
    }

    /// What is like the explained prediction of an input: other alerts of the same model, and rows of its background.
    ///
    /// `alert_id` is the prediction's own alert, which is not compared.
    pub fn cases(
        &self,
        alert_id: Option<Uuid>,
        model: &str,
        explanation: &Explanation,
        input: &[f32],
        background: &Table,
    ) -> Cases {
        let here = points(explanation, input);
        let comparable = |past: &&Past| {
            Some(past.alert_id) != alert_id
                && *past.model == *model
                && past.space == explanation.space
                && past.points.iter().map(|point| &point.feature).eq(here.iter().map(|point| &point.feature))
        };
        let others: Vec<&Past> = self.past.iter().filter(comparable).collect();
        let mut alerts: Vec<PastAlert> = others
            .iter()
            .map(|past| PastAlert {
                alert_id: past.alert_id,
                prediction_id: past.prediction_id,
                asset: Arc::clone(&past.asset),
                distance: distance(&here, &past.points),
            })
            .filter(|past| past.distance <= ALIKE)
            .collect();
        // The newer of two equally near ones first.
        alerts.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(b.alert_id.cmp(&a.alert_id)));
        alerts.truncate(MOST_ALERTS);
        Cases { alerts, background: nearest_rows(&here, input, background), compared: others.len() }
    }
}

/// An input that is no whole number of steps tells nothing beside the explanation.
fn points(explanation: &Explanation, input: &[f32]) -> Vec<Point> {
    let count = explanation.attributions.len().max(1);
    let input = if input.len().is_multiple_of(count) { input } else { &[] };
    let column = |index| input.iter().skip(index).step_by(count).map(|&value| f64::from(value));
    let all = explanation.attributions.iter().enumerate();
    all.map(|(index, attribution)| Point::of(attribution, mean(column(index)))).collect()
}

/// The mean of the numbers among some values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) =
        values.filter(|value| value.is_finite()).fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 1).then(|| sum / f64::from(count))
}

impl Point {
    /// `mean` over a window, where it is one.
    fn of(attribution: &Attribution, mean: Option<f64>) -> Self {
        let (low, high) = attribution.usual;
        // Of constants: any difference is one.
        let reach = if high > low { high - low } else { f64::MIN_POSITIVE };
        let reach = attribution.category.is_none().then_some(reach);
        // There is no mean of categories.
        let mean = mean.filter(|_| reach.is_some()).unwrap_or(attribution.input);
        Self {
            feature: Arc::clone(&attribution.feature),
            share: attribution.value,
            values: [attribution.input, mean],
            reach,
        }
    }

    /// From 0, the same, to 1.
    fn apart(&self, values: [f64; 2]) -> f64 {
        f64::midpoint(self.between(self.values[0], values[0]), self.between(self.values[1], values[1]))
    }

    /// How far apart two values of the feature are.
    fn between(&self, one: f64, other: f64) -> f64 {
        let same = one == other || (one.is_nan() && other.is_nan());
        match self.reach {
            _ if same => 0.0,
            Some(reach) if one.is_finite() && other.is_finite() => ((one - other).abs() / reach).min(1.0),
            _ => 1.0,
        }
    }
}

/// From 0, alike in reasons and values, to 1. Of the same features.
fn distance(here: &[Point], there: &[Point]) -> f64 {
    let pairs = || here.iter().zip(there);
    let weight = |(a, b): (&Point, &Point)| a.share.abs() + b.share.abs();
    let all: f64 = pairs().map(weight).sum();
    if all.is_nan() || all <= 0.0 {
        // Nothing has a reason: then the values decide, each as much as the other.
        return pairs().map(|(a, b)| a.apart(b.values)).sum::<f64>() / here.len().max(1) as f64;
    }
    let reasons = pairs().map(|(a, b)| (a.share - b.share).abs()).sum::<f64>() / all;
    let values = pairs().map(|(a, b)| weight((a, b)) * a.apart(b.values)).sum::<f64>() / all;
    f64::midpoint(reasons, values)
}

/// Background inputs near this one, each with its newest values.
fn nearest_rows(here: &[Point], input: &[f32], background: &Table) -> Vec<ReferenceRow> {
    if here.is_empty() || background.width() != input.len() || !input.len().is_multiple_of(here.len()) {
        return Vec::new();
    }
    let all: f64 = here.iter().map(|point| point.share.abs()).sum();
    let weigh = |point: &Point| if all > 0.0 { point.share.abs() / all } else { 1.0 / here.len() as f64 };
    let steps = (input.len() / here.len()) as f64;
    let apart = |row: &[f32]| -> f64 {
        let pairs = here.iter().cycle().zip(input.iter().zip(row));
        let each = pairs.map(|(point, (&own, &other))| weigh(point) * point.between(f64::from(own), f64::from(other)));
        each.sum::<f64>() / steps
    };
    let mut rows: Vec<(f64, usize, &[f32])> =
        background.iter().enumerate().map(|(number, row)| (apart(row), number, row)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let told = rows.into_iter().take(MOST_ROWS);
    told.map(|(distance, row, values)| ReferenceRow {
        row,
        values: values[values.len() - here.len()..].iter().map(|value| f64::from(*value)).collect(),
        distance,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::explanation::Method;

    const FEATURES: [&str; 3] = ["torque", "speed", "type"];

    fn explanation(values: [f64; 3], shares: [f64; 3]) -> Explanation {
        let attribution = |((feature, input), value): ((&str, f64), f64)| Attribution {
            feature: feature.into(),
            value,
            standard_error: 0.0,
            input,
            unit: "".into(),
            usual: (0.0, 10.0),
            category: (feature == "type").then(|| "L".into()),
            intervals: Vec::new(),
            error: None,
        };
        Explanation {
            space: Space::Margin,
            base_value: 0.0,
            output: shares.iter().sum(),
            attributions: FEATURES.into_iter().zip(values).zip(shares).map(attribution).collect(),
            method: Method::TreeShapley,
            evaluations: 1,
            additivity_gap: 0.0,
            faithfulness: None,
        }
    }

    fn input(explanation: &Explanation) -> Vec<f32> {
        explanation.attributions.iter().map(|attribution| attribution.input as f32).collect()
    }

    fn note(memory: &mut Memory, raised: Raised, explanation: &Explanation) {
        memory.note(raised, explanation, &input(explanation));
    }

    fn raised(id: u128) -> Raised {
        let (alert_id, prediction_id) = (Uuid::from_u128(id), Uuid::from_u128(1000 + id));
        Raised { alert_id, prediction_id, asset: "press-7".into(), model: "press-failure".into() }
    }

    fn background() -> Table {
        let rows = (0..50_u8).flat_map(|n| [f32::from(n), f32::from(n % 7), 0.0]).collect();
        Table { columns: FEATURES.map(Into::into).to_vec(), rows }
    }

    fn like(memory: &Memory, explanation: &Explanation) -> Vec<u128> {
        let cases =
            memory.cases(Some(Uuid::from_u128(1)), "press-failure", explanation, &input(explanation), &background());
        cases.alerts.iter().map(|alert| alert.alert_id.as_u128()).collect()
    }

    #[test]
    fn a_planted_neighbour_is_found_among_many_others_and_first() {
        let mut memory = Memory::new(500);
        for n in 0..400_u32 {
            let far = f64::from(n % 20);
            note(&mut memory, raised(u128::from(10 + n)), &explanation([far, 20.0 - far, 1.0], [far / 9.0, 2.0, 1.0]));
        }
        note(&mut memory, raised(5), &explanation([42.0, 3.0, 0.0], [4.0, 0.1, 0.0]));
        note(&mut memory, raised(6), &explanation([43.0, 9.0, 0.0], [3.8, 0.1, 0.0]));
        let found = like(&memory, &explanation([42.5, 3.0, 0.0], [4.0, 0.1, 0.0]));
        assert_eq!(found, [5, 6]);
    }

    #[test]
    fn what_does_not_matter_makes_no_difference_and_what_matters_does() {
        let mut memory = Memory::new(500);
        note(&mut memory, raised(2), &explanation([42.0, 900.0, 0.0], [4.0, 0.0, 0.0]));
        note(&mut memory, raised(3), &explanation([42.0, 3.0, 0.0], [-4.0, 0.0, 0.0]));
        note(&mut memory, raised(4), &explanation([2.0, 3.0, 0.0], [4.0, 0.0, 0.0]));
        assert_eq!(like(&memory, &explanation([42.0, 3.0, 0.0], [4.0, 0.0, 0.0])), [2]);
        // The category is the whole reason, and another one.
        note(&mut memory, raised(5), &explanation([0.0, 0.0, 2.0], [0.0, 0.0, 1.0]));
        assert_eq!(like(&memory, &explanation([0.0, 0.0, 1.0], [0.0, 0.0, 1.0])), [0_u128; 0]);
        assert_eq!(like(&memory, &explanation([0.0, 0.0, 2.0], [0.0, 0.0, 1.0])), [5]);
    }

    #[test]
    fn distances_are_symmetric_and_lie_between_0_and_1() {
        let values = [f64::NAN, f64::INFINITY, -3.0, 0.0, 7.5];
        let all: Vec<Vec<Point>> = values
            .into_iter()
            .flat_map(|value| {
                [-1.0, 0.0, 2.0].map(|share| points(&explanation([value, 1.0, 0.0], [share, 0.5, 0.0]), &[]))
            })
            .collect();
        for a in &all {
            assert_eq!(distance(a, a), 0.0);
            for b in &all {
                let between = distance(a, b);
                assert!((0.0..=1.0).contains(&between) && (between - distance(b, a)).abs() < 1e-12, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn its_own_alert_other_models_and_other_features_are_not_compared() {
        let mut memory = Memory::new(500);
        let here = explanation([42.0, 3.0, 0.0], [4.0, 0.1, 0.0]);
        note(&mut memory, raised(1), &here);
        note(&mut memory, Raised { model: "other".into(), ..raised(2) }, &here);
        let mut renamed = here.clone();
        renamed.attributions[0].feature = "power".into();
        note(&mut memory, raised(3), &renamed);
        let probability = Explanation { space: Space::Probability, ..here.clone() };
        note(&mut memory, raised(4), &probability);
        let cases = memory.cases(Some(Uuid::from_u128(1)), "press-failure", &here, &input(&here), &background());
        assert_eq!((cases.alerts.len(), cases.compared), (0, 0));
    }

    #[test]
    fn memory_is_bounded_and_an_alert_counts_once() {
        let mut memory = Memory::new(3);
        let here = explanation([42.0, 3.0, 0.0], [4.0, 0.1, 0.0]);
        for n in [2, 3, 4, 4, 5] {
            note(&mut memory, raised(n), &here);
        }
        assert_eq!(like(&memory, &here), [5, 4, 3]);
    }

    #[test]
    fn the_nearest_background_rows_are_named_by_what_matters() {
        let memory = Memory::new(3);
        let here = explanation([20.2, 5.0, 0.0], [4.0, 0.0, 0.0]);
        let rows = memory.cases(None, "press-failure", &here, &input(&here), &background()).background;
        assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), [20, 21, 19]);
        assert_eq!(rows[0].values, [20.0, 6.0, 0.0]);
    }

    /// Three steps of three features: the torque climbs, all else stays.
    fn window(torque: [f32; 3]) -> Vec<f32> {
        torque.into_iter().flat_map(|torque| [torque, 5.0, 0.0]).collect()
    }

    #[test]
    fn windows_are_compared_over_their_time() {
        let names = |step: usize| FEATURES.map(|name| format!("{name}@{step}").into());
        let windows = [[10.0, 11.0, 20.0], [18.0, 19.0, 20.0], [0.0, 0.0, 20.0], [19.0, 19.0, 25.0]];
        let background =
            Table { columns: (0..3).flat_map(names).collect(), rows: windows.into_iter().flat_map(window).collect() };
        let here = explanation([20.0, 5.0, 0.0], [4.0, 0.0, 0.0]);
        let mut memory = Memory::new(9);
        // All four end at the same value, and have the same reasons.
        for (id, torque) in
            [(2, [0.0, 0.0, 20.0]), (3, [18.5, 19.0, 20.0]), (4, [8.0, 9.0, 20.0]), (5, [19.0, 19.0, 20.0])]
        {
            memory.note(raised(id), &here, &window(torque));
        }
        let cases = memory.cases(None, "press-failure", &here, &window([19.0, 19.0, 20.0]), &background);
        let alerts: Vec<u128> = cases.alerts.iter().map(|alert| alert.alert_id.as_u128()).collect();
        assert_eq!((alerts.as_slice(), cases.compared), (&[5, 3, 4, 2][..], 4));
        assert!(cases.alerts[0].distance == 0.0 && cases.alerts[1].distance < 0.01);
        // The nearest over all steps, not the one that ends alike.
        assert_eq!(cases.background.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 3, 0]);
        assert_eq!(cases.background[1].values, [25.0, 5.0, 0.0]);
        let step = 1.0 / 10.0;
        assert!((cases.background[0].distance - step / 3.0).abs() < 1e-9, "{}", cases.background[0].distance);
    }
}
