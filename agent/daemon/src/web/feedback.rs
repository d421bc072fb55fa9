//! Takes in what people say of predictions, explanations and missed events.
//!
//! What is wrong is refused with a sentence; what is accepted is on disk, with its audit record, before it is answered.

use std::sync::Arc;

use axum::http::StatusCode;
use explaind_core::domain::feedback::{ExplanationVerdict, Feedback, UserRole, Verdict};
use explaind_core::domain::prediction::Prediction;
use explaind_core::domain::record::{Body, NewRecord, Record};
use explaind_core::domain::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::access::Actor;
use super::problem::Problem;
use super::verdicts::Said;
use super::{Web, audit, story, time, twice};
use crate::buffer::Alert;
use crate::clock;

/// Longest comment, in characters.
pub(crate) const LONGEST_COMMENT: usize = 2000;
/// Longest short text: a cause, a class, a name.
pub(crate) const LONGEST_WORD: usize = 200;
/// Most features named as relevant, and as irrelevant.
const MOST_FEATURES: usize = 256;
/// Longest span of a missed event: a year, in microseconds.
const LONGEST_SPAN: i64 = 366 * 86_400 * 1_000_000;

/// What a client sends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Asked {
    pub(crate) prediction_id: Option<Uuid>,
    pub(crate) alert_id: Option<Uuid>,
    pub(crate) explanation_id: Option<Uuid>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) corrected: Option<Scalar>,
    pub(crate) explanation_verdict: Option<ExplanationVerdict>,
    pub(crate) relevant: Vec<String>,
    pub(crate) irrelevant: Vec<String>,
    pub(crate) cause: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) asset: Option<String>,
    pub(crate) event_from: Option<String>,
    pub(crate) event_to: Option<String>,
    pub(crate) revises: Option<Uuid>,
}

/// A class or a value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Flag(bool),
}

impl Scalar {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }
}

/// What the feedback is about.
struct Subject {
    alert: Option<Alert>,
    evidence: Option<Record>,
    asset: String,
    span: Option<(Timestamp, Timestamp)>,
}

/// Checks and stores it. Waits for the disk: not for an async task.
pub(crate) fn give(web: &Web, actor: &Actor, asked: Asked) -> Result<Said, Problem> {
    store(web, actor, asked, None)
}

/// The same, but said again under the same key it is what was said the first time, also after a restart: the key is in the
/// record's id.
pub(crate) fn give_once(web: &Web, actor: &Actor, asked: Asked, key: Option<&str>) -> Result<Said, Problem> {
    let Some(key) = key else { return give(web, actor, asked) };
    let mark = twice::mark(web.buffer.pseudonyms(), &actor.name, key);
    let _turn = web.verdicts.turn();
    match web.verdicts.marked(mark) {
        None => store(web, actor, asked, Some(mark)),
        Some(said) if twice::is_same(&asked, &said.feedback)? => Ok(said),
        Some(said) => Err(Problem::unacceptable(format!(
            "something else was said under this Idempotency-Key, as feedback {}; take another key",
            said.id
        ))),
    }
}

/// Takes in what a form says, and nothing where that was taken in before under its key; `asked` is `None` where it adds nothing.
pub(crate) fn give_form(
    web: &Web,
    actor: &Actor,
    key: Option<&str>,
    asked: impl FnOnce() -> Result<Option<Asked>, Problem>,
) -> Result<(), Problem> {
    let _turn = web.verdicts.turn();
    let mark = key.map(|key| twice::mark(web.buffer.pseudonyms(), &actor.name, key));
    if mark.is_some_and(|mark| web.verdicts.marked(mark).is_some()) {
        return Ok(());
    }
    match asked()? {
        Some(asked) => store(web, actor, asked, mark).map(drop),
        None => Ok(()),
    }
}

fn store(web: &Web, actor: &Actor, asked: Asked, mark: Option<u64>) -> Result<Said, Problem> {
    let subject = subject(web, &asked)?;
    let feedback = compose(web, actor, asked, &subject)?;
    let about = feedback
        .prediction_id
        .or(feedback.alert_id)
        .map_or_else(|| format!("asset {}", feedback.asset), |id| id.to_string());
    let at = clock::now();
    let id = twice::marked(clock::mint(at), mark);
    let record = NewRecord { id, at, body: Body::Feedback(feedback) };
    let stored = web.buffer.append(vec![record, audit::record(&actor.name, "feedback", &about, "done")])?;
    let said = stored.iter().find_map(|record: &Arc<Record>| Said::from_record(record));
    let said = said.ok_or_else(|| Problem::busy("the feedback was stored and not given back; reload to see it"))?;
    web.verdicts.note(said.clone());
    Ok(said)
}

