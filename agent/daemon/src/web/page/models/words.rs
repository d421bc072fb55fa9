//! The words of the page of models, in each language.

use explaind_core::explain::words::Language;

/// What stands on it. Where a sentence has a gap it is a function.
pub(crate) struct Words {
    pub(super) title: &'static str,
    /// The way back to the alerts, in the page's head.
    pub(crate) alerts: &'static str,
    /// The way to the models, in the page's head.
    pub(crate) models: &'static str,
    /// Past the head, for those who cannot see it.
    pub(crate) skip: &'static str,
    pub(super) none: &'static str,
    pub(super) as_of: &'static str,
    pub(super) reload: &'static str,
    pub(super) version: &'static str,
    pub(super) in_registry: &'static str,
    pub(super) since: &'static str,
    pub(super) assets: &'static str,
    pub(super) signed: &'static str,
    pub(super) yes: &'static str,
    pub(super) no: &'static str,
    pub(super) before: &'static str,
    pub(super) challenger: &'static str,
    pub(super) refused: &'static str,
    pub(super) follows: &'static str,
    pub(super) looked: &'static str,
    pub(super) whole: &'static str,
    pub(super) whole_runs: &'static str,
    pub(super) whole_stops: &'static str,
    pub(super) with_all: &'static str,
    pub(super) there: &'static str,
    pub(super) trial: &'static str,
    pub(super) fallback: &'static str,
    pub(super) no_model: &'static str,
    pub(super) shadow: &'static str,
    pub(super) reason: &'static str,
    pub(super) optional: &'static str,
    pub(super) stop: &'static str,
    pub(super) release: &'static str,
    pub(super) stop_all: &'static str,
    pub(super) release_all: &'static str,
    pub(super) what_stops: &'static str,
    pub(super) what_stops_all: &'static str,
    pub(super) what_is_released: &'static str,
    pub(super) what_goes_back: &'static str,
    pub(super) all_now: &'static str,
    pub(super) all_again: &'static str,
    /// `Stopped by anna`.
    pub(super) stopped_by: fn(&str) -> String,
    /// `Go back to 1.3.0`.
    pub(super) go_back: fn(&str) -> String,
    /// `Stop press-failure now`.
    pub(super) now: fn(&str) -> String,
    /// `Release press-failure now`.
    pub(super) again: fn(&str) -> String,
    /// `press-failure: back to 1.3.0 now`.
    pub(super) back_now: fn(&str, &str) -> String,
    /// `3412 predictions, the same in 97 %`.
    pub(super) compared: fn(u64, Option<String>) -> String,
    /// `on press-8 in the champion's place`.
    pub(super) canary: fn(&str) -> String,
    /// `The model press-failure is stopped`.
    pub(super) model_is: fn(&str) -> String,
    /// What was done, by name of what was asked for.
    pub(super) done: [(&'static str, &'static str); 3],
    states: [(&'static str, &'static str); 6],
}

impl Words {
    /// The words of a language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
        }
    }

    /// A state in few words; one that is not known here as it is.
    pub(super) fn state<'a>(&self, name: &'a str) -> &'a str {
        self.states.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words)
    }
}

const ENGLISH: Words = Words {
    title: "Models",
    alerts: "Alerts",
    models: "Models",
    skip: "Skip to the models",
    none: "No model runs on this gateway.",
    as_of: "As of",
    reload: "Reload the page to see what is new.",
    version: "Version",
    in_registry: "in the registry",
    since: "Since",
    assets: "Machines",
    signed: "Signed",
    yes: "yes",
    no: "no",
    before: "Before that",
    challenger: "Challenger",
    refused: "Refused",
    follows: "Follows",
    looked: "last looked",
    whole: "The whole gateway",
    whole_runs: "Models that are not stopped predict.",
    whole_stops: "Nothing is predicted and no new alert is raised.",
    with_all: "Stopped with the whole gateway.",
    there: "The registry says so, and only there it can be released.",
    trial: "New here: the gateway goes back by itself if this version does worse.",
    fallback: "No model can run, so a simple rule watches instead.",
    no_model: "No model can run, so nothing is predicted.",
    shadow: "Predicts beside the other one and raises nothing.",
    reason: "Reason",
    optional: "(optional)",
    stop: "Stop",
    release: "Release",
    stop_all: "Stop everything",
    release_all: "Release the gateway",
    what_stops: "It predicts no more from now on, also after a restart, until somebody releases it. Open alerts stay open.",
    what_stops_all: "No model and no rule predicts from now on, also after a restart, until somebody releases the gateway. \
                     Open alerts stay open.",
    what_is_released: "It predicts again from now on.",
    what_goes_back: "The version before decides from now on. The one of today is not taken again until the registry offers \
                     another.",
    all_now: "Stop everything now",
    all_again: "Release the gateway now",
    stopped_by: |who| format!("Stopped by {who}"),
    go_back: |version| format!("Go back to {version}"),
    now: |name| format!("Stop {name} now"),
    again: |name| format!("Release {name} now"),
    back_now: |name, version| format!("{name}: back to {version} now"),
    compared: |count, same| match same {
        Some(same) => format!("{count} predictions, the same in {same}"),
        None => format!("{count} predictions"),
    },
    canary: |assets| format!("decides on {assets}"),
    model_is: |name| format!("The model {name} is stopped."),
    done: [("rolled_back", "The version before runs again."), ("stopped", "Stopped."), ("released", "Released.")],
    states: [
        ("active", "Active"),
        ("trial", "On trial"),
        ("shadow", "Shadow"),
        ("stopped", "Stopped"),
        ("fallback", "Simple rule"),
        ("no_model", "No model"),
    ],
};

