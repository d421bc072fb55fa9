//! Who is signed in: random tokens, of which only hashes are kept, and only in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use explaind_core::domain::time::Now;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::seen::Seen;

/// Most sessions at once. One more ends the one that was idle longest.
const MOST: usize = 1000;
/// Most sessions of one person, so that nobody can push others out by signing in again and again.
const MOST_OF_ONE: usize = 20;

/// Names a session inside the daemon: the SHA-256 of its token.
pub(crate) type Key = [u8; 32];

/// One sign-in.
#[derive(Clone)]
pub(crate) struct Session {
    /// The account's name.
    pub(crate) user: Arc<str>,
    /// The account's password hash at sign-in: a changed password ends the sessions that the old one began.
    pub(crate) password: Arc<str>,
    /// What every change must carry to show that it comes from our own page.
    pub(crate) csrf: Arc<str>,
    /// What was served to it.
    pub(crate) seen: Arc<Seen>,
    /// Cancelled when the session ends before its time.
    pub(crate) ended: CancellationToken,
    began: Now,
    used: Now,
}

/// All sessions of this process.
pub(crate) struct Sessions {
    all: Mutex<HashMap<Key, Session>>,
    idle: Duration,
    lifetime: Duration,
}

impl Sessions {
    /// Sessions that end when unused for `idle`, and in any case after `lifetime`.
    pub(crate) fn new(idle: Duration, lifetime: Duration) -> Self {
        Self { all: Mutex::default(), idle, lifetime }
    }

    /// Begins a session and returns its token, which exists nowhere else.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub(crate) fn begin(&self, user: Arc<str>, password: Arc<str>, now: Now) -> Result<String, getrandom::Error> {
        let (token, csrf) = (secret()?, secret()?);
        let mut all = self.lock();
        self.forget_expired(&mut all, now);
        while all.values().filter(|session| session.user == user).count() >= MOST_OF_ONE {
            drop_idlest(&mut all, |session| session.user == user);
        }
        while all.len() >= MOST {
            drop_idlest(&mut all, |_| true);
        }
        let session = Session {
            user,
            password,
            csrf: csrf.into(),
            seen: Arc::default(),
            ended: CancellationToken::new(),
            began: now,
            used: now,
        };
        all.insert(key(&token), session);
        Ok(token)
    }

    /// The session with this key, if it has not expired. `touch`: whether a person did something, which keeps it from
    /// becoming idle; a page that refreshes itself does not.
    pub(crate) fn find(&self, key: &Key, now: Now, touch: bool) -> Option<Session> {
        let mut all = self.lock();
        let session = all.get_mut(key)?;
        if self.expired(session, now) {
            if let Some(session) = all.remove(key) {
                session.ended.cancel();
            }
            return None;
        }
        if touch {
            session.used = now;
        }
        Some(session.clone())
    }

    /// Ends a session, and with it whatever streams to it.
    pub(crate) fn end(&self, key: &Key) {
        if let Some(session) = self.lock().remove(key) {
            session.ended.cancel();
        }
    }

    fn expired(&self, session: &Session, now: Now) -> bool {
        now.since(session.used) >= self.idle || now.since(session.began) >= self.lifetime
    }

    fn forget_expired(&self, all: &mut HashMap<Key, Session>, now: Now) {
        all.retain(|_, session| {
            let expired = self.expired(session, now);
            if expired {
                session.ended.cancel();
            }
            !expired
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a token. Tokens are 256 random bits, so a plain hash is enough, and looking it up leaks nothing of use.
pub(crate) fn key(token: &str) -> Key {
    Sha256::digest(token.as_bytes()).into()
}

fn drop_idlest(all: &mut HashMap<Key, Session>, among: impl Fn(&Session) -> bool) {
    let idlest = all.iter().filter(|(_, session)| among(session)).min_by_key(|(_, session)| session.used.monotonic);
    if let Some(key) = idlest.map(|(key, _)| *key)
        && let Some(session) = all.remove(&key)
    {
        session.ended.cancel();
    }
}

/// 256 random bits in hexadecimal.
fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::time::Timestamp;

    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Now {
        Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_secs(seconds) }
    }

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(12 * HOUR), Duration::from_secs(7 * 24 * HOUR))
    }

    fn begin(sessions: &Sessions, user: &str, now: Now) -> Key {
        key(&sessions.begin(user.into(), "hash".into(), now).unwrap())
    }

    #[test]
    fn an_idle_session_ends_and_says_so_to_its_streams() {
        let sessions = sessions();
        let one = begin(&sessions, "anna", at(0));
        let session = sessions.find(&one, at(11 * HOUR), true).unwrap();
        assert!(sessions.find(&one, at(22 * HOUR), false).is_some(), "used at 11 h");
        assert!(!session.ended.is_cancelled());
        assert!(sessions.find(&one, at(23 * HOUR), true).is_none(), "looking on without a hand moved does not count");
        assert!(session.ended.is_cancelled());
    }

    #[test]
    fn no_session_lives_for_ever() {
        let sessions = sessions();
        let one = begin(&sessions, "anna", at(0));
        for hour in 0..7 * 24 {
            assert!(sessions.find(&one, at(hour * HOUR), true).is_some(), "hour {hour}");
        }
        assert!(sessions.find(&one, at(7 * 24 * HOUR), true).is_none());
    }

    #[test]
    fn signing_in_again_and_again_pushes_out_only_oneself() {
        let sessions = sessions();
        let other = begin(&sessions, "otto", at(0));
        let first = begin(&sessions, "anna", at(1));
        for second in 0..100 {
            begin(&sessions, "anna", at(2 + second));
        }
        assert!(sessions.find(&first, at(200), true).is_none());
        assert!(sessions.find(&other, at(200), true).is_some());
        assert_eq!(sessions.lock().len(), 1 + MOST_OF_ONE);
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = sessions();
        for user in 0..MOST + 50 {
            begin(&sessions, &format!("user-{user}"), at(user as u64));
        }
        assert_eq!(sessions.lock().len(), MOST);
    }

    #[test]
    fn tokens_are_never_kept_and_never_repeat() {
        let sessions = sessions();
        let one = sessions.begin("anna".into(), "hash".into(), at(0)).unwrap();
        let two = sessions.begin("anna".into(), "hash".into(), at(0)).unwrap();
        assert_ne!(one, two);
        assert_eq!(one.len(), 64);
        assert!(sessions.find(&key(&one), at(0), true).is_some());
        assert!(sessions.find(&key("0"), at(0), true).is_none());
    }
}
