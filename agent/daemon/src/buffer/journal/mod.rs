//! The journal: what must survive the store, and what the store may fail to take.
//!
//! # Why
//!
//! sled keeps everything in one file, and one bad sector of it can cost all: it does not open, or opens with records
//! missing. Predictions are many and can be made again from the next sample; that a technician acknowledged an alert,
//! or said that it was wrong, cannot. So alerts, feedback, audit and health (what was evicted, what was lost: central's
//! sums rest on it) are written here as well, and here first: **the journal is the truth of these streams, and the store
//! is their index.** A file that is only ever added to is also the cheapest way to make one record last: one write of one block
//! and one `fdatasync`, where the store syncs its log and its folders. And since its files are on disk before they are
//! used, and one more than needed is ready always, a full disk stops predictions, and stops nobody from acknowledging.
//!
//! # On disk
//!
//! ```text
//! buffer.journal/<number>.log          segments: header, entries, zeros (see `segment`, `entry`)
//! buffer.journal/damaged/<number>-…    copies of segments that were damaged, the last few
//! ```
//!
//! The segment with the highest number is the spare; the one before it is written to. An entry is what one append
//! brought, so after a crash all of that is there or none of it. Each holds the session of its records and refers to nothing
//! outside itself: damage costs the entries that it hit. Entries have running numbers, so that one that was written
//! twice, because the disk did not say whether it took the first, counts once.
//!
//! # Damage
//!
//! Behind bytes that are no entry, reading goes on with the next whose checksum fits. The segment is then set aside as it
//! was, its whole entries take its place, and a health record says so. Nothing is ever written behind a torn entry: who
//! writes goes on in another segment. What the journal lost and the store has comes from there ([`reconcile`]).
//!
//! # How long
//!
//! A segment goes when every record in it is evicted from the store: uploaded, older than `max_age`, needed by no open
//! alert. Health records need only be uploaded. Each entry says below which numbers the streams were evicted by then, so
//! that a store which starts anew from the journal does not bring back, and evict and report again, what had gone.

mod entry;
pub(super) mod look;
pub(super) mod reconcile;
mod repair;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;

pub(super) use entry::{Entry, Item};

use segment::Segment;

use super::cursor::PerStream;
use super::error::BufferError;
use super::report::Note;
use super::store::sync_folder;

/// How often a spare segment that could not be made is tried again.
const SPARE_EVERY: Duration = Duration::from_secs(5);

/// Whether the journal keeps a stream.
pub(super) fn keeps(stream: Stream) -> bool {
    match stream {
        Stream::Feedback | Stream::Alerts | Stream::Audit | Stream::Health => true,
        Stream::Predictions | Stream::Explanations => false,
    }
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// Of a segment that is made.
    segment_bytes: u64,
    /// All segments with entries, ascending; the last is the one that is written to while `current` is there.
    segments: Vec<Summary>,
    current: Option<Segment>,
    spare: Option<Segment>,
    /// When it was tried in vain to make one.
    spare_tried: Option<Instant>,
    /// Why no other segment could be made when one was needed.
    refused: Option<ErrorKind>,
    next_number: u64,
    /// Of the newest entry.
    running: u64,
    known: PerStream<Known>,
}

/// A segment in figures.
#[derive(Debug)]
struct Summary {
    number: u64,
    bytes: u64,
    /// The highest number of each stream in it.
    highest: PerStream<u64>,
}

/// What the journal knows of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The lowest and the highest number of its records.
    pub(super) range: Option<(u64, u64)>,
    /// Everything below was evicted.
    pub(super) floor: u64,
}

impl Journal {
    /// Opens the journal in a folder, or begins one. Damaged segments are set aside and said.
    ///
    /// # Errors
    /// When a later version wrote it, or it cannot be listed. That no segment can be made is found out when one is needed.
    pub(super) fn open(folder: &Path, segment_bytes: u64, now: Now) -> Result<(Self, Vec<Note>), BufferError> {
        fs::create_dir_all(folder).map_err(|error| BufferError::io("create", folder, error))?;
        if let Err(error) = folder.parent().map_or(Ok(()), sync_folder) {
            // A disk that takes no writes: what is there can be read all the same.
            tracing::warn!(%error, "the name of the journal's folder may not last");
        }
        let mut journal = Self {
            folder: folder.to_owned(),
            segment_bytes,
            segments: Vec::new(),
            current: None,
            spare: None,
            spare_tried: None,
            refused: None,
            next_number: 1,
            running: 0,
            known: PerStream::default(),
        };
        let mut notes = Vec::new();
        let mut empty = Vec::new();
        // Whether the last segment may be written to, and from where on.
        let mut end = None;
        for number in segment::list(folder)? {
            journal.next_number = number.saturating_add(1);
            let found = journal.look_at(number, now, &mut notes)?;
            match found {
                Found::Nothing => empty.push(number),
                Found::Entries { end: at } => end = at.map(|at| (number, at)),
                Found::Unreadable => {}
            }
        }
        if let Some((number, at)) = end {
            journal.current = Segment::open(folder, number, at).ok();
        }
        let last = journal.segments.last().map_or(0, |segment| segment.number);
        for number in empty {
            if number > last && journal.spare.is_none() {
                journal.spare = Segment::open(folder, number, segment::HEADER as u64).ok();
            } else if let Err(error) = fs::remove_file(segment::path(folder, number)) {
                tracing::debug!(%error, number, "an empty journal segment was not removed");
            }
        }
        journal.make_spare();
        Ok((journal, notes))
    }

