//! Pins the bytes: what older versions wrote must stay readable.

use explaind_core::domain::alert::{AlarmState, Cover, Guidance, Priority, Raised, Suppression};
use explaind_core::domain::explanation::{Faithfulness, IntervalShare, Method, Settlement};
use explaind_core::domain::feedback::{ExplanationVerdict, UserRole, Verdict};
use explaind_core::domain::prediction::{Role, Space, Withheld};
use explaind_core::domain::record::StandIn;
use explaind_core::domain::sample::Quality;
use explaind_core::domain::time::Timestamp;

use super::*;
use crate::buffer::samples::{self, audit, explained, extra, feedback, health, prediction, transition, withheld};

struct One(Frame);

impl Frames for One {
    fn frame(&self, _: u32) -> Option<Arc<Frame>> {
        Some(Arc::new(self.0.clone()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A record with fixed id and times.
fn fixed(mut record: NewRecord) -> NewRecord {
    record.id = Uuid::from_u128(0x11);
    record.at = Now { utc: Timestamp::from_micros(1), monotonic: Duration::from_secs(2) };
    record
}

#[test]
fn every_body_survives_the_way_to_the_disk_and_back() {
    let records = [
        prediction(1, 65.0),
        withheld(1),
        feedback(1, Uuid::from_u128(3)),
        audit(1, "ada"),
        health(1),
        transition(1, None, (AlarmState::Normal, AlarmState::Unacknowledged), Some(Uuid::from_u128(4)), Some("ada")),
        raising(1),
        extra(1, Uuid::from_u128(4)),
        in_space(),
        at_rest(),
        advised(),
        under_pseudonym(),
    ];
    for record in records {
        let frame = frame_of(&record.body).unwrap_or(Frame::Session(Arc::new(session())));
        let bytes = postcard::to_allocvec(&StoredRecord::of(&record, true, 5, 6)).unwrap();
        let read: StoredRecord = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((read.id(), read.at(), read.session), (record.id, record.at, 5));
        assert_eq!(read.into_body(&One(frame)).unwrap(), record.body);
    }
    for settlement in [explained(65.0), explained_further()] {
        let stored = StoredSettlement::of(&settlement, 6);
        let frame = One(frame_of_settlement(&settlement).unwrap());
        assert_eq!(stored.into_domain(&frame).unwrap(), settlement);
    }
    let stored = StoredSettlement::of(&explained(65.0), 6);
    let wrong = One(Frame::Session(Arc::new(session())));
    assert!(stored.into_domain(&wrong).is_err(), "a frame of another kind is no frame");
}

fn raising(seconds: u64) -> NewRecord {
    let mut record =
        transition(seconds, Some(Uuid::from_u128(2)), (AlarmState::Normal, AlarmState::Unacknowledged), None, None);
    if let Body::Alert(transition) = &mut record.body {
        transition.raised = Some(Raised::Below);
    }
    record
}

/// Shelved while nothing is open.
fn at_rest() -> NewRecord {
    let mut record = transition(1, None, (AlarmState::Normal, AlarmState::Normal), None, Some("ada"));
    if let Body::Alert(transition) = &mut record.body {
        transition.alert_id = None;
        transition.cover =
            Cover { out_of_service: true, shelved_until: Some(Timestamp::from_micros(7)), by_design: true };
    }
    record
}

/// Raised again from latched, with what is to be done.
fn advised() -> NewRecord {
    let mut record = raising(1);
    if let Body::Alert(transition) = &mut record.body {
        transition.from = AlarmState::LatchedAcknowledged;
        transition.guidance = Guidance { consequence: Some("c".into()), response: Some("r".into()) };
    }
    record
}

/// Of a person.
fn under_pseudonym() -> NewRecord {
    let mut record = audit(1, "ada");
    if let Body::Audit(audit) = &mut record.body {
        audit.stand_in = Some(StandIn { actor: "p-1".to_owned(), object: Some("p-2".to_owned()) });
    }
    record
}

fn in_space() -> NewRecord {
    let mut record = extra(1, Uuid::from_u128(4));
    if let Body::Extra(extra) = &mut record.body {
        extra.kind = Kind::Space(Space::Probability);
    }
    record
}

fn explained_further() -> Settlement {
    let mut settlement = explained(65.0);
    if let Settlement::Explained { explanation, .. } = &mut settlement {
        explanation.faithfulness = Some(Faithfulness { deletion: 0.9, random: 0.5 });
        let torque = &mut explanation.attributions[0];
        torque.error = Some(0.25);
        torque.intervals = vec![IntervalShare { from: 0, to: 10, value: 6.5, standard_error: 0.0 }];
    }
    settlement
}

fn session() -> Session {
    Session {
        gateway: "g".into(),
        store_id: Uuid::from_u128(1),
        boot_id: samples::BOOT,
        agent_version: "v".into(),
        config_digest: "c".into(),
    }
}

/// New variants add lines at the end. If an old line fails, stores in the field would be read wrongly: put the change into a new version beside this one.
#[test]
fn the_bytes_of_version_1_do_not_change() {
    let stored = |record: NewRecord| hex(&postcard::to_allocvec(&StoredRecord::of(&record, true, 5, 6)).unwrap());
    let mut alert =
        transition(1, Some(Uuid::from_u128(2)), (AlarmState::Normal, AlarmState::Unacknowledged), None, None);
    alert = fixed(alert);
    let all = [
        stored(fixed(prediction(1, 65.0))),
        stored(fixed(withheld(1))),
        stored(fixed(feedback(1, Uuid::from_u128(3)))),
        stored(fixed(audit(1, "ada"))),
        stored(fixed(health(1))),
        stored(alert),
        hex(&postcard::to_allocvec(&StoredSettlement::of(&explained(65.0), 6)).unwrap()),
        hex(&postcard::to_allocvec(&StoredSettlement::Skipped { reason: "r".to_owned() }).unwrap()),
        hex(&postcard::to_allocvec(&StoredSettlement::Failed { reason: "r".to_owned() }).unwrap()),
        hex(&postcard::to_allocvec(&Frame::Session(Arc::new(session()))).unwrap()),
        hex(&postcard::to_allocvec(&frame_of(&prediction(1, 65.0).body).unwrap()).unwrap()),
        hex(&postcard::to_allocvec(&frame_of_settlement(&explained(65.0)).unwrap()).unwrap()),
        stored(fixed(raising(1))),
        hex(&postcard::to_allocvec(&StoredSettlement::of(&explained_further(), 6)).unwrap()),
        stored(fixed(extra(1, Uuid::from_u128(4)))),
        stored(fixed(in_space())),
        stored(fixed(at_rest())),
        stored(fixed(advised())),
        stored(fixed(under_pseudonym())),
    ];
    let golden: Vec<&str> = include_str!("version_1.golden").lines().collect();
    assert_eq!(all.join("\n"), golden.join("\n"));
}

#[test]
fn positions_of_variants_do_not_change() {
    fn positions<T: Serialize>(variants: &[T]) -> Vec<u8> {
        variants.iter().map(|variant| postcard::to_allocvec(variant).unwrap()[0]).collect()
    }
    let f = || "f".to_owned();
    use AlarmState::{Acknowledged, Normal, ReturnedUnacknowledged, Unacknowledged};
    let latched = [AlarmState::LatchedUnacknowledged, AlarmState::LatchedAcknowledged];
    assert_eq!(positions(&[Unacknowledged, Acknowledged, ReturnedUnacknowledged, Normal]), [0, 1, 2, 3]);
    assert_eq!(positions(&latched), [4, 5]);
    use Suppression::{ByDesign, OutOfService, Shelved};
    assert_eq!(positions(&[Suppression::None, ByDesign, Shelved, OutOfService]), [0, 1, 2, 3]);
    assert_eq!(positions(&[Priority::Low, Priority::Medium, Priority::High, Priority::Critical]), [0, 1, 2, 3]);
    use Method::{Enumeration, Linear, Quadratic, Sampling, TreeShapley};
    assert_eq!(positions(&[TreeShapley, Enumeration, Linear, Quadratic, Sampling]), [0, 1, 2, 3, 4]);
    assert_eq!(positions(&[Raised::Above, Raised::Below]), [0, 1]);
    let kinds = [Kind::Counterfactuals, Kind::Cases, Kind::Space(Space::Margin)];
    assert_eq!(positions(&kinds), [0, 1, 2]);
    assert_eq!(positions(&[Space::Margin, Space::Probability, Space::Value]), [0, 1, 2]);
    assert_eq!(positions(&[Role::Champion, Role::Shadow, Role::Fallback]), [0, 1, 2]);
    assert_eq!(positions(&[Quality::Good, Quality::Uncertain, Quality::Bad]), [0, 1, 2]);
    use UserRole::{Collector, Engineer, Technician, Viewer};
    assert_eq!(positions(&[Collector, Viewer, Technician, Engineer]), [0, 1, 2, 3]);
    use Verdict::{Confirm, Correct, Missed, Reject, Unsure};
    assert_eq!(positions(&[Confirm, Reject, Correct, Unsure, Missed]), [0, 1, 2, 3, 4]);
    assert_eq!(positions(&[ExplanationVerdict::Agree, ExplanationVerdict::Disagree]), [0, 1]);
    let withheld = [
        Withheld::Missing { feature: f() },
        Withheld::Stale { feature: f(), age: 1.0 },
        Withheld::Quality { feature: f(), status: 1 },
        Withheld::NonFinite { feature: f() },
        Withheld::OutOfRange { feature: f(), value: 1.0 },
        Withheld::TooFast { feature: f(), rate: 1.0 },
        Withheld::NotANumber { feature: f() },
        Withheld::ModelNonFinite,
        Withheld::ModelFailed { error: f() },
        Withheld::WindowFilling { have: 1, need: 2 },
        Withheld::NoModel,
        Withheld::Stopped { reason: f() },
        Withheld::PassThrough,
    ];
    assert_eq!(positions(&withheld), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
}
