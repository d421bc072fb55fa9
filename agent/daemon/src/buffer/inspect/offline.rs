//! A store that no daemon has open, looked at as it lies there: nothing is put right, set aside or recorded. Opening
//! sled writes a little of its own; where it would write over what can still be read, it is not opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use explaind_core::domain::record::{Session, Stream};
use uuid::Uuid;

use super::super::base::Base;
use super::super::cursor::{Cursor, PerStream};
use super::super::error::BufferError;
use super::super::front::Front;
use super::super::generation::{self, beside};
use super::super::journal::look::{self, Look};
use super::super::outbox::{Content, Outbox};
use super::super::side::Side;
use super::super::store::Store;
use super::super::tail::Tail;
use super::super::{Closed, Config, Stat, StreamStat, journal, keys, load, open, salvage};
use super::{Finding, Part, Piece, View};
use crate::pseudonym::Pseudonyms;

/// A store under its lock.
pub(crate) struct Offline {
    base: Base,
    cursors: PerStream<Cursor>,
    batches: PerStream<Option<(Closed, Option<Content>)>>,
    outbox: Outbox,
    journal: PathBuf,
    store_id: Uuid,
    /// What was found when it was opened.
    findings: Vec<Finding>,
    /// Whether the store itself can be looked at.
    opened: bool,
    path: PathBuf,
    _lock: File,
}

impl Offline {
    /// Takes the store at `path`; `None` when there is none.
    ///
    /// # Errors
    /// [`BufferError::InUse`] while another process has it; when a later version wrote it; when the disk or its
    /// permissions do not allow it.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, BufferError> {
        let journal = beside(path, ".journal");
        if !path.is_dir() && !journal.is_dir() {
            return Ok(None);
        }
        let lock = open::lock(path)?;
        let mut findings = Vec::new();
        let mut found = |problem: String| findings.push(Finding::new(Part::Store, None, problem));
        let side_path = open::side_file(path);
        let side = match Side::read(&side_path)? {
            Some(Ok(side)) => Some(side),
            Some(Err(reason)) => {
                found(format!("{} makes no sense: {reason}", side_path.display()));
                None
            }
            None => None,
        };
        let (store, store_id) = match store(path) {
            Ok((store, store_id)) => (Some(store), store_id),
            Err(BufferError::Damaged { detail, .. }) => {
                found(format!("it is damaged, and the next start reads out of it what can be read: {detail}"));
                (None, None)
            }
            Err(error) => return Err(error),
        };
        let opened = store_id.is_some();
        if store.is_some() && !opened {
            found("it is empty; the next start makes it anew from the journal".to_owned());
        }
        let store_id = store_id.or(side.as_ref().map(Side::store_id)).unwrap_or_default();
        let side = side.unwrap_or_else(|| Side::new(&side_path, store_id, None));
        let front = store.map_or_else(Front::without_store, Front::new);
        let base = Base::new(Arc::new(front), Arc::new(nobody(store_id)), pseudonyms(path)?)?;
        let mut doubt = false;
        let cursors = PerStream::each(|stream| load::cursor(&base, stream, &side, &mut doubt))?;
        let batches = PerStream::each(|stream| load::closed(&base, stream, &mut doubt))?;
        if doubt && opened {
            found("what says how far a stream has come, or which batch is closed, cannot be read".to_owned());
        }
        let outbox = Outbox::unseen(&beside(path, ".outbox"));
        let mut offline = Self {
            base,
            cursors,
            batches,
            outbox,
            journal,
            store_id,
            findings,
            opened,
            path: path.to_owned(),
            _lock: lock,
        };
        offline.compare_ends()?;
        Ok(Some(offline))
    }

    /// Notes numbers that were given out and that neither store nor journal has.
    fn compare_ends(&mut self) -> Result<(), BufferError> {
        let tail = Tail::known(&beside(&self.path, ".last"));
        let highest = self.highest()?;
        for stream in Stream::ALL {
            let there = self.cursors[stream].last().max(highest[stream]);
            if self.opened && tail[stream] > there {
                let numbers = Some((there.saturating_add(1), tail[stream]));
                self.findings.push(Finding::new(Part::Records(stream), numbers, "they were given out, and are lost"));
            }
        }
        Ok(())
    }

    /// The highest number of each stream in the journal.
    fn highest(&self) -> Result<PerStream<u64>, BufferError> {
        let mut highest: PerStream<u64> = PerStream::default();
        for number in self.segments()? {
            let Ok(look) = look::look(&self.journal, number) else { continue };
            for item in look.entries.iter().flat_map(journal::Entry::items) {
                if let Some(stream) = item.stream() {
                    highest[stream] = highest[stream].max(item.sequence);
                }
            }
        }
        Ok(highest)
    }

    fn segments(&self) -> Result<Vec<u64>, BufferError> {
        look::numbers(&self.journal).map_err(|error| BufferError::io("list", &self.journal, error))
    }

    /// Looks at the piece of a part that begins after a number.
    pub(crate) fn inspect(&self, part: Part, after: u64) -> Result<Piece, BufferError> {
        match part {
            Part::Store => Ok(Piece { findings: self.findings.clone(), ..Piece::default() }),
            // What is in a store that does not open is out of sight; that it does not, its finding says.
            Part::Records(_) | Part::Outbox if !self.opened => Ok(Piece::default()),
            _ => match super::piece(self, part, after) {
                Err(BufferError::Damaged { detail, .. }) => {
                    let problem = format!("from number {} on it cannot be read: {detail}", after.saturating_add(1));
                    Ok(Piece { findings: vec![Finding::new(part, None, problem)], ..Piece::default() })
                }
                other => other,
            },
        }
    }

    /// The store in figures. `config` says what it is allowed to be.
    pub(crate) fn stat(&self, config: &Config) -> Result<Stat, BufferError> {
        let (mut used, mut files) = (0_u64, 0_u64);
        for number in self.segments()? {
            let look = look::look(&self.journal, number);
            used = used.saturating_add(look.map_or(0, |look| look.used));
            let size = fs::metadata(self.journal.join(format!("{number:012}.log"))).map_or(0, |data| data.len());
            files = files.saturating_add(size);
        }
        let filed: u64 = Stream::ALL
            .into_iter()
            .filter_map(|stream| self.batches[stream].and_then(|(batch, _)| self.outbox.size(stream, &batch)))
            .sum();
        let records: u64 = self.cursors.values().iter().map(|cursor| cursor.bytes).sum();
        let bytes = records.saturating_add(used).saturating_add(filed);
        let mut streams = Vec::new();
        for stream in Stream::ALL {
            let cursor = self.cursors[stream];
            let (lowest, highest) = (keys::record(stream, 0), keys::record(stream, u64::MAX));
            let first = self.base.store.ascending(&lowest, &highest, 1)?;
            streams.push(StreamStat {
                stream: stream.as_str(),
                first: first.first().and_then(|(key, _)| keys::sequence(key)).unwrap_or(cursor.next),
                last: cursor.last(),
                records: cursor.records,
                uploaded: cursor.uploaded,
            });
        }
        Ok(Stat {
            store_id: self.store_id,
            bytes,
            max_bytes: config.max_bytes,
            bound: config.max_bytes,
            disk_bytes: self.base.store.bytes_on_disk().saturating_add(files),
            full: bytes >= config.max_bytes,
            degraded: self.findings.iter().find(|finding| finding.part == "store").map(|f| f.problem.clone()),
            journal_bytes: used,
            journal_reserve: files.saturating_sub(used),
            streams,
            wear: None,
        })
    }
}

