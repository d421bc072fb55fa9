//! Alerts: open ones and those that are over, one with its story, and what people do to them.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Uri;
use explaind_core::domain::alert::{AlarmState, Priority};
use explaind_core::domain::command::Act;
use explaind_core::domain::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::body::{Body, OptionalBody};
use super::path::Id;
use super::words::{Askable, CLOSED, OPEN, PRIORITIES, Priorities};
use super::{MOST, Page, base, forms, is, limit};
use crate::buffer::Alert;
use crate::web::Shared;
use crate::web::access::{Actor, Engineer, Technician, Viewer};
use crate::web::language::Reads;
use crate::web::problem::Problem;
use crate::web::story::Story;
use crate::web::time::{self, Iso};
use crate::web::{acknowledge, alarm};

/// Which alerts.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    /// Most that are given.
    #[schemars(range(min = 1, max = MOST))]
    limit: Option<usize>,
    /// Only those raised before this one: the header `Explaind-Next` of the page before.
    #[schemars(range(max = u64::MAX))]
    before: Option<u64>,
    /// Only those in this state; `open` and `closed` stand for several.
    #[schemars(with = "Option<Askable>")]
    state: Option<String>,
    /// Only those of this machine.
    asset: Option<String>,
    /// Only those of this priority.
    #[schemars(with = "Option<Priorities>")]
    priority: Option<String>,
    /// Only those raised at this time or later.
    #[schemars(with = "Option<Iso>")]
    from: Option<String>,
    /// Only those raised before this time.
    #[schemars(with = "Option<Iso>")]
    to: Option<String>,
}

/// The same, once it makes sense.
struct Filter {
    state: Asked,
    asset: Option<String>,
    priority: Option<Priority>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// Which states.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Any,
    Open,
    Closed,
    One(AlarmState),
}

impl Asked {
    fn named(name: &str) -> Result<Self, Problem> {
        let one = || AlarmState::ALL.into_iter().find(|state| state.as_str() == name).map(Self::One);
        let all = || [OPEN, CLOSED].into_iter().chain(AlarmState::ALL.map(AlarmState::as_str)).collect::<Vec<_>>();
        match name {
            OPEN => Ok(Self::Open),
            CLOSED => Ok(Self::Closed),
            _ => one()
                .ok_or_else(|| Problem::unacceptable(format!("state = \"{name}\" is none of {}", all().join(", ")))),
        }
    }

    fn fits(self, state: AlarmState) -> bool {
        match self {
            Self::Any => true,
            Self::Open => state.is_open(),
            Self::Closed => !state.is_open(),
            Self::One(one) => state == one,
        }
    }

    /// Whether only open ones are asked for, which are all at hand.
    fn is_open(self) -> bool {
        match self {
            Self::Any | Self::Closed => false,
            Self::Open => true,
            Self::One(one) => one.is_open(),
        }
    }
}

impl Filter {
    fn of(wanted: Wanted) -> Result<Self, Problem> {
        let priority = |name: &str| {
            PRIORITIES.into_iter().find(|priority| priority.as_str() == name).ok_or_else(|| {
                let all = PRIORITIES.map(Priority::as_str).join(", ");
                Problem::unacceptable(format!("priority = \"{name}\" is none of {all}"))
            })
        };
        let time = |key: &str, text: Option<&str>| {
            let wrong = || Problem::unacceptable(format!("{key} must be RFC 3339, like 2026-01-31T14:05:00Z"));
            text.map(|text| time::parse(text).ok_or_else(wrong)).transpose()
        };
        Ok(Self {
            state: wanted.state.as_deref().map_or(Ok(Asked::Any), Asked::named)?,
            priority: wanted.priority.as_deref().map(priority).transpose()?,
            from: time("from", wanted.from.as_deref())?,
            to: time("to", wanted.to.as_deref())?,
            asset: wanted.asset,
        })
    }

    fn fits(&self, alert: &Alert) -> bool {
        self.state.fits(alert.state)
            && is(self.asset.as_deref(), &alert.asset)
            && self.priority.is_none_or(|priority| alert.priority == priority)
            && self.from.is_none_or(|from| alert.raised_at >= from)
            && self.to.is_none_or(|to| alert.raised_at < to)
    }
}

