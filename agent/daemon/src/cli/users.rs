//! `explaind users`: who may sign in. It works on the users file itself, so the daemon need not run; whoever may write
//! that file (root, the daemon's own user) makes the first account.

use std::io;
use std::path::{Path, PathBuf};

use explaind_core::domain::feedback::UserRole;
use serde_json::{Value, json};

use super::failure::{DATA, FORBIDDEN, Failure, IO, MISSING, USAGE};
use super::{password, print};
use crate::web::{User, UsersError, UsersFile};

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
            UsersError::Name(_) | UsersError::Reserved(_) => USAGE,
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
            let password = password::chosen(password_file.as_deref())?;
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
