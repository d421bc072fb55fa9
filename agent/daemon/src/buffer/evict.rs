//! Bounds: what goes when space or age asks for it, and what is refused when nothing may go.
//!
//! Only what is uploaded goes. Over `history_bytes`: explanations beside attributions, then predictions, the oldest
//! first. Over `max_bytes` besides: those that alerts name, then health. For age: everything uploaded that is older
//! than `max_age`, but for the transitions of alerts that are still open.
//!
//! What is said beside the attributions of a prediction that an alert names goes with that prediction, not before.

use explaind_core::domain::record::{Body, NewRecord, Record, Stream};
use explaind_core::domain::time::{Now, Timestamp};
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::error::BufferError;
use super::keys;
use super::state::State;
use super::write::Write;

/// Records evicted in one write: bounds how long a writer waits for it.
const CHUNK: usize = 2048;
/// How often age is looked at.
const AGE_EVERY: Duration = Duration::from_secs(600);
/// How often the files are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// Why records go.
#[derive(Clone, Copy)]
enum Reason {
    /// Until no more bytes than this are kept.
    Space(u64),
    /// Those made before.
    Age(Timestamp),
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Space(_) => "space",
            Self::Age(_) => "age",
        }
    }

    /// Whether a record goes. One that cannot be read has no age, and goes with its neighbours.
    fn wants(self, kept: u64, record: Option<&Record>) -> bool {
        match self {
            Self::Space(target) => kept > target,
            Self::Age(before) => record.is_none_or(|record| record.at.utc < before),
        }
    }
}

/// What one write evicted of a stream.
#[derive(Default)]
struct Gone {
    records: u64,
    range: Option<(u64, u64)>,
}

impl Gone {
    fn note(&mut self, sequence: u64) {
        self.records += 1;
        let (first, last) = self.range.unwrap_or((sequence, sequence));
        self.range = Some((first.min(sequence), last.max(sequence)));
    }
}

impl Core {
    /// Makes room for an append, or says that there is none.
    pub(super) fn make_room(
        self: &Arc<Self>,
        state: &mut State,
        at: Now,
        new: &[NewRecord],
    ) -> Result<(), BufferError> {
        if due(state.measured, at, MEASURE_EVERY) {
            state.measured = Some(at);
            self.metrics.buffer_bytes(self.bytes_on_disk());
            self.renew_if_sparse(state);
        }
        if due(state.aged, at, AGE_EVERY) {
            state.aged = Some(at);
            self.evict_aged(state, at)?;
        }
        let bound = self.config.max_bytes;
        let history = self.config.history_bytes.min(bound);
        if state.kept() >= history {
            while self.evict_oldest(state, at, Stream::Explanations, below(history))? {}
        }
        if state.kept() >= history {
            while self.evict_oldest(state, at, Stream::Predictions, below(history))? {}
        }
        if state.kept() >= bound {
            while self.evict_pinned(state, at, below(bound))? {}
            while self.evict_oldest(state, at, Stream::Health, below(bound))? {}
        }
        let kept = state.kept();
        self.note_fullness(state, at, kept >= bound)?;
        if kept < bound {
            return Ok(());
        }
        // A prediction that comes with its alert is not held back: the alert would be beyond understanding.
        let held_back = |stream| matches!(stream, Stream::Predictions | Stream::Explanations);
        let spared = new.iter().any(|record| !held_back(record.body.stream()));
        if spared && kept < bound.saturating_add(self.config.reserve()) {
            return Ok(());
        }
        for record in new {
            self.metrics.dropped(record.body.stream().as_str(), "full", 1);
        }
        Err(BufferError::Full { kept, bound })
    }

    fn evict_aged(&self, state: &mut State, at: Now) -> Result<(), BufferError> {
        let age = i64::try_from(self.config.max_age.as_micros()).unwrap_or(i64::MAX);
        let reason = Reason::Age(Timestamp::from_micros(at.utc.as_micros().saturating_sub(age)));
        while self.evict_pinned(state, at, reason)? {}
        for stream in Stream::ALL {
            while self.evict_oldest(state, at, stream, reason)? {}
        }
        Ok(())
    }

