//! Heeds what the registry stops: it can stop, and never release.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use explaind_core::domain::record::{Audit, Body, NewRecord};

use super::follow::{FIRST_WAIT, LONGEST, LONGEST_WAIT, QUESTION, jittered};
use super::stops::Stop;
use super::{Followed, Rollout, rest};
use crate::backoff::Backoff;
use crate::change::Change;
use crate::clock;
use crate::registry::Registry;

/// Looks whether the registry stops one model, or the whole gateway, until it is time to stop. Each is looked at by a task of
/// its own: what cannot be had of one (a server may keep it from us) holds up none of the others.
pub(super) async fn run(rollout: Rollout, registry: Registry, model: Option<Arc<Followed>>) {
    let poll = rollout.0.following.poll;
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT.min(poll * 10).max(FIRST_WAIT));
    let stop = rollout.0.stop.clone();
    let registered = model.as_ref().map(|model| model.config.registered().to_owned());
    loop {
        let asked = tokio::time::timeout(QUESTION, registry.stop(&rollout.0.gateway, registered.as_deref()));
        let said = tokio::select! {
            () = stop.cancelled() => return,
            said = asked => said,
        };
        let wait = match said {
            Ok(Ok(says)) => {
                rollout.note_unheard(model.as_ref(), None);
                rollout.heed(model.as_ref(), says).await;
                backoff.reset();
                jittered(poll)
            }
            Ok(Err(error)) => {
                rollout.note_unheard(model.as_ref(), Some(error.to_string()));
                backoff.next().max(error.rest())
            }
            Err(_) => {
                let reason = format!("the registry did not answer for {} s", QUESTION.as_secs());
                rollout.note_unheard(model.as_ref(), Some(reason));
                backoff.next()
            }
        };
        if rest(&stop, wait).await {
            return;
        }
    }
}

impl Rollout {
    /// Keeps for the status why it is not known whether the registry stops something. What was stopped stays so.
    fn note_unheard(&self, model: Option<&Arc<Followed>>, why: Option<String>) {
        let name = model.map(|model| Arc::clone(&model.config.name));
        let mut unheard = self.0.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = why.map(|why| why.chars().take(LONGEST).collect::<String>()) else {
            unheard.remove(&name);
            return;
        };
        if unheard.get(&name) != Some(&why) {
            tracing::warn!(model = name.as_deref(), error = why, "the registry does not say whether this is stopped");
        }
        unheard.insert(name, why);
    }

    /// Does as the registry says of one model, or of the whole gateway: it can stop, and never release.
    async fn heed(&self, model: Option<&Arc<Followed>>, says: Option<String>) {
        let name = model.map(|model| &model.config.name);
        let stopped = {
            let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
            let done = tokio::task::block_in_place(|| match says.clone() {
                Some(reason) => {
                    let reason = Some(reason).filter(|reason| !reason.is_empty());
                    let at = clock::now().utc.as_micros();
                    stops.stop(name, Stop { by: "registry".to_owned(), reason, at, in_registry: true })
                }
                None => stops.registry_is_silent(name.map(AsRef::as_ref)).map(|()| false),
            });
            done.unwrap_or_else(|error| {
                tracing::error!(%error, "what the registry stops could not be written, and holds until the next start");
                says.is_some()
            })
        };
        if !stopped {
            return;
        }
        tracing::warn!(model = name.map(AsRef::as_ref), "stopped by the registry");
        self.enact_stops().await;
        self.record_stop(name, "registry", "stop", says.as_deref()).await;
        let at = clock::now();
        let object = name.map_or_else(|| "gateway".to_owned(), |name| format!("model {name}"));
        let audit = Audit::new("registry", "stop", object, "done");
        let record = NewRecord { id: clock::mint(at), at, body: Body::Audit(audit) };
        if let Err(error) = self.0.buffer.append(vec![record]) {
            tracing::error!(%error, "a stop by the registry could not be audited");
        }
    }

    /// There is no registry any more that could say that something is stopped, or no longer.
    pub(super) fn forget_registry(&self) {
        let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.0.models.iter().map(|model| Some(&*model.config.name));
        for name in names.chain([None]) {
            if let Err(error) = stops.registry_is_silent(name) {
                tracing::warn!(%error, "that the registry is gone is noted with the next start");
            }
        }
    }

    /// Has the driver go by the stops as they are now.
    pub(super) async fn enact_stops(&self) -> bool {
        let _turn = self.0.enacting.lock().await;
        let stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner).for_pipeline();
        let made = self.0.changes.make(vec![Change::Stops(stops)]).await.is_ok();
        self.0.stops_to_make.store(!made, Ordering::Relaxed);
        made
    }
}
