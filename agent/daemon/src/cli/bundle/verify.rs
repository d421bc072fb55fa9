//! `explaind bundle verify`

use std::path::{Path, PathBuf};

use explaind_core::model::signature::{self, PublicKey};
use explaind_core::model::{Model, bundle};

use super::{files, refused, text};
use crate::cli::failure::{DATA, Failure};
use crate::cli::print;

/// What to check, against whose key.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// A public key of minisign that must have signed it; given more than once, one of them must
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    report(&args.bundle, &keys(&args.key)?)
}

/// Reads public keys.
pub(super) fn keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    let read = |path: &PathBuf| {
        PublicKey::parse(&text(path)?).map_err(|reason| Failure::new(DATA, format!("{}: {reason}", path.display())))
    };
    paths.iter().map(read).collect()
}

/// Checks a bundle and says in a line what it is.
pub(super) fn report(folder: &Path, keys: &[PublicKey]) -> Result<(), Failure> {
    let files = files(folder)?;
    // Nothing of it is looked at before it is known whose it is.
    let signed = match keys {
        [] => None,
        keys => Some(signature::check(&files, keys).map_err(|error| refused(folder, &error))?),
    };
    let model = Model::load(&files).map_err(|error| refused(folder, &error))?;
    let verified = model.verify_fully().map_err(|error| refused(folder, &error))?;
    let manifest = model.manifest();
    let signature = match (signed, files.contains_key(bundle::SIGNATURE)) {
        (Some(comment), _) => format!("signed ({comment})"),
        (None, true) => "signed; whose signature it is was not looked at, name the key with --key".to_owned(),
        (None, false) => "not signed".to_owned(),
    };
    print::line(&format!(
        "{} {}: {} features, {} background rows, {} golden rows reproduced with a largest error of {:.1e}; {signature}",
        manifest.name,
        manifest.version,
        manifest.features.len(),
        model.background().len(),
        verified.rows,
        verified.largest_error
    ))
}
