//! What the signals did around the moment an alert was raised: the inputs of the machine's predictions before and after it.

use std::sync::Arc;

use explaind_core::domain::explanation::{Attribution, Explanation};
use explaind_core::domain::prediction::{Outcome, Prediction, Role};
use explaind_core::domain::record::{Record, Stream};
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::{Language, Measured, measured, named};

use crate::buffer::BufferError;
use crate::web::Web;
use crate::web::story;

/// Signals drawn: those that mattered most.
pub(super) const SIGNALS: usize = 6;
/// How far back is looked, and how far on.
const BEFORE: i64 = 10 * 60 * 1_000_000;
const AFTER: i64 = 5 * 60 * 1_000_000;
/// Of a machine that is predicted seldom at least so many moments, from no farther away than this.
const LEAST: usize = 30;
const FARTHEST: i64 = 24 * 3600 * 1_000_000;
/// Records looked through, to either side: other machines' are among them.
const MOST_SCANNED: usize = 4000;
const STRIDE: usize = 500;

/// One signal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Signal {
    /// The model's feature.
    pub(super) feature: Arc<str>,
    /// As people read it.
    pub(super) name: String,
    pub(super) unit: String,
    /// The middle 80 % of the background, where that is known.
    pub(super) usual: Option<(f64, f64)>,
    /// Its value when the alert was raised, and what is usual, as the card writes them.
    pub(super) written: Option<Measured>,
}

/// One prediction, made or withheld.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    /// One per signal; nothing at all where the prediction was withheld.
    pub(super) values: Option<Vec<Option<f64>>>,
}

/// All of them, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Around {
    pub(super) signals: Vec<Signal>,
    /// Signals that are not drawn.
    pub(super) left_out: usize,
    pub(super) moments: Vec<Moment>,
    /// Which of the moments raised the alert.
    pub(super) raised: usize,
}

/// Reads what is kept around the prediction that raised an alert.
pub(super) fn around(
    web: &Web,
    evidence: &Record,
    explanation: Option<&Explanation>,
    language: Language,
) -> Result<Option<Around>, BufferError> {
    let Some(prediction) = story::prediction(evidence) else { return Ok(None) };
    let (signals, left_out) = signals(language, prediction, explanation);
    let mut moments = before(web, evidence, &prediction.asset, &signals)?;
    moments.reverse();
    let raised = moments.len();
    moments.push(moment(evidence, prediction, &signals));
    moments.extend(after(web, evidence, &prediction.asset, &signals)?);
    Ok(Some(forward(Around { signals, left_out, moments, raised })))
}

/// The signals that mattered most, by their shares; without an explanation the first ones. Categories are no curves.
fn signals(language: Language, prediction: &Prediction, explanation: Option<&Explanation>) -> (Vec<Signal>, usize) {
    let all: Vec<Signal> = match explanation {
        Some(explanation) => {
            let drawn = |attribution: &&Attribution| attribution.category.is_none();
            let mut order: Vec<&Attribution> = explanation.attributions.iter().filter(drawn).collect();
            order.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
            order.into_iter().map(|attribution| of_attribution(language, attribution)).collect()
        }
        None => {
            let mut known: Vec<Signal> = Vec::new();
            for input in &prediction.inputs {
                let feature = without_step(&input.feature);
                if known.iter().all(|signal| *signal.feature != *feature) {
                    let (name, unit) = named(feature, "");
                    known.push(Signal { feature: feature.into(), name, unit, usual: None, written: None });
                }
            }
            known
        }
    };
    let left_out = all.len().saturating_sub(SIGNALS);
    (all.into_iter().take(SIGNALS).collect(), left_out)
}

fn of_attribution(language: Language, attribution: &Attribution) -> Signal {
    let (name, unit) = named(&attribution.feature, &attribution.unit);
    let (low, high) = attribution.usual;
    let usual = Some((low, high)).filter(|_| low.is_finite() && high.is_finite());
    let written = Some(measured(language, attribution));
    Signal { feature: Arc::clone(&attribution.feature), name, unit, usual, written }
}

/// A feature's name without the step of a window.
fn without_step(name: &str) -> &str {
    match name.rsplit_once('@') {
        Some((feature, step)) if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) => feature,
        _ => name,
    }
}

