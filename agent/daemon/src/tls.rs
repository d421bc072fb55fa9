//! TLS to servers: rustls with ring, and the certificates that vouch for them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The TLS settings of one connection. Read anew each time, so that a renewed certificate needs no restart.
pub(crate) fn configuration(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let roots = match ca_file {
        Some(path) => roots(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates in a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |fault: String| format!("{} {fault}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(format!("cannot be read: {error}")))? {
        let certificate = certificate.map_err(|error| wrong(format!("is not a PEM file: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("has a certificate that cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("has no certificate in it; it must be in PEM, with BEGIN CERTIFICATE".to_owned()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Single broken certificates of the system are skipped: others may well vouch for this server.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this system has no trusted certificates; install ca-certificates or give a ca_file".to_owned());
    }
    Ok(roots)
}
