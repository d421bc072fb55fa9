//! Records for tests.

use std::path::Path;
use std::time::Duration;

use explaind_core::domain::alert::{AlarmState, AlertTransition, Cover, Guidance, Priority};
use explaind_core::domain::explanation::{Attribution, Explanation, Method, Settlement};
use explaind_core::domain::extra::{Extra, Kind};
use explaind_core::domain::feedback::{ExplanationVerdict, Feedback, UserRole, Verdict};
use explaind_core::domain::prediction::{Digest, Input, Outcome, Output, Prediction, Role, Space, Withheld};
use explaind_core::domain::record::{Audit, Body, Health, NewRecord, Stream};
use explaind_core::domain::sample::Quality;
use explaind_core::domain::time::{Now, Timestamp};
use uuid::Uuid;

use super::{Buffer, BufferError, Config, Machine, SessionInfo, keys};
use crate::clock;
use crate::telemetry::Metrics;

/// A boot that never was.
pub(crate) const BOOT: Uuid = Uuid::from_u128(0xb007);

/// So many seconds after noon of a day, and after the boot.
pub(crate) fn at(seconds: u64) -> Now {
    let utc = 1_795_300_000_000_000 + i64::try_from(seconds).unwrap() * 1_000_000;
    Now { utc: Timestamp::from_micros(utc), monotonic: Duration::from_secs(seconds) }
}

pub(crate) fn session() -> SessionInfo {
    SessionInfo {
        gateway: "line-3".into(),
        agent_version: "0.1.0".into(),
        config_digest: "c0ffee".into(),
        boot_id: BOOT,
        machine: Machine::default(),
        first: 1,
    }
}

/// The buffer `<folder>/buffer`.
pub(crate) fn open(folder: &Path) -> Buffer {
    try_open(folder, &Config::default()).unwrap()
}

/// The buffer `<folder>/buffer`, opened by another session.
pub(crate) fn open_as(folder: &Path, session: SessionInfo) -> Buffer {
    Buffer::open(&folder.join("buffer"), &Config::default(), session, at(0), Metrics::new()).unwrap()
}

/// The session of a gateway on this board.
pub(crate) fn on_board(board: &str) -> SessionInfo {
    SessionInfo { machine: Machine::of(&[("machine_id", "cloned with the card"), ("board", board)]), ..session() }
}

pub(crate) fn try_open(folder: &Path, config: &Config) -> Result<Buffer, BufferError> {
    Buffer::open(&folder.join("buffer"), config, session(), at(0), Metrics::new())
}

/// Has the store fail as on a full disk, until it is opened again.
pub(crate) fn fail(buffer: &Buffer) {
    let full = std::io::ErrorKind::StorageFull.into();
    buffer.0.commit.fail(&BufferError::io("flush", Path::new("/x"), full));
}

pub(crate) fn new(seconds: u64, body: Body) -> NewRecord {
    NewRecord { id: clock::mint(at(seconds)), at: at(seconds), body }
}

pub(crate) fn prediction(seconds: u64, torque: f64) -> NewRecord {
    let input = |feature: &str, value| Input { feature: feature.into(), value };
    new(
        seconds,
        Body::Prediction(Prediction {
            asset: "press-7".into(),
            model: "press-failure".into(),
            model_version: "1.4.0".into(),
            model_digest: Digest([7; 32]),
            background_digest: Digest([8; 32]),
            role: Role::Champion,
            outcome: Outcome::Predicted(Output {
                value: 0.93,
                label: Some("failure".to_owned()),
                probability: Some(0.93),
            }),
            source_time: Some(at(seconds).utc),
            inputs: vec![input("Torque [Nm]", Some(torque)), input("Speed [rpm]", Some(1500.0))],
            input_quality: Quality::Good,
            alert: None,
        }),
    )
}

pub(crate) fn withheld(seconds: u64) -> NewRecord {
    let mut record = prediction(seconds, 1.0);
    if let Body::Prediction(prediction) = &mut record.body {
        prediction.outcome = Outcome::Withheld(Withheld::Stale { feature: "Torque [Nm]".to_owned(), age: 7.2 });
        prediction.inputs[0].value = None;
        prediction.input_quality = Quality::Uncertain;
    }
    record
}

