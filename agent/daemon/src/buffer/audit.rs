//! The chain of audit records: each names the hash of the one before it, so that nothing is changed or taken out
//! of the middle without a trace.
//!
//! The hash is over the pseudonyms of people, whether or not names are sent: both ends then have what it takes to follow
//! the chain, and none of it depends on a setting that may change between the day a record is made and the day it goes
//! home. Over the names, central could check nothing that it gets under pseudonyms; over what was sent, the device could
//! not tell which that was. A record keeps the pseudonyms beside the names, so the chain can be checked after the key was
//! lost as well; only that a pseudonym is that name's cannot be seen any more then, and that is what is said.

use explaind_core::domain::record::{Audit, StandIn};
use explaind_core::domain::time::{Now, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::pseudonym::{Pseudonyms, key_in};

/// The hash of an audit record with its `previous_hash` set.
pub(super) fn hash(id: Uuid, sequence: u64, at: Now, audit: &Audit) -> [u8; 32] {
    let (actor, object) = audit.hashed();
    chain_hash(&audit.previous_hash, id, sequence, at.utc, [actor, &audit.action, object, &audit.outcome])
}

/// The hash of an audit record of these columns.
///
/// SHA-256 over: the previous hash; the record's id (16 bytes); its sequence and its time in microseconds since 1970
/// (8 bytes each, little-endian); then actor, action, object and outcome, each after its length in bytes (8 bytes,
/// little-endian), actor and object with pseudonyms for people. All of it is in the audit stream's columns
/// (`hashed_actor`, `hashed_object`), so central can follow the chain.
pub(crate) fn chain_hash(previous: &[u8; 32], id: Uuid, sequence: u64, at: Timestamp, texts: [&str; 4]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(id.as_bytes());
    hasher.update(sequence.to_le_bytes());
    hasher.update(at.as_micros().to_le_bytes());
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

/// What stands for the people in an audit record; `None` when there are none in it.
pub(super) fn stand_in(pseudonyms: &Pseudonyms, audit: &Audit) -> Option<StandIn> {
    let object = Some(pseudonyms.in_object(&audit.object)).filter(|object| *object != audit.object);
    let stand_in = StandIn { actor: pseudonyms.of(&audit.actor), object };
    (stand_in.actor != audit.actor || stand_in.object.is_some()).then_some(stand_in)
}

/// How the pseudonyms of a record go with its names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Names<'a> {
    /// They are theirs, or there are none to compare.
    Agree,
    /// They are not.
    Differ,
    /// They were made with the key of this id, which is not here.
    OtherKey(&'a str),
}

/// Compares the names in an audit record with the pseudonyms that its hash is over.
pub(super) fn names<'a>(pseudonyms: &Pseudonyms, audit: &'a Audit) -> Names<'a> {
    let Some(there) = &audit.stand_in else { return Names::Agree };
    let keys = [key_in(&there.actor), there.object.as_deref().and_then(Audit::user_in).and_then(key_in)];
    if let Some(other) = keys.into_iter().flatten().find(|id| *id != pseudonyms.id()) {
        return Names::OtherKey(other);
    }
    if stand_in(pseudonyms, audit).as_ref() == Some(there) { Names::Agree } else { Names::Differ }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_field_counts_and_none_can_lend_to_its_neighbour() {
        let at = |micros| Now { utc: Timestamp::from_micros(micros), monotonic: Duration::ZERO };
        let audit = |actor: &str, action: &str, previous_hash| Audit {
            previous_hash,
            ..Audit::new(actor, action, "press-7", "done")
        };
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let base = hash(one, 1, at(5), &audit("ada", "acknowledge", [0; 32]));
        assert_eq!(base, hash(one, 1, at(5), &audit("ada", "acknowledge", [0; 32])));
        for other in [
            hash(two, 1, at(5), &audit("ada", "acknowledge", [0; 32])),
            hash(one, 2, at(5), &audit("ada", "acknowledge", [0; 32])),
            hash(one, 1, at(6), &audit("ada", "acknowledge", [0; 32])),
            hash(one, 1, at(5), &audit("adaa", "cknowledge", [0; 32])),
            hash(one, 1, at(5), &audit("ada", "acknowledge", [1; 32])),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_hash_is_over_pseudonyms_and_names_are_held_to_theirs() {
        let here = Pseudonyms::passing().unwrap();
        let at = Now { utc: Timestamp::from_micros(5), monotonic: Duration::ZERO };
        let mut audit = Audit::new("ada", "users_add", "user otto", "done");
        audit.stand_in = stand_in(&here, &audit);
        let hashed = hash(Uuid::nil(), 1, at, &audit);
        let (actor, object) = audit.hashed();
        assert_eq!((actor, object), (&*here.of("ada"), &*format!("user {}", here.of("otto"))));
        let sent = Audit { stand_in: None, ..Audit::new(actor, "users_add", object, "done") };
        assert_eq!(hash(Uuid::nil(), 1, at, &sent), hashed, "whoever gets pseudonyms can check it");
        assert_eq!(names(&here, &audit), Names::Agree);
        assert_eq!(names(&here, &Audit { actor: "eve".to_owned(), ..audit.clone() }), Names::Differ);
        assert_eq!(names(&here, &Audit { object: "user eve".to_owned(), ..audit.clone() }), Names::Differ);
        let other = Pseudonyms::passing().unwrap();
        assert_eq!(names(&other, &audit), Names::OtherKey(here.id()));
        let machine = Audit::new("registry", "stop", "gateway", "done");
        assert_eq!((stand_in(&here, &machine), names(&here, &machine)), (None, Names::Agree));
    }
}
