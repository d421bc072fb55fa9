//! Brings the records home: closes batches, writes Parquet, uploads.
//!
//! A batch closes by size or age. Its bounds and then its bytes are on disk in the buffer before the first try to upload
//! it (`buffer::outbox`), so each try, also after a crash or an upgrade, sends the same bytes under the same name, and the
//! registry takes them once. A batch of predictions closes only over those whose explanations are settled. What goes
//! first is decided batch by batch (`lanes`).
//!
//! A gateway's folder belongs to one store (`claim`). Another store with the same gateway name (a cloned card, a name
//! used twice) is stopped before it sends anything. A store that took over from one that was lost on the same machine
//! knows its predecessors, and goes on; its numbers begin above all that were ever given out there.

mod anchor;
mod carry;
mod claim;
mod columns;
mod contents;
mod figures;
mod import;
mod lanes;
mod names;
mod ndjson;
mod outgoing;
mod parquet;
mod pull;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use explaind_core::domain::record::Stream;
use explaind_core::domain::units;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use anchor::{Anchored, Difference, SentChain, unhex};
pub(crate) use carry::{Batch, Begun, Origin, Place, Sent, Tally, begin, export, next, sent};
pub(crate) use import::{ImportError, import};
pub(crate) use names::{Authors, Names};
pub(crate) use pull::Form;
pub(crate) use status::{Snapshot, State, Status};

use lanes::Lanes;
use parquet::ParquetError;
use status::Lag;

use crate::backoff::Backoff;
use crate::buffer::{Buffer, BufferError, Closed};
use crate::clock;
use crate::registry::{Registry, RegistryError};
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
/// For how long one look at that serves the batches that follow.
const CLAIM_HOLDS: Duration = Duration::from_secs(10);
/// What people said and what they must know of goes home within a minute: a batch of it closes at this age.
const URGENT_AGE: Duration = Duration::from_secs(30);
/// How often the registry is shown figures about the gateway.
const FIGURES_EVERY: Duration = Duration::from_secs(60);
/// How soon a stream that cannot be read is tried again, while the others go on.
const STUCK_WAIT: Duration = Duration::from_secs(5);
/// Records that are in memory at a time.
const PIECE: usize = 500;

/// `[sync]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// A batch closes when it has so many records.
    pub(crate) batch_records: u64,
    /// A batch closes when its oldest record is so old. Those of feedback, alerts and audit close after 30 seconds when
    /// this is longer.
    #[serde(with = "units::duration")]
    pub(crate) batch_age: Duration,
    /// How people are called in what is sent, pulled or exported.
    pub(crate) authors: Authors,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch_records: 5000, batch_age: Duration::from_secs(900), authors: Authors::default() }
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

    /// How old a stream's records get before they go.
    fn age_of(&self, stream: Stream) -> Duration {
        match stream {
            Stream::Feedback | Stream::Alerts | Stream::Audit => self.batch_age.min(URGENT_AGE),
            Stream::Health | Stream::Predictions | Stream::Explanations => self.batch_age,
        }
    }
}

/// Why sync does not get on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// The buffer does not do what it was asked.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The registry does not.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A batch cannot be written.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// The registry's records of this gateway belong to another store.
    #[error("{0}")]
    Foreign(String),
    /// The process is ending.
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    /// Some streams cannot be read here; the others got on.
    #[error("not all streams get on: {0}")]
    Stuck(String),
}

