//! What the start makes of the states on disk: who blames whom for an unclean end, and which bundles are there to run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use explaind_core::model::{Files, Model, bundle};

use super::slots::Home;
use super::state::{Seat, State};
use super::stops::Stops;
use super::verify::Demands;
use super::{Config, Followed, Following, Seats, Shown, checks};
use crate::clock;

/// The folder in the state folder.
const FOLDER: &str = "models";

/// Bundles from local folders, by the model's name: the configuration's word, or why it cannot be had.
pub(crate) type Local = HashMap<Arc<str>, Result<Arc<Model>, String>>;

/// What is there to run.
pub(crate) struct Opened {
    pub(super) gateway: String,
    pub(super) models: Vec<Arc<Followed>>,
    pub(super) stops: Stops,
    pub(super) following: Following,
}

/// Reads every model's state, and loads what it names.
///
/// A bundle that does not load any more is taken back, as one that misbehaves is: the daemon starts with what there is.
///
/// # Errors
/// When the folder cannot be made, or a state cannot be written.
pub(crate) fn open(
    gateway: &str,
    state_dir: &Path,
    configs: &[Config],
    following: &Following,
    local: &Local,
    demands: &dyn Fn(&Config) -> Demands,
) -> Result<Opened, String> {
    let folder = state_dir.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
    let now = clock::now().utc.as_micros();
    let one = |config: &Config| followed(&folder, config, local, demands(config), now).map(Arc::new);
    let models = configs.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let stops = Stops::open(state_dir, now);
    Ok(Opened { gateway: gateway.to_owned(), models, stops, following: following.clone() })
}

fn followed(folder: &Path, config: &Config, local: &Local, demands: Demands, now: i64) -> Result<Followed, String> {
    let assets = demands.assets.iter().map(|asset| Arc::from(asset.id.as_str())).collect();
    let (home, seats, trouble) = match local.get(&config.name) {
        Some(Ok(model)) => (None, Seats { champion: Some(Arc::clone(model)), ..Seats::default() }, None),
        Some(Err(trouble)) => (None, Seats::default(), Some(trouble.clone())),
        None => {
            let home = Home::open(folder, &config.name)
                .map_err(|error| format!("creating the folder of model \"{}\": {error}", config.name))?;
            let (seats, trouble) = seated(&home, config, &demands, now)?;
            (Some(home), seats, trouble)
        }
    };
    let followed = Followed {
        config: config.clone(),
        assets,
        demands,
        home,
        seats: tokio::sync::Mutex::default(),
        shown: Mutex::new(Shown { trouble, ..Shown::default() }),
    };
    followed.show(&seats);
    Ok(Followed { seats: tokio::sync::Mutex::new(seats), ..followed })
}

fn seated(home: &Home, config: &Config, demands: &Demands, now: i64) -> Result<(Seats, Option<String>), String> {
    let mut state = home.read().or_else(|reason| {
        tracing::error!(model = &*config.name, reason, "the model's state is set aside; the registry is asked anew");
        home.set_aside().map(|()| State::default()).map_err(|error| error.to_string())
    })?;
    // Before anything is loaded: loading may be what ends it.
    state.begin(now);
    if state.registered_as != config.registered() {
        state.registered_as = config.registered().to_owned();
        state.handled.clear();
    }
    let demanded = serde_json::to_vec(demands).map_err(|error| error.to_string())?;
    state.reconsider(bundle::digest(&demanded).to_string());
    let named = [&config.alias, &config.challenger];
    state.handled.retain(|alias, _| named.iter().any(|named| named.as_ref() == Some(alias)));
    if config.challenger.is_none() {
        state.dismiss();
    }
    home.write(&state).map_err(|error| format!("writing the state of model \"{}\": {error}", config.name))?;
    let (mut seats, mut trouble) = (Seats::default(), None);
    for seat in [Seat::Champion, Seat::Challenger] {
        while let Some(installed) = state.at(seat) {
            let slot = home.slot(&installed.digest);
            let reason = match load_slot(&slot, &[], &installed.digest) {
                Ok(model) => {
                    if let Err(reason) = still_fits(&slot, &model, demands) {
                        // It stays where it is: the configuration may be put right, and there may be no registry now.
                        let version = &installed.version;
                        tracing::error!(
                            model = &*config.name,
                            seat = seat.as_str(),
                            version,
                            reason,
                            "a bundle does not fit any more"
                        );
                        if seat == Seat::Champion {
                            trouble =
                                Some(format!("version {version}, which ran here, does not fit any more: {reason}"));
                        }
                        break;
                    }
                    match seat {
                        Seat::Champion => seats.champion = Some(model),
                        Seat::Challenger => seats.challenger = Some(model),
                    }
                    seats.since.insert(seat, Instant::now());
                    break;
                }
                Err(reason) => reason,
            };
            tracing::error!(model = &*config.name, seat = seat.as_str(), reason, "a bundle does not load any more");
            let digest = installed.digest.clone();
            state.take_back(seat, "load", &reason, now);
            // What the registry has of it may be whole: it is fetched and checked anew.
            state.handled.retain(|_, target| target.digest.as_ref() != Some(&digest));
            home.write(&state).map_err(|error| format!("writing the state of model \"{}\": {error}", config.name))?;
        }
    }
    seats.state = state;
    Ok((seats, trouble))
}

