//! What is looked at before a bundle is believed, in order: what needs no trust first, what runs the model last.
//!
//! Times are of the processor, not on the clock, so that a busy gateway refuses no model that is quick enough.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::explanation::{Explanation, Method};
use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::signature::{self, PublicKey};
use explaind_core::model::{BundleError, Card, Files, Manifest, Model, ModelError, bundle};
use rustix::time::{ClockId, clock_gettime};

use super::binding;
use super::verify::{Check, Demands, Refused, Report};
use crate::folder::files_of;

/// Predictions whose time is taken: so many at most, and no more once they have taken this together.
const TIMED: usize = 200;
const TIMING: Duration = Duration::from_secs(1);
/// But never fewer, so that one in twenty may be slow.
const FEWEST_TIMED: usize = 20;
/// How often a first prediction that is too slow is tried before that is believed.
const TRIES: usize = 3;
/// Rows of the background, and golden rows, that are explained.
const EXPLAINED: usize = 3;
/// How far attributions may be off what they explain, of the numbers in them, or of 1: those of trees are summed in float64;
/// networks compute in float32, and a sound one on unscaled features is off by a ten thousandth where it rounds worst.
const OFF: f64 = 1e-6;
const OFF_ROUNDED: f64 = 1e-3;

/// Makes all checks of the bundle in a folder; `tell` hears of each that begins.
///
/// # Errors
/// The first that it does not pass.
pub(super) fn all(folder: &Path, demands: &Demands, tell: &dyn Fn(Check)) -> Result<Report, Refused> {
    tell(Check::Files);
    let files = files_of(folder).map_err(|reason| Refused::new(Check::Files, reason))?;
    // Nothing of it is looked at before it is known whose it is.
    tell(Check::Signature);
    let signed = signed(&files, &demands.keys)?;
    tell(Check::Digests);
    bundle::check(&files).map_err(|error| refused(Check::Digests, &error))?;
    let identity = bundle::identity(&files).map_err(|error| refused(Check::Digests, &error))?;
    tell(Check::Operators);
    let model = Arc::new(Model::load(&files).map_err(|error| refused(Check::Schema, &error))?);
    drop(files);
    tell(Check::Features);
    allowed(&model.manifest().card, demands)?;
    bound(model.manifest(), demands)?;
    let ran = run(&model, demands.latency, tell)?;
    tell(Check::Explanation);
    let slowest = explain(&model, ran.rows_per_second)?;
    Ok(Report {
        identity: identity.to_string(),
        name: model.manifest().name.to_string(),
        version: model.manifest().version.to_string(),
        model_digest: model.model_digest().to_string(),
        background_digest: model.background_digest().to_string(),
        signed,
        expires: model.manifest().card.expires.clone(),
        latency: ran.latency,
        peak_memory: 0,
        explanation: slowest.time,
        method: slowest.explanation.method.as_str().to_owned(),
        evaluations: slowest.explanation.evaluations,
        golden_rows: ran.golden_rows,
        largest_error: ran.largest_error,
    })
}

/// A refusal. Where memory gives out, what runs the model says so in words of its own.
pub(super) fn judged(check: Check, reason: String) -> Refused {
    let memory = ["failed to allocate", "memory allocation of", "capacity overflow", "Cannot allocate memory"];
    match memory.iter().any(|words| reason.contains(words)) {
        true => Refused::new(Check::Memory, "it needs more memory than checking it may take; make the model smaller"),
        false => Refused::new(check, reason),
    }
}

/// What is wrong with a bundle, under the check that it concerns.
fn refused(check: Check, error: &BundleError) -> Refused {
    let check = match error {
        BundleError::Missing { .. } | BundleError::Unlisted { .. } | BundleError::Digest { .. } => Check::Digests,
        BundleError::TooLarge { .. } => Check::Files,
        BundleError::Unsigned | BundleError::Signature { .. } => Check::Signature,
        BundleError::Invalid { place, .. } if check == Check::Schema && place.file == bundle::MODEL => Check::Operators,
        BundleError::Invalid { .. } => check,
        BundleError::NoGolden | BundleError::Golden { .. } => Check::Golden,
    };
    judged(check, error.to_string())
}

/// Whether somebody with one of the keys signed it, and what with it; nothing is asked where there are none.
pub(super) fn signed(files: &Files, keys: &[String]) -> Result<Option<String>, Refused> {
    if keys.is_empty() {
        return Ok(None);
    }
    let keys = keys.iter().map(|key| PublicKey::parse(key)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|reason| Refused::new(Check::Unchecked, format!("a trusted key: {reason}")))?;
    signature::check(files, &keys).map(Some).map_err(|error| refused(Check::Signature, &error))
}

