//! When the store fails while the daemon runs: goes on without it, and opens it again when the disk takes writes.
//!
//! A disk that is full, was remounted read-only or answers with errors fails sled for good: its handle accepts nothing
//! any more. The daemon then is *degraded*: predictions are refused, the journal takes alerts, feedback and audit, and
//! readers see both the store and what the journal took. A thread of its own, which lives only then, looks every few
//! seconds whether the disk takes writes, with some room to spare, so that the store is not opened for one write. Then
//! it does what a start does: closes what there is, opens the store, and puts into it what the journal has.
//!
//! A store that is damaged fails in the same way, whether a read or a write met the damage, and is not opened as it is:
//! what can be read of it goes into a fresh one (`salvage`), at once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::reason::Reason;
use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;
use rustix::fs::{Advice, fadvise};

use super::commit::Needs;
use super::error::BufferError;
use super::guard::guard;
use super::journal::reconcile;
use super::load::Loaded;
use super::open::{ROOM, probe};
use super::state::State;
use super::write::Write;
use super::{Buffer, Core};
use crate::backoff::Backoff;
use crate::clock;

/// Waits between two looks at the disk.
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A store that worked for so long did not fail for the same reason as the last time.
const CALM: Duration = Duration::from_secs(600);
/// How often is looked meanwhile whether the store can be read.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait before the next try: a disk that fails again at once is asked less and less often.
pub(super) struct Tending {
    backoff: Backoff,
    recovered: Option<Instant>,
}

impl Default for Tending {
    fn default() -> Self {
        Self { backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT), recovered: None }
    }
}

impl Core {
    /// From now on, each time the store fails a thread tends to it.
    pub(super) fn tend_failures(self: &Arc<Self>) {
        let core = Arc::downgrade(self);
        self.commit.on_failure(move || {
            let core = core.clone();
            let started = std::thread::Builder::new().name("buffer".to_owned()).spawn(move || tend(&core));
            if let Err(error) = started {
                tracing::error!(%error, "the store is not looked after: only a restart opens it again");
            }
        });
    }

    /// From now on a read that finds the store damaged puts it out of use, until what it has is in a fresh one.
    pub(super) fn notice_damage(self: &Arc<Self>) {
        let core = Arc::downgrade(self);
        self.base.store.on_damage(move |error| {
            if let Some(core) = core.upgrade() {
                core.commit.fail(error);
            }
        });
    }

    /// How long to wait before the next try. For the first after a while there is no need to wait when it is not the
    /// disk that failed.
    fn wait(&self, first: bool) -> Duration {
        let mut tending = self.tending.lock().unwrap_or_else(PoisonError::into_inner);
        let recovered = tending.recovered.take();
        if recovered.is_some_and(|recovered| recovered.elapsed() > CALM) {
            tending.backoff.reset();
        }
        let calm = recovered.is_none_or(|recovered| recovered.elapsed() > CALM);
        let wait = tending.backoff.next();
        if first && calm && self.commit.damage().is_some() { Duration::ZERO } else { wait }
    }

    /// Opens the store again, if the disk takes writes. One that is damaged is read out into a fresh one first: nobody
    /// waits for that, since nothing is written to it any more.
    ///
    /// # Errors
    /// Why not. Then all is as it was, or the store is closed and only what is in memory can be read.
    pub(super) fn recover(&self, now: Now) -> Result<(), BufferError> {
        if self.check().is_ok() {
            return Ok(());
        }
        probe(&self.opening.path, ROOM)?;
        let _alone = self.renewing.alone();
        // One that was never opened in this run may be damaged as well, which then is not found out while others wait.
        let unseen = || self.base.store.is_unreadable().then(|| self.opening.damage()).flatten();
        let damage = self.commit.damage().or_else(unseen);
        let read_out = match damage {
            Some(ref reason) => {
                // What sled still has in memory is worth a try.
                let _ = self.base.store.flush();
                self.opening.prepare(reason, now)?
            }
            None => None,
        };
        // Nothing is numbered meanwhile.
        let mut state = self.state();
        self.commit.make_durable(self.commit.newest(Needs::Journal))?;
        let seen = self.commit.numbers();
        let mut slot = self.base.store.close();
        forget_pages(&self.opening.path);
        let mut notes = Vec::new();
        let lost = match damage {
            Some(_) => Reason::Lost("the store was damaged".to_owned()),
            None => Reason::Failed("the daemon was started anew before it was explained".to_owned()),
        };
        if let Some(reason) = damage {
            self.opening.replace(read_out, &reason, now, &mut notes)?;
            self.commit.forget_damage();
        }
        let Loaded { base, state: fresh, visible, book, .. } =
            self.opening.load(&seen, now, &mut self.commit.journal(), notes, None)?;
        *slot = base.store.take();
        drop(slot);
        self.base.renew(&base);
        let waiting = std::mem::replace(&mut *state, fresh).unsettled;
        self.metrics.buffer_full(state.full);
        self.commit.resume(&visible, book);
        self.tending.lock().unwrap_or_else(PoisonError::into_inner).recovered = Some(Instant::now());
        tracing::info!("the store works again: predictions are taken");

        // It works, whatever becomes of this.
        if let Err(error) = self.skip_unexplained(state, seen[Stream::Predictions], &waiting, &lost) {
            tracing::warn!(%error, "predictions that nobody is going to explain are not marked as such");
        }
        Ok(())
    }

