//! "I have seen it", from the page, the API and the terminal alike.

use explaind_core::domain::command::{Command, Refusal};
use uuid::Uuid;

use super::access::Actor;
use super::feedback::{LONGEST_COMMENT, text};
use super::problem::Problem;
use super::{Shared, audit};

/// Asks the driver to acknowledge an alert and waits until that is on disk. It makes no feedback.
pub(crate) async fn acknowledge(web: &Shared, actor: &Actor, id: Uuid, comment: Option<String>) -> Result<(), Problem> {
    let comment = text("comment", comment, LONGEST_COMMENT)?;
    let (web, author) = (Shared::clone(web), actor.name.to_string());
    // A task of its own: somebody who hangs up meanwhile must not get away without the audit record.
    let done = tokio::spawn(async move { carry_out(&web, author, id, comment).await });
    done.await.map_err(|_| Refusal::Busy)?
}

async fn carry_out(web: &Shared, author: String, id: Uuid, comment: Option<String>) -> Result<(), Problem> {
    let command = Command::Acknowledge { alert_id: id, author: author.clone(), comment };
    let outcome = web.mailbox.send(command).await.map(drop);
    let result = outcome.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned());
    audit::note(web, &author, "acknowledge", &id.to_string(), &result).await;
    Ok(outcome?)
}