    /// Evicts up to a chunk of a stream's oldest uploaded records; predictions that alerts name stay, with what is said
    /// of them. Says whether there may be more to evict.
    fn evict_oldest(&self, state: &mut State, at: Now, stream: Stream, reason: Reason) -> Result<bool, BufferError> {
        let cursor = state.cursors[stream];
        let mut through = cursor.uploaded;
        if stream == Stream::Alerts {
            let needed = self.commit.alerts(|book| book.oldest_needed());
            through = through.min(needed.map_or(u64::MAX, |needed| needed.saturating_sub(1)));
        }
        if through < cursor.floor || !reason.wants(state.kept(), None) {
            return Ok(false);
        }
        let (first, last) = (keys::record(stream, cursor.floor), keys::record(stream, through));
        let entries = self.base.store.ascending(&first, &last, CHUNK)?;
        let mut write = Write::new(&self.base, state);
        let (mut evicted, mut kept, mut end) = (0, 0, None);
        for (key, sealed) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            let record = self.base.decode(stream, sequence, sealed).ok();
            if !reason.wants(write.kept(), record.as_ref()) {
                break;
            }
            end = Some(sequence);
            if self.is_needed(stream, sequence, record.as_ref())? {
                kept += 1;
            } else {
                evicted += 1;
                write.evict(stream, sequence, sealed)?;
            }
        }
        let Some(end) = end else { return Ok(false) };
        write.cursors[stream].floor = end + 1;
        if evicted > 0 {
            write.evicted(at, stream, (cursor.floor, end), evicted, kept, reason.as_str())?;
        }
        self.apply(state, write)?;
        self.metrics.dropped(stream.as_str(), reason.as_str(), evicted);
        Ok(entries.len() == CHUNK)
    }

    /// Whether a record stays because an alert names it, or the prediction that it is the newest word on.
    fn is_needed(&self, stream: Stream, sequence: u64, record: Option<&Record>) -> Result<bool, BufferError> {
        let named = |sequence| Ok(self.base.store.get(&keys::pinned(sequence))?.is_some());
        match (stream, record.map(|record| &record.body)) {
            (Stream::Predictions, _) => named(sequence),
            (Stream::Explanations, Some(Body::Extra(extra))) => {
                if self.base.newest_extra(extra.prediction_id, extra.kind)? != Some(sequence) {
                    return Ok(false);
                }
                match self.base.locate(extra.prediction_id)? {
                    Some((Stream::Predictions, prediction)) => named(prediction),
                    _ => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// Evicts up to a chunk of the uploaded predictions that only stayed because alerts name them, and what only stayed
    /// because of those.
    fn evict_pinned(&self, state: &mut State, at: Now, reason: Reason) -> Result<bool, BufferError> {
        if !reason.wants(state.kept(), None) {
            return Ok(false);
        }
        let floor = state.cursors[Stream::Predictions].floor;
        let pinned = self.base.store.ascending(&keys::pinned(0), &keys::pinned(floor.saturating_sub(1)), CHUNK)?;
        let mut write = Write::new(&self.base, state);
        let (mut gone, mut extras) = (Gone::default(), Gone::default());
        for (key, _) in &pinned {
            let Some(sequence) = keys::sequence(key) else { continue };
            let sealed = self.base.store.get(&keys::record(Stream::Predictions, sequence))?;
            let Some(sealed) = sealed else {
                write.batch.remove(key);
                continue;
            };
            let record = self.base.decode(Stream::Predictions, sequence, &sealed).ok();
            if !reason.wants(write.kept(), record.as_ref()) {
                break;
            }
            write.evict(Stream::Predictions, sequence, &sealed)?;
            gone.note(sequence);
            for extra in record.map(|record| write.evict_spared(record.id)).transpose()?.into_iter().flatten() {
                extras.note(extra);
            }
        }
        for (stream, gone) in [(Stream::Predictions, &gone), (Stream::Explanations, &extras)] {
            if let Some(range) = gone.range {
                write.evicted(at, stream, range, gone.records, 0, reason.as_str())?;
            }
        }
        self.apply(state, write)?;
        self.metrics.dropped(Stream::Predictions.as_str(), reason.as_str(), gone.records);
        self.metrics.dropped(Stream::Explanations.as_str(), reason.as_str(), extras.records);
        Ok(gone.records > 0 && pinned.len() == CHUNK)
    }

    /// Records when predictions begin to be refused, and when they are taken again.
    fn note_fullness(&self, state: &mut State, at: Now, full: bool) -> Result<(), BufferError> {
        if state.full == full {
            return Ok(());
        }
        let mut write = Write::new(&self.base, state);
        let evidence = [("bytes", state.kept().to_string()), ("max_bytes", self.config.max_bytes.to_string())];
        write.health(at, if full { "full" } else { "accepting" }, &evidence)?;
        self.apply(state, write)?;
        state.full = full;
        if full {
            tracing::error!("the buffer is full of records that are not uploaded: new predictions are refused");
        } else {
            tracing::info!("the buffer has room again: predictions are taken");
        }
        Ok(())
    }
}

/// Somewhat more than must go does, so that it is not done anew for each append.
fn below(bound: u64) -> Reason {
    Reason::Space(bound - bound / 16)
}

/// Whether it is time to look again.
fn due(last: Option<Now>, now: Now, every: Duration) -> bool {
    last.is_none_or(|last| now.since(last) >= every)
}
