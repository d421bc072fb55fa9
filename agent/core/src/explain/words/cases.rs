//! What is like an alert, and what people said of that, in a sentence.

use super::catalogue::{Catalogue, fill};
use super::{Language, capitalised};
use crate::domain::feedback::Verdict;

/// Of each verdict at most so many people are quoted.
const MOST_QUOTED: usize = 2;

/// An earlier alert, and the verdict on it that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// What was found; `None` while nobody has said.
    pub verdict: Option<Verdict>,
    /// The cause or comment that was given with it.
    pub words: Option<String>,
}

/// `Three like this: twice confirmed, once a false alarm: “sensor loose”.`
pub fn cases(language: Language, alike: &[Judged]) -> String {
    let words = language.catalogue();
    if alike.is_empty() {
        return words.none_alike.to_owned();
    }
    let phrase = if alike.len() == 1 { words.one_alike } else { words.many_alike };
    let count = nth(&words.counts, alike.len()).map_or_else(|| alike.len().to_string(), str::to_owned);
    let counted = fill(phrase, &[("count", &capitalised(&count))]);
    let groups = [
        (Some(Verdict::Confirm), words.confirmed),
        (Some(Verdict::Reject), words.false_alarm),
        (Some(Verdict::Correct), words.something_else),
        (Some(Verdict::Unsure), words.undecided),
        (None, words.not_judged),
    ];
    // What was missed had no alert, so no alert has that verdict.
    let verdict = |judged: &Judged| judged.verdict.filter(|verdict| *verdict != Verdict::Missed);
    let told: Vec<String> = groups
        .into_iter()
        .filter_map(|(group, phrase)| {
            let of: Vec<&Judged> = alike.iter().filter(|judged| verdict(judged) == group).collect();
            (!of.is_empty()).then(|| self::group(words, phrase, &of))
        })
        .collect();
    if alike.iter().all(|judged| verdict(judged).is_none()) {
        return fill(words.alike_unjudged, &[("alike", &counted)]);
    }
    fill(words.alike_judged, &[("alike", &counted), ("judged", &told.join(words.between_judged))])
}

fn group(words: &Catalogue, phrase: &str, of: &[&Judged]) -> String {
    let number = of.len().to_string();
    let times =
        nth(&words.times, of.len()).map_or_else(|| fill(words.many_times, &[("number", &number)]), str::to_owned);
    let told = fill(phrase, &[("times", &times)]);
    let mut said: Vec<&str> = Vec::new();
    for words in of.iter().filter_map(|judged| judged.words.as_deref()) {
        if said.len() < MOST_QUOTED && !said.contains(&words) {
            said.push(words);
        }
    }
    if said.is_empty() {
        return told;
    }
    let quoted: Vec<String> = said.into_iter().map(|said| fill(words.quoted, &[("words", said)])).collect();
    fill(words.with_words, &[("judged", &told), ("words", &quoted.join(words.between_changes))])
}

/// The word for a number that has one.
fn nth(words: &[&'static str], number: usize) -> Option<&'static str> {
    words.get(number.checked_sub(1)?).copied()
}
