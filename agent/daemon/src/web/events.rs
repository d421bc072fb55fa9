//! Live news as server-sent events.
//!
//! Events say that something changed, and what; whoever listens then reads it again. So changes can be gathered and a
//! slow listener may miss some: it is then told that everything may have changed.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use explaind_core::domain::prediction::Role;
use explaind_core::domain::record::{Body, Record};
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Shared;
use super::access::{Actor, Viewer};
use super::problem::Problem;
use super::time::iso;
use crate::clock;

/// Most listeners at once.
pub(crate) const MOST_STREAMS: usize = 64;
/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(250);
/// How often predictions are told of, per asset.
const PREDICTIONS: Duration = Duration::from_secs(1);
/// How often something is said when there is nothing to say; also how often the sign-in is looked at.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Changes gathered by kind; with more, the listener is told that everything may have changed.
const MOST_GATHERED: usize = 256;

/// `GET /api/v1/events`.
pub(crate) async fn stream(State(web): State<Shared>, Viewer(actor): Viewer) -> Result<Response, Problem> {
    let place = Arc::clone(&web.streams)
        .try_acquire_owned()
        .map_err(|_| Problem::busy(format!("there are already {MOST_STREAMS} listeners; close a page elsewhere")))?;
    let news = web.buffer.subscribe();
    let now = Instant::now();
    let listener = Listener {
        web,
        actor,
        news,
        gathered: Gathered::default(),
        ready: VecDeque::from([Event::default()
            .event("hello")
            .data(json!({ "at": iso(clock::now().utc) }).to_string())]),
        flush_at: None,
        predictions_at: now,
        heartbeat_at: now + HEARTBEAT,
        _place: place,
    };
    Ok(Sse::new(listener.into_stream()).into_response())
}

struct Listener {
    web: Shared,
    actor: Actor,
    news: Receiver<Arc<Record>>,
    gathered: Gathered,
    ready: VecDeque<Event>,
    /// When what was gathered goes out.
    flush_at: Option<Instant>,
    /// Before this, predictions wait.
    predictions_at: Instant,
    heartbeat_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    /// The next event; `None` when the listening is over.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.web.stop.clone();
        let ended = self.actor.session.as_ref().map(|session| session.ended.clone()).unwrap_or_default();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let flush_at = self.flush_at.unwrap_or(self.heartbeat_at);
            tokio::select! {
                // Ends go first: nothing more is said to somebody who has signed out.
                biased;
                () = stop.cancelled() => return None,
                () = ended.cancelled() => return None,
                () = sleep_until(self.heartbeat_at) => self.heartbeat()?,
                () = sleep_until(flush_at), if self.flush_at.is_some() => self.flush(),
                news = self.news.recv() => self.take(news)?,
            }
        }
    }

    fn take(&mut self, news: Result<Arc<Record>, RecvError>) -> Option<()> {
        match news {
            Ok(record) => self.gathered.add(&record),
            Err(RecvError::Lagged(_)) => self.gathered.everything = true,
            Err(RecvError::Closed) => return None,
        }
        if self.flush_at.is_none() {
            let now = Instant::now();
            let only_predictions = self.gathered.only_predictions();
            self.flush_at = Some(if only_predictions { self.predictions_at.max(now + GATHER) } else { now + GATHER });
        } else if !self.gathered.only_predictions() {
            // Something more urgent came while predictions waited.
            self.flush_at = self.flush_at.map(|at| at.min(Instant::now() + GATHER));
        }
        Some(())
    }

    fn flush(&mut self) {
        let now = Instant::now();
        let with_predictions = now >= self.predictions_at;
        if with_predictions {
            self.predictions_at = now + PREDICTIONS;
        }
        self.ready.extend(
            self.gathered
                .drain(with_predictions)
                .into_iter()
                .map(|(name, data)| Event::default().event(name).data(data.to_string())),
        );
        self.flush_at = (!self.gathered.predictions.is_empty()).then_some(self.predictions_at);
    }

    /// Says that the line is up, unless the sign-in is over.
    fn heartbeat(&mut self) -> Option<()> {
        let now = clock::now();
        if let Some(session) = &self.actor.session {
            self.web.access.session(&session.key, now, false)?;
        }
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        self.ready.push_back(Event::default().event("heartbeat").data(json!({ "at": iso(now.utc) }).to_string()));
        Some(())
    }
}

/// The newest news of each kind.
#[derive(Default)]
struct Gathered {
    everything: bool,
    alerts: BTreeMap<Uuid, Value>,
    explanations: BTreeMap<Uuid, Value>,
    feedback: BTreeMap<Uuid, Value>,
    /// The last of each asset.
    predictions: BTreeMap<Arc<str>, Value>,
}

impl Gathered {
    fn only_predictions(&self) -> bool {
        !self.everything && self.alerts.is_empty() && self.explanations.is_empty() && self.feedback.is_empty()
    }

    fn add(&mut self, record: &Record) {
        match &record.body {
            Body::Alert(change) => {
                let news = json!({
                    "id": change.alert_id, "asset": change.asset, "state": change.to.as_str(),
                    "suppression": change.cover.shown().as_str(), "priority": change.priority.as_str(),
                });
                // Of an alarm at rest something changes that lies over it: that is news of its own.
                self.alerts.insert(change.alert_id.unwrap_or(record.id), news);
            }
            Body::Feedback(feedback) => {
                let news = json!({
                    "id": record.id, "alert_id": feedback.alert_id, "prediction_id": feedback.prediction_id,
                    "asset": feedback.asset,
                });
                self.feedback.insert(record.id, news);
            }
            // A challenger's predictions are nobody's news.
            Body::Prediction(prediction) if prediction.role == Role::Shadow => {}
            Body::Prediction(prediction) => match &record.settlement {
                // Explanations of predictions without an alert are nobody's news.
                Some(settlement) => {
                    if let Some(alert) = prediction.alert {
                        let news = json!({
                            "prediction_id": record.id, "alert_id": alert, "asset": prediction.asset,
                            "status": settlement.status(),
                        });
                        self.explanations.insert(record.id, news);
                    }
                }
                None => {
                    let news = json!({ "id": record.id, "asset": prediction.asset, "at": iso(record.at.utc) });
                    self.predictions.insert(Arc::clone(&prediction.asset), news);
                }
            },
            Body::Extra(extra) => {
                let news = json!({ "prediction_id": extra.prediction_id, "kind": extra.kind.as_str() });
                self.explanations.insert(record.id, news);
            }
            // What the page says above the alerts has changed.
            Body::Health(health) if health.subject == "buffer" => self.everything = true,
            Body::Audit(_) | Body::Health(_) => {}
        }
        let fullest =
            self.alerts.len().max(self.explanations.len()).max(self.feedback.len()).max(self.predictions.len());
        if fullest > MOST_GATHERED {
            *self = Self { everything: true, ..Self::default() };
        }
    }

    fn drain(&mut self, with_predictions: bool) -> Vec<(&'static str, Value)> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.everything) {
            out.push(("alert", json!({})));
        }
        out.extend(std::mem::take(&mut self.alerts).into_values().map(|news| ("alert", news)));
        out.extend(std::mem::take(&mut self.explanations).into_values().map(|news| ("explanation", news)));
        out.extend(std::mem::take(&mut self.feedback).into_values().map(|news| ("feedback", news)));
        if with_predictions {
            out.extend(std::mem::take(&mut self.predictions).into_values().map(|news| ("prediction", news)));
        }
        out
    }
}