    /// Takes a segment into account; one that is damaged is mended.
    fn look_at(&mut self, number: u64, now: Now, notes: &mut Vec<Note>) -> Result<Found, BufferError> {
        let path = segment::path(&self.folder, number);
        let bytes = match segment::bytes(&self.folder, number) {
            Ok(bytes) => bytes,
            Err(error) => {
                let reason = format!("it cannot be read: {error}");
                let to = repair::move_aside(&self.folder, number, now).unwrap_or(path);
                notes.push(Note::SetAside { what: "journal", to, reason });
                return Ok(Found::Unreadable);
            }
        };
        let scan = scan::scan(&bytes, self.running).map_err(|found| BufferError::Newer {
            path: path.clone(),
            found,
            known: entry::VERSION,
        })?;
        let mut highest = PerStream::default();
        for (running, entry) in &scan.entries {
            self.running = *running;
            self.learn(entry, &mut highest);
        }
        let mut used = scan.end as u64;
        if let Some(reason) = &scan.damage {
            let to = match repair::mend(&self.folder, number, &scan.entries, now) {
                Ok((to, length)) => {
                    used = length;
                    to
                }
                Err(error) => {
                    tracing::warn!(%error, number, "a damaged journal segment could not be mended");
                    path
                }
            };
            let reason = format!("{reason}; {} entries were read", scan.entries.len());
            notes.push(Note::SetAside { what: "journal", to, reason });
        } else if scan.entries.is_empty() {
            return Ok(Found::Nothing);
        }
        self.segments.push(Summary { number, bytes: used, highest });
        Ok(Found::Entries { end: scan.damage.is_none().then_some(used) })
    }

    fn learn(&mut self, entry: &Entry, highest: &mut PerStream<u64>) {
        for (stream, floor) in entry.floors() {
            self.known[stream].floor = self.known[stream].floor.max(floor);
        }
        for item in entry.items() {
            let Some(stream) = item.stream() else { continue };
            let (low, high) = self.known[stream].range.unwrap_or((item.sequence, item.sequence));
            self.known[stream].range = Some((low.min(item.sequence), high.max(item.sequence)));
            highest[stream] = highest[stream].max(item.sequence);
        }
    }

    /// What it knows of each stream.
    pub(super) fn known(&self) -> &PerStream<Known> {
        &self.known
    }

