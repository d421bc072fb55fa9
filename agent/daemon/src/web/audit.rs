//! Puts on record who did what, and who was refused.
//!
//! What is done is recorded each time. Refusals cost whoever is refused nothing, so they are recorded within a [rate](rate);
//! what was left out is counted, and said in the next record of its kind, or within a few minutes.

mod rate;

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use explaind_core::domain::record::{Audit, Body, NewRecord};

pub(crate) use rate::{Kind, Rate};

use super::Shared;
use super::access::{Actor, Identified, Peer};
use crate::clock;

/// How often it is looked for what is to be put on record.
const EVERY: Duration = Duration::from_secs(2);
/// Longest address of a request in a record.
const LONGEST_PATH: usize = 80;
/// Where records are handed to who comes for them, and to who carries them.
const PULLS: &str = "/api/v1/batches/";
const EXPORT: &str = "/api/v1/buffer/export/begin";

/// An audit record; the buffer adds the hashes that chain it to those before.
pub(crate) fn record(actor: &str, action: &str, object: &str, outcome: &str) -> NewRecord {
    let at = clock::now();
    NewRecord { id: clock::mint(at), at, body: Body::Audit(Audit::new(actor, action, object, outcome)) }
}

/// Stores an audit record on its own. When that fails, the log has it: a full disk must not keep people from seeing why
/// their machine stands still.
pub(crate) async fn note(web: &Shared, actor: &str, action: &str, object: &str, outcome: &str) {
    tracing::info!(actor, action, object, outcome, "audit");
    let record = record(actor, action, object, outcome);
    let stored = web.off_thread(move |web| Ok(web.buffer.append(vec![record]).map(drop)?)).await;
    if let Err(problem) = stored {
        tracing::error!(reason = %problem.detail, actor, action, object, outcome, "an audit record could not be stored");
    }
}

/// What a record says of a request that is refused: what it asked for, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    object: String,
    from: Source,
}

/// Where a request came from, as far as the connection tells.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    Address(IpAddr),
    User(u32),
    Unknown,
}

impl Asked {
    /// What there is to say of a request. Its path is somebody else's text: of bounded length, without a query, which may
    /// hold secrets, and the URI's own rules leave no control characters in it.
    pub(crate) fn of(request: &Request) -> Self {
        let path: String = request.uri().path().chars().take(LONGEST_PATH).collect();
        let from = request.extensions().get::<Peer>().map_or(Source::Unknown, Source::peer);
        Self { object: format!("{} {path}", request.method()), from }
    }

    /// A sign-in from this address.
    pub(crate) fn sign_in(from: IpAddr) -> Self {
        Self { object: "web".to_owned(), from: Source::Address(from) }
    }
}

impl Source {
    fn peer(peer: &Peer) -> Self {
        match peer {
            Peer::Tcp(address) => Self::Address(*address),
            Peer::Socket { uid, .. } => Self::User(*uid),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Address(address) => format!(", from {address}"),
            // Whose number that is, the actor says.
            Self::User(_) => ", on the socket".to_owned(),
            Self::Unknown => String::new(),
        }
    }
}

/// Puts a refusal on record, unless there were too many of its kind.
pub(crate) async fn refused(web: &Shared, kind: Kind, actor: &str, asked: &Asked, why: &str) {
    let Some(left_out) = web.rate.take(kind, &asked.from, clock::now()) else { return };
    let outcome = format!("refused: {why}{}{}", asked.from.text(), more(left_out));
    note(web, actor, kind.action(), &asked.object, &outcome).await;
}

/// Puts on record what was refused before it was asked who it came from: foreign hosts, and pages of other sites.
pub(crate) async fn strangers(State(web): State<Shared>, request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let response = next.run(request).await;
    let is_known = response.extensions().get::<Identified>().is_some();
    let why = match response.status() {
        StatusCode::MISDIRECTED_REQUEST => "a foreign host name",
        StatusCode::FORBIDDEN if !is_known => "asked for by another site, or through a proxy",
        _ => return response,
    };
    refused(&web, Kind::Origin, "unknown", &asked, why).await;
    response
}

/// What is on record of an answer to somebody who was let in: that their role was not enough, or that they took records.
pub(crate) async fn answered(web: &Shared, actor: &Actor, asked: &Asked, status: StatusCode) {
    let path = asked.object.split_once(' ').map_or("", |(_, path)| path);
    if status == StatusCode::FORBIDDEN {
        let why = format!("the role {} is not enough", actor.role.as_str());
        refused(web, Kind::Role, &actor.name, asked, &why).await;
    } else if let Some(stream) = path.strip_prefix(PULLS).filter(|_| status.is_success()) {
        let Some(left_out) = web.rate.take(Kind::Pull, (&actor.name, stream), clock::now()) else { return };
        let outcome = format!("done{}", more(left_out));
        note(web, &actor.name, Kind::Pull.action(), &format!("stream {stream}"), &outcome).await;
    } else if path == EXPORT && status.is_success() {
        // Within the rate of pulls: its own record waits for the next export, which must come to an end.
        let Some(left_out) = web.rate.take(Kind::Pull, (&actor.name, EXPORT), clock::now()) else { return };
        note(web, &actor.name, "export", "medium", &format!("done{}", more(left_out))).await;
    }
}

/// Sees to it, until all stops, that changes of accounts get on record, and what was left out.
pub(crate) async fn tend(web: Shared) {
    let mut interval = tokio::time::interval(EVERY);
    let mut failed = false;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = web.stop.cancelled() => return,
        }
        let taken = web
            .off_thread(|web| {
                web.access.take_changes(clock::now(), |records| Ok(web.buffer.append(records).map(drop)?))
            })
            .await;
        // Said once, and not at every try.
        if let Err(problem) = &taken
            && !failed
        {
            tracing::error!(reason = %problem.detail, "changes of accounts are not on record yet");
        }
        failed = taken.is_err();
        tell_left_out(&web).await;
    }
}

/// Says what was left out, where nothing else of its kind came to say it.
async fn tell_left_out(web: &Shared) {
    for (kind, count) in web.rate.overdue(clock::now()) {
        let outcome = format!("{count} more were left out");
        note(web, "unknown", kind.action(), "web", &outcome).await;
    }
}

fn more(left_out: u64) -> String {
    if left_out == 0 { String::new() } else { format!("; {left_out} more like it before this were left out") }
}
