//! Group commit: one flush of the store and one sync of the journal serve every write that was applied before they began,
//! and then the writes are announced in order.
//!
//! First the store, then the journal: a prediction is there no later than its alert, and what the journal has is true
//! even if the store fails at the next moment. Writes that only bring what the journal keeps do not wait for the
//! store at all: should it lose them, the next start puts them back.
//!
//! When the store fails, what it alone was to keep has failed with it; what such a write brings for the journal still
//! goes there, so that the numbers that were given out in the journal's streams stay without gaps.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use explaind_core::domain::record::{Body, Record, Stream};
use tokio::sync::broadcast;

use super::alerts::Book;
use super::cursor::PerStream;
use super::error::BufferError;
use super::front::Front;
use super::journal::{self, Entry, Journal};
use super::open::is_damage;
use super::tail::Tail;
use crate::telemetry::Metrics;

/// Announcements that a slow subscriber may be behind; then it is told so and reads from the store.
const ANNOUNCED: usize = 1024;
/// A disk that takes longer for one commit is not waited for: what was given to it still goes there, if it can.
const LONGEST: Duration = Duration::from_secs(120);
/// Ranges of writes that failed which are remembered, for those who still wait for them.
const FAILURES: usize = 64;

/// What has to take a write before it may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The journal: all of it is there.
    Journal,
    /// The store as well.
    Store,
}

/// Writes on their way to the disk, and what is told of them once they are there.
pub(super) struct Committer {
    store: Arc<Front>,
    journal: Mutex<Journal>,
    metrics: Metrics,
    queue: Mutex<Queue>,
    flushed: Condvar,
    announce: broadcast::Sender<Arc<Record>>,
    /// Per stream the last number that is durable: readers see no further.
    visible: PerStream<AtomicU64>,
    tail: Tail,
    book: Mutex<Book>,
    /// Up to which number nothing needs the records of a stream in the journal.
    done: Mutex<PerStream<u64>>,
    journal_bytes: AtomicU64,
    /// Called once each time the store has failed.
    failed: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Queue {
    applied: u64,
    /// All up to here are where they have to be, but for those that failed.
    durable: u64,
    committing: bool,
    /// A flush that failed says nothing about what the disk holds, and one that succeeds after it says nothing either
    /// (the kernel forgets which pages were lost). So nothing is promised of a store that failed until it was opened
    /// again.
    failed: Option<String>,
    /// What is wrong with the store itself: opening it again does not mend that.
    damage: Option<String>,
    /// Writes that needed the store and did not get there: the numbers after the first, up to the second.
    failures: VecDeque<(u64, u64)>,
    /// Whether the journal did not take entries the last time. They wait, and go before all others.
    journal_failed: bool,
    waiting: VecDeque<Waiting>,
}

/// A write between being applied and being durable.
struct Waiting {
    ticket: Ticket,
    entry: Option<Arc<Entry>>,
    news: Vec<Arc<Record>>,
}

/// A write's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    needs: Needs,
}

impl Queue {
    fn has_failed(&self, ticket: Ticket) -> bool {
        let within = |(after, through): &(u64, u64)| *after < ticket.number && ticket.number <= *through;
        ticket.needs == Needs::Store && self.failures.iter().any(within)
    }

    fn broken(&self) -> BufferError {
        BufferError::Broken(self.failed.clone().unwrap_or_else(|| "a write of the store".to_owned()))
    }
}

