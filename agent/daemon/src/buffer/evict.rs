//! Bounds: what goes when space or age asks for it, in which order, and what is refused when nothing may go.
//!
//! First what is uploaded, the oldest first. Over `history_bytes`: explanations beside attributions, then predictions.
//! Over the bound in force (`room`): predictions that alerts name, health, audit, alerts that are closed, feedback.
//!
//! Then, over the bound, what is **not** uploaded (`sweep`): explanations beside attributions, oldest first; health as
//! far as it takes more than an eighth of the bound; predictions, thinned; then the rest of health. Never feedback,
//! alerts or audit, nor predictions that alerts name.
//!
//! When even that makes no room, new predictions are refused, and alerts, feedback, audit and health go on the reserve, half
//! of which is for what people do.
//! One append does a few chunks of that work at most: it is taken as long as it makes more room than it needs.
//!
//! For age: everything uploaded that is older than `max_age`, but for the transitions of alerts that are still open. A
//! stream may have bounds of its own, in bytes and age; of predictions, explanations and health they take what is not
//! uploaded as well. What is said beside the attributions of a prediction that an alert names goes with that prediction,
//! not before.

use explaind_core::domain::record::{Body, NewRecord, Record, Stream};
use explaind_core::domain::time::{Now, Timestamp};
use std::sync::Arc;
use std::time::Duration;

use super::bounds::reserve;
use super::cursor::PerStream;
use super::error::BufferError;
use super::keys;
use super::state::State;
use super::write::{Gone, Write};
use super::{Buffer, Core, Needs, generation};

/// Records evicted in one write: bounds how long a writer waits for it.
pub(super) const CHUNK: usize = 2048;
/// Such writes in one append at most.
const CHUNKS: u32 = 4;
/// Fewer records than that are not worth the one that says that they are gone.
pub(super) const WORTH: u64 = 8;
/// What a record counts for, about.
const MEAN_BYTES: u64 = 1024;
/// How often age is looked at.
const AGE_EVERY: Duration = Duration::from_secs(600);
/// Health that is not uploaded goes before predictions where it takes more than this share of the bound.
const HEALTH_SHARE: u64 = 8;
/// Streams of which what is not uploaded may go.
const BULK: [Stream; 3] = [Stream::Explanations, Stream::Health, Stream::Predictions];

/// Why records go.
#[derive(Clone, Copy)]
pub(super) enum Reason {
    /// Until no more bytes than this are kept.
    Space(u64),
    /// Until their stream takes no more bytes than this.
    Share(u64),
    /// Those made before.
    Age(Timestamp),
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Space(_) | Self::Share(_) => "space",
            Self::Age(_) => "age",
        }
    }

    /// Whether anything is to go.
    pub(super) fn wants(self, state: &State, stream: Stream) -> bool {
        match self {
            Self::Space(target) => state.kept() > target,
            Self::Share(target) => state.cursors[stream].bytes > target,
            Self::Age(_) => true,
        }
    }

    /// Whether a record goes, after what this write takes. One that cannot be read has no age, and goes with its
    /// neighbours.
    pub(super) fn wants_more(self, write: &Write<'_>, stream: Stream, record: Option<&Record>) -> bool {
        match self {
            Self::Space(target) => write.kept() > target,
            Self::Share(target) => write.cursors[stream].bytes > target,
            Self::Age(before) => record.is_none_or(|record| record.at.utc < before),
        }
    }
}

/// Predictions are refused at present: nothing of what is kept may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    /// Bytes kept.
    pub(crate) kept: u64,
    /// Bytes allowed.
    pub(crate) bound: u64,
}

/// Writes that may still be made.
struct Work(u32);

impl Work {
    fn is_left(&self) -> bool {
        self.0 > 0
    }

    /// Does one piece of work while there is any and it may be more; says whether to go on.
    fn does(&mut self, step: impl FnOnce() -> Result<bool, BufferError>) -> Result<bool, BufferError> {
        if !self.is_left() || !step()? {
            return Ok(false);
        }
        self.0 -= 1;
        Ok(true)
    }
}

impl Buffer {
    /// Whether predictions are refused at present.
    pub(crate) fn fullness(&self) -> Option<Full> {
        let state = self.0.state();
        state.full.then(|| Full { kept: state.kept(), bound: state.room.bound(&self.0.config) })
    }

