//! TLS for the page: a certificate of the site's own, or one that is made at the first start and kept.
//!
//! A gateway may boot in 1970, so nothing here depends on the clock being right: the certificate made here is valid from
//! 1970 on, and one of the site's own is served whatever the clock says; that it has ended is said, not acted upon.

mod identity;
mod made;
mod names;
mod renewal;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use explaind_core::domain::condition::Condition;
use explaind_core::domain::time::Timestamp;
use explaind_core::pipeline::gateway::Seen;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use self::identity::{Facts, Identity};
use self::names::Names;
use super::settings::{self, ConfigError};
use crate::clock;
use crate::secret::Secret;

/// A certificate that ends within this time raises an alert.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The table `[web.tls]`. An empty one asks for a certificate that is made here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// PEM: the gateway's certificate, then those between it and the authority's.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM: the key that belongs to it.
    pub(crate) key_file: Option<PathBuf>,
    /// The same, as a systemd credential of this name.
    pub(crate) key_credential: Option<String>,
}

impl Config {
    /// Makes relative paths absolute.
    pub(crate) fn resolve(&mut self, base: &Path) {
        for path in [&mut self.certificate, &mut self.key_file].into_iter().flatten() {
            *path = base.join(&*path);
        }
    }

    /// Checks that a certificate and one key are named, or neither.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, message: &str| Err(ConfigError { key: key.to_owned(), message: message.to_owned() });
        match (&self.certificate, &self.key_file, &self.key_credential) {
            (None, None, None) | (Some(_), Some(_), None) | (Some(_), None, Some(_)) => Ok(()),
            (Some(_), None, None) => wrong(
                "tls.certificate",
                "has no key; name it with key_file or key_credential, or remove certificate to have one made",
            ),
            (Some(_), Some(_), Some(_)) => {
                wrong("tls.key_file", "is named beside key_credential; remove one of the two")
            }
            (None, ..) => {
                wrong("tls.certificate", "is missing, though its key is named; name the file with the certificate")
            }
        }
    }

    /// The files of a certificate of the site's own.
    fn files(&self) -> Option<Files> {
        let certificate = self.certificate.clone()?;
        let key = match (&self.key_file, &self.key_credential) {
            (Some(path), _) => Secret::File(path.clone()),
            (None, Some(name)) => Secret::Credential(name.clone()),
            (None, None) => return None,
        };
        Some(Files { certificate, key })
    }
}

/// Where a certificate of the site's own lies.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: Secret,
}

/// Why there is no TLS.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file that the configuration names is not what it should be.
    Config {
        /// The key below `[web]`.
        key: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// The certificate that is made here cannot be kept.
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        error: io::Error,
    },
}

/// What a client is shown, by the newest files.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn set(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What is told of the certificate at work.
#[derive(Debug)]
struct Known {
    facts: Facts,
    /// What is wrong with the files that should take its place.
    error: Option<String>,
}

