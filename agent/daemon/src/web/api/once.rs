//! The key under which a client may send the same thing twice.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::json;

use super::describe::{Draft, Takes};
use crate::web::problem::Problem;

/// The header, by the name that the IETF's draft gives it.
const HEADER: &str = "Idempotency-Key";
/// Longest key.
const LONGEST: usize = 200;

/// The key, where one was given: with or without the quotes that the draft asks for.
pub(crate) struct Once(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if bare.is_empty() || bare.len() > LONGEST {
            let sentence = format!("{HEADER} is 1 to {LONGEST} characters of ASCII, best a fresh UUID");
            return Err(Problem::new(StatusCode::BAD_REQUEST, sentence));
        }
        Ok(Self(Some(bare.to_owned())))
    }
}

impl Takes for Once {
    fn describe(draft: &mut Draft<'_>) {
        let what = "Sent again under the same key, this is not stored again: the answer is that of the first time.";
        draft.in_headers(HEADER, what, &json!({ "type": "string", "minLength": 1, "maxLength": LONGEST }));
        draft.errors(&[400]);
    }
}