    /// Looks again for room where there was none: what was uploaded since then may go, even if nothing new comes.
    pub(crate) fn look_for_room(&self, at: Now) {
        let core = &self.0;
        if core.state().full {
            let looked = core.writing().and_then(|mut state| core.make_room(&mut state, at, &[]));
            let saved = core.commit.make_durable(core.commit.newest(Needs::Journal));
            if let Err(error) = looked.and(saved) {
                tracing::debug!(%error, "there is no room yet");
            }
        }
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
        self.look_at_disk(state, at);
        if due(state.aged, at, AGE_EVERY) && self.evict_aged(state, at, &mut Work(CHUNKS))? {
            state.aged = Some(at);
        }
        let mut work = Work(CHUNKS);
        let bound = state.room.bound(&self.config);
        // Once it is full, some room must be made before it is not: else it would be full and not at every record.
        let limit = if state.full { bound - bound / 32 } else { bound };
        let before = state.kept();
        self.evict_shares(state, at, &mut work)?;
        self.evict_for_space(state, at, limit, &mut work)?;
        let kept = state.kept();
        // Where the work was too much for one append, but made room, the next goes on with it.
        let made = before.saturating_sub(kept);
        let needed = MEAN_BYTES.saturating_mul(new.len() as u64);
        let full = kept >= limit && (state.full || made == 0 || made < needed);
        self.note_fullness(state, at, full, bound)?;
        if !full || new.is_empty() {
            return Ok(());
        }
        // A prediction that comes with its alert is not held back: the alert would be beyond understanding.
        let held_back = |stream| matches!(stream, Stream::Predictions | Stream::Explanations);
        let spared = new.iter().any(|record| !held_back(record.body.stream()));
        // Half of the reserve is for people. What an alert did before it is acknowledged comes with that.
        let share = if new.iter().any(|record| is_by_people(&record.body)) { 2 } else { 1 };
        if spared && kept < bound.saturating_add(reserve(bound) / 2 * share) {
            return Ok(());
        }
        Err(BufferError::Full { kept, bound })
    }

    fn look_at_disk(self: &Arc<Self>, state: &mut State, at: Now) {
        if state.room.is_due(at) {
            self.metrics.buffer_bytes(self.bytes_on_disk());
            // What was set aside gives the records no room.
            let files = self.bytes_in_use().saturating_add(state.in_outbox());
            let kept = state.kept();
            state.room.look(at, &self.opening.path, files, kept);
            if state.room.is_held() {
                generation::make_room(&self.opening.path);
            }
            self.renew_if_sparse(state);
        }
    }

    /// What makes room as a whole, in the order that is declared above.
    fn evict_for_space(&self, state: &mut State, at: Now, limit: u64, work: &mut Work) -> Result<(), BufferError> {
        let history = self.config.history_bytes.min(limit);
        for stream in [Stream::Explanations, Stream::Predictions] {
            while state.kept() >= history && work.does(|| self.evict_oldest(state, at, stream, below(history)))? {}
        }
        while state.kept() >= limit && work.does(|| self.evict_pinned(state, at, below(limit)))? {}
        for stream in [Stream::Health, Stream::Audit, Stream::Alerts, Stream::Feedback] {
            while state.kept() >= limit && work.does(|| self.evict_oldest(state, at, stream, below(limit)))? {}
        }

        while state.kept() >= limit && work.does(|| self.sweep(state, at, Stream::Explanations, below(limit)))? {}
        let share = limit / HEALTH_SHARE;
        while state.kept() >= limit
            && state.cursors[Stream::Health].bytes >= share
            && work.does(|| self.sweep(state, at, Stream::Health, below_share(share)))?
        {}
        while state.kept() >= limit && work.does(|| self.sweep(state, at, Stream::Predictions, below(limit)))? {}
        while state.kept() >= limit && work.does(|| self.sweep(state, at, Stream::Health, below(limit)))? {}
        Ok(())
    }

    /// Keeps streams within bounds of their own.
    fn evict_shares(&self, state: &mut State, at: Now, work: &mut Work) -> Result<(), BufferError> {
        for stream in Stream::ALL {
            let Some(most) = self.config.limits(stream).max_bytes else { continue };
            let too_much = |state: &State| state.cursors[stream].bytes >= most;
            let reason = below_share(most);
            while too_much(state) && work.does(|| self.evict_oldest(state, at, stream, reason))? {}
            while BULK.contains(&stream) && too_much(state) && work.does(|| self.sweep(state, at, stream, reason))? {}
        }
        Ok(())
    }

    /// Says whether all is done.
    fn evict_aged(&self, state: &mut State, at: Now, work: &mut Work) -> Result<bool, BufferError> {
        let before = |age: Duration| {
            let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            Reason::Age(Timestamp::from_micros(at.utc.as_micros().saturating_sub(age)))
        };
        let most = |stream| {
            let own = self.config.limits(stream).max_age.unwrap_or(self.config.max_age);
            before(own.min(self.config.max_age))
        };
        while work.does(|| self.evict_pinned(state, at, most(Stream::Predictions)))? {}
        for stream in Stream::ALL {
            while work.does(|| self.evict_oldest(state, at, stream, most(stream)))? {}
        }
        for stream in BULK {
            let Some(age) = self.config.limits(stream).max_age else { continue };
            while work.does(|| {
                let next = self.sweep_aged(state, at, stream, state.aging[stream], before(age))?;
                state.aging[stream] = next.unwrap_or(u64::MAX);
                Ok(next.is_some())
            })? {}
        }
        if work.is_left() {
            state.aging = PerStream::default();
        }
        Ok(work.is_left())
    }

