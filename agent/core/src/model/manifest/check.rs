//! From the manifest as written to types that cannot be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Adjustable, Decision, ExplanationSettings, Feature, InputSpec, Manifest, OutputKind, OutputSpec, Threshold, raw,
};
use crate::domain::alert::Guidance;
use crate::domain::prediction::Space;
use crate::model::card::{self, Card};

/// More features than this is taken for a mistake.
const MOST_FEATURES: usize = 10_000;
/// Longest name of anything, in bytes: names travel with every record.
const LONGEST_NAME: usize = 200;
/// Most values of a window: all of them travel with every record.
const MOST_WINDOW_VALUES: u64 = 16_384;
/// Most reference rows that Shapley values are taken against.
pub(crate) const MOST_BACKGROUND_ROWS: usize = 10_000;

/// What is wrong with a key, before its line is looked up.
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) problem: String,
}

fn fault<T>(key: impl Into<String>, problem: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { key: key.into(), problem: problem.into() })
}

/// Checks everything that can be checked without the model.
pub(super) fn manifest(raw: raw::Manifest) -> Result<Manifest, Fault> {
    check_name("name", &raw.name)?;
    check_name("version", &raw.version)?;
    let input = check_input(&raw.input, raw.feature.len())?;
    let output = check_output(raw.output)?;
    let decision = raw.decision.map(|decision| check_decision(decision, &output)).transpose()?;
    if !(1..=MOST_BACKGROUND_ROWS).contains(&raw.explanation.background_rows) {
        return fault(
            "explanation.background_rows",
            format!("{} is out of bounds; write 1 to {MOST_BACKGROUND_ROWS}", raw.explanation.background_rows),
        );
    }
    Ok(Manifest {
        name: raw.name.into(),
        version: raw.version.into(),
        input,
        features: check_features(raw.feature)?,
        output,
        decision,
        explanation: ExplanationSettings {
            background_rows: raw.explanation.background_rows,
            budget: raw.explanation.budget,
        },
        card: check_card(raw.card)?,
    })
}

/// Whether a text may name something.
pub(crate) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

fn check_name(key: &str, name: &str) -> Result<(), Fault> {
    if is_name(name) {
        return Ok(());
    }
    fault(key, format!("a name is 1 to {LONGEST_NAME} bytes of text on one line"))
}

fn check_input(input: &raw::Input, features: usize) -> Result<InputSpec, Fault> {
    if input.kind == raw::InputKind::Row {
        for (key, given) in [("input.steps", input.steps.is_some()), ("input.period", input.period.is_some())] {
            if given {
                return fault(key, "this belongs to windows; remove it, since kind is \"row\"");
            }
        }
        return Ok(InputSpec::Row);
    }
    let Some(steps) = input.steps else {
        return fault(
            "input.steps",
            "a window needs its number of rows; write steps = 30, or whatever the model takes",
        );
    };
    if steps == 0 {
        return fault("input.steps", "a window has at least one row; write steps = 30, or whatever the model takes");
    }
    if steps.saturating_mul(features as u64) > MOST_WINDOW_VALUES {
        let problem = format!(
            "a window of {steps} steps and {features} features has more than {MOST_WINDOW_VALUES} values; use a model of \
             shorter windows"
        );
        return fault("input.steps", problem);
    }
    if input.period.is_some_and(|period| period.is_zero()) {
        return fault("input.period", "write a duration above 0, like \"1s\"");
    }
    Ok(InputSpec::Window { steps: steps as usize, period: input.period })
}

fn check_features(raw: Vec<raw::Feature>) -> Result<Vec<Feature>, Fault> {
    if raw.is_empty() || raw.len() > MOST_FEATURES {
        return fault("feature", format!("a model has 1 to {MOST_FEATURES} features; write one [[feature]] for each"));
    }
    let mut seen = BTreeMap::new();
    for (index, feature) in raw.iter().enumerate() {
        if let Some(first) = seen.insert(feature.name.as_str(), index) {
            let problem = format!("\"{}\" is also the name of feature[{first}]; names must differ", feature.name);
            return fault(format!("feature[{index}].name"), problem);
        }
    }
    raw.into_iter().enumerate().map(|(index, feature)| check_feature(feature, &format!("feature[{index}]"))).collect()
}

