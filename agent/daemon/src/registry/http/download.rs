//! A file on its way in. Where it was cut off it goes on, if the server gives parts.
//!
//! What is limited is the time in which nothing gets on: the whole may take as long as the link needs.

use std::io::SeekFrom;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::{Http, SLOWEST, chain};
use crate::registry::RegistryError;

impl Http {
    /// Reads a file into another, of at most `most` bytes, and says how many it has; `None` when there is none.
    ///
    /// The first `there` bytes are taken to be in that other file already. A server that does not go on behind them gives the
    /// whole, which takes their place.
    pub(in crate::registry) async fn fetch(
        &self,
        path: &str,
        there: u64,
        most: u64,
        into: &mut File,
    ) -> Result<Option<u64>, RegistryError> {
        let mut answer = self.ask_from(path, there).await?;
        let mut from = begin(&answer, there);
        if from.is_none() && there > 0 {
            answer = self.ask_from(path, 0).await?;
            from = begin(&answer, 0);
        }
        if answer.status() == StatusCode::NOT_FOUND {
            return self.patiently(path, self.json(path, answer)).await?.map(|_| None);
        }
        let answer = self.patiently(path, self.succeeded(path, answer)).await??;
        let from = from.ok_or_else(|| self.failed(path, "it gave another part than was asked for".to_owned()))?;
        if is_page(answer.headers()) {
            let reason = "there came a web page in place of the file; does a proxy or a sign-in answer for the server?";
            return Err(self.failed(path, reason.to_owned()));
        }
        if answer.content_length().is_some_and(|size| size > most.saturating_sub(from)) {
            return Err(self.too_much(path, most));
        }
        let kept = |error| self.failed(path, format!("it cannot be kept here: {error}"));
        into.set_len(from).await.map_err(kept)?;
        into.seek(SeekFrom::Start(from)).await.map_err(kept)?;
        let got = self.copy(path, answer, from, most, into).await;
        // Also after a cut: the next try goes on behind what is there.
        into.flush().await.map_err(kept)?;
        match got? {
            got if got <= most => Ok(Some(got)),
            // Whatever it is, it is not what was announced.
            _ => {
                into.set_len(0).await.map_err(kept)?;
                Err(self.too_much(path, most))
            }
        }
    }

    /// Says how much is there then; more than `most` when it gave up.
    async fn copy(
        &self,
        path: &str,
        mut answer: Response,
        from: u64,
        most: u64,
        into: &mut File,
    ) -> Result<u64, RegistryError> {
        let mut got = from;
        let mut flow = Flow::new(self.patience);
        loop {
            let piece = self.patiently(path, answer.chunk()).await?;
            let Some(piece) = piece.map_err(|error| self.failed(path, chain(&error.without_url())))? else {
                return Ok(got);
            };
            let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            got = got.saturating_add(size);
            if got > most {
                return Ok(got);
            }
            if !flow.goes_on(size, Instant::now()) {
                return Err(self.failed(path, format!("less than {SLOWEST} bytes a second came")));
            }
            into.write_all(&piece)
                .await
                .map_err(|error| self.failed(path, format!("it cannot be kept here: {error}")))?;
        }
    }

    async fn ask_from(&self, path: &str, from: u64) -> Result<Response, RegistryError> {
        let asked = self.ask(Method::GET, self.url(path), None, |request| match from {
            0 => request,
            from => request.header(RANGE, format!("bytes={from}-")),
        });
        self.patiently(path, asked).await?
    }

    async fn patiently<T>(&self, path: &str, work: impl Future<Output = T>) -> Result<T, RegistryError> {
        timeout(self.patience, work).await.map_err(|_| self.silent(path))
    }

    /// That is no matter of the way: no further try makes it smaller.
    fn too_much(&self, path: &str, most: u64) -> RegistryError {
        let path = format!("{}/{}", self.address(), path.trim_start_matches('/'));
        let reason = format!("there are more than the {most} bytes that were announced or are accepted");
        RegistryError::Content { path, reason }
    }
}

/// Where the content of an answer begins in the file; `None` when that is no place that was asked for.
fn begin(answer: &Response, asked: u64) -> Option<u64> {
    match answer.status() {
        StatusCode::PARTIAL_CONTENT => first(answer.headers()).filter(|first| *first == asked),
        StatusCode::RANGE_NOT_SATISFIABLE => None,
        _ => Some(0),
    }
}

/// The number of the first byte. Source: RFC 9110, section 14.4.
fn first(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim_start().split_once('-')?.0.parse().ok()
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/html")
}

/// Whether as much comes as the slowest link gives. A server that drips would hold us for years otherwise.
pub(super) struct Flow {
    over: Duration,
    since: Option<Instant>,
    bytes: u64,
}

impl Flow {
    pub(super) fn new(over: Duration) -> Self {
        Self { over, since: None, bytes: 0 }
    }

    pub(super) fn goes_on(&mut self, bytes: u64, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.bytes = self.bytes.saturating_add(bytes);
        if now.duration_since(since) < self.over {
            return true;
        }
        let enough = self.bytes >= SLOWEST.saturating_mul(self.over.as_secs());
        (self.since, self.bytes) = (Some(now), 0);
        enough
    }
}
