//! What people do to alarms beside acknowledging them, from the page, the API and the terminal alike: reset what is latched,
//! shelve, and take out of service.

use explaind_core::domain::command::{Act, Command, Refusal};
use explaind_core::domain::units;
use uuid::Uuid;

use super::access::Actor;
use super::feedback::{LONGEST_COMMENT, text};
use super::problem::Problem;
use super::{Shared, audit};

/// Lets go what is latched.
pub(crate) fn reset(comment: Option<String>) -> Result<Act, Problem> {
    Ok(Act::Reset { comment: text("comment", comment, LONGEST_COMMENT)? })
}

/// Puts an alarm aside: `length` as people write it, `8h`.
pub(crate) fn shelve(length: &str, reason: Option<String>) -> Result<Act, Problem> {
    let length = units::parse_duration(length).map_err(|error| Problem::unacceptable(format!("for: {error}")))?;
    Ok(Act::Shelve { length, reason: required(reason)? })
}

/// Takes it back from there.
pub(crate) fn unshelve(comment: Option<String>) -> Result<Act, Problem> {
    Ok(Act::Unshelve { comment: text("comment", comment, LONGEST_COMMENT)? })
}

/// Takes an alarm out of service.
pub(crate) fn out_of_service(reason: Option<String>) -> Result<Act, Problem> {
    Ok(Act::OutOfService { reason: required(reason)? })
}

/// Puts it back.
pub(crate) fn in_service(comment: Option<String>) -> Result<Act, Problem> {
    Ok(Act::InService { comment: text("comment", comment, LONGEST_COMMENT)? })
}

/// Who keeps an alarm from others says why.
fn required(reason: Option<String>) -> Result<String, Problem> {
    let given = text("reason", reason, LONGEST_COMMENT)?;
    given.ok_or_else(|| Problem::unacceptable("say why, for those who will miss the alert: reason is empty"))
}

/// The name of what is done, in addresses and in the audit.
fn name(act: &Act) -> &'static str {
    match act {
        Act::Reset { .. } => "reset",
        Act::Shelve { .. } => "shelve",
        Act::Unshelve { .. } => "unshelve",
        Act::OutOfService { .. } => "out_of_service",
        Act::InService { .. } => "in_service",
    }
}

/// Asks the driver and waits until it is on disk. `id` is an occurrence of the alarm.
pub(crate) async fn ask(web: &Shared, actor: &Actor, id: Uuid, act: Act) -> Result<(), Problem> {
    let (web, author) = (Shared::clone(web), actor.name.to_string());
    // A task of its own: somebody who hangs up meanwhile must not get away without the audit record.
    let done = tokio::spawn(async move {
        let action = name(&act);
        let done = web.mailbox.send(Command::Alarm { alert_id: id, author: author.clone(), act }).await;
        let outcome = done.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        if !matches!(done, Err(Refusal::UnknownAlert(_))) {
            audit::note(&web, &author, action, &id.to_string(), &outcome).await;
        }
        done
    });
    done.await.map_err(|_| Refusal::Busy)??;
    Ok(())
}
