//! What stands for the names of people where the gateway's records leave it.
//!
//! A pseudonym is a keyed hash (HMAC-SHA-256, RFC 2104) of a name: the same person has the same one in every record, and
//! whoever has not got the key cannot find a name by trying all that there are. The key is this gateway's own,
//! `pseudonyms.key` in the state folder, made at the first start and never sent. Each pseudonym says by which key it was
//! made: after a key was lost, what the old one made is known as another's, and not taken for forged.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use explaind_core::domain::record::Audit;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The key's file, in the state folder.
const FILE: &str = "pseudonyms.key";
/// Bytes of a key.
const LENGTH: usize = 32;
/// How each pseudonym begins.
const BEGIN: &str = "p-";
/// Hexadecimal digits that tell keys apart.
const DIGITS_OF_KEY: usize = 8;
/// Hexadecimal digits that tell people apart: of a thousand, two share theirs once in 10^13 gateways.
const DIGITS_OF_NAME: usize = 16;
/// What comes before a name that somebody on the broker claimed.
const CLAIMED: &str = "mqtt:";
/// What acts under these names is no person: the daemon, the system's administrator, the registry, and whoever was not let
/// in.
const NOBODY: [&str; 4] = ["explaind", "root", "registry", "unknown"];

/// The key of a gateway. Cheap to clone; it is never shown.
#[derive(Clone)]
pub(crate) struct Pseudonyms {
    key: Arc<[u8; LENGTH]>,
    id: Arc<str>,
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pseudonyms").field(&self.id).finish()
    }
}

impl Pseudonyms {
    /// The key in a state folder; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read; [`io::ErrorKind::InvalidData`] when it is no key.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let mut text = String::new();
        match File::open(folder.join(FILE)) {
            Ok(file) => file.take(4 * LENGTH as u64).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = unhex(text.trim()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no key"))?;
        Ok(Some(Self::of_key(key)))
    }

    /// The key in a state folder, which is made where there is none. One that is damaged is set aside.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        match Self::read(folder) {
            Ok(Some(known)) => return Ok(known),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let aside = folder.join(format!("{FILE}.damaged"));
                fs::rename(folder.join(FILE), &aside)?;
                let aside = aside.display();
                tracing::error!(%error, %aside, "the key of pseudonyms is damaged: people have other pseudonyms from now on");
            }
            Err(error) => return Err(error),
        }
        let key = random()?;
        keep(folder, &key)?;
        Ok(Self::of_key(key))
    }

    /// A key for as long as this process runs.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn passing() -> io::Result<Self> {
        random().map(Self::of_key)
    }

    fn of_key(key: [u8; LENGTH]) -> Self {
        let id = hex(&digest(&key, "key", ""), DIGITS_OF_KEY);
        Self { key: Arc::new(key), id: id.into() }
    }

    /// What tells this key from others. It gives nothing of it away.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What stands for a name: itself where it is no person's.
    pub(crate) fn of(&self, name: &str) -> String {
        match name.strip_prefix(CLAIMED) {
            Some(claimed) => format!("{CLAIMED}{}", self.person(claimed)),
            None if NOBODY.contains(&name) => name.to_owned(),
            None => self.person(name),
        }
    }

    /// The object of an audit record, with what stands for the user that it names.
    pub(crate) fn in_object(&self, object: &str) -> String {
        Audit::user_in(object).map_or_else(|| object.to_owned(), |name| format!("user {}", self.of(name)))
    }

    /// What stands for something that a person does once, under a key that they chose: 64 bits that lead back to neither.
    pub(crate) fn mark(&self, name: &str, key: &str) -> u64 {
        let digest = digest(&self.key, "once", &format!("{name}\0{key}"));
        digest.iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }

    fn person(&self, name: &str) -> String {
        format!("{BEGIN}{}-{}", self.id, hex(&digest(&self.key, "name", name), DIGITS_OF_NAME))
    }
}

/// Whether records use this name for something that is no person, or it looks like what stands for one.
pub(crate) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NOBODY.contains(&name.as_str()) || name.starts_with(CLAIMED) || name.starts_with("uid:") || key_in(&name).is_some()
}

