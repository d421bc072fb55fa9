//! From the newest samples of an asset's signals to one row for its model, or the reason why there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::live::LiveInput;
use crate::domain::prediction::{Input, Withheld};
use crate::domain::sample::{Quality, Sample, SignalId, Value};
use crate::domain::time::{Now, Timestamp};
use crate::model::manifest::Feature;

/// How old an input may be when the manifest does not say.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);

/// What is known of one signal.
#[derive(Debug, Clone)]
struct Reading {
    value: Value,
    quality: Quality,
    status: u32,
    source_time: Option<Timestamp>,
    arrival: Now,
    /// When the source last stood by the value.
    vouched: Now,
    /// How far it moved from the sample before, and in how many seconds, where both were numbers.
    change: Option<(f64, f64)>,
}

/// The newest reading of every signal that some asset listens to.
#[derive(Debug, Default)]
pub struct Readings {
    signals: HashMap<SignalId, Option<Reading>>,
}

/// A checked row, and what a record says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The model's input, or why there is none.
    pub values: Result<Vec<f32>, Withheld>,
    /// Every feature's value as far as it is known.
    pub inputs: Vec<Input>,
    /// The worst quality among the inputs.
    pub quality: Quality,
    /// The newest source time among the inputs.
    pub source_time: Option<Timestamp>,
}

impl Readings {
    /// Starts to listen to a signal.
    pub fn listen(&mut self, signal: &SignalId) {
        self.signals.entry(signal.clone()).or_insert(None);
    }

    /// Takes in a sample; says whether it is news. One that nobody listens to, or that is older than what is known, is
    /// left out.
    pub fn take(&mut self, sample: &Sample) -> bool {
        let Some(slot) = self.signals.get_mut(&sample.signal) else {
            return false;
        };
        if let (Some(known), Some(time)) = (slot.as_ref().and_then(|reading| reading.source_time), sample.source_time)
            && time < known
            && slot.as_ref().is_some_and(|reading| sample.arrival.since(reading.arrival) < MAX_REORDERING)
        {
            return false;
        }
        let change = slot.as_ref().and_then(|before| change(before, sample));
        *slot = Some(Reading {
            value: sample.value.clone(),
            quality: sample.quality,
            status: sample.status,
            source_time: sample.source_time,
            arrival: sample.arrival,
            vouched: sample.arrival,
            change,
        });
        true
    }

    /// A source stands by all values that it delivered since `connected`.
    pub fn vouch(&mut self, source: &str, connected: Now, at: Now) {
        for (signal, reading) in &mut self.signals {
            if let Some(reading) = reading
                && signal.source() == source
                && reading.arrival.monotonic >= connected.monotonic
            {
                reading.vouched = at;
            }
        }
    }

    /// The number that a signal stands at, if it is usable now: for conditions like "the machine runs".
    pub fn number(&self, signal: &SignalId, max_age: Duration, now: Now) -> Option<f64> {
        let reading = self.signals.get(signal)?.as_ref()?;
        let usable = reading.quality != Quality::Bad && now.since(reading.vouched) <= max_age;
        match reading.value {
            Value::Number(value) if usable && value.is_finite() => Some(value),
            _ => None,
        }
    }

    /// What one input stands at, and why it would be refused now, if it would.
    pub(super) fn live(&self, feature: &Feature, signal: &SignalId, now: Now) -> LiveInput {
        let reading = self.signals.get(signal).and_then(Option::as_ref);
        let number = reading.and_then(|reading| number(&reading.value, feature));
        let refused = check(feature, reading, number, now).err();
        LiveInput {
            feature: Arc::clone(&feature.name),
            unit: Arc::clone(&feature.unit),
            signal: signal.clone(),
            value: reading.filter(|reading| reading.quality != Quality::Bad).map(|reading| reading.value.clone()),
            quality: reading.map(|reading| reading.quality),
            status: reading.map_or(0, |reading| reading.status),
            age: reading.map(|reading| now.since(reading.vouched)),
            refused: refused.filter(|why| !(feature.missing && is_missing(why))),
        }
    }

