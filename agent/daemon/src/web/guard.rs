//! What every request passes before and after its handler: is it meant for us, is it in time, is the answer safe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderName, LOCATION, SET_COOKIE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::access::{Peer, same_origin};
use super::problem::Problem;
use super::{Shared, page};

/// Longest time from a request's head to its answer's head.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest text of an answer that is turned into a problem document.
const LONGEST_TEXT: usize = 4096;

/// No script and no style but our own files, nothing from any other host, no frame around us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// On every answer. The referrer policy keeps `Origin` on our own forms, which `no-referrer` would blank.
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Headers by which proxies say that a request is somebody else's.
const FORWARDED: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// Whatever no route knows.
pub(crate) async fn no_such_page() -> Problem {
    Problem::unknown("there is nothing at this address")
}

/// Refuses what is not meant for us: a foreign host name (a page elsewhere whose name was pointed at this machine), a
/// change that another site's page asks for, and, with demo accounts, whatever came through a proxy.
pub(crate) async fn refuse_strangers(State(web): State<Shared>, request: Request, next: Next) -> Response {
    match stranger(&web.config, &request) {
        None => next.run(request).await,
        Some(problem) => {
            tracing::warn!(path = request.uri().path(), reason = %problem.detail, "request refused");
            problem.into_response()
        }
    }
}

fn stranger(config: &super::Config, request: &Request) -> Option<Problem> {
    let headers = request.headers();
    // Who speaks over the socket is known by the kernel's word; browsers can't reach it.
    if !matches!(request.extensions().get::<Peer>(), Some(Peer::Tcp(_))) {
        return None;
    }
    if !knows_host(headers, &config.hosts) {
        let sentence = "this gateway does not go by that host name; ask for localhost, or add the name to [web] hosts";
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, sentence));
    }
    if config.demo_accounts && is_forwarded(headers) {
        let sentence = "with demo_accounts the page is for this machine only, and this request came through a proxy; \
                        make real accounts with `explaind users add` and turn demo_accounts off";
        return Some(Problem::forbidden(sentence));
    }
    if !request.method().is_safe() && !same_origin(headers) {
        return Some(Problem::forbidden(
            "this change was asked for by a page of another site; open the gateway's own page",
        ));
    }
    None
}

fn knows_host(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut given = headers.get_all(HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || (name.starts_with('[') && bare.parse::<Ipv6Addr>().is_ok_and(|ip| IpAddr::V6(ip).is_loopback()))
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-forwarded-") || FORWARDED.contains(&name.as_str()))
}

/// Gives up on requests that take too long, bodies that trickle in included.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy("this took too long; look whether it was done before you try again").into_response(),
    }
}

/// Makes every answer safe to show, and every error one sentence: a problem document, or a page for who asked for one.
pub(crate) async fn dress(State(web): State<Shared>, request: Request, next: Next) -> Response {
    let asker = page::Asker::of(&web, &request);
    let may_have_body = !request.method().is_safe();
    let mut response = next.run(request).await;
    let is_refused = response.status().is_client_error() || response.status().is_server_error();
    if is_refused {
        response = sentence(response).await;
        if let Some(asker) = asker
            && let Some(problem) = response.extensions().get::<Problem>()
        {
            response = keep_headers(&response, asker.answer(&web, problem));
        }
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if is_refused && may_have_body {
        // Its body may not have been read, which ends the connection: whoever sends the next request must know.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether this is a person with a browser. Our own script does not ask for HTML by name, so that it gets to see errors.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

/// The answer as a problem document, if it isn't one already, nor a page.
async fn sentence(response: Response) -> Response {
    let is_page = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page || response.extensions().get::<Problem>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match parts.status {
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take that method; see the header Allow".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => format!("a request may have at most {} bytes", super::LARGEST_BODY),
        _ if text.trim().is_empty() => parts.status.canonical_reason().unwrap_or("this did not work").to_owned(),
        _ => text.trim().to_owned(),
    };
    let problem = Problem::new(parts.status, detail).into_response();
    keep_headers(&Response::from_parts(parts, axum::body::Body::empty()), problem)
}

/// Headers that mean something beside the body they came with.
fn keep_headers(from: &Response, mut to: Response) -> Response {
    for name in [ALLOW, axum::http::header::RETRY_AFTER, SET_COOKIE, LOCATION] {
        if let Some(value) = from.headers().get(&name)
            && !to.headers().contains_key(&name)
        {
            to.headers_mut().insert(name, value.clone());
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, HeaderValue::from_static(text))])
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let hosts = ["press-shop.example".to_owned()];
        for ours in
            ["localhost", "LOCALHOST:8090", "127.0.0.1:1", "127.3.2.1", "[::1]:8090", "[::1]", "Press-Shop.example:443"]
        {
            assert!(knows_host(&host(ours), &hosts), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "::1",
            "[::2]",
            "",
            "localhost:x",
        ] {
            assert!(!knows_host(&host(foreign), &hosts), "{foreign}");
        }
        assert!(!knows_host(&HeaderMap::new(), &hosts));
        let mut two = host("localhost");
        two.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(!knows_host(&two, &hosts));
    }
}
