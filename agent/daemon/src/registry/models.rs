//! Models in the registry: pushed as versions of a name, pointed at by aliases, and pulled whole or not at all.
//!
//! What comes from there is nobody's word yet. Names that lead elsewhere and sizes beyond the bounds are refused before a
//! byte is fetched; whether the content is a bundle, and whose, is for who asked to find out.

use std::collections::BTreeMap;

use super::{Registry, RegistryError};

/// The longest name of a model or a file, in bytes.
const LONGEST_NAME: usize = 200;

/// A bundle on its way into the registry.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// The model that it is a version of.
    pub(crate) name: String,
    /// Its files, by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What it is known by: the same bundle has the same, whether signed or not.
    pub(crate) digest: String,
    /// The one file that may be added or replaced later, since the digest says nothing of it.
    pub(crate) signature: &'static str,
    /// What people look for.
    pub(crate) tags: BTreeMap<String, String>,
    /// What people read.
    pub(crate) description: String,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// The registry's number for it.
    pub(crate) version: u64,
    /// Whether the registry had it already.
    pub(crate) already_there: bool,
}

/// Which version is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// That which an alias points at.
    Alias(String),
    /// That of a number.
    Version(u64),
}

/// A version that the registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// The model.
    pub(crate) name: String,
    /// The registry's number.
    pub(crate) number: u64,
    /// What the registry says it is known by; not yet believed.
    pub(crate) digest: Option<String>,
    /// Where its files are, in the registry's own terms.
    pub(super) place: String,
}

impl Version {
    pub(super) fn describe(&self) -> String {
        format!("version {} of model \"{}\"", self.number, self.name)
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Content { path: self.describe(), reason: reason.into() }
    }
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_folder: bool,
    /// As announced.
    pub(super) size: Option<u64>,
}

/// What is accepted of a version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest file of a name, in bytes.
    pub(crate) file: fn(&str) -> u64,
    /// All files together, in bytes.
    pub(crate) total: u64,
    /// How many files.
    pub(crate) files: usize,
    /// The file that lists the digests of the others, as `sha256sum` writes them.
    pub(crate) sums: &'static str,
}

impl Registry {
    /// Makes a bundle a version of its model, unless it is one already, and has an alias point at it.
    ///
    /// A push that was cut off is begun again: the version appears once all of its files are there.
    pub(crate) async fn push(&self, offer: &Offer, alias: Option<&str>) -> Result<Pushed, RegistryError> {
        check_name(&offer.name)?;
        offer.files.keys().map(String::as_str).chain(alias).try_for_each(check_name)?;
        match self {
            Self::Directory(directory) => directory.push(offer, alias).await,
            Self::Mlflow(mlflow) => mlflow.push(offer, alias).await,
        }
    }

    /// Finds a version.
    ///
    /// # Errors
    /// [`RegistryError::NoAlias`], or [`RegistryError::Missing`] when there is no such model or version.
    pub(crate) async fn version(&self, name: &str, wanted: &Wanted) -> Result<Version, RegistryError> {
        check_name(name)?;
        if let Wanted::Alias(alias) = wanted {
            check_name(alias)?;
        }
        match self {
            Self::Directory(directory) => directory.version(name, wanted).await,
            Self::Mlflow(mlflow) => mlflow.version(name, wanted).await,
        }
    }
}

/// Whether what is announced could be accepted.
pub(super) fn check(version: &Version, entries: &[Entry], limits: Limits) -> Result<(), RegistryError> {
    if entries.len() > limits.files {
        return Err(version.wrong(format!(
            "it has {} files, and a bundle has at most {}",
            entries.len(),
            limits.files
        )));
    }
    let mut total = 0_u64;
    for entry in entries {
        // Shown as its characters are called: it may hold what a terminal would obey.
        let shown = entry.name.escape_debug();
        if !is_plain(&entry.name) {
            return Err(version.wrong(format!("the name \"{shown}\" is not that of a file in a bundle")));
        }
        if entry.is_folder {
            return Err(version.wrong(format!("it holds a folder, {shown}, and a bundle holds only files")));
        }
        let (size, most) = (entry.size.unwrap_or(0), (limits.file)(&entry.name));
        if size > most {
            return Err(version.wrong(format!("{shown} is announced with {size} bytes; at most {most} are accepted")));
        }
        total = total.saturating_add(size);
    }
    if total > limits.total {
        return Err(version.wrong(format!("it is announced with {total} bytes; at most {} are accepted", limits.total)));
    }
    Ok(())
}

/// Whether a name is that of something in a folder, and of nothing elsewhere.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':'])
        && !name.chars().any(char::is_control)
}

pub(super) fn check_name(name: &str) -> Result<(), RegistryError> {
    if is_plain(name) { Ok(()) } else { Err(RegistryError::Name { path: name.escape_debug().to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version { name: "press".to_owned(), number: 3, digest: None, place: String::new() }
    }

    fn limits() -> Limits {
        Limits { file: |name| if name == "model.onnx" { 100 } else { 10 }, total: 105, files: 3, sums: "sums" }
    }

    #[test]
    fn what_leads_elsewhere_or_is_too_large_is_refused_before_it_is_fetched() {
        let entry = |name: &str, size| Entry { name: name.to_owned(), is_folder: false, size };
        assert!(check(&version(), &[entry("model.onnx", Some(100)), entry("b", None)], limits()).is_ok());
        let cases = [
            (vec![entry("../evil", Some(1))], "the name \"../evil\" is not"),
            (vec![entry("/etc/passwd", None)], "is not that of a file"),
            (vec![entry("a/b", None)], "is not that of a file"),
            (vec![entry("..", None)], "is not that of a file"),
            (vec![entry("a\\b", None)], "is not that of a file"),
            (vec![entry("a\u{1b}[31m", None)], "the name \"a\\u{1b}[31m\" is not"),
            (vec![entry("", None)], "is not that of a file"),
            (vec![Entry { is_folder: true, ..entry("a", None) }], "it holds a folder, a"),
            (vec![entry("model.onnx", Some(10 << 30))], "model.onnx is announced with 10737418240 bytes; at most 100"),
            (vec![entry("model.onnx", Some(100)), entry("b", Some(6))], "announced with 106 bytes; at most 105"),
            (vec![entry("a", None), entry("b", None), entry("c", None), entry("d", None)], "it has 4 files"),
        ];
        for (entries, expected) in cases {
            let error = check(&version(), &entries, limits()).unwrap_err().to_string();
            assert!(error.starts_with("version 3 of model \"press\"") && error.contains(expected), "{error}");
        }
    }
}
