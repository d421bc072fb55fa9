//! Speaks HTTP with the running daemon over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use explaind_core::explain::words::Language;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::failure::{DATA, FORBIDDEN, Failure, IO, MISSING, UNAVAILABLE};
use crate::secret::Secret;

/// Longest wait for an answer: longer than the daemon lets anybody wait.
const PATIENCE: Duration = Duration::from_secs(40);
/// Largest answer taken.
const LARGEST: usize = 64 << 20;

/// How a verb finds the daemon.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Peer {
    /// The daemon's configuration, which says where its socket is
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "config")]
    pub(crate) socket: Option<PathBuf>,
    /// A file with the token that `explaind users add --token` printed, for whoever the socket does not know
    #[arg(long, value_name = "FILE", global = true, env = "EXPLAIND_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Peer {
    /// A client for the daemon meant. `by_config` finds the socket that a configuration (or the default one) names.
    pub(crate) fn client(
        &self,
        by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
    ) -> Result<Client, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => by_config(self.config.as_deref())?,
        };
        let mut client = Client::new(socket)?;
        client.token = self.token_file.as_deref().map(token).transpose()?;
        Ok(client)
    }
}

/// The header with the token in a file.
fn token(file: &Path) -> Result<HeaderValue, Failure> {
    let read = Secret::File(file.to_owned()).read().map_err(|fault| Failure::new(MISSING, fault))?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", read.trim())).ok().filter(|_| !read.trim().is_empty());
    if let Some(header) = &mut header {
        header.set_sensitive(true);
    }
    let wrong = || format!("{} holds no token; put there what `explaind users add --token` prints", file.display());
    header.ok_or_else(|| Failure::new(DATA, wrong()))
}

/// The language of the terminal, as browsers tell theirs.
fn language() -> &'static str {
    // In the order in which the C library looks.
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    let locale = set.into_iter().find(|locale| !locale.is_empty()).unwrap_or_default();
    Language::named(&locale).unwrap_or_default().code()
}

/// An answer that is a success.
pub(crate) struct Answer {
    headers: HeaderMap,
    /// Its content.
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client of one daemon. Each request takes a connection of its own.
pub(crate) struct Client {
    socket: PathBuf,
    token: Option<HeaderValue>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// A client for the daemon at this socket.
    pub(crate) fn new(socket: PathBuf) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(IO, format!("cannot start: {error}")))?;
        Ok(Self { socket, token: None, runtime })
    }

    /// Asks for a resource.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, None)
    }

    /// Sends JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request(Method::POST, path, Some(body))
    }

    /// Sends JSON for an answer that is none.
    pub(crate) fn post_for(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, Some(body))
    }

    /// Whether anybody listens.
    pub(crate) fn reaches(&self) -> Result<bool, Failure> {
        match self.runtime.block_on(UnixStream::connect(&self.socket)) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(false)
            }
            Err(error) => Err(self.unreached(&error)),
        }
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.ask(method, path, body)?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let body = body.map_or_else(String::new, Value::to_string);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT_LANGUAGE, language())
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::new(DATA, format!("\"{path}\" cannot be asked for: {error}")))?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        self.runtime.block_on(async {
            match timeout(PATIENCE, self.exchange(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unavailable("it does not answer in time; see its log")),
            }
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreached(&error))?;
        let broken = |error: hyper::Error| self.unavailable(&format!("the connection broke: {error}; try again"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|error| self.unavailable(&format!("its answer broke off or is too large: {error}")))?
            .to_bytes();
        driver.abort();
        if status.is_success() {
            return Ok(Answer { headers, body });
        }
        Err(refused(status, &serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    fn unreached(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                FORBIDDEN,
                format!("{socket} does not let you in; use sudo, or join the group it belongs to"),
            ),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
                UNAVAILABLE,
                format!("no explaind listens at {socket}; start it, or name another with --socket or --config"),
            ),
            _ => self.unavailable(&error.to_string()),
        }
    }

    pub(crate) fn unavailable(&self, why: &str) -> Failure {
        Failure::new(UNAVAILABLE, format!("explaind at {}: {why}", self.socket.display()))
    }
}

fn refused(status: StatusCode, problem: &Value) -> Failure {
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FORBIDDEN,
        StatusCode::NOT_FOUND | StatusCode::GONE => MISSING,
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => DATA,
        _ => UNAVAILABLE,
    };
    let detail = problem.get("detail").and_then(Value::as_str);
    let sentence = detail.map_or_else(|| format!("explaind answers {status} and no more"), str::to_owned);
    Failure::new(code, sentence)
}

/// A query's value, safe inside a path.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_daemon_is_a_sentence_and_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Client::new(folder.path().join("none.sock")).unwrap().get("/api/v1/status").unwrap_err();
        assert_eq!(failure.code, UNAVAILABLE);
        assert!(failure.sentence.contains("no explaind listens at"), "{}", failure.sentence);
    }

    #[test]
    fn answers_come_back_as_json_and_refusals_as_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("some.sock");
        let client = Client::new(socket.clone()).unwrap();
        let refusal = || async { (StatusCode::NOT_FOUND, r#"{"detail":"no alert has the id 7"}"#) };
        let routes = axum::Router::new()
            .route("/alerts", axum::routing::get(|| async { "[1]" }).post(|body: String| async { body }))
            .route("/alerts/7", axum::routing::get(refusal));
        let listener = client.runtime.block_on(async { tokio::net::UnixListener::bind(socket) }).unwrap();
        client.runtime.spawn(async { axum::serve(listener, routes).await });
        assert_eq!(client.get("/alerts"), Ok(serde_json::json!([1])));
        let body = serde_json::json!({ "comment": "ä" });
        assert_eq!(client.post("/alerts", &body), Ok(body));
        assert_eq!(client.get("/alerts/7"), Err(Failure::new(MISSING, "no alert has the id 7")));
    }

    #[test]
    fn what_the_daemon_refuses_has_its_exit_code() {
        let problem = serde_json::json!({ "detail": "no alert has the id 7" });
        assert_eq!(refused(StatusCode::NOT_FOUND, &problem), Failure::new(MISSING, "no alert has the id 7"));
        assert_eq!(refused(StatusCode::FORBIDDEN, &Value::Null).code, FORBIDDEN);
        assert_eq!(refused(StatusCode::SERVICE_UNAVAILABLE, &problem).code, UNAVAILABLE);
        assert_eq!(refused(StatusCode::UNPROCESSABLE_ENTITY, &problem).code, DATA);
    }

    #[test]
    fn a_token_is_one_line_of_a_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "abc123\n").unwrap();
        let header = token(&file).unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer abc123");
        assert!(!format!("{header:?}").contains("abc123"));
        for content in ["", "\n", "two\nlines\n"] {
            std::fs::write(&file, content).unwrap();
            let failure = token(&file).unwrap_err();
            assert!(failure.code == DATA && failure.sentence.contains("holds no token"), "{}", failure.sentence);
        }
        assert_eq!(token(&folder.path().join("none")).unwrap_err().code, MISSING);
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escaped("press 7&x=ä"), "press%207%26x%3D%C3%A4");
    }
}