/// Opens what is there, and says whose it is; `None` for a store that nothing was ever put into.
fn store(path: &Path) -> Result<(Store, Option<Uuid>), BufferError> {
    if !path.is_dir() {
        let waits = generation::takes_its_place(path);
        let detail = if waits { "it was being replaced, which the next start finishes" } else { "it is not there" };
        return Err(BufferError::damaged(path, detail));
    }
    if salvage::is_needed(path) {
        return Err(BufferError::damaged(path, salvage::HOLED));
    }
    let store = Store::open(path)?;
    let store_id = load::identity(&store, path)?;
    Ok((store, store_id))
}

/// The key beside the store. Without one, all records are of another key.
fn pseudonyms(path: &Path) -> Result<Pseudonyms, BufferError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let found = match Pseudonyms::read(folder) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        other => other,
    };
    found
        .and_then(|found| found.map_or_else(Pseudonyms::passing, Ok))
        .map_err(|error| BufferError::io("read the key of pseudonyms in", folder, error))
}

/// The session of somebody who writes nothing.
fn nobody(store_id: Uuid) -> Session {
    Session { gateway: "".into(), store_id, boot_id: Uuid::nil(), agent_version: "".into(), config_digest: "".into() }
}

impl View for Offline {
    fn base(&self) -> &Base {
        &self.base
    }

    fn standing(&self, stream: Stream) -> (Cursor, impl Sized) {
        (self.cursors[stream], ())
    }

    fn through(&self, stream: Stream) -> u64 {
        self.cursors[stream].last()
    }

    fn batch(&self, stream: Stream) -> Option<(Closed, Content)> {
        self.batches[stream].and_then(|(batch, content)| content.map(|content| (batch, content)))
    }

    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn journal(&self) -> &Path {
        &self.journal
    }

    fn segment(&self, number: u64) -> io::Result<Look> {
        look::look(&self.journal, number)
    }
}
