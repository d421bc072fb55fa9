//! Keeps every record, durably, in sled.
//!
//! # Invariants
//!
//! - A stream's records are numbered from 1 without gaps, but for ranges that are noted (as `gap`, and in the health
//!   stream) and for evictions. No number is given to two records, not even by a store that starts anew.
//! - What [`Buffer::append`] and [`Buffer::settle`] took is on disk when they return, and only then announced or read
//!   back. The records of one append are all there after a crash, or none of them is.
//! - A record is stored once: appending an id again returns the record that is there.
//! - The first settlement of a prediction stands, and a closed batch is a file that every try sends (`outbox`). So a
//!   batch has the same bytes for ever.
//! - A store belongs to one machine. On another it goes on under another id, with numbers far above (`moved`).
//! - What is not uploaded goes only when nothing uploaded is left to go, in a declared order; feedback, alerts, audit and
//!   predictions that alerts name never do (`evict`, `sweep`). Each eviction is itself a record, in the same write, and says
//!   how many of its records were never uploaded: received + that + gaps = produced.
//! - What cannot be read is set aside, and a record says so; of stores that were set aside the newest two are kept.
//!   sled's errors and panics end in a [`BufferError`], and in a fresh store with all that the bytes of the damaged one
//!   allow (see `salvage`), at the start and while the daemon runs: never in the end of the daemon.
//! - A number without a record is on record itself before what comes after it is sent (see `verify`).
//! - Alerts, feedback, audit and health are in the journal before they are acknowledged, and come back from there when
//!   the store loses them, all of it even (see `journal`).
//! - When the store takes no writes (a disk that is full, read-only or broken) predictions are refused, and what the
//!   journal keeps is still taken and shown. Once the disk takes writes the store is opened again, without a restart
//!   (see `recover`).
//!
//! Feedback may name an explanation that was settled a moment before: `settle` returns when that is on disk.
//!
//! # On disk
//!
//! For a store at `<state_dir>/buffer`:
//!
//! ```text
//! buffer/                      the sled database
//! buffer.journal/              what outlives it: alerts, feedback, audit, health (see `journal`)
//! buffer.lock                  held while a process has it open
//! buffer.high_water            what must outlive the store (see `side`)
//! buffer.last                  the last numbers given out (see `tail`)
//! buffer.outbox/               closed batches on their way to the registry (see `outbox`)
//! pseudonyms.key               what stands for people is made with it (see `pseudonym`)
//! buffer.damaged-<time>/       a store that was damaged, set aside
//! buffer.draft/, .fresh/, .old/  a store that is about to take another's place (see `generation`)
//! ```
//!
//! All lies in one sled tree, since a batch is all-or-nothing within a tree only. Keys (`keys`), where S is a stream's
//! letter and N a big-endian u64:
//!
//! ```text
//! m/format        one byte: the version of this layout
//! m/store         the store's id
//! m/claimed       there once the registry has a folder that belongs to this store
//! m/machine       digests of what tells the machine that the store is on from others
//! m/moved         where the store came from, and its first own number, once it was found on another machine
//! m/doubt         there when it is to be asked what the registry has
//! m/tally         how many verdicts were given, and up to which feedback that was counted
//! m/repair        what was read of a damaged store to make this one, until a health record says so
//! c S             the stream's cursor: floor, next, uploaded, settled, records, bytes, ranges uploaded above
//! b S             bounds of the stream's closed batch, while there is one; then its file's size and digest
//! f number        a frame: what many records share (u32)
//! r S N           a record
//! e N             the settlement of prediction N
//! i id            stream and number of the record with this id
//! p N             prediction N is named by an alert: evicted after all others
//! x id kind       number of the newest explanation of that kind beside the attributions of prediction id
//! d S N           of the numbers from N to the first value, so many as the second says were evicted above the floor
//! m/thinning      how far predictions that are not uploaded are thinned
//! g S N           numbers from N are known to be without records; the value is the last of them
//! q S N, q e N    bytes of what could not be read
//! ```
//!
//! Each value is a version byte, postcard, and the CRC-32 of key and value (`codec`); stored types are in `stored`.

