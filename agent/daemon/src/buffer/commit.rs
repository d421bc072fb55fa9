//! Group commit: one flush serves every write that was applied before it began, and then they are announced in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use explaind_core::domain::record::{Body, Record, Stream};
use tokio::sync::broadcast;

use super::alerts::Book;
use super::cursor::PerStream;
use super::error::BufferError;
use super::store::Store;
use super::tail::Tail;
use crate::telemetry::Metrics;

/// Announcements that a slow subscriber may be behind; then it is told so and reads from the store.
const ANNOUNCED: usize = 1024;

/// Writes on their way to the disk, and what is told of them once they are there.
pub(super) struct Committer {
    store: Arc<Store>,
    metrics: Metrics,
    queue: Mutex<Queue>,
    flushed: Condvar,
    announce: broadcast::Sender<Arc<Record>>,
    /// Per stream the last number that is durable: readers see no further.
    visible: PerStream<AtomicU64>,
    tail: Tail,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Queue {
    applied: u64,
    durable: u64,
    flushing: bool,
    /// A flush that failed says nothing about what the disk holds, and one that succeeds after it says nothing either
    /// (the kernel forgets which pages were lost). So nothing is promised any more until the store is opened again.
    broken: Option<String>,
    waiting: VecDeque<(u64, Arc<Record>)>,
}

/// A write's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl Committer {
    /// Starts with what a store holds: the number of each stream's last record, and the alerts.
    pub(super) fn new(
        store: Arc<Store>,
        metrics: Metrics,
        visible: PerStream<AtomicU64>,
        tail: Tail,
        book: Book,
    ) -> Self {
        book.count(&metrics);
        tail.note(&numbers(&visible));
        Self {
            store,
            metrics,
            queue: Mutex::default(),
            flushed: Condvar::new(),
            announce: broadcast::Sender::new(ANNOUNCED),
            visible,
            tail,
            book: Mutex::new(book),
        }
    }

    /// Takes a write that was just applied. Called under the writers' lock, so that the queue has the order of the
    /// numbers.
    pub(super) fn enqueue(&self, news: Vec<Arc<Record>>) -> Ticket {
        let mut queue = self.queue();
        queue.applied += 1;
        let ticket = queue.applied;
        queue.waiting.extend(news.into_iter().map(|record| (ticket, record)));
        Ticket(ticket)
    }

    /// The place of the newest write.
    pub(super) fn newest(&self) -> Ticket {
        Ticket(self.queue().applied)
    }

    /// The store failed: nothing is accepted from here on.
    pub(super) fn fail(&self, error: &BufferError) {
        let mut queue = self.queue();
        if queue.broken.is_none() {
            tracing::error!(%error, "the buffer takes no more records");
            queue.broken = Some(error.to_string());
        }
    }

    /// Whether writes are still taken.
    pub(super) fn check(&self) -> Result<(), BufferError> {
        match &self.queue().broken {
            Some(reason) => Err(BufferError::Broken(reason.clone())),
            None => Ok(()),
        }
    }

    /// Returns when the write is on disk and announced.
    pub(super) fn make_durable(&self, ticket: Ticket) -> Result<(), BufferError> {
        let mut queue = self.queue();
        loop {
            if queue.durable >= ticket.0 {
                return Ok(());
            }
            if let Some(reason) = &queue.broken {
                return Err(BufferError::Broken(reason.clone()));
            }
            if !queue.flushing {
                break;
            }
            queue = self.flushed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.flushing = true;
        let through = queue.applied;
        drop(queue);
        let result = self.store.flush();
        let mut queue = self.queue();
        queue.flushing = false;
        if result.is_ok() {
            queue.durable = through;
            self.tell(&mut queue);
        }
        drop(queue);
        if let Err(error) = &result {
            self.fail(error);
        }
        self.flushed.notify_all();
        result
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
        while queue.waiting.front().is_some_and(|(ticket, _)| *ticket <= queue.durable) {
            let Some((_, record)) = queue.waiting.pop_front() else { break };
            self.visible[record.body.stream()].fetch_max(record.sequence, Ordering::AcqRel);
            if let Body::Alert(transition) = &record.body {
                alerted = true;
                let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
                book.apply(record.sequence, record.at, transition);
            }
            // Nobody may be listening.
            let _ = self.announce.send(record);
        }
        self.tail.note(&numbers(&self.visible));
        if alerted {
            self.alerts(|book| book.count(&self.metrics));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn numbers(visible: &PerStream<AtomicU64>) -> PerStream<u64> {
    let mut last = PerStream::default();
    for stream in Stream::ALL {
        last[stream] = visible[stream].load(Ordering::Acquire);
    }
    last
}
