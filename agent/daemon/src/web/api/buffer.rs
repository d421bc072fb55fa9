//! What the verbs `explaind buffer verify` and `export` ask of a daemon that runs: pieces of a check, and batches to carry.
//! Each request is bounded and leaves nothing behind that must be ended.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, NoContent, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::batches::PARQUET;
use super::body::Body;
use super::words::Parts;
use crate::buffer::{Part, Piece};
use crate::sync::{self, Begun, Place, Sent, SyncError};
use crate::web::Shared;
use crate::web::access::Engineer;
use crate::web::problem::Problem;

/// Where a batch is to go: its name.
pub(crate) const PATH: HeaderName = HeaderName::from_static("explaind-path");
/// Its first and its last number: `1-40`.
pub(crate) const NUMBERS: HeaderName = HeaderName::from_static("explaind-numbers");
/// Its stream.
pub(crate) const STREAM: HeaderName = HeaderName::from_static("explaind-stream");

/// Which piece.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Which part of all that is kept.
    #[schemars(with = "Parts")]
    part: String,
    /// Where the piece begins: `next` of the one before.
    #[serde(default)]
    #[schemars(range(max = u64::MAX))]
    after: u64,
}

/// One piece of a check of everything.
pub(crate) async fn check(
    State(web): State<Shared>,
    _: Engineer,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Piece>, Problem> {
    let part = Part::named(&wanted.part).ok_or_else(|| {
        let names = Part::all().into_iter().map(Part::as_str).collect::<Vec<_>>().join(", ");
        Problem::unknown(format!("there is no part of this name; there are {names}"))
    })?;
    web.off_thread(move |web| Ok(web.buffer.inspect(part, wanted.after)?)).await.map(Json)
}

/// Somebody has a medium, and says what is on it.
pub(crate) async fn begin(
    State(web): State<Shared>,
    _: Engineer,
    Body(place): Body<Place>,
) -> Result<Json<Begun>, Problem> {
    web.off_thread(move |web| Ok(sync::begin(&web.buffer, &place)?)).await.map(Json)
}

/// The next batch for it; 204 after the last one.
pub(crate) async fn next(
    State(web): State<Shared>,
    _: Engineer,
    Body(begun): Body<Begun>,
) -> Result<Response, Problem> {
    let batch = web.off_thread(move |web| Ok(sync::next(&web.buffer, &web.sync, &begun)?)).await?;
    let Some(batch) = batch else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let (first, last) = batch.numbers;
    let header = |text: String| HeaderValue::try_from(text).map_err(|error| Problem::busy(error.to_string()));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(PARQUET)),
        (PATH, header(batch.path)?),
        (STREAM, HeaderValue::from_static(batch.stream.as_str())),
        (NUMBERS, header(format!("{first}-{last}"))?),
    ];
    Ok((headers, batch.content).into_response())
}

/// A batch is safe on it.
pub(crate) async fn sent(State(web): State<Shared>, _: Engineer, Body(sent): Body<Sent>) -> Result<NoContent, Problem> {
    web.off_thread(move |web| Ok(sync::sent(&web.buffer, &sent)?)).await.map(|()| NoContent)
}

impl From<SyncError> for Problem {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Buffer(error) => error.into(),
            SyncError::Foreign(sentence) => Self::new(StatusCode::CONFLICT, sentence),
            other => {
                tracing::error!(error = %other, "a batch could not be carried");
                Self::busy(other.to_string())
            }
        }
    }
}
