//! Brings the records home: closes batches, writes Parquet, uploads.
//!
//! A batch closes by size or age, and its bounds are on disk in the buffer before the first try to upload it; the
//! records between them never change any more. So each try, also after a crash, sends the same bytes under the same
//! name, and the registry takes them once. A batch of predictions closes only over those whose explanations are
//! settled. Feedback goes first: after each batch the streams are looked through from the most precious on.
//!
//! A gateway's folder belongs to one store. Another store with the same gateway name (a cloned card, a name used
//! twice) is stopped before it sends anything. A store that took over from one that was lost on the same machine
//! knows its predecessors, and goes on; its numbers begin above all that were ever given out there.

mod claim;
mod columns;
mod figures;
mod ndjson;
mod parquet;
mod pull;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;
use explaind_core::domain::units;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use pull::Form;
pub(crate) use status::Status;

use figures::Figures;
use parquet::{Encoder, ParquetError};
use status::{Lag, State};

use crate::backoff::Backoff;
use crate::buffer::{Buffer, BufferError, Closed, Pending};
use crate::clock;
use crate::registry::{Registry, RegistryError, batch_path};
use crate::telemetry::Metrics;

/// How long the last batches may take when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often streams are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Waits between tries while the registry is away.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often an idle gateway looks whether the registry's records of it are still its own.
const CLAIM_EVERY: Duration = Duration::from_secs(60);
/// How often the registry is shown figures about the gateway.
const FIGURES_EVERY: Duration = Duration::from_secs(60);
/// Records that are in memory at a time.
const PIECE: usize = 500;

/// `[sync]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// A batch closes when it has so many records.
    pub(crate) batch_records: u64,
    /// A batch closes when its oldest record is so old.
    #[serde(with = "units::duration")]
    pub(crate) batch_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch_records: 5000, batch_age: Duration::from_secs(60) }
    }
}

impl Config {
    /// Says what makes no sense, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1..=100_000).contains(&self.batch_records) {
            let sentence = format!("{} is no size for a batch; write 1 to 100000", self.batch_records);
            return Err(("batch_records", sentence));
        }
        Ok(())
    }
}

