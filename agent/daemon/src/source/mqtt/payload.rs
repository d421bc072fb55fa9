//! From a message's payload to a value and its time.

use explaind_core::domain::sample::Value;
use explaind_core::domain::time::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::source::status;

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pointer(String);

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.starts_with('/') {
            Ok(Self(text))
        } else {
            Err(format!(
                "\"{text}\" is not a JSON pointer, which begins with \"/\"; write it like \"/temperature/process\""
            ))
        }
    }
}

/// Why a payload gives no value: a status code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u32,
    pub(super) message: String,
}

impl Fault {
    fn new(status: u32, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// A payload that is read once for all signals of its topic.
pub(super) struct Payload<'a> {
    bytes: &'a [u8],
    json: Option<Result<Json, String>>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, json: None }
    }

    /// The value at `pointer`; the whole payload where there is none.
    pub(super) fn value(&mut self, pointer: Option<&Pointer>) -> Result<Value, Fault> {
        let Some(pointer) = pointer else { return self.whole() };
        match self.at(pointer)? {
            Json::Number(number) => {
                number.as_f64().map(Value::Number).ok_or_else(|| Fault::new(status::BAD_OUT_OF_RANGE, "is too large"))
            }
            Json::Bool(bool) => Ok(Value::Number(f64::from(u8::from(*bool)))),
            Json::String(text) => Ok(Value::Text(text.as_str().into())),
            Json::Null => Err(Fault::new(status::BAD_NO_DATA, format!("\"{}\" is null", pointer.0))),
            Json::Array(_) | Json::Object(_) => {
                let message = format!("\"{}\" is not a single value; point deeper into it", pointer.0);
                Err(Fault::new(status::BAD_TYPE_MISMATCH, message))
            }
        }
    }

    /// The time at `pointer`: RFC 3339, or milliseconds since 1970.
    pub(super) fn time(&mut self, pointer: &Pointer) -> Result<Timestamp, Fault> {
        let found = self.at(pointer)?;
        let micros = match found {
            Json::String(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond),
            Json::Number(number) => number.as_f64().filter(|millis| millis.abs() < 1e14).map(|millis| {
                // Below 10^17, so the cast is exact to the microsecond that it cuts to.
                (millis * 1000.0) as i64
            }),
            _ => None,
        };
        micros.map(Timestamp::from_micros).ok_or_else(|| {
            let message = format!("\"{}\" is neither an RFC 3339 time nor milliseconds since 1970", pointer.0);
            Fault::new(status::BAD_TYPE_MISMATCH, message)
        })
    }

    fn whole(&self) -> Result<Value, Fault> {
        let text = std::str::from_utf8(self.bytes).map(str::trim).unwrap_or_default();
        match text {
            "true" => Ok(Value::Number(1.0)),
            "false" => Ok(Value::Number(0.0)),
            _ => text.parse().map(Value::Number).map_err(|_| {
                let message = if text.starts_with(['{', '[']) {
                    "the payload is JSON; give the signal a pointer into it"
                } else {
                    "the payload is not a number"
                };
                Fault::new(status::BAD_DECODING_ERROR, message)
            }),
        }
    }

    fn at(&mut self, pointer: &Pointer) -> Result<&Json, Fault> {
        let bytes = self.bytes;
        let json = self.json.get_or_insert_with(|| serde_json::from_slice(bytes).map_err(|error| error.to_string()));
        match json {
            Ok(json) => json
                .pointer(&pointer.0)
                .ok_or_else(|| Fault::new(status::BAD_NOT_FOUND, format!("the payload has no \"{}\"", pointer.0))),
            Err(error) => Err(Fault::new(status::BAD_DECODING_ERROR, format!("the payload is not JSON: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> Pointer {
        Pointer::try_from(text.to_owned()).unwrap()
    }

    fn value(payload: &str, at: Option<&str>) -> Result<Value, u32> {
        Payload::new(payload.as_bytes()).value(at.map(pointer).as_ref()).map_err(|fault| fault.status)
    }

    #[test]
    fn values_are_found_where_the_pointer_says() {
        let payload = r#"{"temperature":{"process":308.6,"on":true},"list":[1,"L"],"a/b":7,"big":1e400,"n":null}"#;
        for (at, expected) in [
            ("/temperature/process", Ok(Value::Number(308.6))),
            ("/temperature/on", Ok(Value::Number(1.0))),
            ("/list/1", Ok(Value::Text("L".into()))),
            ("/a~1b", Ok(Value::Number(7.0))),
            ("/n", Err(status::BAD_NO_DATA)),
            ("/list", Err(status::BAD_TYPE_MISMATCH)),
            ("", Err(status::BAD_TYPE_MISMATCH)),
            ("/nothing", Err(status::BAD_NOT_FOUND)),
        ] {
            let payload = payload.replace("1e400", "1e300");
            assert_eq!(value(&payload, Some(at)), expected, "{at}");
        }
        assert_eq!(value("42.5", Some("")), Ok(Value::Number(42.5)));
        assert_eq!(value("{", Some("/a")), Err(status::BAD_DECODING_ERROR));
        let deep = "[".repeat(100_000);
        assert_eq!(value(&deep, Some("/0")), Err(status::BAD_DECODING_ERROR));
    }

    #[test]
    fn without_a_pointer_the_payload_is_the_number() {
        for (payload, expected) in [("42.8", 42.8), (" -1e3\n", -1000.0), ("+7", 7.0), ("true", 1.0), ("false", 0.0)] {
            assert_eq!(value(payload, None), Ok(Value::Number(expected)), "{payload}");
        }
        for bad in ["", "L", "42,8", "{\"a\":1}", "0x10"] {
            assert_eq!(value(bad, None), Err(status::BAD_DECODING_ERROR), "{bad}");
        }
        assert!(Payload::new(&[0xFF, 0xFE]).value(None).is_err());
    }

    #[test]
    fn times_are_rfc_3339_or_epoch_milliseconds() {
        let time = |json: &str| Payload::new(json.as_bytes()).time(&pointer("/t")).map(Timestamp::as_micros);
        assert_eq!(time(r#"{"t":"1970-01-01T00:00:01.5Z"}"#), Ok(1_500_000));
        assert_eq!(time(r#"{"t":"1970-01-01T01:00:00+01:00"}"#), Ok(0));
        assert_eq!(time(r#"{"t":1500}"#), Ok(1_500_000));
        assert_eq!(time(r#"{"t":1500.25}"#), Ok(1_500_250));
        for bad in [r#"{"t":"yesterday"}"#, r#"{"t":1e300}"#, r#"{"t":null}"#, r#"{"t":"2026-11-01T10:00:00"}"#, "{}"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
