//! One connection to the broker: what waits goes out as far as the broker keeps up, and what it acknowledges is done.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, Outgoing, Packet, Publish, QoS, StateError, SubAck,
    SubscribeReasonCode,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::command::Acknowledgement;
use super::outbox::WINDOW;
use super::status::Acknowledge;
use super::{Config, Shared, payload};

/// The largest message that is taken in. One that is larger ends the connection, so this is far above what a command needs.
const LARGEST_PACKET: usize = 1 << 20;
/// Requests to the client beside messages: subscriptions, and what ends them.
const REQUESTS: usize = 4;
/// Packets are numbered up to this, and then from 1 again.
const PACKETS: u16 = 256;
/// A broker that does not acknowledge for so long is not there.
const OWED: Duration = Duration::from_secs(30);
/// How long the broker is listened to for alerts of machines that are gone.
const SWEEP: Duration = Duration::from_secs(10);
/// How often it is looked whether the broker owes something.
const BEAT: Duration = Duration::from_secs(1);
/// At the end predictions are let go of after this time, and everything after that one.
const HURRY: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(4);
/// How long the broker may take to hear our goodbye.
const GOODBYE: Duration = Duration::from_millis(300);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The daemon stops, and the broker knows, or was never reached.
    Closed,
    /// The daemon stops, and the broker did not take all in time: it has our last will.
    Unfinished,
    /// It failed; the reason is a sentence.
    Lost {
        reason: String,
        /// A message came in that was too large to be read.
        too_large: bool,
    },
}

impl Ending {
    fn lost(reason: impl Into<String>) -> Self {
        Self::Lost { reason: reason.into(), too_large: false }
    }
}

/// Serves one connection. `deaf`: it subscribes to nothing.
pub(super) async fn run(
    config: &Config,
    shared: &Shared,
    commands: &mpsc::Sender<Acknowledgement>,
    deaf: bool,
) -> Ending {
    let mut options = match config.broker.options(config.id(&shared.gateway), LARGEST_PACKET) {
        Ok(options) => options,
        Err(reason) => return Ending::lost(reason),
    };
    let will = LastWill::new(shared.topics.status(), payload::gone(&shared.gateway), QoS::AtLeastOnce, true);
    // Far above the window, so that a packet which is answered late stands in nobody's way.
    options.set_last_will(will).set_inflight(PACKETS);
    let (client, mut events) = AsyncClient::new(options, WINDOW + REQUESTS);
    let connected = tokio::select! {
        first = events.poll() => first,
        () = shared.closing.cancelled() => return Ending::Closed,
    };
    match connected {
        Ok(Event::Incoming(Packet::ConnAck(_))) => {}
        Ok(_) => return Ending::lost(format!("{} did not answer as an MQTT broker", config.broker.address())),
        Err(error) => return Ending::lost(config.broker.explain(&error, false)),
    }
    shared.status.up();
    let mut intake = Intake {
        config,
        shared,
        commands,
        client: client.clone(),
        unsent: VecDeque::new(),
        asked: BTreeMap::new(),
        sweep_until: None,
    };
    if deaf {
        intake.assume_stale();
        if config.acknowledge {
            shared.status.acknowledge(Acknowledge::Not("off for ten minutes: a message was too large"));
        }
    } else if let Err(ending) = intake.subscribe() {
        return ending;
    }
    // Two futures that are never cut off while the connection lasts: the client loses a packet when its poll is dropped.
    let ending = tokio::select! {
        ending = intake.serve(&mut events) => ending,
        ending = feed(&client, config, shared) => ending,
    };
    if matches!(ending, Ending::Closed) {
        say_goodbye(&client, &mut events).await;
    }
    ending
}

/// Hands messages to the client while the broker keeps up.
async fn feed(client: &AsyncClient, config: &Config, shared: &Shared) -> Ending {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closed_at = None;
    loop {
        tokio::select! {
            () = shared.news.notified() => {}
            _ = beat.tick() => {}
        }
        let now = Instant::now();
        let mut outbox = shared.outbox();
        if outbox.is_closed() {
            let passed = now.saturating_duration_since(*closed_at.get_or_insert(now));
            if outbox.is_done() {
                return Ending::Closed;
            }
            if passed >= LATEST {
                return Ending::Unfinished;
            }
            if passed >= HURRY {
                shared.status.dropped("stopped", u64::try_from(outbox.hurry()).unwrap_or(u64::MAX));
            }
        }
        if outbox.owed_since().is_some_and(|since| now.saturating_duration_since(since) > OWED) {
            let address = config.broker.address();
            return Ending::lost(format!("{address} does not acknowledge what it is sent"));
        }
        while let Some(message) = outbox.next(now) {
            // The client has room for the whole window.
            if let Err(error) = client.try_publish(message.topic, QoS::AtLeastOnce, message.retain, message.payload) {
                return Ending::lost(format!("the client takes no message: {error}"));
            }
        }
        shared.status.waiting(outbox.waiting());
    }
}

/// What a subscription is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    /// What the broker keeps of alerts, to clear what is gone.
    Alerts,
    Commands,
}

/// What comes from the broker.
struct Intake<'a> {
    config: &'a Config,
    shared: &'a Shared,
    commands: &'a mpsc::Sender<Acknowledgement>,
    client: AsyncClient,
    /// Subscriptions handed to the client, which has not named their packet yet.
    unsent: VecDeque<Topic>,
    asked: BTreeMap<u16, Topic>,
    sweep_until: Option<Instant>,
}

