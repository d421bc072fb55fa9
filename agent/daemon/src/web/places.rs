//! How many connections there may be, in all and per address, and which one goes when there are too many.
//!
//! A connection is either in a request, from its head to the end of its answer, or it waits: for a handshake, for a
//! head, for the next request. One that waits loses its place to a newcomer when its address, or the whole door, has too
//! many; one in a request never does. So whoever holds a thousand idle connections holds them off nobody, not even
//! somebody behind the same proxy. What is in a request is bounded in time elsewhere (`patience`, `guard`, `events`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::patience::Heard;

/// Most connections at once, one address' share of them, and how many stay free for addresses that have few.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 96;
const KEPT_FREE: usize = 32;
const FEW: usize = 8;
/// Most handshakes at once, and of one address.
const MOST_HANDSHAKES: usize = 64;
const MOST_HANDSHAKES_OF_ONE: usize = 24;

/// Where a connection comes from: an IPv4 address, or the network of an IPv6 one, of which one machine has all addresses.
type Origin = IpAddr;

fn origin(ip: IpAddr) -> Origin {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
        other => other,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Has not yet shown what it is, or is about to agree on keys.
    Greets,
    /// Owes the head of a request.
    Waits,
    /// Has so many requests under way.
    Works(u32),
}

#[derive(Debug)]
struct Entry {
    from: Origin,
    does: Does,
    /// Orders what was begun: the smallest has waited longest.
    since: u64,
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<u64, Entry>,
    /// Counts connections and what they do: no number comes twice.
    last: u64,
}

impl Table {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn count(&self, of: impl Fn(&Entry) -> bool) -> usize {
        self.entries.values().filter(|entry| of(entry)).count()
    }

    /// Ends the one that has waited longest among these. Returns whether there was one.
    fn give_up(&mut self, among: impl Fn(&Entry) -> bool) -> bool {
        let waits = |entry: &Entry| !matches!(entry.does, Does::Works(_));
        let found = self.entries.iter().filter(|(_, entry)| waits(entry) && among(entry));
        let Some(number) = found.min_by_key(|(_, entry)| entry.since).map(|(&number, _)| number) else { return false };
        if let Some(entry) = self.entries.remove(&number) {
            entry.gone.cancel();
        }
        true
    }

    /// Ends one that waits, of the address that has most of these.
    fn give_up_of_most(&mut self, among: impl Fn(&Entry) -> bool) -> bool {
        let mut counts: BTreeMap<Origin, (usize, bool)> = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| among(entry)) {
            let (count, waits) = counts.entry(entry.from).or_default();
            *count += 1;
            *waits |= !matches!(entry.does, Does::Works(_));
        }
        let most = counts.iter().filter(|(_, (_, waits))| *waits).max_by_key(|(_, (count, _))| *count);
        let Some(whose) = most.map(|(&from, _)| from) else { return false };
        self.give_up(|entry| entry.from == whose && among(entry))
    }

    /// Makes room for one more from there, as far as what is under way allows.
    fn make_room(&mut self, whose: Origin) -> bool {
        let greets = |entry: &Entry| entry.does == Does::Greets;
        if self.count(|entry| entry.from == whose && greets(entry)) >= MOST_HANDSHAKES_OF_ONE {
            self.give_up(|entry| entry.from == whose && greets(entry));
        } else if self.count(greets) >= MOST_HANDSHAKES {
            self.give_up_of_most(greets);
        }
        let of_one = self.count(|entry| entry.from == whose);
        if of_one >= MOST_OF_ONE && !self.give_up(|entry| entry.from == whose) {
            return false;
        }
        let most = if of_one < FEW { MOST } else { MOST - KEPT_FREE };
        self.entries.len() < most || self.give_up_of_most(|_| true)
    }
}

/// The places of one door. Cheap to clone; all clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Table>>);

