//! Reads the plant: OPC UA, Modbus, MQTT and recorded files become one kind of sample.
//!
//! Each `[[source]]` runs in a task of its own under [`supervisor`], which connects again for ever, with jittered
//! waits. All sources share one bounded channel to the driver; when it is full, a source waits, and its protocol passes
//! the pressure on to the peer. A source is *up* while data flows, not while it is merely connected. Nothing is ever
//! written to a peer.

mod keys;
mod link;
mod modbus;
mod mqtt;
mod opcua;
mod replay;
mod supervisor;

use std::collections::BTreeSet;
use std::path::Path;

use explaind_core::domain::sample::{Quality, Sample, SignalId, Value};
use explaind_core::domain::time::{Now, Timestamp};
use serde::de::DeserializeOwned;
use toml::Table;

use self::keys::Name;
use self::link::{Ending, Link};

pub(crate) use self::supervisor::{Sources, probe, spawn};

/// Most signals of one source.
const MOST_SIGNALS: usize = 10_000;

/// One `[[source]]` of the configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The name that signals are addressed by: `name/signal`.
    pub(crate) name: String,
    /// The protocol and its settings.
    pub(crate) kind: Kind,
}

/// The protocols, each with its own settings.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Polls a Modbus unit.
    Modbus(modbus::Config),
    /// Subscribes to an MQTT broker.
    Mqtt(mqtt::Config),
    /// Subscribes to an OPC UA server.
    Opcua(opcua::Config),
    /// Plays a CSV file.
    Replay(replay::Config),
}

/// What is wrong with a source's table, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub(crate) struct ConfigError {
    /// The key, as a path inside the source's table: `signal[1].address`. Empty for the table itself.
    pub(crate) path: String,
    /// What is wrong and what to write instead.
    pub(crate) message: String,
}

impl ConfigError {
    fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// A signal that a source offers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SignalInfo {
    /// Its full name.
    pub(crate) id: SignalId,
    /// The unit that the configuration states for it.
    pub(crate) unit: Option<String>,
}

impl Config {
    /// Reads one `[[source]]` table. Relative paths in it are relative to `base`.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub(crate) fn parse(mut table: Table, base: &Path) -> Result<Self, ConfigError> {
        let name = text(&mut table, "name", "the name that its signals are addressed by, like \"press-plc\"")?;
        let name = Name::try_from(name).map_err(|message| ConfigError::at("name", message))?;
        let kind = match text(&mut table, "type", "one of modbus, opcua, mqtt, replay")?.as_str() {
            "modbus" => Kind::Modbus(modbus::Config::parse(table)?),
            "mqtt" => Kind::Mqtt(mqtt::Config::parse(table, base)?),
            "opcua" => Kind::Opcua(opcua::Config::parse(table)?),
            "replay" => Kind::Replay(replay::Config::parse(table, base)?),
            other => {
                let message = format!("\"{other}\" is not a type of source; write one of modbus, opcua, mqtt, replay");
                return Err(ConfigError::at("type", message));
            }
        };
        Ok(Self { name: name.to_string(), kind })
    }

    /// Looks at what the configuration names outside itself: files that must be there, columns they must have.
    ///
    /// # Errors
    /// The first key that names something that is not there.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match &self.kind {
            Kind::Modbus(_) | Kind::Opcua(_) => Ok(()),
            Kind::Mqtt(config) => config.check(),
            Kind::Replay(config) => config.check(),
        }
    }

    /// Every signal of this source. A replay without listed signals is asked for its columns: none when the file
    /// cannot be read, which [`Config::check`] reports.
    pub(crate) fn signals(&self) -> Vec<SignalInfo> {
        let signals = match &self.kind {
            Kind::Modbus(config) => config.signals(),
            Kind::Mqtt(config) => config.signals(),
            Kind::Opcua(config) => config.signals(),
            Kind::Replay(config) => config.signals(),
        };
        signals.into_iter().map(|(name, unit)| SignalInfo { id: SignalId::new(&self.name, &name), unit }).collect()
    }
}

impl Kind {
    /// Serves one connection, from connecting until it ends. `Ok` means that the source is at its end for good.
    async fn run(&self, link: &Link) -> Result<(), Ending> {
        match self {
            Self::Modbus(config) => modbus::run(config, link).await,
            Self::Mqtt(config) => mqtt::run(config, link).await,
            Self::Opcua(config) => opcua::run(config, link).await,
            Self::Replay(config) => replay::run(config, link).await,
        }
    }
}

/// Takes a required text out of the table, so that what is left is the type's own.
fn text(table: &mut Table, key: &str, what: &str) -> Result<String, ConfigError> {
    match table.remove(key) {
        Some(toml::Value::String(text)) => Ok(text),
        Some(other) => Err(ConfigError::at(key, format!("is {}, not a text; write {what}", other.type_str()))),
        None => Err(ConfigError::at(key, format!("is missing; write {what}"))),
    }
}