    /// Bytes of entries that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of its files: entries, and what is ready for more.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.bytes() + self.reserve()
    }

    /// Bytes that can still be written when the disk takes no more.
    pub(super) fn reserve(&self) -> u64 {
        [&self.current, &self.spare].into_iter().flatten().map(Segment::room).sum()
    }

    /// Adds entries and makes them last, in this order.
    ///
    /// # Errors
    /// When neither the segment that is written to nor another takes them. To try again is safe: what was written twice
    /// counts once.
    pub(super) fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), BufferError> {
        let mut rest = entries;
        let mut failures = 0;
        while let [first, ..] = rest {
            let first = entry::framed(self.running.saturating_add(1), &first.content()?);
            self.provide(first.len())?;
            let Some(segment) = &mut self.current else { return Err(self.no_segment()) };
            let (mut bytes, mut count) = (first, 1);
            for entry in rest.iter().skip(1) {
                let running = self.running.saturating_add(1 + count as u64);
                let more = entry::framed(running, &entry.content()?);
                if !segment.has_room(bytes.len() + more.len()) {
                    break;
                }
                bytes.extend_from_slice(&more);
                count += 1;
            }
            match segment.write(&bytes) {
                Ok(()) => {
                    let (written, later) = rest.split_at(count);
                    self.note_written(written, count as u64);
                    rest = later;
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "an entry was not written to this segment of the journal");
                    if failures > 1 || !self.turn(bytes.len())? {
                        return Err(error);
                    }
                }
            }
        }
        self.make_spare();
        Ok(())
    }

    fn note_written(&mut self, written: &[Arc<Entry>], count: u64) {
        self.running = self.running.saturating_add(count);
        let mut highest = PerStream::default();
        for entry in written {
            self.learn(entry, &mut highest);
        }
        let Some(segment) = &self.current else { return };
        match self.segments.last_mut() {
            Some(summary) if summary.number == segment.number => {
                summary.bytes = segment.used;
                for stream in Stream::ALL {
                    summary.highest[stream] = summary.highest[stream].max(highest[stream]);
                }
            }
            _ => self.segments.push(Summary { number: segment.number, bytes: segment.used, highest }),
        }
    }

    /// Makes sure that an entry that comes next has room.
    ///
    /// # Errors
    /// When no segment has, and none can be made.
    pub(super) fn make_ready_for(&mut self, entry: &Entry) -> Result<(), BufferError> {
        let bytes = entry::framed(self.running.saturating_add(1), &entry.content()?);
        self.provide(bytes.len())
    }

    /// Makes sure that the current segment has room for an entry.
    fn provide(&mut self, bytes: usize) -> Result<(), BufferError> {
        if self.current.as_ref().is_some_and(|segment| segment.has_room(bytes)) {
            return Ok(());
        }
        if self.turn(bytes)? { Ok(()) } else { Err(self.no_segment()) }
    }

    /// Goes on in another segment with room for an entry; says whether there is one. Else all stays as it is.
    fn turn(&mut self, bytes: usize) -> Result<bool, BufferError> {
        let next = match self.spare.take_if(|spare| spare.has_room(bytes)) {
            Some(spare) => spare,
            None => {
                let size = self.segment_bytes.max((segment::HEADER + bytes) as u64);
                match self.make(size) {
                    Ok(segment) => segment,
                    Err(error) => {
                        let reason = match &error {
                            BufferError::Io { source, .. } => source.kind(),
                            _ => ErrorKind::StorageFull,
                        };
                        // Said once, not for each record.
                        if self.refused.replace(reason) == Some(reason) {
                            tracing::debug!(%error, "the journal has no room for another segment");
                        } else {
                            tracing::error!(%error, "the journal has no room for another segment");
                        }
                        return Ok(false);
                    }
                }
            }
        };
        self.refused = None;
        if let Some(full) = self.current.replace(next) {
            full.seal();
        }
        Ok(true)
    }

    fn no_segment(&self) -> BufferError {
        let reason = self.refused.unwrap_or(ErrorKind::StorageFull);
        BufferError::io("make a journal segment in", &self.folder, reason.into())
    }

    /// Has a spare ready, if that is possible.
    fn make_spare(&mut self) {
        if self.spare.is_some() || self.spare_tried.is_some_and(|tried| tried.elapsed() < SPARE_EVERY) {
            return;
        }
        match self.make(self.segment_bytes) {
            Ok(segment) => self.spare = Some(segment),
            Err(error) => {
                self.spare_tried = Some(Instant::now());
                tracing::warn!(%error, "the journal has no spare segment for a full disk");
            }
        }
    }

    fn make(&mut self, size: u64) -> Result<Segment, BufferError> {
        let segment = Segment::create(&self.folder, self.next_number, size)?;
        self.next_number = self.next_number.saturating_add(1);
        Ok(segment)
    }

    /// Removes segments all of whose records are below `done`, the numbers up to which nothing needs the journal.
    pub(super) fn release(&mut self, done: &PerStream<u64>) {
        let current = self.current.as_ref().map(|segment| segment.number);
        let folder = &self.folder;
        self.segments.retain(|segment| {
            let over = Stream::ALL.into_iter().all(|stream| segment.highest[stream] <= done[stream]);
            if !over || Some(segment.number) == current {
                return true;
            }
            match fs::remove_file(segment::path(folder, segment.number)) {
                Ok(()) => false,
                Err(error) => {
                    tracing::debug!(%error, "a journal segment was not removed");
                    error.kind() != std::io::ErrorKind::NotFound
                }
            }
        });
    }

    /// The entries of all segments, one segment at a time.
    fn each(&self, mut take: impl FnMut(Vec<Entry>) -> Result<(), BufferError>) -> Result<(), BufferError> {
        let mut after = 0;
        for summary in &self.segments {
            let path = segment::path(&self.folder, summary.number);
            let bytes = segment::bytes(&self.folder, summary.number);
            let bytes = bytes.map_err(|error| BufferError::io("read", &path, error))?;
            // Its version was looked at when it was opened.
            let Ok(scan) = scan::scan(&bytes, after) else { continue };
            after = scan.entries.last().map_or(after, |(running, _)| *running);
            take(scan.entries.into_iter().map(|(_, entry)| entry).collect())?;
        }
        Ok(())
    }
}

/// What a segment turned out to be.
enum Found {
    /// Ready to be used.
    Nothing,
    /// It has entries; where the next one goes, unless it was damaged.
    Entries { end: Option<u64> },
    /// The disk does not give it.
    Unreadable,
}
