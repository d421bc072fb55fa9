//! Feedback: what was said, and one more thing to say.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use explaind_core::domain::record::Stream;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::body::Body;
use super::{Page, base, forms, limit, scan};
use crate::web::Shared;
use crate::web::access::{Technician, Viewer};
use crate::web::feedback::{self, Asked};
use crate::web::problem::Problem;
use crate::web::verdicts::Said;

/// Which feedback.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    limit: Option<usize>,
    /// A sequence: only older ones.
    before: Option<u64>,
    prediction_id: Option<Uuid>,
    alert_id: Option<Uuid>,
    asset: Option<String>,
}

impl Wanted {
    fn fits(&self, said: &Said) -> bool {
        let feedback = &said.feedback;
        self.prediction_id.is_none_or(|id| feedback.prediction_id == Some(id))
            && self.alert_id.is_none_or(|id| feedback.alert_id == Some(id))
            && self.asset.as_ref().is_none_or(|asset| feedback.asset == *asset)
    }
}

/// The newest first.
pub(crate) async fn list(
    State(web): State<Shared>,
    _: Viewer,
    uri: Uri,
    Query(wanted): Query<Wanted>,
) -> Result<Page<Value>, Problem> {
    let limit = limit(wanted.limit)?;
    web.off_thread(move |web| {
        let (records, next) = scan(web, Stream::Feedback, wanted.before, limit, |record| {
            Said::from_record(record).is_some_and(|said| wanted.fits(&said))
        })?;
        let items = records
            .iter()
            .filter_map(Said::from_record)
            .map(|said| forms::said(&Said { revised: web.verdicts.is_revised(said.id), ..said }))
            .collect();
        Ok(Page { items, next: next.map(|sequence| sequence.to_string()), base: base(&uri) })
    })
    .await
}

/// Takes feedback in. It is on disk when this answers 201.
pub(crate) async fn give(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Body(asked): Body<Asked>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let said = web.off_thread(move |web| feedback::give(web, &actor, asked)).await?;
    Ok((StatusCode::CREATED, Json(forms::said(&said))))
}
