//! Sets of numbers that are mostly dense: kept as ranges, so that a million takes no more room than one.

use std::collections::BTreeMap;

/// Ranges by their first number; none touches another.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Whether a number is in it.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Adds a number; says whether it is new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let below = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let first = below.filter(|(_, last)| last.saturating_add(1) == number).map_or(number, |(first, _)| first);
        let above = number.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, above.unwrap_or(number));
        true
    }

    /// All of them, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(first, _)| *first)
    }

    /// The highest number.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, last)| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_join_whatever_their_order() {
        let mut ranges = Ranges::default();
        for number in [5, 3, 9, 4, 1, u64::MAX, 2, 0] {
            assert!(ranges.insert(number) && !ranges.insert(number));
        }
        assert_eq!(ranges.0.into_iter().collect::<Vec<_>>(), [(0, 5), (9, 9), (u64::MAX, u64::MAX)]);
        let mut ranges = Ranges::default();
        assert_eq!((ranges.first(), ranges.contains(0)), (None, false));
        ranges.insert(7);
        assert_eq!(
            (ranges.first(), ranges.last(), ranges.contains(7), ranges.contains(8)),
            (Some(7), Some(7), true, false)
        );
    }
}
