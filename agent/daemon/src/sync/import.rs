//! Batches from a medium into the registry: the other end of [`export`](super::export). What central has afterwards is what
//! it would have if the gateway had sent them.
//!
//! All of the medium is read and checked before anything is written. To repeat an import changes nothing, and media may
//! come in any order.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use explaind_core::domain::record::Stream;
use sha2::{Digest as _, Sha256};

use super::carry::{Tally, runtime};
use super::contents::contents;
use super::{SyncError, claim};
use crate::registry::{Put, Registry, RegistryError, StoreMark, numbers_in};

/// Where a medium says whose its batches are.
const MARK: &str = "store.json";
/// Where batches lie whose names were taken.
const CONFLICTS: &str = "conflicts";
/// The largest file that is read; real ones have some megabytes.
const LARGEST: u64 = 256 << 20;
/// The most files that a medium may have.
const MOST_FILES: usize = 1_000_000;

/// Why nothing, or not all, was imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// There is nothing to import.
    #[error("{}: {reason}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What is not there.
        reason: String,
    },
    /// Something on the medium is not what was exported.
    #[error("{}: {reason}; nothing of it was imported", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The medium cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The registry does not take it.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl From<RegistryError> for ImportError {
    fn from(error: RegistryError) -> Self {
        Self::Sync(error.into())
    }
}

/// What a medium has of one gateway.
struct Carried {
    mark: StoreMark,
    files: Vec<Carry>,
}

/// A file on the medium.
struct Carry {
    /// Its name in a registry.
    path: String,
    stream: Stream,
    numbers: (u64, u64),
    /// Whether its name was taken on the medium.
    aside: bool,
    records: u64,
    sha256: [u8; 32],
}

/// Brings all that is on a medium into a registry.
///
/// # Errors
/// What is wrong with the medium, before anything is written; or that the registry fails, or holds what another store
/// wrote. To repeat it is safe.
pub(crate) fn import(medium: &Path, registry: &Registry) -> Result<Tally, ImportError> {
    let gateways = survey(medium)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut marks = Vec::new();
        for carried in &gateways {
            marks.push(whose(registry, &carried.mark).await?);
        }
        let mut tally = Tally { gateways: gateways.len() as u64, ..Tally::default() };
        for (carried, mark) in gateways.iter().zip(marks) {
            if let Some(mark) = mark {
                registry.set_store(&mark).await?;
            }
            bring(medium, registry, carried, &mut tally).await?;
        }
        Ok(tally)
    })
}

/// Puts one gateway's batches into the registry.
async fn bring(medium: &Path, registry: &Registry, carried: &Carried, tally: &mut Tally) -> Result<(), ImportError> {
    let gateway = &carried.mark.gateway;
    let mut there = registry.batches(gateway).await?;
    for file in &carried.files {
        let path = medium.join(&file.path);
        let content = read(&path)?;
        let sha256: [u8; 32] = Sha256::digest(&content).into();
        if sha256 != file.sha256 {
            let reason = "it changed while it was imported; try again".to_owned();
            return Err(ImportError::Content { path, reason });
        }
        let (first, last) = file.numbers;
        let taken = there.get(&file.stream).is_some_and(|all| all.iter().any(|(f, l)| *f <= last && first <= *l));
        tally.records += file.records;
        tally.bytes += content.len() as u64;
        let size = content.len() as u64;
        if file.aside {
            match registry.put(&file.path, content).await? {
                Put::Stored => tally.set_aside += 1,
                Put::AlreadyThere => tally.already_there += 1,
            }
        } else if taken && registry.holds(&file.path, size, sha256).await? {
            tally.already_there += 1;
        } else if taken {
            // Other content has these numbers: what is there stays, and a person must look.
            let aside = claim::conflict_path(gateway, &file.path, &content);
            match registry.put(&aside, content).await? {
                Put::Stored => tally.set_aside += 1,
                Put::AlreadyThere => tally.already_there += 1,
            }
        } else {
            match registry.put(&file.path, content).await? {
                Put::Stored => tally.stored += 1,
                Put::AlreadyThere => tally.already_there += 1,
            }
            there.entry(file.stream).or_default().push(file.numbers);
        }
    }
    Ok(())
}

/// Whose the gateway's folder in the registry is to be; `None` when that is said there already.
async fn whose(registry: &Registry, medium: &StoreMark) -> Result<Option<StoreMark>, ImportError> {
    let (gateway, place) = (&medium.gateway, registry.place(&medium.gateway));
    let adopt = registry.adopt(gateway, medium.store_id);
    let ours = |predecessors| {
        let (gateway, store_id) = (gateway.clone(), medium.store_id);
        Some(StoreMark { gateway, store_id, predecessors, records_of: Vec::new() })
    };
    match registry.store(gateway).await? {
        Some(mark) if mark.store_id == medium.store_id => Ok(None),
        // A medium that comes late: what it brings was written before the store was lost.
        Some(mark) if mark.predecessors.contains(&medium.store_id) => Ok(None),
        Some(mark) if medium.predecessors.contains(&mark.store_id) => {
            Ok(ours([mark.predecessors, vec![mark.store_id]].concat()))
        }
        Some(mark) => Err(SyncError::Foreign(format!(
            "{place} belongs to another store ({}) than this medium ({}): if two gateways are called \"{gateway}\", give \
             one of them another [gateway] id; if the machine or its card was replaced, {adopt}, or, to begin anew, {}",
            mark.store_id,
            medium.store_id,
            registry.set_apart()
        ))
        .into()),
        None if registry.knows(gateway).await? && !registry.batches(gateway).await?.is_empty() => {
            let sentence = format!("{place} names no store any more: is it the right registry? If it is, {adopt}");
            Err(SyncError::Foreign(sentence).into())
        }
        None => Ok(ours(medium.predecessors.clone())),
    }
}

