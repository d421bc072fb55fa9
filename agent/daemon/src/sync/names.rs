//! How people are named in what leaves the gateway: batches, pulls, exports.

use explaind_core::domain::prediction::Withheld;
use explaind_core::domain::record::{Audit, Body, Health, Record};
use serde::Deserialize;

use crate::buffer::Buffer;
use crate::pseudonym::Pseudonyms;

/// `[sync] authors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Authors {
    /// Under pseudonyms, which only this gateway's key leads back from.
    #[default]
    Pseudonyms,
    /// By their names.
    Names,
}

/// What stands in records for the people in them.
#[derive(Debug, Clone)]
pub(crate) struct Names(Option<Pseudonyms>);

impl Names {
    /// As the configuration wants it.
    pub(crate) fn of(buffer: &Buffer, authors: Authors) -> Self {
        Self((authors == Authors::Pseudonyms).then(|| buffer.pseudonyms().clone()))
    }

    /// As they are.
    pub(super) fn plain() -> Self {
        Self(None)
    }

    /// For the author of a record.
    pub(super) fn author(&self, name: &str) -> String {
        self.0.as_ref().map_or_else(|| name.to_owned(), |pseudonyms| pseudonyms.of(name))
    }

    /// For the actor of an audit record, and for its object.
    pub(super) fn audit(&self, audit: &Audit) -> (String, String) {
        match (&self.0, &audit.stand_in) {
            (None, _) => (audit.actor.clone(), audit.object.clone()),
            // As when it was made, also where the key was lost since.
            (Some(_), Some(_)) => {
                let (actor, object) = audit.hashed();
                (actor.to_owned(), object.to_owned())
            }
            (Some(pseudonyms), None) => (pseudonyms.of(&audit.actor), pseudonyms.in_object(&audit.object)),
        }
    }

    /// The actor and the object that an audit record's hash is over. `None` where that would tell what is not to be told: the
    /// hashes of earlier versions are over names.
    pub(super) fn hashed<'a>(&self, audit: &'a Audit) -> Option<(&'a str, &'a str)> {
        let (actor, object) = audit.hashed();
        let told = self.audit(audit);
        (audit.stand_in.is_some() || told == (actor.to_owned(), object.to_owned())).then_some((actor, object))
    }

    /// For the reason why a prediction was withheld: of a stop it says first who made it.
    pub(super) fn withheld(&self, withheld: &Withheld) -> String {
        let Withheld::Stopped { reason } = withheld else { return withheld.to_string() };
        let Some(who) = reason.strip_prefix(BY) else { return withheld.to_string() };
        let (who, rest) = who.find(": ").map_or((who, ""), |end| who.split_at(end));
        Withheld::Stopped { reason: format!("{BY}{}{rest}", self.author(who)) }.to_string()
    }

    /// For a value of a health record's evidence.
    pub(super) fn evidence(&self, health: &Health, name: &str, value: &str) -> String {
        match (name, health.state.as_str()) {
            ("by", _) => self.author(value),
            // "anna went back: bearings": the rollout puts who it was first.
            ("reason", "rolled_back") => match value.split_once(WENT_BACK) {
                Some((who, rest)) if !who.contains(char::is_whitespace) => {
                    format!("{}{WENT_BACK}{rest}", self.author(who))
                }
                _ => value.to_owned(),
            },
            _ => value.to_owned(),
        }
    }
}

/// What comes before the name of whoever stopped a model.
const BY: &str = "by ";
/// What comes after the name of whoever took a model back.
const WENT_BACK: &str = " went back";

/// The audit record in a record.
pub(super) fn audit(record: &Record) -> Option<&Audit> {
    match &record.body {
        Body::Audit(audit) => Some(audit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::record::StandIn;

    use super::*;

    fn health(state: &str, evidence: (&str, &str)) -> Health {
        let evidence = vec![(evidence.0.to_owned(), evidence.1.to_owned())];
        Health { subject: "model/press".to_owned(), state: state.to_owned(), evidence }
    }

    fn told(names: &Names, health: &Health) -> String {
        let (name, value) = &health.evidence[0];
        names.evidence(health, name, value)
    }

    #[test]
    fn people_in_evidence_are_told_by_pseudonym_and_nothing_else_is_changed() {
        let key = Pseudonyms::passing().unwrap();
        let (hidden, plain) = (Names(Some(key.clone())), Names::plain());
        let anna = key.of("anna");
        let stopped = health("stopped", ("by", "anna"));
        assert_eq!((told(&hidden, &stopped), told(&plain, &stopped)), (anna.clone(), "anna".to_owned()));
        assert_eq!(told(&hidden, &health("stopped", ("by", "registry"))), "registry");
        for (said, rest) in [("anna went back: bearings", " went back: bearings"), ("anna went back", " went back")] {
            let back = health("rolled_back", ("reason", said));
            assert_eq!((told(&hidden, &back), told(&plain, &back)), (format!("{anna}{rest}"), said.to_owned()));
        }
        for said in ["5 of its last 20 answers were no numbers, or none", "the one that went back is older"] {
            assert_eq!(told(&hidden, &health("rolled_back", ("reason", said))), said);
        }
        assert_eq!(told(&hidden, &health("stopped", ("reason", "anna said so"))), "anna said so", "free text stays");
    }

    #[test]
    fn who_stopped_a_model_is_told_by_pseudonym() {
        let key = Pseudonyms::passing().unwrap();
        let (hidden, plain) = (Names(Some(key.clone())), Names::plain());
        let anna = key.of("anna");
        for (who, rest, told) in
            [("anna", ": too hot: by far", &*anna), ("anna", "", &*anna), ("registry", ": recall", "registry")]
        {
            let stopped = Withheld::Stopped { reason: format!("by {who}{rest}") };
            assert_eq!(hidden.withheld(&stopped), format!("stopped: by {told}{rest}"));
            assert_eq!(plain.withheld(&stopped), stopped.to_string());
        }
        assert_eq!(hidden.withheld(&Withheld::NoModel), Withheld::NoModel.to_string());
    }

    #[test]
    fn what_a_hash_is_over_is_told_unless_it_is_a_name() {
        let key = Pseudonyms::passing().unwrap();
        let (hidden, plain) = (Names(Some(key.clone())), Names::plain());
        let earlier = Audit::new("anna", "sign_in", "web", "done");
        let stand_in = StandIn { actor: key.of("anna"), object: None };
        let now = Audit { stand_in: Some(stand_in.clone()), ..earlier.clone() };
        let both = Some((stand_in.actor.as_str(), "web"));
        assert_eq!((hidden.hashed(&now), plain.hashed(&now)), (both, both));
        assert_eq!((hidden.hashed(&earlier), plain.hashed(&earlier)), (None, Some(("anna", "web"))));
        assert_eq!(hidden.audit(&earlier).0, key.of("anna"));
        assert_eq!(plain.audit(&now).0, "anna");
        let other = Names(Some(Pseudonyms::passing().unwrap()));
        assert_eq!(other.audit(&now).0, key.of("anna"), "as when it was made");
        let machine = Audit::new("registry", "stop", "gateway", "done");
        assert_eq!(hidden.hashed(&machine), Some(("registry", "gateway")));
    }
}
