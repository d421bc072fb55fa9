//! What each asset was last predicted, for the status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use explaind_core::domain::prediction::{Outcome, Prediction, Role};
use explaind_core::domain::time::Timestamp;
use uuid::Uuid;

/// When each asset was last predicted, or why that was withheld: for the status.
#[derive(Clone, Default)]
pub(crate) struct LastPredictions(Arc<Mutex<HashMap<Arc<str>, LastPrediction>>>);

/// The last prediction of an asset.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LastPrediction {
    /// The record.
    pub(crate) id: Uuid,
    /// When it was made.
    pub(crate) at: Timestamp,
    /// Why there is none, where it was withheld.
    pub(crate) withheld: Option<String>,
    /// Whether a model or a rule was in charge.
    pub(crate) role: Role,
}

impl LastPredictions {
    /// Takes in a stored prediction. A challenger's is none that anybody goes by.
    pub(crate) fn note(&self, id: Uuid, prediction: &Prediction, at: Timestamp) {
        if prediction.role == Role::Shadow {
            return;
        }
        let withheld = match &prediction.outcome {
            Outcome::Predicted(_) => None,
            Outcome::Withheld(reason) => Some(reason.to_string()),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Arc::clone(&prediction.asset), LastPrediction { id, at, withheld, role: prediction.role });
    }

    /// The last prediction of one asset, if there was one in this run.
    pub(crate) fn of(&self, asset: &str) -> Option<LastPrediction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(asset).cloned()
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::record::{Body, NewRecord};

    use super::*;
    use crate::buffer::samples::{prediction, withheld};

    #[test]
    fn a_challengers_prediction_is_not_the_last_of_its_asset() {
        let last = LastPredictions::default();
        let note = |record: NewRecord, role| {
            let Body::Prediction(made) = record.body else { panic!("{:?}", record.body) };
            last.note(record.id, &Prediction { role, ..made.clone() }, record.at.utc);
            last.of(&made.asset)
        };
        let by_rule = note(prediction(1, 65.0), Role::Fallback);
        assert_eq!(by_rule.as_ref().map(|last| (last.role, &last.withheld)), Some((Role::Fallback, &None)));
        assert_eq!(note(withheld(2), Role::Shadow), by_rule);
        assert_ne!(note(withheld(3), Role::Champion), by_rule);
    }
}
