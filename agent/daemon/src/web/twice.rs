//! Feedback that is sent twice, since the first answer got lost, is one piece of feedback.
//!
//! A client that cannot know whether its request arrived sends it again under the same key. Key and author make 62 bits of
//! the record's id, where others have random ones; so it is found among what was said lately, also after a restart, and
//! nothing is kept beside the records. The id goes home, so these bits are hashed under the key of the pseudonyms: nobody finds
//! the author by trying names.

use explaind_core::domain::feedback::Feedback;
use uuid::Uuid;

use super::feedback::{Asked, LONGEST_COMMENT, LONGEST_WORD, Scalar, text};
use super::problem::Problem;
use super::time;
use super::verdicts::MARK;
use crate::pseudonym::Pseudonyms;

/// What author and key make of an id.
pub(crate) fn mark(pseudonyms: &Pseudonyms, author: &str, key: &str) -> u64 {
    pseudonyms.mark(author, key) & MARK
}

/// An id with this mark, where there is one.
pub(crate) fn marked(id: Uuid, mark: Option<u64>) -> Uuid {
    let (high, low) = id.as_u64_pair();
    mark.map_or(id, |mark| Uuid::from_u64_pair(high, low & !MARK | mark))
}

/// Whether this is what was said. What it was about may be gone by now.
pub(crate) fn is_same(asked: &Asked, said: &Feedback) -> Result<bool, Problem> {
    let word = |key, given: &Option<String>| text(key, given.clone(), LONGEST_WORD);
    let corrected = text("corrected", asked.corrected.clone().map(Scalar::into_text), LONGEST_WORD)?;
    let at = |text: &Option<String>| text.as_deref().and_then(time::parse);
    Ok(asked.prediction_id.is_none_or(|id| said.prediction_id == Some(id))
        && asked.alert_id.is_none_or(|id| said.alert_id == Some(id))
        && asked.explanation_id.is_none_or(|id| said.explanation_id == Some(id))
        && asked.asset.as_deref().is_none_or(|asset| asset.trim() == said.asset)
        && (at(&asked.event_from), at(&asked.event_to)) == (said.event_from, said.event_to)
        && (asked.verdict, asked.explanation_verdict) == (said.verdict, said.explanation_verdict)
        && (&asked.relevant, &asked.irrelevant) == (&said.relevant, &said.irrelevant)
        && asked.revises == said.revises
        && corrected == said.corrected
        && word("cause", &asked.cause)? == said.cause
        && text("comment", asked.comment.clone(), LONGEST_COMMENT)? == said.comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_id_and_leaves_its_time_and_kind() {
        let pseudonyms = Pseudonyms::passing().unwrap();
        let mark = |author, key| mark(&pseudonyms, author, key);
        let id = Uuid::parse_str("019ab7c8-1234-7abc-9def-0123456789ab").unwrap();
        let once = marked(id, Some(mark("anna", "7")));
        assert_eq!((once.get_version_num(), once.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(once.get_timestamp(), id.get_timestamp());
        assert_eq!(once, marked(id, Some(mark("anna", "7"))));
        assert_ne!(once, marked(id, Some(mark("bert", "7"))));
        assert_ne!(mark("a", "bc"), mark("ab", "c"));
        let other = Pseudonyms::passing().unwrap();
        assert_ne!(mark("anna", "7"), super::mark(&other, "anna", "7"), "who has not got the key finds nobody");
        assert_eq!(marked(id, None), id);
    }
}
