//! Every word of ours that a person reads on the page, with its languages side by side: a phrase that lacks one does not
//! compile. Gaps stand in braces, `{name}`, and are filled by [`fill`].
//!
//! What models and machines are called, and what people wrote, is theirs and stays as it is. Sentences made from records
//! are the core's (`explain::words`).

mod alarm;
mod card;
mod judge;
mod models;
mod page;
mod problem;

use explaind_core::domain::alert::{AlarmState, Priority};
use explaind_core::domain::feedback::{UserRole, Verdict};
use explaind_core::explain::words::Language;

pub(crate) use explaind_core::explain::words::fill;
pub(crate) use problem::{sentence, told};

/// A part of the catalogue: per phrase its name, English, German.
macro_rules! phrases {
    ($(#[$about:meta])* $part:ident { $($(#[$note:meta])* $name:ident: $english:expr, $german:expr;)+ }) => {
        $(#[$about])*
        pub(crate) struct $part {
            $($(#[$note])* pub(crate) $name: &'static str,)+
        }

        impl $part {
            pub(super) const ENGLISH: Self = Self { $($name: $english,)+ };
            pub(super) const GERMAN: Self = Self { $($name: $german,)+ };
            /// Every phrase with its name, in both languages.
            #[cfg(test)]
            pub(super) const PAIRS: &'static [(&'static str, &'static str, &'static str)] =
                &[$((stringify!($name), $english, $german),)+];
        }
    };
}
use phrases;

/// The catalogue in one language.
pub(crate) struct Words {
    /// Which one.
    pub(crate) language: Language,
    /// Around every view, signing in, and the list of alerts.
    pub(crate) page: page::Page,
    /// One alert.
    pub(crate) card: card::Card,
    /// What people say of predictions, of explanations and of what was missed.
    pub(crate) judge: judge::Judge,
    /// What people do to alarms.
    pub(crate) alarm: alarm::Alarm,
    /// The page of models.
    pub(crate) models: models::Models,
}

static ENGLISH: Words = Words {
    language: Language::English,
    page: page::Page::ENGLISH,
    card: card::Card::ENGLISH,
    judge: judge::Judge::ENGLISH,
    alarm: alarm::Alarm::ENGLISH,
    models: models::Models::ENGLISH,
};

static GERMAN: Words = Words {
    language: Language::German,
    page: page::Page::GERMAN,
    card: card::Card::GERMAN,
    judge: judge::Judge::GERMAN,
    alarm: alarm::Alarm::GERMAN,
    models: models::Models::GERMAN,
};

impl Words {
    /// The words of a language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
        }
    }

    /// A priority as a word.
    pub(crate) fn priority(&self, priority: Priority) -> &'static str {
        match priority {
            Priority::Low => self.card.low,
            Priority::Medium => self.card.medium,
            Priority::High => self.card.high,
            Priority::Critical => self.card.critical,
        }
    }

    /// An alert's state in few words.
    pub(crate) fn state(&self, state: AlarmState) -> &'static str {
        match state {
            AlarmState::Unacknowledged => self.card.unacknowledged,
            AlarmState::Acknowledged => self.card.acknowledged,
            AlarmState::ReturnedUnacknowledged => self.card.returned_unacknowledged,
            AlarmState::LatchedUnacknowledged => self.card.latched_unacknowledged,
            AlarmState::LatchedAcknowledged => self.card.latched_acknowledged,
            AlarmState::Normal => self.card.closed,
        }
    }

    /// A verdict as the buttons name it.
    pub(crate) fn verdict(&self, verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Confirm => self.judge.confirm,
            Verdict::Reject => self.judge.reject,
            Verdict::Correct => self.judge.correct,
            Verdict::Unsure => self.judge.unsure,
            Verdict::Missed => self.judge.missed,
        }
    }

    /// What somebody is to the gateway.
    pub(crate) fn role(&self, role: UserRole) -> &'static str {
        match role {
            UserRole::Collector => self.page.collector,
            UserRole::Viewer => self.page.viewer,
            UserRole::Technician => self.page.technician,
            UserRole::Engineer => self.page.engineer,
        }
    }

    /// What was done just now, by its name in addresses: no link can put other words on the page.
    pub(crate) fn done(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "acknowledged" => self.card.done_acknowledged,
            "thanks" => self.judge.thanks,
            "missed" => self.judge.missed_thanks,
            "reset" => self.alarm.done_reset,
            "shelve" => self.alarm.done_shelve,
            "unshelve" => self.alarm.done_unshelve,
            "out-of-service" => self.alarm.done_out_of_service,
            "in-service" => self.alarm.done_in_service,
            "rolled_back" => self.models.done_rolled_back,
            "stopped" => self.models.done_stopped,
            "released" => self.models.done_released,
            _ => return None,
        })
    }
}

/// Every phrase of the catalogue: `card.seen`, English, German.
#[cfg(test)]
pub(crate) fn all() -> Vec<(String, &'static str, &'static str)> {
    let parts = [
        ("page", page::Page::PAIRS),
        ("card", card::Card::PAIRS),
        ("judge", judge::Judge::PAIRS),
        ("alarm", alarm::Alarm::PAIRS),
        ("models", models::Models::PAIRS),
    ];
    let named = |(part, pairs): (&str, &'static [(&'static str, &'static str, &'static str)])| {
        let part = part.to_owned();
        pairs.iter().map(move |(name, english, german)| (format!("{part}.{name}"), *english, *german))
    };
    let problems = problem::pairs().map(|(english, german)| (format!("problem: {english}"), english, german));
    parts.into_iter().flat_map(named).chain(problems).collect()
}

/// The names of a phrase's gaps, in order of the alphabet.
#[cfg(test)]
pub(crate) fn gaps(phrase: &str) -> Vec<&str> {
    let mut gaps: Vec<&str> = phrase.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
    gaps.sort_unstable();
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that are the same in both languages.
    const SAME: [&str; 5] = ["page.sign_in_name", "models.version", "page.english", "page.german", "judge.unit_gap"];

    #[test]
    fn every_phrase_is_translated_and_has_the_same_gaps_in_both_languages() {
        for (name, english, german) in all() {
            assert!(!english.trim().is_empty() && !german.trim().is_empty(), "{name}");
            assert_eq!(gaps(english), gaps(german), "{name}");
            assert_eq!(english == german, SAME.contains(&name.as_str()), "{name}: {english}");
            let ends = |text: &str| text.chars().next_back().filter(|last| matches!(last, '.' | '?' | '…' | ':'));
            assert_eq!(ends(english), ends(german), "{name}");
        }
    }

    #[test]
    fn states_verdicts_and_priorities_have_words_of_their_own() {
        for language in [Language::English, Language::German] {
            let words = Words::of(language);
            assert_eq!(words.language, language);
            let states = AlarmState::ALL.map(|state| words.state(state)).to_vec();
            let verdicts = [Verdict::Confirm, Verdict::Reject, Verdict::Correct, Verdict::Unsure, Verdict::Missed];
            let verdicts = verdicts.map(|verdict| words.verdict(verdict)).to_vec();
            let priorities = [Priority::Low, Priority::Medium, Priority::High, Priority::Critical];
            let priorities = priorities.map(|priority| words.priority(priority)).to_vec();
            for mut all in [states, verdicts, priorities] {
                let count = all.len();
                all.sort_unstable();
                all.dedup();
                assert_eq!(all.len(), count);
            }
        }
        assert_eq!(Words::of(Language::German).done("nothing of ours"), None);
    }
}
