//! `explaind bundle rollback`

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::client::{Peer, escaped};
use crate::cli::failure::Failure;
use crate::cli::print;

/// Which model goes back.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model's name in the configuration
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Why; it goes on record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print the model afterwards, as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    peer: Peer,
}

pub(super) fn run(
    args: &Args,
    by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    let client = args.peer.client(by_config)?;
    let path = format!("/api/v1/models/{}/rollback", escaped(&args.model));
    let answer = client.post(&path, &json!({ "reason": args.reason }))?;
    if args.json {
        return print::json(&answer["model"]);
    }
    print::line(&format!("{} is back at version {}", args.model, print::text(&answer, "version")))
}