/// `margin = -3.1 + torque share + 0.3`.
pub(crate) fn explained(torque: f64) -> Settlement {
    let attribution = |feature: &str, value, input, unit: &str| Attribution {
        feature: feature.into(),
        value,
        standard_error: 0.0,
        input,
        unit: unit.into(),
        usual: (30.0, 50.0),
        category: None,
        intervals: Vec::new(),
        error: None,
    };
    let mut attributions =
        vec![attribution("Torque [Nm]", torque / 10.0, torque, "Nm"), attribution("Speed [rpm]", 0.3, 1500.0, "rpm")];
    attributions[1].category = Some("fast".into());
    Settlement::Explained {
        id: Uuid::from_u128(0xe1),
        explanation: Explanation {
            space: Space::Margin,
            base_value: -3.1,
            output: -3.1 + torque / 10.0 + 0.3,
            attributions,
            method: Method::TreeShapley,
            evaluations: 100,
            additivity_gap: 1e-9,
            faithfulness: None,
        },
    }
}

pub(crate) fn transition(
    seconds: u64,
    alert: Option<Uuid>,
    (from, to): (AlarmState, AlarmState),
    prediction_id: Option<Uuid>,
    author: Option<&str>,
) -> NewRecord {
    let mut record = new(
        seconds,
        Body::Alert(AlertTransition {
            alert_id: None,
            asset: "press-7".into(),
            model: "press-failure".into(),
            prediction_id,
            from,
            to,
            cover: Cover::default(),
            priority: Priority::High,
            author: author.map(str::to_owned),
            comment: None,
            reason: "probability 0.93 above 0.5".to_owned(),
            raised: None,
            guidance: Guidance::default(),
        }),
    );
    if let Body::Alert(transition) = &mut record.body {
        transition.alert_id = alert.or(Some(record.id));
    }
    record
}

pub(crate) fn feedback(seconds: u64, prediction_id: Uuid) -> NewRecord {
    new(
        seconds,
        Body::Feedback(Feedback {
            revises: None,
            prediction_id: Some(prediction_id),
            explanation_id: Some(Uuid::from_u128(0xe1)),
            alert_id: None,
            asset: "press-7".to_owned(),
            event_from: Some(at(seconds).utc),
            event_to: None,
            author: "ada".to_owned(),
            role: UserRole::Technician,
            verdict: Some(Verdict::Reject),
            corrected: None,
            explanation_verdict: Some(ExplanationVerdict::Agree),
            relevant: vec!["Torque [Nm]".to_owned()],
            irrelevant: Vec::new(),
            cause: Some("sensor loose".to_owned()),
            comment: Some("says \"65 Nm\" – never".to_owned()),
            explanation_seen: true,
            model_digest: Some(Digest([7; 32])),
            background_digest: None,
        }),
    )
}

pub(crate) fn audit(seconds: u64, actor: &str) -> NewRecord {
    new(seconds, Body::Audit(Audit::new(actor, "sign_in", "page", "done")))
}

pub(crate) fn extra(seconds: u64, prediction_id: Uuid) -> NewRecord {
    let content = "{\"outcome\":\"no_rule\"}".to_owned();
    new(seconds, Body::Extra(Extra { prediction_id, kind: Kind::Counterfactuals, content }))
}

pub(crate) fn health(seconds: u64) -> NewRecord {
    new(
        seconds,
        Body::Health(Health {
            subject: "source/press-plc".to_owned(),
            state: "down".to_owned(),
            evidence: vec![("error".to_owned(), "refused".to_owned()), ("since".to_owned(), "12 s".to_owned())],
        }),
    )
}

impl Buffer {
    /// Takes a record out of the store as if it had never been there.
    pub(crate) fn lose(&self, stream: Stream, sequence: u64) {
        let mut batch = super::batch::Batch::default();
        batch.remove(keys::record(stream, sequence));
        self.0.base.store.apply(batch).unwrap();
    }

    /// Changes a byte of what is stored of a stream's closed batch.
    pub(crate) fn spoil_bounds(&self, stream: Stream) {
        let store = &self.0.base.store;
        let key = keys::batch(stream);
        let mut value = store.get(&key).unwrap().unwrap().to_vec();
        value[2] ^= 1;
        let mut batch = super::batch::Batch::default();
        batch.insert(key, value);
        store.apply(batch).unwrap();
        store.flush().unwrap();
    }
}