mod ahead;
mod alerts;
mod audit;
mod balance;
mod base;
mod batch;
mod batches;
mod bounds;
mod codec;
mod commit;
mod cursor;
mod declared;
mod error;
mod evict;
mod frames;
mod front;
mod generation;
mod guard;
mod headroom;
mod history;
mod inspect;
mod journal;
mod keys;
mod load;
mod machine;
mod memory;
mod moved;
mod open;
mod outbox;
mod pulse;
mod read;
mod recover;
mod renew;
mod report;
mod room;
mod salvage;
#[cfg(test)]
pub(crate) mod samples;
mod side;
mod state;
mod store;
mod stored;
mod sweep;
mod synced;
mod tail;
mod tally;
#[cfg(test)]
mod tests;
mod told;
mod verify;
mod wear;
mod write;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::record::{Body, Health, NewRecord, Record, Stream};
use explaind_core::domain::time::{Now, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast;
use uuid::Uuid;

pub(crate) use alerts::{Alert, Standing};
pub(crate) use audit::chain_hash;
pub(crate) use bounds::Config;
pub(crate) use error::BufferError;
pub(crate) use inspect::{Finding, Offline, Part, Piece};
pub(crate) use machine::Machine;
pub(crate) use moved::unheard_of;
pub(crate) use pulse::steps;
pub(crate) use tally::Tally;
pub(crate) use wear::{Wear, wear};

use base::Base;
use commit::{Committer, Needs, Ticket};
use open::Opening;
use outbox::Outbox;
use recover::Tending;
use renew::Renewing;
use state::State;
use write::Write;

use crate::telemetry::Metrics;

/// What all records of this run share, but for the store's id, which the store knows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionInfo {
    /// The gateway's name.
    pub(crate) gateway: Arc<str>,
    /// The agent's version.
    pub(crate) agent_version: Arc<str>,
    /// SHA-256 of the effective configuration, in hexadecimal.
    pub(crate) config_digest: Arc<str>,
    /// The machine's boot.
    pub(crate) boot_id: Uuid,
    /// What tells this machine from others.
    pub(crate) machine: Machine,
    /// Where the numbers of a store begin that knows of none before it.
    pub(crate) first: u64,
}

/// The bounds of a batch. Once fixed they never change, so that each try to upload it sends the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Number of its first record.
    pub(crate) first: u64,
    /// Number of its last record.
    pub(crate) last: u64,
    /// When it was closed: the day in its path.
    pub(crate) closed_at: Timestamp,
}

/// What could be closed next in a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    /// The oldest record that is not uploaded.
    pub(crate) oldest: Record,
    /// The last record up to which everything is final; below `oldest` when nothing is.
    pub(crate) through: u64,
}

/// The buffer in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Stat {
    /// The store's id.
    pub(crate) store_id: Uuid,
    /// Bytes that all records count for.
    pub(crate) bytes: u64,
    /// Their bound.
    pub(crate) max_bytes: u64,
    /// The bound in force: less than `max_bytes` where the disk or the memory has less room.
    pub(crate) bound: u64,
    /// Bytes of all files.
    pub(crate) disk_bytes: u64,
    /// Whether predictions are refused at present, since nothing of what is kept may go.
    pub(crate) full: bool,
    /// Why the store takes no writes at present, if so: predictions are refused then, the journal goes on.
    pub(crate) degraded: Option<String>,
    /// Bytes of the journal's entries.
    pub(crate) journal_bytes: u64,
    /// Bytes that the journal has ready for entries even if the disk is full.
    pub(crate) journal_reserve: u64,
    /// The streams.
    pub(crate) streams: Vec<StreamStat>,
    /// What the running daemon wrote since it started.
    pub(crate) wear: Option<Wear>,
}

/// One stream in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct StreamStat {
    /// Its name.
    pub(crate) stream: &'static str,
    /// Number of the first record kept; above `last` when there is none.
    pub(crate) first: u64,
    /// Number of the last record ever given out.
    pub(crate) last: u64,
    /// Records kept.
    pub(crate) records: u64,
    /// All up to here are in the registry.
    pub(crate) uploaded: u64,
}

/// The buffer. Cheap to clone; its calls block, some of them on the disk.
#[derive(Clone)]
pub(crate) struct Buffer(Arc<Core>);

struct Core {
    base: Base,
    config: Config,
    metrics: Metrics,
    state: Mutex<State>,
    commit: Committer,
    outbox: Outbox,
    opening: Opening,
    tending: Mutex<Tending>,
    renewing: Renewing,
    /// Dropped last: the next process may come in.
    _lock: std::fs::File,
}

impl Buffer {
    /// Whether there is no store at `dir`, nor anything that one left behind.
    pub(crate) fn is_new(dir: &Path) -> bool {
        !dir.exists() && !open::side_file(dir).exists()
    }

