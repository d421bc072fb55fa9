//! One alert with all that belongs to it: the prediction that raised it, its explanation, what would clear it, what is like
//! it, and what people said.

use explaind_core::domain::alert::{GATEWAY, Raised};
use explaind_core::domain::condition::Condition;
use explaind_core::domain::explanation::{Explanation, Settlement};
use explaind_core::domain::extra::{Cases, Counterfactuals, Kind, Outcome, PastAlert};
use explaind_core::domain::prediction::Prediction;
use explaind_core::domain::record::{Body, Record};
use explaind_core::explain::words::{self, Judged, Language};
use serde::de::DeserializeOwned;
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
    /// What would clear it, under the id that feedback names.
    pub(crate) counterfactuals: Option<(Uuid, Counterfactuals)>,
    /// What is like it, under the id that feedback names.
    pub(crate) cases: Option<(Uuid, Cases)>,
    /// What was said of the alerts that are like it, in their order.
    pub(crate) judged: Vec<Judged>,
    /// What was said of it, oldest first.
    pub(crate) said: Vec<Said>,
    /// The reader's.
    pub(crate) language: Language,
}

impl Story {
    /// Gathers it from the buffer.
    pub(crate) fn tell(web: &Web, alert: Alert, language: Language) -> Result<Self, BufferError> {
        let evidence = match alert.prediction_id {
            Some(id) => web.buffer.get(id)?,
            None => None,
        };
        let counterfactuals = extra(web, alert.prediction_id, Kind::Counterfactuals)?;
        let cases: Option<(Uuid, Cases)> = extra(web, alert.prediction_id, Kind::Cases)?;
        let alike = cases.iter().flat_map(|(_, cases)| &cases.alerts);
        let judged = alike.map(|past| judged(web, past)).collect();
        let said = web.verdicts.on(Some(alert.id), alert.prediction_id);
        Ok(Self { alert, evidence, counterfactuals, cases, judged, said, language })
    }

    /// The prediction behind it.
    pub(crate) fn prediction(&self) -> Option<&Prediction> {
        self.evidence.as_ref().and_then(prediction)
    }

    /// The explanation and its id, where there is one.
    pub(crate) fn explanation(&self) -> Option<(Uuid, &Explanation)> {
        self.evidence.as_ref().and_then(explanation)
    }

    /// What is wrong, where it is the gateway's own alert.
    pub(crate) fn own(&self) -> Option<Condition> {
        (*self.alert.asset == *GATEWAY).then(|| Condition::named(&self.alert.model)).flatten()
    }

    /// Why, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        if let Some(condition) = self.own() {
            return words::gateway(self.language, condition).to_owned();
        }
        let raised = self.alert.raised;
        let sentence = self.evidence.as_ref().and_then(|record| sentence(record, raised, self.language));
        sentence.unwrap_or_else(|| self.alert.reason.clone())
    }

    /// What would clear it, in one sentence; `None` where there was nothing to search.
    pub(crate) fn would_clear(&self) -> Option<String> {
        let (_, found) = self.counterfactuals.as_ref()?;
        let searched = matches!(found.outcome, Outcome::Found | Outcome::NoneWithinLimits);
        searched.then(|| words::remedy(self.language, found))
    }

    /// What it was the last times, in one sentence; `None` while there was no earlier alert to compare with.
    pub(crate) fn similar(&self) -> Option<String> {
        let compared = self.cases.as_ref().is_some_and(|(_, cases)| cases.compared > 0);
        compared.then(|| words::cases(self.language, &self.judged))
    }

    /// Whoever gets this story has seen its explanations.
    pub(crate) fn served_to(&self, seen: &Seen) {
        let explanation = self.explanation().map(|(id, _)| id);
        let counterfactuals = self.counterfactuals.as_ref().map(|(id, _)| *id);
        let cases = self.cases.as_ref().map(|(id, _)| *id);
        explanation.into_iter().chain(counterfactuals).chain(cases).for_each(|id| seen.note(id));
    }
}

/// The verdict that stands on an earlier alert.
fn judged(web: &Web, past: &PastAlert) -> Judged {
    let said = web.verdicts.on(Some(past.alert_id), Some(past.prediction_id));
    let last = said.into_iter().rfind(|said| !said.revised && said.feedback.verdict.is_some());
    let Some(Said { feedback, .. }) = last else { return Judged::default() };
    Judged { verdict: feedback.verdict, words: feedback.cause.or(feedback.comment) }
}

/// What is said of a prediction beside its attributions. What cannot be read is as good as not said.
fn extra<T: DeserializeOwned>(
    web: &Web,
    prediction: Option<Uuid>,
    kind: Kind,
) -> Result<Option<(Uuid, T)>, BufferError> {
    let Some(prediction) = prediction else { return Ok(None) };
    let record = match web.buffer.extra(prediction, kind) {
        // The store is out of use, and the alert is shown all the same.
        Err(BufferError::Broken(_)) => None,
        other => other?,
    };
    Ok(record.and_then(|record| Some((record.id, content(&record)?))))
}

/// What an extra says.
pub(crate) fn content<T: DeserializeOwned>(record: &Record) -> Option<T> {
    match &record.body {
        Body::Extra(extra) => serde_json::from_str(&extra.content).ok(),
        _ => None,
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
pub(crate) fn sentence(record: &Record, raised: Option<Raised>, language: Language) -> Option<String> {
    let prediction = prediction(record)?;
    Some(words::sentence(language, prediction, record.settlement.as_ref(), raised))
}
