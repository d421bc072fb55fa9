//! The words for alarms, in each language: their states, what lies over them, and what people do about that.

use explaind_core::domain::alert::AlarmState;
use explaind_core::explain::words::Language;

/// What stands on the page. Where a sentence has a gap it is a function.
pub(super) struct Words {
    pub(super) consequence: &'static str,
    pub(super) response: &'static str,
    pub(super) reset: &'static str,
    pub(super) shelve: &'static str,
    pub(super) shelve_now: &'static str,
    /// How long, and in the words of the API.
    pub(super) lengths: [(&'static str, &'static str); 5],
    pub(super) length: &'static str,
    pub(super) reason: &'static str,
    pub(super) unshelve: &'static str,
    pub(super) out: &'static str,
    pub(super) out_now: &'static str,
    pub(super) what_out_means: &'static str,
    pub(super) back: &'static str,
    pub(super) aside: &'static str,
    pub(super) is_off: &'static str,
    pub(super) is_shelved: &'static str,
    pub(super) is_out: &'static str,
    /// Between `Shelved until …` and a name.
    pub(super) by: &'static str,
    pub(super) its_alert: &'static str,
    pub(super) done: [(&'static str, &'static str); 5],
    states: [&'static str; 6],
}

impl Words {
    /// The words of a language.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
        }
    }

    /// A state in few words.
    pub(super) fn state(&self, state: AlarmState) -> &'static str {
        let names = AlarmState::ALL.into_iter().zip(self.states);
        names.into_iter().find(|(known, _)| *known == state).map_or("", |(_, words)| words)
    }

    /// What was just done, by its name in addresses.
    pub(super) fn done(&self, name: &str) -> Option<&'static str> {
        self.done.iter().find(|(known, _)| *known == name).map(|(_, sentence)| *sentence)
    }
}

const ENGLISH: Words = Words {
    consequence: "If nobody does anything",
    response: "What to do",
    reset: "Reset",
    shelve: "Shelve",
    shelve_now: "Shelve it now",
    lengths: [("30m", "30 minutes"), ("1h", "1 hour"), ("8h", "8 hours"), ("1d", "1 day"), ("7d", "7 days")],
    length: "For how long",
    reason: "Why",
    unshelve: "Unshelve",
    out: "Out of service",
    out_now: "Take it out of service now",
    what_out_means: "Nobody is shown this alert, however often it is raised, until an engineer puts it back in service.",
    back: "Put back in service",
    aside: "Alerts that are not shown",
    is_off: "The machine is off.",
    is_shelved: "Shelved until",
    is_out: "Out of service",
    by: "by",
    its_alert: "Its alert of",
    done: [
        ("reset", "Reset."),
        ("shelve", "Shelved."),
        ("unshelve", "Unshelved."),
        ("out-of-service", "Taken out of service."),
        ("in-service", "Back in service."),
    ],
    states: [
        "Not seen yet",
        "Acknowledged",
        "Back to normal, not seen yet",
        "Latched, not seen yet",
        "Latched: reset it when all is well",
        "Closed",
    ],
};

const GERMAN: Words = Words {
    consequence: "Wenn niemand etwas tut",
    response: "Was zu tun ist",
    reset: "Zurücksetzen",
    shelve: "Zurückstellen",
    shelve_now: "Jetzt zurückstellen",
    lengths: [("30m", "30 Minuten"), ("1h", "1 Stunde"), ("8h", "8 Stunden"), ("1d", "1 Tag"), ("7d", "7 Tage")],
    length: "Für wie lange",
    reason: "Warum",
    unshelve: "Wieder zeigen",
    out: "Außer Betrieb",
    out_now: "Jetzt außer Betrieb nehmen",
    what_out_means: "Niemand sieht diesen Alarm, so oft er auch ausgelöst wird, bis ihn jemand vom Engineering wieder in Betrieb \
                     nimmt.",
    back: "Wieder in Betrieb nehmen",
    aside: "Alarme, die nicht gezeigt werden",
    is_off: "Die Maschine ist aus.",
    is_shelved: "Zurückgestellt bis",
    is_out: "Außer Betrieb",
    by: "von",
    its_alert: "Ihr Alarm von",
    done: [
        ("reset", "Zurückgesetzt."),
        ("shelve", "Zurückgestellt."),
        ("unshelve", "Wird wieder gezeigt."),
        ("out-of-service", "Außer Betrieb genommen."),
        ("in-service", "Wieder in Betrieb."),
    ],
    states: [
        "Noch nicht gesehen",
        "Quittiert",
        "Wieder normal, noch nicht gesehen",
        "Gehalten, noch nicht gesehen",
        "Gehalten: zurücksetzen, wenn alles gut ist",
        "Geschlossen",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_words_of_its_own_in_both_languages() {
        for language in [Language::English, Language::German] {
            let mut all: Vec<_> = AlarmState::ALL.into_iter().map(|state| Words::of(language).state(state)).collect();
            assert!(all.iter().all(|words| !words.is_empty()));
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), AlarmState::ALL.len());
        }
        assert_eq!(Words::of(Language::English).done("nothing of ours"), None);
    }
}
