//! Durations and sizes as people write them in files: `"250ms"`, `"2GiB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Longest duration accepted: a hundred years, so that sums of two never overflow.
const MOST_SECONDS: f64 = 100.0 * 366.0 * 86_400.0;

/// Reads `"10s"`, `"250ms"`, `"1.5h"`: a number and one of us, ms, s, m, h, d.
///
/// # Errors
/// A sentence that says what is wrong and what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => {
            return Err(format!("\"{text}\" is not a duration; write a number and us, ms, s, m, h or d, like \"10s\""));
        }
    };
    match number.parse::<f64>() {
        Ok(value) if value >= 0.0 && value * seconds <= MOST_SECONDS => Ok(Duration::from_secs_f64(value * seconds)),
        _ => Err(format!("\"{text}\" is not a duration between 0 and 100 years; write one like \"10s\"")),
    }
}

/// Writes a duration in the largest unit in which it is a whole number: `8h`, `90m`.
pub fn written(duration: Duration) -> String {
    const UNITS: [(u64, char); 3] = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let seconds = duration.as_secs();
    let whole = |(size, _): &(u64, char)| seconds > 0 && duration.subsec_nanos() == 0 && seconds.is_multiple_of(*size);
    match UNITS.into_iter().find(whole) {
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{}s", duration.as_secs_f64()),
    }
}

/// Reads `"2GiB"`, `"500MB"`, `"4096"`: a number and B, kB, MB, GB, TB, KiB, MiB, GiB, TiB or nothing.
///
/// # Errors
/// A sentence that says what is wrong and what to write.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "TB" => 1000_u64.pow(4),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => {
            return Err(format!(
                "\"{text}\" is not a size; write a number and B, kB, MB, GB, KiB, MiB or GiB, like \"2GiB\""
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|value| value.checked_mul(factor))
        .ok_or_else(|| format!("\"{text}\" is not a size; write a whole number and a unit, like \"2GiB\""))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// For `#[serde(with = "units::duration")]`.
pub mod duration {
    use super::*;

    /// Reads a duration.
    ///
    /// # Errors
    /// When the text is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(de::Error::custom)
    }

    /// Writes a duration in seconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}s", value.as_secs_f64()))
    }
}

/// For `#[serde(default, with = "units::duration_option")]`.
pub mod duration_option {
    use super::*;

    /// Reads a duration.
    ///
    /// # Errors
    /// When the text is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::duration::deserialize(deserializer).map(Some)
    }
}

/// For `#[serde(with = "units::bytes")]`.
pub mod bytes {
    use super::*;

    /// Reads a size.
    ///
    /// # Errors
    /// When the text is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_bytes(&text).map_err(de::Error::custom)
    }

    /// Writes a size in bytes.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value}B"))
    }
}

/// For `#[serde(default, with = "units::bytes_option")]`.
pub mod bytes_option {
    use super::*;

    /// Reads a size.
    ///
    /// # Errors
    /// When the text is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        super::bytes::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_do() {
        let written = |seconds| super::written(Duration::from_secs_f64(seconds));
        assert_eq!(
            [0.0, 1.5, 59.0, 60.0, 5400.0, 28_800.0, 604_800.0].map(written),
            ["0s", "1.5s", "59s", "1m", "90m", "8h", "7d"]
        );
        assert_eq!(parse_duration(&written(28_800.0)).unwrap(), Duration::from_secs(28_800));
    }

    #[test]
    fn durations_read_as_written_or_say_what_to_write() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        for bad in ["", "10", "s", "-1s", "1e9s", "nans", "10 parsecs", "99999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_as_written_and_never_overflow() {
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        for bad in ["", "GiB", "1.5GiB", "99999999999999999999", "999999999999TiB", "-1B"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
