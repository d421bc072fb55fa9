//! What the views of machines, the gateway, past alerts and one alert's story have in common: their words, names of states,
//! numbers, and how they stay fresh.

use explaind_core::domain::alert::{AlarmState, Priority};
use explaind_core::domain::feedback::{UserRole, Verdict};
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::{Language, minus, number};
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{self, Place};
use crate::clock;
use crate::web::access::Actor;
use crate::web::words::Words as Catalogue;
use crate::web::{Web, time};

/// The words of a view: per phrase its name, its English and its German, so that one that lacks a language does not compile.
/// Gaps stand in braces.
macro_rules! phrases {
    ($(#[$about:meta])* $($name:ident: $english:expr, $german:expr;)+) => {
        $(#[$about])*
        pub(super) struct Words {
            $(pub(super) $name: &'static str,)+
        }

        static ENGLISH: Words = Words { $($name: $english,)+ };
        static GERMAN: Words = Words { $($name: $german,)+ };

        impl Words {
            /// The words of a language.
            pub(super) fn of(language: explaind_core::explain::words::Language) -> &'static Self {
                match language {
                    explaind_core::explain::words::Language::English => &ENGLISH,
                    explaind_core::explain::words::Language::German => &GERMAN,
                }
            }
        }

        /// Every phrase with its name, in both languages.
        #[cfg(test)]
        pub(crate) const PAIRS: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $german),)+];
    };
}
pub(super) use phrases;

pub(super) use explaind_core::explain::words::fill;

phrases! {
    /// What all of these views say.
    machines: "Machines", "Maschinen";
    history: "History", "Verlauf";
    gateway: "Gateway", "Gateway";
    skip: "Skip to the content", "Zum Inhalt springen";
    as_of: "As of", "Stand";
    seconds: "{number} s", "{number} s";
    minutes: "{number} min", "{number} min";
    hours: "{number} h", "{number} h";
    days: "{number} d", "{number} Tage";
    active: "Active", "Aktiv";
    trial: "On trial", "Auf Probe";
    stopped: "Stopped", "Gestoppt";
    no_model: "No model", "Kein Modell";
}

/// A priority as a word.
pub(super) fn priority(language: Language, priority: Priority) -> &'static str {
    Catalogue::of(language).priority(priority)
}

/// A state in few words.
pub(super) fn state(language: Language, state: AlarmState) -> &'static str {
    Catalogue::of(language).state(state)
}

/// A verdict as the buttons name it.
pub(super) fn verdict(language: Language, verdict: Verdict) -> &'static str {
    Catalogue::of(language).verdict(verdict)
}

/// What somebody is to the gateway.
pub(super) fn role(language: Language, role: UserRole) -> &'static str {
    Catalogue::of(language).role(role)
}

/// A model's state by its name in the status; one that is not known here as it is.
pub(super) fn model_state(language: Language, name: &str) -> &str {
    let words = Words::of(language);
    match name {
        "active" => words.active,
        "trial" => words.trial,
        "stopped" => words.stopped,
        "no_model" => words.no_model,
        other => other,
    }
}

/// A time, which scripts put into the viewer's own time zone.
pub(super) fn when(language: Language, at: Timestamp) -> Markup {
    super::words::when(at, Catalogue::of(language))
}

/// The same of a time in the status; nothing where there is none.
pub(super) fn when_told(language: Language, value: &Value) -> Markup {
    match value.as_str() {
        None => html! {},
        Some(text) => match time::parse(text) {
            Some(at) => when(language, at),
            None => html! { (text) },
        },
    }
}

/// A length of time in its largest unit.
pub(super) fn span(language: Language, seconds: f64) -> String {
    let words = Words::of(language);
    let (phrase, value, decimals) = match seconds.max(0.0) {
        seconds if seconds < 10.0 => (words.seconds, seconds, 1),
        seconds if seconds < 120.0 => (words.seconds, seconds, 0),
        seconds if seconds < 7200.0 => (words.minutes, seconds / 60.0, 0),
        seconds if seconds < 172_800.0 => (words.hours, seconds / 3600.0, 0),
        seconds => (words.days, seconds / 86_400.0, 0),
    };
    let text = format!("{value:.decimals$}");
    let text = if language == Language::German { text.replace('.', ",") } else { text };
    fill(phrase, &[("number", &text)]).replace(' ', "\u{a0}")
}

