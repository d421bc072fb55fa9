//! What becomes of models, as records: how it came about among the gateway's health, and that it was done in the audit.

use explaind_core::domain::record::{Audit, Body, Health, NewRecord};

use super::PERSON;
use super::state::Event;
use crate::clock;

/// The records of one change.
pub(super) fn records(model: &str, event: &Event) -> Vec<NewRecord> {
    let health =
        Health { subject: format!("model/{model}"), state: event.state.clone(), evidence: event.evidence.clone() };
    let audit = audit(model, event).map(Body::Audit);
    let record = |body| {
        let at = clock::now();
        NewRecord { id: clock::mint(at), at, body }
    };
    std::iter::once(Body::Health(health)).chain(audit).map(record).collect()
}

/// What the gateway did by itself, following the registry or its own rules: of what a person asked for there is a record with
/// that person's name.
fn audit(model: &str, event: &Event) -> Option<Audit> {
    let said = |name: &str| event.evidence.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let action = match event.state.as_str() {
        "active" => "activate",
        "challenger" => "try",
        "rolled_back" if said("check") != Some(PERSON) => "take_back",
        "refused" => "refuse",
        _ => return None,
    };
    let version = said("version").unwrap_or("unknown");
    let digest: String = said("digest").unwrap_or("unknown").chars().take(12).collect();
    let outcome = format!("done (version {version}, digest {digest})");
    Some(Audit::new("explaind", action, format!("model {model}"), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_which_model_decides_is_audited_and_what_a_person_did_is_so_elsewhere() {
        let event = |state: &str, check: &str| Event {
            state: state.to_owned(),
            evidence: [("check", check), ("version", "1.4.0"), ("digest", "0123456789abcdef")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec(),
        };
        let audited = |state: &str, check: &str| {
            let mut records = records("press", &event(state, check)).into_iter();
            assert!(matches!(records.next().unwrap().body, Body::Health(health) if health.state == state));
            records.next().map(|record| match record.body {
                Body::Audit(audit) => (audit.actor, audit.action, audit.object, audit.outcome),
                other => panic!("{other:?}"),
            })
        };
        let done = |action: &str| {
            let outcome = "done (version 1.4.0, digest 0123456789ab)";
            Some(["explaind", action, "model press", outcome].map(str::to_owned))
        };
        assert_eq!(audited("active", "").map(<[String; 4]>::from), done("activate"));
        assert_eq!(audited("rolled_back", "latency").map(<[String; 4]>::from), done("take_back"));
        assert_eq!(audited("refused", "golden").map(<[String; 4]>::from), done("refuse"));
        assert_eq!(audited("rolled_back", PERSON), None);
        assert_eq!(audited("proved", ""), None);
    }
}