    /// Opens the store at `dir`, or makes one. A store that is damaged beyond opening is set aside, and a new one
    /// starts above every number that the old one gave out.
    ///
    /// # Errors
    /// When another process has it open, a later version wrote it, or the disk or its permissions do not allow it.
    pub(crate) fn open(
        dir: &Path,
        config: &Config,
        session: SessionInfo,
        now: Now,
        metrics: Metrics,
    ) -> Result<Self, BufferError> {
        open::open(dir, config, session, now, metrics).map(Self)
    }

    /// Stores records: all of them or none. They are on disk when this returns, and announced.
    ///
    /// A record whose id is stored already is not stored again, so it is safe to repeat an append that failed.
    ///
    /// # Errors
    /// [`BufferError::Full`] when the bound is reached: for appends of predictions alone. Those that also bring an
    /// alert, feedback, audit or health go on the reserve until that is used up as well. [`BufferError::Broken`] while the
    /// store takes no writes: for appends that bring a prediction or an extra.
    pub(crate) fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Arc<Record>>, BufferError> {
        let kept = records.iter().all(|record| journal::keeps(record.body.stream()));
        if !kept {
            return self.try_append(records, Needs::Store);
        }
        match self.try_append(records.clone(), Needs::Journal) {
            // It was met on the way, and the store is out of use now; what the journal keeps does not need it.
            Err(error) if open::is_damage(&error) => self.try_append(records, Needs::Journal),
            done => done,
        }
    }

    fn try_append(&self, records: Vec<NewRecord>, needs: Needs) -> Result<Vec<Arc<Record>>, BufferError> {
        let core = &self.0;
        let Some(at) = records.first().map(|record| record.at) else { return Ok(Vec::new()) };
        let mut state = core.writing_for(needs)?;
        core.spare_for_people(&records)?;
        // While the store takes no writes there is no room to be made; the journal's files are the bound then.
        let refused = core.check().and_then(|()| core.make_room(&mut state, at, &records)).err();
        if let Some(error) = refused.filter(|_| needs == Needs::Store || core.check().is_ok()) {
            // What was evicted on the way, and the record that says so, are kept all the same.
            drop(state);
            core.commit.make_durable(core.commit.newest(Needs::Journal))?;
            return Err(error);
        }
        let mut write = Write::new(&core.base, &state);
        let mut stored = Vec::with_capacity(records.len());
        for new in records {
            stored.push(match core.known(new.id)? {
                Some(record) => Arc::new(record),
                None => write.push(new)?,
            });
        }
        let ticket = core.apply_for(&mut state, write, needs)?;
        drop(state);
        core.commit.make_durable(ticket)?;
        Ok(stored)
    }

    /// Stores what became of predictions' explanations, and announces the predictions again with it.
    ///
    /// The first settlement of a prediction stands; later ones, and those of predictions that are gone, change nothing.
    pub(crate) fn settle(&self, settlements: Vec<(Uuid, Settlement)>) -> Result<(), BufferError> {
        let core = &self.0;
        let mut state = core.writing()?;
        let mut write = Write::new(&core.base, &state);
        for (id, settlement) in settlements {
            let open = core.known(id)?.filter(|record| {
                state.unsettled.contains(&record.sequence)
                    && record.body.stream() == Stream::Predictions
                    && !write.settled.contains(&record.sequence)
            });
            if let Some(prediction) = open {
                write.settle(prediction, settlement)?;
            }
        }
        if write.news.is_empty() {
            // Whoever settled them first may still wait for the disk.
            drop(state);
            return core.commit.make_durable(core.commit.newest(Needs::Store));
        }
        let ticket = core.apply(&mut state, write)?;
        drop(state);
        core.commit.make_durable(ticket)
    }

