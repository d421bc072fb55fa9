//! Records as they lie on disk, version 1.
//!
//! These types are their own, apart from the domain's: postcard writes no field names, so a field that the domain
//! gains or moves would silently change the meaning of what is already on disk. A change here is a new version beside
//! the old one. The domain's plain enums (and the reasons for withholding, and the session) are stored as they are, by
//! position: new variants go to their end, and a test pins the bytes.
//!
//! What thousands of records share (names, digests, units) is stored once as a *frame* and referred to by number:
//! a prediction takes a fraction of the bytes, and the flash lives longer.

mod people;
mod prediction;
mod settlement;

use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::alert::Raised;
use explaind_core::domain::extra::{Extra, Kind};
use explaind_core::domain::record::{Audit, Body, Health, NewRecord, Session, StandIn, Stream};
use explaind_core::domain::time::{Now, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use people::{StoredAlarm, StoredAlert, StoredFeedback};
use prediction::{PredictionFrame, StoredPrediction};
use settlement::ExplanationFrame;
pub(super) use settlement::{StoredSettlement, frame_of_settlement};

/// What many records share. Stored once, under a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// What the records of one run of the daemon have in common.
    Session(Arc<Session>),
    /// What the predictions of one asset by one model have in common.
    Prediction(PredictionFrame),
    /// What the explanations of one model have in common.
    Explanation(ExplanationFrame),
}

/// Where frames are looked up when a record is read.
pub(super) trait Frames {
    /// The frame under a number.
    fn frame(&self, number: u32) -> Option<Arc<Frame>>;
}

