//! What people ask for: to go back, to stop, to release. Nothing here waits for the registry.

use std::sync::{Arc, PoisonError};

use explaind_core::domain::command::{Command, Done, Refusal};
use explaind_core::domain::record::{Body, Health, NewRecord};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::state::Seat;
use super::stops::{Stop, Unreleased};
use super::{PERSON, Rollout, answer};
use crate::clock;
use crate::mailbox::Letter;

/// Answers letters until it is time to stop.
///
/// Going back loads a bundle, which may take long: a stop must not wait for that.
pub(super) async fn run(rollout: Rollout, mut letters: mpsc::Receiver<Letter>) {
    let stop = rollout.0.stop.clone();
    let mut going_back: Option<JoinHandle<()>> = None;
    loop {
        let letter = tokio::select! {
            () = stop.cancelled() => break,
            letter = letters.recv() => letter,
        };
        let Some(Letter { command, answer: to }) = letter else { break };
        let done = match command {
            Command::Rollback { .. } if going_back.as_ref().is_some_and(|task| !task.is_finished()) => {
                Err(Refusal::Busy)
            }
            Command::Rollback { model, author, reason } => {
                let rollout = rollout.clone();
                going_back = Some(tokio::spawn(async move {
                    answer(to, rollout.roll_back(&model, &author, reason).await);
                }));
                continue;
            }
            Command::Stop { model, author, reason } => rollout.stop(model, author, reason).await,
            Command::Release { model, author, reason } => rollout.release(model, &author, reason).await,
            // It is the driver's.
            Command::Acknowledge { alert_id, .. } | Command::Alarm { alert_id, .. } => {
                Err(Refusal::UnknownAlert(alert_id))
            }
        };
        answer(to, done);
    }
    if let Some(going_back) = going_back {
        // What it does is whole at each step; the daemon's end has a limit of its own.
        let _ = going_back.await;
    }
}

impl Rollout {
    fn known(&self, model: Option<&Arc<str>>) -> Result<(), Refusal> {
        match model {
            Some(name) if self.model(name).is_none() => Err(Refusal::UnknownModel(name.to_string())),
            _ => Ok(()),
        }
    }

    async fn roll_back(&self, name: &str, author: &str, reason: Option<String>) -> Result<Done, Refusal> {
        let model = self.model(name).ok_or_else(|| Refusal::UnknownModel(name.to_owned()))?;
        let model = Arc::clone(model);
        let mut seats = model.seats.lock().await;
        if seats.state.active.is_none() || seats.state.previous.is_none() {
            return Err(Refusal::NothingToRollBackTo(name.to_owned()));
        }
        let reason = match reason {
            Some(reason) => format!("{author} went back: {reason}"),
            None => format!("{author} went back"),
        };
        self.take_back(&model, &mut seats, Seat::Champion, PERSON, &reason).await.map_err(Refusal::NotStored)?;
        let version = seats.state.active.as_ref().map(|active| Arc::from(active.version.as_str()));
        version.map(|version| Done::RolledBack { version }).ok_or_else(|| Refusal::NothingToRollBackTo(name.to_owned()))
    }

    async fn stop(&self, model: Option<Arc<str>>, author: String, reason: Option<String>) -> Result<Done, Refusal> {
        self.known(model.as_ref())?;
        let stop =
            Stop { by: author.clone(), reason: reason.clone(), at: clock::now().utc.as_micros(), in_registry: false };
        let kept = {
            let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
            tokio::task::block_in_place(|| stops.stop(model.as_ref(), stop))
        };
        // It stops even where that cannot be kept: the answer says so.
        let made = self.enact_stops().await;
        self.record_stop(model.as_ref(), &author, "stop", reason.as_deref()).await;
        kept.map_err(|error| Refusal::NotStored(format!("it is stopped, but only until the next start: {error}")))?;
        if made { Ok(Done::Stopped) } else { Err(Refusal::Busy) }
    }

    async fn release(&self, model: Option<Arc<str>>, author: &str, reason: Option<String>) -> Result<Done, Refusal> {
        self.known(model.as_ref())?;
        let released = {
            let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
            tokio::task::block_in_place(|| stops.release(model.as_deref()))
        };
        match released {
            Ok(true) => self.record_stop(model.as_ref(), author, "release", reason.as_deref()).await,
            Ok(false) => {}
            Err(Unreleased::InRegistry) => {
                let what = model.map_or_else(|| "the gateway".to_owned(), |name| format!("model \"{name}\""));
                return Err(Refusal::CannotRelease(what));
            }
            Err(Unreleased::Disk(error)) => return Err(Refusal::NotStored(error)),
        }
        if self.enact_stops().await { Ok(Done::Released) } else { Err(Refusal::Busy) }
    }

    /// Puts a stop or a release on record, for central.
    pub(super) async fn record_stop(&self, model: Option<&Arc<str>>, by: &str, what: &str, reason: Option<&str>) {
        let at = clock::now();
        let subject = model.map_or_else(|| "gateway".to_owned(), |name| format!("model/{name}"));
        let mut evidence = vec![("by".to_owned(), by.to_owned())];
        evidence.extend(reason.map(|reason| ("reason".to_owned(), reason.to_owned())));
        let state = if what == "stop" { "stopped" } else { "released" }.to_owned();
        let body = Body::Health(Health { subject, state, evidence });
        let record = NewRecord { id: clock::mint(at), at, body };
        if let Err(error) = self.0.buffer.append(vec![record]) {
            tracing::error!(%error, "a stop could not be put on record");
        }
    }
}
