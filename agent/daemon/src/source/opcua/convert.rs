//! From OPC UA's data values to samples.

use explaind_core::domain::sample::{Quality, Sample, SignalId, Value};
use explaind_core::domain::time::{Now, Timestamp};
use opcua::types::{DataValue, DateTime, StatusCode, Variant};

use crate::source::{bad_sample, sample, status};

/// Source times outside these bounds (1990 and 2200) are a device without a clock, not a time. The gateway's own clock
/// is no measure: it may be the one that is wrong.
const EARLIEST: i64 = 631_152_000_000_000;
const LATEST: i64 = 7_258_118_400_000_000;

/// The sample, and what is wrong with it where it is bad.
pub(super) fn to_sample(signal: &SignalId, data: DataValue, arrival: Now) -> (Sample, Option<String>) {
    // An absent status means good (OPC UA Part 6, 5.2.2.17).
    let code = data.status.map_or(status::GOOD, |status| status.bits());
    let time = data.source_timestamp.as_ref().and_then(timestamp);
    if Quality::of_status(code) == Quality::Bad {
        let fault = format!("the server has no good value: {}", name(StatusCode::from(code)));
        return (bad_sample(signal, code, time, arrival), Some(fault));
    }
    match value(data.value.unwrap_or_default()) {
        Ok(value) => (sample(signal, value, code, time, arrival), None),
        Err((code, fault)) => (bad_sample(signal, code, time, arrival), Some(fault.to_owned())),
    }
}

/// `BadNodeIdUnknown (0x80340000)`, as people look it up.
pub(super) fn name(status: StatusCode) -> String {
    format!("{status} (0x{:08X})", status.bits())
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let micros = time.as_chrono().timestamp_micros();
    (EARLIEST..LATEST).contains(&micros).then(|| Timestamp::from_micros(micros))
}

fn value(variant: Variant) -> Result<Value, (u32, &'static str)> {
    let number = match variant {
        Variant::Boolean(value) => f64::from(u8::from(value)),
        Variant::SByte(value) => f64::from(value),
        Variant::Byte(value) => f64::from(value),
        Variant::Int16(value) => f64::from(value),
        Variant::UInt16(value) => f64::from(value),
        Variant::Int32(value) => f64::from(value),
        Variant::UInt32(value) => f64::from(value),
        // Beyond 2^53 the nearest number that an f64 holds.
        Variant::Int64(value) => value as f64,
        Variant::UInt64(value) => value as f64,
        Variant::Float(value) => f64::from(value),
        Variant::Double(value) => value,
        Variant::String(text) => return Ok(Value::Text(text.as_ref().into())),
        Variant::LocalizedText(text) => return Ok(Value::Text(text.text.as_ref().into())),
        Variant::Variant(inner) if !matches!(*inner, Variant::Variant(_)) => return value(*inner),
        Variant::Empty => return Err((status::BAD_NO_DATA, "the node has no value")),
        Variant::Array(_) => return Err((status::BAD_TYPE_MISMATCH, "the node holds a list, not a single value")),
        _ => return Err((status::BAD_TYPE_MISMATCH, "the node holds neither a number nor a text")),
    };
    Ok(Value::Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn convert(value: impl Into<Variant>, status: u32) -> (Sample, Option<String>) {
        let data = DataValue {
            value: Some(value.into()),
            status: Some(StatusCode::from(status)),
            source_timestamp: Some(DateTime::ymd_hms(2026, 11, 1, 10, 0, 0)),
            ..DataValue::default()
        };
        to_sample(&SignalId::new("opc", "x"), data, clock::now())
    }

    #[test]
    fn numbers_bits_and_words_keep_their_value() {
        for (variant, expected) in [
            (Variant::from(true), 1.0),
            (Variant::from(-3i8), -3.0),
            (Variant::from(65535u16), 65535.0),
            (Variant::from(i64::MIN), -9_223_372_036_854_775_808.0),
            (Variant::from(u64::MAX), 18_446_744_073_709_551_616.0),
            (Variant::from(1.5f32), 1.5),
            (Variant::from(42.8), 42.8),
        ] {
            let (sample, fault) = convert(variant, 0);
            assert_eq!((sample.value, sample.quality, fault), (Value::Number(expected), Quality::Good, None));
            assert_eq!(sample.source_time, Some(Timestamp::from_micros(1_793_527_200_000_000)));
        }
        assert_eq!(convert("L", 0).0.value, Value::Text("L".into()));
    }

    #[test]
    fn the_severity_of_the_status_decides_the_quality() {
        let (uncertain, _) = convert(1.0, 0x4090_0000);
        assert_eq!((uncertain.quality, uncertain.value), (Quality::Uncertain, Value::Number(1.0)));
        let (bad, fault) = convert(1.0, 0x808C_0000);
        assert_eq!((bad.quality, bad.status), (Quality::Bad, 0x808C_0000));
        assert!(fault.unwrap().contains("BadSensorFailure (0x808C0000)"));
    }

    #[test]
    fn what_is_not_one_value_is_bad_and_says_so() {
        let (list, fault) = convert(vec![1.0, 2.0], 0);
        assert_eq!((list.quality, list.status), (Quality::Bad, status::BAD_TYPE_MISMATCH));
        assert!(fault.is_some());
        assert_eq!(convert(Variant::Empty, 0).0.status, status::BAD_NO_DATA);
    }

    #[test]
    fn a_clock_that_was_never_set_gives_no_time() {
        assert_eq!(timestamp(&DateTime::null()), None);
        assert_eq!(timestamp(&DateTime::ymd(1970, 1, 1)), None);
        assert_eq!(timestamp(&DateTime::endtimes()), None);
        assert!(timestamp(&DateTime::ymd(2026, 11, 1)).is_some());
    }
}