/// Reads a table into a type's own settings; the error names the key.
fn read<T: DeserializeOwned>(table: Table) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        ConfigError::at(path, error.into_inner().message().trim_end())
    })
}

/// Checks the list of signals: there are some, not too many, and no name twice.
fn check_names<'a>(names: impl ExactSizeIterator<Item = &'a Name>) -> Result<(), ConfigError> {
    if names.len() == 0 {
        return Err(ConfigError::at("signal", "there are no signals; add a [[source.signal]]"));
    }
    if names.len() > MOST_SIGNALS {
        return Err(ConfigError::at("signal", format!("there are more than {MOST_SIGNALS} signals; split the source")));
    }
    let mut known = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !known.insert(name) {
            let message = format!("\"{}\" names two signals; give each its own name", &**name);
            return Err(ConfigError::at(format!("signal[{index}].name"), message));
        }
    }
    Ok(())
}

/// Status codes that sources without OPC UA borrow from it (OPC UA Part 6, annex A.2).
mod status {
    pub(super) const GOOD: u32 = 0;
    pub(super) const UNCERTAIN: u32 = 0x4000_0000;
    pub(super) const UNCERTAIN_LAST_USABLE_VALUE: u32 = 0x4090_0000;
    pub(super) const BAD_RESOURCE_UNAVAILABLE: u32 = 0x8004_0000;
    pub(super) const BAD_DECODING_ERROR: u32 = 0x8007_0000;
    pub(super) const BAD_NO_COMMUNICATION: u32 = 0x8031_0000;
    pub(super) const BAD_NODE_ID_UNKNOWN: u32 = 0x8034_0000;
    pub(super) const BAD_OUT_OF_RANGE: u32 = 0x803C_0000;
    pub(super) const BAD_NOT_SUPPORTED: u32 = 0x803D_0000;
    pub(super) const BAD_NOT_FOUND: u32 = 0x803E_0000;
    pub(super) const BAD_TYPE_MISMATCH: u32 = 0x8074_0000;
    pub(super) const BAD_DEVICE_FAILURE: u32 = 0x808B_0000;
    pub(super) const BAD_NO_DATA: u32 = 0x809B_0000;
}

/// A sample of one signal; its quality follows from the status code.
fn sample(signal: &SignalId, value: Value, status: u32, source_time: Option<Timestamp>, arrival: Now) -> Sample {
    Sample { signal: signal.clone(), value, quality: Quality::of_status(status), status, source_time, arrival }
}

/// A sample that says only that there is no usable value, and why.
fn bad_sample(signal: &SignalId, status: u32, source_time: Option<Timestamp>, arrival: Now) -> Sample {
    // Not a number: whoever forgets to look at the quality still cannot compute with it.
    sample(signal, Value::Number(f64::NAN), status, source_time, arrival)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Config, ConfigError> {
        Config::parse(toml.parse().unwrap(), Path::new("/etc/explaind"))
    }

    #[test]
    fn the_type_decides_which_keys_there_are() {
        let signal = "[[signal]]\nname='torque'\nunit='Nm'";
        let mqtt = parse(&format!("name='floor'\ntype='mqtt'\nurl='mqtt://b'\n{signal}\ntopic='t'")).unwrap();
        let expected = SignalInfo { id: SignalId::new("floor", "torque"), unit: Some("Nm".to_owned()) };
        assert_eq!(mqtt.signals(), [expected]);
        for (toml, path, part) in [
            ("type='mqtt'", "name", "is missing"),
            ("name=7\ntype='mqtt'", "name", "is integer, not a text"),
            ("name='a/b'\ntype='mqtt'", "name", "contains \"/\""),
            ("name='a'", "type", "is missing; write one of modbus, opcua, mqtt, replay"),
            ("name='a'\ntype='s7'", "type", "\"s7\" is not a type of source"),
            ("name='a'\ntype='modbus'\nurl='tcp://plc'\ntopic='x'", "topic", "unknown field"),
            ("name='a'\ntype='replay'\npath=1", "path", "invalid type"),
        ] {
            let error = parse(toml).unwrap_err();
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(part), "{error}");
            assert_eq!(error.to_string(), format!("{path}: {}", error.message));
        }
    }

    #[test]
    fn a_value_that_is_not_there_cannot_be_computed_with() {
        let bad = bad_sample(&SignalId::new("a", "b"), status::BAD_NO_DATA, None, crate::clock::now());
        assert_eq!(bad.quality, Quality::Bad);
        assert!(matches!(bad.value, Value::Number(number) if number.is_nan()));
    }
}
