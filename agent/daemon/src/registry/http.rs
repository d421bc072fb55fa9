//! HTTP to the registry: one client, with its secrets, certificates and limits.

mod download;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
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
/// What is said of a page that answers in the server's place.
const NO_JSON: &str = "the answer is no JSON; is url that of an MLflow server, and does no proxy answer for it?";
/// How MLflow says that it does not like a name, and that there is no alias of that name.
const INVALID: &str = "INVALID_PARAMETER_VALUE";
/// The largest refusal that is read for its reason.
const LARGEST_REFUSAL: usize = 64 << 10;
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
    /// How long nothing may come.
    patience: Duration,
}

impl Http {
    pub(super) fn new(route: Route) -> Self {
        Self { route: Arc::new(route), client: Arc::default(), patience: QUESTION }
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

    /// Asks for JSON that is named in the query; `None` also when the server calls an unknown name an invalid one.
    pub(super) async fn get_named(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>, RegistryError> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.ask(Method::GET, url, Some(QUESTION), |request| request).await?;
        if answer.status() != StatusCode::BAD_REQUEST {
            return self.json(path, answer).await;
        }
        let text = self.body(path, answer, LARGEST_REFUSAL).await?;
        let value = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        if value["error_code"] == INVALID {
            return Ok(None);
        }
        let said: String = value["message"].as_str().unwrap_or_default().chars().take(300).collect();
        Err(self.failed(path, format!("{} {said}", StatusCode::BAD_REQUEST).trim_end().to_owned()))
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
        value.map(Some).map_err(|_| self.failed(path, NO_JSON.to_owned()))
    }

    /// The answer, unless it is a refusal.
    async fn succeeded(&self, path: &str, answer: Response) -> Result<Response, RegistryError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let after = rest(status, answer.headers());
        let text = self.body(path, answer, LARGEST_REFUSAL).await.unwrap_or_default();
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
            _ if status.is_redirection() => {
                format!(
                    "it sends us elsewhere ({status}); write url as the server calls itself, and without a sign-in page"
                )
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
        self.failed(path, format!("nothing came for {} seconds", self.patience.as_secs()))
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
