//! Feedback: what was said, and one more thing to say.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use explaind_core::domain::record::Stream;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::body::Body;
use super::once::Once;
use super::{MOST, Page, base, forms, limit, scan};
use crate::web::Shared;
use crate::web::access::{Technician, Viewer};
use crate::web::feedback::{self, Asked};
use crate::web::problem::Problem;
use crate::web::verdicts::Said;

/// Which feedback.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Most that are given.
    #[schemars(range(min = 1, max = MOST))]
    limit: Option<usize>,
    /// Only those with a lower number: the header `Explaind-Next` of the page before.
    #[schemars(range(max = u64::MAX))]
    before: Option<u64>,
    /// Only those on this prediction.
    prediction_id: Option<Uuid>,
    /// Only those on this alert.
    alert_id: Option<Uuid>,
    /// Only those on this machine.
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
) -> Result<Page<forms::Feedback>, Problem> {
    let limit = limit(wanted.limit)?;
    web.off_thread(move |web| {
        let (records, next) = scan(web, Stream::Feedback, wanted.before, limit, |record| {
            Said::from_record(record).is_some_and(|said| wanted.fits(&said))
        })?;
        let items = records
            .iter()
            .filter_map(Said::from_record)
            .map(|said| forms::Feedback::of(&Said { revised: web.verdicts.is_revised(said.id), ..said }))
            .collect();
        Ok(Page { items, next: next.map(|sequence| sequence.to_string()), base: base(&uri) })
    })
    .await
}

/// Takes feedback in. It is on disk when this answers 201. Said again under the same key, it is what was said the first time.
pub(crate) async fn give(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Once(key): Once,
    Body(asked): Body<Asked>,
) -> Result<(StatusCode, Json<forms::Feedback>), Problem> {
    let said = web.off_thread(move |web| feedback::give_once(web, &actor, asked, key.as_deref())).await?;
    Ok((StatusCode::CREATED, Json(forms::Feedback::of(&said))))
}
