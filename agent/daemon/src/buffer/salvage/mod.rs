//! A damaged store is read out: what its bytes allow goes into a fresh one.
//!
//! sled checks a page when it reads it, and gives up the whole store, or all behind the damage, when that fails. But its
//! log is a row of small messages with a checksum each (`log`), an entry of ours carries another one over key and value,
//! and records never change. So the log is read without sled, twice: once upwards for what there is (`survey`), once
//! downwards for the records (`harvest`). One bad page then costs what is nowhere else in the log, a few dozen entries at
//! most; the frames, which many records need, are taken from every writing of their pages. What is lost leaves gaps in
//! the numbers, which are looked for when the fresh store is opened, as ever.
//!
//! The fresh store has the old one's id and goes on with its numbers. It is made beside the old one, whose files are
//! only read, and takes its place when it is whole (`generation`).
//!
//! Memory: one segment, one write, a line per page (about 100 bytes; sled itself needs more), and up to 64 MiB of entries
//! that all records share. Time: twice the log's reading plus the writing; after [`LIMIT`] the oldest records
//! are left where they are, and a start goes on in time.

mod harvest;
mod log;
mod page;
mod ranges;
mod source;
mod survey;

use std::path::Path;
use std::time::{Duration, Instant};

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;

use serde::{Deserialize, Serialize};

use harvest::Harvest;
use source::Source;
use survey::Survey;

use super::batch::Batch;
use super::cursor::PerStream;
use super::error::BufferError;
use super::front::Front;
use super::load::FORMAT;
use super::side::Side;
use super::store::Store;
use super::{codec, keys};
use crate::clock;

/// How long records are read out. systemd gives a start five minutes, and opening the fresh store comes after this.
const LIMIT: Duration = Duration::from_secs(150);

/// What is wrong where [`is_needed`] says so.
pub(super) const HOLED: &str = "messages of its log are spoilt, and others follow";

/// What was read out. It is kept in the fresh store until a health record says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Salvaged {
    /// What was wrong.
    pub(super) reason: String,
    /// Records of each stream, by its name.
    pub(super) records: Vec<(String, u64)>,
    /// Whether there was time for all.
    pub(super) complete: bool,
    pub(super) took: Duration,
}

impl Salvaged {
    /// What a store says of itself, if it was made of a damaged one and nobody was told.
    pub(super) fn untold(store: &Front) -> Result<Option<Self>, BufferError> {
        Ok(store.get(keys::REPAIR)?.and_then(|sealed| codec::open(keys::REPAIR, &sealed).ok()))
    }

    /// How many records there are in all.
    pub(super) fn total(&self) -> u64 {
        self.records.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
    }
}

/// Reads out the store at `from` into a fresh one at `to`, where nothing is yet. `None` when there is nothing to read.
/// Whoever has the store open must not write to it.
///
/// # Errors
/// When the fresh store cannot be written. What there is of it is to be removed.
pub(super) fn read_out(
    from: &Path,
    to: &Path,
    side: Option<&Side>,
    reason: &str,
    now: Now,
) -> Result<Option<Salvaged>, BufferError> {
    let begun = Instant::now();
    let Ok(source) = Source::open(from) else { return Ok(None) };
    let survey = Survey::of(&source);
    if survey.segments.is_empty() || survey.small.is_empty() {
        return Ok(None);
    }
    if let Some([found]) = survey.small.get(keys::FORMAT).map(Vec::as_slice)
        && *found > FORMAT
    {
        return Err(BufferError::Newer { path: from.to_owned(), found: *found, known: FORMAT });
    }
    let store = Store::open(to)?;
    let mut harvest = Harvest::new(&survey, &store);
    // What was sent is in the side file as well.
    let doubt = side.is_none() || !harvest.knows_all_cursors();
    let complete = harvest.gather(&source, begun + LIMIT)?;
    let promised = PerStream::each(|stream| {
        Ok::<_, BufferError>(side.map_or(0, |side| side.promised(stream).max(side.uploaded(stream))))
    })?;
    let tallies = harvest.finish(&promised)?;
    let records = Stream::ALL.map(|stream| (stream.as_str().to_owned(), tallies[stream].records)).into();
    let salvaged = Salvaged { reason: reason.to_owned(), records, complete, took: begun.elapsed() };
    let unstorable = |error: codec::Unreadable| BufferError::Unstorable(error.to_string());
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, [FORMAT]);
    batch.insert(keys::REPAIR, codec::seal(keys::REPAIR, &salvaged).map_err(unstorable)?);
    if !survey.small.contains_key(keys::STORE_ID) {
        let id = side.map_or_else(|| clock::mint(now), Side::store_id);
        batch.insert(keys::STORE_ID, codec::seal(keys::STORE_ID, id.as_bytes()).map_err(unstorable)?);
    }
    if doubt {
        batch.insert(keys::DOUBT, []);
    }
    store.apply(batch)?;
    store.flush()?;
    Ok(Some(salvaged))
}

/// Whether sled, when it opens the store, would pass over whole messages behind a spoilt one, and write over them: what
/// it has read once, up to its last snapshot, it does not read again before it needs it.
pub(super) fn is_needed(store: &Path) -> bool {
    let Ok(source) = Source::open(store) else { return false };
    survey::is_holed(&source, last_snapshot(store).unwrap_or(0))
}

/// Up to where in the log sled's newest snapshot goes: its name says it.
fn last_snapshot(store: &Path) -> Option<u64> {
    let names = std::fs::read_dir(store).ok()?.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| u64::from_str_radix(name.to_str()?.strip_prefix("snap.")?, 16).ok()).max()
}
