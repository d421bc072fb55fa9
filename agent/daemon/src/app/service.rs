//! What the service manager sees: readiness, a watchdog that tells a hang from a heartbeat, a clean stop.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::driver::Progress;

/// Says that the daemon serves.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

/// Says that the daemon is about to stop.
pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Feeds the watchdog for as long as the driver moves: a timer alone would hide a hang.
pub(super) async fn watchdog(progress: Progress) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Thrice per limit, and never quicker than the driver's own idle turns, which would look like a hang.
    let mut beat = tokio::time::interval((limit / 3).max(Duration::from_millis(600)));
    let mut seen = None;
    loop {
        beat.tick().await;
        let turns = progress.turns();
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
