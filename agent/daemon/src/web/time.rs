//! Times as text.

use std::borrow::Cow;

use explaind_core::domain::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A time as the API tells it, see [`iso`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Iso(pub(crate) Timestamp);

impl Serialize for Iso {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&iso(self.0))
    }
}

impl JsonSchema for Iso {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// RFC 3339 in UTC with microseconds: what the API and `<time datetime>` carry.
pub(crate) fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).map_or_else(|_| "unknown".to_owned(), |time| format!("{time:.6}"))
}

/// Reads RFC 3339 with any offset.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp::from_micros(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        let at = Timestamp::from_micros(1_763_765_400_123_456);
        assert_eq!(iso(at), "2025-11-21T22:50:00.123456Z");
        assert_eq!(parse(&iso(at)), Some(at));
        assert_eq!(parse("2025-11-21T23:50:00.123456+01:00"), Some(at));
        assert_eq!(iso(Timestamp::from_micros(i64::MAX)), "unknown");
        assert_eq!(parse("yesterday"), None);
    }
}
