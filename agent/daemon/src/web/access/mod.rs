//! Who may: accounts, sign-in, sessions, and the people on the Unix socket.

mod changes;
mod gate;
mod password;
mod seen;
mod session;
mod throttle;
mod token;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::feedback::UserRole;
use explaind_core::domain::record::NewRecord;
use explaind_core::domain::time::Now;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use gate::Identified;
pub(crate) use gate::{
    COOKIE, COOKIE_BY_TLS, Collector, Engineer, Technician, Viewer, identify, read, same_origin, session_key,
};
pub(crate) use seen::Seen;
pub(crate) use session::Key;
pub(crate) use throttle::Throttle;
pub(crate) use users::{User, UsersError, UsersFile};

use seen::Readers;
use session::Sessions;
use users::Accounts;

/// Password checks at once: each takes 19 MiB and a core.
const HASHING: usize = 2;
/// How long a sign-in waits for its turn at the passwords.
const HASHING_PATIENCE: Duration = Duration::from_secs(10);
/// People on the socket whose reading is remembered: root and the daemon's own user; more in a container's odd cases.
const MOST_ON_SOCKET: usize = 16;
/// Tokens whose reading is remembered.
const MOST_TOKENS: usize = 100;

/// Who a request comes from, on the level of its connection.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Over the network.
    Tcp(IpAddr),
    /// Over the Unix socket, by the kernel's word.
    Socket {
        /// The other process's user.
        uid: u32,
        /// That user's name, or `uid:N`.
        name: Arc<str>,
    },
}

/// Somebody whom the gateway knows.
#[derive(Clone)]
pub(crate) struct Actor {
    /// The name recorded as author.
    pub(crate) name: Arc<str>,
    /// What they may do.
    pub(crate) role: UserRole,
    /// The explanations served to this sign-in, or to this token.
    pub(crate) seen: Arc<Seen>,
    /// The sign-in behind it; `None` on the socket.
    pub(crate) session: Option<SignedIn>,
    /// What tells the account from an earlier or a later one of the same name; `None` on the socket, where there is none.
    pub(crate) account: Option<String>,
}

/// What binds an [`Actor`] to a browser.
#[derive(Clone)]
pub(crate) struct SignedIn {
    /// Which session.
    pub(crate) key: Key,
    /// What forms carry to show that they are ours.
    pub(crate) csrf: Arc<str>,
    /// Cancelled when the session is ended early.
    pub(crate) ended: CancellationToken,
}

/// Why a sign-in was refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// Name or password is wrong; which one is not said. `known`: whether there is such an account, for the audit only.
    Wrong {
        /// Whether there is such an account.
        known: bool,
    },
    /// Too many tries; the wait until the next.
    TooMany(Duration),
    /// Passwords of others are being checked, or there is no randomness.
    Busy,
}

/// All that decides who may do what.
pub(crate) struct Access {
    accounts: Accounts,
    sessions: Sessions,
    by_account: Throttle,
    by_address: Throttle,
    hashing: Semaphore,
    /// A hash that no password fits: names that nobody has take as long as others.
    nobody: Arc<str>,
    on_socket: Readers<u32>,
    by_token: Readers<String>,
    own_uid: u32,
}

impl Access {
    /// Opens the accounts. Hashes passwords, so it takes a moment: not for an async task.
    ///
    /// # Errors
    /// When the users file cannot be read, or no password can be hashed.
    pub(crate) fn open(
        file: UsersFile,
        demo_accounts: bool,
        idle: Duration,
        lifetime: Duration,
    ) -> Result<Self, UsersError> {
        let demo = if demo_accounts { users::demo()? } else { Vec::new() };
        Ok(Self {
            accounts: Accounts::open(file, demo)?,
            sessions: Sessions::new(idle, lifetime),
            by_account: Throttle::new(10, Duration::from_secs(30)),
            by_address: Throttle::new(30, Duration::from_secs(5)),
            hashing: Semaphore::new(HASHING),
            nobody: password::hash(&uuid::Uuid::from_bytes(fresh()).to_string())?.into(),
            on_socket: Readers::new(MOST_ON_SOCKET),
            by_token: Readers::new(MOST_TOKENS),
            own_uid: rustix::process::geteuid().as_raw(),
        })
    }

