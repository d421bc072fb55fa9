//! Changes of accounts on their way into the audit.
//!
//! Whoever changes the users file need not be the daemon, and the daemon need not run. So each change is noted first, a line
//! of JSON in `<state_dir>/users.changes`, under the same lock and with the same owner; the daemon takes the notes over.
//! A note has the id that its record will have, so that one that is taken twice is on record once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use explaind_core::domain::feedback::UserRole;
use explaind_core::domain::record::{Audit, Body, NewRecord};
use explaind_core::domain::time::Now;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::users::{UsersError, UsersFile};
use crate::clock;
use crate::web::server;

/// The file's name.
const FILE: &str = "users.changes";
/// The largest file: some thousand changes.
const LARGEST: u64 = 1 << 20;
/// Largest `/etc/passwd` looked at.
const LARGEST_PASSWD: u64 = 1 << 20;
/// A change that is taken over later than this says when it was made.
const LATE: i64 = 60_000_000;

/// One change of the accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    id: Uuid,
    /// Microseconds since 1970.
    at: i64,
    /// The user of this machine who made it.
    by: String,
    action: String,
    name: String,
    role: UserRole,
}

impl Change {
    /// An account is made, or taken away. `token`: a machine's.
    pub(super) fn of(is_new: bool, token: bool, name: &str, role: UserRole) -> Self {
        let at = clock::now();
        let action = match (is_new, token) {
            (true, false) => "add_user",
            (true, true) => "add_token",
            (false, false) => "remove_user",
            (false, true) => "remove_token",
        };
        let (id, at, action, name) = (clock::mint(at), at.utc.as_micros(), action.to_owned(), name.to_owned());
        Self { id, at, by: whoever_runs_this(), action, name, role }
    }

    /// Its line in the file.
    fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    fn record(self, now: Now) -> NewRecord {
        let Self { id, at, by, action, name, role } = self;
        let mut outcome = format!("done (role {})", role.as_str());
        if (now.utc.as_micros() - at).abs() > LATE {
            let at = jiff::Timestamp::from_microsecond(at).map_or_else(|_| at.to_string(), |at| at.to_string());
            outcome.push_str(&format!(", at {at}"));
        }
        let audit = Audit::new(by, action, format!("user {name}"), outcome);
        NewRecord { id, at: now, body: Body::Audit(audit) }
    }
}

impl UsersFile {
    /// Where changes wait until the daemon puts them on record.
    fn changes(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    pub(super) fn note(&self, change: &Change) -> Result<(), UsersError> {
        let path = self.changes();
        let fail = |source| UsersError::Io { doing: "write", path: path.clone(), source };
        let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        let options = options.append(true).create(true).mode(0o600).custom_flags(no_link);
        let mut file = options.open(&path).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        if !found.is_file() || found.nlink() != 1 {
            return Err(fail(io::Error::other("it is no plain file of its own; remove it")));
        }
        if found.len() > LARGEST / 2 {
            return Err(fail(io::Error::other(
                "too many changes wait in it; start the daemon, which puts them on record",
            )));
        }
        self.give_to_owner(&file).map_err(fail)?;
        file.write_all(&change.line().map_err(fail)?).and_then(|()| file.sync_all()).map_err(fail)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fail)
    }

    /// Hands over what was changed since the last time; what is kept by `keep` is done with.
    pub(crate) fn take_changes<E: From<UsersError>>(
        &self,
        now: Now,
        keep: impl FnOnce(Vec<NewRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.changes();
        if !are_there(&path) {
            return Ok(());
        }
        let fail = |doing| {
            let path = path.clone();
            move |source| E::from(UsersError::Io { doing, path, source })
        };
        let _turn = self.turn()?;
        keep(records(&path, now).map_err(fail("read"))?)?;
        fs::remove_file(&path).map_err(fail("remove"))
    }
}

/// What the file holds, as records. A line that makes no sense is on record as such.
fn records(path: &Path, now: Now) -> io::Result<Vec<NewRecord>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let record = |line: &[u8]| match serde_json::from_slice::<Change>(line) {
        Ok(change) => change.record(now),
        Err(_) => {
            let audit = Audit::new("unknown", "change_users", "users.changes", "a line of it cannot be read");
            NewRecord { id: clock::mint(now), at: now, body: Body::Audit(audit) }
        }
    };
    Ok(lines.map(record).collect())
}

/// Who runs this process, by the kernel's word.
fn whoever_runs_this() -> String {
    let uid = rustix::process::getuid().as_raw();
    let mut text = String::new();
    let read = File::open("/etc/passwd").and_then(|file| file.take(LARGEST_PASSWD).read_to_string(&mut text));
    let name = read.ok().and_then(|_| server::name_in(&text, uid));
    name.unwrap_or_else(|| format!("uid:{uid}"))
}

/// Whether there is anything to take over.
fn are_there(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_change_is_handed_over_until_it_is_kept_and_not_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::of(folder.path());
        let take = |keep: bool| {
            let mut taken = Vec::new();
            let done = file.take_changes(clock::now(), |records| {
                taken = records;
                if keep { Ok(()) } else { Err(UsersError::TooMany) }
            });
            assert_eq!(done.is_ok(), keep || taken.is_empty());
            taken
        };
        assert!(take(true).is_empty());
        let add = || file.add("anna", UserRole::Technician, "long enough", String::new());
        add().unwrap();
        assert!(add().is_err() && file.remove("otto").is_err());
        file.add_machine("central", UserRole::Collector, String::new()).unwrap();
        file.remove("central").unwrap();
        let mode = fs::metadata(folder.path().join("users.changes")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let first = take(false);
        let second = take(true);
        let ids = |records: &[NewRecord]| records.iter().map(|record| record.id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&second), "the same records, also when they are taken again");
        let told: Vec<_> = second
            .into_iter()
            .map(|record| match record.body {
                Body::Audit(audit) => (audit.action, audit.object, audit.outcome),
                other => panic!("{other:?}"),
            })
            .collect();
        let line = |action: &str, user: &str, role: &str| {
            (action.to_owned(), format!("user {user}"), format!("done (role {role})"))
        };
        let expected = [
            line("add_user", "anna", "technician"),
            line("add_token", "central", "collector"),
            line("remove_token", "central", "collector"),
        ];
        assert_eq!(told, expected);
        assert!(take(true).is_empty());
        fs::write(folder.path().join("users.changes"), "{\n").unwrap();
        let odd = take(true);
        assert!(matches!(&odd[0].body, Body::Audit(audit) if audit.actor == "unknown"));
    }
}