    /// Where the store can no longer be read either (sled writes to a page now and then when it reads it), alerts, feedback and
    /// audit are seen as far as the journal has them. Says whether that could be done, where it was to be done.
    pub(super) fn show_journal(&self) -> Option<bool> {
        if !self.base.store.is_unreadable() || !self.base.store.is_diverted() {
            return None;
        }
        let mut state = self.state();
        // They are counted already.
        let cursors = state.cursors;
        let shown = reconcile::restore(&self.base, &mut state, &self.commit.journal(), false, &mut Vec::new());
        state.cursors = cursors;
        if let Err(error) = &shown {
            tracing::warn!(%error, "what the journal has is out of sight");
        }
        Some(shown.is_ok())
    }

    /// Settles predictions whose flush failed and which are there all the same, and those whose explanation was lost: nobody
    /// waits for them, and nobody is going to explain them.
    fn skip_unexplained(
        &self,
        mut state: MutexGuard<'_, State>,
        shown: u64,
        waiting: &BTreeSet<u64>,
        lost: &Reason,
    ) -> Result<(), BufferError> {
        let mut write = Write::new(&self.base, &state);
        for sequence in state.unsettled.iter().filter(|sequence| **sequence > shown || !waiting.contains(sequence)) {
            if let Some(Ok(prediction)) = self.base.record(Stream::Predictions, *sequence, 0)? {
                let reason = if *sequence > shown { Reason::NotShown.to_string() } else { lost.to_string() };
                write.settle(prediction, Settlement::Skipped { reason })?;
            }
        }
        let ticket = self.apply(&mut state, write)?;
        drop(state);
        self.commit.make_durable(ticket)
    }
}

/// Says that the store has failed, and tries until it works again, or nobody needs it any more.
fn tend(core: &Weak<Core>) {
    let (mut said, mut shown) = (false, false);
    loop {
        let Some(wait) = core.upgrade().map(|core| {
            let first = !std::mem::replace(&mut said, true);
            if first && let Some(reason) = core.commit.failure() {
                Buffer(core.clone()).report(clock::now(), "buffer", "degraded", vec![("reason".to_owned(), reason)]);
            }
            core.wait(first)
        }) else {
            return;
        };
        // People do not wait for the disk to see what they said; what failed is tried again with the next look at it.
        let (waited, mut tried) = (Instant::now(), shown);
        loop {
            let Some(core) = core.upgrade() else { return };
            if !tried && let Some(done) = core.show_journal() {
                (shown, tried) = (done, true);
            }
            drop(core);
            match wait.checked_sub(waited.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(LOOK)),
                _ => break,
            }
        }
        let Some(core) = core.upgrade() else { return };
        // Damaged bytes are read on the way: should that panic, the next try may do better.
        match guard(|| core.recover(clock::now())) {
            Ok(Ok(())) => {
                // Should it have failed again by now, another thread tends to that.
                if core.check().is_ok() {
                    Buffer(core).report(clock::now(), "buffer", "recovered", Vec::new());
                }
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the store cannot be opened yet");
            }
            Err(panic) => tracing::error!(panic, "the store could not be opened"),
        }
    }
}

/// Has the kernel forget what it holds of a folder's files: after a sync that failed it may show what never got to the
/// disk. What it cannot forget does no harm that it did not do before.
fn forget_pages(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            forget_pages(&path);
        } else if let Ok(file) = File::open(&path) {
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}
