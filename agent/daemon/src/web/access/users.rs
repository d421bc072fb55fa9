//! The accounts: a small file that people and the daemon share.
//!
//! `<state_dir>/users.json`, mode 0600, always replaced as a whole: written beside itself, synced, renamed. Writers take
//! turns by a lock on `users.lock`. The daemon looks at the file's stamp on every request, so that an account that was
//! removed is out at once.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use explaind_core::domain::feedback::UserRole;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::{password, token};
use crate::pseudonym;

/// The version of the file's form.
const VERSION: u32 = 1;
/// Most accounts.
const MOST: usize = 500;
/// Largest file read.
const LARGEST: u64 = 1 << 20;
/// Longest name of an account.
const LONGEST_NAME: usize = 32;

/// One account.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// What the person signs in as, and what is recorded as the author.
    pub(crate) name: Arc<str>,
    /// What the person may do.
    pub(crate) role: UserRole,
    /// The argon2id hash of a password in PHC form, or the digest of a machine's token (see `token`).
    pub(crate) password: Arc<str>,
    /// When the account was made, RFC 3339.
    pub(crate) added_at: String,
}

impl User {
    /// What tells this account from an earlier or a later one of the same name. It gives nothing of the secret away.
    pub(crate) fn stamp(&self) -> String {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::digest(format!("{}\n{}\n{}", self.name, self.added_at, self.password));
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The hash stays out of logs.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    users: Vec<User>,
}

/// What can go wrong with accounts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    /// The file can't be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// Read, write, …
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file isn't what we wrote.
    #[error(
        "{}, line {line}: not a users file of this version ({reason}); restore it, or move it away and add the users again",
        path.display()
    )]
    Damaged {
        /// Where.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A name that can't be one.
    #[error("\"{0}\" is not a user name; take 1 to 32 of a-z, A-Z, 0-9, dot, dash and underscore")]
    Name(String),
    /// A name that records use for something else.
    #[error("records use the name \"{0}\" for something that is no user; choose another")]
    Reserved(String),
    /// Too short or too long.
    #[error("the password must have {} to {} bytes; choose another", password::SHORTEST, password::LONGEST)]
    Password,
    /// There is one already.
    #[error("there is already a user \"{0}\"; remove it first, or choose another name")]
    Exists(String),
    /// There is none.
    #[error("there is no user \"{0}\"; `explaind users list` shows who there is")]
    Unknown(String),
    /// The file is full.
    #[error("there are already {MOST} users, which is the most; remove one first")]
    TooMany,
    /// It could not be hashed.
    #[error(transparent)]
    Hash(#[from] password::HashError),
}

/// The file of accounts, for those who change it.
pub(crate) struct UsersFile {
    pub(super) folder: PathBuf,
    path: PathBuf,
}

impl UsersFile {
    /// The file of the daemon that keeps its state in `state_dir`.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { folder: state_dir.to_owned(), path: state_dir.join("users.json") }
    }

    /// All accounts, by name. No file means nobody yet.
    pub(crate) fn list(&self) -> Result<Vec<User>, UsersError> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file.take(LARGEST).read_to_string(&mut text).map_err(|source| self.io("read", source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io("read", source)),
        };
        let damaged = |line, reason| UsersError::Damaged { path: self.path.clone(), line, reason };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| damaged(error.line(), error.to_string()))?;
        if stored.version != VERSION {
            return Err(damaged(1, format!("its version is {}, known is {VERSION}", stored.version)));
        }
        Ok(stored.users)
    }

    /// Adds an account. `added_at` is RFC 3339.
    pub(crate) fn add(&self, name: &str, role: UserRole, secret: &str, added_at: String) -> Result<(), UsersError> {
        check_name(name)?;
        if !(password::SHORTEST..=password::LONGEST).contains(&secret.len()) {
            return Err(UsersError::Password);
        }
        let password = password::hash(secret)?.into();
        self.insert(User { name: name.into(), role, password, added_at })
    }

    /// Adds a machine, and returns the token that it carries from now on: it is kept nowhere.
    pub(crate) fn add_machine(&self, name: &str, role: UserRole, added_at: String) -> Result<String, UsersError> {
        check_name(name)?;
        let token = token::fresh();
        let password = token::digest(&token).into();
        self.insert(User { name: name.into(), role, password, added_at })?;
        Ok(token)
    }

    fn insert(&self, user: User) -> Result<(), UsersError> {
        let change = Change::of(true, token::is_digest(&user.password), &user.name, user.role);
        self.change(|users| {
            if users.iter().any(|known| known.name == user.name) {
                return Err(UsersError::Exists(user.name.to_string()));
            }
            if users.len() >= MOST {
                return Err(UsersError::TooMany);
            }
            users.push(user);
            users.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(change)
        })
    }

    /// Removes an account. Whoever is signed in with it is out with the next request.
    pub(crate) fn remove(&self, name: &str) -> Result<(), UsersError> {
        self.change(|users| {
            let place = users.iter().position(|user| &*user.name == name);
            let user = place.map(|place| users.remove(place)).ok_or_else(|| UsersError::Unknown(name.to_owned()))?;
            Ok(Change::of(false, token::is_digest(&user.password), &user.name, user.role))
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<User>) -> Result<Change, UsersError>) -> Result<(), UsersError> {
        let _turn = self.turn()?;
        let mut users = self.list()?;
        let change = change(&mut users)?;
        // First, so that nothing is changed that nobody is told of.
        self.note(&change)?;
        self.store(users)
    }

    /// Waits for other writers; the lock goes with the returned file.
    pub(super) fn turn(&self) -> Result<File, UsersError> {
        let path = self.folder.join("users.lock");
        // The first account may come before the first run. systemd hands a folder made by root to the service's user.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(|source| UsersError::Io {
            doing: "create",
            path: self.folder.clone(),
            source,
        })?;
        let fail = |source| UsersError::Io { doing: "lock", path: path.clone(), source };
        // Root runs this in a folder that belongs to the service: a link planted there must not be followed, nor a file
        // that has another name elsewhere be given away.
        let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let options =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link).clone();
        let file = options.open(&path).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        if !found.is_file() || found.nlink() != 1 {
            return Err(fail(io::Error::other("it is no plain file of its own; remove it")));
        }
        self.give_to_owner(&file).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }

    fn store(&self, users: Vec<User>) -> Result<(), UsersError> {
        let fail = |source| self.io("write", source);
        let mut text = serde_json::to_string_pretty(&Stored { version: VERSION, users })
            .map_err(|error| fail(io::Error::other(error)))?;
        text.push('\n');
        let beside = self.folder.join("users.json.new");
        // Left over from a writer that was killed; whoever holds the lock may clear it away.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(fail)?;
        self.give_to_owner(&file).map_err(fail)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        fs::rename(&beside, &self.path).map_err(fail)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fail)
    }

    /// When root adds a user, the file must belong to whom the state belongs, or the daemon could not read it.
    pub(super) fn give_to_owner(&self, file: &File) -> io::Result<()> {
        let folder = fs::metadata(&self.folder)?;
        let ours = file.metadata()?;
        if rustix::process::geteuid().is_root() && (folder.uid(), folder.gid()) != (ours.uid(), ours.gid()) {
            fchown(file, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(())
    }

    fn io(&self, doing: &'static str, source: io::Error) -> UsersError {
        UsersError::Io { doing, path: self.path.clone(), source }
    }

    /// What changes whenever the file does.
    fn stamp(&self) -> Option<Stamp> {
        let meta = fs::metadata(&self.path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
    }
}

type Stamp = (u64, u64, u64, i64, i64, i64, i64);

fn check_name(name: &str) -> Result<(), UsersError> {
    let short = || name.chars().take(2 * LONGEST_NAME).collect();
    // Before its form: for `mqtt:anna` that is what is wrong.
    if pseudonym::is_reserved(name) {
        return Err(UsersError::Reserved(short()));
    }
    if is_name(name) { Ok(()) } else { Err(UsersError::Name(short())) }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// The accounts as the daemon sees them: the file's, and under them the demo's where it is on.
pub(crate) struct Accounts {
    file: UsersFile,
    demo: Vec<User>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    stamp: Option<Stamp>,
    looked: bool,
    users: Arc<HashMap<Arc<str>, User>>,
}

impl Accounts {
    /// Reads the file; one that cannot be read is an error here, so that it is seen at start.
    pub(crate) fn open(file: UsersFile, demo: Vec<User>) -> Result<Self, UsersError> {
        file.list()?;
        if fs::metadata(&file.path).is_ok_and(|meta| meta.mode() & 0o077 != 0) {
            tracing::warn!(path = %file.path.display(), "others can read the password hashes; run chmod 600 on the file");
        }
        Ok(Self { file, demo, known: Mutex::default() })
    }

    /// Where they come from.
    pub(crate) fn file(&self) -> &UsersFile {
        &self.file
    }

    /// The account of that name, as of now. While a changed file cannot be read, the accounts stay as they were.
    pub(crate) fn get(&self, name: &str) -> Option<User> {
        self.now().get(name).cloned()
    }

    /// The machine that carries this token, as of now.
    pub(crate) fn machine(&self, given: &str) -> Option<User> {
        let digest = token::digest(given);
        // Digests of tokens that nobody can guess: comparing them tells nothing.
        self.now().values().find(|user| *user.password == *digest).cloned()
    }

    fn now(&self) -> Arc<HashMap<Arc<str>, User>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.file.stamp();
        if !known.looked || known.stamp != stamp {
            match self.file.list() {
                Ok(users) => {
                    // The file comes last: an account made there replaces the demo's of the same name.
                    let all = self.demo.iter().cloned().chain(users);
                    known.users = Arc::new(all.map(|user| (Arc::clone(&user.name), user)).collect());
                }
                Err(error) => tracing::error!(%error, "the accounts stay as they were"),
            }
            known.stamp = stamp;
            known.looked = true;
        }
        Arc::clone(&known.users)
    }
}

/// The demo's accounts. Their password is known to everybody: see `demo_accounts` in the configuration.
pub(crate) fn demo() -> Result<Vec<User>, UsersError> {
    let password: Arc<str> = password::hash("demo")?.into();
    let user =
        |name: &str, role| User { name: name.into(), role, password: Arc::clone(&password), added_at: String::new() };
    Ok(vec![user("technician", UserRole::Technician), user("engineer", UserRole::Engineer)])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn add(file: &UsersFile, name: &str) -> Result<(), UsersError> {
        file.add(name, UserRole::Technician, "long enough", "2026-01-01T00:00:00Z".into())
    }

    #[test]
    fn what_is_added_is_listed_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::of(folder.path());
        assert!(file.list().unwrap().is_empty());
        add(&file, "otto").unwrap();
        add(&file, "anna").unwrap();
        let names: Vec<_> = file.list().unwrap().iter().map(|user| user.name.to_string()).collect();
        assert_eq!(names, ["anna", "otto"]);
        let mode = fs::metadata(folder.path().join("users.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(add(&file, "anna"), Err(UsersError::Exists(_))));
        file.remove("anna").unwrap();
        assert!(matches!(file.remove("anna"), Err(UsersError::Unknown(_))));
        assert_eq!(file.list().unwrap().len(), 1);
    }

    #[test]
    fn names_and_passwords_are_held_to_the_rules() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::of(folder.path());
        for name in ["", "a b", "a/b", "ä", "<b>", &"x".repeat(33)] {
            assert!(matches!(add(&file, name), Err(UsersError::Name(_))), "{name}");
        }
        for name in ["root", "Registry", "explaind", "unknown", "mqtt:anna", "uid:7", "p-0123abcd-0123456789abcdef"] {
            let refused = add(&file, name).unwrap_err();
            assert!(matches!(refused, UsersError::Reserved(_)) && refused.to_string().contains(name), "{name}");
            assert!(matches!(file.add_machine(name, UserRole::Collector, String::new()), Err(UsersError::Reserved(_))));
        }
        let short = file.add("anna", UserRole::Viewer, "short", String::new());
        assert!(matches!(short, Err(UsersError::Password)));
        let long = file.add("anna", UserRole::Viewer, &"x".repeat(257), String::new());
        assert!(matches!(long, Err(UsersError::Password)));
    }

    #[test]
    fn a_damaged_file_says_where_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::of(folder.path());
        fs::write(folder.path().join("users.json"), "{\"version\":1,\n\"users\":[}").unwrap();
        let sentence = file.list().unwrap_err().to_string();
        assert!(sentence.contains("users.json, line 2") && sentence.contains("restore it"), "{sentence}");
    }

    #[test]
    fn the_daemon_sees_changes_at_once_and_survives_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::of(folder.path());
        let accounts = Accounts::open(UsersFile::of(folder.path()), demo().unwrap()).unwrap();
        assert!(accounts.get("technician").is_some() && accounts.get("anna").is_none());
        add(&file, "anna").unwrap();
        assert!(accounts.get("anna").is_some());
        fs::write(folder.path().join("users.json"), "{").unwrap();
        assert!(accounts.get("anna").is_some());
        fs::remove_file(folder.path().join("users.json")).unwrap();
        assert!(accounts.get("anna").is_none() && accounts.get("engineer").is_some());
    }

    #[test]
    fn a_real_account_replaces_the_demo_account_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        add(&UsersFile::of(folder.path()), "engineer").unwrap();
        let accounts = Accounts::open(UsersFile::of(folder.path()), demo().unwrap()).unwrap();
        assert_eq!(accounts.get("engineer").unwrap().role, UserRole::Technician);
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = folder.path();
                scope.spawn(move || add(&UsersFile::of(path), &format!("user-{n}")).unwrap());
            }
        });
        assert_eq!(UsersFile::of(folder.path()).list().unwrap().len(), 8);
    }
}
