//! Finds out who a request comes from, and lets it through or not.
//!
//! Every request passes [`identify`]; a handler that takes [`Viewer`], [`Technician`] or [`Collector`] cannot be reached by less. Every
//! change by a signed-in browser must carry the session's secret, whatever the handler does.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Form, FromRequest, FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE as COOKIE_HEADER, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use explaind_core::domain::feedback::UserRole;
use http_body_util::LengthLimitError;

use super::session::{Key, key};
use super::{Actor, Peer};
use crate::clock;
use crate::web::audit::{self, Asked, Kind};
use crate::web::problem::Problem;
use crate::web::wire::Wire;
use crate::web::{LARGEST_BODY, Shared};

/// The name of the cookie that holds a session's token.
pub(crate) const COOKIE: &str = "explaind_session";
/// The same with TLS: browsers take a cookie of such a name from this very host by TLS, and from nobody else.
pub(crate) const COOKIE_BY_TLS: &str = "__Host-explaind_session";
/// The header that carries the session's secret where there is no form.
const CSRF_HEADER: &str = "x-csrf-token";
/// The end of addresses that a page asks for by itself: they do not keep a session from becoming idle.
const BY_THEMSELVES: [&str; 2] = ["/live", "/api/v1/events"];
/// Nobody is signed in yet here, so there is no secret to carry; the origin is checked all the same.
const SIGN_IN: &str = "/sign-in";

/// A request by somebody who may look.
pub(crate) struct Viewer(pub(crate) Actor);

/// A request by somebody who may acknowledge and give feedback.
pub(crate) struct Technician(pub(crate) Actor);

/// A request by somebody who looks after the gateway itself.
pub(crate) struct Engineer(pub(crate) Actor);

/// A request by a machine that pulls batches, or by an engineer.
pub(crate) struct Collector(pub(crate) Actor);

impl<S: Sync> FromRequestParts<S> for Collector {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let actor = demand(parts, UserRole::Collector)?;
        if matches!(actor.role, UserRole::Collector | UserRole::Engineer) {
            return Ok(Self(actor));
        }
        Err(Problem::forbidden(format!(
            "records are pulled by the roles collector and engineer, and {} is {}; ask an engineer",
            actor.name,
            actor.role.as_str()
        )))
    }
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        demand(parts, UserRole::Viewer).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Engineer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        demand(parts, UserRole::Engineer).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Technician {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        demand(parts, UserRole::Technician).map(Self)
    }
}

fn demand(parts: &Parts, least: UserRole) -> Result<Actor, Problem> {
    match parts.extensions.get::<Actor>() {
        Some(actor) if actor.role >= least => Ok(actor.clone()),
        Some(actor) => Err(Problem::forbidden(format!(
            "this is for the role {} and up, and {} is {}; ask an engineer",
            least.as_str(),
            actor.name,
            actor.role.as_str()
        ))),
        None => match parts.extensions.get::<Peer>() {
            Some(Peer::Socket { name, .. }) => Err(Problem::forbidden(format!(
                "on the socket only root and the daemon's own user are let in, not {name}; use sudo, or a token (--token-file)"
            ))),
            _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "nobody is signed in; sign in at /sign-in")),
        },
    }
}

/// Adds the [`Actor`] to the request, where there is one, and checks that a change really comes from our own page.
pub(crate) async fn identify(State(web): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = admit(web, request, next).await;
    response.extensions_mut().insert(Identified);
    response
}

/// On every answer that came this far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identified;

async fn admit(web: Shared, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let actor = match (bearer(request.headers()), request.extensions().get::<Peer>()) {
        (Some(token), Some(_)) => Some(web.access.machine(token)),
        (None, peer) => match peer {
            Some(Peer::Socket { uid, name }) => web.access.on_socket(*uid, name).map(Some),
            Some(Peer::Tcp(_)) => session_key(request.headers(), Wire::is_tls(request.extensions())).and_then(|key| {
                let touch = !BY_THEMSELVES.iter().any(|end| request.uri().path().ends_with(end));
                web.access.session(&key, clock::now(), touch).map(Some)
            }),
            None => None,
        },
        (Some(_), None) => None,
    };
    let actor = match actor {
        Some(Some(actor)) => actor,
        Some(None) => return unknown_token(&web, &asked).await.into_response(),
        None => return by_nobody(&web, &asked, request, next).await,
    };
    if let Some(session) = &actor.session
        && !request.method().is_safe()
        && request.uri().path() != SIGN_IN
    {
        request = match carries_secret(request, &session.csrf).await {
            Ok(request) => request,
            Err(problem) => {
                if problem.status == StatusCode::FORBIDDEN {
                    audit::refused(&web, Kind::Secret, &actor.name, &asked, "without the secret of the sign-in").await;
                }
                return problem.into_response();
            }
        };
    }
    request.extensions_mut().insert(actor.clone());
    let is_sign_in = request.uri().path() == SIGN_IN;
    let response = next.run(request).await;
    if !is_sign_in {
        audit::answered(&web, &actor, &asked, response.status()).await;
    }
    response
}

