//! Takes in what the form on an alert's card says.

use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use explaind_core::domain::feedback::{ExplanationVerdict, Feedback, Verdict};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::opinion::stands;
use crate::web::access::{Actor, Technician};
use crate::web::answers::Answers;
use crate::web::feedback::{self, Asked, Scalar};
use crate::web::problem::Problem;
use crate::web::rollout::Running;
use crate::web::verdicts::Said;
use crate::web::{Shared, Web};

/// One field of a form and what it says; one that can be ticked more than once is there more than once.
pub(super) type Field = (String, String);

/// `POST /alerts/{id}/feedback`.
pub(super) async fn said(
    State(web): State<Shared>,
    Technician(actor): Technician,
    Path(id): Path<Uuid>,
    Form(fields): Form<Vec<Field>>,
) -> Result<Redirect, Problem> {
    web.off_thread(move |web| {
        let key = key(&id.to_string(), &fields);
        feedback::give_form(web, &actor, key.as_deref(), || asked(web, &actor, id, &fields))
    })
    .await?;
    Ok(Redirect::to(&format!("/?done=thanks#a-{id}")))
}

/// What a field says; blanks alone are nothing.
pub(super) fn field(fields: &[Field], name: &str) -> Option<String> {
    let found = fields.iter().find(|(known, value)| known == name && !value.trim().is_empty());
    found.map(|(_, value)| value.clone())
}

/// What tells one filling-in of a form from the next: a form that was pressed twice, or sent again because its answer was lost,
/// says the same under the same key. `None` where it carries none: then every time is another.
pub(super) fn key(about: &str, fields: &[Field]) -> Option<String> {
    field(fields, "key")?;
    let mut digest = Sha256::new();
    let said = fields.iter().filter(|(name, _)| name != "csrf").flat_map(|(name, value)| [name.as_str(), value]);
    for text in [about].into_iter().chain(said) {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    Some(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn ticked(fields: &[Field], name: &str) -> Vec<String> {
    fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
}

/// A cause in somebody's own words counts more than one from the list.
pub(super) fn cause(fields: &[Field]) -> Option<String> {
    field(fields, "own_cause").or_else(|| field(fields, "cause"))
}

fn asked(web: &Web, actor: &Actor, alert: Uuid, fields: &[Field]) -> Result<Option<Asked>, Problem> {
    // The prediction is the one that the person was looking at, which by now need not be the alert's newest.
    let prediction = field(fields, "prediction_id").map(|text| id(&text)).transpose()?;
    let earlier = own_earlier(web, actor, alert, prediction);
    let before = earlier.as_ref().map(|said| &said.feedback);
    let given = field(fields, "verdict").map(|text| verdict(&text)).transpose()?;
    // Who only adds something leaves the verdict as it stands.
    let verdict = given.or(before.and_then(|before| before.verdict));
    let corrected = match (verdict, given) {
        (Some(Verdict::Correct), Some(_)) => Some(corrected(web, alert, fields)?),
        (Some(Verdict::Correct), None) => before.and_then(|before| before.corrected.clone()),
        _ => None,
    };
    let explanation_verdict = match field(fields, "explanation_verdict").as_deref() {
        Some("agree") => Some(ExplanationVerdict::Agree),
        Some("disagree") => Some(ExplanationVerdict::Disagree),
        _ => None,
    };
    let asked = Asked {
        prediction_id: prediction,
        alert_id: Some(alert),
        verdict,
        corrected: corrected.map(Scalar::Text),
        explanation_verdict,
        relevant: ticked(fields, "relevant"),
        irrelevant: ticked(fields, "irrelevant"),
        cause: cause(fields),
        comment: field(fields, "comment"),
        revises: earlier.as_ref().map(|said| said.id),
        ..Asked::default()
    };
    // Whoever says what they have said already adds nothing, as when a form comes again after a restart.
    if before.is_some_and(|before| says_the_same(before, &asked)) {
        return Ok(None);
    }
    Ok(Some(asked))
}

fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::unknown(format!("no prediction has the id {text}")))
}

fn verdict(text: &str) -> Result<Verdict, Problem> {
    let all = [Verdict::Confirm, Verdict::Reject, Verdict::Correct, Verdict::Unsure];
    let found = all.into_iter().find(|verdict| verdict.as_str() == text);
    found.ok_or_else(|| Problem::unacceptable("the form's verdict is none that can be said of an alert"))
}

fn corrected(web: &Web, alert: Uuid, fields: &[Field]) -> Result<String, Problem> {
    let model = web.buffer.alert(alert).map(|alert| alert.model).unwrap_or_default();
    let text = field(fields, "corrected").unwrap_or_default();
    Answers::of(&Running::now(web), &model).read(&text)
}

/// Who presses another button changes their mind: it revises what they said last of the same prediction.
fn own_earlier(web: &Web, actor: &Actor, alert: Uuid, prediction: Option<Uuid>) -> Option<Said> {
    let said = web.verdicts.on(Some(alert), prediction);
    said.into_iter().rev().find(|said| stands(said, &actor.name, prediction))
}

/// Whether all of it was said before. A comment that is left out takes none back.
fn says_the_same(before: &Feedback, asked: &Asked) -> bool {
    let corrected = match &asked.corrected {
        Some(Scalar::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let tidy = |text: &Option<String>| text.as_deref().map(|text| text.trim().replace("\r\n", "\n"));
    before.verdict == asked.verdict
        && before.corrected.as_deref() == corrected
        && before.explanation_verdict == asked.explanation_verdict
        && before.relevant == asked.relevant
        && before.irrelevant == asked.irrelevant
        && before.cause == tidy(&asked.cause)
        && (asked.comment.is_none() || before.comment == tidy(&asked.comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_the_same_when_all_it_says_is_and_it_has_a_key() {
        let mark = |about: &str, pairs: &[(&str, &str)]| {
            key(about, &pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
        };
        let first = mark("1", &[("csrf", "x"), ("key", "1"), ("verdict", "confirm")]);
        assert!(first.is_some());
        assert_eq!(first, mark("1", &[("csrf", "y"), ("key", "1"), ("verdict", "confirm")]));
        for other in [
            mark("2", &[("key", "1"), ("verdict", "confirm")]),
            mark("1", &[("key", "2"), ("verdict", "confirm")]),
            mark("1", &[("key", "1"), ("verdict", "reject")]),
            mark("1", &[("key", "1verdict"), ("", "confirm")]),
            mark("1", &[("key", ""), ("verdict", "confirm")]),
            mark("1", &[("verdict", "confirm")]),
        ] {
            assert_ne!(first, other);
        }
    }
}
