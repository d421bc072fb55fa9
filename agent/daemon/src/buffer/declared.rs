//! Numbers above a stream's floor whose records were evicted: on record, so that no start takes them for a loss.
//!
//! Explanations and health go in runs, and a run is declared as such: none of its numbers has a record. Predictions are
//! thinned, so of them only the count per segment of 16,384 numbers is declared, of one with the floor in it from there on:
//! what is missing there beyond it is a loss, and is found by counting. What lies below the floor needs no word.

use std::collections::BTreeMap;

use explaind_core::domain::record::Stream;

use super::base::Base;
use super::cursor::PerStream;
use super::error::BufferError;
use super::verify::{self, Range};
use super::write::Write;
use super::{codec, keys};

/// Numbers in a segment of the predictions, as a power of two.
const SEGMENT_BITS: u32 = 14;

/// A declared range: its last number, and how many of its numbers have no record because they were evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) last: u64,
    pub(super) gone: u64,
}

/// All of a stream, by their first numbers. They do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Declared(BTreeMap<u64, Span>);

impl Declared {
    /// What a store has declared of a stream.
    pub(super) fn load(base: &Base, stream: Stream) -> Result<Self, BufferError> {
        let [kind, code, ..] = keys::declared(stream, 0);
        let entries = base.store.all(&[kind, code])?;
        Ok(Self::of(entries.iter().map(|(key, sealed)| (&**key, &**sealed))))
    }

    /// What entries of a stream say.
    pub(super) fn of<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        Self(entries.filter_map(|(key, sealed)| Some((keys::sequence(key)?, open(key, sealed)?))).collect())
    }

    /// The range with a number in it.
    pub(super) fn around(&self, sequence: u64) -> Option<(u64, Span)> {
        let (first, span) = self.0.range(..=sequence).next_back()?;
        (span.last >= sequence).then_some((*first, *span))
    }

    /// The first range that begins after a number.
    pub(super) fn after(&self, sequence: u64) -> Option<u64> {
        self.0.range(sequence.checked_add(1)?..).next().map(|(first, _)| *first)
    }

    /// Whether no number of a range is declared.
    pub(super) fn misses(&self, first: u64, last: u64) -> bool {
        self.around(first).is_none() && self.after(first).is_none_or(|next| next > last)
    }

    /// Whether a number is known to have no record. Of segments that are counted it is not known which have none.
    pub(super) fn is_gone(&self, sequence: u64) -> bool {
        self.around(sequence).is_some_and(|(first, span)| span.is_whole(first))
    }

    /// The ranges that have a number from `first` to `last`.
    pub(super) fn within(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, Span)> {
        let before = self.around(first).filter(|(begin, _)| *begin < first);
        let rest = if first <= last { Some(self.0.range(first..=last)) } else { None };
        before.into_iter().chain(rest.into_iter().flatten().map(|(first, span)| (*first, *span)))
    }

    /// Takes in what a write has changed.
    pub(super) fn adopt(&mut self, changes: BTreeMap<u64, Option<Span>>) {
        for (first, span) in changes {
            match span {
                Some(span) => self.0.insert(first, span),
                None => self.0.remove(&first),
            };
        }
    }
}

impl Span {
    /// Whether none of its numbers has a record.
    pub(super) fn is_whole(self, first: u64) -> bool {
        self.gone > self.last.saturating_sub(first)
    }
}

/// How many numbers of a range have a record, as far as is known: those that were lost count as if they had.
pub(super) fn left(base: &Base, stream: Stream, declared: &Declared, (first, last): Range) -> Result<u64, BufferError> {
    let Some(mut left) = last.checked_add(1).and_then(|end| end.checked_sub(first)) else { return Ok(0) };
    for (begin, span) in declared.within(first, last) {
        let part = (begin.max(first), span.last.min(last));
        let gone = if part == (begin, span.last) || span.is_whole(begin) {
            span.gone.min(numbers(part))
        } else {
            numbers(part).saturating_sub(records(base, stream, part)?)
        };
        left = left.saturating_sub(gone);
    }
    Ok(left)
}

/// How many records there are in a range; it must be short.
fn records(base: &Base, stream: Stream, (first, last): Range) -> Result<u64, BufferError> {
    let entries = base.store.ascending(&keys::record(stream, first), &keys::record(stream, last), 1 << SEGMENT_BITS)?;
    Ok(entries.len() as u64)
}