/// TLS as it is served. Cheap to clone; all clones share the certificate.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    known: Arc<Mutex<Known>>,
    /// The files that a renewal is looked for in; `None`: made here.
    files: Option<Files>,
    /// The file that people can be given: the certificate without its key.
    shown: PathBuf,
    /// The machine's own name, by which the page may be asked for.
    host: Option<Arc<str>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the site's certificate, or the one made here, which is made first where there is none that fits. `None`
    /// without `[web.tls]`.
    ///
    /// # Errors
    /// When a file that is named cannot be used, or what is made here cannot be kept.
    pub(crate) fn open(web: &settings::Config, state_dir: &Path, gateway: &str) -> Result<Option<Self>, TlsError> {
        let Some(config) = &web.tls else { return Ok(None) };
        let names = Names::of(web.listen, &web.hosts);
        let files = config.files();
        let (identity, shown) = match &files {
            Some(files) => (read(files)?, files.certificate.clone()),
            None => made::open(&made::folder(state_dir), gateway, &names)?,
        };
        let Identity { key, facts } = identity;
        // It is served all the same: that nobody could look would be worse, and the clock may be what is wrong.
        if files.is_some() && facts.has_ended(clock::now().utc) {
            tracing::error!("{}", ended(&shown, &facts));
        }
        let current = Arc::new(Current(RwLock::new(key)));
        let acceptor = TlsAcceptor::from(Arc::new(server(Arc::clone(&current) as Arc<dyn ResolvesServerCert>)?));
        let known = Arc::new(Mutex::new(Known { facts, error: None }));
        Ok(Some(Self { acceptor, current, known, files, shown, host: names.host.map(Arc::from) }))
    }

    /// What `explaind check` says of the certificate; makes none.
    ///
    /// # Errors
    /// When a file that is named cannot be used, or has ended.
    pub(crate) fn describe(web: &settings::Config, state_dir: &Path) -> Result<Option<String>, TlsError> {
        let Some(config) = &web.tls else { return Ok(None) };
        let names = Names::of(web.listen, &web.hosts);
        let url = url(web.listen, names.host.as_deref());
        if let Some(files) = config.files() {
            let facts = read(&files)?.facts;
            if facts.has_ended(clock::now().utc) {
                return Err(TlsError::Config { key: "tls.certificate", message: ended(&files.certificate, &facts) });
            }
            let until = day(facts.not_after);
            let file = files.certificate.display();
            return Ok(Some(format!("page: {url}, certificate {file} until {until}, SHA-256 {}", facts.fingerprint)));
        }
        Ok(Some(match made::look(&made::folder(state_dir), &names) {
            made::Found::Fits(facts) => format!("page: {url}, certificate made here, SHA-256 {}", facts.fingerprint),
            made::Found::Misfit(reason) => {
                format!("page: {url}, the certificate made here is made anew at the next start: {reason}")
            }
            made::Found::Nothing => format!(
                "page: {url}, a certificate is made at the first start; `explaind status` then shows its fingerprint"
            ),
            made::Found::Unreadable(error) => {
                format!(
                    "page: {url}, the certificate made here cannot be looked at ({error}); `explaind status` shows its fingerprint"
                )
            }
        }))
    }

    /// What handshakes are made with.
    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Whether the certificate is one of the site's own, which browsers may be told to insist on.
    pub(super) fn is_own(&self) -> bool {
        self.files.is_some()
    }

    /// The machine's own name.
    pub(super) fn host(&self) -> Option<Arc<str>> {
        self.host.clone()
    }

    /// Where the page is, for a person who reads the log.
    pub(crate) fn url(&self, listen: SocketAddr) -> String {
        url(listen, self.host.as_deref())
    }

    /// The SHA-256 fingerprint of the certificate at work, as browsers show it.
    pub(crate) fn fingerprint(&self) -> String {
        self.known().facts.fingerprint.clone()
    }

    /// What the status says.
    pub(crate) fn json(&self) -> Value {
        let known = self.known();
        let soon = ends_soon(&known.facts, clock::now().utc);
        json!({
            "certificate": self.shown,
            "made_here": self.files.is_none(),
            "sha256": known.facts.fingerprint,
            "not_before": clock::rfc3339(known.facts.not_before),
            "not_after": clock::rfc3339(known.facts.not_after),
            "names": known.facts.names,
            "ends_soon": clock::synchronised() && soon,
            "error": known.error,
        })
    }

    /// Whether people must see to the certificate. While the clock is not known to be right, nobody can say that it ends.
    pub(crate) fn condition(&self) -> (Condition, Seen) {
        let known = self.known();
        let now = clock::now().utc;
        let seen = match &known.error {
            Some(error) => Seen::Holds(error.clone()),
            None if self.files.is_none() => Seen::Gone,
            None if !clock::synchronised() => Seen::Unknown,
            None if known.facts.has_ended(now) => Seen::Holds(ended(&self.shown, &known.facts)),
            None if ends_soon(&known.facts, now) => {
                Seen::Holds(format!("{} ends on {}", self.shown.display(), day(known.facts.not_after)))
            }
            None => Seen::Gone,
        };
        (Condition::CertificateEnds, seen)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ends_soon(facts: &Facts, now: Timestamp) -> bool {
    let soon = i64::try_from(SOON.as_micros()).unwrap_or(i64::MAX);
    facts.not_after.as_micros().saturating_sub(now.as_micros()) < soon
}

fn ended(file: &Path, facts: &Facts) -> String {
    format!("the certificate {} ended on {}; renew it, or set the clock right", file.display(), day(facts.not_after))
}

fn day(at: Timestamp) -> String {
    clock::rfc3339(at).chars().take(10).collect()
}

fn url(listen: SocketAddr, host: Option<&str>) -> String {
    match host {
        Some(host) if listen.ip().is_unspecified() => format!("https://{host}:{}/", listen.port()),
        _ => format!("https://{listen}/"),
    }
}

fn read(files: &Files) -> Result<Identity, TlsError> {
    let chain =
        identity::text(&files.certificate).map_err(|message| TlsError::Config { key: "tls.certificate", message })?;
    let (key, place) = match &files.key {
        Secret::File(path) => ("tls.key_file", path.display().to_string()),
        Secret::Credential(name) => ("tls.key_credential", format!("the credential \"{name}\"")),
    };
    let secret = files.key.read().map_err(|message| TlsError::Config { key, message })?;
    Identity::from_pem((&chain, &files.certificate.display().to_string()), (&secret, &place)).map_err(|fault| {
        TlsError::Config { key: if fault.of_key { key } else { "tls.certificate" }, message: fault.message }
    })
}

/// TLS 1.2 and 1.3, HTTP/1.1 inside, nobody but the server shows a certificate.
fn server(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let failed =
        |error: rustls::Error| TlsError::Io { doing: "setting up TLS".to_owned(), error: io::Error::other(error) };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_certificate_and_one_key_or_neither() {
        for fine in ["", "certificate = \"c\"\nkey_file = \"k\"", "certificate = \"c\"\nkey_credential = \"k\""] {
            assert_eq!(parse(fine).check(), Ok(()), "{fine}");
        }
        for (text, key) in [
            ("certificate = \"c\"", "tls.certificate"),
            ("key_file = \"k\"", "tls.certificate"),
            ("key_credential = \"k\"", "tls.certificate"),
            ("certificate = \"c\"\nkey_file = \"k\"\nkey_credential = \"k\"", "tls.key_file"),
        ] {
            assert_eq!(parse(text).check().unwrap_err().key, key, "{text}");
        }
        assert!(toml::from_str::<Config>("key = \"k\"").is_err());
    }

    #[test]
    fn a_relative_path_is_one_beside_the_configuration() {
        let mut config = parse("certificate = \"tls/c.pem\"\nkey_file = \"/k.pem\"");
        config.resolve(Path::new("/etc/explaind"));
        assert_eq!(config.certificate.as_deref(), Some(Path::new("/etc/explaind/tls/c.pem")));
        assert_eq!(config.key_file.as_deref(), Some(Path::new("/k.pem")));
    }

    #[test]
    fn where_it_listens_everywhere_people_are_told_a_name() {
        let everywhere = "0.0.0.0:8443".parse().unwrap();
        assert_eq!(url(everywhere, Some("gateway-3")), "https://gateway-3:8443/");
        assert_eq!(url(everywhere, None), "https://0.0.0.0:8443/");
        assert_eq!(url("[::1]:8443".parse().unwrap(), Some("gateway-3")), "https://[::1]:8443/");
    }
}
