//! Predictions: the list, and one with its explanation.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use explaind_core::domain::extra::Kind;
use explaind_core::domain::record::{Record, Stream};
use explaind_core::explain::words::Language;
use serde::Deserialize;
use serde_json::Value;

use super::{Page, base, forms, id, is, limit, scan};
use crate::question::Found;
use crate::web::access::{Actor, Viewer};
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story;
use crate::web::{Shared, Web};

/// Which predictions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    limit: Option<usize>,
    /// A sequence: only older ones.
    before: Option<u64>,
    asset: Option<String>,
    model: Option<String>,
}

/// The newest first.
pub(crate) async fn list(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    uri: Uri,
    Query(wanted): Query<Wanted>,
) -> Result<Page<Value>, Problem> {
    let limit = limit(wanted.limit)?;
    web.off_thread(move |web| {
        let (records, next) = scan(web, Stream::Predictions, wanted.before, limit, |record| {
            story::prediction(record).is_some_and(|prediction| {
                is(wanted.asset.as_deref(), &prediction.asset) && is(wanted.model.as_deref(), &prediction.model)
            })
        })?;
        let items = records.iter().filter_map(|record| served(web, record, &actor, language)).collect();
        Ok(Page { items, next: next.map(|sequence| sequence.to_string()), base: base(&uri) })
    })
    .await
}

/// One prediction.
pub(crate) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = id(&text)?;
    web.off_thread(move |web| {
        let record = web.buffer.get(id)?;
        let value = record.as_ref().and_then(|record| served(web, record, &actor, language));
        value.map(Json).ok_or_else(|| crate::web::feedback::gone(web, id))
    })
    .await
}

/// What would clear its alert: as it was found when the alert was raised, or searched now.
pub(crate) async fn counterfactuals(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = id(&text)?;
    let (prediction, stored) = web
        .off_thread(move |web| {
            let prediction = web.buffer.get(id)?.filter(|record| story::prediction(record).is_some());
            let prediction = prediction.ok_or_else(|| crate::web::feedback::gone(web, id))?;
            Ok((prediction, web.buffer.extra(id, Kind::Counterfactuals)?))
        })
        .await?;
    let Found { id, counterfactuals } = match stored.as_ref().and_then(Found::stored) {
        Some(found) => found,
        None => web.questions.ask(prediction).await?,
    };
    if let Some(id) = id {
        actor.seen.note(id);
    }
    Ok(Json(forms::counterfactuals(id, &counterfactuals, language)))
}

fn served(web: &Web, record: &Record, actor: &Actor, language: Language) -> Option<Value> {
    if let Some((id, _)) = story::explanation(record) {
        actor.seen.note(id);
    }
    let alert = story::prediction(record).and_then(|prediction| web.buffer.alert(prediction.alert?));
    forms::prediction(record, alert.and_then(|alert| alert.raised), language)
}
