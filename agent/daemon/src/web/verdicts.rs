//! What people have said, found by the alert or the prediction they said it of.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use explaind_core::domain::feedback::{Feedback, Verdict};
use explaind_core::domain::record::{Body, Record, Stream};
use explaind_core::domain::time::Timestamp;
use uuid::Uuid;

use crate::buffer::{Buffer, BufferError};

/// Feedback kept at hand; all of it stays in the buffer.
const MOST: usize = 10_000;

/// One piece of feedback, with its id.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// The feedback's id.
    pub(crate) id: Uuid,
    /// Its number: the order in which things were said, whatever the clock did.
    pub(crate) sequence: u64,
    /// When it was given.
    pub(crate) at: Timestamp,
    /// What was said.
    pub(crate) feedback: Feedback,
    /// Whether a later one took its place.
    pub(crate) revised: bool,
}

impl Said {
    /// The feedback in a record, where there is one.
    pub(crate) fn from_record(record: &Record) -> Option<Self> {
        match &record.body {
            Body::Feedback(feedback) => {
                let (id, sequence, at) = (record.id, record.sequence, record.at.utc);
                Some(Self { id, sequence, at, feedback: feedback.clone(), revised: false })
            }
            _ => None,
        }
    }
}

/// The index. Feedback is written by this process only, so what it was told is all there is.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<Index>, Mutex<()>);

/// What of an id is neither time nor version: random, or made of a key that a client gave.
pub(crate) const MARK: u64 = (1 << 62) - 1;

/// That part of an id.
fn mark(id: Uuid) -> u64 {
    id.as_u64_pair().1 & MARK
}

#[derive(Default)]
struct Index {
    order: VecDeque<Uuid>,
    all: HashMap<Uuid, Said>,
    by_alert: HashMap<Uuid, Vec<Uuid>>,
    by_prediction: HashMap<Uuid, Vec<Uuid>>,
    by_mark: HashMap<u64, Uuid>,
    revised: HashSet<Uuid>,
}

impl Verdicts {
    /// Reads the newest feedback from the buffer.
    pub(crate) fn read(buffer: &Buffer) -> Result<Self, BufferError> {
        let verdicts = Self::default();
        let mut newest = buffer.latest(Stream::Feedback, None, MOST)?;
        newest.reverse();
        newest.iter().filter_map(Said::from_record).for_each(|said| verdicts.note(said));
        Ok(verdicts)
    }

    /// This was said, and is on disk.
    pub(crate) fn note(&self, said: Said) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = &mut *index;
        let id = said.id;
        if index.all.contains_key(&id) {
            return;
        }
        if let Some(alert) = said.feedback.alert_id {
            index.by_alert.entry(alert).or_default().push(id);
        }
        if let Some(prediction) = said.feedback.prediction_id {
            index.by_prediction.entry(prediction).or_default().push(id);
        }
        index.revised.extend(said.feedback.revises);
        index.by_mark.insert(mark(id), id);
        index.all.insert(id, said);
        index.order.push_back(id);
        if index.order.len() > MOST {
            index.forget_oldest();
        }
    }

    /// All that was said of an alert, or of a prediction, oldest first.
    pub(crate) fn on(&self, alert: Option<Uuid>, prediction: Option<Uuid>) -> Vec<Said> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_alert = alert.and_then(|id| index.by_alert.get(&id)).into_iter().flatten();
        let of_prediction = prediction.and_then(|id| index.by_prediction.get(&id)).into_iter().flatten();
        let mut all: Vec<&Said> = of_alert.chain(of_prediction).filter_map(|id| index.all.get(id)).collect();
        all.sort_unstable_by_key(|said| said.sequence);
        all.dedup_by_key(|said| said.sequence);
        all.into_iter().map(|said| Said { revised: index.revised.contains(&said.id), ..said.clone() }).collect()
    }

    /// The newest events that were reported without an alert, the last one first.
    pub(crate) fn missed(&self, most: usize) -> Vec<Said> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = index.order.iter().rev().filter_map(|id| index.all.get(id));
        let missed = newest.filter(|said| said.feedback.verdict == Some(Verdict::Missed)).take(most);
        missed.map(|said| Said { revised: index.revised.contains(&said.id), ..said.clone() }).collect()
    }

    /// By machine, how many of its alerts people judged, and how many of those are false: by the verdict on each that was given
    /// last and stands, unless that is that somebody is unsure.
    pub(crate) fn judged(&self) -> BTreeMap<String, (usize, usize)> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last: HashMap<Uuid, &Said> = HashMap::new();
        for said in index.order.iter().filter_map(|id| index.all.get(id)) {
            let judges = matches!(said.feedback.verdict, Some(Verdict::Confirm | Verdict::Reject | Verdict::Correct));
            if let (Some(alert), true, false) = (said.feedback.alert_id, judges, index.revised.contains(&said.id)) {
                last.insert(alert, said);
            }
        }
        let mut all: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for said in last.values() {
            let (judged, falsely) = all.entry(said.feedback.asset.clone()).or_default();
            *judged += 1;
            *falsely += usize::from(said.feedback.verdict == Some(Verdict::Reject));
        }
        all
    }

    /// What was said under an id with this mark, while it is at hand.
    pub(crate) fn marked(&self, mark: u64) -> Option<Said> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = index.by_mark.get(&mark).and_then(|id| index.all.get(id))?;
        Some(Said { revised: index.revised.contains(&said.id), ..said.clone() })
    }

    /// Whoever looks whether something was said, and says it if not, has this meanwhile.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a later feedback took its place.
    pub(crate) fn is_revised(&self, id: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).revised.contains(&id)
    }
}