fn subject(web: &Web, asked: &Asked) -> Result<Subject, Problem> {
    if asked.verdict == Some(Verdict::Missed) {
        return missed(web, asked);
    }
    if asked.asset.is_some() || asked.event_from.is_some() || asked.event_to.is_some() {
        return Err(Problem::unacceptable("asset, event_from and event_to go with the verdict missed only"));
    }
    let alert = match asked.alert_id {
        None => None,
        Some(id) => Some(web.buffer.alert(id).ok_or_else(|| Problem::unknown(format!("no alert has the id {id}")))?),
    };
    let prediction_id = asked.prediction_id.or(alert.as_ref().and_then(|alert| alert.prediction_id));
    let evidence = match prediction_id {
        None => None,
        Some(id) => web.buffer.get(id)?.filter(|record| story::prediction(record).is_some()),
    };
    match (&alert, &evidence, asked.prediction_id) {
        (None, None, None) => Err(Problem::unacceptable(
            "say what this is about: prediction_id or alert_id, or the verdict missed with an asset",
        )),
        // On an alert whose prediction is evicted the verdict still counts: its prediction went home before.
        (Some(alert), None, Some(id)) if alert.prediction_id == Some(id) => {
            let asset = alert.asset.to_string();
            Ok(Subject { alert: Some(alert.clone()), evidence, asset, span: None })
        }
        (_, None, Some(id)) => Err(gone(web, id)),
        (Some(alert), Some(record), Some(id)) if story::prediction(record).is_some_and(|p| p.asset != alert.asset) => {
            Err(Problem::unacceptable(format!("prediction {id} is of another asset than alert {}", alert.id)))
        }
        _ => {
            let of_alert = alert.as_ref().map(|alert| alert.asset.to_string());
            let of_prediction = || evidence.as_ref().and_then(story::prediction).map(|p| p.asset.to_string());
            let asset = of_alert.or_else(of_prediction).unwrap_or_default();
            Ok(Subject { alert, evidence, asset, span: None })
        }
    }
}

/// A prediction that an alert still names was evicted, and so was one that is older than all that are kept; any other
/// never was here.
pub(crate) fn gone(web: &Web, id: Uuid) -> Problem {
    match web.buffer.alerts().iter().find(|alert| alert.prediction_id == Some(id)) {
        Some(alert) => Problem::new(
            StatusCode::GONE,
            format!("prediction {id} is no longer kept here; give the feedback on its alert {}", alert.id),
        ),
        None if web.buffer.may_be_evicted(id).unwrap_or(false) => {
            Problem::new(StatusCode::GONE, format!("prediction {id} is no longer kept here, if it ever was"))
        }
        None => Problem::unknown(format!("no prediction has the id {id}")),
    }
}

fn missed(web: &Web, asked: &Asked) -> Result<Subject, Problem> {
    if asked.prediction_id.is_some() || asked.alert_id.is_some() || asked.explanation_id.is_some() {
        return Err(Problem::unacceptable(
            "missed is about an event without an alert: leave out prediction_id, alert_id and explanation_id",
        ));
    }
    let asset = asked.asset.as_deref().map(str::trim).unwrap_or_default();
    if !web.assets.iter().any(|known| &**known == asset) {
        return Err(Problem::unacceptable("missed needs the asset by its id in the configuration"));
    }
    let read = |text: &Option<String>, key: &str| {
        text.as_deref()
            .and_then(time::parse)
            .ok_or_else(|| Problem::unacceptable(format!("missed needs {key} as RFC 3339, like 2026-01-31T14:05:00Z")))
    };
    let (from, to) = (read(&asked.event_from, "event_from")?, read(&asked.event_to, "event_to")?);
    if to < from || to.as_micros().saturating_sub(from.as_micros()) > LONGEST_SPAN {
        return Err(Problem::unacceptable("event_to must not be before event_from, nor more than a year after it"));
    }
    Ok(Subject { alert: None, evidence: None, asset: asset.to_owned(), span: Some((from, to)) })
}

