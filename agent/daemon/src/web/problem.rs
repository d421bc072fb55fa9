//! Errors as RFC 9457 problem documents; the page shows the same sentence as HTML.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use explaind_core::domain::alert::Unfit;
use explaind_core::domain::command::Refusal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::buffer::BufferError;
use crate::question::Unanswered;
use crate::web::UsersError;

/// One error: a status, and one sentence that says what is wrong and what to do.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    retry_after: Option<u64>,
}

impl Problem {
    /// An error with this status and sentence.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    /// 422: understood, and not acceptable.
    pub(crate) fn unacceptable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 404.
    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 403.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 503: not now.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 429, with the seconds to wait.
    pub(crate) fn throttled(detail: impl Into<String>, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// The document itself.
    pub(crate) fn document(&self) -> Document {
        Document {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
        }
    }
}

/// An error as RFC 9457 has it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document {
    /// There is nothing to be read of the status beside what it says of itself.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status, in words.
    title: &'static str,
    /// That of the answer.
    status: u16,
    /// What is wrong and what to do, in one sentence.
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                axum::http::header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"explaind\", Cookie realm=\"explaind\""),
            );
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What the store says is logged in full; people get the part that helps them, and no paths of this machine.
impl From<BufferError> for Problem {
    fn from(error: BufferError) -> Self {
        tracing::error!(%error, "the buffer refused a request of the page or the API");
        let told = match error {
            BufferError::InUse { .. }
            | BufferError::Io { .. }
            | BufferError::Damaged { .. }
            | BufferError::Newer { .. } => "its log says why".to_owned(),
            other => other.to_string(),
        };
        Self::busy(format!("the gateway's store does not answer as it should: {told}"))
    }
}

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        Self::busy(error.to_string())
    }
}

impl From<Unanswered> for Problem {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Withheld | Unanswered::OfRule | Unanswered::NotRunning => {
                Self::new(StatusCode::CONFLICT, unanswered.to_string())
            }
            Unanswered::NoSuchSpace(_) => Self::unacceptable(unanswered.to_string()),
            Unanswered::Busy | Unanswered::Failed(_) => Self::busy(unanswered.to_string()),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownAlert(_) | Refusal::UnknownModel(_) => Self::unknown(refusal.to_string()),
            Refusal::NothingToRollBackTo(_) | Refusal::CannotRelease(_) => {
                Self::new(StatusCode::CONFLICT, refusal.to_string())
            }
            Refusal::Unfit(Unfit::Length) => Self::unacceptable(refusal.to_string()),
            Refusal::Unfit(_) => Self::new(StatusCode::CONFLICT, refusal.to_string()),
            Refusal::NotStored(_) | Refusal::Busy => Self::busy(refusal.to_string()),
        }
    }
}
