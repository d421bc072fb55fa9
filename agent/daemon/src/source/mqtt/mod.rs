//! Subscribes to topics of one MQTT broker.

mod client;
mod payload;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use super::keys::{self, Address, Name};
use super::{ConfigError, check_names};
use crate::secret::Secret;

pub(super) use self::client::run;
use self::payload::Pointer;

/// Settings of a `type = "mqtt"` source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    url: Url,
    /// What the broker knows this client as; made from the source's name where it is not given.
    client_id: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    password_credential: Option<String>,
    /// Certificates that vouch for the broker, in PEM; the system's where it is not given.
    ca_file: Option<PathBuf>,
    #[serde(default, rename = "signal")]
    signals: Vec<Signal>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    name: Name,
    topic: Topic,
    /// Where in a JSON payload the value is; absent: the payload is the value.
    pointer: Option<Pointer>,
    /// Where in a JSON payload the time is; absent: the time of arrival.
    time_pointer: Option<Pointer>,
    unit: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Url(Address);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = Address::parse(&text, &[("mqtt", 1883), ("mqtts", 8883)])?;
        if address.path.len() > 1 {
            return Err(format!("\"{text}\" has a path, which MQTT has no use for; leave it out"));
        }
        if address.scheme == "mqtts" && address.host.contains(':') {
            return Err(format!("\"{text}\" names an IPv6 address; with TLS give the host name in the certificate"));
        }
        Ok(Self(address))
    }
}

impl Url {
    fn is_tls(&self) -> bool {
        self.0.scheme == "mqtts"
    }
}

/// One topic, without wildcards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Topic(String);

impl TryFrom<String> for Topic {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = if text.is_empty() {
            "is empty"
        } else if text.contains(['+', '#']) {
            "contains a wildcard; a signal has one topic, so write it out"
        } else if text.contains('\0') || text.len() > 1024 {
            "contains a zero byte or is longer than 1024 bytes"
        } else if text.starts_with("$share/") {
            "is a shared subscription, which would hand some messages to other clients; write the topic itself"
        } else {
            return Ok(Self(text));
        };
        Err(format!("the topic \"{}\" {fault}", text.escape_debug()))
    }
}

impl Config {
    pub(super) fn parse(table: Table, base: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = super::read(table)?;
        check_names(config.signals.iter().map(|signal| &signal.name))?;
        for path in [&mut config.password_file, &mut config.ca_file].into_iter().flatten() {
            keys::anchor(path, base);
        }
        if config.password_file.is_some() && config.password_credential.is_some() {
            return Err(ConfigError::at("password_credential", "give it or password_file, not both"));
        }
        if config.username.is_none() && config.password().is_some() {
            return Err(ConfigError::at("username", "is missing; a password is of no use without it"));
        }
        if config.ca_file.is_some() && !config.url.is_tls() {
            return Err(ConfigError::at("ca_file", "is of no use without TLS; write the url with mqtts://"));
        }
        if config.client_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 256) {
            return Err(ConfigError::at("client_id", "must have between 1 and 256 bytes"));
        }
        Ok(config)
    }

    /// The files that it names can be read.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let (Some(_), Some(secret)) = (&self.password_file, self.password()) {
            secret.read().map_err(|message| ConfigError::at("password_file", message))?;
        }
        if let Some(path) = &self.ca_file {
            crate::tls::roots(path).map_err(|message| ConfigError::at("ca_file", message))?;
        }
        Ok(())
    }

    pub(super) fn signals(&self) -> Vec<(String, Option<String>)> {
        self.signals.iter().map(|signal| (signal.name.to_string(), signal.unit.clone())).collect()
    }

    fn password(&self) -> Option<Secret> {
        let file = self.password_file.clone().map(Secret::File);
        file.or_else(|| self.password_credential.clone().map(Secret::Credential))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Config, ConfigError> {
        Config::parse(toml.parse().unwrap(), Path::new("/etc/explaind"))
    }

    const SIGNAL: &str = "[[signal]]\nname='x'\ntopic='plant/x'";

    #[test]
    fn paths_are_relative_to_the_configuration() {
        let config =
            parse(&format!("url='mqtts://b'\nusername='u'\npassword_file='p'\nca_file='/ca'\n{SIGNAL}")).unwrap();
        assert_eq!(config.password_file.as_deref(), Some(Path::new("/etc/explaind/p")));
        assert_eq!(config.ca_file.as_deref(), Some(Path::new("/ca")));
        assert_eq!(config.check().unwrap_err().path, "password_file");
    }

    #[test]
    fn every_wrong_key_is_named() {
        for (toml, path, part) in [
            ("url='amqp://b'", "url", "does not begin with mqtt:// or mqtts://"),
            ("url='mqtts://[::1]'", "url", "IPv6"),
            ("url='mqtt://b'", "signal", "no signals"),
            ("url='mqtt://b'\npassword='x'", "password", "unknown field `password`"),
            (&format!("url='mqtt://b'\npassword_file='p'\n{SIGNAL}"), "username", "missing"),
            (&format!("url='mqtt://b'\nca_file='p'\n{SIGNAL}"), "ca_file", "mqtts://"),
            (&format!("url='mqtt://b'\nclient_id=''\n{SIGNAL}"), "client_id", "between 1 and 256"),
            ("url='mqtt://b'\n[[signal]]\nname='x'\ntopic='plant/+/x'", "signal[0].topic", "wildcard"),
            ("url='mqtt://b'\n[[signal]]\nname='x'\ntopic=''", "signal[0].topic", "is empty"),
            ("url='mqtt://b'\n[[signal]]\nname='x'\ntopic='t'\npointer='a'", "signal[0].pointer", "begins with \"/\""),
            ("url='mqtt://b'\n[[signal]]\nname='x'", "signal[0]", "missing field `topic`"),
        ] {
            let error = parse(toml).unwrap_err();
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
    }
}
