//! A folder as the registry: for plants with a share, and for trying things out.

mod models;
mod sent;

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::record::Stream;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Batches, Put, RegistryError, StoreMark, numbers_in};

/// `type = "directory"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The folder. It is made when its parent is there.
    pub(crate) path: PathBuf,
}

/// A share that takes longer is taken for dead. What was begun there goes on in its thread, and may still end well.
const PATIENCE: Duration = Duration::from_secs(60);
/// The file that stops a gateway, or a model; see [`super::stops`].
const STOP: &str = "stop";
/// The largest `store.json`.
const LARGEST_MARK: u64 = 1 << 20;

/// The folder. All work is done on one of tokio's blocking threads: a share may take its time. While one piece of work
/// hangs no other is begun, so a dead share costs one thread.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: Arc<Path>,
    free: Arc<Semaphore>,
}

impl Directory {
    pub(super) fn new(config: &Config) -> Self {
        Self { root: config.path.as_path().into(), free: Arc::new(Semaphore::new(1)) }
    }

    pub(super) fn describe(&self) -> String {
        self.root.display().to_string()
    }

    pub(super) async fn probe(&self) -> Result<String, RegistryError> {
        self.blocking(|root| {
            make_root(root)?;
            let probe = root.join(".explaind-probe");
            File::create(&probe).map_err(failed("write to", root))?;
            fs::remove_file(&probe).map_err(failed("write to", root))?;
            Ok(format!("the folder {} takes files", root.display()))
        })
        .await
    }

    pub(super) async fn put(&self, path: &str, content: Vec<u8>) -> Result<Put, RegistryError> {
        let name = path.to_owned();
        let path = self.inside(path)?;
        self.blocking(move |root| {
            let sha256: [u8; 32] = Sha256::digest(&content).into();
            let wanted = Found { size: u64::try_from(content.len()).unwrap_or(u64::MAX), sha256 };
            match look(&path)? {
                Some(found) if found == wanted => {
                    // Whoever put it there may have been cut off before its name was safe.
                    for folder in path.ancestors().take_while(|folder| *folder != root) {
                        sync_parent(folder)?;
                    }
                    return Ok(Put::AlreadyThere);
                }
                Some(_) => return Err(RegistryError::Conflict { path: name }),
                None => {}
            }
            make_root(root)?;
            make_folders(root, &path)?;
            let draft = write_draft(&path, &content)?;
            match publish_new(&draft, &path) {
                Ok(()) => {}
                // Somebody was quicker: what they put there stays, and decides.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if look(&path)? != Some(wanted) {
                        return Err(RegistryError::Conflict { path: name });
                    }
                }
                Err(error) => return Err(failed("name", &path)(error)),
            }
            sync_parent(&path)?;
            Ok(Put::Stored)
        })
        .await
    }

    pub(super) async fn holds(&self, path: &str, size: u64, sha256: [u8; 32]) -> Result<bool, RegistryError> {
        let path = self.inside(path)?;
        self.blocking(move |_| Ok(look(&path)? == Some(Found { size, sha256 }))).await
    }

    pub(super) async fn batches(&self, gateway: &str) -> Result<Batches, RegistryError> {
        let gateway = self.inside(gateway)?;
        self.blocking(move |_| {
            let mut found = Batches::new();
            for stream in Stream::ALL {
                let folder = gateway.join(stream.as_str());
                for day in names(&folder)? {
                    let numbers = names(&folder.join(day))?;
                    found.entry(stream).or_default().extend(numbers.iter().filter_map(|name| numbers_in(name)));
                }
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn knows(&self, gateway: &str) -> Result<bool, RegistryError> {
        let folder = self.inside(gateway)?;
        self.blocking(move |root| {
            make_root(root)?;
            // A stop may be there before the gateway ever was.
            Ok(names(&folder)?.iter().any(|name| name != STOP))
        })
        .await
    }

    pub(super) async fn store(&self, gateway: &str) -> Result<Option<StoreMark>, RegistryError> {
        let name = format!("{gateway}/store.json");
        let path = self.inside(&name)?;
        self.blocking(move |_| match read_some(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| RegistryError::Content { path: name, reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        })
        .await
    }

    pub(super) async fn set_store(&self, mark: &StoreMark) -> Result<(), RegistryError> {
        let name = format!("{}/store.json", mark.gateway);
        let path = self.inside(&name)?;
        let text = serde_json::to_vec_pretty(mark)
            .map_err(|error| RegistryError::Content { path: name, reason: error.to_string() })?;
        self.blocking(move |root| {
            make_root(root)?;
            make_folders(root, &path)?;
            let draft = write_draft(&path, &text)?;
            fs::rename(&draft, &path).map_err(failed("name", &path))?;
            sync_parent(&path)
        })
        .await
    }

    /// The file for a path, which must not lead out of the folder.
    fn inside(&self, path: &str) -> Result<PathBuf, RegistryError> {
        let parts = Path::new(path).components();
        let plain = parts.clone().count() == path.split('/').count() && !path.contains(['\\', '\0']);
        if plain && parts.into_iter().all(|part| matches!(part, Component::Normal(_))) {
            return Ok(self.root.join(path));
        }
        Err(RegistryError::Name { path: path.to_owned() })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let (root, free) = (self.root.clone(), self.free.clone());
        let path = root.to_path_buf();
        let done = timeout(PATIENCE, async move {
            let permit = free.acquire_owned().await.map_err(io::Error::other)?;
            let worked = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                work(&root)
            });
            worked.await.map_err(io::Error::other)
        });
        match done.await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(failed("use", &path)(error)),
            Err(_) => Err(failed("use", &path)(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"))),
        }
    }
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError + use<> {
    let path = path.to_owned();
    move |source| RegistryError::Io { doing, path, source }
}

/// Makes the folder itself, not its parents: a missing parent is rather a share that is not mounted.
fn make_root(root: &Path) -> Result<(), RegistryError> {
    match fs::create_dir(root) {
        Ok(()) => sync_parent(root),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("create", root)(error)),
    }
}

/// Makes the folders between the root and a file, each durable in the one above it.
fn make_folders(root: &Path, path: &Path) -> Result<(), RegistryError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| *folder != root && !folder.is_dir()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("create", folder)(error)),
            Ok(()) | Err(_) => sync_parent(folder)?,
        }
    }
    Ok(())
}

