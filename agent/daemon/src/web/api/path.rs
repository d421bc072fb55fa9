//! What stands in addresses: ids, names and streams. What is none such is nothing that there is: 404.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use explaind_core::domain::record::Stream;
use uuid::Uuid;

use super::describe::{Draft, Takes};
use super::words;
use crate::web::problem::Problem;

/// The id of an alert or a prediction.
pub(crate) struct Id(pub(crate) Uuid);

/// The name of a model in the configuration.
pub(crate) struct Name(pub(crate) String);

/// A stream, by its name.
pub(crate) struct Of(pub(crate) Stream);

async fn text(parts: &mut Parts) -> Result<String, Problem> {
    let path = Path::<String>::from_request_parts(parts, &()).await;
    path.map(|Path(text)| text).map_err(|_| Problem::unknown("there is nothing at this address"))
}

impl<S: Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        text(parts).await?.parse().map(Self).map_err(|_| {
            Problem::unknown("an id is written as 32 hexadecimal digits in five groups, and this address has none such")
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        text(parts).await.map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Of {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Stream::named(&text(parts).await?).map(Self).ok_or_else(|| {
            let names = Stream::ALL.map(Stream::as_str).join(", ");
            Problem::unknown(format!("there is no stream of this name; there are {names}"))
        })
    }
}

impl Takes for Id {
    fn describe(draft: &mut Draft<'_>) {
        draft.in_path::<Uuid>("id");
        draft.errors(&[404]);
    }
}

impl Takes for Name {
    fn describe(draft: &mut Draft<'_>) {
        draft.in_path::<String>("name");
        draft.errors(&[404]);
    }
}

impl Takes for Of {
    fn describe(draft: &mut Draft<'_>) {
        draft.in_path::<words::Streams>("stream");
        draft.errors(&[404]);
    }
}