impl Intake<'_> {
    fn subscribe(&mut self) -> Result<(), Ending> {
        let topics = &self.shared.topics;
        let mut wanted = vec![(Topic::Alerts, topics.alerts())];
        if self.config.acknowledge {
            wanted.push((Topic::Commands, topics.acknowledge()));
        }
        for (topic, filter) in wanted {
            self.client
                .try_subscribe(filter, QoS::AtLeastOnce)
                .map_err(|error| Ending::lost(format!("cannot subscribe: {error}")))?;
            self.unsent.push_back(topic);
        }
        Ok(())
    }

    async fn serve(&mut self, events: &mut EventLoop) -> Ending {
        loop {
            let event = match events.poll().await {
                Ok(event) => event,
                Err(error) => {
                    let too_large = is_too_large(&error);
                    return Ending::Lost { reason: self.config.broker.explain(&error, true), too_large };
                }
            };
            match event {
                Event::Outgoing(Outgoing::Publish(packet)) => self.shared.outbox().named(packet),
                Event::Incoming(Packet::PubAck(answer)) => {
                    let taken = self.shared.outbox().taken(answer.pkid);
                    if let Some(kind) = taken {
                        self.shared.status.published(kind);
                    }
                    self.shared.news.notify_one();
                }
                Event::Outgoing(Outgoing::Subscribe(packet)) => {
                    if let Some(topic) = self.unsent.pop_front() {
                        self.asked.insert(packet, topic);
                    }
                }
                Event::Incoming(Packet::SubAck(answer)) => self.subscribed(&answer),
                Event::Incoming(Packet::Publish(message)) => self.take_in(&message),
                Event::Incoming(Packet::Disconnect) => {
                    return Ending::lost(format!("{} ended the connection", self.config.broker.address()));
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
            self.end_sweep();
        }
    }

    fn subscribed(&mut self, answer: &SubAck) {
        let Some(topic) = self.asked.remove(&answer.pkid) else { return };
        let granted = answer.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
        match (topic, granted) {
            (Topic::Alerts, true) => self.sweep_until = Some(Instant::now() + SWEEP),
            (Topic::Alerts, false) => self.assume_stale(),
            (Topic::Commands, true) => self.shared.status.acknowledge(Acknowledge::On),
            (Topic::Commands, false) => {
                let topic = self.shared.topics.acknowledge();
                tracing::warn!(topic, "the broker refuses the subscription; look at its access rules");
                self.shared.status.acknowledge(Acknowledge::Not("the broker refuses the subscription"));
            }
        }
    }

    /// What the broker keeps is not known: machines without an alert are told to have none.
    fn assume_stale(&self) {
        let mut outbox = self.shared.outbox();
        for asset in &self.shared.assets {
            outbox.stale(&self.shared.topics.alert(asset));
        }
        drop(outbox);
        self.shared.news.notify_one();
    }

    /// What is retained of alerts arrives at once; after that only our own messages would come back.
    fn end_sweep(&mut self) {
        if self.sweep_until.is_some_and(|until| Instant::now() >= until) {
            self.sweep_until = None;
            // If it does not get through, our own alerts come back, and nothing follows from that.
            let _ = self.client.try_unsubscribe(self.shared.topics.alerts());
        }
    }

    fn take_in(&mut self, message: &Publish) {
        let topics = &self.shared.topics;
        if topics.is_alert(&message.topic) {
            if message.retain && !message.payload.is_empty() {
                self.shared.outbox().stale(&message.topic);
                self.shared.news.notify_one();
            }
            return;
        }
        // While the daemon stops nobody would answer any more.
        if message.topic != topics.acknowledge() || self.shared.closing.is_cancelled() {
            return;
        }
        match Acknowledgement::read(&message.payload, message.retain) {
            Ok(acknowledgement) => {
                if self.commands.try_send(acknowledgement).is_err() {
                    self.shared.status.refused("busy", "too many commands wait already");
                }
            }
            Err(fault) => self.shared.status.refused(fault.code(), &fault.to_string()),
        }
    }
}

fn is_too_large(error: &ConnectionError) -> bool {
    let ConnectionError::MqttState(StateError::Deserialization(error)) = error else { return false };
    matches!(error, rumqttc::Error::PayloadSizeLimitExceeded(_))
}

/// Ends the connection so that the broker does not take it for a failure.
async fn say_goodbye(client: &AsyncClient, events: &mut EventLoop) {
    if client.try_disconnect().is_ok() {
        let gone = async {
            while events.poll().await.is_ok_and(|event| !matches!(event, Event::Outgoing(Outgoing::Disconnect))) {}
        };
        // Not waiting longer is all that can be done about a broker that does not listen.
        let _ = timeout(GOODBYE, gone).await;
    }
}

/// Connects once and says in a sentence what was found. Nothing is told to the broker.
pub(super) async fn look(config: &Config, gateway: &str, acknowledge: Option<String>) -> Result<String, String> {
    let id = format!("{}-probe", config.id(gateway));
    let (client, mut events) = AsyncClient::new(config.broker.options(id, LARGEST_PACKET)?, REQUESTS);
    let explain = |error: &ConnectionError, spoke| config.broker.explain(error, spoke);
    match events.poll().await.map_err(|error| explain(&error, false))? {
        Event::Incoming(Packet::ConnAck(_)) => {}
        _ => return Err(format!("{} did not answer as an MQTT broker", config.broker.address())),
    }
    let found = match acknowledge {
        None => "connected".to_owned(),
        Some(topic) => {
            client.try_subscribe(&topic, QoS::AtLeastOnce).map_err(|error| format!("cannot subscribe: {error}"))?;
            let answer = loop {
                if let Event::Incoming(Packet::SubAck(answer)) =
                    events.poll().await.map_err(|error| explain(&error, true))?
                {
                    break answer;
                }
            };
            if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                return Err(format!("connected, but the broker refuses the subscription to {topic}"));
            }
            format!("connected, and subscribed to {topic}")
        }
    };
    say_goodbye(&client, &mut events).await;
    Ok(found)
}
