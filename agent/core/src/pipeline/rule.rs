//! The rule that stands in while no model can run: limits of signals, as in the days before models.
//!
//! Any condition that holds raises, whatever is known of the others. What is not known clears nothing: for that every
//! signal must have a usable value.

use std::time::Duration;

use super::plan::{ActiveWhen, Fallback};
use super::validate::{DEFAULT_MAX_AGE, Readings, Row};
use crate::domain::alert::Guidance;
use crate::domain::prediction::{Outcome, Output};
use crate::domain::sample::SignalId;
use crate::domain::time::Now;
use crate::model::manifest::{Decision, Feature, Threshold};

/// For so long no condition may hold before the alert returns to normal, so that noise at a limit is one occurrence.
const OFF_DELAY: Duration = Duration::from_secs(10);

/// A rule bound to its signals.
pub(super) struct Rule {
    fallback: Fallback,
    /// Each signal once, under its own name.
    bindings: Vec<(Feature, SignalId)>,
}

impl Rule {
    /// Binds a rule.
    pub(super) fn new(fallback: Fallback) -> Self {
        let mut bindings: Vec<(Feature, SignalId)> = Vec::new();
        for ActiveWhen { signal, .. } in &fallback.conditions {
            if !bindings.iter().any(|(_, known)| known == signal) {
                bindings.push((Feature::plain(signal.as_str()), signal.clone()));
            }
        }
        Self { fallback, bindings }
    }

    /// When its answer raises and clears an alert.
    pub(super) fn decision(&self) -> Decision {
        Decision {
            raise: Threshold::Above(0.5),
            clear: Threshold::Below(0.5),
            on_delay: Duration::ZERO,
            off_delay: OFF_DELAY,
            priority: self.fallback.priority,
            latching: false,
            guidance: Guidance::default(),
        }
    }

    /// What it says now: 1 when a condition holds, 0 when none does; and what it was said of.
    pub(super) fn answer(&self, readings: &Readings, now: Now) -> (Outcome, Row) {
        let row = readings.row(&self.bindings, now);
        let output = |value| Outcome::Predicted(Output { value, label: None, probability: None });
        let outcome = match (self.holding(readings, now), &row.values) {
            (Some(_), _) => output(1.0),
            (None, Ok(_)) => output(0.0),
            (None, Err(reason)) => Outcome::Withheld(reason.clone()),
        };
        (outcome, row)
    }

    /// Which condition holds, in a phrase: `plc/torque = 85, above 80`.
    pub(super) fn holding(&self, readings: &Readings, now: Now) -> Option<String> {
        self.fallback.conditions.iter().find_map(|ActiveWhen { signal, threshold }| {
            let value = readings.number(signal, DEFAULT_MAX_AGE, now)?;
            threshold.holds(value).then(|| format!("{signal} = {value}, {threshold}"))
        })
    }
}