fn compose(web: &Web, actor: &Actor, asked: Asked, subject: &Subject) -> Result<Feedback, Problem> {
    let prediction = subject.evidence.as_ref().and_then(story::prediction);
    let explanation_id = explanation(web, &asked, subject)?;
    features(&asked, prediction)?;
    if let Some(id) = asked.revises {
        let revised = web.buffer.get(id)?.and_then(|record| Said::from_record(&record));
        let revised =
            revised.ok_or_else(|| Problem::unknown(format!("no feedback has the id {id} that this revises")))?;
        if revised.feedback.asset != subject.asset {
            return Err(Problem::unacceptable(format!("feedback {id}, which this revises, is of another asset")));
        }
        if revised.feedback.author != *actor.name && actor.role < UserRole::Engineer {
            return Err(Problem::unacceptable(format!(
                "feedback {id} is somebody else's; only an engineer may revise it"
            )));
        }
    }
    let corrected = text("corrected", asked.corrected.map(Scalar::into_text), LONGEST_WORD)?;
    match (asked.verdict, &corrected) {
        (Some(Verdict::Correct), None) => {
            return Err(Problem::unacceptable("the verdict correct needs corrected: what it should have been"));
        }
        (Some(Verdict::Correct), Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(Problem::unacceptable("corrected goes with the verdict correct only")),
    }
    let cause = text("cause", asked.cause, LONGEST_WORD)?;
    let comment = text("comment", asked.comment, LONGEST_COMMENT)?;
    let says_nothing = asked.verdict.is_none()
        && asked.explanation_verdict.is_none()
        && asked.relevant.is_empty()
        && asked.irrelevant.is_empty()
        && cause.is_none()
        && comment.is_none();
    if says_nothing {
        return Err(Problem::unacceptable(
            "this says nothing: give a verdict, an explanation_verdict, a cause or a comment",
        ));
    }
    Ok(Feedback {
        revises: asked.revises,
        prediction_id: subject
            .evidence
            .as_ref()
            .map(|record| record.id)
            .or_else(|| subject.alert.as_ref().and_then(|alert| alert.prediction_id)),
        explanation_id,
        alert_id: subject.alert.as_ref().map(|alert| alert.id).or(prediction.and_then(|prediction| prediction.alert)),
        asset: subject.asset.clone(),
        event_from: subject.span.map(|(from, _)| from),
        event_to: subject.span.map(|(_, to)| to),
        author: actor.name.to_string(),
        role: actor.role,
        verdict: asked.verdict,
        corrected,
        explanation_verdict: asked.explanation_verdict,
        relevant: asked.relevant,
        irrelevant: asked.irrelevant,
        cause,
        comment,
        explanation_seen: explanation_id.is_some_and(|id| actor.seen.contains(id)),
        model_digest: prediction.map(|prediction| prediction.model_digest),
        background_digest: prediction.map(|prediction| prediction.background_digest),
    })
}

/// The explanation judged or looked at: the prediction's own attributions, unless what is said beside them is named.
fn explanation(web: &Web, asked: &Asked, subject: &Subject) -> Result<Option<Uuid>, Problem> {
    let known = subject.evidence.as_ref().and_then(story::explanation).map(|(id, _)| id);
    match (asked.explanation_id, known) {
        (Some(given), known) if known != Some(given) => {
            if extra_of(web, given)?.is_some_and(|id| subject.evidence.as_ref().is_some_and(|record| record.id == id)) {
                return Ok(Some(given));
            }
            Err(Problem::unknown(format!("the prediction has no explanation with the id {given}")))
        }
        (None, None) if asked.explanation_verdict.is_some() => {
            Err(Problem::unacceptable("there is no explanation to agree or disagree with"))
        }
        _ => Ok(known),
    }
}

/// The prediction of which an extra with this id says something.
fn extra_of(web: &Web, id: Uuid) -> Result<Option<Uuid>, Problem> {
    Ok(web.buffer.get(id)?.and_then(|record| match record.body {
        Body::Extra(extra) => Some(extra.prediction_id),
        _ => None,
    }))
}

/// Named features must be the model's, and on one side only.
fn features(asked: &Asked, prediction: Option<&Prediction>) -> Result<(), Problem> {
    for (key, names) in [("relevant", &asked.relevant), ("irrelevant", &asked.irrelevant)] {
        if names.len() > MOST_FEATURES {
            return Err(Problem::unacceptable(format!("{key} may name at most {MOST_FEATURES} features")));
        }
        for name in names {
            let known = prediction.is_some_and(|p| p.has_feature(name));
            if !known {
                let short: String = name.chars().take(LONGEST_WORD).collect();
                return Err(Problem::unacceptable(format!("{key}: the prediction has no feature \"{short}\"")));
            }
        }
    }
    match asked.relevant.iter().find(|name| asked.irrelevant.contains(name)) {
        Some(name) => Err(Problem::unacceptable(format!("\"{name}\" is named as relevant and as irrelevant"))),
        None => Ok(()),
    }
}

/// What somebody wrote, without surrounding blanks and without control characters; nothing left is nothing said.
pub(crate) fn text(key: &str, given: Option<String>, longest: usize) -> Result<Option<String>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let clean: String =
        given.replace("\r\n", "\n").chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let tidy = clean.trim();
    if tidy.chars().count() > longest {
        return Err(Problem::unacceptable(format!("{key} may have at most {longest} characters")));
    }
    Ok((!tidy.is_empty()).then(|| tidy.to_owned()))
}
