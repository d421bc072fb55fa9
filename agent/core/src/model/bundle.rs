//! A bundle's files, and that they are what their maker wrote.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::error::{BundleError, Place};
use crate::domain::prediction::Digest;

/// A bundle folder's files by their name relative to it, as bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The model itself.
pub const MODEL: &str = "model.onnx";
/// What its inputs and output mean.
pub const MANIFEST: &str = "manifest.toml";
/// The rows that Shapley values are taken against.
pub const BACKGROUND: &str = "background.csv";
/// Rows with the outputs they must give.
pub const GOLDEN: &str = "golden.csv";
/// Rows with targets, for conformal certainty.
pub const CALIBRATION: &str = "calibration.csv";
/// What drift, novelty and certainty need from the reference.
pub const MONITORING: &str = "monitoring.json";
/// What people should know of the model, for people.
pub const CARD: &str = "MODEL_CARD.md";
/// What makes the folder an MLflow model.
pub const MLMODEL: &str = "MLmodel";
/// The digest of every other file.
pub const SUMS: &str = "SHA256SUMS";
/// The signature of [`SUMS`].
pub const SIGNATURE: &str = "SHA256SUMS.minisig";

/// More files than this is taken for a mistake.
const MOST_FILES: usize = 1_000;

/// The largest size of a file of this name that a bundle may have, in bytes. Readers look before they read.
pub fn size_limit(name: &str) -> u64 {
    const MIB: u64 = 1 << 20;
    match name {
        MODEL | CALIBRATION => 256 * MIB,
        BACKGROUND | GOLDEN | MONITORING => 64 * MIB,
        MANIFEST | MLMODEL | SUMS => MIB,
        SIGNATURE => MIB / 16,
        _ => 16 * MIB,
    }
}

/// The SHA-256 of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// A file that a bundle must have.
pub(super) fn file<'a>(files: &'a Files, name: &str) -> Result<&'a [u8], BundleError> {
    let remedy = match name {
        BACKGROUND => "explanations need reference rows, make the bundle with `explaind bundle create --reference`",
        _ => "make the bundle with `explaind bundle create`",
    };
    files.get(name).map(Vec::as_slice).ok_or(BundleError::Missing { file: name.to_owned(), remedy })
}

/// A file's text.
pub(super) fn text<'a>(files: &'a Files, name: &str) -> Result<&'a str, BundleError> {
    std::str::from_utf8(file(files, name)?)
        .map_err(|_| BundleError::at(Place::file(name), "the text is not UTF-8; save the file as UTF-8"))
}

/// The digest that a whole bundle is known by: that of its `SHA256SUMS`. Signing a bundle does not change it.
///
/// # Errors
/// [`BundleError::Missing`] without that file.
pub fn identity(files: &Files) -> Result<Digest, BundleError> {
    file(files, SUMS).map(digest)
}

/// Checks sizes, and that `SHA256SUMS` lists every file with the digest it has.
pub fn check(files: &Files) -> Result<(), BundleError> {
    if files.len() > MOST_FILES {
        let problem =
            format!("the bundle has {} files, more than {MOST_FILES}; keep only what belongs to it", files.len());
        return Err(BundleError::at(Place::file(SUMS), problem));
    }
    for (name, bytes) in files {
        let (bytes, most) = (bytes.len() as u64, size_limit(name));
        if bytes > most {
            return Err(BundleError::TooLarge { file: name.clone(), bytes, most });
        }
    }
    for name in [MODEL, MANIFEST, BACKGROUND] {
        file(files, name)?;
    }
    let listed = parse_sums(text(files, SUMS)?)?;
    for (name, (line, expected)) in &listed {
        let Some(bytes) = files.get(name) else {
            let problem = format!("{name} is listed here and missing from the bundle; fetch the bundle again");
            return Err(BundleError::at(Place::file(SUMS).line(*line), problem));
        };
        let found = digest(bytes);
        if found != *expected {
            return Err(BundleError::Digest { file: name.clone(), expected: *expected, found });
        }
    }
    match files.keys().find(|name| ![SUMS, SIGNATURE].contains(&name.as_str()) && !listed.contains_key(*name)) {
        Some(name) => Err(BundleError::Unlisted { file: name.clone() }),
        None => Ok(()),
    }
}

/// Reads lines of 64 hexadecimal digits, two spaces (or a space and `*`) and a name, as `sha256sum` writes them.
fn parse_sums(text: &str) -> Result<BTreeMap<String, (u64, Digest)>, BundleError> {
    let mut listed = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()).filter(|(_, content)| !content.is_empty()) {
        let wrong = |problem: &str| Err(BundleError::at(Place::file(SUMS).line(line), problem));
        let parsed = content.split_once(' ').and_then(|(hex, name)| Some((parse_hex(hex)?, name)));
        let Some((digest, name)) = parsed.and_then(|(digest, name)| Some((digest, name.strip_prefix([' ', '*'])?)))
        else {
            return wrong("the line is not a SHA-256 and a file name, as sha256sum writes them; make the bundle anew");
        };
        if name == SUMS || name == SIGNATURE || name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return wrong("the name is not that of another file in the bundle; make the bundle anew");
        }
        if listed.insert(name.to_owned(), (line, digest)).is_some() {
            return wrong("the file is listed twice; make the bundle anew");
        }
    }
    Ok(listed)
}

fn parse_hex(text: &str) -> Option<Digest> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<u8>>>()?;
    bytes.try_into().ok().map(Digest)
}

/// `SHA256SUMS` for these files.
pub(super) fn sums(files: &Files) -> String {
    let mut text = String::new();
    for (name, bytes) in files.iter().filter(|(name, _)| ![SUMS, SIGNATURE].contains(&name.as_str())) {
        let _infallible = writeln!(text, "{}  {name}", digest(bytes));
    }
    text
}
