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
/// After a try that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Above every key.
const END: [u8; 1] = [u8::MAX];

/// Whether a fresh store is being made, and when that last failed.
#[derive(Default)]
pub(super) struct Renewing {
    running: AtomicBool,
    failed: Mutex<Option<Instant>>,
    /// Held by whoever makes a store to take the place of this one: there is one draft.
    drafting: Mutex<()>,
}

impl Renewing {
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

impl Core {
    /// Has a fresh store made, on a thread of its own, when the files take far more than the records count for; on a small
    /// disk sooner.
    pub(super) fn renew_if_sparse(self: &Arc<Self>, state: &State) {
        let counted: u64 = state.cursors.values().iter().map(|cursor| cursor.bytes).sum();
        let on_disk = self.base.store.bytes_on_disk();
        let sparse = on_disk > counted.saturating_mul(TIMES).max(counted.saturating_add(SURPLUS))
            || state.room.wants_it_anew(&self.config, on_disk, counted);
        if !sparse || self.check().is_err() {
            return;
        }
        let failed = *self.renewing.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|failed| failed.elapsed() < AGAIN_AFTER)
            || self.renewing.running.swap(true, Ordering::AcqRel)
        {
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
                *self.renewing.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
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
        self.base.store.note_changes(true);
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
