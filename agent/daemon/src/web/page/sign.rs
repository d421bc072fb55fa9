//! Signing in and out.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Form, State};
use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::{layout, words};
use crate::clock;
use crate::web::access::{COOKIE, COOKIE_BY_TLS, Peer, Refused, Viewer, session_key};
use crate::web::audit::{Asked, Kind};
use crate::web::guard::wants_page;
use crate::web::problem::Problem;
use crate::web::wire::Wire;
use crate::web::{Shared, Web, audit};

/// Longest name that is looked at.
const LONGEST_NAME: usize = 64;

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    user: String,
    password: String,
}

/// `GET /sign-in`.
pub(crate) async fn form(State(web): State<Shared>) -> Markup {
    sheet(&web, None)
}

/// `POST /sign-in`.
pub(crate) async fn sign_in(
    State(web): State<Shared>,
    Extension(peer): Extension<Peer>,
    extensions: Extensions,
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
            with_cookie(Redirect::to("/").into_response(), &cookie(&headers, tls, &token, seconds))
        }
        Err(refused) => {
            note_refusal(&web, from, &name, &refused).await;
            refusal(&web, &headers, &refused)
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

fn refusal(web: &Web, headers: &HeaderMap, refused: &Refused) -> Response {
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
        (problem.status, sheet(web, Some(&problem))).into_response()
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
    with_cookie(super::to_sign_in(), &cookie(&headers, Wire::is_tls(&extensions), "", 0))
}

/// Out of reach of scripts and of other sites; with TLS, ours or that of a proxy, which the origin tells, never sent
/// without.
fn cookie(headers: &HeaderMap, tls: bool, token: &str, seconds: u64) -> String {
    let proxied = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if tls || proxied { "; Secure" } else { "" };
    let name = if tls { COOKIE_BY_TLS } else { COOKIE };
    format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn sheet(web: &Web, problem: Option<&Problem>) -> Markup {
    layout::bare(
        web,
        "Sign in",
        &html! {
            h1 { "Sign in" }
            @if let Some(problem) = problem {
                p .trouble role="alert" { (words::sentence(&problem.detail)) }
            }
            form .sign method="post" action="/sign-in" {
                label for="user" { "Name" }
                input #user name="user" type="text" required maxlength="64" autocomplete="username" autocapitalize="none"
                    spellcheck="false" autofocus;
                label for="password" { "Password" }
                input #password name="password" type="password" required maxlength="256" autocomplete="current-password";
                button .primary type="submit" { "Sign in" }
            }
            @if web.config.demo_accounts {
                p .note { "This is the demo: sign in as " code { "technician" } " or " code { "engineer" }
                    ", password " code { "demo" } "." }
            } @else {
                p .note { "Accounts are made on the gateway: " code { "explaind users add" } "." }
            }
        },
    )
}
