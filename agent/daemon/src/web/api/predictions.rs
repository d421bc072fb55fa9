//! Predictions: the list, and one with its explanation.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use explaind_core::domain::alert::Raised;
use explaind_core::domain::extra::Kind;
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::{Role, Space};
use explaind_core::domain::record::{Record, Stream};
use explaind_core::explain::words::Language;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::path::Id;
use super::words::{Roles, Spaces};
use super::{MOST, Page, base, forms, is, limit, scan};
use crate::question::Found;
use crate::web::access::{Actor, Viewer};
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story;
use crate::web::{Shared, Web};

/// Which predictions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Most that are given.
    #[schemars(range(min = 1, max = MOST))]
    limit: Option<usize>,
    /// Only those with a lower number: the header `Explaind-Next` of the page before.
    #[schemars(range(max = u64::MAX))]
    before: Option<u64>,
    /// Only those of this machine.
    asset: Option<String>,
    /// Only those of this model.
    model: Option<String>,
    /// Only those in which the model played this part.
    #[schemars(with = "Option<Roles>")]
    role: Option<String>,
}

/// The newest first, each with its role: a challenger's are among them unless others are asked for.
pub(crate) async fn list(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    uri: Uri,
    Query(wanted): Query<Wanted>,
) -> Result<Page<forms::Prediction>, Problem> {
    let limit = limit(wanted.limit)?;
    let role = wanted.role.as_deref().map(of_role).transpose()?;
    web.off_thread(move |web| {
        let (records, next) = scan(web, Stream::Predictions, wanted.before, limit, |record| {
            story::prediction(record).is_some_and(|prediction| {
                is(wanted.asset.as_deref(), &prediction.asset)
                    && is(wanted.model.as_deref(), &prediction.model)
                    && role.is_none_or(|role| prediction.role == role)
            })
        })?;
        let items = records.iter().filter_map(|record| served(web, record, &actor, language)).collect();
        Ok(Page { items, next: next.map(|sequence| sequence.to_string()), base: base(&uri) })
    })
    .await
}

fn of_role(name: &str) -> Result<Role, Problem> {
    let unknown = || Problem::new(StatusCode::BAD_REQUEST, "role must be one of champion, shadow and fallback");
    Role::named(name).ok_or_else(unknown)
}

/// In which space to explain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Explained in this space: as it was stored, or worked out now.
    #[schemars(with = "Option<Spaces>")]
    space: Option<String>,
}

/// One prediction; with `space`, explained in that one: as it was stored, or worked out now.
pub(crate) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Id(id): Id,
    Query(asked): Query<Asked>,
) -> Result<Json<forms::Prediction>, Problem> {
    if let Some(space) = asked.space.as_deref().map(named).transpose()? {
        return in_space(&web, &actor, language, id, space).await;
    }
    web.off_thread(move |web| {
        let record = web.buffer.get(id)?;
        let value = record.as_ref().and_then(|record| served(web, record, &actor, language));
        value.map(Json).ok_or_else(|| crate::web::feedback::gone(web, id))
    })
    .await
}

fn named(space: &str) -> Result<Space, Problem> {
    let unknown = || Problem::new(StatusCode::BAD_REQUEST, "space must be one of probability, margin and value");
    Space::named(space).ok_or_else(unknown)
}

async fn in_space(
    web: &Shared,
    actor: &Actor,
    language: Language,
    id: Uuid,
    space: Space,
) -> Result<Json<forms::Prediction>, Problem> {
    let (record, stored) = stored(web, id, Kind::Space(space)).await?;
    let own = story::explanation(&record).filter(|(_, explanation)| explanation.space == space);
    let own = own.map(|(id, explanation)| Found { id: Some(id), content: Figures::from(explanation) });
    let Found { id, content } = match own.or_else(|| stored.as_ref().and_then(Found::stored)) {
        Some(found) => found,
        None => web.questions.in_space(record.clone(), space).await?,
    };
    let value = id.and_then(|id| {
        actor.seen.note(id);
        forms::Prediction::explained(&record, Some((id, content)), raised(web, &record), language)
    });
    value.map(Json).ok_or_else(|| Problem::busy("this explanation is not on record; ask again in a moment"))
}

/// A prediction, and what is stored of this kind about it.
async fn stored(web: &Shared, id: Uuid, kind: Kind) -> Result<(Record, Option<Record>), Problem> {
    web.off_thread(move |web| {
        let prediction = web.buffer.get(id)?.filter(|record| story::prediction(record).is_some());
        let prediction = prediction.ok_or_else(|| crate::web::feedback::gone(web, id))?;
        Ok((prediction, web.buffer.extra(id, kind)?))
    })
    .await
}

/// What would clear its alert: as it was found when the alert was raised, or searched now.
pub(crate) async fn counterfactuals(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Id(id): Id,
) -> Result<Json<forms::Counterfactuals>, Problem> {
    let (prediction, stored) = stored(&web, id, Kind::Counterfactuals).await?;
    let Found { id, content } = match stored.as_ref().and_then(Found::stored) {
        Some(found) => found,
        None => web.questions.counterfactuals(prediction).await?,
    };
    if let Some(id) = id {
        actor.seen.note(id);
    }
    Ok(Json(forms::Counterfactuals::of(id, &content, language)))
}

/// Which outputs are alarming, where the prediction belongs to an alert.
fn raised(web: &Web, record: &Record) -> Option<Raised> {
    web.buffer.alert(story::prediction(record)?.alert?)?.raised
}

fn served(web: &Web, record: &Record, actor: &Actor, language: Language) -> Option<forms::Prediction> {
    if let Some((id, _)) = story::explanation(record) {
        actor.seen.note(id);
    }
    forms::Prediction::of(record, raised(web, record), language)
}