/// How many numbers a range has.
pub(super) fn numbers((first, last): Range) -> u64 {
    last.saturating_add(1).saturating_sub(first)
}

/// Fixed in length, so that a range weighs the same whatever it says.
fn open(key: &[u8], sealed: &[u8]) -> Option<Span> {
    let (last, gone): ([u8; 8], [u8; 8]) = codec::open(key, sealed).ok()?;
    Some(Span { last: u64::from_be_bytes(last), gone: u64::from_be_bytes(gone) })
}

/// What a write changes of it.
pub(super) type Changes = PerStream<BTreeMap<u64, Option<Span>>>;

impl Write<'_> {
    /// Declares that all numbers of a range are without records now. It joins what it touches.
    pub(super) fn declare_run(&mut self, stream: Stream, (mut first, mut last): Range) -> Result<(), BufferError> {
        let low = keys::declared(stream, 0);
        let before = self.base.store.descending(&low, &keys::declared(stream, first), 1)?;
        let from = before.first().and_then(|(key, _)| keys::sequence(key)).unwrap_or(first).min(first);
        let until = keys::declared(stream, last.saturating_add(1));
        loop {
            let touched = self.base.store.ascending(&keys::declared(stream, from), &until, 64)?;
            let mut joined = false;
            for (key, sealed) in touched {
                let Some((begin, span)) = keys::sequence(&key).zip(open(&key, &sealed)) else { continue };
                let is_removed = matches!(self.declared[stream].get(&begin), Some(None));
                if !is_removed && span.last.saturating_add(1) >= first {
                    (first, last, joined) = (first.min(begin), last.max(span.last), true);
                    self.set_span(stream, begin, None)?;
                }
            }
            if !joined {
                break;
            }
        }
        self.set_span(stream, first, Some(Span { last, gone: numbers((first, last)) }))
    }

    /// Declares that predictions were evicted: so many more are without records in the segments of these numbers.
    pub(super) fn declare_each(&mut self, sequences: &[u64]) -> Result<(), BufferError> {
        for same in sequences.chunk_by(|one, other| segment(*one) == segment(*other)) {
            let Some(first) = same.first().copied() else { continue };
            let (first, mut span) = self.counted(first)?;
            span.gone = span.gone.saturating_add(same.len() as u64);
            self.set_span(Stream::Predictions, first, Some(span))?;
        }
        Ok(())
    }

    /// Declares how many numbers of a segment are without records, where that was counted anew.
    pub(super) fn declare_exactly(&mut self, stream: Stream, first: u64, gone: u64) -> Result<(), BufferError> {
        if self.span(stream, first)?.map_or(0, |span| span.gone) == gone {
            return Ok(());
        }
        self.set_span(stream, first, (gone > 0).then_some(Span { last: segment_end(first), gone }))
    }

    /// Adds to what has no record in a segment: what is lost there, so that it is found once.
    pub(super) fn declare_more(&mut self, stream: Stream, first: u64, more: u64) -> Result<(), BufferError> {
        let (first, mut span) = self.counted(first.max(self.cursors[stream].floor.min(segment_end(first))))?;
        span.gone = span.gone.saturating_add(more);
        self.set_span(stream, first, Some(span))
    }

    /// Moves a stream's floor up; what is declared below it is forgotten. Comes before what else this write declares.
    pub(super) fn raise_floor(&mut self, stream: Stream, floor: u64) -> Result<(), BufferError> {
        let old = std::mem::replace(&mut self.cursors[stream].floor, floor);
        let (low, high) = (keys::declared(stream, 0), keys::declared(stream, floor.saturating_sub(1)));
        for (key, sealed) in self.base.store.ascending(&low, &high, usize::MAX)? {
            let Some(first) = keys::sequence(&key) else { continue };
            let span = open(&key, &sealed);
            self.set_span(stream, first, None)?;
            let Some(span) = span.filter(|span| span.last >= floor) else { continue };
            if span.is_whole(first) {
                let rest = Span { last: span.last, gone: numbers((floor, span.last)) };
                self.set_span(stream, floor, Some(rest))?;
                continue;
            }
            // What this write takes away is still in the store, and was never counted as gone.
            let below = (first.max(old), floor.saturating_sub(1));
            let gaps = verify::known_gaps(self.base, stream)?;
            let passed = gaps.iter().map(|gap| numbers((gap.0.max(below.0), gap.1.min(below.1)))).sum::<u64>();
            let gone = numbers(below).saturating_sub(records(self.base, stream, below)?).saturating_sub(passed);
            let rest = span.gone.saturating_sub(gone);
            // Under the floor, so that an older writing of it is known by its number.
            self.set_span(stream, floor, (rest > 0).then_some(Span { last: span.last, gone: rest }))?;
        }
        Ok(())
    }

    /// Where the predictions without records are counted that are in a number's segment, and how many they are.
    fn counted(&self, number: u64) -> Result<(u64, Span), BufferError> {
        let stream = Stream::Predictions;
        let segment = segment(number);
        let changed =
            self.declared[stream].range(segment..=number).rev().find_map(|(first, span)| Some(*first).zip(*span));
        if let Some(found) = changed {
            return Ok(found);
        }
        let (low, high) = (keys::declared(stream, segment), keys::declared(stream, number));
        let stored = self.base.store.descending(&low, &high, 1)?;
        if let Some(first) = stored.first().and_then(|(key, _)| keys::sequence(key))
            && let Some(span) = self.span(stream, first)?
        {
            return Ok((first, span));
        }
        let fresh = segment.max(self.cursors[stream].floor.min(number));
        Ok((fresh, Span { last: segment_end(number), gone: 0 }))
    }

    fn span(&self, stream: Stream, first: u64) -> Result<Option<Span>, BufferError> {
        if let Some(changed) = self.declared[stream].get(&first) {
            return Ok(*changed);
        }
        let key = keys::declared(stream, first);
        Ok(self.base.store.get(&key)?.and_then(|sealed| open(&key, &sealed)))
    }

    fn set_span(&mut self, stream: Stream, first: u64, span: Option<Span>) -> Result<(), BufferError> {
        let key = keys::declared(stream, first);
        let was_there = self.span(stream, first)?.is_some();
        let value = span.unwrap_or(Span { last: 0, gone: 0 });
        let value = self.seal(stream, &key, &(value.last.to_be_bytes(), value.gone.to_be_bytes()))?;
        let weight = codec::weight(&key, &value);
        let cursor = &mut self.cursors[stream];
        match (was_there, span.is_some()) {
            (false, true) => cursor.bytes = cursor.bytes.saturating_add(weight),
            (true, false) => cursor.bytes = cursor.bytes.saturating_sub(weight),
            _ => {}
        }
        if span.is_some() {
            self.batch.insert(key, value)
        } else {
            self.batch.remove(key)
        }
        self.declared[stream].insert(first, span);
        Ok(())
    }
}

