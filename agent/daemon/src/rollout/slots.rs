//! One model's folder in the state folder: `state.json`, a slot per bundle, named by its digest, and drafts of slots.
//!
//! A slot appears whole, by a rename, once its bundle is verified; the state names it only then; and it goes only when no state
//! names it any more. So a cut at any moment leaves one state, and every slot that it names.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::state::{Seat, State};

/// The state's file.
const STATE: &str = "state.json";
/// A larger state is none of ours.
const MOST_BYTES: u64 = 4 << 20;
/// How the name of a draft ends.
const DRAFT: &str = ".draft";
/// And that of a slot on its way out.
const GOING: &str = ".going";

/// The folder of one model.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    folder: PathBuf,
}

impl Home {
    /// Makes the folder where it is not there.
    pub(crate) fn open(models: &Path, name: &str) -> io::Result<Self> {
        let folder = models.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// What was last written; the first state where there is none.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read or makes no sense: it is left as it is.
    pub(crate) fn read(&self) -> Result<State, String> {
        let path = self.folder.join(STATE);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => {
                file.take(MOST_BYTES).read_to_end(&mut text).map_err(|error| format!("{}: {error}", path.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        serde_json::from_slice(&text).map_err(|error| format!("{} makes no sense ({error})", path.display()))
    }

    /// Puts a state in the place of the one before, on the disk.
    pub(crate) fn write(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(state)?;
        if text.len() as u64 > MOST_BYTES {
            // It could not be read again.
            return Err(io::Error::other(format!("it would take {} bytes", text.len())));
        }
        replace(&self.folder, STATE, &text)
    }

    /// Moves a state that makes no sense aside, so that a new one can begin.
    pub(crate) fn set_aside(&self) -> io::Result<()> {
        fs::rename(self.folder.join(STATE), self.folder.join("state.json.damaged"))?;
        sync(&self.folder)
    }

    /// Where a bundle lies.
    pub(crate) fn slot(&self, digest: &str) -> PathBuf {
        self.folder.join(digest)
    }

    /// Where a bundle that comes for a place is put together. What an earlier try left of it is there still.
    pub(crate) fn draft(&self, of: &str, seat: Seat) -> io::Result<PathBuf> {
        let ending = format!(".{}{DRAFT}", seat.as_str());
        let path = self.folder.join(format!("{of}{ending}"));
        // A draft of something else for this place will not be gone on with.
        for other in self.names()?.filter(|name| name.ends_with(&ending)).map(|name| self.folder.join(name)) {
            if other != path {
                fs::remove_dir_all(&other)?;
            }
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Makes a draft the slot of this digest, in place of what is there under its name.
    pub(crate) fn publish(&self, draft: &Path, digest: &str) -> io::Result<()> {
        let slot = self.slot(digest);
        for entry in fs::read_dir(draft)? {
            File::open(entry?.path())?.sync_all()?;
        }
        sync(draft)?;
        if slot.is_dir() {
            // It may be damaged, and the draft was just found to be whole.
            self.remove(digest)?;
        }
        fs::rename(draft, &slot)?;
        sync(&self.folder)
    }

    /// Removes a slot. Half a folder must not be taken for a slot again.
    pub(crate) fn remove(&self, digest: &str) -> io::Result<()> {
        let going = self.folder.join(format!("{digest}{GOING}"));
        if going.exists() {
            fs::remove_dir_all(&going)?;
        }
        fs::rename(self.slot(digest), &going)?;
        fs::remove_dir_all(&going)
    }

    /// Removes a draft.
    pub(crate) fn discard(&self, draft: &Path) {
        if let Err(error) = fs::remove_dir_all(draft) {
            tracing::warn!(path = %draft.display(), %error, "a draft of a bundle could not be removed");
        }
    }

    /// Removes the slots that the state does not name.
    pub(crate) fn sweep(&self, state: &State) -> io::Result<()> {
        let kept = state.slots();
        let is_slot = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        for name in self.names()?.filter(|name| name.ends_with(GOING)) {
            fs::remove_dir_all(self.folder.join(name))?;
        }
        for name in self.names()?.filter(is_slot).filter(|name| !kept.contains(name.as_str())) {
            self.remove(&name)?;
        }
        Ok(())
    }

    fn names(&self) -> io::Result<impl Iterator<Item = String> + use<>> {
        let entries = fs::read_dir(&self.folder)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()))
    }
}

/// Puts a file in the place of the one before: whichever of the two is there after a cut is whole.
pub(super) fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!("{name}.part"));
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    sync(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::state::Installed;
    use super::*;

    fn bundle(digest: &str) -> Installed {
        Installed {
            digest: digest.to_owned(),
            name: "press".to_owned(),
            version: "1".to_owned(),
            registry_version: 1,
            model_digest: String::new(),
            background_digest: String::new(),
            signed: false,
            since: 0,
            after: 0,
            trial: None,
        }
    }

    #[test]
    fn slots_appear_whole_and_stay_while_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), "press").unwrap();
        let mut state = home.read().unwrap();
        for number in 0..4 {
            let digest = format!("{number:064x}");
            let draft = home.draft(&digest, Seat::Champion).unwrap();
            fs::write(draft.join("model.onnx"), &digest).unwrap();
            assert_eq!(home.draft(&digest, Seat::Champion).unwrap().join("model.onnx"), draft.join("model.onnx"));
            assert!(draft.join("model.onnx").exists(), "a draft is gone on with");
            home.publish(&draft, &digest).unwrap();
            assert!(!draft.exists());
            state.accept(Seat::Champion, bundle(&digest), None, "test");
            home.write(&state).unwrap();
            home.sweep(&state).unwrap();
        }
        assert_eq!(home.read().unwrap(), state);
        let there = |number: u32| home.slot(&format!("{number:064x}")).join("model.onnx").exists();
        assert_eq!([0, 1, 2, 3].map(there), [false, false, true, true]);
        // A draft of another bundle makes room for the next.
        let old = home.draft("a", Seat::Champion).unwrap();
        let other = home.draft("a", Seat::Challenger).unwrap();
        let new = home.draft("b", Seat::Champion).unwrap();
        assert!(!old.exists() && new.exists() && other.exists());
        home.discard(&new);
        home.sweep(&state).unwrap();
        assert!(!new.exists() && there(3));
    }

    #[test]
    fn a_state_that_makes_no_sense_is_said_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), "press").unwrap();
        fs::write(folder.path().join("press/state.json"), "{\"active\": 1").unwrap();
        let error = home.read().unwrap_err();
        assert!(error.contains("state.json makes no sense"), "{error}");
        home.set_aside().unwrap();
        assert_eq!(home.read().unwrap(), State::default());
        assert!(folder.path().join("press/state.json.damaged").exists());
    }
}
