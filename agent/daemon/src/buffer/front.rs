//! What the buffer reads from and writes to: the store, and, while that takes no writes, what is laid over it in memory.
//!
//! A disk that is full or read-only must not take the store's readers with it, nor the records that the journal still
//! takes. So a store that failed is not written to any more: later writes lie in memory over what it holds, where
//! readers find them, until a store is opened again that has them from the journal. What lies here is bounded by what
//! the journal has room for, and, after a start on such a disk, by what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use super::batch::Batch;
use super::error::BufferError;
use super::open::is_damage;
use super::store::{Entry, Store};

/// Keys with their values; `None` for those that are gone.
type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What is told of damage.
type OnDamage = Box<dyn Fn(&BufferError) + Send + Sync>;

/// A store that may be away.
pub(super) struct Front {
    store: RwLock<Option<Store>>,
    /// Empty unless `diverted`. Never locked while the store is.
    overlay: RwLock<Overlay>,
    diverted: AtomicBool,
    /// Set once the store could not even be read.
    unreadable: AtomicBool,
    /// Keys that were written to, while somebody wants to know.
    changes: Mutex<Option<BTreeSet<Vec<u8>>>>,
    /// Called when a read finds damage.
    damaged: OnceLock<OnDamage>,
}

impl Front {
    /// A store that works.
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: RwLock::new(Some(store)),
            overlay: RwLock::default(),
            diverted: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            changes: Mutex::default(),
            damaged: OnceLock::new(),
        }
    }

    /// No store at all: everything lies in memory.
    pub(super) fn without_store() -> Self {
        Self {
            store: RwLock::default(),
            overlay: RwLock::default(),
            diverted: AtomicBool::new(true),
            unreadable: AtomicBool::new(true),
            changes: Mutex::default(),
            damaged: OnceLock::new(),
        }
    }

    /// Has `call` called when a read of the store finds it damaged. Only the first of such calls counts.
    pub(super) fn on_damage(&self, call: impl Fn(&BufferError) + Send + Sync + 'static) {
        let _ = self.damaged.set(Box::new(call));
    }

    /// From now on the keys of all writes are noted, or no more. No write may be under way.
    pub(super) fn note_changes(&self, on: bool) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = on.then(BTreeSet::new);
    }

    /// The keys that were written to since the last such call.
    ///
    /// # Errors
    /// When there are more than `most`, or the store was out of use meanwhile.
    pub(super) fn take_changes(&self, most: usize) -> Result<BTreeSet<Vec<u8>>, BufferError> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(taken) = changes.as_mut().map(std::mem::take) else {
            return Err(BufferError::Broken("the store was out of use".to_owned()));
        };
        if taken.len() > most {
            return Err(BufferError::Unstorable("more changes at a time than can be followed".to_owned()));
        }
        Ok(taken)
    }

    /// Has another store take the place of this one, which it returns. Readers wait meanwhile. The store is gone when
    /// the other one cannot be had.
    pub(super) fn swap(
        &self,
        other: impl FnOnce() -> Result<Store, BufferError>,
    ) -> Result<Option<Store>, BufferError> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let old = slot.take();
        *slot = Some(other()?);
        Ok(old)
    }

    /// From now on the store is not written to.
    pub(super) fn divert(&self) {
        self.note_changes(false);
        self.diverted.store(true, Ordering::Release);
    }

    /// Whether writes go to memory.
    pub(super) fn is_diverted(&self) -> bool {
        self.diverted.load(Ordering::Acquire)
    }

    /// Whether what the store holds is out of reach.
    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Acquire)
    }

    /// Closes the store. Readers wait until the guard is gone, with a store in it or without.
    pub(super) fn close(&self) -> RwLockWriteGuard<'_, Option<Store>> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        self.unreadable.store(true, Ordering::Release);
        slot
    }

    /// The store works again: what lay over it is in it.
    pub(super) fn resume(&self) {
        self.unreadable.store(false, Ordering::Release);
        self.diverted.store(false, Ordering::Release);
        self.overlay.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Gives the store away.
    pub(super) fn take(&self) -> Option<Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, BufferError> {
        if self.is_diverted()
            && let Some(laid) = self.overlay.read().unwrap_or_else(PoisonError::into_inner).get(key)
        {
            return Ok(laid.clone().map(Into::into));
        }
        self.ask(None, |store| store.get(key))
    }

    /// Puts a batch into the store, or over it: all of it or nothing.
    pub(super) fn apply(&self, batch: Batch) -> Result<(), BufferError> {
        if self.is_diverted() {
            self.overlay.write().unwrap_or_else(PoisonError::into_inner).extend(batch.into_changes());
            return Ok(());
        }
        let noting = || self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<_> = if noting().is_some() { batch.keys().map(<[u8]>::to_vec).collect() } else { Vec::new() };
        let applied = self.with(|store| store.apply(batch));
        // Not before: whoever takes a key reads its value next, which must be the new one.
        if let Some(changes) = &mut *noting() {
            changes.extend(keys);
        }
        applied
    }

    /// Up to `limit` entries with keys from `first` to `last` (both included), in ascending order.
    pub(super) fn ascending(&self, first: &[u8], last: &[u8], limit: usize) -> Result<Vec<Entry>, BufferError> {
        let laid = self.laid(first, Bound::Included(last));
        let below = self.ask(Vec::new(), |store| store.ascending(first, last, limit.saturating_add(laid.len())))?;
        if laid.is_empty() {
            return Ok(below);
        }
        Ok(merged(below, laid).take(limit).collect())
    }

    /// Up to `limit` entries with keys from `first` to `last` (both included), in descending order.
    pub(super) fn descending(&self, first: &[u8], last: &[u8], limit: usize) -> Result<Vec<Entry>, BufferError> {
        let laid = self.laid(first, Bound::Included(last));
        let below = self.ask(Vec::new(), |store| store.descending(first, last, limit.saturating_add(laid.len())))?;
        if laid.is_empty() {
            return Ok(below);
        }
        Ok(merged(below, laid).rev().take(limit).collect())
    }

    /// All entries whose key begins with `prefix`; only for kinds of which there are few.
    pub(super) fn all(&self, prefix: &[u8]) -> Result<Vec<Entry>, BufferError> {
        let mut laid = self.laid(prefix, Bound::Unbounded);
        laid.retain(|key, _| key.starts_with(prefix));
        let below = self.ask(Vec::new(), |store| store.all(prefix))?;
        Ok(merged(below, laid).collect())
    }

    /// Makes everything applied so far survive a power cut.
    pub(super) fn flush(&self) -> Result<(), BufferError> {
        self.with(Store::flush)
    }

    /// Bytes of all the store's files; zero while it is away.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.store.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Store::bytes_on_disk)
    }

    fn with<T>(&self, work: impl FnOnce(&Store) -> Result<T, BufferError>) -> Result<T, BufferError> {
        match &*self.store.read().unwrap_or_else(PoisonError::into_inner) {
            Some(store) => work(store),
            None => Err(BufferError::Broken("the store is not open".to_owned())),
        }
    }

    /// Reads from the store. One that takes no writes and cannot be read either counts as empty, so that what the
    /// journal took meanwhile can still be seen; that it is unreadable is noted, and said where it matters.
    fn ask<T>(&self, nothing: T, work: impl FnOnce(&Store) -> Result<T, BufferError>) -> Result<T, BufferError> {
        match self.with(work) {
            Err(error) if self.is_diverted() => {
                if !self.unreadable.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "the store can no longer be read");
                }
                Ok(nothing)
            }
            Err(error) if is_damage(&error) => {
                if let Some(call) = self.damaged.get() {
                    call(&error);
                }
                Err(error)
            }
            answer => answer,
        }
    }

    fn laid(&self, first: &[u8], last: Bound<&[u8]>) -> Overlay {
        if !self.is_diverted() {
            return Overlay::new();
        }
        let overlay = self.overlay.read().unwrap_or_else(PoisonError::into_inner);
        let range = overlay.range::<[u8], _>((Bound::Included(first), last));
        range.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// What is below with what lies over it, by key.
fn merged(below: Vec<Entry>, laid: Overlay) -> impl DoubleEndedIterator<Item = Entry> {
    let mut all: BTreeMap<sled::IVec, Option<sled::IVec>> =
        below.into_iter().map(|(key, value)| (key, Some(value))).collect();
    all.extend(laid.into_iter().map(|(key, value)| (key.into(), value.map(Into::into))));
    all.into_iter().filter_map(|(key, value)| Some((key, value?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(entries: &[Entry]) -> Vec<u8> {
        entries.iter().map(|(key, _)| key[1]).collect()
    }

    #[test]
    fn whoever_takes_a_changed_key_finds_its_new_value() {
        let folder = tempfile::tempdir().unwrap();
        let front = Front::new(Store::open(&folder.path().join("store")).unwrap());
        front.note_changes(true);
        for n in 0_u32..2000 {
            let mut copied = None;
            let mut take = || {
                if !front.take_changes(9).unwrap().is_empty() {
                    copied = front.get(b"key").unwrap();
                }
            };
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut batch = Batch::default();
                    batch.insert(b"key", n.to_be_bytes());
                    front.apply(batch).unwrap();
                });
                while !writer.is_finished() {
                    take();
                }
            });
            take();
            assert_eq!(copied.as_deref(), Some(&n.to_be_bytes()[..]), "what a copy would have of it");
        }
    }

    #[test]
    fn what_lies_over_the_store_is_read_as_if_it_were_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let front = Front::new(Store::open(&folder.path().join("store")).unwrap());
        let mut batch = Batch::default();
        for n in [1, 3, 5, 7, 9] {
            batch.insert([b'k', n], [n]);
        }
        front.apply(batch).unwrap();
        front.divert();
        let mut batch = Batch::default();
        batch.insert([b'k', 4], [40]);
        batch.insert([b'k', 5], [50]);
        batch.remove([b'k', 3]);
        batch.remove([b'k', 7]);
        front.apply(batch).unwrap();
        let (first, last) = ([b'k', 0], [b'k', 255]);
        assert_eq!(keys(&front.ascending(&first, &last, 9).unwrap()), [1, 4, 5, 9]);
        assert_eq!(keys(&front.ascending(&first, &last, 2).unwrap()), [1, 4]);
        assert_eq!(keys(&front.descending(&first, &last, 3).unwrap()), [9, 5, 4]);
        assert_eq!(keys(&front.all(b"k").unwrap()), [1, 4, 5, 9]);
        assert_eq!(front.get(&[b'k', 5]).unwrap().as_deref(), Some(&[50][..]));
        assert_eq!((front.get(&[b'k', 3]).unwrap(), front.is_unreadable()), (None, false));
        drop(front.close());
        assert_eq!(keys(&front.all(b"k").unwrap()), [4, 5], "without the store");
        assert!(front.is_unreadable());
        *front.close() = Some(Store::open(&folder.path().join("store")).unwrap());
        front.resume();
        assert_eq!(keys(&front.all(b"k").unwrap()), [1, 3, 5, 7, 9], "nothing was written to the store");
    }
}
