//! When a model is taken back, and when a challenger takes its place: rules over what was lately seen of both. Purely; the
//! figures come from [`Vitals`](crate::vitals::Vitals).

use std::time::Duration;

use explaind_core::model::{Manifest, Threshold};
use serde::Deserialize;

use crate::vitals::{Answer, PAIRS, Pair, Recent, Seen};

/// Answers that are no numbers, or failures to answer, among what is remembered, after which a model is taken back.
const FAULTS: usize = 3;
/// Outcomes that a share of them is taken of, at least.
const ENOUGH: usize = 50;
/// How much larger the share of what a new model withholds may be than the share before it.
const WITHHELD_MORE: f64 = 0.25;
/// Predictions that a model must have made without a fault before it has proved itself.
const PROVED: u64 = 20;
/// Verdicts by people that a model is judged by, at least, and how many of them against it are too many.
const VERDICTS: usize = 5;
const REJECTED: f64 = 0.6;
/// Two outputs that are no classes agree when they are so near, relative to the larger one.
const NEAR: f64 = 0.05;

/// Why a model is taken back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Breach {
    /// In a word.
    pub(crate) check: &'static str,
    /// In a sentence.
    pub(crate) reason: String,
}

/// What people said of one model's predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Verdicts {
    /// That it was right.
    pub(crate) confirmed: usize,
    /// That it was wrong.
    pub(crate) rejected: usize,
}

impl Verdicts {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            confirmed: self.confirmed.saturating_add(other.confirmed),
            rejected: self.rejected.saturating_add(other.rejected),
        }
    }

    fn count(self) -> usize {
        self.confirmed.saturating_add(self.rejected)
    }

    fn rejected_share(self) -> f64 {
        self.rejected as f64 / (self.count().max(1)) as f64
    }
}

/// `[model.promotion]`: when a challenger becomes champion without anybody moving an alias.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Promotion {
    /// How long it must have run beside.
    #[serde(with = "explaind_core::domain::units::duration")]
    pub(crate) after: Duration,
    /// How many predictions it must have made.
    pub(crate) predictions: u64,
    /// In what share of them it must have decided as the champion did.
    pub(crate) agreement: f64,
    /// In what share of the verdicts that people gave it must have been right; where there are five or more.
    pub(crate) verdicts: f64,
    /// How much more it may withhold, as a share.
    pub(crate) withheld_more: f64,
}

impl Default for Promotion {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(24 * 3600),
            predictions: 1000,
            agreement: 0.95,
            verdicts: 0.8,
            withheld_more: 0.01,
        }
    }
}

impl Promotion {
    /// Says what makes no sense, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let share = |key, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err((key, format!("{value} is no share; write one between 0 and 1, like 0.95"))),
        };
        share("agreement", self.agreement)?;
        share("verdicts", self.verdicts)?;
        share("withheld_more", self.withheld_more)?;
        if self.predictions == 0 {
            return Err(("predictions", "at least one prediction must be compared".to_owned()));
        }
        Ok(())
    }
}

/// The share of what is withheld for the model's or the inputs' sake; `None` while too little was seen.
pub(crate) fn withheld_share(recent: &Recent) -> Option<f64> {
    let count = recent.outcomes.len();
    let withheld = recent.outcomes.iter().filter(|seen| !matches!(seen, Seen::Answered(_))).count();
    (count >= ENOUGH).then(|| withheld as f64 / count as f64)
}

/// Whether a model must be taken back. `before` is the share that was withheld before it came, where that is known and it is
/// still new; `latency` what one prediction may take.
pub(crate) fn breach(recent: &Recent, before: Option<f64>, latency: Duration, verdicts: Verdicts) -> Option<Breach> {
    let faults = recent.outcomes.iter().filter(|seen| matches!(seen, Seen::Fault)).count();
    if faults >= FAULTS {
        let reason = format!("{faults} of its last {} answers were no numbers, or none", recent.outcomes.len());
        return Some(Breach { check: "non_finite", reason });
    }
    if let (Some(now), Some(before)) = (withheld_share(recent), before)
        && now > before + WITHHELD_MORE
    {
        let reason =
            format!("{:.0} % of its predictions are withheld, and {:.0} % were before", now * 100.0, before * 100.0);
        return Some(Breach { check: "withheld_rate", reason });
    }
    if let Some(slow) = recent.usual_time().filter(|time| *time > latency) {
        let reason = format!("a prediction takes {slow:.1?}, and may take {latency:.1?}");
        return Some(Breach { check: "latency", reason });
    }
    if verdicts.count() >= VERDICTS && verdicts.rejected_share() > REJECTED {
        let reason = format!("{} of {} verdicts say that it was wrong", verdicts.rejected, verdicts.count());
        return Some(Breach { check: "verdicts", reason });
    }
    None
}

/// Whether a model that is new has proved itself.
pub(crate) fn has_proved(recent: &Recent, runs: Duration, trial: Duration) -> bool {
    runs >= trial && recent.predicted >= PROVED
}

/// In what share of the pairs the two decided alike; `None` without any.
pub(crate) fn agreement(pairs: &[Pair], champion: &Manifest, challenger: &Manifest) -> Option<f64> {
    let alike = pairs.iter().filter(|pair| decide_alike(pair, champion, challenger)).count();
    (!pairs.is_empty()).then(|| alike as f64 / pairs.len() as f64)
}

fn decide_alike(pair: &Pair, champion: &Manifest, challenger: &Manifest) -> bool {
    let raises = |manifest: &Manifest, answer: &Answer| {
        let threshold: Option<Threshold> = manifest.decision.as_ref().map(|rule| rule.raise);
        threshold.map(|threshold| threshold.holds(answer.value))
    };
    match (raises(champion, &pair.champion), raises(challenger, &pair.challenger)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => match (&pair.champion.label, &pair.challenger.label) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => are_near(pair.champion.value, pair.challenger.value),
        },
    }
}

/// Whether two outputs that are no classes say about the same.
pub(crate) fn are_near(one: f64, other: f64) -> bool {
    (one - other).abs() <= NEAR * one.abs().max(other.abs())
}

/// What there is to go by when a challenger might take the champion's place.
pub(crate) struct Comparison<'a> {
    pub(crate) champion: &'a Recent,
    pub(crate) challenger: &'a Recent,
    pub(crate) agreement: Option<f64>,
    /// Of how many moments that is.
    pub(crate) compared: usize,
    pub(crate) runs: Duration,
    pub(crate) verdicts: Verdicts,
    pub(crate) latency: Duration,
}

/// Whether the rule lets the challenger take the champion's place; then why, for the record.
pub(crate) fn promotes(rule: &Promotion, seen: &Comparison<'_>) -> Option<String> {
    let agreement = seen.agreement?;
    let share = |recent| withheld_share(recent);
    let more = share(seen.challenger)? - share(seen.champion)?;
    let judged = seen.verdicts.count() < VERDICTS || 1.0 - seen.verdicts.rejected_share() >= rule.verdicts;
    let quick = seen.challenger.usual_time().is_none_or(|time| time <= seen.latency);
    let holds = seen.runs >= rule.after
        && seen.challenger.predicted >= rule.predictions
        && seen.compared >= usize::try_from(rule.predictions).unwrap_or(usize::MAX).min(PAIRS)
        && agreement >= rule.agreement
        && more <= rule.withheld_more
        && judged
        && quick;
    holds.then(|| {
        format!(
            "the rule in [model.promotion]: {} predictions, {:.1} % decided as the champion did, {} verdicts",
            seen.challenger.predicted,
            agreement * 100.0,
            seen.verdicts.count()
        )
    })
}