impl SyncError {
    /// Whether it is about what is on this gateway: the other streams can get on.
    fn is_local(&self) -> bool {
        matches!(self, Self::Buffer(_) | Self::Parquet(_) | Self::Interrupted(_))
    }
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
    let mut sync = Sync::new(buffer, registry, config, metrics, status);
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    while !stop.is_cancelled() {
        let wait = match sync.round(false, &stop).await {
            Ok(()) => {
                backoff.reset();
                LOOK_EVERY.min(sync.config.batch_age.max(Duration::from_millis(50)))
            }
            Err(error) => {
                sync.failed(&error);
                // A bad uplink that lets batches through now and then is used while it does.
                if std::mem::take(&mut sync.got_on) {
                    backoff.reset();
                }
                match &error {
                    SyncError::Stuck(_) => STUCK_WAIT,
                    SyncError::Registry(error) => error.rest().saturating_add(backoff.next()),
                    _ => backoff.next(),
                }
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
    /// When the registry was last shown figures.
    shown: Option<Instant>,
    /// When the registry last said that its records of this gateway are this store's.
    claimed: Option<Instant>,
    lanes: Lanes,
    /// Whether the last try succeeded.
    reached: bool,
    /// Whether a batch arrived since the last failure.
    got_on: bool,
    /// Streams that cannot be read in this round, and why.
    stuck: BTreeMap<Stream, String>,
}

/// Work that waits for the disk, where that holds nobody up.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, SyncError>
where
    T: Send + 'static,
    E: Into<SyncError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await?.map_err(Into::into)
}

/// Which streams do not get on, and why: each reason once.
fn reasons(stuck: &BTreeMap<Stream, String>) -> String {
    let mut streams: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (stream, reason) in stuck {
        streams.entry(reason).or_default().push(stream.as_str());
    }
    let each = streams.iter().map(|(reason, streams)| format!("{}: {reason}", streams.join(", ")));
    each.collect::<Vec<_>>().join("; ")
}

impl Sync {
    fn new(buffer: Buffer, registry: Registry, config: Config, metrics: Metrics, status: Status) -> Self {
        let stuck = BTreeMap::new();
        Self {
            buffer,
            registry,
            config,
            metrics,
            status,
            shown: None,
            claimed: None,
            lanes: Lanes::default(),
            reached: false,
            got_on: false,
            stuck,
        }
    }

    /// Sends every batch that is ripe; with `all`, every record that is final.
    async fn round(&mut self, all: bool, stop: &CancellationToken) -> Result<(), SyncError> {
        // First, so that the lag is told while the registry is away as well.
        self.measure().await?;
        // An idle gateway asks a server no more than once a minute.
        self.claim(CLAIM_EVERY).await?;
        if !std::mem::replace(&mut self.reached, true) {
            self.lanes.reached(&self.buffer, &self.config);
        }
        self.stuck.clear();
        while let Some((stream, batch)) = self.next(all).await? {
            if stop.is_cancelled() {
                return Ok(());
            }
            self.claim(CLAIM_HOLDS).await?;
            let sent = tokio::select! {
                sent = self.send(stream, batch) => sent,
                () = stop.cancelled() => return Ok(()),
            };
            match sent {
                Ok(()) => self.got_on = true,
                Err(error) if error.is_local() => {
                    self.stuck.insert(stream, error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.measure().await?;
            self.status.change(|s| s.last_upload = Some(status::rfc3339(clock::now().utc)));
            if self.stuck.is_empty() {
                self.works();
            }
        }
        self.show_figures(all).await;
        if self.stuck.is_empty() {
            self.works();
            self.status.change(|s| s.state = State::Online);
            return Ok(());
        }
        Err(SyncError::Stuck(reasons(&self.stuck)))
    }

    /// Shows the registry what is known of this gateway, once a minute and at the end.
    ///
    /// Batches matter, figures are a courtesy: what goes wrong with them must not stop the records.
    async fn show_figures(&mut self, last: bool) {
        if !last && self.shown.is_some_and(|shown| shown.elapsed() < FIGURES_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let (buffer, status) = (self.buffer.clone(), self.status.clone());
        let counted = blocking(move || figures::count(&buffer, &status.snapshot().streams)).await;
        let shown = match counted {
            Ok(list) => self.registry.log(self.buffer.gateway(), &list).await.map_err(SyncError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = shown {
            tracing::warn!(%error, "the registry does not take figures about this gateway");
        }
    }

    /// Makes sure that the registry's records of this gateway are this store's, unless it was seen that lately.
    async fn claim(&mut self, holds: Duration) -> Result<(), SyncError> {
        if self.claimed.is_some_and(|claimed| claimed.elapsed() < holds) {
            return Ok(());
        }
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
        blocking(move || {
            let now = clock::now();
            let mut lags = Vec::new();
            for stream in Stream::ALL {
                let lag =
                    buffer.pending(stream).map(|pending| lanes::lag(&buffer, pending.as_ref(), now).as_secs_f64());
                let lag = lag.inspect(|seconds| metrics.sync_lag(stream.as_str(), *seconds));
                lags.push(Lag {
                    stream: stream.as_str(),
                    waiting: buffer.waiting(stream),
                    lag_seconds: lag.inspect_err(|error| tracing::debug!(%error, "a lag is not known")).ok(),
                });
            }
            status.change(|s| s.streams = lags);
            Ok::<_, BufferError>(())
        })
        .await
    }

    /// The batch whose turn it is. Its bounds are on disk. A stream that cannot be read has none.
    async fn next(&mut self, all: bool) -> Result<Option<(Stream, Closed)>, SyncError> {
        let (buffer, config) = (self.buffer.clone(), self.config.clone());
        let (mut lanes, mut stuck) = (std::mem::take(&mut self.lanes), std::mem::take(&mut self.stuck));
        let (lanes, stuck, next) = blocking(move || {
            let next = loop {
                let Some((stream, batch)) = lanes.next(&buffer, &config, clock::now(), all, &mut stuck) else {
                    break None;
                };
                match buffer.close(stream, batch) {
                    Ok(batch) => break Some((stream, batch)),
                    Err(error) => stuck.insert(stream, error.to_string()),
                };
            };
            Ok::<_, SyncError>((lanes, stuck, next))
        })
        .await?;
        (self.lanes, self.stuck) = (lanes, stuck);
        let many = 2 * self.config.batch_records;
        if next.is_some() && Stream::ALL.into_iter().any(|stream| self.buffer.waiting(stream) > many) {
            self.status.change(|s| s.state = State::CatchingUp);
        }
        Ok(next)
    }

    fn failed(&mut self, error: &SyncError) {
        let stuck = matches!(error, SyncError::Stuck(_));
        self.reached = stuck;
        let text = error.to_string();
        let news = self.status.change(|s| {
            s.state = match error {
                SyncError::Foreign(_) => State::Stopped,
                SyncError::Stuck(_) => State::CatchingUp,
                _ => State::Offline,
            };
            s.error.replace(text.clone()) != Some(text)
        });
        // Said once, not at every try.
        if news {
            tracing::warn!(%error, "sync does not get on");
        }
    }
}
