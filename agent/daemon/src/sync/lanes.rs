//! What goes next. Feedback, alerts and audit before everything; then the newest of the other streams, so that central
//! sees the present soon after an outage; then the backlog. Whoever was passed over a few times has a turn all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;

use super::Config;
use crate::buffer::{Buffer, BufferError, Closed, Pending};

/// Batches after which a lane that could have sent one has its turn.
const PATIENCE: u32 = 8;
/// What the records of one batch may count for, by their average: a bound on the memory that writing it takes.
const BATCH_BYTES: u64 = 16 << 20;

/// A stream, or one end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    /// What came up to the last time that the registry was reached anew, as far as it is much.
    backlog: bool,
    stream: Stream,
}

/// Streams that go home in two lanes when much has waited. The others are few, and go first anyway.
const BULK: [Stream; 3] = [Stream::Health, Stream::Predictions, Stream::Explanations];

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Where a stream's backlog ends: what is above goes before it.
    ends: BTreeMap<Stream, u64>,
    /// How often a lane was passed over since its last turn.
    passed: BTreeMap<Lane, u32>,
}

impl Lanes {
    /// The registry is reached again: what waits now is backlog where it is more than one batch.
    pub(super) fn reached(&mut self, buffer: &Buffer, config: &Config) {
        for stream in BULK {
            let (front, has_room) = buffer.front(stream);
            let last = buffer.last(stream);
            if has_room && last.saturating_sub(front) > config.batch_records {
                self.ends.insert(stream, last);
            } else {
                self.ends.insert(stream, front);
            }
        }
    }

    /// The next batch that is closed or can be. `all`: also what is neither full nor old. A stream that cannot be read
    /// joins those that are `stuck`, which are passed over.
    pub(super) fn next(
        &mut self,
        buffer: &Buffer,
        config: &Config,
        now: Now,
        all: bool,
        stuck: &mut BTreeMap<Stream, String>,
    ) -> Option<(Stream, Closed)> {
        let (mut ready, mut behind) = (Vec::new(), Vec::new());
        for stream in Stream::ALL {
            if stuck.contains_key(&stream) {
                continue;
            }
            match self.of(buffer, config, stream, now, all) {
                Ok((newest, backlog)) => {
                    ready.extend(newest.map(|batch| (Lane { backlog: false, stream }, batch)));
                    behind.extend(backlog.map(|batch| (Lane { backlog: true, stream }, batch)));
                }
                Err(error) => {
                    stuck.insert(stream, error.to_string());
                }
            }
        }
        ready.append(&mut behind);
        self.choose(&ready)
    }

    /// What a stream could send: of its newest, and of its backlog.
    fn of(
        &self,
        buffer: &Buffer,
        config: &Config,
        stream: Stream,
        now: Now,
        all: bool,
    ) -> Result<(Option<Closed>, Option<Closed>), BufferError> {
        let ripe = |pending: Option<Pending>| match pending {
            Some(pending) => ripe(buffer, config, stream, &pending, now, all),
            None => Ok(None),
        };
        // It was tried before, and a stream has one at a time.
        if let Some(closed) = buffer.closed(stream) {
            return Ok((Some(closed), None));
        }
        let Some(end) = self.ends.get(&stream).copied().filter(|end| *end > buffer.uploaded(stream)) else {
            return Ok((ripe(buffer.pending(stream)?)?, None));
        };
        let above = end.max(buffer.front(stream).0);
        let fresh = ripe(buffer.pending_after(stream, above)?)?;
        let old = buffer.pending(stream)?.filter(|pending| pending.oldest.sequence <= end);
        let old = old.map(|pending| Pending { through: pending.through.min(end), ..pending });
        Ok((fresh, ripe(old)?))
    }

    /// The first that is ready, unless another has waited for too long.
    fn choose(&mut self, ready: &[(Lane, Closed)]) -> Option<(Stream, Closed)> {
        let passed = |lane: &Lane| self.passed.get(lane).copied().unwrap_or(0);
        let longest = ready.iter().max_by_key(|(lane, _)| passed(lane)).filter(|(lane, _)| passed(lane) >= PATIENCE);
        let (chosen, batch) = longest.or(ready.first())?;
        self.passed = ready
            .iter()
            .filter(|(lane, _)| lane != chosen)
            .map(|(lane, _)| (*lane, passed(lane).saturating_add(1)))
            .collect();
        Some((chosen.stream, *batch))
    }
}

/// The bounds of the next batch, when it is time to close it.
pub(super) fn ripe(
    buffer: &Buffer,
    config: &Config,
    stream: Stream,
    pending: &Pending,
    now: Now,
    all: bool,
) -> Result<Option<Closed>, BufferError> {
    let most = BATCH_BYTES.checked_div(buffer.mean_bytes(stream)).unwrap_or(u64::MAX);
    let most = config.batch_records.min(most).max(1);
    let first = pending.oldest.sequence;
    if pending.through < first {
        return Ok(None);
    }
    let (last, count) = buffer.batch_end(stream, first, pending.through, most)?;
    // The record of another boot has no age on this boot's clock, and is old enough.
    let old =
        pending.oldest.session.boot_id != buffer.boot_id() || now.since(pending.oldest.at) >= config.age_of(stream);
    Ok((count > 0 && (all || old || count >= most)).then_some(Closed { first, last, closed_at: now.utc }))
}

/// How far behind a stream is: the age of the oldest record that the registry does not have.
pub(super) fn lag(buffer: &Buffer, pending: Option<&Pending>, now: Now) -> Duration {
    let Some(pending) = pending else { return Duration::ZERO };
    let at = pending.oldest.at;
    if pending.oldest.session.boot_id == buffer.boot_id() {
        return now.since(at);
    }
    let micros = u64::try_from(now.utc.as_micros().saturating_sub(at.utc.as_micros())).unwrap_or(0);
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::time::Timestamp;

    use super::*;

    #[test]
    fn the_first_goes_first_and_nobody_waits_for_ever() {
        let closed = |n| Closed { first: n, last: n, closed_at: Timestamp::from_micros(0) };
        let lane = |backlog, stream| Lane { backlog, stream };
        let all = [
            (lane(false, Stream::Feedback), closed(1)),
            (lane(false, Stream::Predictions), closed(2)),
            (lane(true, Stream::Predictions), closed(3)),
        ];
        let mut lanes = Lanes::default();
        let sent: Vec<u64> = (0..30).filter_map(|_| lanes.choose(&all)).map(|(_, batch)| batch.first).collect();
        assert_eq!(sent[..8], [1; 8]);
        let longest_wait = |n: u64| {
            let turns: Vec<usize> = (0..30).filter(|turn| sent[*turn] == n).collect();
            turns.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
        };
        let bound = PATIENCE as usize + all.len();
        assert!(longest_wait(2) <= bound && longest_wait(3) <= bound, "{sent:?}");
        assert!(sent.iter().filter(|n| **n == 1).count() >= 20, "{sent:?}");
        // Who has nothing to send waits for nothing.
        assert_eq!(lanes.choose(&all[..1]).map(|(_, batch)| batch.first), Some(1));
        assert_eq!(lanes.choose(&all).map(|(_, batch)| batch.first), Some(1));
        assert_eq!(lanes.choose(&[]), None);
    }
}
