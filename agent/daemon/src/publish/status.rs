//! How publishing fares, as people see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use explaind_core::domain::time::Timestamp;
use serde_json::{Value, json};

use super::outbox::Kind;
use crate::clock;
use crate::telemetry::Metrics;

/// Reasons why there is no connection are logged no more often than this, unless there was one in between.
const QUIET: Duration = Duration::from_secs(3600);
/// A reason that differs from the last one is logged after this time.
const QUIET_OTHER: Duration = Duration::from_secs(60);
/// Messages that are no commands are logged no more often than this, and then with how many there were.
const QUIET_COMMANDS: Duration = Duration::from_secs(60);

/// Reads and writes it from anywhere.
#[derive(Clone)]
pub(crate) struct Status {
    state: Arc<Mutex<State>>,
    metrics: Metrics,
}

struct State {
    broker: String,
    connected_since: Option<Timestamp>,
    error: Option<String>,
    acknowledge: Acknowledge,
    published: u64,
    dropped: u64,
    waiting: usize,
    accepted: u64,
    refused: u64,
    last_refused: Option<String>,
    /// The reason last logged, and when.
    logged: Option<(String, Instant)>,
    /// When it was last logged that a message is no command, and how many there were since.
    grumbled: Option<(Instant, u64)>,
}

/// Whether alerts can be acknowledged from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Acknowledge {
    /// Not configured.
    Off,
    /// Not at present, for this reason.
    Not(&'static str),
    /// The broker hands commands on to us.
    On,
}

impl Status {
    pub(super) fn new(broker: String, acknowledge: bool, metrics: Metrics) -> Self {
        metrics.publish_connected(&broker, false);
        let state = State {
            broker,
            connected_since: None,
            error: Some("not connected yet".to_owned()),
            acknowledge: if acknowledge { Acknowledge::Not("not connected") } else { Acknowledge::Off },
            published: 0,
            dropped: 0,
            waiting: 0,
            accepted: 0,
            refused: 0,
            last_refused: None,
            logged: None,
            grumbled: None,
        };
        Self { state: Arc::new(Mutex::new(state)), metrics }
    }

    /// The section of the status page.
    pub(crate) fn json(&self) -> Value {
        let state = self.state();
        let acknowledge = match state.acknowledge {
            Acknowledge::Off => "off",
            Acknowledge::Not(reason) => reason,
            Acknowledge::On => "on",
        };
        json!({
            "state": if state.connected_since.is_some() { "connected" } else { "disconnected" },
            "broker": state.broker,
            "connected_since": state.connected_since.map(clock::rfc3339),
            "error": state.error,
            "published": state.published,
            "waiting": state.waiting,
            "dropped": state.dropped,
            "acknowledge": acknowledge,
            "commands_done": state.accepted,
            "commands_refused": state.refused,
            "last_refused": state.last_refused,
        })
    }

    /// The broker has let us in.
    pub(super) fn up(&self) {
        let mut state = self.state();
        state.connected_since = Some(clock::now().utc);
        state.error = None;
        state.logged = None;
        self.metrics.publish_connected(&state.broker, true);
        tracing::info!(broker = state.broker, "results go to the broker");
    }

    /// Whether there was a connection, up to the last word on it.
    pub(super) fn is_up(&self) -> bool {
        self.state().connected_since.is_some()
    }

    /// There is no connection, for this reason.
    pub(super) fn down(&self, reason: &str) {
        let mut state = self.state();
        let was_up = state.connected_since.take().is_some();
        let quiet = state
            .logged
            .as_ref()
            .is_some_and(|(last, at)| at.elapsed() < if last == reason { QUIET } else { QUIET_OTHER });
        if was_up || !quiet {
            tracing::warn!(reason, "results do not reach the broker; trying again");
            state.logged = Some((reason.to_owned(), Instant::now()));
        }
        state.error = Some(reason.to_owned());
        if state.acknowledge != Acknowledge::Off {
            state.acknowledge = Acknowledge::Not("not connected");
        }
        self.metrics.publish_connected(&state.broker, false);
    }

    /// The broker's word on commands.
    pub(super) fn acknowledge(&self, acknowledge: Acknowledge) {
        self.state().acknowledge = acknowledge;
    }

    /// The broker has taken a message.
    pub(super) fn published(&self, kind: Kind) {
        self.state().published += 1;
        self.metrics.published(kind.as_str());
    }

    /// Predictions are not told, and why.
    pub(super) fn dropped(&self, reason: &str, count: u64) {
        if count > 0 {
            self.state().dropped += count;
            self.metrics.publish_dropped(reason, count);
        }
    }

    /// So many messages wait.
    pub(super) fn waiting(&self, count: usize) {
        self.state().waiting = count;
        self.metrics.publish_waiting(count);
    }

    /// A command was carried out, or had been before.
    pub(super) fn accepted(&self, outcome: &str) {
        self.state().accepted += 1;
        self.metrics.publish_command(outcome);
    }

    /// A command was not carried out. The log says so at most once a minute: whoever sends rubbish must not fill the disk.
    pub(super) fn refused(&self, code: &str, reason: &str) {
        self.metrics.publish_command(code);
        let mut state = self.state();
        state.refused += 1;
        state.last_refused = Some(reason.to_owned());
        match &mut state.grumbled {
            Some((at, unsaid)) if at.elapsed() < QUIET_COMMANDS => *unsaid += 1,
            said => {
                let more = said.map_or(0, |(_, unsaid)| unsaid);
                tracing::warn!(reason, more, "a command from the broker was not carried out");
                *said = Some((Instant::now(), 0));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_reaches_the_broker_and_what_does_not() {
        let status = Status::new("mqtt://b:1883".to_owned(), true, Metrics::new());
        assert_eq!(
            (&status.json()["state"], &status.json()["error"]),
            (&json!("disconnected"), &json!("not connected yet"))
        );
        status.up();
        status.acknowledge(Acknowledge::On);
        status.published(Kind::Alert);
        status.dropped("full", 3);
        status.refused("malformed", "it is none");
        status.accepted("done");
        let shown = status.json();
        assert_eq!(
            (&shown["state"], &shown["error"], &shown["acknowledge"]),
            (&json!("connected"), &Value::Null, &json!("on"))
        );
        assert_eq!((&shown["published"], &shown["dropped"]), (&json!(1), &json!(3)));
        assert_eq!((&shown["commands_refused"], &shown["last_refused"]), (&json!(1), &json!("it is none")));
        status.down("gone");
        let shown = status.json();
        assert_eq!((&shown["state"], &shown["error"]), (&json!("disconnected"), &json!("gone")));
        assert_eq!((&shown["acknowledge"], &shown["connected_since"]), (&json!("not connected"), &Value::Null));
        let text = status.metrics.text();
        for line in [
            "explaind_publish_connected{broker=\"mqtt://b:1883\"} 0",
            "explaind_publish_messages_total{kind=\"alert\"} 1",
            "explaind_publish_dropped_messages_total{reason=\"full\"} 3",
            "explaind_publish_commands_total{outcome=\"malformed\"} 1",
            "explaind_publish_commands_total{outcome=\"done\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn rubbish_is_counted_and_not_logged_each_time() {
        let status = Status::new("mqtt://b:1883".to_owned(), true, Metrics::new());
        for _ in 0..1000 {
            status.refused("malformed", "it is none");
        }
        assert_eq!(status.state().grumbled.map(|(_, unsaid)| unsaid), Some(999));
        assert_eq!(status.json()["commands_refused"], 1000);
    }
}
