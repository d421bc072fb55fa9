//! One alert with all that belongs to it: the prediction that raised it, its explanation, and what people said.

use explaind_core::domain::alert::Raised;
use explaind_core::domain::explanation::{Explanation, Settlement};
use explaind_core::domain::prediction::Prediction;
use explaind_core::domain::record::{Body, Record};
use explaind_core::explain::words::{self, Language};
use uuid::Uuid;

use super::Web;
use super::access::Seen;
use super::verdicts::Said;
use crate::buffer::{Alert, BufferError};

/// An alert's story.
pub(crate) struct Story {
    /// The alert as it stands.
    pub(crate) alert: Alert,
    /// The prediction behind it; absent once it was evicted.
    pub(crate) evidence: Option<Record>,
    /// What was said of it, oldest first.
    pub(crate) said: Vec<Said>,
}

impl Story {
    /// Gathers it from the buffer.
    pub(crate) fn tell(web: &Web, alert: Alert) -> Result<Self, BufferError> {
        let evidence = match alert.prediction_id {
            Some(id) => web.buffer.get(id)?,
            None => None,
        };
        let said = web.verdicts.on(Some(alert.id), alert.prediction_id);
        Ok(Self { alert, evidence, said })
    }

    /// The prediction behind it.
    pub(crate) fn prediction(&self) -> Option<&Prediction> {
        self.evidence.as_ref().and_then(prediction)
    }

    /// The explanation and its id, where there is one.
    pub(crate) fn explanation(&self) -> Option<(Uuid, &Explanation)> {
        self.evidence.as_ref().and_then(explanation)
    }

    /// Why, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let raised = self.alert.raised;
        self.evidence.as_ref().and_then(|record| sentence(record, raised)).unwrap_or_else(|| self.alert.reason.clone())
    }

    /// Whoever gets this story has seen its explanation.
    pub(crate) fn served_to(&self, seen: &Seen) {
        if let Some((id, _)) = self.explanation() {
            seen.note(id);
        }
    }
}

/// The prediction in a record.
pub(crate) fn prediction(record: &Record) -> Option<&Prediction> {
    match &record.body {
        Body::Prediction(prediction) => Some(prediction),
        _ => None,
    }
}

/// The explanation of a record's prediction, with its id.
pub(crate) fn explanation(record: &Record) -> Option<(Uuid, &Explanation)> {
    match &record.settlement {
        Some(Settlement::Explained { id, explanation }) => Some((*id, explanation)),
        _ => None,
    }
}

/// What a technician reads of a prediction. The one place where the sentence is asked for.
pub(crate) fn sentence(record: &Record, raised: Option<Raised>) -> Option<String> {
    let prediction = prediction(record)?;
    Some(words::sentence(Language::English, prediction, record.settlement.as_ref(), raised))
}