/// Why sync does not get on.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Buffer(#[from] BufferError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// The registry's records of this gateway belong to another store.
    #[error("{0}")]
    Foreign(String),
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Runs until `stop`, then sends what is there within ten seconds.
pub(crate) async fn run(
    buffer: Buffer,
    registry: Registry,
    config: Config,
    metrics: Metrics,
    status: Status,
    stop: CancellationToken,
) {
    status.change(|s| s.registry = registry.describe());
    let mut sync = Sync { buffer, registry, config, metrics, status, figures: Figures::default(), claimed: None };
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    while !stop.is_cancelled() {
        let wait = match sync.round(false, &stop).await {
            Ok(()) => {
                backoff.reset();
                LOOK_EVERY.min(sync.config.batch_age.max(Duration::from_millis(50)))
            }
            Err(error) => {
                sync.failed(&error);
                backoff.next()
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    match timeout(FAREWELL, sync.round(true, &CancellationToken::new())).await {
        Ok(Ok(())) if Stream::ALL.into_iter().all(|stream| sync.buffer.waiting(stream) == 0) => {
            tracing::info!("the registry has everything");
        }
        Ok(Ok(())) => tracing::info!("the registry has all but records whose explanation is not settled"),
        Ok(Err(error)) => tracing::warn!(%error, "the last records stay in the buffer until the next start"),
        Err(_) => {
            tracing::warn!("the registry takes too long; the last records stay in the buffer until the next start")
        }
    }
}

struct Sync {
    buffer: Buffer,
    registry: Registry,
    config: Config,
    metrics: Metrics,
    status: Status,
    figures: Figures,
    /// When the registry last said that its records of this gateway are this store's.
    claimed: Option<Instant>,
}

impl Sync {
    /// Sends every batch that is ripe; with `all`, every record that is final.
    async fn round(&mut self, all: bool, stop: &CancellationToken) -> Result<(), SyncError> {
        // First, so that the lag is told while the registry is away as well.
        self.measure().await?;
        // An idle gateway asks a server no more than once a minute.
        let asked = self.claimed.is_some_and(|claimed| claimed.elapsed() < CLAIM_EVERY);
        if !asked {
            self.claim().await?;
        }
        let mut fresh = !asked;
        while let Some((stream, batch)) = self.next(all).await? {
            if stop.is_cancelled() {
                return Ok(());
            }
            if !std::mem::replace(&mut fresh, true) {
                self.claim().await?;
            }
            tokio::select! {
                sent = self.send(stream, batch) => sent?,
                () = stop.cancelled() => return Ok(()),
            }
            self.measure().await?;
            self.status.change(|s| s.last_upload = Some(status::rfc3339(clock::now().utc)));
            self.works();
        }
        self.works();
        self.status.change(|s| s.state = State::Online);
        self.show_figures(all).await
    }

    /// Shows the registry what is known of this gateway, once a minute and at the end.
    async fn show_figures(&mut self, last: bool) -> Result<(), SyncError> {
        if !last && self.figures.shown.is_some_and(|shown| shown.elapsed() < FIGURES_EVERY) {
            return Ok(());
        }
        let (mut figures, buffer, status) =
            (std::mem::take(&mut self.figures), self.buffer.clone(), self.status.clone());
        let counted = tokio::task::spawn_blocking(move || -> Result<_, BufferError> {
            let list = figures.count(&buffer, &status.snapshot().streams)?;
            Ok((figures, list))
        });
        let (figures, list) = counted.await??;
        self.figures = figures;
        self.figures.shown = Some(Instant::now());
        // Batches matter, figures are a courtesy: a server that refuses them must not stop the records.
        if let Err(error) = self.registry.log(self.buffer.gateway(), &list).await {
            tracing::warn!(%error, "the registry does not take figures about this gateway");
        }
        Ok(())
    }

    /// Makes sure that the registry's records of this gateway are this store's.
    async fn claim(&mut self) -> Result<(), SyncError> {
        self.claimed = None;
        claim::claim(&self.buffer, &self.registry).await?;
        self.claimed = Some(Instant::now());
        Ok(())
    }

    fn works(&self) {
        if let Some(error) = self.status.change(|s| s.error.take()) {
            tracing::info!(error, "sync gets on again");
        }
    }

    /// Tells how far behind each stream is.
    async fn measure(&self) -> Result<(), SyncError> {
        let (buffer, metrics, status) = (self.buffer.clone(), self.metrics.clone(), self.status.clone());
        let measured = tokio::task::spawn_blocking(move || -> Result<(), BufferError> {
            let now = clock::now();
            let mut lags = Vec::new();
            for stream in Stream::ALL {
                let lag = lag(&buffer, stream, buffer.pending(stream)?.as_ref(), now);
                metrics.sync_lag(lag.stream, lag.lag_seconds);
                lags.push(lag);
            }
            status.change(|s| s.streams = lags);
            Ok(())
        });
        measured.await?.map_err(SyncError::Buffer)
    }

    /// The most precious batch that is closed, or can be.
    async fn next(&self, all: bool) -> Result<Option<(Stream, Closed)>, SyncError> {
        let (buffer, status, config) = (self.buffer.clone(), self.status.clone(), self.config.clone());
        let next = tokio::task::spawn_blocking(move || {
            let now = clock::now();
            for stream in Stream::ALL {
                let bounds = match buffer.closed(stream) {
                    Some(closed) => Some(closed),
                    None => buffer.pending(stream)?.and_then(|pending| ripe(&buffer, &config, &pending, now, all)),
                };
                let Some(bounds) = bounds else { continue };
                if Stream::ALL.into_iter().any(|stream| buffer.waiting(stream) > 2 * config.batch_records) {
                    status.change(|s| s.state = State::CatchingUp);
                }
                // On disk before the first try.
                return Ok(Some((stream, buffer.close(stream, bounds)?)));
            }
            Ok(None)
        });
        next.await?.map_err(SyncError::Buffer)
    }

    /// Uploads one batch and lets go of it.
    async fn send(&self, stream: Stream, batch: Closed) -> Result<(), SyncError> {
        let buffer = self.buffer.clone();
        let content = tokio::task::spawn_blocking(move || write(&buffer, stream, batch)).await??;
        if let Some(content) = content {
            let date = status::date(batch.closed_at);
            let path = batch_path(self.buffer.gateway(), stream, &date, batch.first, batch.last);
            self.put(&path, content).await?;
            tracing::debug!(path, "a batch is in the registry");
        }
        let buffer = self.buffer.clone();
        tokio::task::spawn_blocking(move || buffer.mark_uploaded(stream, batch.last)).await??;
        Ok(())
    }

    /// Puts a batch under its name. When that has other content, what is there stays, ours goes beside it under a name
    /// of its own, and it is recorded: nothing is lost, and a person must look.
    async fn put(&self, path: &str, content: Vec<u8>) -> Result<(), SyncError> {
        match self.registry.put(path, content.clone()).await {
            Ok(_) => return Ok(()),
            Err(RegistryError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let aside = claim::conflict_path(self.buffer.gateway(), path, &content);
        self.registry.put(&aside, content).await?;
        tracing::error!(path, aside, "the registry has other content under a batch's name; ours was put aside");
        self.status.change(|s| s.conflicts += 1);
        let buffer = self.buffer.clone();
        let evidence = vec![("path".to_owned(), path.to_owned()), ("aside".to_owned(), aside)];
        tokio::task::spawn_blocking(move || buffer.report(clock::now(), "sync", "conflict", evidence)).await?;
        Ok(())
    }

    fn failed(&self, error: &SyncError) {
        let text = error.to_string();
        let news = self.status.change(|s| {
            s.state = if matches!(error, SyncError::Foreign(_)) { State::Stopped } else { State::Offline };
            s.error.replace(text.clone()) != Some(text)
        });
        // Said once, not at every try.
        if news {
            tracing::warn!(%error, "sync does not get on");
        }
    }
}

/// The bounds of the next batch, when it is time to close it.
fn ripe(buffer: &Buffer, config: &Config, pending: &Pending, now: Now, all: bool) -> Option<Closed> {
    let first = pending.oldest.sequence;
    let last = pending.through.min(first.saturating_add(config.batch_records - 1));
    let count = (last + 1).checked_sub(first).filter(|count| *count > 0)?;
    // The record of another boot has no age on this boot's clock, and is old enough.
    let old = pending.oldest.session.boot_id != buffer.boot_id() || now.since(pending.oldest.at) >= config.batch_age;
    (all || old || count >= config.batch_records).then_some(Closed { first, last, closed_at: now.utc })
}

/// What of a stream is not in the registry.
fn lag(buffer: &Buffer, stream: Stream, pending: Option<&Pending>, now: Now) -> Lag {
    let lag_seconds = pending.map_or(0.0, |pending| {
        let at = pending.oldest.at;
        if pending.oldest.session.boot_id == buffer.boot_id() {
            return now.since(at).as_secs_f64();
        }
        let micros = u64::try_from(now.utc.as_micros().saturating_sub(at.utc.as_micros())).unwrap_or(0);
        Duration::from_micros(micros).as_secs_f64()
    });
    let waiting = buffer.waiting(stream);
    Lag { stream: stream.as_str(), waiting, lag_seconds }
}

/// A batch's records as a file; `None` when none of them is left to send.
fn write(buffer: &Buffer, stream: Stream, batch: Closed) -> Result<Option<Vec<u8>>, SyncError> {
    let mut encoder = Encoder::new(stream)?;
    let mut after = batch.first.saturating_sub(1);
    while after < batch.last {
        let mut records = buffer.read(stream, after, PIECE)?;
        let full = records.len() == PIECE;
        records.retain(|record| record.sequence <= batch.last);
        encoder.push(&records)?;
        match records.last() {
            Some(last) if full => after = last.sequence,
            _ => break,
        }
    }
    if encoder.records() == 0 {
        return Ok(None);
    }
    Ok(Some(encoder.finish()?))
}
