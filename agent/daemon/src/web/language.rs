//! In which language somebody gets sentences.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::request::Parts;
use explaind_core::explain::words::Language;
use serde::Deserialize;

use super::Shared;

/// `language` in the `[web]` table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Choice {
    /// What the browser, or the terminal, likes best.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// English for all.
    #[serde(rename = "en")]
    English,
    /// German for all.
    #[serde(rename = "de")]
    German,
}

/// The language for the answer to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reads(pub(crate) Language);

impl FromRequestParts<Shared> for Reads {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Shared) -> Result<Self, Infallible> {
        let asked = || parts.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(match web.config.language {
            Choice::Auto => Language::accepted(asked()),
            Choice::English => Language::English,
            Choice::German => Language::German,
        }))
    }
}
