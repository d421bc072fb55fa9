//! How far each collector has come: whoever asks for records after a number has all up to it.
//!
//! `<state_dir>/collectors.json`, replaced as a whole. It is a convenience and no truth: collectors that keep their own
//! cursors need none of it, and one that is lost makes a collector name its cursor again. A cursor belongs to an account,
//! not to its name: an account that is made anew under the same name begins anew, and cursors go with their accounts.
//!
//! Where no registry is configured, what collectors have is what has gone home, and may be evicted as such
//! ([`Collectors::arrived`]). Of several the least advanced counts, since each of them was told that it can rely on its
//! cursor; but not one that has not come for 30 days, or a collector that was set up once for a try would keep the
//! records until the disk is full, and predictions would stop for the sake of nobody. It is answered with 410 when it
//! comes back, and nothing is passed over in silence. Engineers look, and do not count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use explaind_core::domain::feedback::UserRole;
use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of the file's form.
const VERSION: u32 = 2;
/// Largest file read.
const LARGEST: u64 = 1 << 20;
/// Most collectors that are remembered, as many as there may be accounts.
const MOST: usize = 500;
/// How long a collector that does not come is waited for.
const PATIENCE: i64 = 30 * DAY;
/// That a collector came is written down this often, when its cursor stays.
const DAY: i64 = 86_400_000_000;

/// The account behind a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its name.
    pub(crate) name: String,
    /// What tells it from an earlier or a later one of the same name.
    pub(crate) stamp: String,
    /// What it may do.
    pub(crate) role: UserRole,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    collectors: BTreeMap<String, Known>,
}

/// What is known of one account.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Known {
    /// Its stamp; empty in what an earlier version left, which is whoever has the name.
    account: String,
    streams: BTreeMap<String, Mark>,
}

/// How far it has come in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// All up to here.
    through: u64,
    /// When it last came, in microseconds since 1970.
    at: i64,
}

/// The form of earlier versions: name, stream, number.
#[derive(Deserialize)]
struct Earlier {
    collectors: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Known {
    fn is_of(&self, account: &Account) -> bool {
        self.account.is_empty() || self.account == account.stamp
    }
}

/// The cursors of all collectors.
#[derive(Debug)]
pub(crate) struct Collectors {
    path: PathBuf,
    known: Mutex<Stored>,
}

impl Collectors {
    /// Reads the file; one that makes no sense is as good as none. `now` is when collectors of an earlier version's file
    /// count as having come.
    pub(crate) fn open(state_dir: &Path, now: Timestamp) -> Self {
        let path = state_dir.join("collectors.json");
        let known = read(&path, now).unwrap_or_else(|reason| {
            tracing::warn!(path = %path.display(), reason, "collectors must name their cursors anew");
            None
        });
        Self { path, known: Mutex::new(known.unwrap_or(Stored { version: VERSION, collectors: BTreeMap::new() })) }
    }

    /// The number up to which a collector has a stream.
    pub(crate) fn cursor(&self, account: &Account, stream: Stream) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.collectors.get(&account.name).filter(|known| known.is_of(account))?;
        known.streams.get(stream.as_str()).map(|mark| mark.through)
    }

    /// Notes that a collector came, and how far it has come. That it cannot be kept stops nobody. `find` knows the
    /// accounts that there are: cursors of others go.
    pub(crate) fn note(
        &self,
        account: &Account,
        stream: Stream,
        through: u64,
        now: Timestamp,
        find: impl Fn(&str) -> Option<Account>,
    ) {
        let mut stored = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = stored.collectors.get(&account.name).filter(|known| known.is_of(account));
        let mark = known.and_then(|known| known.streams.get(stream.as_str()));
        let lately = |mark: &&Mark| mark.through == through && (now.as_micros() - mark.at).abs() < DAY;
        if mark.filter(lately).is_some() && known.is_some_and(|known| known.account == account.stamp) {
            return;
        }
        stored.collectors.retain(|name, known| find(name).is_some_and(|there| known.is_of(&there)));
        if !stored.collectors.contains_key(&account.name) && stored.collectors.len() >= MOST {
            return;
        }
        let known = stored.collectors.entry(account.name.clone()).or_default();
        known.account.clone_from(&account.stamp);
        known.streams.insert(stream.as_str().to_owned(), Mark { through, at: now.as_micros() });
        if let Err(error) = write(&self.path, &stored) {
            tracing::warn!(path = %self.path.display(), %error, "the cursors of collectors could not be kept");
        }
    }

    /// The number up to which all collectors have a stream that still come for it; `None` when none does.
    pub(crate) fn arrived(
        &self,
        stream: Stream,
        now: Timestamp,
        find: impl Fn(&str) -> Option<Account>,
    ) -> Option<u64> {
        let stored = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut least = None;
        for (name, known) in &stored.collectors {
            let counts = |there: &Account| there.role == UserRole::Collector && known.is_of(there);
            let Some(mark) = known.streams.get(stream.as_str()) else { continue };
            // A clock that was put back makes nobody old.
            if now.as_micros().saturating_sub(mark.at) <= PATIENCE && find(name).filter(counts).is_some() {
                least = Some(least.map_or(mark.through, |least: u64| least.min(mark.through)));
            }
        }
        least
    }
}

