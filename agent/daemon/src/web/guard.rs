//! What every request passes before and after its handler: is it meant for us, is it in time, is the answer safe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, LOCATION, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use tokio::time::timeout;

use super::access::{Peer, same_origin};
use super::problem::Problem;
use super::wire::{Guarded, Slow, Trick, Wire};
use super::{Shared, page};

/// Longest time from a request's head to its answer's head.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest text of an answer that is turned into a problem document.
const LONGEST_TEXT: usize = 4096;
/// Longest path with its query.
const LONGEST_ADDRESS: usize = 8192;

/// No script and no style but our own files, nothing from any other host, no frame around us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// With a certificate of the site's own, browsers insist on TLS for 30 days. Not with one made here: whoever throws that
/// away must be able to come back.
const INSIST: &str = "max-age=2592000";

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
/// change that another site's page asks for, and, with demo accounts, whatever came through a proxy. On a port that is
/// for TLS, what came without is sent there.
pub(crate) async fn refuse_strangers(State(web): State<Shared>, request: Request, next: Next) -> Response {
    // Who speaks over the socket is known by the kernel's word; browsers can't reach it.
    if !matches!(request.extensions().get::<Peer>(), Some(Peer::Tcp(_))) {
        return next.run(request).await;
    }
    if let Some(problem) = oversized(&request).or_else(|| stranger(&web.config, &request)) {
        return problem.into_response();
    }
    if request.extensions().get::<Wire>().is_some_and(|wire| wire.guarded == Guarded::Misplaced) {
        return by_tls(&request);
    }
    if is_trick(request.uri().path()) {
        let mut response = no_such_page().await.into_response();
        response.extensions_mut().insert(Trick);
        return response;
    }
    let slow = request.extensions().get::<Slow>().cloned();
    let response = next.run(request).await;
    if response.status() == StatusCode::BAD_REQUEST && slow.is_some_and(|slow| slow.is()) {
        let sentence = "the body of the request came too slowly; send it again over a better link";
        return Problem::new(StatusCode::REQUEST_TIMEOUT, sentence).into_response();
    }
    response
}

/// What need not be read to be refused.
fn oversized(request: &Request) -> Option<Problem> {
    let headers = request.headers();
    if headers.contains_key(TRANSFER_ENCODING) {
        // Where two on the way disagree about a body's end, one request becomes two. What says how long it is cannot.
        let sentence = "a body must say how long it is, in Content-Length; chunks are not taken here";
        return Some(Problem::new(StatusCode::LENGTH_REQUIRED, sentence));
    }
    let length =
        headers.get(CONTENT_LENGTH).map(|length| length.to_str().ok().and_then(|text| text.parse::<u64>().ok()));
    if length.is_some_and(|length| length.is_none_or(|length| length > super::LARGEST_BODY as u64)) {
        return Some(too_large());
    }
    if request.uri().path_and_query().is_some_and(|asked| asked.as_str().len() > LONGEST_ADDRESS) {
        let sentence = format!("an address may have at most {LONGEST_ADDRESS} bytes");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, sentence));
    }
    None
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request may have at most {} bytes", super::LARGEST_BODY))
}

fn stranger(config: &super::Config, request: &Request) -> Option<Problem> {
    let headers = request.headers();
    let bad = |sentence| Some(Problem::new(StatusCode::BAD_REQUEST, sentence));
    let mut given = headers.get_all(HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else {
        return bad("a request must have one header Host, with the name of the gateway");
    };
    let host = host.to_str().unwrap_or_default();
    if request.uri().authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return bad("the address and the header Host name different hosts; this gateway is no proxy");
    }
    if !knows_host(host, &config.hosts, request.extensions().get::<Wire>()) {
        let sentence = "this gateway does not go by that host name; ask for localhost, or add the name to [web] hosts";
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, sentence));
    }
    if config.demo_accounts && is_forwarded(headers) {
        let sentence = "with demo_accounts the page is for this machine only, and this request came through a proxy; \
                        make real accounts with `explaind users add` and turn demo_accounts off";
        return Some(Problem::forbidden(sentence));
    }
    if !request.method().is_safe() && !same_origin(headers, Wire::is_tls(request.extensions())) {
        return Some(Problem::forbidden(
            "this change was asked for by a page of another site; open the gateway's own page",
        ));
    }
    None
}