/// A number of bytes in its largest unit.
pub(super) fn bytes(language: Language, bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}\u{a0}{unit}", figure(language, value))
}

/// A number as people write it.
pub(super) fn figure(language: Language, value: f64) -> String {
    minus(&number(language, value))
}

/// A member as text; `None` where there is nothing to show.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// An error in the words of whoever reported it, which are English.
pub(super) fn technical(language: Language, error: &str) -> Markup {
    html! {
        @if language != Language::English { span { (Catalogue::of(language).page.technically) } " " }
        span lang="en" { (crate::web::words::sentence(error)) }
    }
}

/// A part that is on or off, well or not: by shape and word, not by colour alone.
pub(super) fn lamp(well: bool, words: &str) -> Markup {
    html! {
        span .flag.well[well].ill[!well] {
            svg .mark viewBox="0 0 12 12" aria-hidden="true" focusable="false" {
                @if well { circle cx="6" cy="6" r="5" {} }
                @else { path d="M6 0.5 11.5 11H0.5Z" {} }
            }
            (words)
        }
    }
}

/// How a part of a whole looks, which is also said in words beside it.
pub(super) fn meter(part: f64) -> Markup {
    let width = if part.is_finite() { part.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    html! {
        svg .meter viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect .scale x="0" y="0" width="100" height="8" {}
            rect .filled x="0" y="0" width=(super::bars::fixed(width)) height="8" {}
        }
    }
}

/// What a view is put into: it is fetched anew from `live`, and what changed is put in place.
pub(super) fn fresh(language: Language, live: &str, every: u32, content: &Markup) -> Markup {
    html! {
        div #view .view tabindex="-1" lang=(language.code()) data-live=(live) data-every=(every) {
            noscript { p .note { (Catalogue::of(language).page.no_scripts) } }
            (content)
        }
    }
}

/// A whole page around a view.
pub(super) fn page(web: &Web, actor: &Actor, language: Language, place: Place, content: &Markup) -> Markup {
    layout::page(web, actor, Catalogue::of(language), place, content)
}

/// When this was looked at.
pub(super) fn as_of(language: Language) -> Markup {
    html! { p .summary { (Words::of(language).as_of) " " (when(language, clock::now().utc)) } }
}

#[cfg(test)]
mod tests {
    use super::super::{gateway, history, machines, story};
    use super::*;

    /// Phrases that are the same in both languages.
    const SAME: [&str; 10] =
        ["gateway", "seconds", "minutes", "hours", "version", "gateway_title", "digest", "sync", "says_who", "signal"];

    #[test]
    fn every_phrase_is_translated_and_has_the_same_gaps_in_both_languages() {
        let gaps = |phrase: &str| {
            let mut gaps: Vec<String> =
                phrase.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect();
            gaps.sort_unstable();
            gaps
        };
        let ends = |text: &str| text.chars().next_back().filter(|last| matches!(last, '.' | '?' | '…' | ':'));
        let all = [PAIRS, machines::PAIRS, gateway::PAIRS, history::PAIRS, story::PAIRS];
        for (name, english, german) in all.into_iter().flatten() {
            assert!(!english.trim().is_empty() && !german.trim().is_empty(), "{name}");
            assert_eq!(gaps(english), gaps(german), "{name}");
            assert!(english != german || SAME.contains(name), "{name}: {english}");
            assert_eq!(ends(english), ends(german), "{name}: {english} / {german}");
        }
    }

    #[test]
    fn times_and_bytes_are_in_units_that_people_read() {
        let of = |seconds| span(Language::English, seconds);
        assert_eq!([of(0.42), of(59.6), of(300.0), of(7300.0)], ["0.4\u{a0}s", "60\u{a0}s", "5\u{a0}min", "2\u{a0}h"]);
        assert_eq!(span(Language::German, 2.5), "2,5\u{a0}s");
        assert_eq!(span(Language::German, 400_000.0), "5\u{a0}Tage");
        assert_eq!(bytes(Language::English, 1_572_864), "1.5\u{a0}MiB");
        assert_eq!(bytes(Language::German, 0), "0\u{a0}B");
    }

    #[test]
    fn a_sign_has_a_shape_of_its_own_for_what_is_not_well() {
        assert!(
            lamp(true, "up").into_string().contains("circle") && lamp(false, "down").into_string().contains("path")
        );
        assert!(meter(f64::NAN).into_string().contains("width=\"0.0\""));
    }
}
