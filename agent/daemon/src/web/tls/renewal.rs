//! Takes up a certificate of the site's own that was renewed, without a restart.
//!
//! Whoever renews it may write two files one after the other: what does not fit is looked at once more before anybody is
//! told, and the certificate before it goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Files, Tls, TlsError, read};

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(15);

impl Tls {
    /// Looks for a renewed certificate until `stop`.
    pub(in crate::web) async fn renew(&self, stop: &CancellationToken) {
        let Some(files) = &self.files else { return };
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        ticks.tick().await;
        let mut doubted = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let (tls, files) = (self.clone(), files.clone());
            if let Ok(next) = spawn_blocking(move || tls.look(&files, doubted)).await {
                doubted = next;
            } else {
                doubted = None;
            }
        }
    }

    /// One look. `doubted`: what was wrong at the last one; returns what is wrong now.
    fn look(&self, files: &Files, doubted: Option<String>) -> Option<String> {
        let fault = match read(files) {
            Ok(identity) => {
                let mut known = self.known();
                if known.error.take().is_some() {
                    tracing::info!("the page's certificate is in order again");
                }
                if known.facts != identity.facts {
                    let fingerprint = &identity.facts.fingerprint;
                    tracing::info!(
                        sha256 = fingerprint,
                        "the page's certificate was renewed, and is served from now on"
                    );
                    self.current.set(Arc::clone(&identity.key));
                    known.facts = identity.facts;
                }
                return None;
            }
            Err(TlsError::Config { message, .. }) => message,
            Err(TlsError::Io { doing, error }) => format!("{doing}: {error}"),
        };
        if doubted.as_ref() == Some(&fault) {
            let mut known = self.known();
            if known.error.as_ref() != Some(&fault) {
                tracing::error!("{fault}; the page goes on with the certificate that was there before");
                known.error = Some(fault.clone());
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::web::tls::made;
    use crate::web::tls::names::Names;

    /// Writes a certificate and its key, and returns its fingerprint.
    fn issue(folder: &Path, name: &str) -> String {
        let names = Names { required: vec![name.to_owned()], further: Vec::new(), host: None };
        let kept = folder.join(name);
        let (identity, shown) = made::open(&kept, "line-3", &names).unwrap();
        std::fs::copy(shown, folder.join("c.pem")).unwrap();
        std::fs::copy(kept.join("page.pem"), folder.join("k.pem")).unwrap();
        identity.facts.fingerprint
    }

    #[test]
    fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = issue(folder.path(), "one");
        let (c, k) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let table = format!("tls = {{ certificate = {c:?}, key_file = {k:?} }}");
        let web: crate::web::Config = toml::from_str(&table).unwrap();
        let tls = Tls::open(&web, folder.path(), "line-3").unwrap().unwrap();
        let files = tls.files.clone().unwrap();
        assert_eq!((tls.fingerprint(), tls.look(&files, None)), (first.clone(), None));

        let second = issue(folder.path(), "two");
        std::fs::copy(folder.path().join("one/page.pem"), &k).unwrap();
        let fault = tls.look(&files, None);
        assert!(fault.as_ref().is_some_and(|fault| fault.contains("k.pem")), "{fault:?}");
        assert_eq!((tls.fingerprint(), tls.json()["error"].clone()), (first.clone(), serde_json::Value::Null));
        assert_eq!(tls.look(&files, fault.clone()), fault, "seen twice");
        assert_eq!((tls.fingerprint(), tls.json()["error"].as_str()), (first, fault.as_deref()));

        std::fs::copy(folder.path().join("two/page.pem"), &k).unwrap();
        assert_eq!(tls.look(&files, fault), None);
        assert_eq!((tls.fingerprint(), tls.json()["error"].clone()), (second, serde_json::Value::Null));
    }
}
