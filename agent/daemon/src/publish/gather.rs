//! Turns what the buffer announces into messages. What is told is on disk.
//!
//! It never waits for the broker, and the buffer never waits for it: whoever falls behind with the announcements is told so,
//! reads the alerts anew, and has lost some predictions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::prediction::Role;
use explaind_core::domain::record::{Body, Record};
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::Language;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Shared, payload};
use crate::buffer::Buffer;
use crate::clock;

/// How long changes of alerts are gathered: an alert's explanation often follows it within that time.
const GATHER: Duration = Duration::from_millis(100);
/// How often the gateway's own state is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// When the alerts could not be read, they are read again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// What else the status says of the gateway.
pub(crate) type About = Box<dyn Fn() -> Value + Send + Sync>;

/// Who gathers.
pub(super) struct Gatherer {
    pub(super) shared: Arc<Shared>,
    pub(super) buffer: Buffer,
    pub(super) about: About,
    pub(super) language: Language,
    pub(super) started: Timestamp,
}

/// Machines whose alert may have changed.
#[derive(Default)]
struct Due {
    everything: bool,
    assets: BTreeSet<Arc<str>>,
}

impl Due {
    fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        !self.everything && self.assets.is_empty()
    }
}

/// What is told of each machine's alerts.
type Told = Vec<(Arc<str>, String)>;

/// Alerts that are being read, and of which machines.
struct Reading {
    due: Due,
    told: JoinHandle<Told>,
}

impl Gatherer {
    /// Gathers until it is told to stop, and then what is left.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let mut news = self.buffer.subscribe();
        let (mut due, mut reading) = (Due::everything(), None);
        let mut read_at = Instant::now();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What is timed goes first, or a busy gateway would starve it; none of it takes long.
                biased;
                () = stop.cancelled() => break,
                told = finished(&mut reading) => {
                    if self.tell(reading.take(), told, &mut due) {
                        continue;
                    }
                    read_at = Instant::now() + AGAIN;
                }
                () = sleep_until(read_at), if !due.is_empty() && reading.is_none() => {
                    reading = Some(self.read(std::mem::take(&mut due)));
                }
                _ = look.tick() => self.look(),
                heard = news.recv() => {
                    let was_empty = due.is_empty();
                    match heard {
                        Ok(record) => self.take(&record, &mut due),
                        Err(RecvError::Lagged(missed)) => self.miss(missed, &mut due),
                        Err(RecvError::Closed) => break,
                    }
                    if was_empty {
                        read_at = Instant::now() + GATHER;
                    }
                }
            }
        }
        self.finish(&mut news, due, reading).await;
    }

    /// Takes what was announced last.
    async fn finish(&self, news: &mut Receiver<Arc<Record>>, mut due: Due, mut reading: Option<Reading>) {
        loop {
            match news.try_recv() {
                Ok(record) => self.take(&record, &mut due),
                Err(TryRecvError::Lagged(missed)) => self.miss(missed, &mut due),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if reading.is_some() {
            let told = finished(&mut reading).await;
            self.tell(reading, told, &mut due);
        }
        if !due.is_empty() {
            let mut reading = Some(self.read(std::mem::take(&mut due)));
            let told = finished(&mut reading).await;
            self.tell(reading, told, &mut due);
        }
    }

    fn take(&self, record: &Record, due: &mut Due) {
        match &record.body {
            Body::Alert(change) => {
                due.assets.insert(Arc::clone(&change.asset));
            }
            // A challenger's predictions are nobody's news.
            Body::Prediction(made) if made.role == Role::Shadow => {}
            Body::Prediction(made) if record.settlement.is_none() => {
                let (topic, payload) = (self.shared.topics.prediction(&made.asset), payload::prediction(record, made));
                if self.shared.outbox().prediction(topic, payload) {
                    self.shared.status.dropped("full", 1);
                }
                self.shared.news.notify_one();
            }
            // Of what raised an alert there is more to say now.
            Body::Prediction(made) => {
                let alert = made.alert.and_then(|id| self.buffer.alert(id));
                if alert.is_some_and(|alert| alert.prediction_id == Some(record.id)) {
                    due.assets.insert(Arc::clone(&made.asset));
                }
            }
            Body::Feedback(_) | Body::Audit(_) | Body::Health(_) | Body::Extra(_) => {}
        }
    }

    fn miss(&self, missed: u64, due: &mut Due) {
        self.shared.status.dropped("behind", missed);
        due.everything = true;
    }

    fn look(&self) {
        let status = payload::online(&self.shared.gateway, self.started, &(self.about)());
        let mut outbox = self.shared.outbox();
        outbox.status(status);
        self.shared.status.waiting(outbox.waiting());
        drop(outbox);
        self.shared.news.notify_one();
    }

    /// Begins to read the alerts of these machines: from the store, so on a thread that may wait.
    fn read(&self, due: Due) -> Reading {
        let (buffer, language) = (self.buffer.clone(), self.language);
        let (everything, wanted) = (due.everything, due.assets.clone());
        let told = tokio::task::spawn_blocking(move || {
            let (mut assets, alerts) = (wanted, buffer.alerts());
            if everything {
                let open = alerts.iter().filter(|alert| alert.state.is_open());
                assets.extend(open.map(|alert| Arc::clone(&alert.asset)));
            }
            let evidence = |id| buffer.get(id).ok().flatten();
            payload::alerts(assets, alerts, language, &evidence)
        });
        Reading { due, told }
    }

    /// Says what was read. What could not be read is due again, and `false`.
    fn tell(&self, reading: Option<Reading>, told: Result<Told, JoinError>, due: &mut Due) -> bool {
        let Some(Reading { due: read, .. }) = reading else { return true };
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                tracing::error!(%error, "the alerts could not be read for the broker; trying again");
                due.everything |= read.everything;
                due.assets.extend(read.assets);
                return false;
            }
        };
        let mut outbox = self.shared.outbox();
        let mut over: BTreeSet<String> = if read.everything { outbox.alert_topics() } else { BTreeSet::new() };
        for (asset, payload) in told {
            let topic = self.shared.topics.alert(&asset);
            over.remove(&topic);
            outbox.alert(topic, payload);
        }
        for topic in over {
            outbox.alert(topic, String::new());
        }
        drop(outbox);
        self.shared.ready.cancel();
        self.shared.news.notify_one();
        true
    }
}

