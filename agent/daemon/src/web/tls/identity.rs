//! A certificate with its key, read from PEM and checked against each other.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use explaind_core::domain::time::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// No chain of certificates is larger, in bytes.
const LARGEST: u64 = 256 << 10;
/// No chain is longer.
const LONGEST: usize = 16;

/// What people are told of a certificate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    /// SHA-256 of the certificate, in pairs of digits with colons between them, as browsers show it.
    pub(super) fingerprint: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The names and addresses that it is for.
    pub(super) names: Vec<String>,
}

impl Facts {
    /// Whether it is over at `now`.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        now.as_micros() > self.not_after.as_micros()
    }

    fn of(der: &[u8]) -> Result<Self, String> {
        let parsed = Certificate::from_der(der).map_err(|error| error.to_string())?;
        let certificate = parsed.tbs_certificate;
        let at = |time: x509_cert::time::Time| {
            Timestamp::from_micros(i64::try_from(time.to_unix_duration().as_micros()).unwrap_or(i64::MAX))
        };
        let names = match certificate.get::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).collect(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(error.to_string()),
        };
        let pairs: Vec<_> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
        let (not_before, not_after) = (at(certificate.validity.not_before), at(certificate.validity.not_after));
        Ok(Self { fingerprint: pairs.join(":"), not_before, not_after, names })
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let six = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            four.or(six).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// What is wrong with a certificate or its key.
#[derive(Debug)]
pub(super) struct Fault {
    /// Whether it is the key's.
    pub(super) of_key: bool,
    /// What is wrong, where, and what to do.
    pub(super) message: String,
}

/// A certificate with those that vouch for it, and its key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

impl Identity {
    /// Reads both from PEM; each comes with the place that it is from, for the sentence that says what is wrong.
    pub(super) fn from_pem(chain: (&str, &str), secret: (&str, &str)) -> Result<Self, Fault> {
        let (chain, place) = chain;
        let wrong = |of_key, place: &str, message: &str| Fault { of_key, message: format!("{place} {message}") };
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).take(LONGEST + 1).collect();
        let certificates = read.map_err(|error| wrong(false, place, &format!("is not a PEM file: {error}")))?;
        if certificates.len() > LONGEST {
            return Err(wrong(false, place, "has too many certificates; leave those of other servers out"));
        }
        let Some(first) = certificates.first() else {
            let message = "has no certificate in it; it must be PEM, with BEGIN CERTIFICATE, the gateway's own first";
            return Err(wrong(false, place, message));
        };
        let facts = Facts::of(first)
            .map_err(|error| wrong(false, place, &format!("has a certificate that cannot be read: {error}")))?;
        let (secret, kept) = secret;
        if secret.contains("ENCRYPTED") {
            let message = "is locked with a password, which a gateway that starts by itself cannot enter; \
                           store the key without one (openssl pkey -in OLD -out NEW), readable by the service only";
            return Err(wrong(true, kept, message));
        }
        let key = PrivateKeyDer::from_pem_slice(secret.as_bytes())
            .map_err(|_| wrong(true, kept, "has no key in it; it must be PEM, with BEGIN PRIVATE KEY"))?;
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            wrong(
                true,
                kept,
                "has a key that cannot be used; make it ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits or more)",
            )
        })?;
        let both = CertifiedKey::new(certificates, key);
        match both.keys_match() {
            Ok(()) => Ok(Self { key: Arc::new(both), facts }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = format!(
                    "does not have the key of the first certificate in {place}; \
                     name the files that belong together, the gateway's own certificate first"
                );
                Err(wrong(true, kept, &message))
            }
            Err(error) => Err(wrong(false, place, &format!("has a certificate that cannot be used: {error}"))),
        }
    }
}

/// A file of certificates, within bounds.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let place = path.display();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("{place} is not there; put the certificate there, or name the file that has it"),
        ErrorKind::PermissionDenied => {
            format!("{place} may not be read by this user; give the service's user access to it")
        }
        ErrorKind::InvalidData => {
            format!("{place} is not a PEM file; convert it (openssl x509 -inform der -outform pem)")
        }
        _ => format!("{place} cannot be read: {error}"),
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(format!("{place} is too large for a certificate (more than {LARGEST} bytes); name the right file"));
    }
    Ok(text)
}
