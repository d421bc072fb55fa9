//! Alerts however long they are over: those that the list has let go are read out of their stream again.
//!
//! The list (`alerts`) knows every open alert and the last closed ones. Any other whose raising is still kept is over, so
//! its transitions from there on, up to that which closed it, are all there is to it.

use std::collections::BTreeSet;

use explaind_core::domain::alert::AlarmState;
use explaind_core::domain::record::{Body, Record, Stream};
use uuid::Uuid;

use super::Buffer;
use super::alerts::{Alert, Book};
use super::error::BufferError;

/// Records read at a time.
const STRIDE: usize = 500;
/// Records looked through for one page; its cursor goes on from there.
const MOST_SCANNED: usize = 20_000;

impl Buffer {
    /// The alert with this id, while the record that raised it is kept.
    pub(crate) fn any_alert(&self, id: Uuid) -> Result<Option<Alert>, BufferError> {
        if let Some(alert) = self.alert(id) {
            return Ok(Some(alert));
        }
        let raised = self.get(id)?.filter(|record| raises(record) == Some(id));
        let Some(record) = raised else { return Ok(None) };
        Ok(self.told_again(&BTreeSet::from([id]), record.sequence)?.pop())
    }

    /// Up to `limit` alerts that `keep` holds for, raised before number `before`, those raised last first; and where the
    /// next page begins, where there may be one.
    pub(crate) fn history(
        &self,
        before: Option<u64>,
        limit: usize,
        keep: impl Fn(&Alert) -> bool,
    ) -> Result<(Vec<Alert>, Option<u64>), BufferError> {
        let mut found = Vec::new();
        let mut before = before.unwrap_or(u64::MAX);
        let mut scanned = 0;
        loop {
            let records = self.latest(Stream::Alerts, Some(before), STRIDE)?;
            scanned += records.len();
            let lowest = records.last().map(|record| record.sequence).filter(|_| records.len() == STRIDE);
            // What is listed may have its first record evicted: below the last stride all the rest belongs to it.
            let from = lowest.unwrap_or(0);
            let mut alerts = self.alerts();
            let listed: BTreeSet<Uuid> = alerts.iter().map(|alert| alert.id).collect();
            alerts.retain(|alert| (from..before).contains(&alert.first_sequence));
            let gone: BTreeSet<Uuid> = records.iter().filter_map(raises).filter(|id| !listed.contains(id)).collect();
            if !gone.is_empty() {
                alerts.extend(self.told_again(&gone, from.max(1))?);
            }
            alerts.sort_unstable_by_key(|alert| std::cmp::Reverse(alert.first_sequence));
            for alert in alerts.into_iter().filter(&keep) {
                if found.len() == limit {
                    // The one more tells that there is a next page.
                    return Ok((found, Some(before)));
                }
                before = alert.first_sequence;
                found.push(alert);
            }
            let Some(lowest) = lowest else { return Ok((found, None)) };
            before = lowest;
            if scanned >= MOST_SCANNED {
                return Ok((found, Some(before)));
            }
        }
    }

    /// Alerts that are over, from their records with numbers from `first` on.
    fn told_again(&self, ids: &BTreeSet<Uuid>, first: u64) -> Result<Vec<Alert>, BufferError> {
        let mut book = Book::default();
        let (mut after, mut scanned) = (first.saturating_sub(1), 0);
        let mut waiting = ids.clone();
        while !waiting.is_empty() && scanned < MOST_SCANNED {
            let records = self.read(Stream::Alerts, after, STRIDE)?;
            let Some(last) = records.last().map(|record| record.sequence) else { break };
            (after, scanned) = (last, scanned + records.len());
            for record in &records {
                let Body::Alert(transition) = &record.body else { continue };
                let Some(id) = transition.alert_id.filter(|id| waiting.contains(id)) else { continue };
                book.apply(record.sequence, record.moment(), transition);
                if transition.from.is_open() && !transition.to.is_open() {
                    waiting.remove(&id);
                }
            }
        }
        let mut alerts = book.list();
        for alert in &mut alerts {
            // One that closed beyond what was looked through: what is open is on the list.
            alert.state = AlarmState::Normal;
        }
        // What lies over their alarms lies there now.
        Ok(self.0.commit.alerts(|now| alerts.iter().map(|alert| now.below(alert)).collect()))
    }
}

/// The alert that this record raises.
fn raises(record: &Record) -> Option<Uuid> {
    match &record.body {
        Body::Alert(transition) => transition.alert_id.filter(|id| *id == record.id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::alert::{AlertTransition, Cover, Guidance, Priority};
    use explaind_core::domain::record::NewRecord;

    use super::*;
    use crate::buffer::samples::open;
    use crate::clock;

    fn transition(id: Uuid, from: AlarmState, to: AlarmState, asset: &str) -> NewRecord {
        let at = clock::now();
        let change = AlertTransition {
            alert_id: Some(id),
            asset: asset.into(),
            model: "press-failure".into(),
            prediction_id: None,
            from,
            to,
            cover: Cover::default(),
            priority: Priority::High,
            author: (from.is_unseen() && !to.is_unseen()).then(|| "ada".to_owned()),
            comment: None,
            reason: "probability 0.93 above 0.5".to_owned(),
            raised: None,
            guidance: Guidance::default(),
        };
        let id = if from.is_open() { clock::mint(at) } else { id };
        NewRecord { id, at, body: Body::Alert(change) }
    }

    fn raise(buffer: &Buffer, asset: &str) -> Uuid {
        let id = clock::mint(clock::now());
        buffer.append(vec![transition(id, AlarmState::Normal, AlarmState::Unacknowledged, asset)]).unwrap();
        id
    }

    fn close(buffer: &Buffer, id: Uuid, asset: &str) {
        let seen = transition(id, AlarmState::Unacknowledged, AlarmState::Acknowledged, asset);
        buffer.append(vec![seen, transition(id, AlarmState::Acknowledged, AlarmState::Normal, asset)]).unwrap();
    }

    #[test]
    fn every_alert_is_found_once_however_long_it_is_over_and_while_others_come_in() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let first = raise(&buffer, "press-1");
        let mut raised = vec![first];
        for number in 0..1100 {
            let asset = if number % 100 == 0 { "press-2" } else { "press-3" };
            let id = raise(&buffer, asset);
            close(&buffer, id, asset);
            raised.push(id);
        }
        raised.reverse();
        assert!(buffer.alert(raised[1099]).is_none(), "the list has let it go");
        let old = buffer.any_alert(raised[1099]).unwrap().unwrap();
        assert_eq!((old.state, old.acknowledged_by.as_deref()), (AlarmState::Normal, Some("ada")));
        assert!(old.cleared_at.is_some() && buffer.any_alert(Uuid::nil()).unwrap().is_none());

        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let (page, next) = buffer.history(before, 70, |_| true).unwrap();
            assert!(page.len() == 70 || next.is_none());
            pages.extend(page.iter().map(|alert| alert.id));
            raise(&buffer, "press-9");
            let Some(next) = next else { break };
            before = Some(next);
        }
        assert_eq!(pages, raised);
        assert_eq!(buffer.any_alert(first).unwrap().unwrap().state, AlarmState::Unacknowledged);

        let (few, next) = buffer.history(None, 100, |alert| *alert.asset == *"press-2").unwrap();
        assert_eq!((few.len(), next), (11, None));
        let (two, next) = buffer.history(None, 2, |alert| *alert.asset == *"press-2").unwrap();
        let (rest, end) = buffer.history(next, 100, |alert| *alert.asset == *"press-2").unwrap();
        assert_eq!((two.len(), rest.len(), end), (2, 9, None));
    }
}
