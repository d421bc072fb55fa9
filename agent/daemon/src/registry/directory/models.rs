//! Models in a folder: `models/<name>/<number>/bundle/` with `version.json` beside it, and `models/<name>/aliases/<alias>`,
//! a file with a number. A person can move an alias with an editor.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Directory, RegistryError, STOP, failed, make_folders, make_root, names, read_some, sync_parent};
use crate::registry::models::{Entry, Offer, Pushed, Version, Wanted};
use crate::registry::stops;

/// How much is copied at a time.
const PIECE: u64 = 4 << 20;

/// `version.json`
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    digest: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl Directory {
    pub(in crate::registry) async fn push(&self, offer: &Offer, alias: Option<&str>) -> Result<Pushed, RegistryError> {
        let folder = self.inside(&format!("models/{}", offer.name))?;
        let alias = alias.map(|alias| folder.join("aliases").join(alias));
        let offer = offer.clone();
        self.blocking(move |root| {
            make_root(root)?;
            let pushed = match find(&folder, &offer.digest)? {
                Some(version) => {
                    put_signature(&folder.join(version.to_string()).join("bundle"), &offer)?;
                    Pushed { version, already_there: true }
                }
                None => Pushed { version: publish(root, &folder, &offer)?, already_there: false },
            };
            if let Some(path) = alias {
                make_folders(root, &path)?;
                replace(&path, format!("{}\n", pushed.version).as_bytes())?;
            }
            Ok(pushed)
        })
        .await
    }

    pub(in crate::registry) async fn version(&self, name: &str, wanted: &Wanted) -> Result<Version, RegistryError> {
        let place = format!("models/{name}");
        let folder = self.inside(&place)?;
        let (name, wanted, shown) = (name.to_owned(), wanted.clone(), self.describe());
        self.blocking(move |_| {
            let missing = |what: String| Err(RegistryError::Missing { what, place: shown.clone() });
            if !folder.is_dir() {
                return missing(format!("model \"{name}\""));
            }
            let number = match wanted {
                Wanted::Version(number) => number,
                Wanted::Alias(alias) => {
                    let path = folder.join("aliases").join(&alias);
                    let text = match read_some(&path) {
                        Ok(text) => text,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            return Err(RegistryError::NoAlias { alias, model: name, place: shown });
                        }
                        Err(error) => return Err(failed("read", &path)(error)),
                    };
                    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
                    number.ok_or_else(|| RegistryError::Content {
                        path: format!("{place}/aliases/{alias}"),
                        reason: "it is no number of a version".to_owned(),
                    })?
                }
            };
            let version = folder.join(number.to_string());
            if !version.is_dir() {
                return missing(format!("version {number} of model \"{name}\""));
            }
            let digest = note(&version)?.map(|note| note.digest);
            Ok(Version { name, number, digest, place: format!("{place}/{number}/bundle") })
        })
        .await
    }

    pub(in crate::registry) async fn entries(&self, version: &Version) -> Result<Vec<Entry>, RegistryError> {
        let folder = self.inside(&version.place)?;
        self.blocking(move |_| {
            let entry = |name: String| {
                let path = folder.join(&name);
                // A link would lead out of the folder, and is no file of a bundle.
                let meta = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
                Ok(Entry { name, is_folder: !meta.is_file(), size: Some(meta.len()) })
            };
            names(&folder)?.into_iter().map(entry).collect()
        })
        .await
    }

    /// Copies a file from some place in it on, and says how much it has: piece by piece, so that others have their turn and
    /// only a share that does not answer is given up.
    pub(in crate::registry) async fn fetch(
        &self,
        version: &Version,
        name: &str,
        there: u64,
        most: u64,
        into: &Path,
    ) -> Result<u64, RegistryError> {
        let path = self.inside(&format!("{}/{name}", version.place))?;
        let mut at = there;
        loop {
            let (path, target) = (path.clone(), into.to_owned());
            let got = self.blocking(move |_| copy(&path, at, &target)).await?;
            at = at.saturating_add(got);
            if at > most {
                return Err(version.wrong(format!("{name} is larger than it was, and has more than {most} bytes")));
            }
            if got < PIECE {
                let into = into.to_owned();
                self.blocking(move |_| open(&into)?.sync_all().map_err(failed("sync", &into))).await?;
                return Ok(at);
            }
        }
    }

    pub(in crate::registry) async fn stop(
        &self,
        gateway: &str,
        model: Option<&str>,
    ) -> Result<Option<String>, RegistryError> {
        let path = match model {
            None => self.inside(&format!("{gateway}/{STOP}"))?,
            Some(model) => self.inside(&format!("models/{model}/{STOP}"))?,
        };
        self.blocking(move |root| {
            // Without its folder nobody knows.
            make_root(root)?;
            match read_some(&path) {
                Ok(text) => {
                    // Whoever made the file meant it, even if nothing is in it.
                    let text = String::from_utf8_lossy(&text);
                    Ok(stops::reason(if text.trim().is_empty() { "true" } else { &text }))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("read", &path)(error)),
            }
        })
        .await
    }
}

