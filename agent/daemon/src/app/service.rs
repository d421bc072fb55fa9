//! What the service manager sees: readiness, a watchdog that tells a hang from a heartbeat, a clean stop.

use std::sync::mpsc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::buffer;
use crate::driver::Progress;

/// How often the service manager is asked for patience at a start, and for how much.
const ASK_EVERY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// While it is there the service manager is asked to wait, for as long as the store gets on with being opened: reading out
/// a damaged one may take minutes, and a start that is cut off begins anew.
pub(super) struct Opening {
    _end: mpsc::Sender<()>,
}

/// Begins to ask.
pub(super) fn opening() -> Opening {
    let (end, ended) = mpsc::channel();
    let ask = move || {
        let mut seen = buffer::steps();
        while ended.recv_timeout(ASK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let steps = buffer::steps();
            if steps != std::mem::replace(&mut seen, steps) {
                notify(NotifyState::ExtendTimeoutUsec(u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX)));
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("start".to_owned()).spawn(ask) {
        tracing::warn!(%error, "a long start may be cut off");
    }
    Opening { _end: end }
}

/// Says that the daemon serves.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

/// Says that the daemon is about to stop.
pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Feeds the watchdog for as long as the driver moves, or the store that it waits for is being opened again: a timer alone
/// would hide a hang.
pub(super) async fn watchdog(progress: Progress) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Thrice per limit, and never quicker than the driver's own idle turns, which would look like a hang.
    let mut beat = tokio::time::interval((limit / 3).max(Duration::from_millis(600)));
    let mut seen = None;
    loop {
        beat.tick().await;
        let turns = progress.turns().wrapping_add(buffer::steps());
        if seen != Some(turns) {
            notify(NotifyState::Watchdog);
        } else {
            tracing::error!("the driver has not moved; the watchdog is not fed");
        }
        seen = Some(turns);
    }
}

/// Resolves on SIGTERM or SIGINT.
pub(super) async fn stop_signal() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be received; the daemon can only be killed");
            std::future::pending::<()>().await;
        }
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