/// Alerts, open or over, those raised last first.
pub(crate) async fn list(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    uri: Uri,
    Query(wanted): Query<Wanted>,
) -> Result<Page<forms::Alert>, Problem> {
    let (limit, before) = (limit(wanted.limit)?, wanted.before);
    let filter = Filter::of(wanted)?;
    web.off_thread(move |web| {
        let (alerts, next) = if filter.state.is_open() {
            at_hand(web.buffer.alerts(), before, limit, &filter)
        } else {
            web.buffer.history(before, limit, |alert| filter.fits(alert))?
        };
        let mut items = Vec::with_capacity(alerts.len());
        for alert in alerts {
            let story = Story::tell(web, alert, language)?;
            story.served_to(&actor.seen);
            items.push(forms::Alert::of(&story));
        }
        Ok(Page { items, next: next.map(|number| number.to_string()), base: base(&uri) })
    })
    .await
}

/// A page of these.
fn at_hand(mut alerts: Vec<Alert>, before: Option<u64>, limit: usize, filter: &Filter) -> (Vec<Alert>, Option<u64>) {
    alerts.retain(|alert| filter.fits(alert) && before.is_none_or(|before| alert.number() < before));
    alerts.sort_unstable_by_key(|alert| std::cmp::Reverse(alert.number()));
    let more = alerts.len() > limit;
    alerts.truncate(limit);
    let next = alerts.last().filter(|_| more).map(Alert::number);
    (alerts, next)
}

/// One alert.
pub(crate) async fn show(
    State(web): State<Shared>,
    Viewer(actor): Viewer,
    Reads(language): Reads,
    Id(id): Id,
) -> Result<Json<forms::Alert>, Problem> {
    web.off_thread(move |web| {
        let alert = web.buffer.any_alert(id)?.ok_or_else(|| Problem::unknown(format!("no alert has the id {id}")))?;
        let story = Story::tell(web, alert, language)?;
        story.served_to(&actor.seen);
        Ok(Json(forms::Alert::of(&story)))
    })
    .await
}

/// What may be said with an acknowledgement.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Note {
    comment: Option<String>,
}

/// "I have seen it."
pub(crate) async fn acknowledge(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Id(id): Id,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<forms::Alert>, Problem> {
    acknowledge::acknowledge(&web, &actor, id, note.comment).await?;
    show(State(web), Viewer(actor), language, Id(id)).await
}

/// Why, where that must be said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// For those who will miss the alert.
    #[schemars(required)]
    reason: Option<String>,
}

/// For how long and why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aside {
    /// How long, as a number and a unit: `30m`, `8h`, `7d` at most.
    #[serde(rename = "for")]
    length: String,
    /// For those who will miss the alert.
    #[schemars(required)]
    reason: Option<String>,
}

/// Lets go what is latched.
pub(crate) async fn reset(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Id(id): Id,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<forms::Alert>, Problem> {
    change(web, actor, language, id, alarm::reset(note.comment)).await
}

/// Puts the alert's alarm aside for a time.
pub(crate) async fn shelve(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Id(id): Id,
    Body(aside): Body<Aside>,
) -> Result<Json<forms::Alert>, Problem> {
    change(web, actor, language, id, alarm::shelve(&aside.length, aside.reason)).await
}

/// Takes it back from there.
pub(crate) async fn unshelve(
    State(web): State<Shared>,
    Technician(actor): Technician,
    language: Reads,
    Id(id): Id,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<forms::Alert>, Problem> {
    change(web, actor, language, id, alarm::unshelve(note.comment)).await
}

/// Takes the alert's alarm out of service.
pub(crate) async fn out_of_service(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    language: Reads,
    Id(id): Id,
    Body(because): Body<Because>,
) -> Result<Json<forms::Alert>, Problem> {
    change(web, actor, language, id, alarm::out_of_service(because.reason)).await
}

/// Puts it back.
pub(crate) async fn in_service(
    State(web): State<Shared>,
    Engineer(actor): Engineer,
    language: Reads,
    Id(id): Id,
    OptionalBody(note): OptionalBody<Note>,
) -> Result<Json<forms::Alert>, Problem> {
    change(web, actor, language, id, alarm::in_service(note.comment)).await
}

/// Asks for it, and shows the alert as it is then.
async fn change(
    web: Shared,
    actor: Actor,
    language: Reads,
    id: Uuid,
    act: Result<Act, Problem>,
) -> Result<Json<forms::Alert>, Problem> {
    alarm::ask(&web, &actor, id, act?).await?;
    show(State(web), Viewer(actor), language, Id(id)).await
}
