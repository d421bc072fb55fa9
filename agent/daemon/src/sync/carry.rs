//! Batches onto a medium that a person carries home, from a gateway that reaches nothing: equal in effect to sync.
//!
//! A medium is laid out as the directory registry is, so it can be read where it is, and `import` takes it home. The
//! batches are the buffer's own, closed as sync closes them and taken from the outbox, so a try that was cut off is
//! repeated with the same bytes under the same names. A batch is marked as sent once it is on the medium, synced, and
//! was read back from there.
//!
//! Who writes to the medium need not be who has the store: the daemon is shut in, and a person's terminal reaches the
//! medium. So the way is cut in two: [`begin`], [`next`] and [`sent`] are the store's side, wherever it is, and [`export`]
//! is the medium's. An [`Origin`] joins them: the store itself, or a daemon at the other end of a socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use explaind_core::domain::record::Stream;
use rustix::fs::{Advice, fadvise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::contents::contents;
use super::names::Names;
use super::outgoing::{Load, let_go};
use super::{Config, SyncError, claim, lanes, status};
use crate::buffer::Buffer;
use crate::clock;
use crate::registry::{self, DirectoryConfig, Put, Registry, RegistryError, StoreMark, batch_path};

/// What a medium holds of a gateway before anything is written to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Place {
    /// Where that is, for people.
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) mark: Option<StoreMark>,
    /// Whether it holds batches.
    pub(crate) holds_batches: bool,
}

/// What is to be carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Begun {
    /// Whose the medium's folder is from now on.
    pub(crate) mark: StoreMark,
    /// The last number of each stream that is carried: what comes later is for the next time.
    pub(crate) through: BTreeMap<String, u64>,
}

/// A closed batch on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Its stream.
    pub(crate) stream: Stream,
    /// Its bounds.
    pub(crate) numbers: (u64, u64),
    /// Its name.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) content: Vec<u8>,
}

/// A batch that is safe where it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sent {
    /// Its stream.
    pub(crate) stream: String,
    /// Its first number.
    pub(crate) first: u64,
    /// Its last.
    pub(crate) last: u64,
    /// The name it has, when its own was taken by something else.
    pub(crate) aside: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Tally {
    /// Gateways concerned.
    pub(crate) gateways: u64,
    /// Batches that were put where they go.
    pub(crate) stored: u64,
    /// Batches that were there already.
    pub(crate) already_there: u64,
    /// Batches whose name was taken by other content, put aside.
    pub(crate) set_aside: u64,
    /// Records in all of these.
    pub(crate) records: u64,
    /// Bytes of all of these.
    pub(crate) bytes: u64,
}

/// Where batches come from.
pub(crate) trait Origin {
    /// How it fails.
    type Error: From<SyncError>;

    /// The gateway's name.
    fn gateway(&self) -> Result<String, Self::Error>;
    /// See [`begin`].
    fn begin(&self, place: &Place) -> Result<Begun, Self::Error>;
    /// See [`next`].
    fn next(&self, begun: &Begun) -> Result<Option<Batch>, Self::Error>;
    /// See [`sent`].
    fn sent(&self, sent: &Sent) -> Result<(), Self::Error>;
}

/// The store itself, with the settings of sync.
impl Origin for (Buffer, Config) {
    type Error = SyncError;

    fn gateway(&self) -> Result<String, SyncError> {
        Ok(self.0.gateway().to_owned())
    }

    fn begin(&self, place: &Place) -> Result<Begun, SyncError> {
        begin(&self.0, place)
    }

    fn next(&self, begun: &Begun) -> Result<Option<Batch>, SyncError> {
        next(&self.0, &self.1, begun)
    }

    fn sent(&self, sent: &Sent) -> Result<(), SyncError> {
        self::sent(&self.0, sent)
    }
}

/// Says whose a medium's folder is to be, and how far this time goes.
///
/// Unlike a registry, a medium may be another one each time, and is emptied: that it does not know this store is no
/// reason to stop. What central has is compared where it is brought in.
///
/// # Errors
/// [`SyncError::Foreign`] when it holds what another store wrote.
pub(crate) fn begin(buffer: &Buffer, place: &Place) -> Result<Begun, SyncError> {
    let (store_id, predecessors) = (buffer.store_id(), buffer.predecessors());
    let foreign = |whose: String| {
        let what = "import it where it belongs and empty it, or export to another folder";
        Err(SyncError::Foreign(format!("{} {whose}; {what}", place.name)))
    };
    let mut mark = match &place.mark {
        Some(mark) if mark.store_id == store_id || predecessors.contains(&mark.store_id) => mark.clone(),
        Some(mark) => return foreign(format!("holds batches of another store ({})", mark.store_id)),
        None if place.holds_batches => return foreign("holds batches and does not say of which store".to_owned()),
        None => {
            let gateway = buffer.gateway().to_owned();
            StoreMark { gateway, store_id, predecessors: predecessors.clone(), records_of: Vec::new() }
        }
    };
    if mark.store_id != store_id {
        mark.predecessors.push(std::mem::replace(&mut mark.store_id, store_id));
    }
    let mut through = BTreeMap::new();
    for stream in Stream::ALL {
        claim::leave_to_others(buffer, stream)?;
        through.insert(stream.as_str().to_owned(), buffer.last(stream));
    }
    Ok(Begun { mark, through })
}

