//! `explaind bundle create|verify`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use explaind_core::model::pack::{self, PackInputs};
use explaind_core::model::{Files, Model};

use super::failure::{DATA, Failure, IO, MISSING};
use super::print;
use crate::app::files_of;

/// The largest file read: a model, or a table of rows.
const MOST_BYTES: u64 = 1 << 30;

/// What to do with a bundle.
#[derive(Subcommand)]
pub(super) enum Args {
    /// Make a bundle from a model, a reference table and a manifest
    Create(Create),
    /// Check digests, shapes and golden rows
    Verify {
        /// The bundle's folder
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
    },
}

/// What a bundle is made of.
#[derive(clap::Args)]
pub(super) struct Create {
    /// The ONNX model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Reference rows, a CSV with one column per feature: the background is sampled from them
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,
    /// The manifest
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Inputs with expected outputs, from the trainer; absent: computed here, and marked so
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// The folder to make; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match args {
        Args::Create(create) => make(create),
        Args::Verify { bundle } => verify(bundle),
    }
}

fn make(args: &Create) -> Result<(), Failure> {
    if args.out.exists() {
        let message =
            format!("{} exists; name a folder that does not, so that no bundle is overwritten", args.out.display());
        return Err(Failure::new(IO, message));
    }
    let manifest = String::from_utf8(read(&args.manifest)?)
        .map_err(|_| Failure::new(DATA, format!("{}: not UTF-8; save it as UTF-8", args.manifest.display())))?;
    let golden = args.golden.as_deref().map(read).transpose()?;
    let inputs = PackInputs { model: read(&args.model)?, manifest, reference: read(&args.reference)?, golden };
    // It loads and verifies what it made, so nothing that fails ever gets a folder.
    let files = pack::create(inputs).map_err(|error| Failure::new(DATA, error.to_string()))?;
    write(&args.out, &files)?;
    verify(&args.out)
}

/// Writes beside the goal and renames, so that a bundle is whole or not there.
fn write(out: &Path, files: &Files) -> Result<(), Failure> {
    let mut draft = out.as_os_str().to_owned();
    draft.push(".partial");
    let draft = PathBuf::from(draft);
    let io = |error: std::io::Error| Failure::new(IO, format!("{}: {error}", draft.display()));
    if draft.exists() {
        std::fs::remove_dir_all(&draft).map_err(io)?;
    }
    std::fs::create_dir_all(&draft).map_err(io)?;
    for (name, bytes) in files {
        std::fs::write(draft.join(name), bytes).map_err(io)?;
    }
    std::fs::rename(&draft, out).map_err(io)
}

fn verify(folder: &Path) -> Result<(), Failure> {
    let model = load(folder)?;
    let verified =
        model.verify().map_err(|error| Failure::new(DATA, format!("bundle {}: {error}", folder.display())))?;
    let manifest = model.manifest();
    print::line(&format!(
        "{} {}: {} features, {} background rows, {} golden rows reproduced with a largest error of {:.1e}",
        manifest.name,
        manifest.version,
        manifest.features.len(),
        model.background().len(),
        verified.rows,
        verified.largest_error
    ))?;
    Ok(())
}

/// Reads a file that a person names, however much there is behind the name.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let missing = |error: std::io::Error| Failure::new(MISSING, format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(missing)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(missing)?;
    if bytes.len() as u64 > MOST_BYTES {
        let message = format!("{} has more than {MOST_BYTES} bytes, the most that are read at once", path.display());
        return Err(Failure::new(DATA, message));
    }
    Ok(bytes)
}

/// Loads the bundle in a folder, for verbs that take one.
pub(super) fn load(folder: &Path) -> Result<Model, Failure> {
    let place = |message: String| format!("bundle {}: {message}", folder.display());
    if !folder.is_dir() {
        return Err(Failure::new(
            MISSING,
            place("there is no such folder; name one that bundle create made".to_owned()),
        ));
    }
    let files = files_of(folder).map_err(|message| Failure::new(DATA, place(message)))?;
    Model::load(&files).map_err(|error| Failure::new(DATA, place(error.to_string())))
}
