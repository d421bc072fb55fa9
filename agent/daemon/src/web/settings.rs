//! The `[web]` table of the configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use explaind_core::domain::units;
use serde::Deserialize;

use super::language::Choice;
use super::tls;

/// Where the page is served, and to whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// TLS, without which the page is served on loopback only.
    pub(crate) tls: Option<tls::Config>,
    /// Names by which browsers may ask for the page, beside `localhost`, the address they reach it by, and with TLS the
    /// machine's name.
    pub(crate) hosts: Vec<String>,
    /// Whether `technician` and `engineer` may sign in with the password `demo`.
    pub(crate) demo_accounts: bool,
    /// The language of sentences.
    pub(crate) language: Choice,
    /// A sign-in ends when nothing was done with it for so long.
    #[serde(deserialize_with = "units::duration::deserialize")]
    pub(crate) session_idle: Duration,
    /// A sign-in ends in any case after so long.
    #[serde(deserialize_with = "units::duration::deserialize")]
    pub(crate) session_lifetime: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            tls: None,
            hosts: Vec::new(),
            demo_accounts: false,
            language: Choice::Auto,
            session_idle: Duration::from_secs(12 * 3600),
            session_lifetime: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What is wrong with the table.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{key}: {message}")]
pub(crate) struct ConfigError {
    /// The key inside the table, like `hosts[1]`.
    pub(crate) key: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

/// Shortest and longest time for a sign-in.
const SESSION: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(90 * 24 * 3600));

impl Config {
    /// Makes relative paths absolute.
    pub(crate) fn resolve(&mut self, base: &Path) {
        if let Some(tls) = &mut self.tls {
            tls.resolve(base);
        }
    }

    /// Checks what the types can't.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, message: String| Err(ConfigError { key: key.to_owned(), message });
        let beyond = !self.listen.ip().to_canonical().is_loopback();
        if beyond && self.tls.is_none() {
            return wrong("listen", beyond_loopback(self.listen));
        }
        if beyond && self.demo_accounts {
            let message = format!(
                "everybody knows the password of the demo's accounts, and {} is beyond loopback; listen on 127.0.0.1 or \
                 [::1], or turn demo_accounts off and make accounts with `explaind users add`",
                self.listen
            );
            return wrong("demo_accounts", message);
        }
        if let Some(tls) = &self.tls {
            tls.check()?;
        }
        if self.demo_accounts && !self.hosts.is_empty() {
            let message =
                "demo_accounts allows no further hosts, since everybody knows their password; remove one of the two";
            return wrong("hosts", message.to_owned());
        }
        for (index, host) in self.hosts.iter().enumerate() {
            if !is_host(host) && host.parse::<IpAddr>().is_err() {
                let message = format!(
                    "\"{host}\" is not a host name; write it without scheme and port, like \"press-shop.example\""
                );
                return wrong(&format!("hosts[{index}]"), message);
            }
        }
        let (least, most) = SESSION;
        for (key, value) in [("session_idle", self.session_idle), ("session_lifetime", self.session_lifetime)] {
            if value < least || value > most {
                return wrong(key, "must be between \"60s\" and \"90d\"".to_owned());
            }
        }
        if self.session_idle > self.session_lifetime {
            return wrong("session_idle", "must not be longer than session_lifetime".to_owned());
        }
        Ok(())
    }
}

/// Whether this can be the name of a host, in a header and in a certificate.
pub(super) fn is_host(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Why an address is refused.
pub(crate) fn beyond_loopback(address: SocketAddr) -> String {
    format!(
        "{address} is beyond loopback, where passwords would travel in the clear; add the table [web.tls] (empty, a \
         certificate is made for it), or listen on 127.0.0.1 or [::1]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn an_empty_table_is_the_default_and_fine() {
        let config = parse("");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8090");
        assert!(!config.demo_accounts);
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn what_is_unsafe_or_senseless_is_refused_by_key() {
        for (text, key) in [
            ("listen = \"0.0.0.0:8090\"", "listen"),
            ("listen = \"[::]:8090\"", "listen"),
            ("listen = \"192.168.1.5:80\"", "listen"),
            ("demo_accounts = true\nhosts = [\"gateway\"]", "hosts"),
            ("listen = \"192.168.1.5:80\"\ndemo_accounts = true\n[tls]", "demo_accounts"),
            ("[tls]\nkey_file = \"key.pem\"", "tls.certificate"),
            ("hosts = [\"fine\", \"http://x\"]", "hosts[1]"),
            ("session_idle = \"1s\"", "session_idle"),
            ("session_lifetime = \"900d\"", "session_lifetime"),
            ("session_lifetime = \"1h\"", "session_idle"),
        ] {
            assert_eq!(parse(text).check().unwrap_err().key, key, "{text}");
        }
        assert!(toml::from_str::<Config>("lisen = 1").is_err());
        assert!(toml::from_str::<Config>("language = \"fr\"").is_err());
        assert_eq!(parse("language = \"de\"").language, Choice::German);
        assert_eq!(parse("listen = \"[::1]:9000\"").check(), Ok(()));
        assert_eq!(parse("hosts = [\"gateway-3\", \"192.0.2.2\", \"2001:db8::7\"]").check(), Ok(()));
        for beyond in ["0.0.0.0:8443", "[::]:8443", "192.168.1.5:8443"] {
            assert_eq!(parse(&format!("listen = \"{beyond}\"\n[tls]")).check(), Ok(()), "{beyond}");
        }
    }
}
