//! The side file: what must be known even when the store is lost.
//!
//! `<store>.high_water`, a few lines of JSON: which store this is, on which machine, which stores of that machine it took
//! over from, and per stream up to where the registry has everything (`uploaded`), what it has above (`ahead`), and up
//! to where numbers may have been given out (`promised`).
//! A checksum tells what a bad card made of it: a mark that is too high would be believed, and what is below it never sent.
//! Numbers are promised in large steps, so the file is written rarely; a store that starts anew begins above the
//! promise, and no number is ever given to two records of one gateway. A new promise is made when half of the last one
//! is used up, so that a disk that takes no writes for a while does not stop the numbers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use explaind_core::domain::record::Stream;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ahead::{Ahead, Range};
use super::error::BufferError;
use super::machine::Machine;
use super::store::sync_folder;
use super::wear::{self, Writer};

/// How many numbers are promised at a time.
const STEP: u64 = 1 << 16;
/// Earlier stores that are remembered.
const MOST_PREDECESSORS: usize = 100;
/// More is no side file.
const LARGEST: u64 = 1 << 20;

/// The side file's content, and where it lies.
#[derive(Debug)]
pub(super) struct Side {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    store_id: Uuid,
    predecessors: Vec<Uuid>,
    /// Absent in files of earlier versions.
    #[serde(default)]
    machine: Machine,
    streams: BTreeMap<String, Marks>,
    /// CRC-32 of the file without it; absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Marks {
    uploaded: u64,
    promised: u64,
    /// Absent in files of earlier versions.
    #[serde(default)]
    ahead: Ahead,
}

impl Content {
    /// The file, whole.
    fn text(&self) -> Result<Vec<u8>, String> {
        let bare = Self { checksum: None, ..self.clone() };
        let bytes = serde_json::to_vec(&bare).map_err(|error| error.to_string())?;
        let whole = Self { checksum: Some(crc32fast::hash(&bytes)), ..bare };
        serde_json::to_vec_pretty(&whole).map_err(|error| error.to_string())
    }

    fn read(text: &[u8]) -> Result<Self, String> {
        let content: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let bare = Self { checksum: None, ..content };
        let Some(checksum) = content.checksum else { return Ok(bare) };
        let bytes = serde_json::to_vec(&bare).map_err(|error| error.to_string())?;
        if crc32fast::hash(&bytes) == checksum { Ok(bare) } else { Err("its checksum does not fit".to_owned()) }
    }
}