/// Whether a bundle that was accepted before still fits: the configuration may ask for something else since, and the card may
/// be in another machine. Its last day is a matter of taking it, not of going on with it.
pub(super) fn fits(manifest: &Manifest, demands: &Demands) -> Result<(), Refused> {
    let demands = Demands { today: None, ..demands.clone() };
    allowed(&manifest.card, &demands)?;
    bound(manifest, &demands)
}

/// Whether the card lets it run here.
fn allowed(card: &Card, demands: &Demands) -> Result<(), Refused> {
    if let Some(hardware) = card.hardware.as_ref().filter(|hardware| !hardware.contains(&demands.hardware)) {
        let reason =
            format!("its card approves it for {}, and this machine is {}", hardware.join(", "), demands.hardware);
        return Err(Refused::new(Check::Hardware, reason));
    }
    if let Some(assets) = &card.assets
        && let Some(asset) = demands.assets.iter().find(|asset| !assets.contains(&asset.id))
    {
        let reason = format!("its card approves it for {}, and not for {}", assets.join(", "), asset.id);
        return Err(Refused::new(Check::Asset, reason));
    }
    // Days as text compare as days do.
    if let (Some(expires), Some(today)) = (&card.expires, &demands.today)
        && today > expires
    {
        let reason = format!("its card approves it until {expires}, and today is {today}; have it approved anew");
        return Err(Refused::new(Check::Expiry, reason));
    }
    Ok(())
}

fn bound(manifest: &Manifest, demands: &Demands) -> Result<(), Refused> {
    for asset in &demands.assets {
        // Another version, or the challenger, may ask for more than this one.
        let mut inputs = asset.inputs.clone();
        inputs.retain(|name, _| manifest.features.iter().any(|feature| *feature.name == **name));
        binding::check(&manifest.name, manifest, &inputs, asset.every)
            .map_err(|misfit| Refused::new(Check::Features, format!("asset {}: {}", asset.id, misfit.reason)))?;
    }
    Ok(())
}

/// What came of running a model.
struct Ran {
    latency: Duration,
    golden_rows: usize,
    largest_error: f64,
    rows_per_second: f64,
}

fn run(model: &Model, most: Duration, tell: &dyn Fn(Check)) -> Result<Ran, Refused> {
    let background = &model.background().rows;
    let rows = || background.chunks_exact(model.width());
    let predict = |row: &[f32]| {
        let (answer, time) = timed(|| model.predict(row));
        answer.map(|_| time).map_err(|error| unanswered(&error, "a row of its background"))
    };
    tell(Check::Latency);
    // Before all the others are asked of a model that takes minutes for one.
    let mut first = Duration::MAX;
    for row in rows().cycle().take(TRIES) {
        first = first.min(predict(row)?);
        if first <= most {
            break;
        }
    }
    too_slow(first, most)?;
    let (mut times, mut total) = (Vec::new(), Duration::ZERO);
    for row in rows().cycle().take(TIMED) {
        if times.len() >= FEWEST_TIMED && total >= TIMING {
            break;
        }
        let time = predict(row)?;
        total = total.saturating_add(time);
        times.push(time);
    }
    let latency = ninety_five(&mut times);
    too_slow(latency, most)?;
    tell(Check::Finite);
    let (answers, time) = timed(|| model.explained(background));
    let answers = answers.map_err(|error| unanswered(&error, "the rows of its background"))?;
    tell(Check::Golden);
    let verified = model.verify_fully().map_err(|error| refused(Check::Golden, &error))?;
    Ok(Ran {
        latency,
        golden_rows: verified.rows,
        largest_error: verified.largest_error,
        rows_per_second: answers.len() as f64 / time.as_secs_f64().max(1e-9),
    })
}

fn unanswered(error: &ModelError, rows: &str) -> Refused {
    let check = match error {
        ModelError::NonFinite => Check::Finite,
        ModelError::Width { .. } | ModelError::Failed(_) => Check::Operators,
    };
    judged(check, format!("{error}, for {rows}; do not use this model here"))
}

fn too_slow(time: Duration, most: Duration) -> Result<(), Refused> {
    if time <= most {
        return Ok(());
    }
    let reason =
        format!("a prediction takes {time:.3?} on this machine, and may take {most:?}; make the model smaller");
    Err(Refused::new(Check::Latency, reason))
}

