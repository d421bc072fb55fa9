//! A model's output for one asset at one time, or the reason why there is none.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sample::Quality;
use super::time::Timestamp;

/// A SHA-256 digest; text form is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 32]>::deserialize(deserializer).map(Self)
    }
}

/// The space in which an output is decided on and explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// The raw score before the link: log-odds for logistic ensembles.
    Margin,
    /// A probability between 0 and 1.
    Probability,
    /// The output tensor's own value.
    Value,
}

impl Space {
    /// The name used in records and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Margin => "margin",
            Self::Probability => "probability",
            Self::Value => "value",
        }
    }

    /// The space of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Margin, Self::Probability, Self::Value].into_iter().find(|space| space.as_str() == name)
    }
}

/// Which part the model played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The model in charge: its predictions raise alerts.
    Champion,
    /// A challenger beside it: stored, never shown.
    Shadow,
    /// A rule that stands in while no model can run.
    Fallback,
}

impl Role {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Shadow => "shadow",
            Self::Fallback => "fallback",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Champion, Self::Shadow, Self::Fallback].into_iter().find(|role| role.as_str() == name)
    }
}

/// Why no prediction was made. `feature` is the model feature whose input was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Withheld {
    /// No value has arrived yet.
    Missing {
        /// The feature without a value.
        feature: String,
    },
    /// The source last vouched for the value longer ago than the feature allows.
    Stale {
        /// The feature.
        feature: String,
        /// Age in seconds.
        age: f64,
    },
    /// Quality bad, or uncertain where the manifest refuses it.
    Quality {
        /// The feature.
        feature: String,
        /// The status code given.
        status: u32,
    },
    /// NaN or infinite.
    NonFinite {
        /// The feature.
        feature: String,
    },
    /// Physically impossible by the manifest's range.
    OutOfRange {
        /// The feature.
        feature: String,
        /// The value that arrived.
        value: f64,
    },
    /// Changed faster than the manifest's `max_rate` allows.
    TooFast {
        /// The feature.
        feature: String,
        /// Change per second.
        rate: f64,
    },
    /// A word where a number is needed, or one that the categories do not name.
    NotANumber {
        /// The feature.
        feature: String,
    },
    /// The model gave NaN or an infinity.
    ModelNonFinite,
    /// The model failed to run.
    ModelFailed {
        /// What it said.
        error: String,
    },
    /// The model takes a window, and not all of its rows have come.
    WindowFilling {
        /// Rows so far.
        have: u32,
        /// Rows of a window.
        need: u32,
    },
    /// There is no model that can run here, and no rule that stands in for it.
    NoModel,
    /// The model, or the whole gateway, was stopped.
    Stopped {
        /// Why, and by whom.
        reason: String,
    },
    /// The machine is watched by no model: its samples are kept.
    PassThrough,
}

impl Withheld {
    /// The short code in records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Stale { .. } => "stale",
            Self::Quality { .. } => "bad_quality",
            Self::NonFinite { .. } => "non_finite",
            Self::OutOfRange { .. } => "out_of_range",
            Self::TooFast { .. } => "too_fast",
            Self::NotANumber { .. } => "not_a_number",
            Self::ModelNonFinite => "model_non_finite",
            Self::ModelFailed { .. } => "model_failed",
            Self::WindowFilling { .. } => "window_filling",
            Self::NoModel => "no_model",
            Self::Stopped { .. } => "stopped",
            Self::PassThrough => "pass_through",
        }
    }
}

impl fmt::Display for Withheld {
    /// The code, then what is known: `stale: Torque [Nm], 7.2 s old`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        match self {
            Self::Missing { feature } | Self::NonFinite { feature } | Self::NotANumber { feature } => {
                write!(f, "{code}: {feature}")
            }
            Self::Stale { feature, age } => write!(f, "{code}: {feature}, {age:.1} s old"),
            Self::Quality { feature, status } => write!(f, "{code}: {feature}, status 0x{status:08X}"),
            Self::OutOfRange { feature, value } => write!(f, "{code}: {feature} = {value}"),
            Self::TooFast { feature, rate } => write!(f, "{code}: {feature} changed by {rate:.3} per second"),
            Self::ModelNonFinite | Self::NoModel | Self::PassThrough => f.write_str(code),
            Self::Stopped { reason } => write!(f, "{code}: {reason}"),
            Self::ModelFailed { error } => write!(f, "{code}: {error}"),
            Self::WindowFilling { have, need } => write!(f, "{code}: {have} of {need} rows"),
        }
    }
}

/// What a model said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The value of the output tensor that is decided on (for classifiers the probability of the watched class).
    pub value: f64,
    /// The name of the class decided for, for classifiers with labels.
    pub label: Option<String>,
    /// The probability of the watched class, for classifiers.
    pub probability: Option<f64>,
}

/// One feature's value as it went into the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The feature's name, from the manifest; for a whole window `feature@step`, the oldest step being 0.
    pub feature: Arc<str>,
    /// Its value; absent when none had arrived.
    pub value: Option<f64>,
}

/// A prediction's outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The model ran.
    Predicted(Output),
    /// It did not, or its answer is of no use.
    Withheld(Withheld),
}

/// One prediction, bound to the exact model, background and input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The machine.
    pub asset: Arc<str>,
    /// The model's name in the configuration; empty where the machine has none.
    pub model: Arc<str>,
    /// The bundle's version; of a rule `rule`, empty where there is neither.
    pub model_version: Arc<str>,
    /// Digest of `model.onnx`; zeros where no model stands behind it.
    pub model_digest: Digest,
    /// Digest of `background.csv`.
    pub background_digest: Digest,
    /// Champion, shadow or fallback.
    pub role: Role,
    /// Output or reason.
    pub outcome: Outcome,
    /// The newest source time among the inputs, where sources gave one.
    pub source_time: Option<Timestamp>,
    /// All features in model order. Of a prediction from a window all of its values; of one that was withheld, the newest.
    pub inputs: Vec<Input>,
    /// The worst quality among the inputs.
    pub input_quality: Quality,
    /// The alert that this prediction raised or belongs to, while one is open.
    pub alert: Option<uuid::Uuid>,
}

/// Which model it is, to the byte: what a name in the configuration stands for changes with each new bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelKey {
    /// The model's name in the configuration.
    pub name: Arc<str>,
    /// Digest of `model.onnx`.
    pub model: Digest,
    /// Digest of `background.csv`.
    pub background: Digest,
}

impl Prediction {
    /// The model that made it.
    pub fn key(&self) -> ModelKey {
        ModelKey { name: Arc::clone(&self.model), model: self.model_digest, background: self.background_digest }
    }

    /// Whether a feature of this name went into it, alone or as a part of a window.
    pub fn has_feature(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| {
            let step = input.feature.strip_prefix(name).and_then(|rest| rest.strip_prefix('@'));
            *input.feature == *name || step.is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }
}
