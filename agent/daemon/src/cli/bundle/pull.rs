//! `explaind bundle pull`

use std::path::{Path, PathBuf};
use std::time::Duration;

use explaind_core::model::{bundle, signature};

use super::verify::keys;
use super::{Draft, Place, files, refused, runtime};
use crate::cli::failure::{DATA, Failure};
use crate::cli::print;
use crate::registry::models::{Limits, Version, Wanted};
use crate::registry::{Registry, RegistryError};

/// What is accepted of a version: as of a folder.
const LIMITS: Limits = Limits {
    file: bundle::size_limit,
    total: crate::folder::MOST_BYTES,
    files: crate::folder::MOST_FILES,
    sums: bundle::SUMS,
};

/// How often a link may be cut, and how long it is left alone then.
const MOST_TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(500);

/// What to pull, and where to.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: Place,
    /// The model
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The version that this alias points at
    #[arg(long, value_name = "ALIAS", required_unless_present = "version", conflicts_with = "version")]
    alias: Option<String>,
    /// The version of this number
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
    /// A public key of minisign that must have signed it; given more than once, one of them must
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// The folder to make; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let registry = args.place.registry()?;
    let keys = keys(&args.key)?;
    let wanted = match (&args.alias, args.version) {
        (_, Some(version)) => Wanted::Version(version),
        (Some(alias), None) => Wanted::Alias(alias.clone()),
        (None, None) => Wanted::Alias(String::new()),
    };
    let draft = Draft::of(&args.out)?;
    let found = runtime()?.block_on(async {
        let found = registry.version(&args.name, &wanted).await?;
        fetch(&registry, &found, &draft.path).await.map(|()| found)
    })?;
    let refused = |error| {
        let said = refused(&args.out, &error).sentence;
        Failure::new(DATA, format!("version {} of model \"{}\" is not kept: {said}", found.number, args.name))
    };
    let files = files(&draft.path)?;
    if !keys.is_empty() {
        signature::check(&files, &keys).map_err(refused)?;
    }
    bundle::check(&files).map_err(refused)?;
    let digest = bundle::identity(&files).map_err(refused)?;
    if found.digest.as_ref().is_some_and(|said| *said != digest.to_string()) {
        let sentence = format!(
            "version {} of model \"{}\" is not kept: the registry says its digest is {}, and it is {digest}; push it again",
            found.number,
            args.name,
            found.digest.as_deref().unwrap_or_default().escape_debug()
        );
        return Err(Failure::new(DATA, sentence));
    }
    draft.publish()?;
    let signed = match (keys.is_empty(), files.contains_key(bundle::SIGNATURE)) {
        (false, _) => "signed by the key given",
        (true, true) => "signed; name the key with --key to have that checked",
        (true, false) => "not signed",
    };
    print::line(&format!("{}: version {} of {}, {digest}, {signed}", args.out.display(), found.number, args.name))
}

/// Fetches as long as each try brings more: a link that is cut costs what was on its way.
async fn fetch(registry: &Registry, version: &Version, into: &Path) -> Result<(), RegistryError> {
    let mut had = 0;
    for _ in 0..MOST_TRIES {
        match registry.pull(version, LIMITS, into).await {
            Err(RegistryError::Server { .. }) if size(into) > had => had = size(into),
            done => return done,
        }
        tokio::time::sleep(PAUSE).await;
    }
    registry.pull(version, LIMITS, into).await
}

/// How much is in a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}
