//! What is news, and how it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use explaind_core::domain::prediction::Role;
use explaind_core::domain::record::{Body, Record};

use super::data::{AlertNews, Data, ExplanationNews, FeedbackNews, GatewayNews, PredictionNews};
use super::place::{Place, Step};
use crate::web::time::Iso;

/// Changes gathered; with more, all is read from the records again.
const MOST_GATHERED: usize = 1024;

/// One event.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// What it says.
    pub(super) data: Data,
    /// What is told with it.
    pub(super) step: Step,
}

/// What is to be told: everything that happened, but of predictions the last of each asset.
#[derive(Default)]
pub(super) struct Gathered {
    changes: VecDeque<News>,
    /// By the number of the prediction.
    explained: BTreeMap<u64, News>,
    predictions: BTreeMap<Arc<str>, News>,
}

impl Gathered {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.only_predictions() && self.predictions.is_empty()
    }

    /// Whether there is nothing that is urgent.
    pub(super) fn only_predictions(&self) -> bool {
        self.changes.is_empty() && self.explained.is_empty()
    }

    /// Whether predictions wait.
    pub(super) fn has_predictions(&self) -> bool {
        !self.predictions.is_empty()
    }

    /// Whether more came than is gathered.
    pub(super) fn is_too_much(&self) -> bool {
        self.changes.len() + self.explained.len() + self.predictions.len() > MOST_GATHERED
    }

    /// Takes in a record that comes after `place`; what was told already changes nothing.
    pub(super) fn add(&mut self, record: &Record, place: &mut Place) {
        let number = record.sequence;
        match &record.body {
            Body::Alert(change) if number > place.alerts => {
                let data = AlertNews {
                    id: change.alert_id,
                    asset: Arc::clone(&change.asset),
                    state: change.to.as_str(),
                    suppression: change.cover.shown().as_str(),
                    priority: change.priority.as_str(),
                    sequence: number,
                };
                self.changes.push_back(News { data: Data::Alert(data), step: Step::Alert(number) });
            }
            Body::Feedback(feedback) if number > place.feedback => {
                let data = FeedbackNews {
                    id: record.id,
                    alert_id: feedback.alert_id,
                    prediction_id: feedback.prediction_id,
                    asset: feedback.asset.clone(),
                    sequence: number,
                };
                self.changes.push_back(News { data: Data::Feedback(data), step: Step::Feedback(number) });
            }
            Body::Extra(extra) if number > place.extras => {
                let data = ExplanationNews {
                    prediction_id: extra.prediction_id,
                    kind: Some(extra.kind.as_str()),
                    ..ExplanationNews::default()
                };
                self.changes.push_back(News { data: Data::Explanation(data), step: Step::Extra(number) });
            }
            // What the page says above the alerts has changed.
            Body::Health(health) if number > place.health && health.subject == "buffer" => {
                let data = GatewayNews { subject: health.subject.clone(), state: health.state.clone() };
                self.changes.push_back(News { data: Data::Gateway(data), step: Step::Health(number) });
            }
            // A challenger's predictions are nobody's news.
            Body::Prediction(prediction) if prediction.role != Role::Shadow => self.add_prediction(record, place),
            // What is nobody's news is passed over, once all before it is told.
            Body::Health(_) if self.changes.is_empty() => place.step(Step::Health(number)),
            Body::Prediction(_) if self.predictions.is_empty() => place.step(Step::Prediction(number)),
            _ => {}
        }
    }

    fn add_prediction(&mut self, record: &Record, place: &mut Place) {
        let Body::Prediction(prediction) = &record.body else { return };
        let number = record.sequence;
        let is_new = number > place.predictions;
        // Explanations of predictions without an alert are nobody's news.
        if let Some(alert) = prediction.alert {
            if is_new && !place.ahead.contains(&number) {
                place.open.insert(number);
            }
            if let Some(settlement) = record.settlement.as_ref().filter(|_| place.open.contains(&number)) {
                let data = ExplanationNews {
                    prediction_id: record.id,
                    alert_id: Some(alert),
                    asset: Some(Arc::clone(&prediction.asset)),
                    status: Some(settlement.status()),
                    kind: None,
                };
                let news = News { data: Data::Explanation(data), step: Step::Explained(number) };
                self.explained.insert(number, news);
            }
        }
        if is_new {
            let (id, asset) = (record.id, Arc::clone(&prediction.asset));
            let data = PredictionNews { id, asset, at: Iso(record.at.utc), sequence: number };
            let news = News { data: Data::Prediction(data), step: Step::Prediction(number) };
            let known = self.predictions.entry(Arc::clone(&prediction.asset)).or_insert_with(|| news.clone());
            // A prediction comes once more with its explanation, and that may be after a later one.
            if matches!(known.step, Step::Prediction(before) if before < number) {
                *known = news;
            }
        }
    }

    /// All of it, in the order of what happened; without predictions unless they are due.
    pub(super) fn drain(&mut self, with_predictions: bool) -> Vec<News> {
        let mut out: Vec<News> = std::mem::take(&mut self.changes).into();
        if with_predictions {
            let number = |news: &News| match news.step {
                Step::Prediction(number) => number,
                _ => 0,
            };
            let mut predictions: Vec<News> = std::mem::take(&mut self.predictions).into_values().collect();
            predictions.sort_unstable_by_key(number);
            out.extend(predictions);
        }
        out.extend(std::mem::take(&mut self.explained).into_values());
        out
    }
}
