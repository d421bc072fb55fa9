//! `explaind users`: who may sign in. It works on the users file itself, so the daemon need not run; whoever may write
//! that file (root, the daemon's own user) makes the first account.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use explaind_core::domain::feedback::UserRole;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::failure::{DATA, FORBIDDEN, Failure, IO, MISSING, USAGE};
use super::print;
use crate::web::{User, UsersError, UsersFile};

/// Longest password read.
const LONGEST: u64 = 4096;

/// Add, list and remove those who may sign in.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The daemon's configuration, which says where its state is
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add an account; the password is asked for, or read from standard input or a file
    Add {
        /// What the person signs in as
        name: String,
        /// What the person may do
        #[arg(long, value_enum, default_value = "technician")]
        role: Role,
        /// Read the password from the first line of this file
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// For a machine: print a token that it carries as `Authorization: Bearer`, in place of a password
        #[arg(long, conflicts_with = "password_file")]
        token: bool,
    },
    /// All accounts
    List {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Remove an account; whoever is signed in with it is out at once
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    /// Looks
    Viewer,
    /// Acknowledges and gives feedback
    Technician,
    /// Manages users, models and the kill switch
    Engineer,
    /// A machine that pulls batches
    Collector,
}

impl From<Role> for UserRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Technician => Self::Technician,
            Role::Engineer => Self::Engineer,
            Role::Collector => Self::Collector,
        }
    }
}

impl From<UsersError> for Failure {
    fn from(error: UsersError) -> Self {
        let code = match &error {
            UsersError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => FORBIDDEN,
            UsersError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => MISSING,
            UsersError::Io { .. } | UsersError::Hash(_) => IO,
            UsersError::Unknown(_) => MISSING,
            UsersError::Name(_) => USAGE,
            UsersError::Damaged { .. } | UsersError::Password | UsersError::Exists(_) | UsersError::TooMany => DATA,
        };
        Self::new(code, error.to_string())
    }
}

/// Runs the verb. `state_dir` finds the state folder that a configuration (or the default one) names.
pub(crate) fn run(
    args: &Args,
    state_dir: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    let file = UsersFile::of(&state_dir(args.config.as_deref())?);
    match &args.verb {
        Verb::Add { name, role, token: true, .. } => {
            let token = file.add_machine(name, (*role).into(), format!("{:.0}", jiff::Timestamp::now()))?;
            print::line(&token)
        }
        Verb::Add { name, role, password_file, token: false } => {
            let password = password(password_file.as_deref())?;
            let now = jiff::Timestamp::now();
            file.add(name, (*role).into(), &password, format!("{now:.0}"))?;
            print::line(&format!("{name} may sign in as {}", UserRole::from(*role).as_str()))
        }
        Verb::List { json } => list(&file.list()?, *json),
        Verb::Remove { name } => {
            file.remove(name)?;
            print::line(&format!("{name} is removed"))
        }
    }
}

fn list(users: &[User], json: bool) -> Result<(), Failure> {
    if json {
        let object = |user: &User| json!({ "name": user.name, "role": user.role.as_str(), "added_at": user.added_at });
        return print::json(&Value::Array(users.iter().map(object).collect()));
    }
    let row = |user: &User| [user.name.to_string(), user.role.as_str().to_owned(), user.added_at.clone()];
    let rows: Vec<_> = users.iter().map(row).collect();
    print::table(["NAME", "ROLE", "ADDED"], &rows, "no users; add one with `explaind users add`")
}

/// Never from an argument, which everybody on the machine could read.
fn password(file: Option<&Path>) -> Result<String, Failure> {
    if let Some(path) = file {
        let fail = |error: io::Error| Failure::new(MISSING, format!("cannot read {}: {error}", path.display()));
        return first_line(File::open(path).map_err(fail)?).map_err(fail);
    }
    let stdin = io::stdin();
    let fail = |error: io::Error| Failure::new(IO, format!("the password could not be read: {error}"));
    if !stdin.is_terminal() {
        return first_line(stdin.lock()).map_err(fail);
    }
    let first = asked("Password: ").map_err(fail)?;
    if first == asked("The same again: ").map_err(fail)? {
        Ok(first)
    } else {
        Err(Failure::new(DATA, "the two passwords differ; try again"))
    }
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    io::BufReader::new(from.take(LONGEST)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks on the terminal without showing what is typed. The terminal is put right again whatever happens.
fn asked(question: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let mut out = io::stdout().lock();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let line = first_line(stdin.lock());
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    out.write_all(b"\n")?;
    line
}
