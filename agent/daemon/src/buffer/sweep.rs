//! What goes of what is not uploaded, when all that is uploaded has gone and there is still no room.
//!
//! Explanations and health go oldest first. Predictions are *thinned*, so that what is left of a long outage is spread
//! evenly over it: pass after pass goes over the backlog, from the oldest to the newest; the first leaves the numbers
//! divisible by 2, the next those divisible by 4, up to 1,024; then the oldest go. A pass goes only as far as room is
//! needed, and the next need takes it up there, also after a restart (`m/thinning`).
//!
//! What stays: predictions that alerts name and those whose explanation is not settled; what is said of the former; a
//! batch that is closed, since the registry may have it already; and health records on which central's sums rest.
//! Records of evictions do go, but what they say is said again by one in their place.

use std::collections::{BTreeMap, BTreeSet};

use explaind_core::domain::record::{Body, Health, Record, Stream};
use explaind_core::domain::time::Now;

use super::base::Base;
use super::cursor::PerStream;
use super::error::BufferError;
use super::evict::{CHUNK, Reason, WORTH};
use super::state::State;
use super::write::{Gone, Write};
use super::{Core, codec, keys};

/// Of thinned predictions one in 2^10 stays.
const LAST_LEVEL: u8 = 10;
/// Above it the oldest go.
const OLDEST: u8 = LAST_LEVEL + 1;

/// How far a stream's records that are not uploaded were looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sweep {
    /// The pass: numbers divisible by 2^level stay.
    level: u8,
    /// What this pass has behind it.
    position: u64,
    /// What any pass has behind it.
    end: u64,
    /// Whether this pass took anything away.
    fruitful: bool,
    /// A pass took nothing away while things stood like this: it need not be tried again before that changes.
    spent: Option<Standing>,
}

/// What decides about what may go: how much is uploaded, and up to where ahead of its turn; the last record; how many
/// explanations are not settled.
type Standing = (u64, u64, u64, usize);

impl Sweep {
    /// Up to which number records may have been taken away from among others.
    pub(super) fn through(&self) -> u64 {
        self.end
    }

    /// Where it goes on, with so much uploaded. A backlog that went home begins no new one where it left off.
    fn resumed(mut self, stream: Stream, uploaded: u64) -> Self {
        if self.end <= uploaded {
            let level = if stream == Stream::Predictions { 1 } else { OLDEST };
            self = Self { level, position: uploaded, end: uploaded, fruitful: false, spent: self.spent };
        }
        self.position = self.position.max(uploaded);
        self
    }

    /// The pass got to the end.
    fn finish(&mut self, standing: Standing) {
        if self.level >= OLDEST && !self.fruitful {
            self.spent = Some(standing);
        }
        self.level = self.level.saturating_add(1).min(OLDEST);
        self.position = standing.0;
        self.fruitful = false;
    }

    fn keeps(&self, sequence: u64) -> bool {
        self.level <= LAST_LEVEL && sequence.trailing_zeros() >= u32::from(self.level)
    }
}

/// What a store knows of sweeps: only how far predictions are thinned.
pub(super) fn load(base: &Base) -> Result<PerStream<Sweep>, BufferError> {
    let mut sweeps = PerStream::default();
    let stored = base.store.get(keys::THINNING)?;
    if let Some((level, position, end)) = stored.and_then(|sealed| codec::open(keys::THINNING, &sealed).ok()) {
        sweeps[Stream::Predictions] = Sweep { level, position, end, ..Sweep::default() };
    }
    Ok(sweeps)
}

/// What was chosen of a chunk of a stream.
struct Chosen<'a> {
    write: Write<'a>,
    gone: Gone,
    sequences: Vec<u64>,
    /// Runs of numbers that have no record afterwards.
    runs: Vec<(u64, u64)>,
    /// The last number looked at.
    position: u64,
    /// Whether nothing comes after it.
    finished: bool,
    /// Evictions that records among them tell of, per stream.
    told: BTreeMap<String, Gone>,
}

impl Core {
    /// Evicts some of a stream's records that are not uploaded, for room. Says whether more may.
    pub(super) fn sweep(
        &self,
        state: &mut State,
        at: Now,
        stream: Stream,
        reason: Reason,
    ) -> Result<bool, BufferError> {
        let (uploaded, visible) = (state.cursors[stream].uploaded, self.commit.visible(stream));
        let ahead = state.cursors[stream].ahead.end().unwrap_or(uploaded);
        let standing = (uploaded, ahead, visible, state.unsettled.len());
        let mut sweep = state.sweeps[stream].resumed(stream, uploaded);
        if sweep.spent == Some(standing) || !reason.wants(state, stream) {
            return Ok(false);
        }
        let chosen = self.choose(state, stream, &sweep, sweep.position, visible, reason)?;
        sweep.position = chosen.position;
        sweep.end = sweep.end.max(chosen.position);
        let goes = chosen.gone.records >= WORTH;
        sweep.fruitful |= goes;
        if chosen.finished {
            sweep.finish(standing);
        }
        if goes {
            self.carry_out(state, at, stream, chosen, sweep, reason)?;
        }
        state.sweeps[stream] = sweep;
        Ok(goes || sweep.spent != Some(standing))
    }

