//! A bundle's folder on disk, read into memory within bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use explaind_core::model::{BundleError, Files, bundle};

/// What all files of a bundle may hold together, whatever each may alone.
pub(crate) const MOST_BYTES: u64 = 512 << 20;
/// The most files that a bundle may hold.
pub(crate) const MOST_FILES: usize = 64;

/// Reads a bundle's folder into memory, within bounds: sizes are asked for before anything is read.
///
/// # Errors
/// One sentence, without the folder's name.
pub(crate) fn files_of(folder: &Path) -> Result<Files, String> {
    read_within(folder, MOST_BYTES)
}

fn read_within(folder: &Path, most: u64) -> Result<Files, String> {
    let beyond = |name: &str, what: String| format!("{name} {what}; take out what is no part of it");
    let (mut names, mut total) = (Vec::new(), 0_u64);
    let entries = std::fs::read_dir(folder).map_err(|error| format!("cannot be read ({error})"))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("cannot be listed ({error})"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let meta = entry.metadata().map_err(|error| format!("{name} cannot be read ({error})"))?;
        if !meta.is_file() {
            return Err(format!("{name} is not a plain file; a bundle holds nothing else"));
        }
        let largest = bundle::size_limit(&name);
        if meta.len() > largest {
            return Err(BundleError::TooLarge { file: name, bytes: meta.len(), most: largest }.to_string());
        }
        if names.len() == MOST_FILES {
            return Err(beyond(&name, format!("is one more than the {MOST_FILES} files that a bundle may hold")));
        }
        total = total.saturating_add(meta.len());
        if total > most {
            return Err(beyond(&name, format!("brings the bundle to {total} bytes; at most {most} are read")));
        }
        names.push((name, entry.path()));
    }
    let mut files = Files::new();
    let mut left = most;
    for (name, path) in names {
        let failed = |error: std::io::Error| format!("{name} cannot be read ({error})");
        let mut bytes = Vec::new();
        // It may have grown meanwhile.
        File::open(path).map_err(failed)?.take(left.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        let Some(rest) = left.checked_sub(bytes.len() as u64) else {
            return Err(beyond(&name, format!("is larger than it was, and beyond the {most} bytes that are read")));
        };
        left = rest;
        files.insert(name, bytes);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: u64| File::create(folder.path().join(name)).unwrap().set_len(bytes).unwrap();
        file("model.onnx", 1_000);
        file("notes.txt", 1_000);
        assert_eq!(files_of(folder.path()).unwrap().len(), 2);
        assert!(read_within(folder.path(), 1_999).unwrap_err().contains("brings the bundle to 2000 bytes"));
        // Files of nothing but holes: reading them would fill the memory.
        file("model.onnx", 1 << 40);
        assert!(files_of(folder.path()).unwrap_err().starts_with("model.onnx has 1099511627776 bytes"));
        file("model.onnx", 1_000);
        for n in 0..MOST_FILES {
            file(&format!("part-{n}"), 16 << 20);
        }
        let error = files_of(folder.path()).unwrap_err();
        assert!(error.contains("brings the bundle to ") || error.contains("is one more than the 64 files"), "{error}");
    }
}
