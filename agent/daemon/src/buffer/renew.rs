//! Generations: a store whose files take far more than its records is copied into a fresh one, and dropped whole.
//!
//! sled uses the room of a backlog again and never gives it back, and its memory grows with its file. So what is left
//! after a backlog went home is copied, while the store is in use: what is changed meanwhile is noted and copied once
//! more, and only for the last few keys writers wait, until the fresh store has the name (`generation`). Then the old one
//! is closed and removed, which nobody waits for.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::error::BufferError;
use super::room::Room;
use super::state::State;
use super::store::Store;
use super::{Buffer, Core, generation};
use crate::clock;

/// Files that take so many times what the records count for, and so much more, are too large.
const TIMES: u64 = 4;
const SURPLUS: u64 = 64 << 20;
/// Entries that are copied in one go.
const CHUNK: usize = 500;
/// Keys that may have changed when writers are made to wait.
const FEW: usize = 500;
/// Rounds over what changed meanwhile: a writer that is faster than this is let alone.
const ROUNDS: usize = 20;
/// Changed keys that are remembered.
const MOST_CHANGES: usize = 1 << 20;
/// After a try that failed, or won next to nothing; then twice as long, up to the longest.
const FIRST_REST: Duration = Duration::from_secs(600);
const LONGEST_REST: Duration = Duration::from_secs(6 * 3600);
/// Above every key.
const END: [u8; 1] = [u8::MAX];

/// Whether a fresh store is being made, and how the last tries went.
#[derive(Default)]
pub(super) struct Renewing {
    running: AtomicBool,
    rest: Mutex<Option<Rest>>,
    /// Held by whoever makes a store to take the place of this one: there is one draft.
    drafting: Mutex<()>,
}

/// A pause after a try in vain.
#[derive(Debug, Clone, Copy)]
struct Rest {
    since: Instant,
    length: Duration,
}

impl Rest {
    /// The one that follows.
    fn after(before: Option<Self>, since: Instant) -> Self {
        let length = before.map_or(FIRST_REST, |before| (before.length * 2).min(LONGEST_REST));
        Self { since, length }
    }

    fn is_over(self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.length
    }
}

impl Renewing {
    /// Whether no pause is left of a try in vain.
    fn is_rested(&self) -> bool {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|rest| rest.is_over(Instant::now()))
    }

    fn ended(&self, in_vain: bool) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        *rest = in_vain.then(|| Rest::after(*rest, Instant::now()));
    }

    /// Waits until nobody else makes a store.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.drafting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one is being made.
    #[cfg(test)]
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewed {
    pub(super) before: u64,
    pub(super) after: u64,
    /// For how long writers and readers waited.
    pub(super) pause: Duration,
}

impl Renewed {
    /// Whether too little was won to do the same again soon.
    fn is_futile(self) -> bool {
        self.after > self.before - self.before / 4
    }
}

impl Core {
    /// Has a fresh store made, on a thread of its own, when the files take far more than the records count for; on a small
    /// disk sooner.
    pub(super) fn renew_if_sparse(self: &Arc<Self>, state: &State) {
        let counted: u64 = state.cursors.values().iter().map(|cursor| cursor.bytes).sum();
        let on_disk = self.base.store.bytes_on_disk();
        let sparse = on_disk > counted.saturating_mul(TIMES).max(counted.saturating_add(SURPLUS))
            || state.room.wants_it_anew(&self.config, on_disk, counted);
        if !sparse || !state.room.takes_another(counted) || self.check().is_err() {
            return;
        }
        if !self.renewing.is_rested() || self.renewing.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = self.clone();
        let started = std::thread::Builder::new().name("generation".to_owned()).spawn(move || {
            let renewed = core.renew();
            core.renewing.running.store(false, Ordering::Release);
            core.tell_of(renewed);
        });
        if let Err(error) = started {
            self.renewing.running.store(false, Ordering::Release);
            tracing::warn!(%error, "the store keeps its size");
        }
    }