/// The next batch: the one that is closed, or one that is closed now. `None` when all is carried that is final.
pub(crate) fn next(buffer: &Buffer, config: &Config, begun: &Begun) -> Result<Option<Batch>, SyncError> {
    for stream in Stream::ALL {
        let through = begun.through.get(stream.as_str()).copied().unwrap_or(0);
        while let Some(mut pending) = buffer.pending(stream)?.filter(|pending| pending.oldest.sequence <= through) {
            pending.through = pending.through.min(through);
            let closed = match buffer.closed(stream) {
                Some(closed) => closed,
                None => match lanes::ripe(buffer, config, stream, &pending, clock::now(), true)? {
                    Some(bounds) => buffer.close(stream, bounds)?,
                    None => break,
                },
            };
            let load = match Load::filed(buffer, stream, closed)? {
                Some(load) => load,
                None => Load::made(buffer, stream, closed, Names::of(buffer, config.authors))?,
            };
            match load {
                Load::Bytes(content) => {
                    let date = status::date(closed.closed_at);
                    let path = batch_path(buffer.gateway(), stream, &date, closed.first, closed.last);
                    return Ok(Some(Batch { stream, numbers: (closed.first, closed.last), path, content }));
                }
                Load::Nothing => let_go(buffer, stream, closed)?,
                // Sync may have sent it meanwhile.
                Load::Passed => {}
            }
        }
    }
    Ok(None)
}

/// Lets go of a batch that is safe elsewhere. One that is not the closed one was let go of before.
pub(crate) fn sent(buffer: &Buffer, sent: &Sent) -> Result<(), SyncError> {
    let Some(stream) = Stream::named(&sent.stream) else { return Ok(()) };
    let closed = buffer.closed(stream).filter(|batch| (batch.first, batch.last) == (sent.first, sent.last));
    let Some(batch) = closed else { return Ok(()) };
    if let Some(aside) = &sent.aside {
        let path = batch_path(buffer.gateway(), stream, &status::date(batch.closed_at), batch.first, batch.last);
        tracing::error!(path, aside, "a medium has other content under a batch's name; ours was put aside");
        let evidence = vec![("path".to_owned(), path), ("aside".to_owned(), aside.clone())];
        buffer.report(clock::now(), "sync", "conflict", evidence);
    }
    let_go(buffer, stream, batch)
}

/// Carries all that is final to a folder. To repeat it after it was cut off is safe: nothing is there twice.
///
/// # Errors
/// When the folder is another store's, or either side fails. What was carried until then stays carried.
pub(crate) fn export<O: Origin>(origin: &O, folder: &Path) -> Result<Tally, O::Error> {
    let runtime = runtime()?;
    let medium = Registry::new(&registry::Config::Directory(DirectoryConfig { path: folder.to_owned() }));
    let gateway = origin.gateway()?;
    let found = runtime.block_on(async { Ok((medium.store(&gateway).await?, medium.batches(&gateway).await?)) });
    let (mark, batches) = found.map_err(SyncError::Registry)?;
    let place = Place { name: medium.place(&gateway), mark, holds_batches: !batches.is_empty() };
    let begun = origin.begin(&place)?;
    let mut mark = begun.mark.clone();
    if place.mark.as_ref() != Some(&mark) {
        runtime.block_on(medium.set_store(&mark)).map_err(SyncError::Registry)?;
    }
    let mut tally = Tally { gateways: 1, ..Tally::default() };
    while let Some(batch) = origin.next(&begun)? {
        let aside = runtime.block_on(put(&medium, folder, &mut mark, &batch, &mut tally))?;
        let (stream, (first, last)) = (batch.stream.as_str().to_owned(), batch.numbers);
        origin.sent(&Sent { stream, first, last, aside })?;
    }
    Ok(tally)
}

/// Puts a batch onto the medium and reads it back; returns its name when that is not its own.
async fn put(
    medium: &Registry,
    folder: &Path,
    mark: &mut StoreMark,
    batch: &Batch,
    tally: &mut Tally,
) -> Result<Option<String>, SyncError> {
    let unfit = |reason: String| RegistryError::Content { path: batch.path.clone(), reason };
    let found = contents(batch.stream, batch.numbers, batch.content.clone()).map_err(unfit)?;
    let known = |store: &uuid::Uuid| {
        *store == mark.store_id || mark.predecessors.contains(store) || mark.records_of.contains(store)
    };
    let others: Vec<_> = found.stores.iter().filter(|store| !known(store)).copied().collect();
    if !others.is_empty() {
        mark.records_of.extend(others);
        medium.set_store(mark).await?;
    }
    let mut aside = None;
    match medium.put(&batch.path, batch.content.clone()).await {
        Ok(Put::Stored) => tally.stored += 1,
        Ok(Put::AlreadyThere) => tally.already_there += 1,
        Err(RegistryError::Conflict { .. }) => {
            let path = claim::conflict_path(&mark.gateway, &batch.path, &batch.content);
            medium.put(&path, batch.content.clone()).await?;
            tally.set_aside += 1;
            aside = Some(path);
        }
        Err(error) => return Err(error.into()),
    }
    tally.records += found.records;
    tally.bytes += batch.content.len() as u64;
    let path = aside.as_ref().unwrap_or(&batch.path);
    forget(&folder.join(path));
    let (size, sha256) = (batch.content.len() as u64, Sha256::digest(&batch.content).into());
    if medium.holds(path, size, sha256).await? {
        return Ok(aside);
    }
    let reason = "it does not read back as it was written; take another medium".to_owned();
    Err(RegistryError::Content { path: path.clone(), reason }.into())
}

/// Has the kernel forget a file's pages, so that it is read back from the medium and not from memory. That it may fail
/// makes the reading less of a proof, and harms nothing.
fn forget(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
    }
}

/// What registries need to be used from a terminal's verb.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, SyncError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|source| {
        RegistryError::Io { doing: "start what writes to", path: "the registry".into(), source }.into()
    })
}
