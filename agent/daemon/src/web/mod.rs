//! The local page and the API.
//!
//! One router serves two doors: TCP for people with a browser, and a Unix socket for the terminal. It reads from the
//! buffer and changes the world in two ways only: a command to the driver or the rollout, and records of its own
//! (feedback, audit).

mod access;
mod acknowledge;
mod alarm;
mod answers;
mod api;
mod audit;
mod causes;
mod collectors;
mod events;
mod feedback;
mod guard;
mod language;
mod page;
mod patience;
mod places;
mod problem;
mod refusals;
mod rollout;
mod server;
mod settings;
mod story;
mod time;
mod tls;
mod twice;
mod verdicts;
mod wire;
mod words;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

pub(crate) use access::{User, UsersError, UsersFile};
pub(crate) use causes::Config as Feedback;
pub(crate) use settings::Config;
pub(crate) use tls::{Tls, TlsError};

use access::Access;
use collectors::Collectors;
use problem::Problem;
use verdicts::Verdicts;

use crate::buffer::Buffer;
use crate::mailbox::Mailbox;
use crate::question::Questions;
use crate::telemetry::Metrics;
use crate::{clock, sync};

/// Largest body of a request.
const LARGEST_BODY: usize = 64 * 1024;
/// Readings of the buffer at once. More wait; the tokio pool would start a thread for each.
const READERS: usize = 8;

/// What the page and the API are made from.
pub(crate) struct Parts {
    /// The gateway's name.
    pub(crate) gateway: Arc<str>,
    /// The assets that are watched: what feedback on a missed event may name.
    pub(crate) assets: Vec<Arc<str>>,
    /// What people choose from when they say what it was: the `[feedback]` table.
    pub(crate) feedback: Feedback,
    /// Where records are read from, and feedback goes to.
    pub(crate) buffer: Buffer,
    /// The way to the driver.
    pub(crate) mailbox: Mailbox,
    /// The way to the rollout: going back, stopping, releasing.
    pub(crate) rollout: Mailbox,
    /// The way to the explainer.
    pub(crate) questions: Questions,
    /// What `/metrics` shows.
    pub(crate) metrics: Metrics,
    /// What `/api/v1/status` shows.
    pub(crate) status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Which models run where: `models` as in the status, and `stopped`, who stopped the whole gateway. Asked for with
    /// every look at the page, so it does not touch the disk.
    pub(crate) models: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Whether the gateway does its work; the sentence says what is missing.
    pub(crate) ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Where the users file is.
    pub(crate) state_dir: PathBuf,
    /// How batches are closed, for whoever carries them home.
    pub(crate) sync: sync::Config,
    /// Whether records go to a registry: if not, they go home with collectors.
    pub(crate) registry: bool,
    /// The `[web]` table.
    pub(crate) config: Config,
    /// Ends everything here.
    pub(crate) stop: CancellationToken,
}

/// What handlers share.
struct Web {
    gateway: Arc<str>,
    assets: Vec<Arc<str>>,
    causes: Vec<String>,
    buffer: Buffer,
    mailbox: Mailbox,
    rollout: Mailbox,
    questions: Questions,
    metrics: Metrics,
    status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    models: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    config: Config,
    stop: CancellationToken,
    access: Access,
    verdicts: Verdicts,
    collectors: Collectors,
    rate: audit::Rate,
    sync: sync::Config,
    registry: bool,
    streams: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

type Shared = Arc<Web>;

impl Web {
    /// Reads accounts and earlier feedback: not for an async task.
    fn open(parts: Parts) -> io::Result<Shared> {
        let Parts {
            gateway,
            assets,
            feedback,
            buffer,
            mailbox,
            rollout,
            questions,
            metrics,
            status,
            models,
            ready,
            state_dir,
            sync,
            registry,
            config,
            stop,
        } = parts;
        let file = UsersFile::of(&state_dir);
        let access = Access::open(file, config.demo_accounts, config.session_idle, config.session_lifetime)
            .map_err(io::Error::other)?;
        let verdicts = Verdicts::read(&buffer).map_err(io::Error::other)?;
        let streams = Arc::new(Semaphore::new(events::MOST_STREAMS));
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(Arc::new(Self {
            gateway,
            assets,
            causes: feedback.causes,
            buffer,
            mailbox,
            rollout,
            questions,
            metrics,
            status,
            models,
            ready,
            config,
            stop,
            access,
            verdicts,
            collectors: Collectors::open(&state_dir, clock::now().utc),
            rate: audit::Rate::default(),
            sync,
            registry,
            streams,
            readers,
        }))
    }

    /// Does what may wait for the disk on a thread where waiting harms nobody.
    async fn off_thread<T, F>(self: &Arc<Self>, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    {
        let stopped =
            || Problem::busy("the gateway broke this off; try again, and look into its log if it happens again");
        // The turn goes with the work, which goes on when the client has hung up.
        let turn = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| stopped())?;
        let web = Arc::clone(self);
        let work = move || {
            let _turn = turn;
            work(&web)
        };
        spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request of the page or the API broke off");
            Err(stopped())
        })
    }
}

/// All routes, and what every request passes on its way to them.
fn router(web: &Shared) -> Router {
    // The last layer is the outermost.
    Router::new()
        .merge(page::routes())
        .merge(api::routes())
        .fallback(guard::no_such_page)
        .layer(from_fn_with_state(Arc::clone(web), access::identify))
        .layer(from_fn_with_state(Arc::clone(web), guard::refuse_strangers))
        .layer(from_fn_with_state(Arc::clone(web), audit::strangers))
        .layer(from_fn(guard::in_time))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(Arc::clone(web), guard::dress))
        .with_state(Arc::clone(web))
}

/// Serves until `stop`, then lets what is under way finish within a few seconds. The port speaks TLS, if it is given any.
///
/// # Errors
/// When the accounts or earlier feedback cannot be read, or the address is not a loopback one and there is no TLS.
pub(crate) async fn serve(
    parts: Parts,
    (tcp, tls): (TcpListener, Option<Tls>),
    socket: UnixListener,
) -> io::Result<()> {
    let address = tcp.local_addr()?;
    if tls.is_none() && !address.ip().to_canonical().is_loopback() {
        return Err(io::Error::other(settings::beyond_loopback(address)));
    }
    let stop = parts.stop.clone();
    let web = spawn_blocking(move || Web::open(parts)).await.map_err(io::Error::other)?.inspect_err(|error| {
        tracing::error!(%error, "the page cannot be served");
    })?;
    let tending = tokio::spawn(audit::tend(Arc::clone(&web)));
    server::run(router(&web), (tcp, tls), socket, stop).await;
    tending.abort();
    Ok(())
}
