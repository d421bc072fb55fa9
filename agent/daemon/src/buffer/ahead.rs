//! What is in the registry before its turn: a few ranges of numbers above the contiguous mark.
//!
//! After an outage the newest records go home first and the backlog follows. So for a while what is uploaded has a hole.
//! The list is short on purpose: it is written with every cursor, and each outage adds one range at most.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A range of numbers, both ends included.
pub(super) type Range = (u64, u64);

/// How many ranges are remembered.
const MOST: usize = 8;

/// Ranges in ascending order; none touches another, nor the mark below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ahead {
    ranges: [Range; MOST],
    count: usize,
}

impl Ahead {
    /// The ranges.
    pub(super) fn ranges(&self) -> &[Range] {
        self.ranges.get(..self.count).unwrap_or(&self.ranges)
    }

    /// Whether another range can be remembered.
    pub(super) fn has_room(&self) -> bool {
        self.count < MOST
    }

    /// Whether a number is in one of them.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.ranges().iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }

    /// The last number of the last range.
    pub(super) fn end(&self) -> Option<u64> {
        self.ranges().last().map(|(_, last)| *last)
    }

    /// Adds a range to those above the mark `uploaded`, which moves up over all that joins it. Says no, and changes
    /// nothing, when there would be too many.
    #[must_use]
    pub(super) fn cover(&mut self, uploaded: &mut u64, added: Range) -> bool {
        if added.0 > added.1 {
            return true;
        }
        let mut all: Vec<Range> = self.ranges().to_vec();
        all.push(added);
        all.sort_unstable();
        let mut mark = *uploaded;
        let mut joined: Vec<Range> = Vec::with_capacity(all.len());
        for (first, last) in all {
            let touches = |end: u64| first <= end.saturating_add(1);
            match joined.last_mut() {
                None if touches(mark) => mark = mark.max(last),
                Some((_, end)) if touches(*end) => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        let Some(new) = Self::of(&joined) else { return false };
        (*self, *uploaded) = (new, mark);
        true
    }

    fn of(list: &[Range]) -> Option<Self> {
        let mut ranges = [(0, 0); MOST];
        ranges.get_mut(..list.len())?.copy_from_slice(list);
        Some(Self { ranges, count: list.len() })
    }
}

impl Serialize for Ahead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ranges().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ahead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<Range>::deserialize(deserializer)?;
        Self::of(&list).ok_or_else(|| D::Error::custom("there are too many ranges"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_each_other_and_the_mark() {
        let (mut ahead, mut mark) = (Ahead::default(), 10);
        assert!(ahead.cover(&mut mark, (21, 30)) && ahead.cover(&mut mark, (41, 50)));
        assert_eq!((ahead.ranges(), mark, ahead.end()), (&[(21, 30), (41, 50)][..], 10, Some(50)));
        assert!(ahead.contains(21) && !ahead.contains(31));
        assert!(ahead.cover(&mut mark, (31, 33)));
        assert_eq!(ahead.ranges(), [(21, 33), (41, 50)]);
        assert!(ahead.cover(&mut mark, (11, 20)));
        assert_eq!((ahead.ranges(), mark), (&[(41, 50)][..], 33));
        assert!(ahead.cover(&mut mark, (5, u64::MAX)));
        assert_eq!((ahead.ranges(), mark), (&[][..], u64::MAX));
    }

    #[test]
    fn there_are_few_and_they_survive_being_written() {
        let (mut ahead, mut mark) = (Ahead::default(), 0);
        for n in 1..=MOST as u64 {
            assert!(ahead.has_room() && ahead.cover(&mut mark, (n * 10, n * 10 + 1)));
        }
        let before = ahead;
        assert!(!ahead.has_room() && !ahead.cover(&mut mark, (1000, 1001)));
        assert_eq!((ahead, mark), (before, 0), "a refusal changes nothing");
        assert!(ahead.cover(&mut mark, (12, 19)), "what joins two always finds room");
        let bytes = postcard::to_stdvec(&ahead).unwrap();
        assert_eq!(postcard::from_bytes::<Ahead>(&bytes).unwrap(), ahead);
        let many = postcard::to_stdvec(&vec![(1u64, 1u64); MOST + 1]).unwrap();
        assert!(postcard::from_bytes::<Ahead>(&many).is_err());
    }
}
