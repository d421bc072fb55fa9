//! What people type: one file per verb, and no logic of its own.

mod alerts;
mod buffer;
mod bundle;
mod check;
pub(crate) mod client;
mod explain;
mod failure;
mod feedback;
mod models;
mod password;
mod print;
mod run;
mod shell;
mod status;
mod users;
mod verify_bundle;

use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use self::failure::Failure;
use crate::config::{DEFAULT_PATH, Gateway};

/// The service's socket, for whoever names neither a configuration nor a socket.
const DEFAULT_SOCKET: &str = "/run/explaind/explaind.sock";

/// Machine learning on factory gateways that explains itself.
///
/// Exit codes: 0 done, 64 usage, 65 bad input data, 66 input missing, 69 peer unavailable, 74 I/O, 77 not permitted,
/// 78 bad configuration.
#[derive(Parser)]
#[command(name = "explaind", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon in the foreground
    Run(run::Args),
    /// Validate a configuration and its bundles
    Check(check::Args),
    /// Show sources, assets, models, buffer and sync of the running daemon
    Status(status::Args),
    /// List and acknowledge alerts
    Alerts(alerts::Args),
    /// Say whether a prediction was right, and read what was said
    Feedback(feedback::Args),
    /// Show which models run where and why, stop them, and release them
    Models(models::Args),
    /// Predict and explain the rows of a CSV file with a bundle
    Explain(explain::Args),
    /// Make, check and sign bundles, carry them to and from the registry, and go back to the one before
    #[command(subcommand)]
    Bundle(bundle::Args),
    /// Look at what the gateway keeps, check it, and carry it home by hand
    Buffer(buffer::Args),
    /// Manage who may sign in
    Users(users::Args),
    /// Print what a shell needs to complete the verbs and options
    Completions(shell::Completions),
    /// Print the manual page, or write those of all verbs
    Man(shell::Man),
    /// Check a bundle within limits, as the daemon has it done before it believes one
    #[command(hide = true)]
    VerifyBundle(verify_bundle::Args),
}

/// Carries out what the command line asks for.
pub(crate) fn main() -> Result<(), Failure> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    match &arguments.verb {
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Status(args) => status::run(args, socket),
        Verb::Alerts(args) => alerts::run(args, socket),
        Verb::Feedback(args) => feedback::run(args, socket),
        Verb::Models(args) => models::run(args, socket),
        Verb::Explain(args) => explain::run(args),
        Verb::Bundle(args) => bundle::run(args, socket),
        Verb::Buffer(args) => buffer::run(args),
        Verb::Users(args) => users::run(args, state_dir),
        Verb::Completions(args) => shell::completions(args, Arguments::command()),
        Verb::Man(args) => shell::man(args, Arguments::command()),
        Verb::VerifyBundle(args) => verify_bundle::run(args),
    }
}

/// The socket of the daemon that runs with a configuration; by default the service's.
fn socket(config: Option<&Path>) -> Result<PathBuf, Failure> {
    if config.is_none() && !Path::new(DEFAULT_PATH).exists() {
        return Ok(DEFAULT_SOCKET.into());
    }
    Ok(gateway(config)?.socket)
}

fn state_dir(config: Option<&Path>) -> Result<PathBuf, Failure> {
    Ok(gateway(config)?.state_dir)
}

fn gateway(config: Option<&Path>) -> Result<Gateway, Failure> {
    Ok(Gateway::read(config.unwrap_or(Path::new(DEFAULT_PATH)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_are_sound_and_find_the_daemon_from_anywhere_on_the_line() {
        Arguments::command().debug_assert();
        for line in [
            "alerts list --socket /x",
            "alerts --config /x list",
            "feedback list --config /x --json",
            "status --json --socket /x",
            "users remove anna --config /x",
            "users --config /x list",
            "buffer stat --json --socket /x",
            "buffer verify --config /x --json",
            "buffer export --out /x --config /y",
            "buffer import --from /x --registry-dir /y --json",
            "buffer import --from /x --registry http://localhost:5000",
            "bundle push --bundle /x --registry http://localhost:5000 --name a --alias b",
            "bundle pull --registry /y --name a --version 3 --out /x",
            "bundle rollback --model a --reason b --config /x",
            "bundle rollback --model a --json --socket /x",
            "models list --json --socket /x",
            "models --config /x stop --model a --reason b",
            "models release --gateway --config /x",
            "alerts ack 01890000-0000-7000-8000-000000000000 --socket /x --token-file /y",
            "completions bash",
            "man --out /x",
        ] {
            let words = std::iter::once("explaind").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        // What stops everything must be said, never left out.
        for line in ["models stop", "models release --reason x", "models stop --gateway --model a", "bundle rollback"] {
            let words = std::iter::once("explaind").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