/// Copies the piece of a file that begins somewhere to the same place of another, which ends there then.
fn copy(path: &Path, at: u64, into: &Path) -> Result<u64, RegistryError> {
    let mut from = File::open(path).map_err(failed("open", path))?;
    from.seek(SeekFrom::Start(at)).map_err(failed("read", path))?;
    let mut to = open(into)?;
    let written = to.set_len(at).and_then(|()| to.seek(SeekFrom::Start(at)));
    written.map_err(failed("write", into))?;
    io::copy(&mut from.take(PIECE), &mut to).map_err(failed("copy", path))
}

fn open(path: &Path) -> Result<File, RegistryError> {
    File::options().write(true).create(true).truncate(false).open(path).map_err(failed("write", path))
}

/// The number of the version that has this digest.
fn find(folder: &Path, digest: &str) -> Result<Option<u64>, RegistryError> {
    let mut numbers = numbers(folder)?;
    numbers.sort_unstable();
    for number in numbers {
        if note(&folder.join(number.to_string()))?.is_some_and(|note| note.digest == digest) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn numbers(folder: &Path) -> Result<Vec<u64>, RegistryError> {
    Ok(names(folder)?.iter().filter_map(|name| name.parse().ok()).collect())
}

fn note(version: &Path) -> Result<Option<Note>, RegistryError> {
    let path = version.join("version.json");
    match read_some(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| RegistryError::Content { path: path.display().to_string(), reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Writes a version beside its place and gives it the next number: it is there whole or not at all.
fn publish(root: &Path, folder: &Path, offer: &Offer) -> Result<u64, RegistryError> {
    let draft = folder.join(format!(".{}.part", offer.digest));
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(failed("clear", &draft))?;
    }
    let files = draft.join("bundle");
    make_folders(root, &files.join("file"))?;
    for (name, bytes) in &offer.files {
        write(&files.join(name), bytes)?;
    }
    let note = Note { digest: offer.digest.clone(), description: offer.description.clone(), tags: offer.tags.clone() };
    let text = serde_json::to_vec_pretty(&note)
        .map_err(|error| RegistryError::Content { path: offer.name.clone(), reason: error.to_string() })?;
    write(&draft.join("version.json"), &text)?;
    for path in [files.join("file"), draft.join("file")] {
        sync_parent(&path)?;
    }
    loop {
        let number = numbers(folder)?.into_iter().max().unwrap_or(0).saturating_add(1);
        let path = folder.join(number.to_string());
        match fs::rename(&draft, &path) {
            Ok(()) => {
                sync_parent(&path)?;
                return Ok(number);
            }
            // Somebody was quicker: a folder that is not empty is never replaced.
            Err(_) if path.exists() => {}
            Err(error) => return Err(failed("name", &path)(error)),
        }
    }
}

fn put_signature(bundle: &Path, offer: &Offer) -> Result<(), RegistryError> {
    let Some(bytes) = offer.files.get(offer.signature) else { return Ok(()) };
    let path = bundle.join(offer.signature);
    if read_some(&path).is_ok_and(|found| found == *bytes) { Ok(()) } else { replace(&path, bytes) }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("write", path))
}

fn replace(path: &PathBuf, bytes: &[u8]) -> Result<(), RegistryError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Not in a bundle's folder, where a reader would find it.
    let draft = path.parent().and_then(Path::parent).unwrap_or(path).join(format!(".{name}.part"));
    write(&draft, bytes)?;
    fs::rename(&draft, path).map_err(failed("name", path))?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::registry::models::Limits;
    use crate::registry::{Config as RegistryConfig, Registry};

    fn offer(content: &str, signature: Option<&str>) -> Offer {
        let mut files = BTreeMap::from([("model.onnx".to_owned(), content.as_bytes().to_vec())]);
        if let Some(signature) = signature {
            files.insert("sums.minisig".to_owned(), signature.into());
        }
        Offer {
            name: "press".to_owned(),
            files,
            digest: format!("digest of {content}"),
            signature: "sums.minisig",
            tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            description: "For presses.".to_owned(),
        }
    }

    const LIMITS: Limits = Limits { file: |_| 1_000, total: 2_000, files: 10, sums: "sums" };

    #[tokio::test]
    async fn versions_are_counted_aliases_move_and_the_same_bundle_is_one_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry");
        let registry = Registry::new(&RegistryConfig::Directory(Config { path: path.clone() }));
        let push = async |offer: &Offer, alias| registry.push(offer, alias).await.unwrap();
        let (one, two) = (offer("one", None), offer("two", Some("signed")));
        assert_eq!(push(&one, Some("champion")).await, Pushed { version: 1, already_there: false });
        assert_eq!(push(&two, None).await, Pushed { version: 2, already_there: false });
        assert_eq!(push(&one, None).await, Pushed { version: 1, already_there: true });
        let champion = Wanted::Alias("champion".to_owned());
        assert_eq!(registry.version("press", &champion).await.unwrap().number, 1);
        assert_eq!(push(&two, Some("champion")).await, Pushed { version: 2, already_there: true });
        let found = registry.version("press", &champion).await.unwrap();
        assert_eq!((found.number, found.digest.as_deref()), (2, Some("digest of two")));
        // What was signed after it was pushed is signed there too.
        push(&offer("one", Some("signature")), None).await;
        let found = registry.version("press", &Wanted::Version(1)).await.unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        registry.pull(&found, LIMITS, &out).await.unwrap();
        assert_eq!(fs::read(out.join("sums.minisig")).unwrap(), b"signature");
        assert_eq!(fs::read(out.join("model.onnx")).unwrap(), b"one");
        let mut left = names(&path.join("models/press")).unwrap();
        left.sort();
        assert_eq!(left, ["1", "2", "aliases"], "no draft is left behind");
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_and_what_leads_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry");
        let registry = Registry::new(&RegistryConfig::Directory(Config { path: path.clone() }));
        registry.push(&offer("one", None), Some("champion")).await.unwrap();
        let champion = Wanted::Alias("champion".to_owned());
        for (name, wanted) in [("other", champion.clone()), ("press", Wanted::Version(7))] {
            let error = registry.version(name, &wanted).await.unwrap_err();
            assert!(matches!(error, RegistryError::Missing { .. }), "{error}");
        }
        let error = registry.version("press", &Wanted::Alias("challenger".to_owned())).await.unwrap_err();
        assert!(matches!(error, RegistryError::NoAlias { .. }), "{error}");
        for name in ["../press", "a/b", "", ".hidden"] {
            let error = registry.version(name, &champion).await.unwrap_err();
            assert!(matches!(error, RegistryError::Name { .. }), "{error}");
            let error = registry.push(&Offer { name: name.to_owned(), ..offer("one", None) }, None).await.unwrap_err();
            assert!(matches!(error, RegistryError::Name { .. }), "{error}");
        }
        let found = registry.version("press", &champion).await.unwrap();
        let bundle = path.join("models/press/1/bundle");
        std::os::unix::fs::symlink("/etc/passwd", bundle.join("link")).unwrap();
        let error = registry.pull(&found, LIMITS, folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("it holds a folder, link"), "{error}");
        fs::remove_file(bundle.join("link")).unwrap();
        File::create(bundle.join("model.onnx")).unwrap().set_len(10 << 30).unwrap();
        let error = registry.pull(&found, LIMITS, folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("announced with 10737418240 bytes; at most 1000 are accepted"), "{error}");
        fs::write(path.join("models/press/aliases/champion"), "one").unwrap();
        let error = registry.version("press", &champion).await.unwrap_err();
        assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_is_in_the_draft_is_not_copied_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry");
        let registry = Registry::new(&RegistryConfig::Directory(Config { path: path.clone() }));
        let mut offer = offer("one", None);
        let sums = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  model.onnx\n";
        offer.files.insert("sums".to_owned(), sums.into());
        registry.push(&offer, None).await.unwrap();
        let found = registry.version("press", &Wanted::Version(1)).await.unwrap();
        let out = folder.path().join("out");
        let model = out.join("model.onnx");
        fs::create_dir_all(out.join("folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", out.join("sums")).unwrap();
        fs::write(out.join("evil.bin"), "x").unwrap();
        // Whole, cut off, cut off and another, too long, of the same length and another.
        for there in ["one", "on", "tw", "", "one and more", "two"] {
            fs::write(&model, there).unwrap();
            let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&model).unwrap());
            registry.pull(&found, LIMITS, &out).await.unwrap();
            assert_eq!(fs::read(&model).unwrap(), b"one", "{there}");
            assert_eq!(std::os::unix::fs::MetadataExt::ino(&fs::metadata(&model).unwrap()), inode);
            let mut left = names(&out).unwrap();
            left.sort();
            assert_eq!(left, ["model.onnx", "sums"]);
        }
        // What is whole here is not looked at there, and of what is cut off only the rest.
        let stored = path.join("models/press/1/bundle/model.onnx");
        fs::write(&stored, "ONe").unwrap();
        registry.pull(&found, LIMITS, &out).await.unwrap();
        assert_eq!(fs::read(&model).unwrap(), b"one");
        fs::write(&model, "on").unwrap();
        registry.pull(&found, LIMITS, &out).await.unwrap();
        assert_eq!(fs::read(&model).unwrap(), b"one");
        // Judging it is for who asked; what is wrong is fetched anew the next time.
        fs::remove_file(&model).unwrap();
        registry.pull(&found, LIMITS, &out).await.unwrap();
        assert_eq!(fs::read(&model).unwrap(), b"ONe");
        fs::write(&stored, "one").unwrap();
        registry.pull(&found, LIMITS, &out).await.unwrap();
        assert_eq!(fs::read(&model).unwrap(), b"one");
    }

    #[tokio::test]
    async fn a_file_of_many_pieces_comes_whole_and_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry");
        let registry = Registry::new(&RegistryConfig::Directory(Config { path }));
        let Registry::Directory(directory) = &registry else { unreachable!() };
        let piece = usize::try_from(PIECE).unwrap();
        let bytes: Vec<u8> = (0..2 * piece + 3).map(|n| (n % 251) as u8).collect();
        let files = BTreeMap::from([("model.onnx".to_owned(), bytes.clone())]);
        registry.push(&Offer { files, ..offer("x", None) }, None).await.unwrap();
        let found = registry.version("press", &Wanted::Version(1)).await.unwrap();
        let (into, size) = (folder.path().join("model.onnx"), bytes.len() as u64);
        for there in [0, 1, PIECE - 1, PIECE, size - 1, size] {
            let head = bytes.get(..usize::try_from(there).unwrap()).unwrap();
            fs::write(&into, head).unwrap();
            assert_eq!(directory.fetch(&found, "model.onnx", there, size, &into).await.unwrap(), size, "{there}");
            assert!(fs::read(&into).unwrap() == bytes, "{there}");
        }
        let error = directory.fetch(&found, "model.onnx", 0, PIECE, &into).await.unwrap_err().to_string();
        assert!(error.contains("has more than"), "{error}");
        assert!(fs::metadata(&into).unwrap().len() <= 2 * PIECE, "it was not copied to its end");
    }

    #[tokio::test]
    async fn a_file_stops_a_model_or_a_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry");
        let registry = Registry::new(&RegistryConfig::Directory(Config { path: path.clone() }));
        let press = async || registry.stop("line-3", Some("press")).await;
        let line = async || registry.stop("line-3", None).await;
        assert_eq!((press().await.unwrap(), line().await.unwrap()), (None, None));
        registry.push(&offer("one", None), None).await.unwrap();
        assert_eq!((press().await.unwrap(), line().await.unwrap()), (None, None));
        fs::write(path.join("models/press/stop"), "bearings\nreplaced\n").unwrap();
        fs::create_dir(path.join("line-3")).unwrap();
        fs::write(path.join("line-3/stop"), "").unwrap();
        assert!(!registry.knows("line-3").await.unwrap(), "a stop is no record of it");
        assert_eq!(line().await.unwrap().as_deref(), Some("no reason was given"));
        assert_eq!(press().await.unwrap().as_deref(), Some("bearings replaced"));
        for (gateway, model) in [("line-4", None), ("line-3", Some("other"))] {
            assert_eq!(registry.stop(gateway, model).await.unwrap(), None);
        }
        fs::write(path.join("line-3/stop"), "false\n").unwrap();
        fs::write(path.join("models/press/stop"), vec![b'a'; 100 << 20]).unwrap();
        assert_eq!(line().await.unwrap(), None);
        assert_eq!(press().await.unwrap().unwrap().len(), 300);
        // What cannot be read is not taken for no stop, and says nothing of the others.
        fs::remove_file(path.join("models/press/stop")).unwrap();
        fs::create_dir(path.join("models/press/stop")).unwrap();
        assert!(matches!(press().await, Err(RegistryError::Io { .. })));
        assert_eq!(line().await.unwrap(), None);
        fs::remove_dir_all(&path).unwrap();
        let gone = Registry::new(&RegistryConfig::Directory(Config { path: folder.path().join("not/mounted") }));
        assert!(matches!(gone.stop("line-3", None).await, Err(RegistryError::Io { .. })));
        for name in ["../press", "a/b"] {
            let error = registry.stop("line-3", Some(name)).await.unwrap_err();
            assert!(matches!(error, RegistryError::Name { .. }), "{error}");
        }
    }
}
