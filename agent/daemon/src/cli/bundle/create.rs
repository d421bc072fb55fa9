//! `explaind bundle create`

use std::path::PathBuf;

use explaind_core::model::pack::{self, PackInputs};
use explaind_core::model::{bundle, draft};

use super::{Draft, must_be_new, read, table, text, verify};
use crate::cli::failure::{DATA, Failure, IO};
use crate::cli::print;

/// What a bundle is made of.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The ONNX model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Reference rows, as CSV or Parquet with one column per feature: the background is sampled from them
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,
    /// The manifest; absent: one is drafted from the names in the model and in the table
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Inputs with expected outputs, from the trainer; absent: computed here, and marked so
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Rows with targets that the model was not trained on, as CSV or Parquet; absent: drawn from the reference
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The folder to make; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    must_be_new(&args.out)?;
    let (model, reference) = (read(&args.model)?, table::read(&args.reference)?);
    let manifest = match &args.manifest {
        Some(path) => text(path)?,
        None => {
            let name = args.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            draft::manifest(&model, &reference, &name).map_err(|error| Failure::new(DATA, error.to_string()))?
        }
    };
    let golden = args.golden.as_deref().map(read).transpose()?;
    let calibration = args.calibration.as_deref().map(table::read).transpose()?;
    let inputs = PackInputs { model, manifest, reference, golden, calibration };
    // It loads and verifies what it made, so nothing that fails ever gets a folder.
    let files = pack::create(inputs).map_err(|error| Failure::new(DATA, error.to_string()))?;
    let draft = Draft::of(&args.out)?;
    for (name, bytes) in &files {
        let path = draft.path.join(name);
        std::fs::write(&path, bytes)
            .and_then(|()| std::fs::File::open(&path)?.sync_all())
            .map_err(|error| Failure::new(IO, format!("{}: {error}", path.display())))?;
    }
    draft.publish()?;
    verify::report(&args.out, &[])?;
    if args.manifest.is_none() {
        let path = args.out.join(bundle::MANIFEST);
        print::line(&format!(
            "the manifest was drafted from the names in the model and in the table: copy {} elsewhere, correct it, and make \
             the bundle again with --manifest",
            path.display()
        ))?;
    }
    if !files.contains_key(bundle::CALIBRATION) {
        print::line("there is no target column, so certainty and metrics are left out: name it as output.target")?;
    } else if args.calibration.is_none() {
        print::line(
            "certainty and metrics are from the reference: if the model was trained on it, give other rows with --calibration",
        )?;
    }
    Ok(())
}
