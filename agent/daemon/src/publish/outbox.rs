//! What is to be told to the broker, and what it has taken. Pure: nothing here waits, and time comes in as an argument.
//!
//! There are two kinds of messages. *States* (the gateway's, and each machine's alert) are retained by the broker; of each
//! only the newest counts, so it is kept here under its topic, replaced when it changes, and sent anew after every
//! connection. *Predictions* are told once each: they wait in a queue with a bound, and the oldest are dropped, since who
//! runs a machine wants to know how it is now.
//!
//! A message counts as published when the broker has acknowledged it, never when the client library has taken it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

/// Predictions that wait for the broker. With one more the oldest is dropped.
pub(super) const MOST_PREDICTIONS: usize = 1024;
/// Messages under way that the broker has not acknowledged.
pub(super) const WINDOW: usize = 32;

/// What a message is about, for the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Status,
    Alert,
    Prediction,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Alert => "alert",
            Self::Prediction => "prediction",
        }
    }
}

/// A message as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) retain: bool,
}

/// A state that the broker is to keep; with an empty payload it is to keep none.
struct State {
    payload: String,
    version: u64,
    /// The version that is under way.
    sent: Option<u64>,
    /// The version that the broker has.
    taken: Option<u64>,
    /// Whether its topic is in `due`.
    queued: bool,
}

struct Prediction {
    number: u64,
    topic: String,
    payload: String,
}

/// A message under way.
enum Sent {
    State { topic: String, version: u64 },
    Prediction(Prediction),
}

/// Everything that is to be told.
pub(super) struct Outbox {
    status_topic: String,
    states: BTreeMap<String, State>,
    /// Topics of states that the broker has not got as they are.
    due: VecDeque<String>,
    predictions: VecDeque<Prediction>,
    number: u64,
    /// Given to the client, which has not named their packet yet.
    handed: VecDeque<(Sent, Instant)>,
    /// By their packets.
    flying: HashMap<u16, (Sent, Instant)>,
    /// The last message, once it is the end; it goes after all others.
    last: Option<String>,
}

impl Outbox {
    /// With nothing in it. The state under `status_topic` goes before all others, and at the end after them.
    pub(super) fn new(status_topic: String) -> Self {
        Self {
            status_topic,
            states: BTreeMap::new(),
            due: VecDeque::new(),
            predictions: VecDeque::new(),
            number: 0,
            handed: VecDeque::new(),
            flying: HashMap::new(),
            last: None,
        }
    }

    /// The gateway's own state.
    pub(super) fn status(&mut self, payload: String) {
        if self.last.is_none() {
            let topic = self.status_topic.clone();
            self.put(topic, payload);
        }
    }

    /// What the broker is to keep under this topic; nothing when it is empty.
    pub(super) fn alert(&mut self, topic: String, payload: String) {
        if !payload.is_empty() || self.states.contains_key(&topic) {
            self.put(topic, payload);
        }
    }

    /// The broker keeps something under this topic, or may do: unless that is as it should be, it goes.
    pub(super) fn stale(&mut self, topic: &str) {
        if !self.states.contains_key(topic) {
            self.put(topic.to_owned(), String::new());
        }
    }

    /// The topics of alerts that the broker is to keep something under.
    pub(super) fn alert_topics(&self) -> BTreeSet<String> {
        let kept =
            self.states.iter().filter(|(topic, state)| **topic != self.status_topic && !state.payload.is_empty());
        kept.map(|(topic, _)| topic.clone()).collect()
    }

    /// One more prediction. `true` when the oldest that waited was dropped for it.
    pub(super) fn prediction(&mut self, topic: String, payload: String) -> bool {
        self.number += 1;
        let full = self.predictions.len() == MOST_PREDICTIONS;
        if full {
            self.predictions.pop_front();
        }
        self.predictions.push_back(Prediction { number: self.number, topic, payload });
        full
    }

    /// No more comes but this last state of the gateway.
    pub(super) fn close(&mut self, status: String) {
        self.last = Some(status);
    }

    /// Whether no more comes.
    pub(super) fn is_closed(&self) -> bool {
        self.last.is_some()
    }

    /// There is no time for all that waits. Returns how many predictions are dropped.
    pub(super) fn hurry(&mut self) -> usize {
        std::mem::take(&mut self.predictions).len()
    }

    /// Whether the broker has all that it is to have.
    pub(super) fn is_done(&self) -> bool {
        let last_is_said =
            self.states.get(&self.status_topic).is_some_and(|state| self.last.as_ref() == Some(&state.payload));
        self.under_way() == 0 && self.waiting() == 0 && (self.last.is_none() || last_is_said)
    }