impl Side {
    /// Reads the file; `Ok(None)` when there is none, the outer error when it cannot be read, the inner when it makes
    /// no sense.
    pub(super) fn read(path: &Path) -> Result<Option<Result<Self, String>>, BufferError> {
        let mut text = Vec::new();
        match File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A bad sector is as good as rubbish.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return Ok(Some(Err(error.to_string())));
            }
            Err(error) => return Err(BufferError::io("read", path, error)),
        }
        Ok(Some(Content::read(&text).map(|content| Self { path: path.to_owned(), content })))
    }

    /// For a new store that takes over from `before`, where there was one. Not on disk until it is [saved](Self::save).
    pub(super) fn new(path: &Path, store_id: Uuid, before: Option<&Self>) -> Self {
        let mut content = Content {
            store_id,
            predecessors: Vec::new(),
            machine: Machine::default(),
            streams: BTreeMap::new(),
            checksum: None,
        };
        if let Some(before) = before {
            content.streams.clone_from(&before.content.streams);
            content.machine.clone_from(&before.content.machine);
            content.predecessors.clone_from(&before.content.predecessors);
            content.predecessors.push(before.content.store_id);
            let surplus = content.predecessors.len().saturating_sub(MOST_PREDECESSORS);
            content.predecessors.drain(..surplus);
        }
        Self { path: path.to_owned(), content }
    }

    /// The store that it belongs to.
    pub(super) fn store_id(&self) -> Uuid {
        self.content.store_id
    }

    /// The stores that this one took over from, the last one last.
    pub(super) fn predecessors(&self) -> &[Uuid] {
        &self.content.predecessors
    }

    /// The machine that it was on when it was written; nothing is known of it in files of earlier versions.
    pub(super) fn machine(&self) -> &Machine {
        &self.content.machine
    }

    /// Notes which machine it is on. On disk when it returns.
    pub(super) fn set_machine(&mut self, machine: Machine) -> Result<(), BufferError> {
        if self.content.machine == machine {
            return Ok(());
        }
        self.content.machine = machine;
        self.save()
    }

    /// The side file of a store that another machine made and that goes on here under another id: it has the numbers,
    /// and no right to what that machine's stores sent.
    pub(super) fn moved(&self, store_id: Uuid, machine: Machine) -> Self {
        let streams = self.content.streams.clone();
        let content = Content { store_id, predecessors: Vec::new(), machine, streams, checksum: None };
        Self { path: self.path.clone(), content }
    }

    /// Everything up to here is in the registry.
    pub(super) fn uploaded(&self, stream: Stream) -> u64 {
        self.marks(stream).uploaded
    }

    /// No number above was ever given out.
    pub(super) fn promised(&self, stream: Stream) -> u64 {
        self.marks(stream).promised
    }

    /// What the registry has above that.
    pub(super) fn ahead(&self, stream: Stream) -> Vec<Range> {
        self.marks(stream).ahead.ranges().to_vec()
    }

    /// Notes what the registry has.
    pub(super) fn note_uploaded(&mut self, stream: Stream, through: u64, ahead: Ahead) -> Result<(), BufferError> {
        self.change(stream, |marks| {
            marks.uploaded = marks.uploaded.max(through);
            marks.ahead = ahead;
        })
    }

    /// Promises numbers up to `last` at least. On disk when it returns; mostly there is nothing to do.
    pub(super) fn promise(&mut self, stream: Stream, last: u64) -> Result<(), BufferError> {
        let ahead = self.promised(stream).saturating_sub(last);
        if ahead >= STEP / 2 {
            return Ok(());
        }
        let promised = self.change(stream, |marks| marks.promised = marks.promised.max(last.saturating_add(STEP)));
        match promised {
            Err(error) if ahead > 0 => {
                tracing::debug!(%error, "numbers could not be promised ahead");
                Ok(())
            }
            other => other,
        }
    }

    /// Like [`promise`](Self::promise), for a file that is yet to be saved.
    pub(super) fn foresee(&mut self, stream: Stream, last: u64) {
        let mut marks = self.marks(stream);
        marks.promised = marks.promised.max(last.saturating_add(STEP));
        self.content.streams.insert(stream.as_str().to_owned(), marks);
    }

    /// Writes the file whole, beside the old one, and then takes its place.
    pub(super) fn save(&self) -> Result<(), BufferError> {
        let text = self.content.text().map_err(BufferError::Unstorable)?;
        let mut draft = self.path.clone().into_os_string();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&draft, &self.path))
            .map_err(|error| BufferError::io("write", &self.path, error))?;
        wear::wrote(Writer::Side, text.len() as u64);
        self.path.parent().map_or(Ok(()), sync_folder)
    }

    fn marks(&self, stream: Stream) -> Marks {
        self.content.streams.get(stream.as_str()).copied().unwrap_or_default()
    }

    fn change(&mut self, stream: Stream, change: impl FnOnce(&mut Marks)) -> Result<(), BufferError> {
        let before = self.marks(stream);
        let mut after = before;
        change(&mut after);
        if after == before {
            return Ok(());
        }
        self.content.streams.insert(stream.as_str().to_owned(), after);
        // A change that is not on disk does not count: the next one tries again.
        self.save().inspect_err(|_| {
            self.content.streams.insert(stream.as_str().to_owned(), before);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_and_a_successor_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer.high_water");
        assert!(Side::read(&path).unwrap().is_none());
        let mut side = Side::new(&path, Uuid::from_u128(1), None);
        side.promise(Stream::Alerts, 1).unwrap();
        side.promise(Stream::Alerts, 500).unwrap();
        let (mut ahead, mut mark) = (Ahead::default(), 40);
        assert!(ahead.cover(&mut mark, (45, 50)));
        side.note_uploaded(Stream::Alerts, 40, Ahead::default()).unwrap();
        side.note_uploaded(Stream::Alerts, 30, ahead).unwrap();
        side.set_machine(Machine::of(&[("board", "b1")])).unwrap();
        let read = Side::read(&path).unwrap().unwrap().unwrap();
        assert_eq!(read.content, side.content);
        assert_eq!((read.uploaded(Stream::Alerts), read.promised(Stream::Alerts)), (40, 1 + STEP));
        assert_eq!((read.promised(Stream::Health), read.ahead(Stream::Alerts)), (0, vec![(45, 50)]));

        // Half of it is used up: the next promise is due, and may fail as long as the last one holds.
        fs::create_dir(folder.path().join("buffer.high_water.new")).unwrap();
        side.promise(Stream::Alerts, 1 + STEP / 2).unwrap();
        side.promise(Stream::Alerts, STEP).unwrap();
        assert!(side.promise(Stream::Alerts, STEP + 2).is_err());
        fs::remove_dir(folder.path().join("buffer.high_water.new")).unwrap();
        side.promise(Stream::Alerts, 2 + STEP / 2).unwrap();
        assert_eq!(Side::read(&path).unwrap().unwrap().unwrap().promised(Stream::Alerts), 2 + STEP / 2 + STEP);

        let successor = Side::new(&path, Uuid::from_u128(2), Some(&read));
        assert_eq!(successor.promised(Stream::Alerts), 1 + STEP);
        assert_eq!(successor.predecessors(), [Uuid::from_u128(1)]);
        assert_eq!(successor.machine(), read.machine());
        let moved = successor.moved(Uuid::from_u128(3), Machine::of(&[("board", "b2")]));
        assert_eq!((moved.predecessors(), moved.promised(Stream::Alerts)), (&[][..], 1 + STEP));
        let earlier = r#"{"store_id":"00000000-0000-0000-0000-000000000001","predecessors":[],
            "streams":{"alerts":{"uploaded":7,"promised":9}}}"#;
        fs::write(&path, earlier).unwrap();
        let read = Side::read(&path).unwrap().unwrap().unwrap();
        assert!(read.machine().is_unknown() && read.ahead(Stream::Alerts).is_empty());
        assert_eq!((read.uploaded(Stream::Alerts), read.promised(Stream::Alerts)), (7, 9));
        fs::write(&path, b"{\"store").unwrap();
        assert!(Side::read(&path).unwrap().unwrap().is_err());
    }

    #[test]
    fn no_flipped_bit_changes_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer.high_water");
        let mut side = Side::new(&path, Uuid::from_u128(1), None);
        side.promise(Stream::Alerts, 1).unwrap();
        side.note_uploaded(Stream::Alerts, 120, Ahead::default()).unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(Side::read(&path).unwrap().unwrap().unwrap().content, side.content);
        let mut refused = 0;
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            match Side::read(&path).unwrap().unwrap() {
                // What lies between the words, or the checksum's name, says nothing.
                Ok(read) => assert_eq!(read.content, side.content, "bit {bit}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > written.len() * 4, "{refused} of {}", written.len() * 8);
    }
}
