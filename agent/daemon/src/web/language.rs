//! In which language somebody reads.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_LANGUAGE, COOKIE};
use axum::http::request::Parts;
use explaind_core::explain::words::Language;
use serde::Deserialize;

use super::Shared;

/// The cookie that keeps what somebody chose on the page.
pub(crate) const CHOSEN: &str = "explaind_language";

/// `language` in the `[web]` table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Choice {
    /// What the browser, or the terminal, likes best.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// English for all who have not chosen.
    #[serde(rename = "en")]
    English,
    /// German for all who have not chosen.
    #[serde(rename = "de")]
    German,
}

impl Choice {
    /// The language for the answer to a request: what this reader chose, else what is configured, else what the browser
    /// likes best.
    pub(crate) fn of(self, headers: &HeaderMap) -> Language {
        let accepted = || headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match (chosen(headers), self) {
            (Some(language), _) => language,
            (None, Self::Auto) => Language::accepted(accepted()),
            (None, Self::English) => Language::English,
            (None, Self::German) => Language::German,
        }
    }
}

fn chosen(headers: &HeaderMap) -> Option<Language> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == CHOSEN).then(|| Language::named(value)).flatten()
    })
}

/// The language for the answer to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reads(pub(crate) Language);

impl FromRequestParts<Shared> for Reads {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Shared) -> Result<Self, Infallible> {
        Ok(Self(web.config.language.of(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_somebody_chose_counts_more_than_the_gateway_and_that_more_than_the_browser() {
        let headers = |pairs: &[(HeaderName, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let german = [(ACCEPT_LANGUAGE, "de-AT,de;q=0.9")];
        assert_eq!(Choice::Auto.of(&headers(&german)), Language::German);
        assert_eq!(Choice::English.of(&headers(&german)), Language::English);
        let chosen = [(ACCEPT_LANGUAGE, "en"), (COOKIE, "explaind_session=x; explaind_language=de")];
        assert_eq!(Choice::Auto.of(&headers(&chosen)), Language::German);
        assert_eq!(Choice::English.of(&headers(&chosen)), Language::German);
        let odd = [(COOKIE, "explaind_language=fr")];
        assert_eq!(Choice::German.of(&headers(&odd)), Language::German);
        assert_eq!(Choice::Auto.of(&headers(&odd)), Language::English);
    }
}