    fn tell_of(self: Arc<Self>, renewed: Result<Renewed, BufferError>) {
        self.renewing.ended(renewed.as_ref().map_or(true, |renewed| renewed.is_futile()));
        match renewed {
            Ok(Renewed { before, after, pause }) => {
                let pause = format!("{:.3}", pause.as_secs_f64());
                tracing::info!(before, after, pause, "the store was copied into a fresh one");
                let evidence = [("bytes_before", before.to_string()), ("bytes_after", after.to_string())];
                let mut evidence: Vec<_> = evidence.map(|(name, value)| (name.to_owned(), value)).into();
                evidence.push(("pause_seconds".to_owned(), pause));
                Buffer(self).report(clock::now(), "buffer", "renewed", evidence);
            }
            Err(error) => {
                tracing::warn!(%error, "the store was not copied into a fresh one, and keeps its size for now");
            }
        }
    }

    /// Copies the store into a fresh one, which takes its place.
    ///
    /// # Errors
    /// When it cannot be read or the other not be written. The store is as it was then, or out of use and looked after.
    pub(super) fn renew(&self) -> Result<Renewed, BufferError> {
        let _alone = self.renewing.alone();
        let before = self.base.store.bytes_on_disk();
        generation::discard_draft(&self.opening.path);
        {
            // A write that began before would be missed.
            let _state = self.state();
            self.base.store.note_changes(true);
        }
        let renewed = self.copy_and_swap();
        self.base.store.note_changes(false);
        if renewed.is_err() {
            generation::discard_draft(&self.opening.path);
        }
        Ok(Renewed { before, after: self.base.store.bytes_on_disk(), pause: renewed? })
    }

    fn copy_and_swap(&self) -> Result<Duration, BufferError> {
        let path = &self.opening.path;
        let fresh = Store::open(&generation::draft(path))?;
        let mut from = Vec::new();
        loop {
            self.check()?;
            let entries = self.base.store.ascending(&from, &END, CHUNK)?;
            let Some((last, _)) = entries.last() else { break };
            from = [last, &[0][..]].concat();
            let mut batch = Batch::default();
            for (key, value) in &entries {
                batch.insert(key, value.as_ref());
            }
            fresh.apply(batch)?;
            // The store that is in use comes first.
            if Room::is_short(path) {
                return Err(BufferError::io("copy the store to", path, io::ErrorKind::StorageFull.into()));
            }
        }
        for _ in 0..ROUNDS {
            let changed = self.base.store.take_changes(MOST_CHANGES)?;
            let few = changed.len() <= FEW;
            self.copy(&changed, &fresh)?;
            if few {
                break;
            }
        }
        fresh.flush()?;
        // From here on nobody writes.
        let state = self.state();
        let begun = Instant::now();
        self.check()?;
        self.copy(&self.base.store.take_changes(MOST_CHANGES)?, &fresh)?;
        fresh.flush()?;
        drop(fresh);
        let swapped = self.base.store.swap(|| {
            generation::take_over(path, None)?;
            Store::open(path)
        });
        let pause = begun.elapsed();
        drop(state);
        match swapped {
            Ok(old) => {
                drop(old);
                generation::tidy(path)?;
                Ok(pause)
            }
            Err(error) => {
                self.commit.fail(&error);
                Err(error)
            }
        }
    }

    /// Makes another store have of these keys what the store has.
    fn copy(&self, keys: &BTreeSet<Vec<u8>>, to: &Store) -> Result<(), BufferError> {
        let mut batch = Batch::default();
        for (count, key) in keys.iter().enumerate() {
            match self.base.store.get(key)? {
                Some(value) => batch.insert(key, value.as_ref()),
                None => batch.remove(key),
            }
            if count % CHUNK == CHUNK - 1 {
                to.apply(std::mem::take(&mut batch))?;
            }
        }
        to.apply(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_in_vain_get_rarer_until_one_is_worth_it() {
        let renewing = Renewing::default();
        assert!(renewing.is_rested());
        let rest = || renewing.rest.lock().unwrap().map(|rest| rest.length);
        for length in [FIRST_REST, FIRST_REST * 2, FIRST_REST * 4] {
            renewing.ended(true);
            assert!(rest() == Some(length) && !renewing.is_rested());
        }
        for _ in 0..50 {
            renewing.ended(true);
        }
        assert_eq!(rest(), Some(LONGEST_REST));
        renewing.ended(false);
        assert!(renewing.is_rested());
        let pause = Duration::ZERO;
        assert!(Renewed { before: 100, after: 80, pause }.is_futile());
        assert!(!Renewed { before: 100, after: 60, pause }.is_futile());
        let rest = Rest::after(None, Instant::now());
        assert!(rest.is_over(rest.since + FIRST_REST));
    }
}