impl Index {
    fn forget_oldest(&mut self) {
        let Some(said) = self.order.pop_front().and_then(|id| self.all.remove(&id)) else { return };
        self.revised.remove(&said.id);
        self.by_mark.remove(&mark(said.id));
        for (ids, key) in
            [(&mut self.by_alert, said.feedback.alert_id), (&mut self.by_prediction, said.feedback.prediction_id)]
        {
            if let Some(key) = key
                && let Some(list) = ids.get_mut(&key)
            {
                list.retain(|id| *id != said.id);
                if list.is_empty() {
                    ids.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::feedback::{UserRole, Verdict};

    use super::*;

    fn id(n: usize) -> Uuid {
        Uuid::from_u128(n as u128)
    }

    fn said(n: usize, alert: Option<Uuid>, prediction: Option<Uuid>, revises: Option<Uuid>) -> Said {
        let feedback = Feedback {
            revises,
            prediction_id: prediction,
            explanation_id: None,
            alert_id: alert,
            asset: "press-7".into(),
            event_from: None,
            event_to: None,
            author: "anna".into(),
            role: UserRole::Technician,
            verdict: Some(Verdict::Confirm),
            corrected: None,
            explanation_verdict: None,
            relevant: Vec::new(),
            irrelevant: Vec::new(),
            cause: None,
            comment: None,
            explanation_seen: false,
            model_digest: None,
            background_digest: None,
        };
        Said { id: id(n), sequence: n as u64, at: Timestamp::from_micros(0), feedback, revised: false }
    }

    #[test]
    fn what_was_said_is_found_once_and_a_revision_leaves_the_first_in_place() {
        let verdicts = Verdicts::default();
        let (alert, prediction) = (id(1000), id(2000));
        verdicts.note(said(1, Some(alert), Some(prediction), None));
        verdicts.note(said(2, Some(alert), None, Some(id(1))));
        verdicts.note(said(3, None, Some(prediction), None));
        let all = verdicts.on(Some(alert), Some(prediction));
        assert_eq!(
            all.iter().map(|said| (said.id, said.revised)).collect::<Vec<_>>(),
            [(id(1), true), (id(2), false), (id(3), false)]
        );
        assert!(verdicts.on(None, None).is_empty());
    }

    #[test]
    fn the_last_is_the_one_said_last_although_the_clock_went_back() {
        let verdicts = Verdicts::default();
        verdicts.note(said(500, Some(id(1000)), None, None));
        // UUIDv7: an hour earlier makes a lower id.
        verdicts.note(Said { sequence: 501, ..said(400, Some(id(1000)), None, None) });
        let order: Vec<Uuid> = verdicts.on(Some(id(1000)), None).iter().map(|said| said.id).collect();
        assert_eq!(order, [id(500), id(400)]);
    }

    #[test]
    fn the_index_is_bounded() {
        let verdicts = Verdicts::default();
        for n in 0..MOST + 5 {
            verdicts.note(said(n, Some(id(n)), Some(id(n)), None));
        }
        let index = verdicts.0.lock().unwrap();
        assert_eq!((index.all.len(), index.by_alert.len(), index.by_prediction.len()), (MOST, MOST, MOST));
    }
}