/// Whether a bundle that was accepted before may still run: somebody trusted signed it, and it fits the configuration.
fn still_fits(slot: &Path, model: &Model, demands: &Demands) -> Result<(), String> {
    let read = |name: &str| Some((name.to_owned(), std::fs::read(slot.join(name)).ok()?));
    let files: Files = [bundle::SUMS, bundle::SIGNATURE].into_iter().filter_map(read).collect();
    let fits = checks::signed(&files, &demands.keys).and_then(|_| checks::fits(model.manifest(), demands));
    fits.map_err(|misfit| misfit.reason)
}

/// Loads a bundle that was verified before: that it is still the same is looked at again, and whose it is.
///
/// # Errors
/// A sentence.
pub(super) fn load_slot(slot: &Path, keys: &[String], digest: &str) -> Result<Arc<Model>, String> {
    let files = crate::folder::files_of(slot)?;
    checks::signed(&files, keys).map_err(|refused| refused.reason)?;
    let found = bundle::identity(&files).map_err(|error| error.to_string())?;
    if found.to_string() != digest {
        return Err(format!("its digest is {found}, and {digest} was accepted"));
    }
    Model::load(&files).map(Arc::new).map_err(|error| error.to_string())
}

/// The demands, with the day as it is now, where the clock is known to be right.
pub(super) fn as_of_now(demands: &Demands) -> Demands {
    let today = clock::synchronised().then(|| {
        let at = jiff::Timestamp::from_microsecond(clock::now().utc.as_micros()).ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
    });
    Demands { today: today.flatten(), ..demands.clone() }
}

impl Opened {
    /// Which model decides for an asset now.
    pub(crate) fn champion_of(&self, asset: &str) -> Option<Arc<Model>> {
        self.with(asset, |followed, seats| match followed.config.canary.contains(asset) {
            true => seats.challenger.clone().or_else(|| seats.champion.clone()),
            false => seats.champion.clone(),
        })
    }

    /// Which model runs beside it.
    pub(crate) fn challenger_of(&self, asset: &str) -> Option<Arc<Model>> {
        self.with(asset, |followed, seats| seats.challenger.clone().filter(|_| !followed.config.canary.contains(asset)))
    }

    /// What is stopped.
    pub(crate) fn stops(&self) -> explaind_core::pipeline::Stops {
        self.stops.for_pipeline()
    }

    /// All that is there to run, for whoever prepares it.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Arc<Model>)> {
        let mut all = Vec::new();
        for followed in &self.models {
            let Ok(seats) = followed.seats.try_lock() else { continue };
            for model in seats.champion.iter().chain(&seats.challenger) {
                all.push((Arc::clone(&followed.config.name), Arc::clone(model)));
            }
        }
        all
    }

    /// Nobody else holds the seats before the rollout runs.
    fn with(&self, asset: &str, ask: impl Fn(&Followed, &Seats) -> Option<Arc<Model>>) -> Option<Arc<Model>> {
        let followed = self.models.iter().find(|model| model.assets.iter().any(|known| **known == *asset))?;
        let seats = followed.seats.try_lock().ok()?;
        ask(followed, &seats)
    }
}