impl Committer {
    /// Starts with what a store holds: the number of each stream's last record, and the alerts.
    pub(super) fn new(
        store: Arc<Front>,
        journal: Journal,
        metrics: Metrics,
        visible: PerStream<AtomicU64>,
        tail: Tail,
        book: Book,
    ) -> Self {
        book.count(&metrics);
        tail.note(&numbers(&visible));
        Self {
            store,
            journal_bytes: AtomicU64::new(journal.bytes()),
            journal: Mutex::new(journal),
            metrics,
            queue: Mutex::default(),
            flushed: Condvar::new(),
            announce: broadcast::Sender::new(ANNOUNCED),
            visible,
            tail,
            book: Mutex::new(book),
            done: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    /// Has `call` called each time the store has failed. Only the first of such calls counts.
    pub(super) fn on_failure(&self, call: impl Fn() + Send + Sync + 'static) {
        let _ = self.failed.set(Box::new(call));
    }

    /// Takes a write that was just applied. Called under the writers' lock, so that the queue has the order of the
    /// numbers.
    pub(super) fn enqueue(&self, news: Vec<Arc<Record>>, entry: Option<Arc<Entry>>, needs: Needs) -> Ticket {
        let mut queue = self.queue();
        queue.applied += 1;
        let ticket = Ticket { number: queue.applied, needs };
        if queue.failed.is_some() && needs == Needs::Store {
            // It went to the store just before that failed.
            note_failures(&mut queue, ticket.number - 1);
        }
        queue.waiting.push_back(Waiting { ticket, entry, news });
        ticket
    }

    /// The place of the newest write.
    pub(super) fn newest(&self, needs: Needs) -> Ticket {
        Ticket { number: self.queue().applied, needs }
    }

    /// The store failed: nothing more goes there.
    pub(super) fn fail(&self, error: &BufferError) {
        let mut queue = self.queue();
        if queue.failed.is_some() {
            return;
        }
        tracing::error!(%error, "the store takes no more records; the journal goes on with alerts, feedback and audit");
        queue.failed = Some(error.to_string());
        queue.damage = is_damage(error).then(|| error.to_string());
        let durable = queue.durable;
        note_failures(&mut queue, durable);
        self.store.divert();
        drop(queue);
        self.metrics.buffer_degraded(true);
        if let Some(call) = self.failed.get() {
            call();
        }
    }

    /// Nothing needs the records up to these numbers in the journal any more.
    pub(super) fn note_done(&self, done: PerStream<u64>) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = done;
    }

    /// Bytes of the journal's entries.
    pub(super) fn journal_bytes(&self) -> u64 {
        self.journal_bytes.load(Ordering::Acquire)
    }

    /// What the store failed with, while it is out of use.
    pub(super) fn failure(&self) -> Option<String> {
        self.queue().failed.clone()
    }

    /// What is wrong with the store itself, while it is out of use for that.
    pub(super) fn damage(&self) -> Option<String> {
        self.queue().damage.clone()
    }

    /// The damaged store is not there any more.
    pub(super) fn forget_damage(&self) {
        self.queue().damage = None;
    }

    /// Whether writes of all kinds are taken.
    pub(super) fn check(&self) -> Result<(), BufferError> {
        let queue = self.queue();
        if queue.failed.is_some() { Err(queue.broken()) } else { Ok(()) }
    }

    /// Makes sure that the journal has all that it was given: what it did not take waits, and nothing more is numbered
    /// meanwhile.
    pub(super) fn settle_journal(&self) -> Result<(), BufferError> {
        let failed = self.queue().journal_failed;
        if failed { self.commit(self.newest(Needs::Journal)) } else { Ok(()) }
    }

    /// Returns when the write is where it has to be, and announced.
    ///
    /// # Errors
    /// [`BufferError::Broken`] when the store lost it, [`BufferError::Waiting`] when the journal did not take it yet.
    pub(super) fn make_durable(&self, ticket: Ticket) -> Result<(), BufferError> {
        self.commit(ticket).map_err(|error| match error {
            BufferError::Broken(_) => error,
            error => BufferError::Waiting(error.to_string()),
        })
    }

    fn commit(&self, ticket: Ticket) -> Result<(), BufferError> {
        let begun = Instant::now();
        let mut queue = self.queue();
        loop {
            if queue.durable >= ticket.number {
                return if queue.has_failed(ticket) { Err(queue.broken()) } else { Ok(()) };
            }
            if !queue.committing {
                break;
            }
            let left = LONGEST.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let source = ErrorKind::TimedOut.into();
                return Err(BufferError::io("wait any longer for the disk of", Path::new("the buffer"), source));
            }
            queue = self.flushed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let turn = self.take_turn(&mut queue);
        let through = queue.applied;
        let entries: Vec<_> = queue.waiting.iter().filter_map(|waiting| waiting.entry.clone()).collect();
        let to_flush = queue.failed.is_none() && queue.waiting.iter().any(|w| w.ticket.needs == Needs::Store);
        drop(queue);
        if to_flush && let Err(error) = self.store.flush() {
            self.fail(&error);
        }
        let written = self.write_journal(&entries);
        let mut queue = self.queue();
        queue.journal_failed = written.is_err();
        if written.is_ok() {
            queue.durable = through;
            self.tell(&mut queue);
        }
        let failed = queue.has_failed(ticket).then(|| queue.broken());
        drop(queue);
        drop(turn);
        written.and(failed.map_or(Ok(()), Err))
    }

    /// Whoever has it commits, and all others wait.
    fn take_turn(&self, queue: &mut Queue) -> Turn<'_> {
        queue.committing = true;
        Turn(self)
    }