fn read(path: &Path, now: Timestamp) -> Result<Option<Stored>, String> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(1) => {
            let earlier: Earlier = serde_json::from_value(value).map_err(|error| error.to_string())?;
            let mark = |through| Mark { through, at: now.as_micros() };
            let collectors = earlier.collectors.into_iter().map(|(name, streams)| {
                let streams = streams.into_iter().map(|(stream, through)| (stream, mark(through))).collect();
                (name, Known { account: String::new(), streams })
            });
            Ok(Some(Stored { version: VERSION, collectors: collectors.collect() }))
        }
        Some(2) => serde_json::from_value(value).map(Some).map_err(|error| error.to_string()),
        other => Err(format!("its version is {other:?}")),
    }
}

fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let text = serde_json::to_vec(stored).map_err(io::Error::other)?;
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, stamp: &str) -> Account {
        Account { name: name.to_owned(), stamp: stamp.to_owned(), role: UserRole::Collector }
    }

    fn day(n: i64) -> Timestamp {
        Timestamp::from_micros(n * DAY)
    }

    /// Accounts of these names, all made at the same time.
    fn all(name: &str) -> Option<Account> {
        Some(account(name, "1"))
    }

    #[test]
    fn cursors_outlive_the_daemon_and_a_damaged_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let central = account("central", "1");
        let collectors = Collectors::open(folder.path(), day(0));
        assert_eq!(collectors.cursor(&central, Stream::Alerts), None);
        collectors.note(&central, Stream::Alerts, 40, day(0), all);
        collectors.note(&central, Stream::Predictions, 7, day(0), all);
        collectors.note(&central, Stream::Alerts, 30, day(0), all);
        let again = Collectors::open(folder.path(), day(0));
        assert_eq!(again.cursor(&central, Stream::Alerts), Some(30), "a collector may go back");
        assert_eq!(again.cursor(&central, Stream::Predictions), Some(7));
        assert_eq!(again.cursor(&account("other", "1"), Stream::Alerts), None);
        fs::write(folder.path().join("collectors.json"), "{").unwrap();
        assert_eq!(Collectors::open(folder.path(), day(0)).cursor(&central, Stream::Alerts), None);
    }

    #[test]
    fn a_cursor_belongs_to_an_account_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (account("central", "1"), account("central", "2"));
        let collectors = Collectors::open(folder.path(), day(0));
        collectors.note(&old, Stream::Alerts, 40, day(0), all);
        assert_eq!(collectors.cursor(&new, Stream::Alerts), None, "made anew, it begins anew");
        let only_new = |name: &str| (name == "central").then(|| account(name, "2"));
        assert_eq!(collectors.arrived(Stream::Alerts, day(0), only_new), None);
        collectors.note(&account("other", "1"), Stream::Alerts, 3, day(0), |name| {
            (name == "other").then(|| account(name, "1"))
        });
        assert_eq!(collectors.cursor(&old, Stream::Alerts), None, "the account is gone, and so is its cursor");
        let text = fs::read_to_string(folder.path().join("collectors.json")).unwrap();
        assert!(!text.contains("central"), "{text}");
    }

    #[test]
    fn the_slowest_that_still_comes_counts() {
        let folder = tempfile::tempdir().unwrap();
        let collectors = Collectors::open(folder.path(), day(0));
        assert_eq!(collectors.arrived(Stream::Alerts, day(0), all), None);
        collectors.note(&account("fast", "1"), Stream::Alerts, 90, day(0), all);
        collectors.note(&account("slow", "1"), Stream::Alerts, 10, day(0), all);
        collectors.note(&account("fast", "1"), Stream::Health, 5, day(0), all);
        assert_eq!(collectors.arrived(Stream::Alerts, day(30), all), Some(10));
        assert_eq!(
            collectors.arrived(Stream::Health, day(1), all),
            Some(5),
            "who never came for a stream is not asked"
        );
        collectors.note(&account("fast", "1"), Stream::Alerts, 90, day(20), all);
        let again = Collectors::open(folder.path(), day(31));
        assert_eq!(again.arrived(Stream::Alerts, day(31), all), Some(90), "one is not waited for any more");
        assert_eq!(again.arrived(Stream::Alerts, day(-5), all), Some(10), "a clock that is wrong makes nobody old");
        let engineer = |name: &str| Some(Account { role: UserRole::Engineer, ..account(name, "1") });
        assert_eq!(again.arrived(Stream::Alerts, day(20), engineer), None, "who looks does not collect");
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"version":1,"collectors":{"central":{"alerts":40}}}"#;
        fs::write(folder.path().join("collectors.json"), text).unwrap();
        let collectors = Collectors::open(folder.path(), day(3));
        let central = account("central", "1");
        assert_eq!(collectors.cursor(&central, Stream::Alerts), Some(40));
        assert_eq!(collectors.arrived(Stream::Alerts, day(4), all), Some(40));
        collectors.note(&central, Stream::Alerts, 40, day(3), all);
        assert_eq!(
            collectors.cursor(&account("central", "2"), Stream::Alerts),
            None,
            "from now on it is this account's"
        );
    }
}
