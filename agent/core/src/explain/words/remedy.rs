//! What would clear an alert, in a sentence.

use super::catalogue::{Catalogue, fill};
use super::{Language, capitalised, lowered, name_and_unit, number, with_unit};
use crate::domain::extra::{Change, Counterfactual, Counterfactuals, Outcome};

/// `Would clear with torque at 52 Nm or below.` Or, honestly, why there is nothing that would.
pub fn remedy(language: Language, found: &Counterfactuals) -> String {
    let words = language.catalogue();
    match found.outcome {
        Outcome::Found => {
            let ways: Vec<String> = found.alternatives.iter().map(|way| self::way(words, way)).collect();
            fill(words.would_clear, &[("ways", &ways.join(words.between_ways))])
        }
        Outcome::NoneWithinLimits => {
            let names: Vec<String> = found.searched.iter().map(|feature| name(words, feature).0).collect();
            let phrase = if found.complete { words.nothing_clears } else { words.nothing_found };
            if names.is_empty() {
                words.nothing_tried.to_owned()
            } else {
                fill(phrase, &[("names", &names.join(", "))])
            }
        }
        Outcome::Clear => words.clear_already.to_owned(),
        Outcome::NoRule => words.no_rule.to_owned(),
        Outcome::NothingAdjustable => words.nothing_adjustable.to_owned(),
    }
}

fn way(words: &Catalogue, way: &Counterfactual) -> String {
    let changes: Vec<String> = way.changes.iter().map(|change| self::change(words, change)).collect();
    fill(words.way, &[("changes", &changes.join(words.between_changes))])
}

fn change(words: &Catalogue, change: &Change) -> String {
    let (name, bracketed) = name(words, &change.feature);
    if let Some(category) = &change.category {
        return fill(words.change_category, &[("name", &name), ("category", category)]);
    }
    let phrase = match change.and_beyond {
        false => words.change,
        true if change.to < change.from => words.change_or_less,
        true => words.change_or_more,
    };
    let unit = if change.unit.is_empty() { bracketed } else { &change.unit };
    let value = with_unit(number::whole(change.to, words.decimal_point), unit);
    fill(phrase, &[("name", &name), ("value", &value)])
}

/// The feature's name within a sentence, and the unit in brackets at its end.
fn name<'a>(words: &Catalogue, feature: &'a str) -> (String, &'a str) {
    let (name, unit) = name_and_unit(feature, "");
    let name = if words.lowers_nouns { lowered(name) } else { capitalised(name) };
    (name.into_owned(), unit)
}