    /// The next message, if one may go now. It counts as under way from here on.
    pub(super) fn next(&mut self, now: Instant) -> Option<Message> {
        if self.under_way() >= WINDOW {
            return None;
        }
        if self.due.is_empty()
            && self.predictions.is_empty()
            && let Some(last) = self.last.clone()
        {
            let topic = self.status_topic.clone();
            self.put(topic, last);
        }
        while let Some(topic) = self.due.pop_front() {
            let Some(state) = self.states.get_mut(&topic) else { continue };
            state.queued = false;
            if state.sent.is_some() || state.taken == Some(state.version) {
                continue;
            }
            state.sent = Some(state.version);
            let message = Message { topic: topic.clone(), payload: state.payload.clone(), retain: true };
            self.handed.push_back((Sent::State { topic, version: state.version }, now));
            return Some(message);
        }
        let prediction = self.predictions.pop_front()?;
        let message = Message { topic: prediction.topic.clone(), payload: prediction.payload.clone(), retain: false };
        self.handed.push_back((Sent::Prediction(prediction), now));
        Some(message)
    }

    /// The oldest message without a packet goes in this one.
    pub(super) fn named(&mut self, packet: u16) {
        if let Some(sent) = self.handed.pop_front() {
            self.flying.insert(packet, sent);
        }
    }

    /// The broker has taken what was in this packet.
    pub(super) fn taken(&mut self, packet: u16) -> Option<Kind> {
        let (sent, _) = self.flying.remove(&packet)?;
        let Sent::State { topic, version } = sent else { return Some(Kind::Prediction) };
        let kind = if topic == self.status_topic { Kind::Status } else { Kind::Alert };
        let Some(state) = self.states.get_mut(&topic) else { return Some(kind) };
        state.sent = None;
        state.taken = Some(version);
        if state.version != version {
            self.queue(&topic);
        } else if state.payload.is_empty() {
            self.states.remove(&topic);
        }
        Some(kind)
    }

    /// The connection is gone, and with it all knowledge of what the broker has. Returns how many predictions are dropped
    /// since too many wait.
    pub(super) fn lost(&mut self) -> usize {
        let under_way = self.handed.drain(..).chain(self.flying.drain().map(|(_, sent)| sent));
        let mut again: Vec<_> = under_way
            .filter_map(|(sent, _)| match sent {
                Sent::Prediction(prediction) => Some(prediction),
                Sent::State { .. } => None,
            })
            .collect();
        again.sort_by_key(|prediction| std::cmp::Reverse(prediction.number));
        again.into_iter().for_each(|prediction| self.predictions.push_front(prediction));
        let surplus = self.predictions.len().saturating_sub(MOST_PREDICTIONS);
        self.predictions.drain(..surplus);
        self.due.clear();
        for (topic, state) in &mut self.states {
            (state.sent, state.taken, state.queued) = (None, None, true);
            if *topic == self.status_topic {
                self.due.push_front(topic.clone());
            } else {
                self.due.push_back(topic.clone());
            }
        }
        surplus
    }

    /// Messages that wait.
    pub(super) fn waiting(&self) -> usize {
        self.due.len() + self.predictions.len()
    }

