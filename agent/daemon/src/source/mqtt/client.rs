//! The connection to the broker: our own supervisor drives rumqttc's event loop and subscribes anew every time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use explaind_core::domain::sample::{Quality, Sample, SignalId};
use explaind_core::domain::time::Now;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, Publish, QoS, SubAck, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::time::timeout;

use super::payload::Payload;
use super::{Config, Signal};
use crate::clock;
use crate::source::link::{Ending, Link};
use crate::source::{bad_sample, sample, status};

/// The largest message taken in; a larger one ends the connection.
const LARGEST_PACKET: usize = 4 << 20;
/// Topics in one SUBSCRIBE, which brokers limit too.
const TOPICS_AT_ONCE: usize = 100;
/// How long the broker may take to hear our goodbye.
const GOODBYE: Duration = Duration::from_millis(300);

/// The signals of one topic.
type Topics<'a> = BTreeMap<&'a str, Vec<(SignalId, &'a Signal)>>;

/// Serves one connection.
pub(in crate::source) async fn run(config: &Config, link: &Link) -> Result<(), Ending> {
    let mut topics = Topics::new();
    for signal in &config.signals {
        let id = SignalId::new(link.name(), &signal.name);
        topics.entry(&signal.topic.0).or_default().push((id, signal));
    }
    let options = options(config, link.name())?;
    let (client, events) = AsyncClient::new(options, topics.len().div_ceil(TOPICS_AT_ONCE) + 1);
    let mut session =
        Session { config, link, topics, client, events, unsent: VecDeque::new(), asked: BTreeMap::new(), granted: 0 };
    let ending = tokio::select! {
        () = link.stopped() => Err(Ending::Stopped),
        ending = session.serve() => ending,
    };
    session.close().await;
    ending
}

struct Session<'a> {
    config: &'a Config,
    link: &'a Link,
    topics: Topics<'a>,
    client: AsyncClient,
    events: EventLoop,
    /// Groups of topics handed to the event loop, which has not named their packet yet.
    unsent: VecDeque<Vec<&'a str>>,
    /// Groups of topics by the packet that asks for them.
    asked: BTreeMap<u16, Vec<&'a str>>,
    granted: usize,
}

