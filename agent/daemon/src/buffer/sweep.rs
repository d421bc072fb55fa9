//! What goes of what is not uploaded, when all that is uploaded has gone and there is still no room.
//!
//! Explanations and health go oldest first. Predictions are *thinned*, so that what is left of a long outage is spread
//! evenly over it: pass after pass goes over the backlog, from the oldest to the newest; the first leaves one of every two
//! numbers, the next one of every four, up to 1,024; then the oldest go. A pass goes only as far as room is needed, and the
//! next need takes it up there, also after a restart (`m/thinning`). Which of two neighbours stays is drawn by lot: machines
//! are predicted in turn, and a challenger right behind its champion, so by any order among numbers one of them could go
//! whole. A lot depends on nothing but the numbers, so it falls alike in each pass and after each start.
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
    /// The pass: one number stays of every 2^level.
    level: u8,
    /// What this pass has behind it.
    position: u64,
    /// What any pass has behind it.
    end: u64,
    /// So far an earlier version thinned, which kept the numbers divisible by 2^level: lots would leave next to nothing of these.
    by_number: u64,
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
            self = Self { level, position: uploaded, end: uploaded, fruitful: false, ..self };
        }
        self.position = self.position.max(uploaded);
        self
    }

    /// As it is stored.
    fn stored(&self) -> (u8, u64, u64, u64) {
        (self.level, self.position, self.end, self.by_number)
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

    /// Whether a number is one of those that this pass and the ones before it have taken, unless something spared it.
    pub(super) fn took(&self, sequence: u64) -> bool {
        let behind = if sequence <= self.position { self.level } else { self.level.saturating_sub(1) };
        sequence <= self.end && behind > 0 && !Self { level: behind, ..*self }.keeps(sequence)
    }

    fn keeps(&self, sequence: u64) -> bool {
        if self.level > LAST_LEVEL {
            return false;
        }
        let level = u32::from(self.level);
        match sequence <= self.by_number {
            true => sequence.trailing_zeros() >= level,
            false => (1..=level).all(|level| wins(sequence, level)),
        }
    }
}

/// Whether a number stays when its block of 2^level numbers is down to two, one from each half.
fn wins(sequence: u64, level: u32) -> bool {
    (sequence >> (level - 1)) & 1 == lot(sequence >> level, level)
}

/// Which half of a block stays: a bit of its number and level, well mixed. Stores rest on it: it never changes.
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014); the mixing function is David
/// Stafford's variant 13 of MurmurHash3's finalizer.
fn lot(block: u64, level: u32) -> u64 {
    let seed = u64::from(level).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mixed = block.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) & 1
}

/// What a store knows of sweeps: only how far predictions are thinned.
pub(super) fn load(base: &Base) -> Result<PerStream<Sweep>, BufferError> {
    let mut sweeps = PerStream::default();
    let stored = base.store.get(keys::THINNING)?;
    sweeps[Stream::Predictions] = stored.and_then(|sealed| read(&sealed)).unwrap_or_default();
    Ok(sweeps)
}

