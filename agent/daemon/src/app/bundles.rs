//! Loads the configured bundles and binds each asset's signals to its model's features.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::sample::SignalId;
use explaind_core::model::Model;
use explaind_core::pipeline::{AssetPlan, Trigger};

use super::AppError;
use crate::config::{Asset, ConfigError, Settings};
use crate::folder::files_of;
use crate::rollout::binding;
use crate::rollout::verify::{AssetDemand, Demands};
use crate::rollout::{self, Local};

/// What checking one bundle may take in all.
const VERIFYING: Duration = Duration::from_secs(300);

/// Models by their name in the configuration.
pub(crate) type Models = HashMap<Arc<str>, Arc<Model>>;

/// Loads and verifies every configured bundle that lies in a local folder.
///
/// # Errors
/// The first bundle that is missing or not what it should be.
pub(crate) fn load(settings: &Settings) -> Result<Models, AppError> {
    let mut models = Models::new();
    for (index, config) in settings.models.iter().enumerate() {
        let Some(folder) = &config.bundle else { continue };
        models.insert(Arc::clone(&config.name), load_one(settings, index, folder)?);
    }
    Ok(models)
}

fn load_one(settings: &Settings, index: usize, folder: &Path) -> Result<Arc<Model>, AppError> {
    if !folder.is_dir() {
        let message = format!("there is no bundle folder {}; make one with explaind bundle create", folder.display());
        return Err(settings.problem(&format!("model[{index}].bundle"), message).into());
    }
    let refuse = |message: String| AppError::Bundle { folder: folder.to_owned(), message };
    let files = files_of(folder).map_err(refuse)?;
    let model = Model::load(&files).map_err(|error| refuse(error.to_string()))?;
    model.verify().map_err(|error| refuse(error.to_string()))?;
    Ok(Arc::new(model))
}

/// What there is to run from local folders. A bundle that is not what it should be is no reason not to start where a rule
/// stands in for it on every machine: it may be the card that is failing, and nobody is there.
///
/// # Errors
/// As of [`load`] and [`check`], where no rule stands in.
pub(crate) fn local(settings: &Settings) -> Result<Local, AppError> {
    let (mut local, mut sound) = (Local::new(), Models::new());
    for (index, config) in settings.models.iter().enumerate() {
        let Some(folder) = &config.bundle else { continue };
        let found = match load_one(settings, index, folder) {
            Ok(model) => {
                sound.insert(Arc::clone(&config.name), Arc::clone(&model));
                Ok(model)
            }
            Err(error) if has_rules(settings, &config.name) => {
                tracing::error!(model = &*config.name, %error, "the model cannot run; its machines' rules stand in");
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        };
        local.insert(Arc::clone(&config.name), found);
    }
    check(settings, &sound)?;
    Ok(local)
}

/// Whether a rule stands in for the model on every machine that it watches.
fn has_rules(settings: &Settings, model: &str) -> bool {
    let mut watched = settings.assets.iter().filter(|asset| asset.model.as_deref() == Some(model)).peekable();
    watched.peek().is_some() && watched.all(|asset| asset.fallback.is_some())
}

/// Whether every asset has what its model asks for, as far as models are there.
///
/// # Errors
/// A feature without a signal, a signal for no feature, or units that differ.
pub(crate) fn check(settings: &Settings, models: &Models) -> Result<(), ConfigError> {
    for (index, asset) in settings.assets.iter().enumerate() {
        let Some(name) = &asset.model else { continue };
        if let Some(model) = models.get(name) {
            binds(settings, (index, asset), (name, model))?;
        }
    }
    Ok(())
}

/// What watches an asset.
pub(crate) fn plan(asset: &Asset) -> AssetPlan {
    let inputs = asset.inputs.iter().map(|(feature, signal)| (feature.as_str().into(), signal.clone()));
    AssetPlan {
        id: Arc::clone(&asset.id),
        model: asset.model.clone(),
        trigger: asset.trigger.clone(),
        active_when: asset.active_when.clone(),
        inputs: inputs.collect(),
        fallback: asset.fallback.clone(),
    }
}

/// Whether a model has all that it needs from an asset, in its own units, and nothing that it does not ask for.
fn binds(
    settings: &Settings,
    (index, asset): (usize, &Asset),
    (name, model): (&str, &Model),
) -> Result<(), ConfigError> {
    let demand = demand(settings, asset);
    binding::check(name, model.manifest(), &demand.inputs, demand.every)
        .map_err(|misfit| settings.problem(&format!("asset[{index}].{}", misfit.key), misfit.reason))
}

/// What an asset has for its model.
fn demand(settings: &Settings, asset: &Asset) -> AssetDemand {
    let units = settings.signals();
    let unit = |signal: &SignalId| units.iter().find(|info| info.id == *signal).and_then(|info| info.unit.clone());
    AssetDemand {
        id: asset.id.to_string(),
        inputs: asset.inputs.iter().map(|(feature, signal)| (feature.clone(), unit(signal))).collect(),
        every: match asset.trigger {
            Trigger::Every(every) => Some(every),
            Trigger::On(_) => None,
        },
    }
}

/// What a bundle must fulfil here to take the place of this model.
pub(crate) fn demands(settings: &Settings, config: &rollout::Config) -> Demands {
    let watched = settings.assets.iter().filter(|asset| asset.model.as_ref() == Some(&config.name));
    Demands {
        keys: settings.following.keys.clone(),
        hardware: processor().to_owned(),
        today: None,
        assets: watched.map(|asset| demand(settings, asset)).collect(),
        memory: config.memory,
        time: VERIFYING,
        latency: config.latency,
    }
}

/// What the processor that this program was built for is called, as `uname -m` does.
fn processor() -> &'static str {
    match std::env::consts::ARCH {
        "arm" => "armv7l",
        other => other,
    }
}
