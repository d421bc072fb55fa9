//! `explaind verify-bundle`, which nobody types: the process that the daemon checks a bundle in.

use std::path::PathBuf;

use super::failure::{DATA, Failure};
use crate::rollout;

/// What to check; what is demanded of it comes on standard input.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    rollout::judge(&args.bundle)?
        .map_err(|refused| Failure::new(DATA, format!("{}: {}", refused.check.as_str(), refused.reason)))
}
