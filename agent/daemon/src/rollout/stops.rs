//! What is stopped, by whom and why: `stops.json` in the state folder. A stop holds until a person here releases it;
//! the registry can only stop.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use explaind_core::pipeline;
use serde::{Deserialize, Serialize};

use super::slots::replace;

/// The file's name.
const FILE: &str = "stops.json";
/// A larger file is none of ours.
const MOST_BYTES: u64 = 1 << 20;

/// One stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// Who; `registry` for a tag there.
    pub(crate) by: String,
    /// Why, in their words.
    pub(crate) reason: Option<String>,
    /// When, in microseconds UTC.
    pub(crate) at: i64,
    /// Whether the registry says so, as far as it was last seen. Then it is released there first.
    pub(crate) in_registry: bool,
}

impl Stop {
    fn sentence(&self) -> String {
        match &self.reason {
            Some(reason) => format!("by {}: {reason}", self.by),
            None => format!("by {}", self.by),
        }
    }
}

/// All stops, as they lie on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Held {
    gateway: Option<Stop>,
    models: BTreeMap<Arc<str>, Stop>,
}

/// Why a stop cannot be lifted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreleased {
    InRegistry,
    Disk(String),
}

/// The stops, and the file that they are kept in.
#[derive(Debug)]
pub(crate) struct Stops {
    folder: PathBuf,
    held: Held,
    /// Whether something holds that could not be written.
    unwritten: bool,
}

impl Stops {
    /// What was last written. A file that cannot be read stops the whole gateway: nobody knows what it said.
    pub(crate) fn open(folder: &Path, now: i64) -> Self {
        let held = match read(&folder.join(FILE)) {
            Ok(held) => held,
            Err(reason) => {
                tracing::error!(reason, "what is stopped cannot be read; the gateway is stopped until it is released");
                let stop = Stop { by: "explaind".to_owned(), reason: Some(reason), at: now, in_registry: false };
                Held { gateway: Some(stop), models: BTreeMap::new() }
            }
        };
        Self { folder: folder.to_owned(), held, unwritten: false }
    }

    /// The stop of a model, or of the whole gateway.
    pub(crate) fn of(&self, model: Option<&str>) -> Option<&Stop> {
        match model {
            None => self.held.gateway.as_ref(),
            Some(name) => self.held.models.get(name),
        }
    }

    /// As the pipeline goes by them.
    pub(crate) fn for_pipeline(&self) -> pipeline::Stops {
        pipeline::Stops {
            gateway: self.held.gateway.as_ref().map(Stop::sentence),
            models: self.held.models.iter().map(|(name, stop)| (Arc::clone(name), stop.sentence())).collect(),
        }
    }

    /// Stops; what is stopped stays so for the reason that it was. Returns whether it was not.
    ///
    /// # Errors
    /// When it cannot be written: then it holds only until the next start.
    pub(super) fn stop(&mut self, model: Option<&Arc<str>>, stop: Stop) -> io::Result<bool> {
        let known = match model {
            None => self.held.gateway.as_mut(),
            Some(name) => self.held.models.get_mut(name),
        };
        if let Some(known) = known {
            let news = stop.in_registry && !known.in_registry;
            known.in_registry |= stop.in_registry;
            if news || self.unwritten {
                self.write()?;
            }
            return Ok(false);
        }
        match model {
            None => self.held.gateway = Some(stop),
            Some(name) => drop(self.held.models.insert(Arc::clone(name), stop)),
        }
        self.write().map(|()| true)
    }

    /// Notes that the registry no longer says so. That lifts nothing.
    pub(super) fn registry_is_silent(&mut self, model: Option<&str>) -> io::Result<()> {
        let known = match model {
            None => self.held.gateway.as_mut(),
            Some(name) => self.held.models.get_mut(name),
        };
        match known.filter(|stop| stop.in_registry) {
            Some(stop) => {
                stop.in_registry = false;
                self.write()
            }
            None => Ok(()),
        }
    }

    /// Lifts a stop. Returns whether there was one.
    pub(super) fn release(&mut self, model: Option<&str>) -> Result<bool, Unreleased> {
        let Some(stop) = self.of(model) else { return Ok(false) };
        if stop.in_registry {
            return Err(Unreleased::InRegistry);
        }
        let before = self.held.clone();
        match model {
            None => self.held.gateway = None,
            Some(name) => drop(self.held.models.remove(name)),
        }
        self.write().map(|()| true).map_err(|error| {
            // What would come back with the next start is not lifted.
            self.held = before;
            Unreleased::Disk(error.to_string())
        })
    }

    fn write(&mut self) -> io::Result<()> {
        self.unwritten = true;
        replace(&self.folder, FILE, &serde_json::to_vec_pretty(&self.held)?)?;
        self.unwritten = false;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Held, String> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(MOST_BYTES).read_to_end(&mut text).map_err(|error| format!("{}: {error}", path.display()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::default()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    serde_json::from_slice(&text).map_err(|error| format!("{} makes no sense ({error})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(by: &str, in_registry: bool) -> Stop {
        Stop { by: by.to_owned(), reason: Some("sensor replaced".to_owned()), at: 1, in_registry }
    }

    #[test]
    fn a_stop_holds_after_a_start_until_somebody_here_lifts_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Stops::open(folder.path(), 1);
        let press: Arc<str> = "press".into();
        assert_eq!(open().stop(Some(&press), stop("ann", false)).ok(), Some(true));
        assert_eq!(open().stop(Some(&press), stop("bob", false)).ok(), Some(false));
        assert_eq!(open().for_pipeline().models[&press], "by ann: sensor replaced");
        assert_eq!(open().release(Some("press")), Ok(true));
        assert_eq!((open().of(Some("press")), open().release(Some("press"))), (None, Ok(false)));
    }

    #[test]
    fn the_registry_can_only_stop() {
        let folder = tempfile::tempdir().unwrap();
        let mut stops = Stops::open(folder.path(), 1);
        stops.stop(None, stop("registry", true)).unwrap();
        assert_eq!(stops.release(None), Err(Unreleased::InRegistry));
        stops.registry_is_silent(None).unwrap();
        let mut stops = Stops::open(folder.path(), 1);
        assert!(stops.of(None).is_some(), "its silence lifts nothing");
        assert_eq!(stops.release(None), Ok(true));
        // What a person stopped and the registry too is released there first.
        stops.stop(None, stop("ann", false)).unwrap();
        stops.stop(None, stop("registry", true)).unwrap();
        assert_eq!(stops.of(None).map(|stop| stop.by.as_str()), Some("ann"));
        assert_eq!(stops.release(None), Err(Unreleased::InRegistry));
    }

    #[test]
    fn what_cannot_be_read_stops_everything() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let mut stops = Stops::open(folder.path(), 1);
        assert!(stops.for_pipeline().gateway.unwrap().contains("stops.json makes no sense"));
        assert_eq!(stops.release(None), Ok(true));
        assert_eq!(Stops::open(folder.path(), 1).of(None), None);
    }
}
