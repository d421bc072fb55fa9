//! Subscribes to nodes of one OPC UA server.

mod client;
mod connection;
mod convert;
mod node;

use std::time::Duration;

use serde::Deserialize;
use toml::Table;

pub(super) use self::client::run;
use self::node::Node;
use super::keys::{self, Address, Name};
use super::{ConfigError, check_names};

/// Settings of a `type = "opcua"` source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    url: Url,
    #[serde(default)]
    security_policy: Policy,
    #[serde(default)]
    security_mode: Mode,
    /// Known, so that it can be refused with its reason: a password has no place on an unencrypted connection.
    username: Option<String>,
    password_file: Option<String>,
    password_credential: Option<String>,
    /// How often the server reports what changed.
    #[serde(default = "keys::second", deserialize_with = "keys::interval")]
    publishing_interval: Duration,
    #[serde(default, rename = "signal")]
    signals: Vec<Signal>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    name: Name,
    node: Node,
    unit: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Policy {
    #[default]
    None,
    Basic256Sha256,
    #[serde(rename = "Aes128_Sha256_RsaOaep")]
    Aes128Sha256RsaOaep,
    #[serde(rename = "Aes256_Sha256_RsaPss")]
    Aes256Sha256RsaPss,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Mode {
    #[default]
    None,
    Sign,
    SignAndEncrypt,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Url(Address);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Address::parse(&text, &[("opc.tcp", 4840)]).map(Self)
    }
}

impl Config {
    pub(super) fn parse(table: Table) -> Result<Self, ConfigError> {
        let config: Self = super::read(table)?;
        check_names(config.signals.iter().map(|signal| &signal.name))?;
        let unsupported = "is not supported yet in this version; write \"None\" and keep the connection in a network \
                           that you trust";
        if config.security_policy != Policy::None {
            return Err(ConfigError::at("security_policy", format!("{:?} {unsupported}", config.security_policy)));
        }
        if config.security_mode != Mode::None {
            return Err(ConfigError::at("security_mode", format!("{:?} {unsupported}", config.security_mode)));
        }
        let secret = [
            ("username", config.username.is_some()),
            ("password_file", config.password_file.is_some()),
            ("password_credential", config.password_credential.is_some()),
        ];
        if let Some((key, _)) = secret.into_iter().find(|(_, given)| *given) {
            let message = "over security policy None a password would travel readable by anyone; leave it out, and let \
                           the server accept anonymous users";
            return Err(ConfigError::at(key, message));
        }
        Ok(config)
    }

    pub(super) fn signals(&self) -> Vec<(String, Option<String>)> {
        self.signals.iter().map(|signal| (signal.name.to_string(), signal.unit.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNAL: &str = "[[signal]]\nname='x'\nnode='ns=2;s=x'";

    fn parse(toml: &str) -> Result<Config, ConfigError> {
        Config::parse(toml.parse().unwrap())
    }

    #[test]
    fn the_example_without_security_is_accepted() {
        let config = parse(&format!("url='opc.tcp://plc/server'\npublishing_interval='250ms'\n{SIGNAL}")).unwrap();
        assert_eq!(config.url.0.to_string(), "opc.tcp://plc:4840/server");
        assert_eq!(config.publishing_interval, Duration::from_millis(250));
        assert!(parse(&format!("url='opc.tcp://plc'\nsecurity_policy='None'\nsecurity_mode='None'\n{SIGNAL}")).is_ok());
    }

    #[test]
    fn what_would_not_be_safe_or_cannot_be_done_is_refused() {
        for (line, path, part) in [
            ("security_policy='Basic256Sha256'", "security_policy", "not supported yet in this version"),
            ("security_policy='Aes256_Sha256_RsaPss'", "security_policy", "not supported yet in this version"),
            ("security_policy='Rot13'", "security_policy", "unknown variant"),
            ("security_mode='Sign'", "security_mode", "not supported yet in this version"),
            ("username='me'", "username", "readable by anyone"),
            ("password_file='secret'", "password_file", "readable by anyone"),
            ("publishing_interval='0ms'", "publishing_interval", "between 1ms and 1d"),
            ("publishing='1s'", "publishing", "unknown field"),
        ] {
            let error = parse(&format!("url='opc.tcp://plc'\n{line}\n{SIGNAL}")).unwrap_err();
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
        let error = parse("url='http://plc'").unwrap_err();
        assert!(error.message.contains("opc.tcp://"), "{error}");
    }
}
