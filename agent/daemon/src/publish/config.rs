//! The `[publish]` table of the configuration.

use std::path::Path;

use explaind_core::explain::words::Language;
use toml::{Table, Value};

use super::topics::Topics;
use crate::broker::Broker;

/// A key, and what is wrong with its value.
type Fault = (String, String);

/// To which broker results go, and whether acknowledgements come from it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) broker: Broker,
    /// Whether alerts may be acknowledged from there.
    pub(super) acknowledge: bool,
    /// The language of an alert's sentence.
    pub(super) language: Language,
}

impl Config {
    /// The keys that say where the broker is, and who we are there.
    pub(crate) const OF_BROKER: [&str; 5] = ["url", "username", "password_file", "password_credential", "ca_file"];

    /// Reads the table. Relative paths in it are relative to `base`.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub(crate) fn parse(mut table: Table, base: &Path) -> Result<Self, Fault> {
        let wrong = |key: &str, message: String| (key.to_owned(), message);
        let acknowledge = match table.remove("acknowledge") {
            None => false,
            Some(Value::Boolean(acknowledge)) => acknowledge,
            Some(other) => return Err(wrong("acknowledge", format!("{other} is neither true nor false"))),
        };
        let language = match table.remove("language") {
            None => Language::English,
            Some(given) => given
                .as_str()
                .filter(|name| matches!(*name, "en" | "de"))
                .and_then(Language::named)
                .ok_or_else(|| wrong("language", format!("{given} is no language; write \"en\" or \"de\"")))?,
        };
        if !table.contains_key("url") {
            let message = "is missing; write url = \"mqtt://…\", or source = \"…\" for the broker of an MQTT source";
            return Err(wrong("url", message.to_owned()));
        }
        let broker = Broker::parse(table, base)?;
        Ok(Self { broker, acknowledge, language })
    }

    /// The files that it names can be read.
    ///
    /// # Errors
    /// The key of the first that cannot.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.broker.check()
    }

    /// The client id that is configured.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.broker.client_id()
    }

    /// What would be told where, a line each: for who sets it up.
    pub(crate) fn describe(&self, gateway: &str, assets: usize) -> Vec<String> {
        let topics = Topics::new(gateway);
        let acknowledge = if self.acknowledge {
            format!("acknowledged from {}", topics.acknowledge())
        } else {
            "acknowledged here only (acknowledge = false)".to_owned()
        };
        vec![
            format!("publish: to {} as client {}", self.broker.address(), self.id(gateway)),
            format!(
                "publish: {}, {} and {} for {assets} assets; alerts are {acknowledge}",
                topics.status(),
                topics.prediction("ASSET").replace("ASSET", "<asset>"),
                topics.alert("ASSET").replace("ASSET", "<asset>"),
            ),
        ]
    }

    /// The name that the broker knows this gateway by. It is the same at every connection: a broker that still holds a dead
    /// one lets it go at once then, and its last will cannot come after we are back.
    pub(super) fn id(&self, gateway: &str) -> String {
        self.broker.client_id().map_or_else(|| format!("explaind-{gateway}"), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Config, Fault> {
        Config::parse(toml.parse().unwrap(), Path::new("/etc/explaind"))
    }

    #[test]
    fn acknowledging_is_off_unless_it_is_asked_for() {
        let config = parse("url='mqtt://b'").unwrap();
        assert!(!config.acknowledge && config.language == Language::English);
        assert_eq!(config.id("line-3"), "explaind-line-3");
        let lines = config.describe("line-3", 2).join("\n");
        assert!(lines.contains("mqtt://b:1883") && lines.contains("explaind/line-3/<asset>/alert"), "{lines}");
        assert!(!lines.contains("cmd/"), "{lines}");
        let config = parse("url='mqtts://b'\nacknowledge=true\nlanguage='de'\nclient_id='scada-7'").unwrap();
        assert!(config.acknowledge && config.language == Language::German);
        assert_eq!(config.id("line-3"), "scada-7");
        assert!(config.describe("line-3", 2).join("\n").contains("explaind/line-3/cmd/acknowledge"));
    }

    #[test]
    fn every_wrong_key_is_named() {
        for (toml, path, part) in [
            ("", "url", "source = "),
            ("url='http://b'", "url", "mqtt://"),
            ("url='mqtt://b'\nacknowledge='yes'", "acknowledge", "true nor false"),
            ("url='mqtt://b'\nlanguage='fr'", "language", "\"en\" or \"de\""),
            ("url='mqtt://b'\nqos=2", "qos", "unknown field"),
            ("url='mqtt://b'\npassword_file='p'", "username", "missing"),
        ] {
            let (key, message) = parse(toml).unwrap_err();
            assert_eq!(key, path, "{message}");
            assert!(message.contains(part), "{message}");
        }
    }
}
