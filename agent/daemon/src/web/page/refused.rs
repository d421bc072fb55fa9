//! Errors on the page: as a page for people, as a document in their language for our own script.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use explaind_core::explain::words::Language;
use maud::html;

use super::{back, layout};
use crate::web::Web;
use crate::web::access::session_key;
use crate::web::guard::wants_page;
use crate::web::problem::Problem;
use crate::web::wire::Wire;
use crate::web::words::{Words, told};

/// Somebody who asked for something on the page, and may have to be told that it cannot be.
pub(crate) struct Asker {
    /// A person who sees the answer, rather than our script.
    person: bool,
    language: Language,
    /// Where they were.
    back: String,
    /// Whether they came with a sign-in of any kind.
    was_signed_in: bool,
}

impl Asker {
    /// `None` where a machine asks, by the API: it gets problem documents in English.
    pub(crate) fn of(web: &Web, request: &Request) -> Option<Self> {
        let (uri, headers) = (request.uri(), request.headers());
        if uri.path().starts_with("/api/") {
            return None;
        }
        let address = uri.path_and_query().map_or("/", |address| address.as_str());
        Some(Self {
            // At `/` there is nothing but the page, so whoever asks for it gets one.
            person: uri.path() == "/" || wants_page(headers),
            language: web.config.language.of(headers),
            back: back::view_of(address),
            was_signed_in: session_key(headers, Wire::is_tls(request.extensions())).is_some(),
        })
    }

    /// The error as this asker gets it.
    pub(crate) fn answer(&self, web: &Web, problem: &Problem) -> Response {
        let words = Words::of(self.language);
        let (text, technically) = told(self.language, problem);
        if !self.person {
            let mut problem = problem.clone();
            if self.language != Language::English {
                problem.detail = match technically {
                    Some(english) => format!("{text} {} {english}", words.page.technically),
                    None => text,
                };
            }
            return problem.into_response();
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            return Redirect::to(&back::through_sign_in(&self.back, self.was_signed_in)).into_response();
        }
        let content = html! {
            h1 { (words.page.error) }
            p role="alert" { (text) }
            @if let Some(english) = technically { p { (words.page.technically) " " q lang="en" { (english) } } }
            p { a .button href="/" { (words.page.back_to_alerts) } }
        };
        let page = layout::page_of_error(web, words, &content);
        (problem.status, page).into_response()
    }
}