    /// Evicts up to a chunk of a stream's oldest uploaded records; predictions that alerts name stay, with what is said
    /// of them. Says whether there may be more to evict.
    fn evict_oldest(&self, state: &mut State, at: Now, stream: Stream, reason: Reason) -> Result<bool, BufferError> {
        let cursor = state.cursors[stream];
        let mut through = cursor.uploaded;
        if stream == Stream::Alerts {
            let needed = self.commit.alerts(|book| book.oldest_needed(!matches!(reason, Reason::Age(_))));
            through = through.min(needed.map_or(u64::MAX, |needed| needed.saturating_sub(1)));
        }
        if through < cursor.floor || !reason.wants(state, stream) {
            return Ok(false);
        }
        let (first, last) = (keys::record(stream, cursor.floor), keys::record(stream, through));
        let entries = self.base.store.ascending(&first, &last, CHUNK)?;
        let mut write = Write::new(&self.base, state);
        let mut gone = Gone::default();
        let mut end = None;
        for (key, sealed) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            let record = self.base.decode(stream, sequence, sealed).ok();
            if !reason.wants_more(&write, stream, record.as_ref()) {
                break;
            }
            end = Some(sequence);
            if self.is_needed(stream, sequence, record.as_ref())? {
                gone.kept += 1;
            } else {
                gone.note(sequence, true);
                write.evict(stream, sequence, sealed)?;
            }
        }
        if entries.is_empty() && !state.declared[stream].misses(cursor.floor, through) {
            // All that was here went before its turn, and is on record.
            end = Some(through);
        }
        let Some(end) = end else { return Ok(false) };
        if stream == Stream::Health && gone.records < WORTH && !matches!(reason, Reason::Age(_)) {
            // The record that says so would take the place of what went, time and again.
            return Ok(false);
        }
        write.raise_floor(stream, end.saturating_add(1))?;
        if gone.records > 0 {
            gone.cover((cursor.floor, end));
            write.evicted(at, stream, &gone, reason.as_str())?;
        }
        self.apply(state, write)?;
        self.count_gone(stream, &gone, reason.as_str());
        Ok(entries.len() == CHUNK)
    }

    /// Whether a record stays because an alert names it, or the prediction that it is the newest word on.
    pub(super) fn is_needed(
        &self,
        stream: Stream,
        sequence: u64,
        record: Option<&Record>,
    ) -> Result<bool, BufferError> {
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
        if !reason.wants(state, Stream::Predictions) {
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
            if !reason.wants_more(&write, Stream::Predictions, record.as_ref()) {
                break;
            }
            write.evict(Stream::Predictions, sequence, &sealed)?;
            gone.note(sequence, true);
            for extra in record.map(|record| write.evict_spared(record.id)).transpose()?.into_iter().flatten() {
                extras.note(extra, true);
            }
        }
        if write.batch.is_empty() {
            return Ok(false);
        }
        for (stream, gone) in [(Stream::Predictions, &gone), (Stream::Explanations, &extras)] {
            write.evicted(at, stream, gone, reason.as_str())?;
        }
        self.apply(state, write)?;
        self.count_gone(Stream::Predictions, &gone, reason.as_str());
        self.count_gone(Stream::Explanations, &extras, reason.as_str());
        Ok(gone.records > 0 && pinned.len() == CHUNK)
    }

    /// Shows how many records went: those that were never uploaded for that, the others for why.
    pub(super) fn count_gone(&self, stream: Stream, gone: &Gone, reason: &str) {
        for (why, count) in [("unsent", gone.unsent), (reason, gone.records - gone.unsent)] {
            if count > 0 {
                self.metrics.dropped(stream.as_str(), why, count);
            }
        }
    }

    /// Records when predictions begin to be refused, and when they are taken again.
    fn note_fullness(&self, state: &mut State, at: Now, full: bool, bound: u64) -> Result<(), BufferError> {
        if state.full == full {
            return Ok(());
        }
        let mut write = Write::new(&self.base, state);
        let evidence = [
            ("bytes", state.kept().to_string()),
            ("max_bytes", self.config.max_bytes.to_string()),
            ("bound", bound.to_string()),
        ];
        write.health(at, if full { "full" } else { "accepting" }, &evidence)?;
        self.apply(state, write)?;
        state.full = full;
        self.metrics.buffer_full(full);
        if full {
            tracing::error!("the buffer is full of records that must not go: new predictions are refused");
        } else {
            tracing::info!("the buffer has room again: predictions are taken");
        }
        Ok(())
    }
}

/// Whether a person did it.
pub(super) fn is_by_people(body: &Body) -> bool {
    match body {
        Body::Feedback(_) | Body::Audit(_) => true,
        Body::Alert(transition) => transition.author.is_some(),
        Body::Prediction(_) | Body::Health(_) | Body::Extra(_) => false,
    }
}

/// Somewhat more than must go does, so that it is not done anew for each append.
fn below(bound: u64) -> Reason {
    Reason::Space(bound - bound / 16)
}

fn below_share(bound: u64) -> Reason {
    Reason::Share(bound - bound / 16)
}

/// Whether it is time to look again.
pub(super) fn due(last: Option<Now>, now: Now, every: Duration) -> bool {
    last.is_none_or(|last| now.since(last) >= every)
}
