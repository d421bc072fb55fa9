//! How far each collector has come: whoever asks for records after a number has all up to it.
//!
//! `<state_dir>/collectors.json`, replaced as a whole. It is a convenience and no truth: collectors that keep their own
//! cursors need none of it, and one that is lost makes a collector name its cursor again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use explaind_core::domain::record::Stream;
use serde::{Deserialize, Serialize};

/// The version of the file's form.
const VERSION: u32 = 1;
/// Largest file read.
const LARGEST: u64 = 1 << 20;
/// Most collectors that are remembered, as many as there may be accounts.
const MOST: usize = 500;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Name, stream, number.
    collectors: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The cursors of all collectors.
#[derive(Debug)]
pub(crate) struct Collectors {
    path: PathBuf,
    known: Mutex<Stored>,
}

impl Collectors {
    /// Reads the file; one that makes no sense is as good as none.
    pub(crate) fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("collectors.json");
        let known = read(&path).unwrap_or_else(|reason| {
            tracing::warn!(path = %path.display(), reason, "collectors must name their cursors anew");
            None
        });
        Self { path, known: Mutex::new(known.unwrap_or(Stored { version: VERSION, collectors: BTreeMap::new() })) }
    }

    /// The number up to which a collector has a stream.
    pub(crate) fn cursor(&self, name: &str, stream: Stream) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.collectors.get(name)?.get(stream.as_str()).copied()
    }

    /// Notes how far a collector has come. That it cannot be kept stops nobody.
    pub(crate) fn note(&self, name: &str, stream: Stream, through: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.collectors.contains_key(name) && known.collectors.len() >= MOST {
            return;
        }
        let cursor = known.collectors.entry(name.to_owned()).or_default().entry(stream.as_str().to_owned());
        let cursor = cursor.or_default();
        if *cursor == through {
            return;
        }
        *cursor = through;
        if let Err(error) = write(&self.path, &known) {
            tracing::warn!(path = %self.path.display(), %error, "the cursors of collectors could not be kept");
        }
    }
}

fn read(path: &Path) -> Result<Option<Stored>, String> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let stored: Stored = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if stored.version == VERSION { Ok(Some(stored)) } else { Err(format!("its version is {}", stored.version)) }
}

fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let text = serde_json::to_vec(stored).map_err(io::Error::other)?;
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_outlive_the_daemon_and_a_damaged_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let collectors = Collectors::open(folder.path());
        assert_eq!(collectors.cursor("central", Stream::Alerts), None);
        collectors.note("central", Stream::Alerts, 40);
        collectors.note("central", Stream::Predictions, 7);
        collectors.note("central", Stream::Alerts, 30);
        let again = Collectors::open(folder.path());
        assert_eq!(again.cursor("central", Stream::Alerts), Some(30), "a collector may go back");
        assert_eq!(again.cursor("central", Stream::Predictions), Some(7));
        assert_eq!(again.cursor("other", Stream::Alerts), None);
        fs::write(folder.path().join("collectors.json"), "{").unwrap();
        assert_eq!(Collectors::open(folder.path()).cursor("central", Stream::Alerts), None);
    }
}
