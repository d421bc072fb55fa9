//! The certificate that a gateway makes for itself, and keeps.
//!
//! In `<state_dir>/tls`: `page.pem`, the key (ECDSA P-256) and the certificate in one file, so that a power cut leaves
//! both or neither; `page.crt`, the certificate alone, to be given to tablets; `page.old.pem`, what was there before the
//! certificate had to be made anew. All appear by a rename, after they are on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::TlsError;
use super::identity::{Facts, Identity};
use super::names::Names;

const BOTH: &str = "page.pem";
const SHOWN: &str = "page.crt";
const OLD: &str = "page.old.pem";
/// No file of ours is larger.
const LARGEST: u64 = 64 << 10;

/// Where it is kept.
pub(super) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("tls")
}

/// What is there.
pub(super) enum Found {
    /// One that can be served.
    Fits(Facts),
    /// One that cannot, and why.
    Misfit(String),
    /// None.
    Nothing,
    /// Nobody can say.
    Unreadable(io::Error),
}

/// Looks, and changes nothing.
pub(super) fn look(folder: &Path, names: &Names) -> Found {
    match read(&folder.join(BOTH)) {
        Ok(text) => match fitting(&text, &folder.join(BOTH), names) {
            Ok(identity) => Found::Fits(identity.facts),
            Err(reason) => Found::Misfit(reason),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Found::Nothing,
        Err(error) => Found::Unreadable(error),
    }
}

/// What is there, or a new one where there is none that fits; and the file that can be given away.
///
/// # Errors
/// When the folder cannot be read or written.
pub(super) fn open(folder: &Path, gateway: &str, names: &Names) -> Result<(Identity, PathBuf), TlsError> {
    let (both, shown) = (folder.join(BOTH), folder.join(SHOWN));
    let failed =
        |error| TlsError::Io { doing: format!("keeping the page's certificate in {}", folder.display()), error };
    match read(&both) {
        Ok(text) => match fitting(&text, &both, names) {
            Ok(identity) => {
                if let Some(certificate) = certificate(&text)
                    && fs::read_to_string(&shown).ok().as_deref() != Some(certificate)
                    && let Err(error) = replace(folder, SHOWN, certificate, 0o644)
                {
                    // The page does without.
                    tracing::warn!(%error, "{} could not be written", shown.display());
                }
                return Ok((identity, shown));
            }
            Err(reason) => {
                let old = folder.join(OLD);
                tracing::warn!(
                    "the page's certificate is made anew, so browsers will ask again: {reason}; the one before is kept as {}",
                    old.display()
                );
                replace(folder, OLD, &text, 0o600).map_err(failed)?;
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::info!("a certificate for the page is made; it is kept in {}", folder.display());
        }
        Err(error) => return Err(failed(error)),
    }
    let text = make(gateway, names).map_err(|error| failed(io::Error::other(error)))?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    if let Some(parent) = folder.parent() {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    }
    replace(folder, BOTH, &text, 0o600).map_err(failed)?;
    replace(folder, SHOWN, certificate(&text).unwrap_or_default(), 0o644).map_err(failed)?;
    let identity = fitting(&text, &both, names).map_err(|reason| failed(io::Error::other(reason)))?;
    Ok((identity, shown))
}

/// What the text holds, if it can be served under these names.
fn fitting(text: &str, path: &Path, names: &Names) -> Result<Identity, String> {
    let place = path.display().to_string();
    let identity = Identity::from_pem((text, &place), (text, &place)).map_err(|fault| fault.message)?;
    match names.missing(&identity.facts.names) {
        None => Ok(identity),
        Some(name) => Err(format!("it is not for \"{name}\"")),
    }
}

/// Valid from 1970, since a gateway without a clock boots there, and up to the last year that is written with two
/// digits, which every client reads. Browsers that limit how long a certificate may be valid do so for those that begin
/// after 2019, or that an authority of theirs vouches for; neither holds here.
fn make(gateway: &str, names: &Names) -> Result<String, rcgen::Error> {
    let all: Vec<String> = names.required.iter().chain(&names.further).cloned().collect();
    let mut params = CertificateParams::new(all)?;
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, gateway);
    called.push(DnType::OrganizationName, "explaind");
    params.distinguished_name = called;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

/// The part of the text that is no secret.
fn certificate(text: &str) -> Option<&str> {
    text.find("-----BEGIN CERTIFICATE-----").and_then(|begin| text.get(begin..))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    // What is no text is no certificate either, which is found out next.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Puts a file in the place of another, on the disk before it gets its name.
fn replace(folder: &Path, name: &str, text: &str, mode: u32) -> io::Result<()> {
    let beside = folder.join(format!("{name}.new"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(required: &[&str]) -> Names {
        let required = required.iter().map(|&name| name.to_owned()).collect();
        Names { required, further: vec!["192.0.2.9".to_owned()], host: None }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_kept() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        let wanted = names(&["localhost", "192.0.2.2", "::1"]);
        assert!(matches!(look(&folder, &wanted), Found::Nothing));
        let (first, shown) = open(&folder, "line-3", &wanted).unwrap();
        assert_eq!(first.facts.not_before.as_micros(), 0, "a gateway boots in 1970");
        assert_eq!(first.facts.names, ["localhost", "192.0.2.2", "::1", "192.0.2.9"]);
        assert_eq!((mode(&folder), mode(&folder.join(BOTH)), mode(&shown)), (0o700, 0o600, 0o644));
        let given = fs::read_to_string(&shown).unwrap();
        assert!(given.starts_with("-----BEGIN CERTIFICATE") && !given.contains("KEY"), "{given}");
        fs::remove_file(&shown).unwrap();
        let (again, _) = open(&folder, "line-3", &wanted).unwrap();
        assert_eq!(again.facts, first.facts);
        assert_eq!(fs::read_to_string(&shown).unwrap(), given);
        assert!(matches!(look(&folder, &wanted), Found::Fits(facts) if facts == first.facts));
    }

    #[test]
    fn it_is_made_anew_for_another_name_or_when_it_is_damaged_and_the_old_one_stays() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        let (first, _) = open(&folder, "line-3", &names(&["localhost"])).unwrap();
        let before = fs::read_to_string(folder.join(BOTH)).unwrap();
        let other = names(&["localhost", "press-shop"]);
        assert!(matches!(look(&folder, &other), Found::Misfit(reason) if reason.contains("press-shop")));
        let (second, _) = open(&folder, "line-3", &other).unwrap();
        assert_ne!(second.facts.fingerprint, first.facts.fingerprint);
        assert_eq!(fs::read_to_string(folder.join(OLD)).unwrap(), before);
        assert_eq!(mode(&folder.join(OLD)), 0o600);
        // Cut off, as by a card that loses blocks.
        for damage in [&b""[..], b"-----BEGIN PRIVATE KEY-----\nAAAA", b"\0\0\0\xff"] {
            fs::write(folder.join(BOTH), damage).unwrap();
            open(&folder, "line-3", &other).unwrap();
        }
        assert!(matches!(look(&folder, &other), Found::Fits(_)));
    }
}