/// A record without what its key, its session and its frame say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredRecord {
    id: [u8; 16],
    utc: i64,
    monotonic: Duration,
    clock_synchronised: bool,
    pub(super) session: u32,
    body: StoredBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum StoredBody {
    Prediction(StoredPrediction),
    Alert(StoredAlert),
    Feedback(Box<StoredFeedback>),
    Audit(StoredAudit),
    Health(StoredHealth),
    /// An alert of which is known which outputs are alarming.
    Raised(StoredAlert, Raised),
    /// Prediction, kind, content.
    Extra([u8; 16], Kind, String),
    /// A change of an alarm that takes more to say.
    Alarm(Box<StoredAlarm>),
    /// An audit record with what stands for its people: for the actor, for the object.
    Audited(Box<StoredAudit>, String, Option<String>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredAudit {
    actor: String,
    action: String,
    object: String,
    outcome: String,
    previous_hash: [u8; 32],
    hash: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredHealth {
    subject: String,
    state: String,
    evidence: Vec<(String, String)>,
}

impl StoredAudit {
    fn of(audit: &Audit) -> Self {
        Self {
            actor: audit.actor.clone(),
            action: audit.action.clone(),
            object: audit.object.clone(),
            outcome: audit.outcome.clone(),
            previous_hash: audit.previous_hash,
            hash: audit.hash,
        }
    }

    fn into_domain(self, stand_in: Option<StandIn>) -> Audit {
        let Self { actor, action, object, outcome, previous_hash, hash } = self;
        Audit { actor, action, object, outcome, stand_in, previous_hash, hash }
    }
}

impl StoredRecord {
    /// For the disk. `frame` is the number of what [`frame_of`] says of the body; 0 when it says nothing.
    pub(super) fn of(record: &NewRecord, clock_synchronised: bool, session: u32, frame: u32) -> Self {
        Self {
            id: record.id.into_bytes(),
            utc: record.at.utc.as_micros(),
            monotonic: record.at.monotonic,
            clock_synchronised,
            session,
            body: StoredBody::of(&record.body, frame),
        }
    }

    /// The same under another number of its session.
    pub(super) fn with_session(self, session: u32) -> Self {
        Self { session, ..self }
    }

    /// The prediction that it is an alert for.
    pub(super) fn raised_by(&self) -> Option<Uuid> {
        match &self.body {
            StoredBody::Alert(alert) | StoredBody::Raised(alert, _) => alert.prediction(),
            StoredBody::Alarm(alarm) => alarm.prediction(),
            _ => None,
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> Uuid {
        Uuid::from_bytes(self.id)
    }

    /// When it was made.
    pub(super) fn at(&self) -> Now {
        Now { utc: Timestamp::from_micros(self.utc), monotonic: self.monotonic }
    }

    /// Whether the wall clock was known to be right then.
    pub(super) fn clock_synchronised(&self) -> bool {
        self.clock_synchronised
    }

    /// The prediction that it explains further, and how.
    pub(super) fn explains(&self) -> Option<(Uuid, Kind)> {
        match &self.body {
            StoredBody::Extra(prediction, kind, _) => Some((Uuid::from_bytes(*prediction), *kind)),
            _ => None,
        }
    }

    /// Where it tells of an eviction from a stream: the range, and how many records of it are gone.
    pub(super) fn evicted(&self, stream: Stream) -> Option<((u64, u64), u64)> {
        self.told_of("evicted", stream)
    }

    /// Where it tells that some of a range were lost: the range, and how many.
    pub(super) fn lost_among_others(&self, stream: Stream) -> Option<((u64, u64), u64)> {
        self.told_of("gap", stream)
    }

    fn told_of(&self, state: &str, stream: Stream) -> Option<((u64, u64), u64)> {
        let StoredBody::Health(health) = &self.body else { return None };
        let text = |name: &str| health.evidence.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let number = |name| text(name)?.parse::<u64>().ok();
        let tells = health.subject == "buffer" && health.state == state && text("stream")? == stream.as_str();
        if !tells {
            return None;
        }
        Some(((number("first")?, number("last")?), number("records")?))
    }

    /// The content, or what is missing to read it.
    pub(super) fn into_body(self, frames: &impl Frames) -> Result<Body, String> {
        Ok(match self.body {
            StoredBody::Prediction(stored) => Body::Prediction(stored.into_domain(frames)?),
            StoredBody::Alert(stored) => Body::Alert(stored.into_domain(None)),
            StoredBody::Raised(stored, raised) => Body::Alert(stored.into_domain(Some(raised))),
            StoredBody::Alarm(stored) => Body::Alert(stored.into_domain()),
            StoredBody::Feedback(stored) => Body::Feedback(stored.into_domain()),
            StoredBody::Audit(stored) => Body::Audit(stored.into_domain(None)),
            StoredBody::Audited(stored, actor, object) => {
                Body::Audit(stored.into_domain(Some(StandIn { actor, object })))
            }
            StoredBody::Health(stored) => {
                Body::Health(Health { subject: stored.subject, state: stored.state, evidence: stored.evidence })
            }
            StoredBody::Extra(prediction, kind, content) => {
                Body::Extra(Extra { prediction_id: Uuid::from_bytes(prediction), kind, content })
            }
        })
    }
}

/// The frame that a record's body needs.
pub(super) fn frame_of(body: &Body) -> Option<Frame> {
    match body {
        Body::Prediction(prediction) => Some(Frame::Prediction(PredictionFrame::of(prediction))),
        Body::Alert(_) | Body::Feedback(_) | Body::Audit(_) | Body::Health(_) | Body::Extra(_) => None,
    }
}

impl StoredBody {
    fn of(body: &Body, frame: u32) -> Self {
        match body {
            Body::Prediction(prediction) => Self::Prediction(StoredPrediction::of(prediction, frame)),
            Body::Alert(transition) => match (StoredAlert::of(transition), transition.raised) {
                (Some(alert), None) => Self::Alert(alert),
                (Some(alert), Some(raised)) => Self::Raised(alert, raised),
                (None, _) => Self::Alarm(Box::new(StoredAlarm::of(transition))),
            },
            Body::Feedback(feedback) => Self::Feedback(Box::new(StoredFeedback::of(feedback))),
            Body::Audit(audit) => match &audit.stand_in {
                None => Self::Audit(StoredAudit::of(audit)),
                Some(StandIn { actor, object }) => {
                    Self::Audited(Box::new(StoredAudit::of(audit)), actor.clone(), object.clone())
                }
            },
            Body::Health(health) => Self::Health(StoredHealth {
                subject: health.subject.clone(),
                state: health.state.clone(),
                evidence: health.evidence.clone(),
            }),
            Body::Extra(extra) => Self::Extra(extra.prediction_id.into_bytes(), extra.kind, extra.content.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
