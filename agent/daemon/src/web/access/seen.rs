//! Which explanations were served to whom: what feedback says of that is our own knowledge, not a claim.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// Explanations remembered as served to one sign-in.
const MOST_SEEN: usize = 4096;

/// The explanations that were served to one sign-in. Bounded; the oldest are forgotten first.
#[derive(Default)]
pub(crate) struct Seen(Mutex<(HashSet<Uuid>, VecDeque<Uuid>)>);

impl Seen {
    /// This explanation is on its way to the person.
    pub(crate) fn note(&self, explanation: Uuid) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *guard;
        if known.insert(explanation) {
            order.push_back(explanation);
            if order.len() > MOST_SEEN
                && let Some(oldest) = order.pop_front()
            {
                known.remove(&oldest);
            }
        }
    }

    /// Whether it had been served.
    pub(crate) fn contains(&self, explanation: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.contains(&explanation)
    }
}

/// By who came when, counted; and the count.
type Known<K> = (HashMap<K, (u64, Arc<Seen>)>, u64);

/// Those who come without a sign-in, each with what was served to it: tokens, and users on the socket.
pub(crate) struct Readers<K> {
    known: Mutex<Known<K>>,
    most: usize,
}

impl<K: Hash + Eq + Clone> Readers<K> {
    /// Remembers so many. With one more, who did not come for longest is forgotten.
    pub(crate) fn new(most: usize) -> Self {
        Self { known: Mutex::new((HashMap::new(), 0)), most }
    }

    /// What was served to this one.
    pub(crate) fn of(&self, who: &K) -> Arc<Seen> {
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, turn) = &mut *guard;
        *turn += 1;
        if !known.contains_key(who)
            && known.len() >= self.most
            && let Some(idlest) = known.iter().min_by_key(|(_, (turn, _))| *turn).map(|(who, _)| who.clone())
        {
            known.remove(&idlest);
        }
        let (last, seen) = known.entry(who.clone()).or_default();
        *last = *turn;
        Arc::clone(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_remembered_within_bounds() {
        let seen = Seen::default();
        let id = |n: usize| Uuid::from_u128(n as u128);
        for n in 0..MOST_SEEN + 10 {
            seen.note(id(n));
            seen.note(id(n));
        }
        assert!(!seen.contains(id(9)));
        assert!(seen.contains(id(10)) && seen.contains(id(MOST_SEEN + 9)));
    }

    #[test]
    fn each_reader_has_seen_what_was_served_to_it_and_the_idlest_is_forgotten() {
        let readers = Readers::new(2);
        let id = Uuid::from_u128(7);
        readers.of(&"a").note(id);
        assert!(readers.of(&"a").contains(id) && !readers.of(&"b").contains(id));
        readers.of(&"a");
        readers.of(&"c");
        assert!(readers.of(&"a").contains(id), "b came before");
        readers.of(&"b").note(id);
        readers.of(&"d");
        assert!(!readers.of(&"a").contains(id), "forgotten, which says less than it might and never more");
    }
}
