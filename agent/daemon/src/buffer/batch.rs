//! What goes into the store together.

use std::collections::BTreeMap;

/// Entries to put and keys to remove: after a crash all of it has happened, or nothing. What comes later about a key
/// counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Batch {
    /// Puts a value under a key.
    pub(super) fn insert(&mut self, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) {
        self.0.insert(key.as_ref().to_vec(), Some(value.into()));
    }

    /// Takes a key away.
    pub(super) fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.0.insert(key.as_ref().to_vec(), None);
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says something about a key.
    pub(super) fn mentions(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// The keys that it says something about.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// Every key with what becomes of it: its value, or `None` for one that goes.
    pub(super) fn into_changes(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.0.into_iter()
    }
}