/// The first number of the segment that a prediction's number is in.
pub(super) fn segment(sequence: u64) -> u64 {
    sequence >> SEGMENT_BITS << SEGMENT_BITS
}

/// The last number of a segment.
pub(super) fn segment_end(first: u64) -> u64 {
    first | ((1 << SEGMENT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_the_numbers_in_them() {
        let mut declared = Declared::default();
        let span = |last, gone| Some(Span { last, gone });
        declared.adopt(BTreeMap::from([(10, span(19, 10)), (30, span(39, 4)), (50, span(59, 10))]));
        declared.adopt(BTreeMap::from([(50, None)]));
        assert_eq!(declared.around(19), Some((10, Span { last: 19, gone: 10 })));
        assert_eq!((declared.around(9), declared.around(20), declared.around(55)), (None, None, None));
        assert!(declared.is_gone(10) && !declared.is_gone(30) && !declared.is_gone(20));
        assert_eq!((declared.after(9), declared.after(10), declared.after(30)), (Some(10), Some(30), None));
        assert!(declared.misses(20, 29) && !declared.misses(20, 30) && !declared.misses(12, 13));
        let found = |first, last| declared.within(first, last).map(|(first, _)| first).collect::<Vec<_>>();
        assert_eq!(
            (found(0, 9), found(0, 10), found(15, 30), found(31, 99)),
            (vec![], vec![10], vec![10, 30], vec![30])
        );
        assert_eq!((found(40, 99), found(20, 12)), (vec![], vec![]));
    }

    #[test]
    fn segments_begin_where_their_number_does() {
        assert_eq!((segment(0), segment(16_383), segment(16_384)), (0, 0, 16_384));
        assert_eq!((segment_end(0), segment_end(16_384)), (16_383, 32_767));
    }
}