/// What the machine was predicted from then. Of a window the newest values: they come last.
fn moment(record: &Record, prediction: &Prediction, signals: &[Signal]) -> Moment {
    let newest = |signal: &Signal| {
        let of = |name: &str| *name == *signal.feature || without_step(name) == &*signal.feature;
        prediction.inputs.iter().rev().find(|input| of(&input.feature))?.value.filter(|value| value.is_finite())
    };
    let predicted = matches!(prediction.outcome, Outcome::Predicted(_));
    Moment { at: record.at.utc, values: predicted.then(|| signals.iter().map(newest).collect()) }
}

/// The prediction in a record, where it is one of this machine that counts.
fn of_asset<'a>(record: &'a Record, asset: &str) -> Option<&'a Prediction> {
    story::prediction(record).filter(|prediction| *prediction.asset == *asset && prediction.role != Role::Shadow)
}

/// Whether a side has all that is asked for, once it reached so far.
fn is_enough(count: usize, distance: i64, usual: i64) -> bool {
    (distance > usual && count >= LEAST) || distance > FARTHEST
}

/// The moments before, the newest first.
fn before(web: &Web, evidence: &Record, asset: &str, signals: &[Signal]) -> Result<Vec<Moment>, BufferError> {
    let (mut found, mut below, mut scanned) = (Vec::new(), evidence.sequence, 0);
    while scanned < MOST_SCANNED && below > 1 {
        let records = web.buffer.latest(Stream::Predictions, Some(below), STRIDE)?;
        let Some(last) = records.last().map(|record| record.sequence) else { break };
        (below, scanned) = (last, scanned + records.len());
        for record in &records {
            let distance = evidence.at.utc.as_micros().saturating_sub(record.at.utc.as_micros());
            if is_enough(found.len(), distance, BEFORE) {
                return Ok(found);
            }
            found.extend(of_asset(record, asset).map(|prediction| moment(record, prediction, signals)));
        }
    }
    Ok(found)
}

/// The moments after, the oldest first.
fn after(web: &Web, evidence: &Record, asset: &str, signals: &[Signal]) -> Result<Vec<Moment>, BufferError> {
    let (mut found, mut above, mut scanned) = (Vec::new(), evidence.sequence, 0);
    while scanned < MOST_SCANNED {
        let records = web.buffer.read(Stream::Predictions, above, STRIDE)?;
        let Some(last) = records.last().map(|record| record.sequence) else { break };
        (above, scanned) = (last, scanned + records.len());
        for record in &records {
            let distance = record.at.utc.as_micros().saturating_sub(evidence.at.utc.as_micros());
            if is_enough(found.len(), distance, AFTER) {
                return Ok(found);
            }
            found.extend(of_asset(record, asset).map(|prediction| moment(record, prediction, signals)));
        }
    }
    Ok(found)
}

/// Leaves out what a clock that was set back, or far ahead, puts out of order: time goes one way on a curve.
fn forward(mut around: Around) -> Around {
    let Some(middle) = around.moments.get(around.raised).map(|moment| moment.at) else { return around };
    let mut newest = Timestamp::from_micros(i64::MIN);
    let (mut kept, mut raised) = (Vec::with_capacity(around.moments.len()), 0);
    for (number, moment) in around.moments.into_iter().enumerate() {
        let in_order = moment.at > newest && (number >= around.raised || moment.at < middle);
        if number == around.raised || in_order {
            if number == around.raised {
                raised = kept.len();
            }
            newest = moment.at;
            kept.push(moment);
        }
    }
    around.moments = kept;
    Around { raised, ..around }
}

impl Around {
    /// Since when a signal had been outside of what is usual when the alert was raised: `Some(None)` for as long as is kept,
    /// `None` where it was not, or where what is usual is not known.
    pub(super) fn outside_since(&self, signal: usize) -> Option<Option<Timestamp>> {
        let (low, high) = self.signals.get(signal)?.usual?;
        let outside = |moment: &Moment| match moment.values.as_ref().map(|values| values.get(signal)) {
            Some(Some(Some(value))) => Some(*value < low || *value > high),
            _ => None,
        };
        let at_raise = self.moments.get(self.raised)?;
        outside(at_raise).filter(|is_outside| *is_outside)?;
        let mut since = at_raise.at;
        for moment in self.moments.iter().take(self.raised).rev() {
            match outside(moment) {
                Some(false) => return Some(Some(since)),
                Some(true) => since = moment.at,
                // What was not measured proves nothing.
                None => {}
            }
        }
        Some(None)
    }