/// Waits for what is being read; for ever where nothing is.
async fn finished(reading: &mut Option<Reading>) -> Result<Told, JoinError> {
    match reading {
        Some(reading) => (&mut reading.told).await,
        None => std::future::pending().await,
    }
}

/// The last word, whatever became of the rest.
pub(super) fn close(shared: &Shared) {
    shared.outbox().close(payload::offline(&shared.gateway, clock::now().utc));
    shared.closing.cancel();
    shared.news.notify_one();
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::alert::AlarmState::{Acknowledged, Normal, Unacknowledged};
    use serde_json::json;

    use super::super::outbox::Message;
    use super::*;
    use crate::buffer::samples::{explained, open, prediction, transition};

    fn gatherer(buffer: &Buffer) -> Gatherer {
        Gatherer {
            shared: Arc::new(Shared::for_tests("line-3", &["press-7"])),
            buffer: buffer.clone(),
            about: Box::new(|| json!({ "stopped": null })),
            language: Language::English,
            started: clock::now().utc,
        }
    }

    /// Runs it while `work` goes on, stops it, and returns what was told.
    fn told(buffer: &Buffer, work: impl FnOnce(&Shared)) -> Vec<Message> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (gatherer, stop) = (gatherer(buffer), CancellationToken::new());
        let shared = Arc::clone(&gatherer.shared);
        let stopped = stop.clone();
        let running = runtime.spawn(async move { gatherer.run(&stopped).await });
        runtime.block_on(shared.ready.cancelled());
        work(&shared);
        stop.cancel();
        runtime.block_on(running).unwrap();
        close(&shared);
        let (mut outbox, mut told) = (shared.outbox(), Vec::new());
        while let Some(message) = outbox.next(std::time::Instant::now()) {
            outbox.named(1);
            outbox.taken(1);
            told.push(message);
        }
        told
    }

    #[test]
    fn what_is_stored_is_told_and_what_is_over_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let made = prediction(1, 65.0);
        let raised = transition(1, None, (Normal, Unacknowledged), Some(made.id), None);
        let (id, alert) = (made.id, raised.id);
        let told = told(&buffer, |_| {
            buffer.append(vec![made, raised]).unwrap();
            buffer.settle(vec![(id, explained(65.0))]).unwrap();
        });
        let topics: Vec<_> = told.iter().map(|message| message.topic.as_str()).collect();
        let expected =
            ["explaind/line-3/press-7/alert", "explaind/line-3/press-7/prediction", "explaind/line-3/status"];
        assert!(topics.ends_with(&expected), "{topics:?}");
        let alerts: Vec<_> = told.iter().filter(|message| message.topic.ends_with("/alert")).collect();
        assert!(alerts.iter().all(|message| message.retain && message.payload.contains(&alert.to_string())));
        assert!(alerts.last().unwrap().payload.contains("Torque 65 Nm"), "{alerts:?}");
        let predictions = told.iter().filter(|message| message.topic.ends_with("/prediction")).count();
        assert_eq!(predictions, 1, "its explanation makes no second message");
        assert!(told.last().unwrap().payload.contains("\"stopped\""));

        // The next run finds it open, and sees it close.
        let told = self::told(&buffer, |shared| {
            assert_eq!(shared.outbox().alert_topics().into_iter().collect::<Vec<_>>(), [expected[0]]);
            for (from, to) in [(Unacknowledged, Acknowledged), (Acknowledged, Normal)] {
                buffer.append(vec![transition(2, Some(alert), (from, to), None, Some("ada"))]).unwrap();
            }
        });
        let last = told.iter().rfind(|message| message.topic == expected[0]).unwrap();
        assert_eq!((last.payload.as_str(), last.retain), ("", true));
    }

    #[test]
    fn whoever_falls_behind_reads_the_alerts_anew() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let gatherer = gatherer(&buffer);
        let shared = Arc::clone(&gatherer.shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut news = buffer.subscribe();
        buffer.append(vec![transition(1, None, (Normal, Unacknowledged), None, None)]).unwrap();
        for _ in 0..3 {
            buffer.append((0..500).map(|n| prediction(n, 65.0)).collect()).unwrap();
        }
        runtime.block_on(gatherer.finish(&mut news, Due::default(), None));
        let topics: Vec<_> = shared.outbox().alert_topics().into_iter().collect();
        assert_eq!(topics, ["explaind/line-3/press-7/alert"]);
        let shown = shared.status.json();
        assert_eq!(shown["dropped"], 1501 - 1024, "{shown}");
    }
}
