//! HTTP to the registry: one client, with its secrets, certificates and limits.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use url::Url;

use super::RegistryError;
use super::upload::{Pace, SLOWEST, Upload};
use crate::secret::Secret;
use crate::tls;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a question may take, its answer included.
const QUESTION: Duration = Duration::from_secs(60);
/// The longest that we stay away because a server asks for it.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// How MLflow says that there is no such thing.
const MISSING: &str = "RESOURCE_DOES_NOT_EXIST";
/// The largest answer that is no file: the list of a folder with half a million batches.
const LARGEST_ANSWER: usize = 32 << 20;

/// How the server knows us.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// It lets everyone in.
    Open,
    /// By name and password.
    Password(String, Secret),
    /// By a bearer token.
    Token(Secret),
}

/// Where the server is and how to get there.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Its address, without a slash at the end.
    pub(super) url: Url,
    /// How it knows us.
    pub(super) access: Access,
    /// Who vouches for it, in place of the system's certificates.
    pub(super) ca_file: Option<PathBuf>,
    /// A proxy, in place of the environment's.
    pub(super) proxy: Option<Url>,
    /// How fast batches may go.
    pub(super) pace: Pace,
}

/// What is under a name, as against what should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Missing,
    /// Content of that size or less.
    Content(Vec<u8>),
    /// More content.
    Other,
    /// The server failed, as some do when there is nothing.
    Unclear,
}

/// A client for one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Http {
    route: Arc<Route>,
    /// Made with the first request, so that a certificate that cannot be read is told as any other failure; and made anew
    /// after a failure to connect, so that a renewed certificate needs no restart.
    client: Arc<Mutex<Option<Client>>>,
}

impl Http {
    pub(super) fn new(route: Route) -> Self {
        Self { route: Arc::new(route), client: Arc::default() }
    }

    /// The server's address, for people.
    pub(super) fn address(&self) -> &str {
        self.route.url.as_str().trim_end_matches('/')
    }

