//! The chain of audit records: each names the hash of the one before it, so that nothing is changed or taken out
//! of the middle without a trace.

use explaind_core::domain::record::Audit;
use explaind_core::domain::time::Now;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The hash of an audit record with its `previous_hash` set.
///
/// SHA-256 over: the previous hash; the record's id (16 bytes); its sequence and its time in microseconds since 1970
/// (8 bytes each, little-endian); then actor, action, object and outcome, each after its length in bytes (8 bytes,
/// little-endian). All of it is in the audit stream's columns, so central can follow the chain.
pub(super) fn hash(id: Uuid, sequence: u64, at: Now, audit: &Audit) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(audit.previous_hash);
    hasher.update(id.as_bytes());
    hasher.update(sequence.to_le_bytes());
    hasher.update(at.utc.as_micros().to_le_bytes());
    for text in [&audit.actor, &audit.action, &audit.object, &audit.outcome] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use explaind_core::domain::time::Timestamp;

    use super::*;

    #[test]
    fn every_field_counts_and_none_can_lend_to_its_neighbour() {
        let at = |micros| Now { utc: Timestamp::from_micros(micros), monotonic: Duration::ZERO };
        let audit = |actor: &str, action: &str, previous_hash| Audit {
            actor: actor.to_owned(),
            action: action.to_owned(),
            object: "press-7".to_owned(),
            outcome: "done".to_owned(),
            previous_hash,
            hash: [0; 32],
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
}
