//! Results to an MQTT broker, and acknowledgements from it, so that a control system takes part.
//!
//! ```text
//! explaind/<gateway>/status                 retained, with a last will
//! explaind/<gateway>/<asset>/prediction     one message per prediction, QoS 1
//! explaind/<gateway>/<asset>/alert          retained; empty when nothing is open
//! explaind/<gateway>/cmd/acknowledge        from there; off unless configured
//! ```
//!
//! `gather` hears what the buffer announces and fills the `outbox`, which is all that is shared; `session` empties it over
//! one connection after the other; `clerk` carries out what is asked for. A broker that is slow or away costs the outbox's
//! bound and nothing else: nobody in the daemon waits for it.

mod clerk;
mod command;
mod config;
mod gather;
mod outbox;
mod payload;
mod session;
mod status;
mod topics;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::config::Config;
pub(crate) use self::gather::About;
pub(crate) use self::status::Status;

use self::clerk::Clerk;
use self::command::Acknowledgement;
use self::gather::Gatherer;
use self::outbox::Outbox;
use self::session::Ending;
use self::topics::Topics;
use crate::backoff::Backoff;
use crate::buffer::Buffer;
use crate::clock;
use crate::mailbox::Mailbox;
use crate::telemetry::Metrics;

/// First and longest wait before connecting again.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A connection that lasted so long was one: after a shorter one the waits go on growing.
const LASTED: Duration = Duration::from_secs(10);
/// For so long nothing is subscribed to after a message that was too large: the broker may have retained it, and would send
/// it each time.
const DEAF: Duration = Duration::from_secs(600);
/// What failed from within is begun anew after this time.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a probe waits for the broker.
const PROBE: Duration = Duration::from_secs(10);

/// What publishing needs of the daemon.
pub(crate) struct Ways {
    /// The gateway's name.
    pub(crate) gateway: Arc<str>,
    /// The machines of the configuration.
    pub(crate) assets: Vec<Arc<str>>,
    /// Where results come from.
    pub(crate) buffer: Buffer,
    /// Where acknowledgements go.
    pub(crate) mailbox: Mailbox,
    /// Figures.
    pub(crate) metrics: Metrics,
    /// What else the status says.
    pub(crate) about: About,
    /// The order to stop.
    pub(crate) stop: CancellationToken,
}

/// What the parts of this room share.
struct Shared {
    gateway: Arc<str>,
    assets: Vec<Arc<str>>,
    topics: Topics,
    outbox: Mutex<Outbox>,
    /// There may be something to send.
    news: Notify,
    status: Status,
    /// The alerts that were open at the start are in the outbox.
    ready: CancellationToken,
    /// Nothing more comes into the outbox.
    closing: CancellationToken,
}

impl Shared {
    fn new(gateway: Arc<str>, assets: Vec<Arc<str>>, status: Status) -> Self {
        let topics = Topics::new(&gateway);
        let outbox = Mutex::new(Outbox::new(topics.status()));
        let (ready, closing) = (CancellationToken::new(), CancellationToken::new());
        Self { gateway, assets, topics, outbox, news: Notify::new(), status, ready, closing }
    }

    #[cfg(test)]
    fn for_tests(gateway: &str, assets: &[&str]) -> Self {
        let status = Status::new("mqtt://b:1883".to_owned(), true, Metrics::new());
        Self::new(gateway.into(), assets.iter().map(|asset| (*asset).into()).collect(), status)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts publishing. It ends some seconds after the order to stop, whatever the broker does.
pub(crate) fn spawn(config: Config, ways: Ways) -> (JoinHandle<()>, Status) {
    let status = Status::new(config.broker.address().to_string(), config.acknowledge, ways.metrics);
    let shared = Arc::new(Shared::new(ways.gateway, ways.assets, status.clone()));
    let (commands, asked) = mpsc::channel(clerk::MOST_WAITING);
    let clerk = Clerk { buffer: ways.buffer.clone(), mailbox: ways.mailbox, status: status.clone() };
    let gatherer = Gatherer {
        shared: Arc::clone(&shared),
        buffer: ways.buffer,
        about: ways.about,
        language: config.language,
        started: clock::now().utc,
    };
    let stop = ways.stop;
    let clerk = tokio::spawn(clerk.run(asked));
    let gathering = tokio::spawn(gather(gatherer, stop));
    let running = tokio::spawn(async move {
        connect(&config, &shared, commands).await;
        for part in [gathering, clerk] {
            if let Err(error) = part.await {
                tracing::error!(%error, "a part of publishing failed from within; please report this");
            }
        }
    });
    (running, status)
}

/// Gathers until the order to stop. A panic must not take the daemon with it, nor keep results from the broker for ever.
async fn gather(gatherer: Gatherer, stop: CancellationToken) {
    while AssertUnwindSafe(gatherer.run(&stop)).catch_unwind().await.is_err() {
        tracing::error!("gathering results for the broker failed from within; please report this");
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(AGAIN) => {}
        }
    }
    gather::close(&gatherer.shared);
}

/// Connects, again and again, until everything is said.
async fn connect(config: &Config, shared: &Shared, commands: mpsc::Sender<Acknowledgement>) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut deaf_until: Option<Instant> = None;
    // Before the open alerts are known, what the broker keeps of them would seem to be stale.
    tokio::select! {
        () = shared.ready.cancelled() => {}
        () = shared.closing.cancelled() => return,
    }
    loop {
        let begun = Instant::now();
        let deaf = deaf_until.is_some_and(|until| begun < until);
        let session = AssertUnwindSafe(session::run(config, shared, &commands, deaf)).catch_unwind().await;
        let dropped = shared.outbox().lost();
        shared.status.dropped("full", u64::try_from(dropped).unwrap_or(u64::MAX));
        let (mut reason, too_large) = match session {
            Ok(Ending::Closed) => return,
            Ok(Ending::Unfinished) => {
                tracing::warn!("the broker did not take the last messages in time; it has the last will");
                return;
            }
            Ok(Ending::Lost { reason, too_large }) => (reason, too_large),
            Err(_) => ("failed from within; please report this".to_owned(), false),
        };
        if too_large {
            deaf_until = Some(Instant::now() + DEAF);
        }
        if begun.elapsed() >= LASTED {
            backoff.reset();
        } else if shared.status.is_up() && !too_large {
            reason = format!("{reason}; does another client use the id {}?", config.id(&shared.gateway));
        }
        shared.status.down(&reason);
        tokio::select! {
            () = shared.closing.cancelled() => return,
            () = sleep(backoff.next()) => {}
        }
    }
}

/// Connects once, for at most ten seconds, and says in one sentence what was found. Nothing is told to the broker.
///
/// # Errors
/// A sentence that says why there is no connection.
pub(crate) async fn probe(config: &Config, gateway: &str) -> Result<String, String> {
    let acknowledge = config.acknowledge.then(|| Topics::new(gateway).acknowledge());
    match timeout(PROBE, session::look(config, gateway, acknowledge)).await {
        Ok(found) => found,
        Err(_) => Err(format!("no answer from {} within 10 s", config.broker.address())),
    }
}
