//! Records for those who come for them: a stream from a cursor on, as NDJSON or Parquet.
//!
//! A cursor is the number of the last record that a collector has. It is given back in `Explaind-Next`, and whoever asks
//! without one goes on where they last said that they were. What was evicted before it was asked for is never passed
//! over in silence: the answer is 410, and says where to go on.

use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LINK, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use explaind_core::domain::record::Stream;
use serde::Deserialize;

use super::NEXT;
use crate::sync::Form;
use crate::web::Shared;
use crate::web::access::Collector;
use crate::web::problem::Problem;

/// What Parquet is called (IANA, 2024).
const PARQUET: &str = "application/vnd.apache.parquet";
const NDJSON: &str = "application/x-ndjson";
/// Records in an answer unless asked otherwise, and at most: some megabytes.
const USUAL: usize = 1000;
const MOST: usize = 5000;

/// Which records.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The last one that the collector has.
    after: Option<u64>,
    limit: Option<usize>,
}

/// The next records of a stream that are final.
pub(crate) async fn pull(
    State(web): State<Shared>,
    Collector(actor): Collector,
    Path(name): Path<String>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let stream = stream(&name)?;
    let limit = limit(wanted.limit)?;
    let form = form(&headers);
    web.off_thread(move |web| {
        let after = wanted.after.or_else(|| web.collectors.cursor(&actor.name, stream)).unwrap_or(0);
        let (first, through) = web.buffer.within(stream);
        if after.saturating_add(1) < first {
            let gone = first.saturating_sub(1);
            return Err(Problem::new(
                StatusCode::GONE,
                format!(
                    "of {} the records up to {gone} are not kept any more; go on with after={gone}, and find in the \
                     stream health what became of those before",
                    stream.as_str()
                ),
            ));
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
        if wanted.after.is_some() {
            web.collectors.note(&actor.name, stream, after);
        }
        let mut records = web.buffer.read(stream, after, limit)?;
        records.retain(|record| record.sequence <= through);
        // Numbers at the end may have no record: passed over, or set aside. Nobody is to ask for them for ever.
        let next = match records.last() {
            Some(last) if records.len() == limit => last.sequence,
            _ => through.max(after),
        };
        let body = form.write(stream, &records).map_err(|error| Problem::busy(error.to_string()))?;
        let kind = HeaderValue::from_static(if form == Form::Parquet { PARQUET } else { NDJSON });
        let mut response = ([(CONTENT_TYPE, kind), (VARY, HeaderValue::from_static("accept"))], body).into_response();
        response.headers_mut().insert(NEXT, HeaderValue::from(next));
        if next < through
            && let Ok(link) = HeaderValue::try_from(format!("</api/v1/batches/{name}?after={next}&limit={limit}>; rel=\"next\""))
        {
            response.headers_mut().insert(LINK, link);
        }
        Ok(response)
    })
    .await
}

fn stream(name: &str) -> Result<Stream, Problem> {
    Stream::ALL.into_iter().find(|stream| stream.as_str() == name).ok_or_else(|| {
        let names = Stream::ALL.map(Stream::as_str).join(", ");
        Problem::unknown(format!("there is no stream of this name; there are {names}"))
    })
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