    /// Evicts what is not uploaded and older than its stream may get, beginning after `from`. Says from where to go on.
    pub(super) fn sweep_aged(
        &self,
        state: &mut State,
        at: Now,
        stream: Stream,
        from: u64,
        reason: Reason,
    ) -> Result<Option<u64>, BufferError> {
        let (uploaded, visible) = (state.cursors[stream].uploaded, self.commit.visible(stream));
        let mut sweep = state.sweeps[stream].resumed(stream, uploaded);
        let all = Sweep { level: OLDEST, ..sweep };
        let chosen = self.choose(state, stream, &all, from.max(uploaded), visible, reason)?;
        let next = (!chosen.finished).then_some(chosen.position);
        if !chosen.sequences.is_empty() {
            sweep.end = sweep.end.max(chosen.position);
            self.carry_out(state, at, stream, chosen, sweep, reason)?;
            state.sweeps[stream] = sweep;
        }
        Ok(next)
    }

    /// Goes over a chunk of a stream's records after `from`, and takes away what may go while it must.
    fn choose(
        &self,
        state: &State,
        stream: Stream,
        sweep: &Sweep,
        from: u64,
        through: u64,
        reason: Reason,
    ) -> Result<Chosen<'_>, BufferError> {
        let cursor = state.cursors[stream];
        let first = from.saturating_add(1);
        let entries = if first <= through {
            self.base.store.ascending(&keys::record(stream, first), &keys::record(stream, through), CHUNK)?
        } else {
            Vec::new()
        };
        let mut chosen = Chosen {
            write: Write::new(&self.base, state),
            gone: Gone::default(),
            sequences: Vec::new(),
            runs: Vec::new(),
            position: from,
            finished: entries.len() < CHUNK,
            told: BTreeMap::new(),
        };
        let pinned = if stream == Stream::Predictions { self.pinned(&entries)? } else { BTreeSet::new() };
        let batch = state.batches[stream];
        let mut stayed = 0;
        let mut follows = false;
        for (key, sealed) in &entries {
            let Some(sequence) = keys::sequence(key) else { continue };
            let decodes = matches!(reason, Reason::Age(_)) || stream != Stream::Predictions;
            let record = if decodes { self.base.decode(stream, sequence, sealed).ok() } else { None };
            if !reason.wants_more(&chosen.write, stream, record.as_ref()) {
                chosen.finished = matches!(reason, Reason::Age(_));
                break;
            }
            chosen.position = sequence;
            let is_uploaded = cursor.is_uploaded(sequence);
            let stays = batch.is_some_and(|batch| (batch.first..=batch.last).contains(&sequence))
                || (sweep.keeps(sequence) && !is_uploaded)
                || pinned.contains(&sequence)
                || (stream == Stream::Predictions && state.unsettled.contains(&sequence))
                || (stream == Stream::Explanations && self.is_needed(stream, sequence, record.as_ref())?)
                || (decodes && !is_uploaded && record.as_ref().is_none_or(|record| counts_on(&record.body)));
            if stays {
                stayed += 1;
                follows = false;
                continue;
            }
            chosen.write.evict(stream, sequence, sealed)?;
            if !is_uploaded && let Some(record) = &record {
                tell_again(record, &mut chosen.told);
            }
            // Those behind the last that goes are not among those of the range.
            chosen.gone.kept += if chosen.sequences.is_empty() { 0 } else { stayed };
            stayed = 0;
            chosen.gone.note(sequence, is_uploaded);
            chosen.sequences.push(sequence);
            match chosen.runs.last_mut().filter(|_| follows) {
                Some((_, last)) => *last = sequence,
                None => chosen.runs.push((sequence, sequence)),
            }
            follows = true;
        }
        Ok(chosen)
    }

    /// Puts it on record that records are gone, and moves what stood still behind them.
    fn carry_out(
        &self,
        state: &mut State,
        at: Now,
        stream: Stream,
        chosen: Chosen<'_>,
        sweep: Sweep,
        reason: Reason,
    ) -> Result<(), BufferError> {
        let Chosen { mut write, mut gone, mut sequences, mut runs, told, .. } = chosen;
        let cursor = &mut write.cursors[stream];
        let mark = cursor.uploaded;
        // What is gone from right behind the mark needs not be waited for.
        if let Some(&(first, last)) = runs.first()
            && self.is_empty(stream, mark.saturating_add(1), first.saturating_sub(1))?
        {
            let was_bare = cursor.floor > mark;
            // What joins the mark always finds room.
            let _ = cursor.cover((mark.saturating_add(1), last));
            if was_bare {
                write.raise_floor(stream, last.saturating_add(1))?;
                runs.remove(0);
                sequences.retain(|sequence| *sequence > last);
            }
        }
        if stream == Stream::Predictions {
            write.declare_each(&sequences)?;
            let thinned = write.seal(stream, keys::THINNING, &(sweep.level, sweep.position, sweep.end))?;
            write.batch.insert(keys::THINNING, thinned);
            gone.one_in = (sweep.level <= LAST_LEVEL && !matches!(reason, Reason::Age(_))).then(|| 1 << sweep.level);
        } else {
            for run in runs {
                write.declare_run(stream, run)?;
            }
        }
        write.evicted(at, stream, &gone, reason.as_str())?;
        for (stream, gone) in told.iter().filter_map(|(name, gone)| Some((Stream::named(name)?, gone))) {
            write.evicted(at, stream, gone, "summary")?;
        }
        self.apply(state, write)?;
        self.count_gone(stream, &gone, reason.as_str());
        Ok(())
    }

    /// Which of these predictions alerts name.
    fn pinned(&self, entries: &[super::store::Entry]) -> Result<BTreeSet<u64>, BufferError> {
        let numbers = |entry: Option<&super::store::Entry>| entry.and_then(|(key, _)| keys::sequence(key));
        let Some((first, last)) = numbers(entries.first()).zip(numbers(entries.last())) else {
            return Ok(BTreeSet::new());
        };
        let pinned = self.base.store.ascending(&keys::pinned(first), &keys::pinned(last), CHUNK)?;
        Ok(pinned.iter().filter_map(|(key, _)| keys::sequence(key)).collect())
    }
}