fn check_feature(raw: raw::Feature, key: &str) -> Result<Feature, Fault> {
    check_name(&format!("{key}.name"), &raw.name)?;
    if raw.name.trim() != raw.name || raw.name == "origin" || raw.name.starts_with("output:") {
        let problem = "a feature's name has no space around it, is not \"origin\" and does not start with \"output:\", \
                       since golden.csv uses these";
        return fault(format!("{key}.name"), problem);
    }
    let range = check_bounds(&format!("{key}.range"), raw.range)?;
    let adjustable = check_adjustable(&format!("{key}.adjustable"), raw.adjustable)?;
    if let (Some((low, high)), Some(Adjustable { low: from, high: to, .. })) = (range, adjustable)
        && (from < low || to > high)
    {
        let problem = format!("[{from}, {to}] reaches outside range [{low}, {high}]; keep it inside");
        return fault(format!("{key}.adjustable"), problem);
    }
    if raw.max_rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        return fault(format!("{key}.max_rate"), "write a number above 0, in units per second");
    }
    if raw.max_age.is_some_and(|age| age.is_zero()) {
        return fault(format!("{key}.max_age"), "write a duration above 0, like \"5s\"");
    }
    if let Some((word, _)) = raw.categories.iter().find(|(_, number)| !(**number as f32).is_finite()) {
        return fault(format!("{key}.categories"), format!("\"{word}\" needs a finite number"));
    }
    Ok(Feature {
        name: raw.name.into(),
        unit: raw.unit.into(),
        range,
        max_rate: raw.max_rate,
        max_age: raw.max_age,
        adjustable,
        categories: raw.categories,
        refuse_uncertain: raw.refuse_uncertain,
        missing: raw.missing,
    })
}

fn check_bounds(key: &str, bounds: Option<Vec<f64>>) -> Result<Option<(f64, f64)>, Fault> {
    match bounds.as_deref() {
        None => Ok(None),
        Some(&[low, high]) if low < high && low.is_finite() && high.is_finite() => Ok(Some((low, high))),
        Some(other) => fault(key, format!("{other:?} is no range; write [low, high]")),
    }
}

/// `[low, high]`, or `[low, high, step]`.
fn check_adjustable(key: &str, mut limits: Option<Vec<f64>>) -> Result<Option<Adjustable>, Fault> {
    let step = limits.as_mut().filter(|limits| limits.len() == 3).and_then(Vec::pop);
    let Some((low, high)) = check_bounds(key, limits)? else { return Ok(None) };
    match step {
        Some(step) if !(step > 0.0 && step <= high - low) => {
            fault(key, format!("{step} is no step; write one above 0 that leads from {low} to {high} at most"))
        }
        step => Ok(Some(Adjustable { low, high, step })),
    }
}

fn check_output(raw: raw::Output) -> Result<OutputSpec, Fault> {
    let kind = match raw.kind {
        raw::OutputKind::Classification => OutputKind::Classification,
        raw::OutputKind::Regression => OutputKind::Regression,
        raw::OutputKind::Anomaly => OutputKind::Anomaly,
        raw::OutputKind::Reconstruction => OutputKind::Reconstruction,
    };
    let space = match raw.space {
        raw::Space::Auto => None,
        raw::Space::Margin => Some(Space::Margin),
        raw::Space::Probability => Some(Space::Probability),
        raw::Space::Value => Some(Space::Value),
    };
    if kind == OutputKind::Reconstruction && raw.index.is_some() {
        return fault("output.index", "a reconstruction is scored as a whole; remove the key");
    }
    if space == Some(Space::Probability) && kind != OutputKind::Classification {
        return fault("output.space", "only a classification has probabilities; write \"auto\" or \"value\"");
    }
    if !raw.labels.is_empty() && kind != OutputKind::Classification {
        return fault("output.labels", "only a classification has labels; remove them");
    }
    for (index, label) in raw.labels.iter().enumerate() {
        check_name(&format!("output.labels[{index}]"), label)?;
        if raw.labels.iter().take(index).any(|other| other == label) {
            return fault(format!("output.labels[{index}]"), format!("\"{label}\" is there twice; labels must differ"));
        }
    }
    if !raw.unit.is_empty() {
        if kind == OutputKind::Classification {
            return fault("output.unit", "classes have no unit; remove it");
        }
        check_name("output.unit", &raw.unit)?;
    }
    if raw.labels.len() == 1 {
        return fault("output.labels", "a classification has at least two classes; name each");
    }
    Ok(OutputSpec {
        kind,
        tensor: raw.tensor,
        index: raw.index,
        labels: raw.labels,
        unit: raw.unit,
        space,
        target: raw.target,
    })
}