    /// Since when the broker owes an acknowledgement.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.handed.iter().chain(self.flying.values()).map(|(_, at)| *at).min()
    }

    fn under_way(&self) -> usize {
        self.handed.len() + self.flying.len()
    }

    fn put(&mut self, topic: String, payload: String) {
        let state = self.states.entry(topic.clone()).or_insert_with(|| State {
            payload: String::new(),
            version: 0,
            sent: None,
            taken: None,
            queued: false,
        });
        if state.version > 0 && state.payload == payload {
            return;
        }
        state.payload = payload;
        state.version += 1;
        self.queue(&topic);
    }

    /// Has a state sent, unless it is about to be, or under way: then it goes after that, as it is by then.
    fn queue(&mut self, topic: &str) {
        let Some(state) = self.states.get_mut(topic) else { return };
        if state.queued || state.sent.is_some() {
            return;
        }
        state.queued = true;
        if topic == self.status_topic && self.last.is_none() {
            self.due.push_front(topic.to_owned());
        } else {
            self.due.push_back(topic.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "gw/status";

    /// An outbox with a broker that takes packets by number.
    struct Rig {
        outbox: Outbox,
        now: Instant,
        packet: u16,
    }

    impl Rig {
        fn new() -> Self {
            Self { outbox: Outbox::new(STATUS.to_owned()), now: Instant::now(), packet: 0 }
        }

        /// Sends one message, and says under which packet.
        fn send(&mut self) -> Option<(u16, String)> {
            let message = self.outbox.next(self.now)?;
            self.packet += 1;
            self.outbox.named(self.packet);
            Some((
                self.packet,
                format!("{}={}{}", message.topic, message.payload, if message.retain { "!" } else { "" }),
            ))
        }

        /// Sends all that may go, and has the broker take it.
        fn deliver(&mut self) -> Vec<String> {
            let mut told = Vec::new();
            while let Some((packet, message)) = self.send() {
                assert!(self.outbox.taken(packet).is_some());
                told.push(message);
            }
            told
        }
    }

    #[test]
    fn states_go_first_and_the_same_is_not_told_twice() {
        let mut rig = Rig::new();
        assert!(!rig.outbox.prediction("p".into(), "1".into()));
        rig.outbox.alert("b/alert".into(), "raised".into());
        rig.outbox.status("online".into());
        assert_eq!(rig.deliver(), ["gw/status=online!", "b/alert=raised!", "p=1"]);
        rig.outbox.status("online".into());
        rig.outbox.alert("b/alert".into(), "raised".into());
        rig.outbox.alert("a/alert".into(), String::new());
        assert!(
            rig.deliver().is_empty() && rig.outbox.is_done(),
            "nothing is new, and what never was needs no clearing"
        );
        assert_eq!(rig.outbox.alert_topics().into_iter().collect::<Vec<_>>(), ["b/alert"]);
        rig.outbox.alert("b/alert".into(), String::new());
        assert_eq!(rig.deliver(), ["b/alert=!"]);
        assert!(rig.outbox.alert_topics().is_empty());
        rig.outbox.lost();
        assert_eq!(rig.deliver(), ["gw/status=online!"], "what is cleared is forgotten");
    }

    #[test]
    fn a_state_that_changes_while_it_is_under_way_follows_once_as_it_is_then() {
        let mut rig = Rig::new();
        rig.outbox.alert("a".into(), "1".into());
        let (packet, _) = rig.send().unwrap();
        for state in ["2", "3"] {
            rig.outbox.alert("a".into(), state.into());
        }
        assert_eq!(rig.send(), None, "one at a time");
        assert_eq!(rig.outbox.taken(packet), Some(Kind::Alert));
        assert_eq!(rig.deliver(), ["a=3!"]);
        assert_eq!(rig.outbox.taken(packet), None, "a packet counts once");
    }

    #[test]
    fn after_a_loss_states_are_told_anew_and_predictions_in_their_order() {
        let mut rig = Rig::new();
        rig.outbox.status("online".into());
        rig.outbox.alert("a".into(), "raised".into());
        for n in 0..5 {
            rig.outbox.prediction("p".into(), n.to_string());
        }
        let sent: Vec<_> = (0..6).map(|_| rig.send().unwrap()).collect();
        rig.outbox.taken(sent[0].0);
        rig.outbox.taken(sent[3].0);
        assert_eq!(rig.outbox.lost(), 0);
        assert_eq!(rig.outbox.owed_since(), None);
        assert_eq!(rig.deliver(), ["gw/status=online!", "a=raised!", "p=0", "p=2", "p=3", "p=4"]);
    }

    #[test]
    fn a_broker_that_takes_nothing_costs_a_bounded_queue_and_the_oldest_go() {
        let mut rig = Rig::new();
        rig.outbox.alert("a".into(), "1".into());
        let most = MOST_PREDICTIONS + WINDOW - 1;
        let mut dropped = 0;
        for n in 0..most + 10 {
            dropped += usize::from(rig.outbox.prediction("p".into(), n.to_string()));
            if n < 100 {
                rig.send();
            }
        }
        assert_eq!(dropped, 10);
        assert_eq!((rig.outbox.waiting(), rig.send()), (MOST_PREDICTIONS, None));
        assert_eq!(rig.outbox.owed_since(), Some(rig.now));
        rig.outbox.alert("a".into(), "2".into());
        assert_eq!(rig.outbox.lost(), WINDOW - 1, "those that were under way are the oldest now");
        let told = rig.deliver();
        assert_eq!((told[0].as_str(), told[1].as_str()), ("a=2!", "p=41"));
        assert_eq!(told.len(), 1 + MOST_PREDICTIONS);
    }

    #[test]
    fn what_the_broker_keeps_of_others_goes_and_what_is_ours_stays() {
        let mut rig = Rig::new();
        rig.outbox.alert("here/alert".into(), "raised".into());
        for topic in ["gone/alert", "here/alert", "gone/alert"] {
            rig.outbox.stale(topic);
        }
        assert_eq!(rig.deliver(), ["here/alert=raised!", "gone/alert=!"]);
        rig.outbox.stale("gone/alert");
        rig.outbox.alert("gone/alert".into(), "raised again".into());
        assert_eq!(rig.deliver(), ["gone/alert=raised again!"]);
    }

    #[test]
    fn the_last_word_is_said_last_and_only_it_makes_the_end() {
        let mut rig = Rig::new();
        rig.outbox.status("online".into());
        rig.deliver();
        rig.outbox.alert("a".into(), "raised".into());
        rig.outbox.prediction("p".into(), "1".into());
        rig.outbox.close("offline".into());
        rig.outbox.status("online again".into());
        assert!(rig.outbox.is_closed() && !rig.outbox.is_done());
        assert_eq!(rig.deliver(), ["a=raised!", "p=1", "gw/status=offline!"]);
        assert!(rig.outbox.is_done());
        // Without a connection nothing is done, and there is no hurry that helps.
        let mut rig = Rig::new();
        rig.outbox.prediction("p".into(), "1".into());
        rig.outbox.close("offline".into());
        assert_eq!(rig.outbox.hurry(), 1);
        assert!(!rig.outbox.is_done());
        assert_eq!(rig.deliver(), ["gw/status=offline!"]);
        assert!(rig.outbox.is_done());
    }
}
