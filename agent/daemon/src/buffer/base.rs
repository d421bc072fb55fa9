//! A store with what it takes to read its records.

use std::sync::{Arc, PoisonError, RwLock};

use explaind_core::domain::explanation::Settlement;
use explaind_core::domain::extra::Kind;
use explaind_core::domain::reason::Reason;
use explaind_core::domain::record::{Record, Session, Stream};
use uuid::Uuid;

use super::codec;
use super::error::BufferError;
use super::frames::FrameTable;
use super::front::Front;
use super::keys;
use super::stored::{Frame, Frames, StoredRecord, StoredSettlement};
use crate::pseudonym::Pseudonyms;

/// The store, its frames, and the present run.
pub(super) struct Base {
    pub(super) store: Arc<Front>,
    pub(super) frames: FrameTable,
    /// What stands for people in the hashes of audit records.
    pub(super) pseudonyms: Pseudonyms,
    /// Another one only when a store is opened anew, and turns out to be another.
    session: RwLock<Arc<Session>>,
}

impl Base {
    /// A store with its frames, for this run.
    pub(super) fn new(store: Arc<Front>, session: Arc<Session>, pseudonyms: Pseudonyms) -> Result<Self, BufferError> {
        Ok(Self { frames: FrameTable::load(store.clone())?, store, pseudonyms, session: RwLock::new(session) })
    }

    /// The present run.
    pub(super) fn session(&self) -> Arc<Session> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what a store that was opened anew knows; the store itself comes separately.
    pub(super) fn renew(&self, other: &Self) {
        self.frames.renew(&other.frames);
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = other.session();
    }

    /// The record in a sealed value, without its settlement; or why there is none.
    pub(super) fn decode(&self, stream: Stream, sequence: u64, sealed: &[u8]) -> Result<Record, String> {
        let key = keys::record(stream, sequence);
        let stored: StoredRecord = codec::open(&key, sealed).map_err(|error| error.to_string())?;
        let frame = self.frames.frame(stored.session);
        let Some(Frame::Session(session)) = frame.as_deref() else {
            return Err(format!("its session {} is missing", stored.session));
        };
        let (id, at, clock_synchronised) = (stored.id(), stored.at(), stored.clock_synchronised());
        let body = stored.into_body(&self.frames)?;
        if body.stream() != stream {
            return Err(format!("it belongs to {}", body.stream().as_str()));
        }
        Ok(Record { id, sequence, at, clock_synchronised, session: session.clone(), body, settlement: None })
    }

    /// What became of a prediction's explanation: the inner error says why what is stored cannot be read.
    pub(super) fn settlement(&self, sequence: u64) -> Result<Option<Result<Settlement, String>>, BufferError> {
        let key = keys::settlement(sequence);
        let Some(sealed) = self.store.get(&key)? else { return Ok(None) };
        let opened: Result<StoredSettlement, _> = codec::open(&key, &sealed);
        Ok(Some(opened.map_err(|error| error.to_string()).and_then(|stored| stored.into_domain(&self.frames))))
    }

    /// Where the record with an id is.
    pub(super) fn locate(&self, id: Uuid) -> Result<Option<(Stream, u64)>, BufferError> {
        let key = keys::index(id);
        let Some(sealed) = self.store.get(&key)? else { return Ok(None) };
        // An entry that cannot be read is as good as none: the record itself is still in its stream.
        let place: Option<(u8, u64)> = codec::open(&key, &sealed).ok();
        Ok(place.and_then(|(code, sequence)| Some((keys::stream(code)?, sequence))))
    }

    /// The number of the newest extra of a kind that explains a prediction, as far as it is known.
    pub(super) fn newest_extra(&self, prediction: Uuid, kind: Kind) -> Result<Option<u64>, BufferError> {
        let key = keys::extra(prediction, kind);
        // An entry that cannot be read is as good as none: the record itself is still in its stream.
        Ok(self.store.get(&key)?.and_then(|sealed| codec::open(&key, &sealed).ok()))
    }

    /// The record at a place, with its settlement; the inner error says why it cannot be read.
    ///
    /// `settled`: predictions up to here must have a settlement; one that is lost reads as failed.
    pub(super) fn record(
        &self,
        stream: Stream,
        sequence: u64,
        settled: u64,
    ) -> Result<Option<Result<Record, String>>, BufferError> {
        let Some(sealed) = self.store.get(&keys::record(stream, sequence))? else { return Ok(None) };
        self.join(stream, sequence, &sealed, settled).map(Some)
    }

    /// Like [`decode`](Self::decode), with the settlement.
    pub(super) fn join(
        &self,
        stream: Stream,
        sequence: u64,
        sealed: &[u8],
        settled: u64,
    ) -> Result<Result<Record, String>, BufferError> {
        let mut record = match self.decode(stream, sequence, sealed) {
            Ok(record) => record,
            Err(reason) => return Ok(Err(reason)),
        };
        if stream == Stream::Predictions {
            let lost = |what: &str| Settlement::Failed { reason: Reason::Lost(what.to_owned()).to_string() };
            record.settlement = match self.settlement(sequence)? {
                Some(Ok(settlement)) => Some(settlement),
                Some(Err(reason)) => Some(lost(&reason)),
                None if sequence <= settled => Some(lost("it is missing")),
                None => None,
            };
        }
        Ok(Ok(record))
    }
}

/// The index entry of a record, sealed.
pub(super) fn index_entry(id: Uuid, stream: Stream, sequence: u64) -> Result<([u8; 17], Vec<u8>), BufferError> {
    let key = keys::index(id);
    let sealed = codec::seal(&key, &(keys::code(stream), sequence))
        .map_err(|error| BufferError::Unstorable(error.to_string()))?;
    Ok((key, sealed))
}