/// What 95 of 100 took at most.
fn ninety_five(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let place = (times.len() * 95).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}

/// The explanation that took longest.
struct Slowest {
    explanation: Explanation,
    time: Duration,
}

/// Prepares explanations as the daemon would, and explains a few rows.
fn explain(model: &Arc<Model>, rows_per_second: f64) -> Result<Slowest, Refused> {
    let failed = |reason: String| judged(Check::Explanation, reason);
    let evaluations = (model.manifest().explanation.budget.as_secs_f64() * rows_per_second) as u64;
    let explainer =
        Explainer::new(Arc::clone(model), Budget { evaluations }).map_err(|error| failed(error.to_string()))?;
    let mut slowest: Option<Slowest> = None;
    for (what, rows) in [("background", &*model.background().rows), ("golden", model.golden_inputs())] {
        let rows: Vec<&[f32]> = rows.chunks_exact(model.width()).collect();
        let every = rows.len().div_ceil(EXPLAINED).max(1);
        for (number, row) in rows.iter().enumerate().step_by(every) {
            let failed = |reason: &str| failed(format!("{what} row {}: {reason}", number + 1));
            let answer = model.predict(row).map_err(|error| failed(&error.to_string()))?;
            let (explanation, time) = timed(|| explainer.explain(row, Some(answer.explained)));
            let explanation = explanation.map_err(|error| failed(&error.to_string()))?;
            if let Some(reason) = not_adding_up(&explanation) {
                return Err(failed(&reason));
            }
            if slowest.as_ref().is_none_or(|slowest| time > slowest.time) {
                slowest = Some(Slowest { explanation, time });
            }
        }
    }
    slowest.ok_or_else(|| failed("it has no background to explain against".to_owned()))
}

fn not_adding_up(explanation: &Explanation) -> Option<String> {
    let sizes = explanation.attributions.iter().map(|attribution| attribution.value.abs());
    let size = sizes.sum::<f64>() + explanation.base_value.abs() + explanation.output.abs();
    let off = if explanation.method == Method::TreeShapley { OFF } else { OFF_ROUNDED };
    let (gap, most) = (explanation.additivity_gap, off * size.max(1.0));
    // Not a number is never within bounds.
    (!(size.is_finite() && gap <= most))
        .then(|| format!("its attributions miss the model's answer by {gap:e}; {most:e} is the most"))
}

/// What a call gives, and the processor's time that it took.
fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let before = now();
    let found = call();
    (found, now().saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::prediction::Space;

    use super::*;

    #[test]
    fn one_in_twenty_may_be_slow() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(ninety_five(&mut times), Duration::from_millis(95));
        assert_eq!(ninety_five(&mut times[..20]), Duration::from_millis(19));
        assert_eq!(ninety_five(&mut times[..1]), Duration::from_millis(1));
    }

    #[test]
    fn memory_that_gives_out_is_told_as_that() {
        let said = judged(Check::Operators, "tract gave up on it (failed to allocate Layout { size: 4 })".to_owned());
        assert_eq!(said.check, Check::Memory);
        assert_eq!(judged(Check::Operators, "an operator is unknown".to_owned()).check, Check::Operators);
    }

    #[test]
    fn attributions_add_up_as_well_as_their_method_can() {
        let explanation = |method, additivity_gap| Explanation {
            space: Space::Probability,
            base_value: 0.25,
            output: 0.75,
            attributions: Vec::new(),
            method,
            evaluations: 1,
            additivity_gap,
            faithfulness: None,
        };
        assert_eq!(not_adding_up(&explanation(Method::TreeShapley, 9e-7)), None);
        assert_eq!(not_adding_up(&explanation(Method::Enumeration, 9e-4)), None);
        for (method, gap) in [(Method::TreeShapley, 2e-6), (Method::Sampling, 2e-3), (Method::Linear, f64::NAN)] {
            assert!(not_adding_up(&explanation(method, gap)).is_some(), "{method:?} {gap}");
        }
    }

    #[test]
    fn the_processors_time_is_what_work_takes() {
        let ((), asleep) = timed(|| std::thread::sleep(Duration::from_millis(50)));
        let (_, awake) = timed(|| (0..20_000_000_u64).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n)));
        assert!(asleep < Duration::from_millis(40) && awake > asleep, "{asleep:?} {awake:?}");
    }
}
