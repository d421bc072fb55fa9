//! `[buffer]` in the configuration: how much is kept, and for how long.

use std::time::Duration;

use explaind_core::domain::record::Stream;
use explaind_core::domain::units;
use serde::Deserialize;

/// The least that a stream may be bounded to: below it every record would push out the one before.
const LEAST_OF_STREAM: u64 = 64 << 10;

/// `[buffer]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Bytes that all records together may take on disk, those in the journal twice. When it is reached and nothing is
    /// left that may go (see `evict`), new predictions are refused. It is passed by one append at most. On a smaller disk
    /// less is in force (see `room`).
    #[serde(with = "units::bytes")]
    pub(crate) max_bytes: u64,
    /// Over so many bytes, uploaded predictions go, the oldest first: they are history. sled keeps about a fifth of
    /// this in memory, so it is the bound on that as well while the registry is reached.
    #[serde(with = "units::bytes")]
    pub(crate) history_bytes: u64,
    /// Uploaded records older than this go even when there is room.
    #[serde(with = "units::duration")]
    pub(crate) max_age: Duration,
    /// Bounds of one stream each, beside the common ones.
    pub(crate) predictions: Limits,
    pub(crate) explanations: Limits,
    pub(crate) health: Limits,
    pub(crate) alerts: Limits,
    pub(crate) feedback: Limits,
    pub(crate) audit: Limits,
}

/// Bounds of one stream. For predictions, explanations and health they hold whether a record is uploaded or not; of the
/// others only what is uploaded goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Bytes that its records may take.
    #[serde(with = "units::bytes_option")]
    pub(crate) max_bytes: Option<u64>,
    /// How old they may get.
    #[serde(with = "units::duration_option")]
    pub(crate) max_age: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Config {
    /// What holds where nothing else is written.
    pub(super) const DEFAULT: Self = {
        let none = Limits { max_bytes: None, max_age: None };
        Self {
            max_bytes: 2 << 30,
            history_bytes: 256 << 20,
            max_age: Duration::from_secs(90 * 86_400),
            predictions: none,
            explanations: none,
            health: none,
            alerts: none,
            feedback: none,
            audit: none,
        }
    };

    /// Says what makes no sense, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        if self.max_bytes < 1 << 20 {
            let sentence = format!("{} bytes hold no queue; write at least \"1MiB\"", self.max_bytes);
            return Err(("max_bytes".to_owned(), sentence));
        }
        for stream in Stream::ALL {
            let (limits, name) = (self.limits(stream), stream.as_str());
            if let Some(bytes) = limits.max_bytes.filter(|bytes| !(LEAST_OF_STREAM..=self.max_bytes).contains(bytes)) {
                let sentence = format!("{bytes} bytes make no bound; write \"64KiB\" to [buffer] max_bytes");
                return Err((format!("{name}.max_bytes"), sentence));
            }
            if limits.max_age.is_some_and(|age| age < Duration::from_secs(60)) {
                return Err((format!("{name}.max_age"), "write at least \"1m\"".to_owned()));
            }
        }
        Ok(())
    }

    /// The bounds of one stream.
    pub(super) fn limits(&self, stream: Stream) -> Limits {
        match stream {
            Stream::Predictions => self.predictions,
            Stream::Explanations => self.explanations,
            Stream::Health => self.health,
            Stream::Alerts => self.alerts,
            Stream::Feedback => self.feedback,
            Stream::Audit => self.audit,
        }
    }

    /// Bytes of one file of the journal: small beside the bound, so that files can go one by one.
    pub(super) fn journal_segment(&self) -> u64 {
        (self.max_bytes / 64).clamp(64 << 10, 1 << 20)
    }
}

/// What alerts, feedback, audit and health may use once predictions are refused, over the bound in force.
pub(super) fn reserve(bound: u64) -> u64 {
    (bound / 16).clamp(1 << 18, 64 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|(key, sentence)| format!("{key}: {sentence}"))?;
        Ok(config)
    }

    #[test]
    fn a_stream_may_have_bounds_of_its_own() {
        let config = read("[predictions]\nmax_bytes = \"1MiB\"\n[health]\nmax_age = \"30d\"").unwrap();
        assert_eq!(config.limits(Stream::Predictions), Limits { max_bytes: Some(1 << 20), max_age: None });
        assert_eq!(config.limits(Stream::Health).max_age, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(config.limits(Stream::Feedback), Limits::default());
        for (text, said) in [
            ("max_bytes = \"1kB\"", "max_bytes: 1000 bytes hold no queue"),
            ("[alerts]\nmax_bytes = \"3GiB\"", "alerts.max_bytes: "),
            ("[health]\nmax_bytes = \"1kB\"", "health.max_bytes: "),
            ("[predictions]\nmax_age = \"0s\"", "predictions.max_age: "),
            ("[predictions]\nmax = \"1MiB\"", "unknown field `max`"),
            ("[drift]\nmax_age = \"1d\"", "unknown field `drift`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
