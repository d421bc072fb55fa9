//! What machines and the terminal read and write: JSON under `/api/v1`, health and metrics.

mod alerts;
mod batches;
mod body;
mod buffer;
mod describe;
mod feedback;
mod forms;
mod models;
mod once;
mod openapi;
mod operations;
mod path;
mod predictions;
mod shapes;
pub(super) mod words;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, HeaderName, LINK};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use explaind_core::domain::record::{Record, Stream};
use serde::Serialize;
use serde_json::Value;

use super::access::Viewer;
use super::problem::Problem;
use super::{Shared, Web};

/// The cursor of the next page.
const NEXT: HeaderName = HeaderName::from_static("explaind-next");
/// Items on a page unless asked otherwise.
const USUAL: usize = 100;
/// Most items on a page.
const MOST: usize = 1000;
/// Records looked at for one page of a filtered listing; the cursor goes on from there.
const MOST_SCANNED: usize = 20_000;
/// Records read at a time while filtering.
const STRIDE: usize = 500;

/// The API's routes: those of the table of operations, and no other.
pub(crate) fn routes() -> Router<Shared> {
    operations::all().into_iter().fold(Router::new(), |router, one| router.route(one.path, one.route))
}

/// Whether the gateway lives.
async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(web): State<Shared>) -> Result<&'static str, Problem> {
    web.off_thread(|web| (web.ready)().map_err(Problem::busy)).await.map(|()| "ready\n")
}

async fn metrics(State(web): State<Shared>) -> Response {
    let wear = crate::buffer::wear();
    let written = [
        ("store", wear.store_bytes),
        ("journal", wear.journal_bytes),
        ("outbox", wear.outbox_bytes),
        ("side", wear.side_bytes),
    ];
    for (part, bytes) in written {
        web.metrics.buffer_written(part, bytes);
    }
    web.metrics.buffer_appended(wear.appended_records, wear.appended_bytes);
    if let Some(bytes) = wear.disk_written_bytes {
        web.metrics.disk_written(bytes);
    }
    for (asset, (judged, falsely)) in web.verdicts.judged() {
        web.metrics.alarm_nuisance(&asset, falsely as f64 / judged as f64);
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(CONTENT_TYPE, kind)], web.metrics.text()).into_response()
}

async fn status(State(web): State<Shared>, _: Viewer) -> Result<Told<shapes::Status>, Problem> {
    web.off_thread(|web| Ok(with_judged((web.status)(), &web.verdicts.judged()))).await.map(Told::new)
}

/// The status with what people said of each machine's alerts.
fn with_judged(mut status: Value, judged: &BTreeMap<String, (usize, usize)>) -> Value {
    for asset in status["assets"].as_array_mut().into_iter().flatten() {
        let (judged, falsely) = asset["id"].as_str().and_then(|id| judged.get(id)).copied().unwrap_or_default();
        asset["judged"] = judged.into();
        asset["nuisance_share"] = if judged > 0 { (falsely as f64 / judged as f64).into() } else { Value::Null };
    }
    status
}

/// JSON that other parts make, of the shape `T`: described by that, and held to it by the tests of the whole daemon.
struct Told<T>(Value, PhantomData<T>);

impl<T> Told<T> {
    fn new(value: Value) -> Self {
        Self(value, PhantomData)
    }
}

impl<T> IntoResponse for Told<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(USUAL),
        Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(_) => {
            Err(Problem::new(axum::http::StatusCode::BAD_REQUEST, format!("limit must be between 1 and {MOST}")))
        }
    }
}

/// One page of a listing: a JSON array, and the cursor of the next page in the headers.
struct Page<T> {
    items: Vec<T>,
    /// The value of `before` for the next page; `None` on the last one.
    next: Option<String>,
    /// Path and query without the cursor, for the `Link` header.
    base: String,
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.items).into_response();
        if let Some(next) = self.next {
            let link = format!("<{}before={next}>; rel=\"next\"", self.base);
            let headers = response.headers_mut();
            for (name, value) in [(NEXT, next), (LINK, link)] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
        }
        response
    }
}

/// Path and query of this request, ready for another `before=`.
fn base(uri: &axum::http::Uri) -> String {
    let kept =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("before="));
    let mut base = format!("{}?", uri.path());
    for pair in kept {
        base.push_str(pair);
        base.push('&');
    }
    base
}

/// The newest records of a stream before `before` that `keep` holds for, newest first, and where to go on.
fn scan(
    web: &Web,
    stream: Stream,
    before: Option<u64>,
    limit: usize,
    keep: impl Fn(&Record) -> bool,
) -> Result<(Vec<Record>, Option<u64>), Problem> {
    let mut found = Vec::new();
    let mut before = before;
    let mut scanned = 0;
    loop {
        let records = web.buffer.latest(stream, before, STRIDE)?;
        let exhausted = records.len() < STRIDE;
        for record in records {
            scanned += 1;
            before = Some(record.sequence);
            if keep(&record) {
                found.push(record);
            }
            if found.len() == limit || scanned == MOST_SCANNED {
                let more = before.is_some_and(|sequence| sequence > 1);
                return Ok((found, before.filter(|_| more)));
            }
        }
        if exhausted {
            return Ok((found, None));
        }
    }
}

/// What a listing's filter compares.
fn is(wanted: Option<&str>, given: &Arc<str>) -> bool {
    wanted.is_none_or(|wanted| wanted == &**given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_filters() {
        let base_of = |uri: &str| base(&uri.parse().unwrap());
        assert_eq!(base_of("/api/v1/alerts"), "/api/v1/alerts?");
        assert_eq!(base_of("/a?limit=5&before=7&asset=x"), "/a?limit=5&asset=x&");
    }
}