/// The id of the key that made this pseudonym; `None` when it is none.
pub(crate) fn key_in(text: &str) -> Option<&str> {
    let text = text.strip_prefix(CLAIMED).unwrap_or(text).strip_prefix(BEGIN)?;
    let (key, name) = text.split_once('-')?;
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex(key, DIGITS_OF_KEY) && is_hex(name, DIGITS_OF_NAME)).then_some(key)
}

/// The keyed hash of a text that is used for one thing.
fn digest(key: &[u8; LENGTH], purpose: &str, text: &str) -> [u8; 32] {
    // A key may have any length, so this is never empty; there is no other error.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in ["explaind pseudonym", purpose] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    text.truncate(digits);
    text
}

fn unhex(text: &str) -> Option<[u8; LENGTH]> {
    let mut key = [0; LENGTH];
    if text.len() != 2 * LENGTH || !text.is_ascii() {
        return None;
    }
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(key)
}

fn random() -> io::Result<[u8; LENGTH]> {
    let mut key = [0; LENGTH];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(key)
}

/// Writes a key down, for its owner alone; it is on disk under its name when this returns.
fn keep(folder: &Path, key: &[u8; LENGTH]) -> io::Result<()> {
    let (path, draft): (PathBuf, PathBuf) = (folder.join(FILE), folder.join(format!("{FILE}.part")));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{}\n", hex(key, 2 * LENGTH)).as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_same_person_stays_the_same_over_starts_and_another_gateway_calls_them_otherwise() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Pseudonyms::open(here.path()).unwrap();
        let anna = first.of("anna");
        assert_eq!(Pseudonyms::open(here.path()).unwrap().of("anna"), anna);
        assert_eq!(Pseudonyms::read(here.path()).unwrap().unwrap().of("anna"), anna);
        assert_ne!(first.of("otto"), anna);
        assert_eq!(first.of("mqtt:anna"), format!("mqtt:{anna}"), "the claim is seen, and whose it is");
        let other = Pseudonyms::open(there.path()).unwrap();
        assert_ne!(other.of("anna").rsplit('-').next(), anna.rsplit('-').next());
        assert_eq!((key_in(&anna), key_in(&other.of("mqtt:x"))), (Some(first.id()), Some(other.id())));
        let mode = fs::metadata(here.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Pseudonyms::read(&here.path().join("none")).unwrap().is_none());
        assert!(!format!("{first:?}").contains(&hex(&*first.key, 8)), "the key is never shown");
    }

    #[test]
    fn the_hash_is_the_one_of_the_standard() {
        // RFC 4231, test case 2, by way of the crate; and what is made of it, by Python's hmac module.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        assert!(hex(&mac.finalize().into_bytes(), 16) == "5bdcc146bf60754e");
        let known = Pseudonyms::of_key([7; LENGTH]);
        assert_eq!(known.of("anna"), "p-feac91eb-fcb7a7a070f03afc");
    }

    #[test]
    fn what_is_no_person_keeps_its_name_and_nobody_else_may_have_it() {
        let known = Pseudonyms::passing().unwrap();
        for name in NOBODY {
            assert_eq!(known.of(name), name);
            assert!(is_reserved(name) && is_reserved(&name.to_uppercase()));
        }
        assert!(is_reserved("mqtt:anna") && is_reserved("uid:1000") && is_reserved(&known.of("anna")));
        assert_eq!(key_in(&known.of("mqtt:root")), Some(known.id()), "a claim is a claim");
        for name in ["anna", "p-miller", "p-1-2", "technician", "root2"] {
            assert!(!is_reserved(name) && key_in(&known.of(name)).is_some(), "{name}");
        }
    }

    #[test]
    fn a_damaged_key_is_set_aside_and_another_one_made() {
        let folder = tempfile::tempdir().unwrap();
        let first = Pseudonyms::open(folder.path()).unwrap();
        fs::write(folder.path().join(FILE), "0123").unwrap();
        assert_eq!(Pseudonyms::read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let second = Pseudonyms::open(folder.path()).unwrap();
        assert_ne!(second.id(), first.id());
        assert_eq!(fs::read(folder.path().join("pseudonyms.key.damaged")).unwrap(), b"0123");
        assert_eq!(Pseudonyms::open(folder.path()).unwrap().id(), second.id());
    }
}
