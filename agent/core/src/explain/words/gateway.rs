//! What is wrong with the gateway itself, in a sentence.

use super::Language;
use crate::domain::condition::Condition;

/// `The disk takes no records: new predictions are not stored.`
pub fn gateway(language: Language, condition: Condition) -> &'static str {
    let words = language.catalogue();
    match condition {
        Condition::BufferFull => words.buffer_full,
        Condition::StoreDegraded => words.store_degraded,
        Condition::SyncStopped => words.sync_stopped,
        Condition::BatchConflict => words.batch_conflict,
        Condition::ModelRefused => words.model_refused,
        Condition::ModelMissing => words.model_missing,
        Condition::CertificateEnds => words.certificate_ends,
    }
}

/// What stands in the place of a machine's name.
pub fn this_gateway(language: Language) -> &'static str {
    language.catalogue().this_gateway
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_has_a_sentence_of_its_own_in_each_language() {
        let all = |language| Condition::ALL.map(|condition| gateway(language, condition));
        let mut sentences = [all(Language::English), all(Language::German)].concat();
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.') && !sentence.contains("  ")), "{sentences:?}");
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), 2 * Condition::ALL.len());
    }
}
