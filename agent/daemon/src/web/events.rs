//! Live news as server-sent events, which resume.
//!
//! Events say that something changed, and what; whoever listens reads it where it stands. Each carries how far its
//! listener has heard (see `place`). Whoever comes back with that in `Last-Event-ID`, or cannot follow, is told from the
//! records what was missed, each thing once, in as far as that is not more than a look at everything would be: then the
//! event `reset` says so.

mod data;
mod missed;
mod news;
mod place;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use explaind_core::domain::record::Record;
use futures::stream::{self, Stream};
use schemars::SchemaGenerator;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::access::{Actor, Viewer};
use super::problem::Problem;
use super::time::Iso;
use crate::clock;
use data::{Data, Heartbeat, Hello, Reset};
use missed::Missed;
use news::{Gathered, News};
use place::Place;

/// Most listeners at once.
pub(crate) const MOST_STREAMS: usize = 64;
/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(250);
/// How often predictions are told of, per asset.
const PREDICTIONS: Duration = Duration::from_secs(1);
/// How often something is said when there is nothing to say; also how often the sign-in is looked at.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Explanations that are waited for. With more, the listener is told to read anew.
const MOST_OPEN: usize = 4096;
/// How long a browser waits before it comes back by itself.
const RETRY: Duration = Duration::from_secs(2);

/// What the API's description says of the stream.
pub(crate) const WHAT: &str = "Events `hello` (first), `alert`, `feedback`, `explanation`, `prediction` (of each asset at \
    most one a second), `gateway`, `heartbeat` (every 15 s) and `reset`, each with JSON as its data (`x-explaind-events`). With the id of the last \
    event heard in `Last-Event-ID`, what came since follows, nothing twice; `reset` says that this is too much or not kept \
    any more, and everything is to be read anew.";

/// The header with the id of the event that a listener heard last.
pub(crate) struct Last(Option<String>);

impl<S: Sync> FromRequestParts<S> for Last {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default().to_owned());
        // A browser that has heard no id says nothing.
        Ok(Self(id.filter(|id| !id.is_empty())))
    }
}

/// `GET /api/v1/events`.
pub(crate) async fn stream(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Last(last): Last,
) -> Result<Response, Problem> {
    let place_taken = Arc::clone(&web.streams)
        .try_acquire_owned()
        .map_err(|_| Problem::busy(format!("there are already {MOST_STREAMS} listeners; close a page elsewhere")))?;
    // From here on nothing is missed; what is read below comes once more, and is known by its number.
    let news = web.buffer.subscribe();
    let now = Instant::now();
    let known = last.as_ref().map(|last| last.parse::<Place>());
    let place = match &known {
        Some(Ok(place)) => place.clone(),
        Some(Err(())) => Place::default(),
        None => web.off_thread(|web| Ok(missed::now(&web.buffer))).await?,
    };
    let mut listener = Listener {
        web,
        actor,
        news,
        gathered: Gathered::default(),
        place,
        ready: VecDeque::new(),
        behind: known.is_some(),
        flush_at: known.is_some().then_some(now),
        predictions_at: now,
        heartbeat_at: now + HEARTBEAT,
        _place: place_taken,
    };
    if matches!(known, Some(Err(()))) {
        listener.place.lost = true;
    }
    let hello = Data::Hello(Hello { at: Iso(clock::now().utc), resumes: known.is_some() });
    let event = event(&hello).retry(RETRY);
    // What is unknown here must not come back as if it were known.
    listener.ready.push_back(if listener.place.lost { event } else { event.id(listener.place.to_string()) });
    Ok(Sse::new(listener.into_stream()).into_response())
}

/// An event without an id.
fn event(data: &Data) -> Event {
    Event::default().event(data.name()).data(data.text())
}

/// What the events say, for the API's description.
pub(crate) fn schemas(generator: &mut SchemaGenerator) -> Value {
    data::schemas(generator)
}

struct Listener {
    web: Shared,
    actor: Actor,
    news: Receiver<Arc<Record>>,
    gathered: Gathered,
    /// Up to where all was told.
    place: Place,
    ready: VecDeque<Event>,
    /// Whether what is to be told must be read from the records.
    behind: bool,
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
                () = sleep_until(flush_at), if self.flush_at.is_some() => {
                    if self.behind { self.catch_up().await } else { self.flush() }
                }
                news = self.news.recv() => self.take(news)?,
            }
        }
    }

    fn take(&mut self, news: Result<Arc<Record>, RecvError>) -> Option<()> {
        match news {
            Ok(record) if !self.behind => self.gathered.add(&record, &mut self.place),
            // It is read with the others.
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => self.fall_behind(),
            Err(RecvError::Closed) => return None,
        }
        if self.place.open.len() > MOST_OPEN {
            self.place.lost = true;
        }
        if self.gathered.is_too_much() || self.place.open.len() > MOST_OPEN {
            self.fall_behind();
        }
        let now = Instant::now();
        if self.gathered.is_empty() && !self.behind {
            return Some(());
        }
        let only_predictions = !self.behind && self.gathered.only_predictions();
        let at = if only_predictions { self.predictions_at.max(now + GATHER) } else { now + GATHER };
        // Something more urgent may come while predictions wait.
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
        Some(())
    }

    fn fall_behind(&mut self) {
        self.gathered = Gathered::default();
        self.behind = true;
    }

    fn flush(&mut self) {
        let now = Instant::now();
        let with_predictions = now >= self.predictions_at;
        if with_predictions {
            self.predictions_at = now + PREDICTIONS;
        }
        let news = self.gathered.drain(with_predictions);
        self.tell(news);
        self.flush_at = self.gathered.has_predictions().then_some(self.predictions_at);
    }

    /// Each event says what was told with it and before.
    fn tell(&mut self, news: Vec<News>) {
        for News { data, step } in news {
            self.place.step(step);
            self.ready.push_back(event(&data).id(self.place.to_string()));
        }
    }

    /// Tells what was missed, from the records; or that everything is to be read anew.
    async fn catch_up(&mut self) {
        let place = self.place.clone();
        let missed = self.web.off_thread(move |web| Ok(missed::since(&web.buffer, &place)?)).await;
        self.behind = false;
        self.flush_at = None;
        self.predictions_at = Instant::now() + PREDICTIONS;
        let why = match missed {
            Ok(Some(Missed { news, from, to })) => {
                self.place = from;
                self.tell(news);
                self.place = to;
                return;
            }
            Ok(None) => "more has happened than is told again, or it is not kept any more".to_owned(),
            Err(problem) => problem.detail,
        };
        if let Ok(now) = self.web.off_thread(|web| Ok(missed::now(&web.buffer))).await {
            self.place = now;
        }
        let reset = Data::Reset(Reset { reason: why });
        self.ready.push_back(event(&reset).id(self.place.to_string()));
    }

    /// Says that the line is up, unless the sign-in is over.
    fn heartbeat(&mut self) -> Option<()> {
        let now = clock::now();
        if let Some(session) = &self.actor.session {
            self.web.access.session(&session.key, now, false)?;
        } else if let Some(stamp) = &self.actor.account {
            let (role, known) = self.web.access.account(&self.actor.name)?;
            if (role, &known) != (self.actor.role, stamp) {
                return None;
            }
        }
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        let event = event(&Data::Heartbeat(Heartbeat { at: Iso(now.utc) }));
        // Nobody has heard yet what is still to be read.
        self.ready.push_back(if self.behind { event } else { event.id(self.place.to_string()) });
        Some(())
    }
}
