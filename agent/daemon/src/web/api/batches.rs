//! Records for those who come for them: a stream from a cursor on, as NDJSON or Parquet.
//!
//! A cursor is the number of the last record that a collector has. It is given back in `Explaind-Next`, and whoever asks
//! without one goes on where they last said that they were. What was evicted before it was asked for is never passed
//! over in silence: the answer is 410, and says where to go on.

use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LINK, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::NEXT;
use super::path::Of;
use crate::clock;
use crate::sync::{Form, Names};
use crate::web::access::{Actor, Collector};
use crate::web::collectors::Account;
use crate::web::problem::Problem;
use crate::web::{Shared, Web};

/// What Parquet is called (IANA, 2024).
pub(super) const PARQUET: &str = "application/vnd.apache.parquet";
pub(super) const NDJSON: &str = "application/x-ndjson";
/// Records in an answer unless asked otherwise, and at most: some megabytes.
const USUAL: usize = 1000;
const MOST: usize = 5000;
/// Bytes that the records of an answer take in the store, at most but for the last one: as JSON they take some times that.
const MOST_BYTES: u64 = 4 << 20;

/// Which records.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The last one that the collector has.
    #[schemars(range(max = u64::MAX))]
    after: Option<u64>,
    /// Most that are given.
    #[schemars(range(min = 1, max = MOST))]
    limit: Option<usize>,
}

/// The next records of a stream that are final.
pub(crate) async fn pull(
    State(web): State<Shared>,
    Collector(actor): Collector,
    Of(stream): Of,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let limit = limit(wanted.limit)?;
    let form = form(&headers);
    web.off_thread(move |web| {
        let now = clock::now().utc;
        let account = account(&actor);
        let cursor = account.as_ref().and_then(|account| web.collectors.cursor(account, stream));
        let after = wanted.after.or(cursor).unwrap_or(0);
        let (first, through) = web.buffer.within(stream);
        if after.saturating_add(1) < first {
            return Err(gone(stream, first));
        }
        if after > through.max(first.saturating_sub(1)) {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                format!(
                    "the last record of {} is number {through}, so nothing can come after {after}; give the number of the \
                     last one that you have",
                    stream.as_str()
                ),
            ));
        }
        let (mut records, whole) = web.buffer.read_within(stream, after, limit, MOST_BYTES)?;
        // What was evicted while it was read is not in it, and must not look as if it never was.
        let first = web.buffer.within(stream).0;
        if after.saturating_add(1) < first {
            return Err(gone(stream, first));
        }
        if let Some(account) = account {
            arrived(web, &account, stream, after, now);
        }
        records.retain(|record| record.sequence <= through);
        // Numbers at the end may have no record: passed over, or set aside. Nobody is to ask for them for ever.
        let next = match records.last() {
            Some(last) if records.len() == limit || !whole => last.sequence,
            _ => through.max(after),
        };
        let body = form.write(stream, &records, Names::of(&web.buffer, web.sync.authors)).map_err(|error| Problem::busy(error.to_string()))?;
        let kind = HeaderValue::from_static(if form == Form::Parquet { PARQUET } else { NDJSON });
        let mut response = ([(CONTENT_TYPE, kind), (VARY, HeaderValue::from_static("accept"))], body).into_response();
        response.headers_mut().insert(NEXT, HeaderValue::from(next));
        if next < through
            && let Ok(link) = HeaderValue::try_from(format!("</api/v1/batches/{}?after={next}&limit={limit}>; rel=\"next\"", stream.as_str()))
        {
            response.headers_mut().insert(LINK, link);
        }
        Ok(response)
    })
    .await
}

/// The account that pulls; on the socket there is none, and nobody who looks through it is a collector.
fn account(actor: &Actor) -> Option<Account> {
    let stamp = actor.account.clone()?;
    Some(Account { name: actor.name.to_string(), stamp, role: actor.role })
}

/// Notes how far a collector has come. Without a registry, what all of them have may be evicted from now on.
fn arrived(web: &Web, account: &Account, stream: Stream, through: u64, now: Timestamp) {
    let find = |name: &str| {
        let (role, stamp) = web.access.account(name)?;
        Some(Account { name: name.to_owned(), stamp, role })
    };
    web.collectors.note(account, stream, through, now, find);
    if web.registry {
        return;
    }
    let uploaded = web.buffer.uploaded(stream);
    let Some(arrived) = web.collectors.arrived(stream, now, find).filter(|arrived| *arrived > uploaded) else { return };
    if let Err(error) = web.buffer.mark_sent(stream, (uploaded.saturating_add(1), arrived)) {
        tracing::warn!(%error, stream = stream.as_str(), "what collectors have is not marked as sent yet");
    }
}

/// What a collector is told that comes too late.
fn gone(stream: Stream, first: u64) -> Problem {
    let gone = first.saturating_sub(1);
    Problem::new(
        StatusCode::GONE,
        format!(
            "of {} the records up to {gone} are not kept any more; go on with after={gone}, and find in the stream health \
             what became of those before",
            stream.as_str()
        ),
    )
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(USUAL),
        Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("limit must be between 1 and {MOST}"))),
    }
}

/// Parquet for who asks for it by name, NDJSON for everybody else.
fn form(headers: &HeaderMap) -> Form {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds =
        accepted.flat_map(|line| line.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if kinds.any(|kind| kind.eq_ignore_ascii_case(PARQUET)) { Form::Parquet } else { Form::Ndjson }
}