    /// Asks for JSON; `None` when there is no such thing.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>, RegistryError> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.ask(Method::GET, url, Some(QUESTION), |request| request).await?;
        self.json(path, answer).await
    }

    /// Sends JSON and reads JSON; `None` when what it is about does not exist.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Option<Value>, RegistryError> {
        let answer = self.ask(Method::POST, self.url(path), Some(QUESTION), |request| request.json(body)).await?;
        self.json(path, answer).await
    }

    /// Looks what is under the name of a file that should have `size` bytes.
    pub(super) async fn look(&self, path: &str, size: u64) -> Result<Look, RegistryError> {
        let within = QUESTION.saturating_add(Duration::from_secs(size / SLOWEST));
        let asked = self.ask(Method::GET, self.url(path), Some(within), |request| request);
        let answer = timeout(QUESTION, asked).await.map_err(|_| self.silent(path))??;
        match answer.status() {
            StatusCode::NOT_FOUND => self.json(path, answer).await.map(|_| Look::Missing),
            StatusCode::INTERNAL_SERVER_ERROR => Ok(Look::Unclear),
            _ => {
                let answer = self.succeeded(path, answer).await?;
                if answer.content_length().is_some_and(|found| found > size) {
                    return Ok(Look::Other);
                }
                let most = usize::try_from(size).unwrap_or(usize::MAX);
                let content = self.read(path, answer, most).await?;
                Ok(content.map_or(Look::Other, Look::Content))
            }
        }
    }

    /// Reads a file into another, of at most `most` bytes, and says how many it has; `None` when there is none.
    pub(super) async fn fetch(
        &self,
        path: &str,
        most: u64,
        into: &mut tokio::fs::File,
    ) -> Result<Option<u64>, RegistryError> {
        // What is limited is the time in which nothing comes: the whole may take as long as the link needs.
        let stalled = |_| self.failed(path, format!("nothing came for {} seconds", QUESTION.as_secs()));
        let asked = self.ask(Method::GET, self.url(path), None, |request| request);
        let answer = timeout(QUESTION, asked).await.map_err(stalled)??;
        if answer.status() == StatusCode::NOT_FOUND {
            return self.json(path, answer).await.map(|_| None);
        }
        let mut answer = self.succeeded(path, answer).await?;
        let mut got = 0_u64;
        loop {
            let piece = timeout(QUESTION, answer.chunk()).await.map_err(stalled)?;
            let Some(piece) = piece.map_err(|error| self.failed(path, chain(&error.without_url())))? else {
                return Ok(Some(got));
            };
            got = got.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if got > most {
                return Err(self.failed(
                    path,
                    format!("there are more than the {most} bytes that were announced or are accepted"),
                ));
            }
            into.write_all(&piece)
                .await
                .map_err(|error| self.failed(path, format!("it cannot be kept here: {error}")))?;
        }
    }

    /// Writes a file.
    pub(super) async fn put(&self, path: &str, content: Vec<u8>) -> Result<(), RegistryError> {
        let (upload, progress) = Upload::new(content, &self.route.pace);
        let sent = async {
            let body = reqwest::Body::wrap(upload);
            let answer = self.ask(Method::PUT, self.url(path), None, |request| request.body(body)).await?;
            self.succeeded(path, answer).await.map(drop)
        };
        tokio::select! {
            sent = sent => sent,
            waited = progress.stalled() => {
                Err(self.failed(path, format!("nothing got on for {} seconds", waited.as_secs())))
            }
        }
    }

    /// An address below the server's. Each part of the path is escaped, so that no name leads elsewhere.
    fn url(&self, path: &str) -> Url {
        let mut url = self.route.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        within: Option<Duration>,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let path = url.path().to_owned();
        let failed = |reason| self.failed(&path, reason);
        let client = self.client().await.map_err(failed)?;
        let request = fill(client.request(method, url));
        let request = within.into_iter().fold(request, RequestBuilder::timeout);
        let request = self.introduced(request).await.map_err(failed)?;
        request.send().await.map_err(|error| {
            if error.is_connect() {
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            failed(plain(chain(&error.without_url()), self.route.ca_file.as_deref()))
        })
    }

    /// The request, with who we are.
    async fn introduced(&self, request: RequestBuilder) -> Result<RequestBuilder, String> {
        let read = |secret: &Secret| {
            let secret = secret.clone();
            blocking(move || secret.read())
        };
        Ok(match &self.route.access {
            Access::Open => request,
            Access::Password(user, secret) => request.basic_auth(user, Some(read(secret).await?)),
            Access::Token(secret) => request.bearer_auth(read(secret).await?),
        })
    }

    async fn client(&self) -> Result<Client, String> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let route = Arc::clone(&self.route);
        let client = blocking(move || connect(&route)).await?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    async fn json(&self, path: &str, answer: Response) -> Result<Option<Value>, RegistryError> {
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            let text = self.body(path, answer, LARGEST_ANSWER).await?;
            // A 404 that is not the registry's own is rather a wrong address.
            let known = serde_json::from_slice::<Value>(&text).is_ok_and(|value| value["error_code"] == MISSING);
            let wrong = || self.failed(path, "there is no such address; is url that of an MLflow server?".to_owned());
            return if known { Ok(None) } else { Err(wrong()) };
        }
        let answer = self.succeeded(path, answer).await?;
        let text = self.body(path, answer, LARGEST_ANSWER).await?;
        let value = serde_json::from_slice(&text);
        value
            .map(Some)
            .map_err(|_| self.failed(path, "the answer is no JSON; is url that of an MLflow server?".to_owned()))
    }

    /// The answer, unless it is a refusal.
    async fn succeeded(&self, path: &str, answer: Response) -> Result<Response, RegistryError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let after = rest(status, answer.headers());
        let text = self.body(path, answer, LARGEST_ANSWER).await.unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&text).ok();
        let said = said.as_ref().and_then(|value| value["message"].as_str()).unwrap_or_default();
        let said: String = said.chars().take(300).collect();
        let reason = match status {
            StatusCode::UNAUTHORIZED => {
                format!("it does not let us in ({status}); check username and password, or the token")
            }
            StatusCode::FORBIDDEN => {
                format!("it does not let us do that ({status}); give the gateway's user the permission to edit. {said}")
            }
            _ => format!("{status} {said}"),
        };
        let failed = self.failed(path, reason.trim_end().to_owned());
        Err(match after {
            Some(after) => RegistryError::Busy { said: failed.to_string(), after },
            None if status == StatusCode::FORBIDDEN => RegistryError::Forbidden { said: failed.to_string() },
            None => failed,
        })
    }

    async fn body(&self, path: &str, answer: Response, most: usize) -> Result<Vec<u8>, RegistryError> {
        let content = self.read(path, answer, most).await?;
        content.ok_or_else(|| self.failed(path, format!("the answer has more than {most} bytes")))
    }

    /// The content of an answer; `None` when it has more bytes than that.
    async fn read(&self, path: &str, mut answer: Response, most: usize) -> Result<Option<Vec<u8>>, RegistryError> {
        let mut content = Vec::new();
        loop {
            let piece = timeout(QUESTION, answer.chunk()).await.map_err(|_| self.silent(path))?;
            let Some(piece) = piece.map_err(|error| self.failed(path, chain(&error.without_url())))? else { break };
            if content.len().saturating_add(piece.len()) > most {
                return Ok(None);
            }
            content.extend_from_slice(&piece);
        }
        Ok(Some(content))
    }

    fn silent(&self, path: &str) -> RegistryError {
        self.failed(path, format!("nothing came for {} seconds", QUESTION.as_secs()))
    }

    fn failed(&self, path: &str, reason: String) -> RegistryError {
        RegistryError::Server {
            address: self.address().to_owned(),
            path: format!("/{}", path.trim_start_matches('/')),
            reason,
        }
    }
}