/// Writes a file beside the one it is to become, under a name that no reader of batches takes for one.
fn write_draft(path: &Path, content: &[u8]) -> Result<PathBuf, RegistryError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.part"));
    File::create(&draft)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .map_err(failed("write", &draft))?;
    Ok(draft)
}

/// Gives a draft its name, unless something has it already.
fn publish_new(draft: &Path, path: &Path) -> io::Result<()> {
    // A hard link, unlike a rename, never takes the place of another file.
    let linked = fs::hard_link(draft, path);
    match &linked {
        Ok(()) => return fs::remove_file(draft),
        // FAT and some shares have no hard links. Where their renames cannot spare what is there either, the look just
        // before has to do.
        Err(error) if is_any(error, &[Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK]) => {}
        Err(_) => {
            let _ = fs::remove_file(draft);
            return linked;
        }
    }
    match renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(error) if is_any(&error, &[Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]) => fs::rename(draft, path),
        renamed => renamed.inspect_err(|_| {
            let _ = fs::remove_file(draft);
        }),
    }
}

fn is_any(error: &io::Error, kinds: &[Errno]) -> bool {
    kinds.iter().any(|kind| error.raw_os_error() == Some(kind.raw_os_error()))
}

fn sync_parent(path: &Path) -> Result<(), RegistryError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("sync", parent))
}

/// A small file; one that is larger is cut off, and makes no sense then.
fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST_MARK).read_to_end(&mut text)?;
    Ok(text)
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
}

pub(super) fn look(path: &Path) -> Result<Option<Found>, RegistryError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut piece).map_err(failed("read", path))?;
        let Some(piece) = piece.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok(Some(Found { size, sha256: hasher.finalize().into() }));
        };
        hasher.update(piece);
        size += u64::try_from(read).unwrap_or(0);
    }
}

/// The names in a folder; none when there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, RegistryError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed("list", folder)(error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(failed("list", folder))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn registry(folder: &Path) -> Directory {
        Directory::new(&Config { path: folder.join("registry") })
    }

    #[tokio::test]
    async fn the_same_content_again_is_done_and_other_content_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path());
        let path = "line-3/alerts/date=2026-11-21/1-40.parquet";
        assert_eq!(registry.batches("line-3").await.unwrap(), Batches::new());
        assert!(!registry.knows("line-3").await.unwrap());
        assert_eq!(registry.put(path, b"rows".to_vec()).await.unwrap(), Put::Stored);
        assert_eq!(registry.put(path, b"rows".to_vec()).await.unwrap(), Put::AlreadyThere);
        let conflict = registry.put(path, b"other rows".to_vec()).await.unwrap_err();
        assert!(matches!(conflict, RegistryError::Conflict { .. }), "{conflict}");
        assert_eq!(fs::read(folder.path().join("registry").join(path)).unwrap(), b"rows");
        registry.put("line-3/alerts/date=2026-11-22/41-90.parquet", b"more".to_vec()).await.unwrap();
        let mut batches = registry.batches("line-3").await.unwrap();
        batches.values_mut().for_each(|numbers| numbers.sort_unstable());
        assert_eq!(batches, Batches::from([(Stream::Alerts, vec![(1, 40), (41, 90)])]));
        assert!(registry.knows("line-3").await.unwrap() && !registry.knows("line-4").await.unwrap());
        let rows = Sha256::digest(b"rows").into();
        assert!(registry.holds(path, 4, rows).await.unwrap() && !registry.holds(path, 5, rows).await.unwrap());
        assert!(!registry.holds("line-3/alerts/date=2026-11-21/1-41.parquet", 4, rows).await.unwrap());
        let left = names(&folder.path().join("registry/line-3/alerts/date=2026-11-21")).unwrap();
        assert_eq!(left, ["1-40.parquet"], "no draft is left behind");
    }

    #[tokio::test]
    async fn a_store_claims_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path());
        assert_eq!(registry.store("line-3").await.unwrap(), None);
        let mark = StoreMark {
            gateway: "line-3".to_owned(),
            store_id: Uuid::from_u128(7),
            predecessors: vec![Uuid::from_u128(6)],
            records_of: Vec::new(),
        };
        registry.set_store(&mark).await.unwrap();
        assert_eq!(registry.store("line-3").await.unwrap(), Some(mark));
        fs::write(folder.path().join("registry/line-3/store.json"), "{}").unwrap();
        assert!(matches!(registry.store("line-3").await, Err(RegistryError::Content { .. })));
    }

    #[tokio::test]
    async fn no_name_leads_out_and_a_missing_share_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path());
        for name in ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a/./b", "a\\b"] {
            assert!(matches!(registry.put(name, Vec::new()).await, Err(RegistryError::Name { .. })), "{name}");
        }
        let unmounted = Directory::new(&Config { path: folder.path().join("share/registry") });
        assert!(matches!(unmounted.put("a", Vec::new()).await, Err(RegistryError::Io { .. })));
        assert!(unmounted.probe().await.is_err());
        assert!(registry.probe().await.is_ok());
    }
}