/// How far a store is thinned; one of an earlier version does not say by which rule.
fn read(sealed: &[u8]) -> Option<Sweep> {
    let (level, position, end, by_number) = codec::open(keys::THINNING, sealed).ok().or_else(|| {
        let (level, position, end) = codec::open(keys::THINNING, sealed).ok()?;
        Some((level, position, end, end))
    })?;
    Some(Sweep { level, position, end, by_number, ..Sweep::default() })
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
        loop {
            let chosen = self.choose(state, stream, &sweep, sweep.position, visible, reason)?;
            sweep.position = chosen.position;
            sweep.end = sweep.end.max(chosen.position);
            let (goes, finished) = (chosen.gone.records >= WORTH, chosen.finished);
            sweep.fruitful |= goes;
            if finished {
                sweep.finish(standing);
            }
            if goes {
                self.carry_out(state, at, stream, chosen, sweep, reason)?;
            }
            state.sweeps[stream] = sweep;
            let more = goes || sweep.spent != Some(standing);
            // What is left at the end of a pass may not be worth a record. The next pass begins at once then: whoever asks for
            // room does so a few times only, and would be told that there is none. There are only so many passes.
            if goes || !finished || !more {
                return Ok(more);
            }
        }
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
            let thinned = write.seal(stream, keys::THINNING, &sweep.stored())?;
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

    fn at_level(level: u8) -> Sweep {
        Sweep { level, ..Sweep::default() }
    }

    /// A store that is not the first of its name begins with large numbers.
    const STARTS: [u64; 3] = [1, 7, 1_800_000_000 << 20];

    #[test]
    fn a_pass_leaves_one_of_each_block_and_it_was_left_by_the_pass_before() {
        for level in 1..=LAST_LEVEL {
            let (sweep, before) = (at_level(level), at_level(level - 1));
            for block in STARTS.into_iter().flat_map(|start| (start..).take(200)) {
                let numbers = (block << level)..((block + 1) << level);
                let left: Vec<u64> = numbers.filter(|sequence| sweep.keeps(*sequence)).collect();
                assert!(left.len() == 1 && before.keeps(left[0]), "level {level}, block {block}: {left:?}");
            }
        }
    }

    /// Numbers that are not random and look it.
    fn roll(dice: &mut u64, sides: u64) -> u64 {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*dice >> 33) % sides
    }

    /// Two to eight machines (or roles): in strict turn, in turns of any other order up to 64 long, or as it falls, some more
    /// often than others. Of what each predicted as much stays as of all, give or take five times what chance alone
    /// would leave it off by: the root of what stays.
    #[test]
    fn whoever_takes_turns_with_whom_keeps_its_share() {
        let mut dice = 1;
        let mut orders: Vec<Vec<u64>> = (2..=8).map(|machines| (0..machines).collect()).collect();
        for _ in 0..40 {
            let machines = 2 + roll(&mut dice, 7);
            let length = machines + roll(&mut dice, 65 - machines);
            // All are in it, some more than once.
            let rest: Vec<u64> = (machines..length).map(|_| roll(&mut dice, machines)).collect();
            orders.push((0..machines).chain(rest).collect());
        }
        for seed in 0..10 {
            let (mut dice, machines) = (seed, 2 + seed % 7);
            // The first of them is there twice as often.
            orders.push((0..1 << 14).map(|_| roll(&mut dice, machines + 1) % machines).collect());
        }
        for (order, start) in orders.iter().flat_map(|order| STARTS.map(|start| (order, start))) {
            for level in [1, 2, 3, 6] {
                let sweep = at_level(level);
                let mut of: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
                for (sequence, machine) in (start..start + (1 << 14)).zip(order.iter().cycle()) {
                    let (made, left) = of.entry(*machine).or_default();
                    (*made, *left) = (*made + 1, *left + u32::from(sweep.keeps(sequence)));
                }
                for (machine, (made, left)) in of {
                    let share = f64::from(made) / f64::from(1_u32 << level);
                    let off = (f64::from(left) - share).abs();
                    let what = format!("machine {machine} of {:?}…", &order[..order.len().min(64)]);
                    assert!(off <= 5.0 * share.sqrt(), "level {level}: {left} of {made} stay, {share} should: {what}");
                }
            }
        }
    }

    #[test]
    fn what_an_earlier_version_thinned_goes_on_by_its_rule() {
        let seal = |position: u64| codec::seal(keys::THINNING, &(3_u8, position, 1_000_u64)).unwrap();
        let sweep = read(&seal(400)).unwrap();
        assert_eq!(sweep.stored(), (3, 400, 1_000, 1_000));
        let left =
            |sweep: &Sweep, from: u64, to: u64| (from..to).filter(|number| sweep.keeps(*number)).collect::<Vec<_>>();
        assert_eq!(left(&sweep, 1, 1_001), (1..=125).map(|number| number * 8).collect::<Vec<_>>());
        // What comes later goes by lot, and that is known after the next start.
        assert_eq!(left(&sweep, 1_001, 9_001), left(&at_level(3), 1_001, 9_001));
        let again = read(&codec::seal(keys::THINNING, &sweep.stored()).unwrap()).unwrap();
        assert_eq!(again, sweep);
        assert_eq!(read(b"nothing"), None);
    }

    #[test]
    fn passes_leave_what_the_next_begins_with_and_end() {
        let mut sweep = Sweep::default().resumed(Stream::Predictions, 100);
        assert_eq!((sweep.level, sweep.position), (1, 100));
        (sweep.position, sweep.end) = (500, 500);
        assert_eq!(sweep.resumed(Stream::Predictions, 100), sweep);
        assert_eq!(sweep.resumed(Stream::Predictions, 499).position, 500, "part of it went home");
        assert_eq!(sweep.resumed(Stream::Predictions, 500).level, 1, "all of it did");
        let standing = (100, 100, 600, 0);
        sweep.finish(standing);
        assert_eq!((sweep.level, sweep.position, sweep.spent), (2, 100, None));
        for _ in 0..20 {
            sweep.finish(standing);
        }
        assert_eq!((sweep.level, sweep.spent), (OLDEST, Some(standing)));
        assert!((0..4_096).all(|sequence| !sweep.keeps(sequence)));
        let health = Sweep::default().resumed(Stream::Health, 7);
        assert_eq!((health.level, health.position), (OLDEST, 7));
    }
}