/// Reads and checks all that is on a medium.
fn survey(medium: &Path) -> Result<Vec<Carried>, ImportError> {
    if !medium.is_dir() {
        let reason = "there is no such folder; name the one that `explaind buffer export` wrote to".to_owned();
        return Err(ImportError::Missing { path: medium.to_owned(), reason });
    }
    let mut gateways = Vec::new();
    let mut count = 0;
    for (name, folder) in folders(medium)? {
        let ours =
            folder.join(MARK).is_file() || Stream::ALL.iter().any(|stream| folder.join(stream.as_str()).is_dir());
        // Whatever else a person keeps on it is none of ours.
        if ours {
            gateways.push(gateway(&name, &folder, &mut count)?);
        }
    }
    if gateways.is_empty() {
        let reason = "it holds no gateway's batches; name the folder that `explaind buffer export` wrote to".to_owned();
        return Err(ImportError::Missing { path: medium.to_owned(), reason });
    }
    Ok(gateways)
}

fn gateway(name: &str, folder: &Path, count: &mut usize) -> Result<Carried, ImportError> {
    let path = folder.join(MARK);
    let wrong = |reason: String| ImportError::Content { path: path.clone(), reason };
    if !path.is_file() {
        return Err(wrong("it is missing, so nothing says whose these batches are".to_owned()));
    }
    let mark: StoreMark = serde_json::from_slice(&read(&path)?).map_err(|error| wrong(error.to_string()))?;
    if mark.gateway != name {
        return Err(wrong(format!("it is of gateway \"{}\", and its folder is called \"{name}\"", mark.gateway)));
    }
    let mut carried = Carried { mark, files: Vec::new() };
    for (kind, folder) in folders(folder)? {
        if kind == CONFLICTS {
            for (stream, folder) in folders(&folder)? {
                take(&mut carried, &stream, &folder, true, count)?;
            }
        } else {
            take(&mut carried, &kind, &folder, false, count)?;
        }
    }
    Ok(carried)
}

/// Takes in the batches of one stream.
fn take(carried: &mut Carried, stream: &str, folder: &Path, aside: bool, count: &mut usize) -> Result<(), ImportError> {
    let wrong = |path: &Path, reason: &str| ImportError::Content { path: path.to_owned(), reason: reason.to_owned() };
    let Some(known) = Stream::named(stream) else {
        return Err(wrong(folder, "no stream of this version has that name; install a later one here"));
    };
    let mut files = Vec::new();
    for (day, folder) in folders(folder)? {
        if !is_day(&day) {
            return Err(wrong(&folder, "it is called like no day of batches"));
        }
        for (name, kind) in names(&folder)? {
            let path = folder.join(&name);
            *count += 1;
            if !kind.is_file() || *count > MOST_FILES {
                return Err(wrong(&path, "it is no plain file, or one too many"));
            }
            let numbers = if aside { name.rsplit_once('-').map(|(name, _)| format!("{name}.parquet")) } else { None };
            let numbers = numbers_in(numbers.as_ref().unwrap_or(&name)).filter(|(first, last)| first <= last);
            let Some(numbers) = numbers else { return Err(wrong(&path, "it is called like no batch")) };
            let content = read(&path)?;
            let below = if aside { format!("{CONFLICTS}/{stream}") } else { stream.to_owned() };
            let inner = format!("{}/{below}/{day}/{name}", carried.mark.gateway);
            let sha256 = Sha256::digest(&content).into();
            let found = contents(known, numbers, content).map_err(|reason| wrong(&path, &reason))?;
            let mark = &carried.mark;
            let stores: BTreeSet<_> =
                [mark.store_id].iter().chain(&mark.predecessors).chain(&mark.records_of).copied().collect();
            if let Some(other) = found.stores.difference(&stores).next() {
                return Err(wrong(&path, &format!("it has records of another store ({other})")));
            }
            files.push(Carry { path: inner, stream: known, numbers, aside, records: found.records, sha256 });
        }
    }
    files.sort_by_key(|file| file.numbers);
    carried.files.append(&mut files);
    Ok(())
}

/// `date=2026-11-21`.
fn is_day(name: &str) -> bool {
    name.strip_prefix("date=").is_some_and(|day| {
        day.len() == 10
            && day.bytes().enumerate().all(|(n, b)| if n == 4 || n == 7 { b == b'-' } else { b.is_ascii_digit() })
    })
}

/// The folders in a folder; what begins with a dot is hidden, a draft, or the file system's own.
fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, ImportError> {
    let all = names(folder)?.into_iter().filter(|(_, kind)| kind.is_dir());
    Ok(all.map(|(name, _)| (name.clone(), folder.join(name))).collect())
}

fn names(folder: &Path) -> Result<Vec<(String, fs::FileType)>, ImportError> {
    let io = |source| ImportError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') {
            names.push((name, entry.file_type().map_err(io)?));
        }
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > LARGEST {
        let reason = format!("it has more than {LARGEST} bytes, which no batch has");
        return Err(ImportError::Content { path: path.to_owned(), reason });
    }
    Ok(bytes)
}
