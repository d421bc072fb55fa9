//! What many records share is stored once, and known here by its number.
//!
//! Frames are found again by their content, so a restart adds none. There is one per run with another configuration,
//! one per asset and model version, one per model version; should something make them by the thousand, the tables
//! here start over, and the price is a duplicate on disk.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::batch::Batch;
use super::codec;
use super::error::BufferError;
use super::front::Front;
use super::keys;
use super::stored::{Frame, Frames};

/// Frames remembered at a time.
const MOST: usize = 4096;

/// All frames: those in memory, and the store for the others.
pub(super) struct FrameTable {
    store: Arc<Front>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_number: HashMap<u32, Arc<Frame>>,
    by_content: HashMap<Vec<u8>, u32>,
    next: u32,
}

/// Frames that a write adds; they count once the write is in the store.
#[derive(Default)]
pub(super) struct NewFrames(Vec<(Vec<u8>, u32, Arc<Frame>)>);

impl FrameTable {
    /// Reads the frames of a store. Those that cannot be read are passed over: the records that need them say so.
    pub(super) fn load(store: Arc<Front>) -> Result<Self, BufferError> {
        let mut known = Known { next: 1, ..Known::default() };
        for (key, sealed) in store.all(&keys::FRAMES)? {
            let Some(number) = keys::number(&key) else { continue };
            known.next = known.next.max(number.saturating_add(1));
            if let Ok(frame) = codec::open::<Frame>(&key, &sealed) {
                known.remember(content(&frame)?, number, Arc::new(frame));
            }
        }
        Ok(Self { store, known: RwLock::new(known) })
    }

    /// The number of a frame; a new one goes into the batch.
    pub(super) fn number(&self, frame: Frame, new: &mut NewFrames, batch: &mut Batch) -> Result<u32, BufferError> {
        let content = content(&frame)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.by_content.get(&content) {
            return Ok(*number);
        }
        if let Some((_, number, _)) = new.0.iter().find(|(other, ..)| *other == content) {
            return Ok(*number);
        }
        let number = new.0.last().map_or(known.next, |(_, last, _)| last.saturating_add(1));
        let key = keys::frame(number);
        batch.insert(key, sealed(&key, &frame)?);
        new.0.push((content, number, Arc::new(frame)));
        Ok(number)
    }

    /// Forgets what it knew for what another table knows.
    pub(super) fn renew(&self, other: &Self) {
        let known = std::mem::take(&mut *other.known.write().unwrap_or_else(PoisonError::into_inner));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The write that brought them is in the store.
    pub(super) fn adopt(&self, new: NewFrames) {
        if new.0.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (content, number, frame) in new.0 {
            known.next = known.next.max(number.saturating_add(1));
            known.remember(content, number, frame);
        }
    }
}

impl Known {
    fn remember(&mut self, content: Vec<u8>, number: u32, frame: Arc<Frame>) {
        if self.by_number.len() >= MOST {
            self.by_number.clear();
            self.by_content.clear();
        }
        self.by_number.insert(number, frame);
        self.by_content.insert(content, number);
    }
}

impl Frames for FrameTable {
    fn frame(&self, number: u32) -> Option<Arc<Frame>> {
        if let Some(frame) = self.known.read().unwrap_or_else(PoisonError::into_inner).by_number.get(&number) {
            return Some(frame.clone());
        }
        let key = keys::frame(number);
        let sealed = self.store.get(&key).ok()??;
        let frame = Arc::new(codec::open::<Frame>(&key, &sealed).ok()?);
        if let Ok(content) = content(&frame) {
            self.known.write().unwrap_or_else(PoisonError::into_inner).remember(content, number, frame.clone());
        }
        Some(frame)
    }
}

fn content(frame: &Frame) -> Result<Vec<u8>, BufferError> {
    sealed(b"", frame)
}

fn sealed(key: &[u8], frame: &Frame) -> Result<Vec<u8>, BufferError> {
    codec::seal(key, frame).map_err(|error| BufferError::Unstorable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::record::Session;
    use uuid::Uuid;

    use super::*;
    use crate::buffer::store::Store;

    fn frame(gateway: &str) -> Frame {
        Frame::Session(Arc::new(Session {
            gateway: gateway.into(),
            store_id: Uuid::from_u128(1),
            boot_id: Uuid::from_u128(2),
            agent_version: "0.1.0".into(),
            config_digest: "aa".into(),
        }))
    }

    #[test]
    fn equal_frames_share_a_number_over_writes_and_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Front::new(Store::open(&folder.path().join("store")).unwrap()));
        let table = FrameTable::load(store.clone()).unwrap();
        let (mut new, mut batch) = (NewFrames::default(), Batch::default());
        let one = table.number(frame("one"), &mut new, &mut batch).unwrap();
        let two = table.number(frame("two"), &mut new, &mut batch).unwrap();
        assert_eq!(table.number(frame("one"), &mut new, &mut batch).unwrap(), one);
        assert_ne!(one, two);
        assert_eq!(table.frame(one), None, "not stored yet");
        store.apply(batch).unwrap();
        table.adopt(new);
        assert_eq!(table.frame(two).as_deref(), Some(&frame("two")));

        let again = FrameTable::load(store).unwrap();
        let (mut new, mut batch) = (NewFrames::default(), Batch::default());
        assert_eq!(again.number(frame("two"), &mut new, &mut batch).unwrap(), two);
        assert_eq!(again.number(frame("three"), &mut new, &mut batch).unwrap(), two + 1);
    }
}