/// Files are read where waiting for them holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

fn connect(route: &Route) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("explaind/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        // A peer that is gone is noticed, and a modem may change its cell meanwhile.
        .tcp_user_timeout(QUESTION)
        // A server that sends us elsewhere would get our secrets there.
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls::configuration(route.ca_file.as_deref())?);
    let builder = match &route.proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(|error| chain(&error))?),
        None => builder,
    };
    builder.build().map_err(|error| chain(&error))
}

/// How long a server asks us to stay away, as far as we do: by seconds, or by a time of its own clock.
/// Source: RFC 9110, section 10.2.3.
fn rest(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let seconds = asked.parse().ok().or_else(|| {
        // Our clock may be wrong, so it is not asked.
        let time = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp().as_second());
        u64::try_from(time(asked)?.checked_sub(time(text(DATE)?)?)?).ok()
    })?;
    Some(Duration::from_secs(seconds).min(LONGEST_REST))
}

/// What went wrong with a connection, with what can be done where that is known.
fn plain(said: String, ca_file: Option<&Path>) -> String {
    let lower = said.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let advice = if says(&["unknownissuer"]) {
        match ca_file {
            Some(path) => format!("the server's certificate is not signed by one in {}", path.display()),
            None => "nobody this system trusts vouches for the server; give its CA's certificate as ca_file".to_owned(),
        }
    } else if says(&["notvalidforname", "not valid for name"]) {
        "the server's certificate is for another name; write url as the certificate has it".to_owned()
    } else if says(&["expired", "notvalidyet", "not valid yet"]) {
        "is this gateway's clock right?".to_owned()
    } else {
        return said;
    };
    format!("{said}: {advice}")
}

/// An error with all that caused it: reqwest's own words leave out the reason.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_patience_within_bounds() {
        let headers = |pairs: &[(reqwest::header::HeaderName, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
        };
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        let asked = |text: &str| rest(busy, &headers(&[(RETRY_AFTER, text)]));
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("99999999"), Some(LONGEST_REST));
        assert_eq!([asked("-1"), asked("soon"), asked("Wed, 21 Oct 2026 07:28:00 GMT")], [None; 3]);
        let by = |date: &str| {
            let date = (DATE, date);
            rest(busy, &headers(&[(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:00 GMT"), date]))
        };
        assert_eq!(by("Wed, 21 Oct 2026 07:27:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(by("Wed, 21 Oct 2026 07:29:00 GMT"), None, "that is over");
        assert_eq!(rest(StatusCode::OK, &headers(&[(RETRY_AFTER, "7")])), None);
    }
}
