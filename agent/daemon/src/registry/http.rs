//! HTTP to the registry: one client, with its secrets, certificates and limits.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::RegistryError;
use crate::secret::Secret;
use crate::tls;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a question may take, its answer included.
const QUESTION: Duration = Duration::from_secs(60);
/// How long a batch may take: several megabytes over a slow uplink.
const TRANSFER: Duration = Duration::from_secs(900);
/// How MLflow says that there is no such thing.
const MISSING: &str = "RESOURCE_DOES_NOT_EXIST";
/// The largest answer that is no file.
const LARGEST_ANSWER: usize = 16 << 20;

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
        let answer = self.ask(Method::GET, url, QUESTION, |request| request).await?;
        self.json(path, answer).await
    }

    /// Sends JSON and reads JSON; `None` when what it is about does not exist.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Option<Value>, RegistryError> {
        let answer = self.ask(Method::POST, self.url(path), QUESTION, |request| request.json(body)).await?;
        self.json(path, answer).await
    }

    /// Reads a file of at most `most` bytes; `None` when it is not there.
    pub(super) async fn file(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, RegistryError> {
        let answer = self.ask(Method::GET, self.url(path), TRANSFER, |request| request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = self.succeeded(path, answer).await?;
        self.body(path, answer, most).await.map(Some)
    }

    /// Writes a file.
    pub(super) async fn put(&self, path: &str, content: Vec<u8>) -> Result<(), RegistryError> {
        let answer = self.ask(Method::PUT, self.url(path), TRANSFER, |request| request.body(content)).await?;
        self.succeeded(path, answer).await.map(drop)
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
        within: Duration,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let path = url.path().to_owned();
        let failed = |reason| self.failed(&path, reason);
        let client = self.client().await.map_err(failed)?;
        let request = fill(client.request(method, url).timeout(within));
        let request = self.introduced(request).await.map_err(failed)?;
        request.send().await.map_err(|error| {
            if error.is_connect() {
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            failed(chain(&error.without_url()))
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
        let text = self.body(path, answer, LARGEST_ANSWER).await.unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&text).ok();
        let said = said.as_ref().and_then(|value| value["message"].as_str()).unwrap_or_default();
        let reason = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("it does not let us in ({status}); check username and password, or the token")
            }
            _ => format!("{status} {}", said.chars().take(300).collect::<String>()),
        };
        Err(self.failed(path, reason.trim_end().to_owned()))
    }

    async fn body(&self, path: &str, mut answer: Response, most: usize) -> Result<Vec<u8>, RegistryError> {
        let mut content = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.failed(path, chain(&error.without_url())))? {
            if content.len().saturating_add(piece.len()) > most {
                return Err(self.failed(path, format!("the answer has more than {most} bytes")));
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
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
        // A server that sends us elsewhere would get our secrets there.
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls::configuration(route.ca_file.as_deref())?);
    let builder = match &route.proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(|error| chain(&error))?),
        None => builder,
    };
    builder.build().map_err(|error| chain(&error))
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
