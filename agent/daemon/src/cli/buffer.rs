//! `explaind buffer stat|verify|export|import`: what the gateway keeps, and its way home where there is no network.
//!
//! The first three ask the running daemon, which has the store; when none runs they open the store themselves, under its
//! lock. Which of the two it is makes no difference to what they do.

mod home;
mod remote;
mod verify;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::home::Keeper;
use super::client::Peer;
use super::failure::{Failure, MISSING, USAGE};
use super::{print, status};
use crate::config::{self, DEFAULT_PATH};
use crate::registry::{self, DirectoryConfig, MlflowConfig, Registry};
use crate::sync::{self, Tally};

/// Look at what the gateway keeps, check it, and carry it home by hand.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    peer: Peer,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// The store in figures: records, bytes, what was sent, what is written to the disk
    ///
    /// From the running daemon; when none runs, from the store itself. Bytes per day are told after the first hour.
    Stat {
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check every record, the journal and the outbox; nothing is changed
    ///
    /// Every record can be read and is found by its id, numbers are dense but for what is declared, the audit chain is
    /// unbroken, journal and store say the same, and closed batches are what they were. What was sent of the audit is compared
    /// with the registry's copy: that of the configuration, or the one that is named here. One line per finding. Exit code 0
    /// when all is sound, 65 when not; that the registry does not answer is said, and is no finding. It may run while the
    /// daemon does, and holds up nothing.
    Verify {
        /// An MLflow server to compare the audit with, in place of the configuration's registry
        #[arg(long, value_name = "URL", conflicts_with = "registry_dir")]
        registry: Option<String>,
        /// A directory registry to compare the audit with
        #[arg(long, value_name = "PATH")]
        registry_dir: Option<PathBuf>,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put all that was not sent yet onto a medium, as Parquet files, and mark it as sent
    ///
    /// DIR gets the layout of a directory registry. Cut off, it is run again: nothing is there twice, nothing is lost.
    /// Records whose explanation is not settled stay for the next time.
    Export {
        /// The folder; it is made when its parent is there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Say what was done as a JSON object
        #[arg(long)]
        json: bool,
    },
    /// At central: bring what is on a medium into the registry, as if the gateways had sent it
    ///
    /// All of the medium is checked before anything is written. Run again, it changes nothing.
    Import {
        /// The folder that `explaind buffer export` wrote to
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// An MLflow server; one that wants a password is named by the [registry] of --config
        #[arg(long, value_name = "URL", conflicts_with_all = ["registry_dir", "config"])]
        registry: Option<String>,
        /// A directory registry
        #[arg(long, value_name = "PATH", conflicts_with = "config")]
        registry_dir: Option<PathBuf>,
        /// Say what was done as a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Stat { json } => stat(&args.peer, *json),
        Verb::Verify { registry, registry_dir, json } => {
            let keeper = Keeper::find(&args.peer)?;
            let registry = sent_to(&args.peer, registry.as_deref(), registry_dir.as_deref())?;
            verify::run(&keeper, registry.as_ref(), *json)
        }
        Verb::Export { out, json } => {
            let tally = Keeper::find(&args.peer)?.export(out)?;
            told(&tally, *json, &out.display().to_string())
        }
        Verb::Import { from, registry, registry_dir, json } => {
            let config = registry_of(&args.peer, registry.as_deref(), registry_dir.as_deref())?;
            let registry = Registry::new(&config);
            let tally = sync::import(from, &registry)?;
            told(&tally, *json, &registry.describe())
        }
    }
}

fn stat(peer: &Peer, json: bool) -> Result<(), Failure> {
    let stat = Keeper::find(peer)?.stat()?;
    if json {
        return print::json(&stat);
    }
    let mut lines = Vec::new();
    status::outline(&stat, 0, &mut lines);
    lines.iter().try_for_each(|line| print::line(line))
}

/// What was done, in one line or as an object.
fn told(tally: &Tally, json: bool, place: &str) -> Result<(), Failure> {
    if json {
        return print::json(&json!(tally));
    }
    let Tally { gateways, stored, already_there, set_aside, records, bytes } = tally;
    let from = if *gateways == 1 { "one gateway".to_owned() } else { format!("{gateways} gateways") };
    let mut line = format!(
        "{place}: {stored} batches of {from} put there, {already_there} were there already; {records} records, {bytes} bytes"
    );
    if *set_aside > 0 {
        line.push_str(&format!(
            "; {set_aside} put aside under conflicts, since other content has their names: look at them"
        ));
    }
    print::line(&line)
}

/// The registry that the gateway sends to, where that is known.
fn sent_to(peer: &Peer, url: Option<&str>, folder: Option<&Path>) -> Result<Option<Registry>, Failure> {
    if url.is_some() || folder.is_some() {
        return Ok(Some(Registry::new(&named(url, folder)?)));
    }
    let path = peer.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    if peer.socket.is_some() || !path.exists() {
        return Ok(None);
    }
    Ok(config::registry_if_any(path)?.as_ref().map(Registry::new))
}

/// The registry that is meant: named on the line, or by a configuration.
fn registry_of(peer: &Peer, url: Option<&str>, folder: Option<&Path>) -> Result<registry::Config, Failure> {
    if peer.socket.is_some() {
        return Err(Failure::new(USAGE, "an import speaks to no daemon; leave --socket out"));
    }
    if url.is_none() && folder.is_none() {
        let path = peer.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        if peer.config.is_none() && !path.exists() {
            let sentence =
                "no registry is named; give --registry URL, --registry-dir PATH, or --config FILE with a [registry]";
            return Err(Failure::new(USAGE, sentence));
        }
        return Ok(config::registry(path)?);
    }
    named(url, folder)
}

/// The registry that is named on the line.
fn named(url: Option<&str>, folder: Option<&Path>) -> Result<registry::Config, Failure> {
    if let Some(folder) = folder {
        return Ok(registry::Config::Directory(DirectoryConfig { path: folder.to_owned() }));
    }
    let url = url.unwrap_or_default();
    let wrong = |reason: &str| Failure::new(USAGE, format!("--registry {url}: {reason}"));
    let mut table = toml::Table::new();
    table.insert("url".to_owned(), url.into());
    let config: MlflowConfig = table.try_into().map_err(|error: toml::de::Error| wrong(error.message()))?;
    let config = registry::Config::Mlflow(Box::new(config));
    config.check().map_err(|(_, reason)| wrong(&reason))?;
    Ok(config)
}

/// There is nothing to look at.
fn nothing(path: &Path) -> Failure {
    let path = path.display();
    Failure::new(
        MISSING,
        format!("there is no store at {path}, and no daemon runs; name another with --config or --socket"),
    )
}

/// The object of a value that is one.
fn object<T: serde::Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::new(super::failure::DATA, error.to_string()))
}