    fn write_journal(&self, entries: &[Arc<Entry>]) -> Result<(), BufferError> {
        let done = *self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut journal = self.journal();
        let written = journal.append(entries);
        journal.release(&done);
        self.journal_bytes.store(journal.bytes(), Ordering::Release);
        written
    }

    /// The journal.
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store was opened again that has all that the journal has: from now on it is written to.
    pub(super) fn resume(&self, visible: &PerStream<AtomicU64>, book: Book) {
        for stream in Stream::ALL {
            self.visible[stream].fetch_max(visible[stream].load(Ordering::Acquire), Ordering::AcqRel);
        }
        book.count(&self.metrics);
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = book;
        self.store.resume();
        self.queue().failed = None;
        self.tail.note(&self.numbers());
        self.metrics.buffer_degraded(false);
    }

    /// The number of each stream's last durable record.
    pub(super) fn numbers(&self) -> PerStream<u64> {
        numbers(&self.visible)
    }

    /// The news of what becomes durable from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.announce.subscribe()
    }

    /// The number of a stream's last durable record.
    pub(super) fn visible(&self, stream: Stream) -> u64 {
        self.visible[stream].load(Ordering::Acquire)
    }

    /// Reads the list of alerts.
    pub(super) fn alerts<T>(&self, read: impl FnOnce(&Book) -> T) -> T {
        read(&self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces all that is durable. The queue stays locked meanwhile, so announcements keep their order.
    fn tell(&self, queue: &mut Queue) {
        let mut alerted = false;
        while queue.waiting.front().is_some_and(|waiting| waiting.ticket.number <= queue.durable) {
            let Some(waiting) = queue.waiting.pop_front() else { break };
            let failed = queue.has_failed(waiting.ticket);
            for record in waiting.news {
                let stream = record.body.stream();
                if failed && !journal::keeps(stream) {
                    continue;
                }
                self.visible[stream].fetch_max(record.sequence, Ordering::AcqRel);
                if let Body::Alert(transition) = &record.body {
                    alerted = true;
                    let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
                    book.apply(record.sequence, record.moment(), transition);
                }
                // Nobody may be listening.
                let _ = self.announce.send(record);
            }
        }
        self.tail.note(&self.numbers());
        if alerted {
            self.alerts(|book| book.count(&self.metrics));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's turn to commit. It ends whatever happens: those who wait go on then, and one of them has the next.
struct Turn<'a>(&'a Committer);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.committing = false;
        // What a panic left undone waits, and goes before all others.
        queue.journal_failed |= thread::panicking();
        drop(queue);
        self.0.flushed.notify_all();
    }
}

/// Notes that all writes after a number that needed the store have failed.
fn note_failures(queue: &mut Queue, after: u64) {
    if queue.failures.len() == FAILURES {
        queue.failures.pop_front();
    }
    let through = queue.applied;
    queue.failures.push_back((after, through));
}

fn numbers(visible: &PerStream<AtomicU64>) -> PerStream<u64> {
    let mut last = PerStream::default();
    for stream in Stream::ALL {
        last[stream] = visible[stream].load(Ordering::Acquire);
    }
    last
}

#[cfg(test)]
mod tests {
    use crate::buffer::samples::{health, open};

    #[test]
    fn a_turn_that_ends_in_a_panic_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let commit = &buffer.0.commit;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = commit.take_turn(&mut commit.queue());
            panic!("as sled may");
        }));
        assert!(panicked.is_err() && commit.queue().journal_failed);
        assert_eq!(buffer.append(vec![health(1)]).unwrap()[0].sequence, 1);
        assert!(!commit.queue().journal_failed);
    }
}
