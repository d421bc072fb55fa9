//! Signing in and out.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use explaind_core::explain::words::Language;
use maud::{Markup, html};
use serde::Deserialize;

use super::{back, layout};
use crate::clock;
use crate::web::access::{Actor, COOKIE, COOKIE_BY_TLS, Peer, Refused, SignedIn, Viewer, session_key};
use crate::web::audit::{Asked, Kind};
use crate::web::guard::wants_page;
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::wire::Wire;
use crate::web::words::{Words, told};
use crate::web::{Shared, Web, audit};

/// Longest name that is looked at.
const LONGEST_NAME: usize = 64;

/// Where to go afterwards, and whether a sign-in has just ended.
#[derive(Deserialize)]
pub(crate) struct Way {
    #[serde(default)]
    back: String,
    #[serde(default)]
    ended: bool,
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    user: String,
    password: String,
    #[serde(default)]
    back: String,
}

/// What the sheet shows beside its fields.
#[derive(Default)]
struct Shown<'a> {
    back: &'a str,
    ended: bool,
    problem: Option<&'a Problem>,
    session: Option<&'a SignedIn>,
}

/// `GET /sign-in`.
pub(crate) async fn form(
    State(web): State<Shared>,
    Reads(language): Reads,
    Query(way): Query<Way>,
    actor: Option<Extension<Actor>>,
) -> Markup {
    let session = actor.as_ref().and_then(|actor| actor.session.as_ref());
    sheet(&web, language, &Shown { back: &way.back, ended: way.ended, problem: None, session })
}

/// `POST /sign-in`.
pub(crate) async fn sign_in(
    State(web): State<Shared>,
    Extension(peer): Extension<Peer>,
    extensions: Extensions,
    Reads(language): Reads,
    headers: HeaderMap,
    Form(given): Form<Credentials>,
) -> Response {
    let Peer::Tcp(from) = peer else {
        return Problem::forbidden("on the socket nobody signs in: root and the daemon's own user are known")
            .into_response();
    };
    let (now, tls) = (clock::now(), Wire::is_tls(&extensions));
    let name: String = given.user.trim().chars().take(LONGEST_NAME).collect();
    match web.access.sign_in(from, &name, &given.password, now).await {
        Ok(token) => {
            audit::note(&web, &name, "sign_in", "web", "done").await;
            if let Some(old) = session_key(&headers, tls) {
                web.access.sign_out(&old);
            }
            let seconds = web.config.session_lifetime.as_secs();
            let there = Redirect::to(&back::safe(&given.back)).into_response();
            with_cookie(there, &cookie(&headers, tls, session_cookie(tls), &token, seconds))
        }
        Err(refused) => {
            note_refusal(&web, from, &name, &refused).await;
            refusal(&web, language, &headers, &given.back, &refused)
        }
    }
}

/// A refused sign-in goes on record, within a rate. The name only if it is an account: people type passwords there.
async fn note_refusal(web: &Shared, from: IpAddr, name: &str, refused: &Refused) {
    let (actor, why) = match refused {
        Refused::Wrong { known: true } => (name, "wrong password"),
        Refused::Wrong { known: false } => ("unknown", "no such account"),
        Refused::TooMany(_) => ("unknown", "too many tries"),
        Refused::Busy => return,
    };
    audit::refused(web, Kind::SignIn, actor, &Asked::sign_in(from), why).await;
}

fn refusal(web: &Web, language: Language, headers: &HeaderMap, back: &str, refused: &Refused) -> Response {
    let problem = match refused {
        Refused::Wrong { .. } => Problem::new(StatusCode::UNAUTHORIZED, "the name or the password is wrong"),
        Refused::TooMany(wait) => {
            let seconds = wait.as_secs() + 1;
            Problem::throttled(format!("too many tries; wait {seconds} s and try again"), seconds)
        }
        Refused::Busy => Problem::busy("others are signing in right now; try again in a moment"),
    };
    // For people the form itself, with the reason on it; for scripts the problem document.
    if wants_page(headers) {
        let shown = Shown { back, problem: Some(&problem), ..Shown::default() };
        (problem.status, sheet(web, language, &shown)).into_response()
    } else {
        problem.into_response()
    }
}

/// `POST /sign-out`.
pub(crate) async fn sign_out(
    State(web): State<Shared>,
    extensions: Extensions,
    headers: HeaderMap,
    Viewer(actor): Viewer,
) -> Response {
    if let Some(session) = &actor.session {
        web.access.sign_out(&session.key);
        audit::note(&web, &actor.name, "sign_out", "web", "done").await;
    }
    let tls = Wire::is_tls(&extensions);
    with_cookie(Redirect::to("/sign-in").into_response(), &cookie(&headers, tls, session_cookie(tls), "", 0))
}

/// The name of the cookie that keeps somebody signed in.
fn session_cookie(tls: bool) -> &'static str {
    if tls { COOKIE_BY_TLS } else { COOKIE }
}

/// Out of reach of scripts and of other sites; with TLS, ours or that of a proxy, which the origin tells, never sent
/// without.
pub(super) fn cookie(headers: &HeaderMap, tls: bool, name: &str, value: &str, seconds: u64) -> String {
    let proxied = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if tls || proxied { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

pub(super) fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn sheet(web: &Web, language: Language, shown: &Shown) -> Markup {
    let words = Words::of(language);
    let page = &words.page;
    let content = html! {
        h1 { (page.sign_in) }
        @if let Some(problem) = shown.problem {
            @let (text, technically) = told(language, problem);
            p .trouble role="alert" { (text) @if let Some(english) = technically { " " q lang="en" { (english) } } }
        } @else if shown.ended {
            p .note role="status" { (page.ended) }
        }
        form .sign method="post" action="/sign-in" {
            input type="hidden" name="back" value=(back::safe(shown.back));
            label for="user" { (page.sign_in_name) }
            input #user name="user" type="text" required maxlength="64" autocomplete="username" autocapitalize="none"
                spellcheck="false" autofocus;
            label for="password" { (page.password) }
            input #password name="password" type="password" required maxlength="256" autocomplete="current-password";
            button .primary type="submit" { (page.sign_in) }
        }
        @if web.config.demo_accounts {
            p .note {
                (layout::with_code(page.demo, &[("technician", "technician"), ("engineer", "engineer"), ("password", "demo")]))
            }
        } @else {
            p .note { (layout::with_code(page.accounts, &[("command", "explaind users add")])) }
        }
    };
    layout::sign_in(web, words, shown.session, &content)
}