    /// Signs in and returns the session's token.
    pub(crate) async fn sign_in(&self, from: IpAddr, name: &str, secret: &str, now: Now) -> Result<String, Refused> {
        self.by_address.take(from, now).map_err(Refused::TooMany)?;
        self.by_account.take(name, now).map_err(Refused::TooMany)?;
        let user = self.accounts.get(name);
        let hash = user.as_ref().map_or_else(|| Arc::clone(&self.nobody), |user| Arc::clone(&user.password));
        let secret = secret.to_owned();
        let turn = timeout(HASHING_PATIENCE, self.hashing.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Refused::Busy) };
        let fits = spawn_blocking(move || password::verify(&secret, &hash)).await.unwrap_or(false);
        let known = user.is_some();
        match user {
            Some(user) if fits => {
                self.by_account.give_back(name);
                self.by_address.give_back(from);
                self.sessions.begin(user.name, user.password, now).map_err(|_| Refused::Busy)
            }
            _ => Err(Refused::Wrong { known }),
        }
    }

    /// Who this session belongs to, by the accounts of now. `touch`: see [`Sessions::find`].
    pub(crate) fn session(&self, key: &Key, now: Now, touch: bool) -> Option<Actor> {
        let session = self.sessions.find(key, now, touch)?;
        match self.accounts.get(&session.user) {
            Some(user) if user.password == session.password => Some(Actor {
                account: Some(user.stamp()),
                name: user.name,
                role: user.role,
                seen: session.seen,
                session: Some(SignedIn { key: *key, csrf: session.csrf, ended: session.ended }),
            }),
            // The account is gone, or its password is another: so is the session.
            _ => {
                self.sessions.end(key);
                None
            }
        }
    }

    /// The machine that carries this token.
    pub(crate) fn machine(&self, token: &str) -> Option<Actor> {
        let user = self.accounts.machine(token)?;
        let account = user.stamp();
        let seen = self.by_token.of(&account);
        Some(Actor { name: user.name, role: user.role, seen, session: None, account: Some(account) })
    }

    /// Ends a session.
    pub(crate) fn sign_out(&self, key: &Key) {
        self.sessions.end(key);
    }

    /// Who this is on the Unix socket: root and the daemon's own user are engineers, nobody else is anybody.
    pub(crate) fn on_socket(&self, uid: u32, name: &Arc<str>) -> Option<Actor> {
        if uid != 0 && uid != self.own_uid {
            return None;
        }
        let seen = self.on_socket.of(&uid);
        Some(Actor { name: Arc::clone(name), role: UserRole::Engineer, seen, session: None, account: None })
    }

    /// Has the changes of accounts that people made kept on record. Waits for the disk: not for an async task.
    ///
    /// # Errors
    /// When they cannot be read, or `keep` fails: they stay for the next time.
    pub(crate) fn take_changes<E: From<UsersError>>(
        &self,
        now: Now,
        keep: impl FnOnce(Vec<NewRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.accounts.file().take_changes(now, keep)
    }

    /// The role and the stamp of the account of this name, as of now.
    pub(crate) fn account(&self, name: &str) -> Option<(UserRole, String)> {
        self.accounts.get(name).map(|user| (user.role, user.stamp()))
    }
}

fn fresh() -> [u8; 16] {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(10);
    head.copy_from_slice(&crate::clock::random());
    tail.copy_from_slice(&crate::clock::random()[..6]);
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use explaind_core::domain::time::Timestamp;

    use super::session::key;
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn at(seconds: u64) -> Now {
        Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_secs(seconds) }
    }

    fn access(folder: &std::path::Path) -> Access {
        let file = UsersFile::of(folder);
        file.add("anna", UserRole::Viewer, "long enough", String::new()).unwrap();
        Access::open(file, false, Duration::from_secs(3600), Duration::from_secs(7200)).unwrap()
    }

    #[tokio::test]
    async fn the_right_password_signs_in_and_the_wrong_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(folder.path());
        let token = access.sign_in(HERE, "anna", "long enough", at(0)).await.unwrap();
        let actor = access.session(&key(&token), at(1), true).unwrap();
        assert_eq!((&*actor.name, actor.role), ("anna", UserRole::Viewer));
        let wrong = access.sign_in(HERE, "anna", "long enougH", at(0)).await;
        assert_eq!(wrong, Err(Refused::Wrong { known: true }));
        let nobody = access.sign_in(HERE, "technician", "demo", at(0)).await;
        assert_eq!(nobody, Err(Refused::Wrong { known: false }), "no demo accounts unless asked for");
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_even_for_the_right_password() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(folder.path());
        for _ in 0..10 {
            let wrong = access.sign_in(HERE, "anna", "guess", at(0)).await;
            assert_eq!(wrong, Err(Refused::Wrong { known: true }));
        }
        assert!(matches!(access.sign_in(HERE, "anna", "long enough", at(0)).await, Err(Refused::TooMany(_))));
        assert!(access.sign_in(HERE, "anna", "long enough", at(31)).await.is_ok());
    }

    #[tokio::test]
    async fn a_removed_account_or_a_new_password_ends_its_sessions() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(folder.path());
        let token = access.sign_in(HERE, "anna", "long enough", at(0)).await.unwrap();
        let file = UsersFile::of(folder.path());
        file.remove("anna").unwrap();
        assert!(access.session(&key(&token), at(1), true).is_none());
        file.add("anna", UserRole::Engineer, "something else", String::new()).unwrap();
        assert!(access.session(&key(&token), at(2), true).is_none(), "the old session does not come back");
    }

    #[test]
    fn on_the_socket_only_root_and_the_daemon_itself_are_anybody() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(folder.path());
        let name: Arc<str> = "root".into();
        assert_eq!(access.on_socket(0, &name).unwrap().role, UserRole::Engineer);
        assert!(access.on_socket(access.own_uid, &name).is_some());
        assert!(access.on_socket(65_534, &name).is_none());
    }
}
