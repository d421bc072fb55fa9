//! Polls one Modbus unit over TCP.

mod client;
mod decode;
mod plan;

use std::time::Duration;

use serde::Deserialize;
use toml::Table;

use super::keys::{self, Address, Name};
use super::{ConfigError, check_names};

pub(super) use self::client::run;
pub(super) use self::decode::{Kind, Order};

/// Settings of a `type = "modbus"` source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    url: Url,
    /// 1 to 247 name units behind a gateway; 0 and 255 address the TCP device itself.
    #[serde(default = "unit_one")]
    unit_id: u8,
    #[serde(default = "keys::second", deserialize_with = "keys::interval")]
    interval: Duration,
    /// How long to wait for one answer.
    #[serde(default = "two_seconds", deserialize_with = "keys::interval")]
    timeout: Duration,
    #[serde(default, rename = "signal")]
    signals: Vec<Signal>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    name: Name,
    register: Register,
    /// Zero-based protocol address.
    address: u16,
    /// `bool` where it is left out for coils and discrete inputs; registers must state it.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// Of the two bytes within a register.
    #[serde(default)]
    byte_order: Order,
    /// Of the registers of one value.
    #[serde(default)]
    word_order: Order,
    #[serde(default = "one")]
    scale: f64,
    #[serde(default)]
    offset: f64,
    unit: Option<String>,
}

impl Signal {
    fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Bool)
    }

    /// Registers or bits that the value takes.
    fn width(&self) -> u16 {
        self.kind().words()
    }
}

/// The four tables of a Modbus unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Register {
    Coil,
    Discrete,
    Input,
    Holding,
}

impl Register {
    fn is_bit(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The most that one request may ask for (MODBUS Application Protocol 1.1b3, 6.1 to 6.4).
    fn most(self) -> u16 {
        if self.is_bit() { 2000 } else { 125 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Url(Address);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("rtu://") {
            return Err("rtu:// is not supported in this version; reach the unit through a Modbus TCP gateway, \
                        like \"tcp://192.168.0.10:502\""
                .to_owned());
        }
        let address = Address::parse(&text, &[("tcp", 502)])?;
        if address.path.len() > 1 {
            return Err(format!("\"{text}\" has a path, which Modbus has no use for; leave it out"));
        }
        Ok(Self(address))
    }
}

fn unit_one() -> u8 {
    1
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn one() -> f64 {
    1.0
}

impl Config {
    pub(super) fn parse(table: Table) -> Result<Self, ConfigError> {
        let config: Self = super::read(table)?;
        check_names(config.signals.iter().map(|signal| &signal.name))?;
        for (index, signal) in config.signals.iter().enumerate() {
            check(signal).map_err(|(key, message)| ConfigError::at(format!("signal[{index}].{key}"), message))?;
        }
        Ok(config)
    }

    pub(super) fn signals(&self) -> Vec<(String, Option<String>)> {
        self.signals.iter().map(|signal| (signal.name.to_string(), signal.unit.clone())).collect()
    }
}

fn check(signal: &Signal) -> Result<(), (&'static str, String)> {
    match (signal.register.is_bit(), signal.kind) {
        (true, Some(kind)) if kind != Kind::Bool => {
            return Err(("type", "a coil or discrete input is one bit; its type is \"bool\"".to_owned()));
        }
        (false, None) => {
            return Err(("type", "is missing; write one of bool, u16, i16, u32, i32, u64, i64, f32, f64".to_owned()));
        }
        _ => {}
    }
    if u32::from(signal.address) + u32::from(signal.width()) > 0x1_0000 {
        let message = format!(
            "a value of {} registers at address {} goes beyond the last register, 65535",
            signal.width(),
            signal.address
        );
        return Err(("address", message));
    }
    for (key, value) in [("scale", signal.scale), ("offset", signal.offset)] {
        if !value.is_finite() {
            return Err((key, format!("{value} is not a finite number")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(signal: &str) -> Result<Config, ConfigError> {
        let toml = format!("url='tcp://127.0.0.1:1502'\n[[signal]]\nname='torque'\n{signal}");
        Config::parse(toml.parse().unwrap())
    }

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let config = parse("register='holding'\naddress=0\ntype='f32'").unwrap();
        assert_eq!((config.unit_id, config.interval), (1, Duration::from_secs(1)));
        let signal = &config.signals[0];
        assert_eq!((signal.byte_order, signal.word_order), (Order::Big, Order::Big));
        assert_eq!((signal.scale, signal.offset, signal.width()), (1.0, 0.0, 2));
        assert_eq!(parse("register='coil'\naddress=65535").unwrap().signals[0].kind(), Kind::Bool);
    }

    #[test]
    fn every_wrong_key_is_named() {
        for (signal, path, part) in [
            ("register='holding'\naddress=0", "signal[0].type", "is missing"),
            ("register='coil'\naddress=0\ntype='u16'", "signal[0].type", "one bit"),
            ("register='holding'\naddress=65535\ntype='f32'", "signal[0].address", "beyond the last register"),
            ("register='holding'\naddress=65536\ntype='f32'", "signal[0].address", "65536"),
            ("register='holding'\naddress=-1\ntype='f32'", "signal[0].address", "-1"),
            ("register='holdings'\naddress=0\ntype='f32'", "signal[0].register", "unknown variant"),
            ("register='holding'\naddress=0\ntype='f16'", "signal[0].type", "unknown variant"),
            ("register='holding'\naddress=0\ntype='f32'\nscale=inf", "signal[0].scale", "not a finite number"),
            ("register='holding'\nadress=0\ntype='f32'", "signal[0].adress", "unknown field `adress`"),
            ("register='holding'\naddress=0\ntype='f32'\nword_order='middle'", "signal[0].word_order", "middle"),
        ] {
            let error = parse(signal).unwrap_err();
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
        for (url, part) in [("rtu:///dev/ttyUSB0", "not supported in this version"), ("tcp://plc/1", "has a path")] {
            let error = Config::parse(format!("url='{url}'").parse().unwrap()).unwrap_err();
            assert_eq!(error.path, "url");
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(Config::parse("url='tcp://plc'".parse().unwrap()).unwrap_err().path, "signal");
        assert_eq!(Config::parse("url='tcp://plc'\nunit_id=256".parse().unwrap()).unwrap_err().path, "unit_id");
    }
}