    /// Builds the row of one asset: `bindings` name each feature's signal, in model order.
    pub fn row(&self, bindings: &[(Feature, SignalId)], now: Now) -> Row {
        let mut values = Ok(Vec::with_capacity(bindings.len()));
        let mut inputs = Vec::with_capacity(bindings.len());
        let mut quality = Quality::Good;
        let mut source_time = None;
        for (feature, signal) in bindings {
            let reading = self.signals.get(signal).and_then(Option::as_ref);
            let number = reading.and_then(|reading| number(&reading.value, feature));
            let checked = check(feature, reading, number, now);
            if feature.missing && checked.as_ref().is_err_and(is_missing) {
                // Recorded as the model sees it: without a value.
                inputs.push(Input { feature: Arc::clone(&feature.name), value: None });
                values = values.map(|mut row: Vec<f32>| {
                    row.push(f32::NAN);
                    row
                });
                continue;
            }
            inputs.push(Input { feature: Arc::clone(&feature.name), value: number });
            quality = quality.max(reading.map_or(Quality::Bad, |reading| reading.quality));
            source_time = source_time.max(reading.and_then(|reading| reading.source_time));
            match (&mut values, checked) {
                (Ok(row), Ok(value)) => row.push(value),
                // The first refusal is the reason; the inputs are still recorded in full.
                (Ok(_), Err(reason)) => values = Err(reason),
                (Err(_), _) => {}
            }
        }
        Row { values, inputs, quality, source_time }
    }
}

/// A sample with an older source time is out of order when it comes this soon after; later than that, the source's
/// clock was set back, and refusing its samples would silence it for as long as the step was.
const MAX_REORDERING: Duration = Duration::from_secs(2);

fn change(before: &Reading, sample: &Sample) -> Option<(f64, f64)> {
    let (Value::Number(old), Value::Number(new)) = (&before.value, &sample.value) else {
        return None;
    };
    let by_source = match (before.source_time, sample.source_time) {
        (Some(old), Some(new)) => Some(new.as_micros().saturating_sub(old.as_micros()) as f64 / 1e6),
        _ => None,
    };
    let seconds = match by_source {
        Some(seconds) if seconds > 0.0 => seconds,
        _ => sample.arrival.since(before.arrival).as_secs_f64(),
    };
    (seconds > 0.0).then(|| ((new - old).abs(), seconds))
}

/// The number that a value stands for: itself, or its category's.
fn number(value: &Value, feature: &Feature) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(word) => feature.categories.get(&**word).copied(),
    }
}

/// Whether there is no value to be had; not that there is one, and it cannot be.
fn is_missing(why: &Withheld) -> bool {
    matches!(
        why,
        Withheld::Missing { .. } | Withheld::Stale { .. } | Withheld::Quality { .. } | Withheld::NonFinite { .. }
    )
}

fn check(feature: &Feature, reading: Option<&Reading>, number: Option<f64>, now: Now) -> Result<f32, Withheld> {
    let name = || feature.name.to_string();
    let Some(reading) = reading else {
        return Err(Withheld::Missing { feature: name() });
    };
    let age = now.since(reading.vouched);
    if age > feature.max_age.unwrap_or(DEFAULT_MAX_AGE) {
        return Err(Withheld::Stale { feature: name(), age: age.as_secs_f64() });
    }
    let refused = if feature.refuse_uncertain { Quality::Uncertain } else { Quality::Bad };
    if reading.quality >= refused {
        return Err(Withheld::Quality { feature: name(), status: reading.status });
    }
    let Some(value) = number else {
        return Err(Withheld::NotANumber { feature: name() });
    };
    let narrowed = value as f32;
    if !narrowed.is_finite() {
        return Err(Withheld::NonFinite { feature: name() });
    }
    if feature.range.is_some_and(|(low, high)| value < low || value > high) {
        return Err(Withheld::OutOfRange { feature: name(), value });
    }
    // A value that has stood since it jumped has taken that long as well: a step that stays is believed in the end.
    let rate = reading.change.map(|(by, seconds)| by / (seconds + now.since(reading.arrival).as_secs_f64()));
    match (rate, feature.max_rate) {
        (Some(rate), Some(most)) if rate > most => Err(Withheld::TooFast { feature: name(), rate }),
        _ => Ok(narrowed),
    }
}
