//! Whether a model and an asset's inputs fit together: every feature has a signal in its unit, every input a feature.

use std::collections::BTreeMap;
use std::time::Duration;

use explaind_core::model::{InputSpec, Manifest};
use explaind_core::pipeline::window;

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Where: a key below the asset.
    pub(crate) key: String,
    /// What, and what to do.
    pub(crate) reason: String,
}

/// Holds a manifest against the features that have a signal, with the signals' units where they are stated, and against how
/// often the asset is predicted. `model` is the model's name in the configuration.
///
/// # Errors
/// The first thing that does not fit.
pub(crate) fn check(
    model: &str,
    manifest: &Manifest,
    inputs: &BTreeMap<String, Option<String>>,
    every: Option<Duration>,
) -> Result<(), Misfit> {
    let features = &manifest.features;
    if let Some(stray) = inputs.keys().find(|name| !features.iter().any(|feature| *feature.name == ***name)) {
        let known: Vec<&str> = features.iter().map(|feature| &*feature.name).collect();
        let reason = format!("model \"{model}\" has no feature \"{stray}\"; it has {}", known.join(", "));
        return Err(Misfit { key: format!("inputs.\"{stray}\""), reason });
    }
    if let (InputSpec::Window { period: Some(period), .. }, Some(every)) = (manifest.input, every)
        && !window::fits(every, period)
    {
        let reason = format!(
            "model \"{model}\" takes a row every {period:?}, so its window never fills at {every:?}; write every = \"{period:?}\" \
             or a whole part of it"
        );
        return Err(Misfit { key: "every".to_owned(), reason });
    }
    for feature in features {
        let Some(unit) = inputs.get(&*feature.name) else {
            let reason = format!("feature \"{}\" of model \"{model}\" has no signal; add it", feature.name);
            return Err(Misfit { key: "inputs".to_owned(), reason });
        };
        if let Some(unit) = unit.as_deref().filter(|unit| !feature.unit.is_empty() && **unit != *feature.unit) {
            let reason = format!(
                "feature \"{}\" is in {} and its signal in {unit}; bring them together with scale and offset",
                feature.name, feature.unit
            );
            return Err(Misfit { key: format!("inputs.\"{}\"", feature.name), reason });
        }
    }
    Ok(())
}
