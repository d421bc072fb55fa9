//! Predictions as they lie on disk.

use std::sync::Arc;

use explaind_core::domain::prediction::{Digest, Input, Outcome, Output, Prediction, Role, Withheld};
use explaind_core::domain::sample::Quality;
use explaind_core::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Frame, Frames};

/// What the predictions of one asset by one model have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) struct PredictionFrame {
    asset: Arc<str>,
    model: Arc<str>,
    model_version: Arc<str>,
    model_digest: [u8; 32],
    background_digest: [u8; 32],
    role: Role,
    features: Vec<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredPrediction {
    frame: u32,
    outcome: StoredOutcome,
    source_time: Option<i64>,
    inputs: Vec<Option<f64>>,
    input_quality: Quality,
    alert: Option<[u8; 16]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum StoredOutcome {
    Predicted { value: f64, label: Option<String>, probability: Option<f64> },
    Withheld(Withheld),
}

impl PredictionFrame {
    pub(super) fn of(prediction: &Prediction) -> Self {
        Self {
            asset: prediction.asset.clone(),
            model: prediction.model.clone(),
            model_version: prediction.model_version.clone(),
            model_digest: prediction.model_digest.0,
            background_digest: prediction.background_digest.0,
            role: prediction.role,
            features: prediction.inputs.iter().map(|input| input.feature.clone()).collect(),
        }
    }
}

impl StoredPrediction {
    pub(super) fn of(prediction: &Prediction, frame: u32) -> Self {
        Self {
            frame,
            outcome: match &prediction.outcome {
                Outcome::Predicted(Output { value, label, probability }) => {
                    StoredOutcome::Predicted { value: *value, label: label.clone(), probability: *probability }
                }
                Outcome::Withheld(withheld) => StoredOutcome::Withheld(withheld.clone()),
            },
            source_time: prediction.source_time.map(Timestamp::as_micros),
            inputs: prediction.inputs.iter().map(|input| input.value).collect(),
            input_quality: prediction.input_quality,
            alert: prediction.alert.map(Uuid::into_bytes),
        }
    }

    pub(super) fn into_domain(self, frames: &impl Frames) -> Result<Prediction, String> {
        let frame = frames.frame(self.frame);
        let Some(Frame::Prediction(frame)) = frame.as_deref() else {
            return Err(format!("its frame {} is missing", self.frame));
        };
        if frame.features.len() != self.inputs.len() {
            return Err(format!("it has {} inputs for {} features", self.inputs.len(), frame.features.len()));
        }
        Ok(Prediction {
            asset: frame.asset.clone(),
            model: frame.model.clone(),
            model_version: frame.model_version.clone(),
            model_digest: Digest(frame.model_digest),
            background_digest: Digest(frame.background_digest),
            role: frame.role,
            outcome: match self.outcome {
                StoredOutcome::Predicted { value, label, probability } => {
                    Outcome::Predicted(Output { value, label, probability })
                }
                StoredOutcome::Withheld(withheld) => Outcome::Withheld(withheld),
            },
            source_time: self.source_time.map(Timestamp::from_micros),
            inputs: frame
                .features
                .iter()
                .zip(self.inputs)
                .map(|(feature, value)| Input { feature: feature.clone(), value })
                .collect(),
            input_quality: self.input_quality,
            alert: self.alert.map(Uuid::from_bytes),
        })
    }
}