    /// The lowest and the highest value of a signal.
    pub(super) fn extent(&self, signal: usize) -> Option<(f64, f64)> {
        let values = self.moments.iter().filter_map(|moment| *moment.values.as_ref()?.get(signal)?);
        values.fold(None, |extent: Option<(f64, f64)>, value| {
            Some(extent.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        })
    }

    /// How often predictions were withheld: stretches, not single ones.
    pub(super) fn withheld(&self) -> Vec<(Timestamp, Timestamp)> {
        let mut spans: Vec<(Timestamp, Timestamp)> = Vec::new();
        let mut open = false;
        for moment in &self.moments {
            match (&moment.values, open) {
                (None, true) => {
                    if let Some(last) = spans.last_mut() {
                        last.1 = moment.at;
                    }
                }
                (None, false) => spans.push((moment.at, moment.at)),
                (Some(_), _) => {}
            }
            open = moment.values.is_none();
        }
        spans
    }

    /// The longest time between two moments at which they still belong together: some of the usual time between them.
    pub(super) fn longest_step(&self) -> i64 {
        let mut steps: Vec<i64> = self
            .moments
            .windows(2)
            .filter_map(|pair| match pair {
                [a, b] => Some(b.at.as_micros().saturating_sub(a.at.as_micros())),
                _ => None,
            })
            .collect();
        steps.sort_unstable();
        let median = steps.get(steps.len() / 2).copied().unwrap_or_default();
        median.saturating_mul(5).max(1_500_000)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Seconds, and a value or a withheld prediction.
    pub(in super::super) fn made(moments: &[(i64, Option<f64>)], raised: usize) -> Around {
        let at = |seconds: i64| Timestamp::from_micros(1_795_300_000_000_000 + seconds * 1_000_000);
        let moment = |(seconds, value): &(i64, Option<f64>)| Moment {
            at: at(*seconds),
            values: value.map(|value| vec![Some(value)]),
        };
        let signal = Signal {
            feature: "Torque [Nm]".into(),
            name: "Torque".into(),
            unit: "Nm".into(),
            usual: Some((30.0, 50.0)),
            written: None,
        };
        Around { signals: vec![signal], left_out: 0, moments: moments.iter().map(moment).collect(), raised }
    }

    #[test]
    fn since_when_it_was_outside_skips_what_was_not_measured() {
        let around = made(&[(0, Some(40.0)), (1, Some(60.0)), (2, None), (3, Some(61.0)), (4, Some(40.0))], 3);
        assert_eq!(around.outside_since(0), Some(Some(around.moments[1].at)));
        assert_eq!(around.extent(0), Some((40.0, 61.0)));
        assert_eq!(made(&[(0, Some(60.0)), (1, Some(60.0))], 1).outside_since(0), Some(None), "as long as is known");
        assert_eq!(made(&[(0, Some(60.0)), (1, Some(40.0))], 1).outside_since(0), None);
        assert_eq!(made(&[(0, None)], 0).outside_since(0), None);
    }

    #[test]
    fn stretches_without_predictions_are_counted_and_long_pauses_are_none_of_the_curve() {
        let around = made(&[(0, None), (1, None), (2, Some(1.0)), (3, None), (4, Some(1.0)), (90, Some(1.0))], 2);
        let spans = around.withheld();
        assert_eq!(spans.len(), 2);
        assert_eq!((spans[0].0, spans[0].1), (around.moments[0].at, around.moments[1].at));
        assert_eq!(around.longest_step(), 5_000_000);
    }

    #[test]
    fn a_clock_that_went_back_makes_no_loops() {
        let around =
            forward(made(&[(0, Some(1.0)), (50, Some(2.0)), (3, Some(3.0)), (2, Some(4.0)), (5, Some(5.0))], 2));
        let values: Vec<f64> =
            around.moments.iter().map(|moment| moment.values.as_ref().unwrap()[0].unwrap()).collect();
        assert_eq!((values, around.raised), (vec![1.0, 3.0, 5.0], 1));
    }

    #[test]
    fn a_step_of_a_window_belongs_to_its_feature() {
        assert_eq!(
            [without_step("a@12"), without_step("a@b"), without_step("a@"), without_step("a")],
            ["a", "a@b", "a@", "a"]
        );
    }
}