    /// News of every record stored, and of every prediction settled, from now on, in order.
    ///
    /// Who falls more than a thousand behind is told `Lagged`, and catches up with [`read`](Self::read).
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.0.commit.subscribe()
    }

    /// All alerts that are open, the newest first, then up to 1000 closed ones, the last closed first.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.0.commit.alerts(alerts::Book::list)
    }

    /// Every alarm that has an open alert, or that something lies over.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        self.0.commit.alerts(alerts::Book::standing)
    }

    /// The alert with this id, while it is open or among the last closed.
    pub(crate) fn alert(&self, id: Uuid) -> Option<Alert> {
        self.0.commit.alerts(|book| book.find(id))
    }

    /// Whether records of all kinds are taken.
    ///
    /// # Errors
    /// [`BufferError::Broken`] when not, with what failed.
    pub(crate) fn check(&self) -> Result<(), BufferError> {
        self.0.check()
    }

    /// The buffer in figures.
    pub(crate) fn stat(&self) -> Stat {
        self.0.stat()
    }

    /// Records something about the gateway itself.
    pub(crate) fn report(&self, at: Now, subject: &str, state: &str, evidence: Vec<(String, String)>) {
        let body = Body::Health(Health { subject: subject.to_owned(), state: state.to_owned(), evidence });
        let record = NewRecord { id: crate::clock::mint(at), at, body };
        if let Err(error) = self.append(vec![record]) {
            self.0.metrics.dropped(Stream::Health.as_str(), "refused", 1);
            tracing::error!(%error, subject, state, "a health record was not stored");
        }
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store takes writes.
    fn check(&self) -> Result<(), BufferError> {
        self.commit.check()
    }

    /// While the store takes no writes, what the gateway says of itself leaves the last segment of the journal to people
    /// and alerts, and alerts leave half of that to people: no flood of them keeps anyone from acknowledging.
    fn spare_for_people(&self, new: &[NewRecord]) -> Result<(), BufferError> {
        let segment = self.config.journal_segment();
        let spared = if new.iter().any(|record| evict::is_by_people(&record.body)) {
            0
        } else if new.iter().all(|record| record.body.stream() == Stream::Health) {
            segment
        } else {
            segment / 2
        };
        if self.commit.journal().reserve() < spared { self.check() } else { Ok(()) }
    }

    /// The writers' lock, while the store can be written to.
    fn writing(&self) -> Result<MutexGuard<'_, State>, BufferError> {
        self.writing_for(Needs::Store)
    }

    /// The writers' lock, while a write can get to where it has to be.
    fn writing_for(&self, needs: Needs) -> Result<MutexGuard<'_, State>, BufferError> {
        self.commit.settle_journal()?;
        let mut state = self.state();
        if needs == Needs::Store {
            self.check()?;
        }
        state.journal_bytes = self.commit.journal_bytes();
        Ok(state)
    }

    /// Puts a write into the store and into the queue for the disk.
    fn apply(&self, state: &mut State, write: Write<'_>) -> Result<Ticket, BufferError> {
        self.apply_for(state, write, Needs::Store)
    }

    /// Like [`apply`](Self::apply). A store that fails here is not written to again; what the journal keeps then lies in
    /// memory.
    fn apply_for(&self, state: &mut State, mut write: Write<'_>, needs: Needs) -> Result<Ticket, BufferError> {
        if needs == Needs::Store {
            self.check()?;
        }
        // Numbers that cannot be promised cannot be given out.
        state.prepare(&mut write).map_err(|error| self.unwritable(error, needs))?;
        let entry = write.journal_entry();
        if let Some(entry) = &entry
            && self.check().is_err()
        {
            // One that fits nowhere would wait at the head of the queue, and all others behind it.
            self.commit.journal().make_ready_for(entry)?;
        }
        let batch = std::mem::take(&mut write.batch);
        let again = (needs == Needs::Journal).then(|| batch.clone());
        if let Err(error) = self.base.store.apply(batch) {
            let error = self.unwritable(error, needs);
            self.base.store.apply(again.ok_or(error)?)?;
        }
        let news = state.adopt(&self.base, write);
        for stream in Stream::ALL {
            self.metrics.buffer_records(stream.as_str(), state.cursors[stream].records);
        }
        self.commit.note_done(state.done());
        Ok(self.commit.enqueue(news, entry, needs))
    }

    /// The store, or what is kept beside it, could not be written to: whoever needs it is told that it is out of use.
    fn unwritable(&self, error: BufferError, needs: Needs) -> BufferError {
        if !matches!(error, BufferError::Io { .. } | BufferError::Damaged { .. }) {
            return error;
        }
        self.commit.fail(&error);
        if needs == Needs::Store { BufferError::Broken(error.to_string()) } else { error }
    }

    /// Bytes of the store and of the journal.
    fn bytes_in_use(&self) -> u64 {
        self.base.store.bytes_on_disk().saturating_add(self.commit.journal().bytes_on_disk())
    }

    /// Bytes of all files but those of closed batches, with what was set aside.
    fn bytes_on_disk(&self) -> u64 {
        self.bytes_in_use().saturating_add(generation::bytes_beside(&self.opening.path))
    }

    /// The record with an id, whether it is durable yet or not.
    fn known(&self, id: Uuid) -> Result<Option<Record>, BufferError> {
        let Some((stream, sequence)) = self.base.locate(id)? else { return Ok(None) };
        Ok(self.base.record(stream, sequence, 0)?.and_then(Result::ok))
    }
}