/// The health record's content, where it is about the buffer.
fn about_buffer(body: &Body) -> Option<&Health> {
    match body {
        Body::Health(health) if health.subject == "buffer" => Some(health),
        _ => None,
    }
}

/// Whether central's sums rest on a record, and nothing can say the same in its place.
fn counts_on(body: &Body) -> bool {
    about_buffer(body).is_some_and(|health| {
        !matches!(health.state.as_str(), "evicted" | "full" | "accepting" | "degraded" | "recovered" | "renewed")
    })
}

/// Adds up what a record says of evictions.
fn tell_again(record: &Record, told: &mut BTreeMap<String, Gone>) {
    let Some(health) = about_buffer(&record.body).filter(|health| health.state == "evicted") else { return };
    let text = |name: &str| health.evidence.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    let (Some(stream), Some(first), Some(last)) = (text("stream"), number("first"), number("last")) else { return };
    let gone = told.entry(stream.to_owned()).or_default();
    gone.cover((first, last));
    gone.records = gone.records.saturating_add(number("records").unwrap_or(0));
    gone.unsent = gone.unsent.saturating_add(number("unsent").unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_buffer_says_of_its_work_may_go_and_what_sums_rest_on_may_not() {
        let of = |subject: &str, state: &str| {
            let health = Health { subject: subject.to_owned(), state: state.to_owned(), evidence: Vec::new() };
            Body::Health(health)
        };
        for state in ["evicted", "full", "accepting", "degraded", "recovered", "renewed"] {
            assert!(!counts_on(&of("buffer", state)), "{state}");
        }
        assert!(counts_on(&of("buffer", "gap")) && !counts_on(&of("source", "gap")));
    }

    #[test]
    fn passes_leave_what_the_next_begins_with_and_end() {
        let mut sweep = Sweep::default().resumed(Stream::Predictions, 100);
        assert_eq!((sweep.level, sweep.position), (1, 100));
        assert!(sweep.keeps(102) && !sweep.keeps(101));
        (sweep.position, sweep.end) = (500, 500);
        assert_eq!(sweep.resumed(Stream::Predictions, 100), sweep);
        assert_eq!(sweep.resumed(Stream::Predictions, 499).position, 500, "part of it went home");
        assert_eq!(sweep.resumed(Stream::Predictions, 500).level, 1, "all of it did");
        let standing = (100, 100, 600, 0);
        sweep.finish(standing);
        assert_eq!((sweep.level, sweep.position, sweep.spent), (2, 100, None));
        assert!(sweep.keeps(104) && !sweep.keeps(102));
        for _ in 0..20 {
            sweep.finish(standing);
        }
        assert_eq!((sweep.level, sweep.spent), (OLDEST, Some(standing)));
        assert!(!sweep.keeps(1 << 40));
        let health = Sweep::default().resumed(Stream::Health, 7);
        assert_eq!((health.level, health.position), (OLDEST, 7));
    }
}
