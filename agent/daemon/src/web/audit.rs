//! Puts on record who did what.

use explaind_core::domain::record::{Audit, Body, NewRecord};

use super::Shared;
use crate::clock;

/// An audit record; the buffer adds the hashes that chain it to those before.
pub(crate) fn record(actor: &str, action: &str, object: &str, outcome: &str) -> NewRecord {
    let at = clock::now();
    let audit = Audit {
        actor: actor.to_owned(),
        action: action.to_owned(),
        object: object.to_owned(),
        outcome: outcome.to_owned(),
        previous_hash: [0; 32],
        hash: [0; 32],
    };
    NewRecord { id: clock::mint(at), at, body: Body::Audit(audit) }
}

/// Stores an audit record on its own. When that fails, the log has it: a full disk must not keep people from seeing why
/// their machine stands still.
pub(crate) async fn note(web: &Shared, actor: &str, action: &str, object: &str, outcome: &str) {
    tracing::info!(actor, action, object, outcome, "audit");
    let record = record(actor, action, object, outcome);
    let stored = web.off_thread(move |web| Ok(web.buffer.append(vec![record]).map(drop)?)).await;
    if let Err(problem) = stored {
        tracing::error!(reason = %problem.detail, actor, action, object, outcome, "an audit record could not be stored");
    }
}
