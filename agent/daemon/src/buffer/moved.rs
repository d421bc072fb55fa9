//! A store that finds itself on another machine: its card was cloned, or put into another gateway.
//!
//! Whether the machine that it came from still runs cannot be known here. So the store goes on under an id of its own,
//! which the registry does not know, and sync stops until a person has said whose the gateway's folder is. Its numbers
//! go on far above all that the other machine may give out meanwhile; what was not sent yet keeps its numbers, and is
//! looked for in the registry before it is sent: the other machine may have done so.

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::Batch;
use super::cursor::{Cursor, PerStream};
use super::error::BufferError;
use super::front::Front;
use super::machine::Machine;
use super::side::Side;
use super::store::Store;
use super::write::Write;
use super::{codec, keys};
use crate::clock;

/// 2026-01-01 in seconds: no store is older, whatever its clock says.
const EARLIEST: i64 = 1_767_225_600;
/// Numbers that a stream may give out per second for years and still be below one that begins later.
const PER_SECOND_BITS: u32 = 20;
/// How far above what is known to be given out numbers go on at least, should the clock be of no use.
const LEAP: u64 = 1 << 40;

/// Where a store came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The id that it had there.
    pub(crate) from: Uuid,
    /// Its own numbers begin here, in all streams; those below were given out there.
    pub(crate) base: u64,
}

impl Moved {
    /// Whether a stream would still give out numbers below its own.
    pub(super) fn is_ahead_of(&self, cursors: &PerStream<Cursor>) -> bool {
        cursors.values().iter().any(|cursor| cursor.next < self.base)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    from: [u8; 16],
    base: u64,
}

/// Where numbers begin when it cannot be known which were given out before: the time of day, in steps that no gateway
/// fills. A stream that began at any earlier time is below, as long as the clock is right; sync checks that it was,
/// before it sends anything. Below 2^53 until the year 2242, so that every tool reads them exactly.
pub(crate) fn unheard_of(now: Now) -> u64 {
    let seconds = now.utc.as_micros().div_euclid(1_000_000).clamp(EARLIEST, 1 << 33);
    u64::try_from(seconds).unwrap_or(0) << PER_SECOND_BITS
}

/// Makes sure that the store belongs to the machine that it is on. Returns its id, which is a new one on another machine.
pub(super) fn bind(
    store: &Store,
    side: &mut Side,
    store_id: Uuid,
    here: &Machine,
    now: Now,
) -> Result<Uuid, BufferError> {
    if here.is_unknown() {
        return Ok(store_id);
    }
    let stored = store.get(keys::MACHINE)?.and_then(|sealed| codec::open::<Machine>(keys::MACHINE, &sealed).ok());
    let stored = stored.unwrap_or_default();
    let known = if side.machine().is_unknown() { stored.clone() } else { side.machine().clone() };
    let mut batch = Batch::default();
    // Both are asked: a move that was cut off has told one of them only.
    let id = if known.differs_from(here) || stored.differs_from(here) {
        let id = clock::mint(now);
        let given = Stream::ALL.into_iter().map(|stream| side.promised(stream)).max().unwrap_or(0);
        let base = unheard_of(now).max(given.saturating_add(LEAP));
        *side = side.moved(id, here.clone());
        // First the side file: should the power go in between, the store still knows the other machine, and moves again.
        side.save()?;
        batch.insert(keys::STORE_ID, sealed(keys::STORE_ID, id.as_bytes())?);
        batch.insert(keys::MACHINE, sealed(keys::MACHINE, here)?);
        batch.insert(keys::MOVED, sealed(keys::MOVED, &Stored { from: *store_id.as_bytes(), base })?);
        batch.remove(keys::CLAIMED);
        tracing::warn!(from = %store_id, to = %id, "the store comes from another machine and goes on under a new id");
        id
    } else {
        let joined = here.joined(&known);
        side.set_machine(joined.clone())?;
        if stored == joined {
            return Ok(store_id);
        }
        batch.insert(keys::MACHINE, sealed(keys::MACHINE, &joined)?);
        store_id
    };
    store.apply(batch)?;
    store.flush()?;
    Ok(id)
}

/// Where the store came from, when it is not from here.
pub(super) fn moved(store: &Front) -> Result<Option<Moved>, BufferError> {
    let Some(sealed) = store.get(keys::MOVED)? else { return Ok(None) };
    let stored: Option<Stored> = codec::open(keys::MOVED, &sealed).ok();
    Ok(stored.map(|Stored { from, base }| Moved { from: Uuid::from_bytes(from), base }))
}

/// Goes on above `base` in every stream. The numbers that are passed over are noted, and never waited for.
pub(super) fn skip(write: &mut Write<'_>, now: Now, from: Uuid, base: u64) -> Result<(), BufferError> {
    let mut evidence = vec![("from_store", from.to_string()), ("numbers_from", base.to_string())];
    for stream in Stream::ALL {
        let cursor = &mut write.cursors[stream];
        if cursor.next >= base {
            continue;
        }
        let passed = (cursor.next, base - 1);
        if !cursor.cover(passed) {
            tracing::warn!(stream = stream.as_str(), "numbers that were passed over count as waiting");
        }
        cursor.next = base;
        write.gap(stream, passed.0, passed.1)?;
        evidence.push((stream.as_str(), format!("{}-{}", passed.0, passed.1)));
    }
    write.health(now, "moved", &evidence)
}

fn sealed<T: Serialize + ?Sized>(key: &[u8], value: &T) -> Result<Vec<u8>, BufferError> {
    codec::seal(key, &value).map_err(|error| BufferError::Unstorable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use explaind_core::domain::time::Timestamp;

    use super::*;

    #[test]
    fn a_later_beginning_is_above_whatever_an_earlier_one_can_reach() {
        let at = |seconds: i64| {
            let utc = Timestamp::from_micros(seconds * 1_000_000);
            unheard_of(Now { utc, monotonic: Duration::ZERO })
        };
        let (early, late) = (at(1_795_300_000), at(1_795_300_000 + 3600));
        assert!(late - early > 3600 * 1_000_000, "a million records a second for an hour fit between");
        assert_eq!(at(0), at(EARLIEST), "a clock that starts in 1970 is not believed");
        assert!(at(i64::MAX / 1_000_000) <= 1 << 53 && at(-5) > 0);
    }
}