/// A request by nobody who is known here. A user of this machine who is refused on the socket is named in the audit.
async fn by_nobody(web: &Shared, asked: &Asked, request: Request, next: Next) -> Response {
    let name = match request.extensions().get::<Peer>() {
        Some(Peer::Socket { name, .. }) => Some(Arc::clone(name)),
        _ => None,
    };
    let response = next.run(request).await;
    if let Some(name) = name.filter(|_| response.status() == StatusCode::FORBIDDEN) {
        audit::refused(web, Kind::Role, &name, asked, "no such user here").await;
    }
    response
}

/// The token that a machine carries.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn unknown_token(web: &Shared, asked: &Asked) -> Problem {
    audit::refused(web, Kind::Token, "unknown", asked, "no account has this token, or has it any more").await;
    Problem::new(StatusCode::UNAUTHORIZED, "no machine here has this token; make one with `explaind users add --token`")
}

/// The session named by the request's cookie. `tls`: whether the request came by TLS of our own.
pub(crate) fn session_key(headers: &HeaderMap, tls: bool) -> Option<Key> {
    let called = if tls { COOKIE_BY_TLS } else { COOKIE };
    let cookies = headers.get_all(COOKIE_HEADER).into_iter().filter_map(|value| value.to_str().ok());
    let token = cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == called).then_some(value)
    })?;
    Some(key(token))
}

/// Whether the browser says that the request comes from our own page, or there is no browser that could say so.
pub(crate) fn same_origin(headers: &HeaderMap, tls: bool) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(ORIGIN) {
        // Without TLS of ours there may be a proxy with some.
        let authority = text(ORIGIN.as_str()).and_then(|origin| {
            let plain = || origin.strip_prefix("http://").filter(|_| !tls);
            origin.strip_prefix("https://").or_else(plain)
        });
        return matches!((authority, text(HOST.as_str())), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b));
    }
    text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"))
}

#[derive(serde::Deserialize)]
struct Secret {
    csrf: String,
}

/// Passes the request on if it carries the session's secret in its header or its form.
async fn carries_secret(request: Request, secret: &Arc<str>) -> Result<Request, Problem> {
    if let Some(given) = request.headers().get(CSRF_HEADER) {
        return if same(given.as_bytes(), secret) { Ok(request) } else { Err(stale()) };
    }
    let is_form = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return Err(stale());
    }
    let (parts, body) = request.into_parts();
    let bytes = read(body).await?;
    let form = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
    match Form::<Secret>::from_request(form, &()).await {
        Ok(Form(given)) if same(given.csrf.as_bytes(), secret) => Ok(Request::from_parts(parts, Body::from(bytes))),
        _ => Err(stale()),
    }
}

/// Compares hashes, so that the time taken tells nothing about the secret.
fn same(given: &[u8], secret: &str) -> bool {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(given) == Sha256::digest(secret.as_bytes())
}

fn stale() -> Problem {
    Problem::forbidden(
        "this change does not carry the secret of your sign-in (form field csrf or header X-CSRF-Token); load the page \
         again and repeat it",
    )
}

/// A body of at most [`LARGEST_BODY`] bytes.
pub(crate) async fn read(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, LARGEST_BODY).await.map_err(|error| {
        let too_long = std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>());
        if too_long {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request may have at most {LARGEST_BODY} bytes"))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "the request broke off before its end; send it again")
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_foreign_origin_is_told_from_our_own() {
        let ours = [("host", "localhost:8090"), ("origin", "http://localhost:8090")];
        assert!(same_origin(&headers(&ours), false));
        for origin in
            ["http://evil.example", "http://localhost:8091", "null", "http://localhost:8090.evil.example", "file://"]
        {
            assert!(!same_origin(&headers(&[("host", "localhost:8090"), ("origin", origin)]), false), "{origin}");
        }
        let by_http = headers(&[("host", "localhost:8090"), ("origin", "http://localhost:8090")]);
        assert!(same_origin(&by_http, false) && !same_origin(&by_http, true), "with TLS no page of ours comes without");
        assert!(same_origin(&headers(&[("host", "localhost:8090")]), false), "no browser");
        assert!(!same_origin(&headers(&[("host", "localhost:8090"), ("sec-fetch-site", "cross-site")]), false));
        assert!(!same_origin(&headers(&[("host", "localhost:8090"), ("sec-fetch-site", "same-site")]), false));
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let wanted = key("abc");
        assert_eq!(session_key(&headers(&[("cookie", "a=b; explaind_session=abc; c=d")]), false), Some(wanted));
        assert_eq!(session_key(&headers(&[("cookie", "a=b"),]), false), None);
        assert_eq!(session_key(&headers(&[]), false), None);
        let planted = [("cookie", "explaind_session=planted; __Host-explaind_session=abc")];
        assert_eq!(session_key(&headers(&planted), true), Some(wanted));
        assert_eq!(session_key(&headers(&planted[..0]), true), None);
        assert_eq!(session_key(&headers(&[("cookie", "explaind_session=abc")]), true), None, "it came without TLS");
    }
}