const GERMAN: Words = Words {
    title: "Modelle",
    alerts: "Alarme",
    models: "Modelle",
    skip: "Zu den Modellen springen",
    none: "Auf diesem Gateway läuft kein Modell.",
    as_of: "Stand",
    reload: "Was neu ist, zeigt die Seite, wenn sie neu geladen wird.",
    version: "Version",
    in_registry: "in der Registry",
    since: "Seit",
    assets: "Maschinen",
    signed: "Signiert",
    yes: "ja",
    no: "nein",
    before: "Davor",
    challenger: "Herausforderer",
    refused: "Abgelehnt",
    follows: "Folgt",
    looked: "zuletzt nachgesehen",
    whole: "Das ganze Gateway",
    whole_runs: "Modelle, die nicht angehalten sind, sagen vorher.",
    whole_stops: "Nichts wird vorhergesagt, und kein neuer Alarm wird ausgelöst.",
    with_all: "Mit dem ganzen Gateway angehalten.",
    there: "So steht es in der Registry, und nur dort kann es freigegeben werden.",
    trial: "Neu hier: Das Gateway geht von selbst zurück, wenn diese Version schlechter ist.",
    fallback: "Kein Modell kann laufen; eine einfache Regel wacht stattdessen.",
    no_model: "Kein Modell kann laufen; nichts wird vorhergesagt.",
    shadow: "Sagt neben dem anderen vorher und löst nichts aus.",
    reason: "Grund",
    optional: "(freiwillig)",
    stop: "Anhalten",
    release: "Freigeben",
    stop_all: "Alles anhalten",
    release_all: "Gateway freigeben",
    what_stops: "Ab jetzt sagt es nichts mehr vorher, auch nach einem Neustart, bis jemand es freigibt. Offene Alarme bleiben \
                 offen.",
    what_stops_all: "Ab jetzt sagt kein Modell und keine Regel mehr etwas vorher, auch nach einem Neustart, bis jemand das \
                     Gateway freigibt. Offene Alarme bleiben offen.",
    what_is_released: "Ab jetzt wird wieder vorhergesagt.",
    what_goes_back: "Ab jetzt entscheidet die Version davor. Die heutige wird erst wieder genommen, wenn die Registry eine \
                     andere angeboten hat.",
    all_now: "Jetzt alles anhalten",
    all_again: "Gateway jetzt freigeben",
    stopped_by: |who| format!("Angehalten von {who}"),
    go_back: |version| format!("Zurück zu {version}"),
    now: |name| format!("{name} jetzt anhalten"),
    again: |name| format!("{name} jetzt freigeben"),
    back_now: |name, version| format!("{name}: jetzt zurück zu {version}"),
    compared: |count, same| match same {
        Some(same) => format!("{count} Vorhersagen, in {same} gleich"),
        None => format!("{count} Vorhersagen"),
    },
    canary: |assets| format!("entscheidet auf {assets}"),
    model_is: |name| format!("Das Modell {name} ist angehalten."),
    done: [
        ("rolled_back", "Die Version davor läuft wieder."),
        ("stopped", "Angehalten."),
        ("released", "Freigegeben."),
    ],
    states: [
        ("active", "Aktiv"),
        ("trial", "Auf Probe"),
        ("shadow", "Im Schatten"),
        ("stopped", "Angehalten"),
        ("fallback", "Einfache Regel"),
        ("no_model", "Kein Modell"),
    ],
};
