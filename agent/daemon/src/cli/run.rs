//! `explaind run`

use std::path::PathBuf;

use super::Failure;
use crate::app;
use crate::config::{DEFAULT_PATH, Settings};
use crate::telemetry::init_logging;

/// Where the configuration is.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration; the *.toml in the folder of the same name ending in .d beside it are laid over it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::read(&args.config)?;
    init_logging(settings.gateway.log_json);
    app::run(settings)?;
    Ok(())
}