/// Beside loopback and the configured names: our own address, which no page elsewhere can be at, and with TLS the
/// machine's name, which its certificate has.
fn knows_host(host: &str, hosts: &[String], wire: Option<&Wire>) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    name.eq_ignore_ascii_case("localhost")
        || ip.is_some_and(|ip| ip.is_loopback() || wire.is_some_and(|wire| wire.local == ip))
        || wire.and_then(|wire| wire.host.as_deref()).is_some_and(|own| own.eq_ignore_ascii_case(name))
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(bare.unwrap_or(name)))
        || ip.is_some_and(|ip| hosts.iter().any(|known| known.parse() == Ok(ip)))
}

/// Where a person looks for the page without TLS, they are sent to it. Anything else has said too much already.
fn by_tls(request: &Request) -> Response {
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if request.method().is_safe() && asked.starts_with('/') {
        Redirect::temporary(&format!("https://{host}{asked}")).into_response()
    } else {
        let sentence =
            "this port speaks TLS: ask for https://, and change what was just sent in the clear if it is secret";
        Problem::new(StatusCode::BAD_REQUEST, sentence).into_response()
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Whether this path tries to be another one somewhere behind: no address here has any of these.
fn is_trick(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    ["%00", "%2f", "%5c", "%2e%2e", ".%2e", "%2e.", "\\", "//"].iter().any(|trick| lower.contains(trick))
        || lower.split('/').any(|part| matches!(part, "." | ".." | "%2e"))
        || !path.starts_with('/') && path != "*"
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
    let may_have_body = !request.method().is_safe()
        || [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| request.headers().contains_key(name));
    let insists = request.extensions().get::<Wire>().is_some_and(|wire| wire.guarded == Guarded::Tls { own: true });
    let mut response = next.run(request).await;
    let is_refused = response.status().is_client_error() || response.status().is_server_error();
    if is_refused {
        response = sentence(response).await;
        if let Some(asker) = asker
            && let Some(problem) = response.extensions().get::<Problem>().cloned()
        {
            let mut page = asker.answer(&web, &problem);
            page.extensions_mut().insert(problem);
            if let Some(trick) = response.extensions().get::<Trick>() {
                page.extensions_mut().insert(*trick);
            }
            response = keep_headers(&response, page);
        }
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if insists {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(INSIST));
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
        StatusCode::PAYLOAD_TOO_LARGE => too_large().detail,
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

    fn wire(local: &str, host: Option<&str>) -> Wire {
        Wire { local: local.parse().unwrap(), guarded: Guarded::Tls { own: false }, host: host.map(Into::into) }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let hosts = ["press-shop.example".to_owned(), "2001:db8::9".to_owned()];
        for ours in [
            "localhost",
            "LOCALHOST:8090",
            "127.0.0.1:1",
            "127.3.2.1",
            "[::1]:8090",
            "[::1]",
            "Press-Shop.example:443",
            "[2001:db8::9]:8090",
        ] {
            assert!(knows_host(ours, &hosts, None), "{ours}");
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
            "gateway-3",
        ] {
            assert!(!knows_host(foreign, &hosts, None), "{foreign}");
        }
    }

    #[test]
    fn the_address_that_was_dialled_and_the_machines_name_are_our_own_too() {
        let here = wire("192.0.2.2", Some("gateway-3"));
        assert!(knows_host("192.0.2.2:8443", &[], Some(&here)) && knows_host("Gateway-3:8443", &[], Some(&here)));
        assert!(knows_host("[2001:db8::7]:8443", &[], Some(&wire("2001:db8::7", None))));
        for foreign in ["192.0.2.3", "[2001:db8::7]", "gateway-33", "gateway-3.evil.example"] {
            assert!(!knows_host(foreign, &[], Some(&here)), "{foreign}");
        }
    }

    #[test]
    fn paths_that_try_to_be_others_are_known() {
        for trick in
            ["/..%2f", "/a/%2E%2e/b", "/a/../b", "/%2e", "/a%00", "/a%5Cb", "//evil.example", "/.%2e/etc", "x", "/a//b"]
        {
            assert!(is_trick(trick), "{trick}");
        }
        for fine in ["/", "/api/v1/models/a..b/stop", "/assets/app.css", "/a%20b", "*", "/.well-known/x"] {
            assert!(!is_trick(fine), "{fine}");
        }
    }
}