impl Places {
    /// A place for a connection from there; `None` when all are taken by requests under way.
    pub(super) fn take(&self, ip: IpAddr) -> Option<Place> {
        let whose = origin(ip);
        let mut table = self.lock();
        if !table.make_room(whose) {
            return None;
        }
        let (number, gone) = (table.next(), CancellationToken::new());
        let entry = Entry { from: whose, does: Does::Greets, since: number, gone: gone.clone() };
        table.entries.insert(number, entry);
        Some(Place { all: self.clone(), number, gone, heard: Heard::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Places,
    number: u64,
    gone: CancellationToken,
    heard: Heard,
}

impl Place {
    /// Whether the peer has begun with a request; whoever reads from it notes that here.
    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The handshake is over; the head of a request is next.
    pub(super) fn greeted(&self) {
        self.change(|_| Does::Waits);
    }

    /// Resolves when somebody else was given the place.
    pub(super) async fn given_away(&self) {
        self.gone.cancelled().await;
    }

    /// A request begins; it is over when what is returned is dropped.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.heard.set(false);
        self.change(|does| match does {
            Does::Works(count) => Does::Works(count + 1),
            Does::Greets | Does::Waits => Does::Works(1),
        });
        Work(Arc::clone(self))
    }

    fn change(&self, to: impl Fn(Does) -> Does) {
        let mut table = self.all.lock();
        let now = table.next();
        if let Some(entry) = table.entries.get_mut(&self.number) {
            (entry.does, entry.since) = (to(entry.does), now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().entries.remove(&self.number);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Work(Arc<Place>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.heard.set(false);
        self.0.change(|does| match does {
            Does::Works(count) if count > 1 => Does::Works(count - 1),
            _ => Does::Waits,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn waiting(places: &Places, last: u8) -> Arc<Place> {
        let place = places.take(ip(last)).unwrap();
        place.greeted();
        Arc::new(place)
    }

    fn gone(places: &[Arc<Place>]) -> usize {
        places.iter().filter(|place| place.gone.is_cancelled()).count()
    }

    #[test]
    fn a_thousand_idle_connections_shut_the_door_for_nobody() {
        let places = Places::default();
        let idle: Vec<_> = (0..1200).map(|_| waiting(&places, 1)).collect();
        assert_eq!(places.lock().entries.len(), MOST_OF_ONE);
        assert_eq!(gone(&idle), 1200 - MOST_OF_ONE);
        assert!(idle[..1200 - MOST_OF_ONE].iter().all(|place| place.gone.is_cancelled()), "the oldest first");
        let other = waiting(&places, 2);
        let same = waiting(&places, 1);
        assert_eq!((gone(&[other, same]), places.lock().entries.len()), (0, MOST_OF_ONE + 1));
    }

    #[test]
    fn what_is_under_way_is_not_cut_off() {
        let places = Places::default();
        let busy: Vec<_> = (0..MOST_OF_ONE).map(|_| waiting(&places, 1)).collect();
        let mut works: Vec<_> = busy.iter().map(Place::work).collect();
        assert!(places.take(ip(1)).is_none());
        assert!(places.take(ip(2)).is_some());
        works.pop();
        assert!(places.take(ip(1)).is_some());
        assert_eq!((gone(&busy), busy[MOST_OF_ONE - 1].gone.is_cancelled()), (1, true));
    }

    #[test]
    fn places_stay_free_for_those_who_have_few() {
        let places = Places::default();
        let work = |n: usize| places.take(ip((n % 3) as u8)).map(|place| Arc::new(place).work());
        let _works: Vec<_> = (0..MOST).filter_map(work).collect();
        assert_eq!(places.lock().entries.len(), MOST - KEPT_FREE);
        let others: Vec<_> = (10..20).map(|last| waiting(&places, last)).collect();
        assert_eq!((gone(&others), places.lock().entries.len()), (0, MOST - KEPT_FREE + 10));
    }

    #[test]
    fn whoever_has_most_makes_room_for_the_others() {
        let places = Places::default();
        let many: Vec<_> = (0..90).map(|_| waiting(&places, 1)).collect();
        let others: Vec<_> = (0..MOST * 2).map(|n| waiting(&places, 2 + (n % 200) as u8)).collect();
        assert!(gone(&many) > 80 && places.lock().entries.len() <= MOST, "{}", gone(&many));
        assert!(!others[MOST * 2 - 1].gone.is_cancelled());
    }

    #[test]
    fn handshakes_are_few_and_those_of_others_go_on() {
        let places = Places::default();
        let mine = places.take(ip(2)).unwrap();
        let theirs: Vec<_> = (0..200).map(|_| places.take(ip(1)).unwrap()).collect();
        assert!(!mine.gone.is_cancelled());
        assert_eq!(places.lock().entries.len(), 1 + MOST_HANDSHAKES_OF_ONE);
        drop(theirs);
        assert_eq!(places.lock().entries.len(), 1);
        let all: Vec<_> = (0..200).map(|n| places.take(ip(10 + n)).unwrap()).collect();
        assert_eq!(places.lock().entries.len(), MOST_HANDSHAKES);
        drop(all);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_itself() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), ip(1));
        assert_eq!(of("::1"), "::1".parse::<IpAddr>().unwrap());
    }
}
