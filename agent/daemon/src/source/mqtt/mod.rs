//! Subscribes to topics of one MQTT broker.

mod client;
mod payload;

use std::path::Path;

use serde::Deserialize;
use toml::Table;

use super::keys::Name;
use super::{ConfigError, check_names};
use crate::broker::Broker;

pub(super) use self::client::run;
use self::payload::Pointer;

/// Settings of a `type = "mqtt"` source.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where, and who we are there; its client id is made from the source's name where none is given.
    broker: Broker,
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

/// What of the table is not about the broker.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(default, rename = "signal")]
    signals: Vec<Signal>,
}

impl Config {
    pub(super) fn parse(mut table: Table, base: &Path) -> Result<Self, ConfigError> {
        let own: Table = table.remove("signal").map(|signals| ("signal".to_owned(), signals)).into_iter().collect();
        let broker = Broker::parse(table, base).map_err(|(key, message)| ConfigError::at(key, message))?;
        let Own { signals } = super::read(own)?;
        check_names(signals.iter().map(|signal| &signal.name))?;
        Ok(Self { broker, signals })
    }

    /// The files that it names can be read.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.broker.check().map_err(|(key, message)| ConfigError::at(key, message))
    }

    pub(super) fn signals(&self) -> Vec<(String, Option<String>)> {
        self.signals.iter().map(|signal| (signal.name.to_string(), signal.unit.clone())).collect()
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