fn check_decision(raw: raw::Decision, output: &OutputSpec) -> Result<Decision, Fault> {
    let given = [
        ("decision.raise_above", raw.raise_above),
        ("decision.raise_below", raw.raise_below),
        ("decision.clear_below", raw.clear_below),
        ("decision.clear_above", raw.clear_above),
    ];
    let probability = output.kind == OutputKind::Classification && output.space != Some(Space::Value);
    for (key, value) in given.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        if !value.is_finite() {
            return fault(key, "write a finite number");
        }
        if probability && !(0.0..=1.0).contains(&value) && output.space != Some(Space::Margin) {
            return fault(key, format!("{value} is no probability; write a number from 0 to 1"));
        }
    }
    let (raise, clear) = match (raw.raise_above, raw.raise_below, raw.clear_below, raw.clear_above) {
        (Some(raise), None, clear, None) => {
            let clear = clear.unwrap_or(raise);
            if clear > raise {
                return fault(
                    "decision.clear_below",
                    format!("{clear} is above raise_above = {raise}; write at most that"),
                );
            }
            (Threshold::Above(raise), Threshold::Below(clear))
        }
        (None, Some(raise), None, clear) => {
            let clear = clear.unwrap_or(raise);
            if clear < raise {
                return fault(
                    "decision.clear_above",
                    format!("{clear} is below raise_below = {raise}; write at least that"),
                );
            }
            (Threshold::Below(raise), Threshold::Above(clear))
        }
        (Some(_), None, _, Some(_)) => return fault("decision.clear_above", "raise_above goes with clear_below"),
        (None, Some(_), Some(_), _) => return fault("decision.clear_below", "raise_below goes with clear_above"),
        (Some(_), Some(_), ..) => return fault("decision.raise_below", "write raise_above or raise_below, not both"),
        (None, None, ..) => return fault("decision", "the rule needs a threshold; write raise_above or raise_below"),
    };
    Ok(Decision {
        raise,
        clear,
        on_delay: raw.on_delay,
        off_delay: raw.off_delay,
        priority: raw.priority,
        latching: raw.latching,
        guidance: Guidance {
            consequence: advice("decision.consequence", raw.consequence)?,
            response: advice("decision.response", raw.response)?,
        },
    })
}

/// Longest text that a technician is told beside the reason, in bytes: it is part of each record that raises.
const LONGEST_ADVICE: usize = 1000;

fn advice(key: &str, text: Option<String>) -> Result<Option<Arc<str>>, Fault> {
    let Some(text) = text else { return Ok(None) };
    if text.trim().is_empty() {
        return fault(key, "write a sentence, or remove the key");
    }
    if text.len() > LONGEST_ADVICE {
        return fault(key, format!("there are {} bytes of text; write at most {LONGEST_ADVICE}", text.len()));
    }
    Ok(Some(text.into()))
}

/// Longest text of a card, in bytes.
const LONGEST_TEXT: usize = 20_000;
/// Most names in a list of a card.
const MOST_NAMED: usize = 10_000;

fn check_card(raw: raw::Card) -> Result<Card, Fault> {
    let texts = [
        ("card.purpose", &raw.purpose),
        ("card.data", &raw.data),
        ("card.limits", &raw.limits),
        ("card.owner", &raw.owner),
        ("card.approved_by", &raw.approved_by),
    ];
    for (key, text) in texts {
        if text.len() > LONGEST_TEXT {
            return fault(key, format!("there are {} bytes of text; write at most {LONGEST_TEXT}", text.len()));
        }
    }
    for (key, date) in [("card.approved_on", &raw.approved_on), ("card.expires", &raw.expires)] {
        if let Some(date) = date.as_ref().filter(|date| !card::is_date(date)) {
            return fault(key, format!("\"{date}\" is no date; write one like \"2027-06-30\""));
        }
    }
    for (key, names) in [("card.hardware", &raw.hardware), ("card.assets", &raw.assets)] {
        let Some(names) = names else { continue };
        if names.is_empty() || names.len() > MOST_NAMED {
            return fault(key, format!("name 1 to {MOST_NAMED}, or remove the key where it may run on any"));
        }
        for (index, name) in names.iter().enumerate() {
            check_name(&format!("{key}[{index}]"), name)?;
        }
    }
    Ok(Card {
        purpose: raw.purpose,
        data: raw.data,
        limits: raw.limits,
        owner: raw.owner,
        approved_by: raw.approved_by,
        approved_on: raw.approved_on,
        expires: raw.expires,
        hardware: raw.hardware,
        assets: raw.assets,
    })
}