impl Session<'_> {
    async fn serve(&mut self) -> Result<(), Ending> {
        loop {
            // While this waits for the driver the socket is not read, and the broker holds messages back.
            match self
                .events
                .poll()
                .await
                .map_err(|error| Ending::Lost(self.config.broker.explain(&error, self.granted > 0)))?
            {
                Event::Incoming(Packet::ConnAck(_)) => self.subscribe()?,
                Event::Outgoing(Outgoing::Subscribe(packet)) => {
                    if let Some(group) = self.unsent.pop_front() {
                        self.asked.insert(packet, group);
                    }
                }
                Event::Incoming(Packet::SubAck(answer)) => self.subscribed(&answer)?,
                Event::Incoming(Packet::Publish(message)) => self.take_in(&message).await?,
                Event::Incoming(Packet::Disconnect) => {
                    return Err(Ending::Lost(format!("{} ended the connection", self.config.broker.address())));
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    }

    fn subscribe(&mut self) -> Result<(), Ending> {
        self.link.waiting("connected; subscribing");
        let topics: Vec<_> = self.topics.keys().copied().collect();
        for group in topics.chunks(TOPICS_AT_ONCE) {
            let filters = group.iter().map(|topic| SubscribeFilter::new((*topic).to_owned(), QoS::AtLeastOnce));
            // The queue was made long enough for all groups.
            self.client.try_subscribe_many(filters).map_err(|error| {
                Ending::Lost(format!("cannot subscribe at {}: {error}", self.config.broker.address()))
            })?;
            self.unsent.push_back(group.to_vec());
        }
        Ok(())
    }

    fn subscribed(&mut self, answer: &SubAck) -> Result<(), Ending> {
        let group = self.asked.remove(&answer.pkid).unwrap_or_default();
        for (topic, code) in group.iter().zip(&answer.return_codes) {
            match code {
                SubscribeReasonCode::Success(_) => self.granted += 1,
                SubscribeReasonCode::Failure => {
                    let fault = "the broker refuses the subscription; look at its access rules";
                    self.link.trouble(&format!("topic {topic}"), fault);
                }
            }
        }
        let answered = self.unsent.is_empty() && self.asked.is_empty();
        if answered && self.granted == 0 {
            let reason = "refuses every subscription; look at the broker's access rules";
            return Err(Ending::Lost(format!("{} {reason}", self.config.broker.address())));
        }
        self.link.waiting("connected and subscribed; no message has arrived yet");
        Ok(())
    }

    async fn take_in(&mut self, message: &Publish) -> Result<(), Ending> {
        let Some(signals) = self.topics.get(message.topic.as_str()) else { return Ok(()) };
        let arrival = clock::now();
        let mut payload = Payload::new(&message.payload);
        let samples: Vec<_> = signals
            .iter()
            .map(|(id, signal)| read_out(id, signal, &mut payload, message.retain, arrival, self.link))
            .collect();
        let usable = samples.iter().any(|sample| sample.quality != Quality::Bad);
        self.link.samples(samples).await?;
        // What the broker kept says nothing about whether the plant still sends.
        if usable && !message.retain {
            self.link.up();
        }
        Ok(())
    }

    /// Says goodbye, so that the broker does not take the end for a failure.
    async fn close(&mut self) {
        if self.client.try_disconnect().is_ok() && self.events.network.is_some() {
            let gone = async { while self.events.poll().await.is_ok_and(|event| !is_goodbye(&event)) {} };
            // Not waiting longer is all that can be done about a broker that does not listen.
            let _ = timeout(GOODBYE, gone).await;
        }
    }
}

fn is_goodbye(event: &Event) -> bool {
    matches!(event, Event::Outgoing(Outgoing::Disconnect))
}

fn options(config: &Config, source: &str) -> Result<MqttOptions, Ending> {
    // A name of its own for each run: two clients with the same one throw each other out for ever.
    let id = config.broker.client_id().map_or_else(
        || {
            let random = clock::random();
            format!("explaind-{source}-{:02x}{:02x}{:02x}{:02x}", random[0], random[1], random[2], random[3])
        },
        str::to_owned,
    );
    Ok(config.broker.options(id, LARGEST_PACKET)?)
}

fn read_out(
    id: &SignalId,
    signal: &Signal,
    payload: &mut Payload<'_>,
    retained: bool,
    arrival: Now,
    link: &Link,
) -> Sample {
    let time = signal.time_pointer.as_ref().map(|pointer| payload.time(pointer)).transpose();
    let value = match payload.value(signal.pointer.as_ref()) {
        Ok(value) => value,
        Err(fault) => {
            link.trouble(&signal.name, &fault.message);
            return bad_sample(id, fault.status, time.unwrap_or_default(), arrival);
        }
    };
    match time {
        Ok(Some(time)) => {
            link.fine(&signal.name);
            sample(id, value, status::GOOD, Some(time), arrival)
        }
        // Kept by the broker for nobody knows how long.
        Ok(None) if retained => sample(id, value, status::UNCERTAIN_LAST_USABLE_VALUE, None, arrival),
        Ok(None) => {
            link.fine(&signal.name);
            sample(id, value, status::GOOD, None, arrival)
        }
        // The value came, but when it was measured is not known.
        Err(fault) => {
            link.trouble(&signal.name, &fault.message);
            sample(id, value, status::UNCERTAIN, None, arrival)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use explaind_core::domain::sample::{SourceEvent, Value};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::Metrics;

    /// Reads one packet (shorter than 128 bytes) after its first byte and length.
    async fn packet(stream: &mut TcpStream) -> Vec<u8> {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.unwrap();
        let mut body = vec![0; usize::from(head[1])];
        stream.read_exact(&mut body).await.unwrap();
        body
    }

    fn publish(topic: &str, payload: &str, retained: bool) -> Vec<u8> {
        let mut message = vec![0x30 | u8::from(retained), u8::try_from(2 + topic.len() + payload.len()).unwrap()];
        message.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        message.extend([topic.as_bytes(), payload.as_bytes()].concat());
        message
    }

    /// A broker that answers two subscriptions with these codes and then sends these messages.
    async fn broker(codes: [u8; 2], messages: Vec<Vec<u8>>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            packet(&mut stream).await;
            stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
            let subscribe = packet(&mut stream).await;
            stream.write_all(&[0x90, 4, subscribe[0], subscribe[1], codes[0], codes[1]]).await.unwrap();
            stream.write_all(&messages.concat()).await.unwrap();
            // Stays until the client goes.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        port
    }

    fn config(port: u16) -> Config {
        let toml = format!(
            "url='mqtt://127.0.0.1:{port}'\n\
             [[signal]]\nname='torque'\ntopic='a'\npointer='/torque'\ntime_pointer='/t'\n\
             [[signal]]\nname='wear'\ntopic='a'\npointer='/wear'\n\
             [[signal]]\nname='speed'\ntopic='b'"
        );
        Config::parse(toml.parse().unwrap(), Path::new("/")).unwrap()
    }

    #[tokio::test]
    async fn one_message_is_one_event_and_old_news_are_marked() {
        let json = r#"{"torque":1.5,"t":1000,"wear":3}"#;
        let messages = vec![publish("a", json, true), publish("b", "x", false), publish("b", "7", false)];
        let config = config(broker([1, 1], messages).await);
        let (events, mut arrived) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let link = Link::new("floor", events, Metrics::new(), stop.clone());
        let watch = link.watch();
        let client = tokio::spawn(async move { run(&config, &link).await });
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let Some(SourceEvent::Samples(samples)) = arrived.recv().await else { panic!("no samples") };
            seen.push(samples);
        }
        let [torque, wear] = &seen[0][..] else { panic!("two signals share the topic") };
        assert_eq!((torque.quality, torque.source_time.unwrap().as_micros()), (Quality::Good, 1_000_000));
        assert_eq!((wear.quality, wear.status), (Quality::Uncertain, status::UNCERTAIN_LAST_USABLE_VALUE));
        assert_eq!(seen[1][0].quality, Quality::Bad);
        assert_eq!((&seen[2][0].value, seen[2][0].quality), (&Value::Number(7.0), Quality::Good));
        stop.cancel();
        assert!(matches!(client.await.unwrap(), Err(Ending::Stopped)));
        assert_eq!(watch.status().error, None, "the good message ended the trouble of the bad one");
    }

    #[tokio::test]
    async fn a_refused_topic_is_named_and_does_not_cost_the_others() {
        let config = config(broker([1, 0x80], vec![publish("a", r#"{"torque":1,"t":0,"wear":2}"#, false)]).await);
        let (events, mut arrived) = mpsc::channel(4);
        let link = Link::new("floor", events, Metrics::new(), CancellationToken::new());
        let watch = link.watch();
        tokio::select! {
            _ = run(&config, &link) => panic!("ended"),
            event = arrived.recv() => assert!(matches!(event, Some(SourceEvent::Samples(samples)) if samples.len() == 2)),
        }
        let error = watch.status().error.unwrap();
        assert!(watch.connected() && error.contains("topic b: the broker refuses"), "{error}");
    }

    #[tokio::test]
    async fn a_broker_that_refuses_everything_is_no_connection() {
        let config = config(broker([0x80, 0x80], Vec::new()).await);
        let (events, _arrived) = mpsc::channel(1);
        let link = Link::new("floor", events, Metrics::new(), CancellationToken::new());
        let error = run(&config, &link).await.unwrap_err().to_string();
        assert!(error.contains("refuses every subscription"), "{error}");
    }
}
