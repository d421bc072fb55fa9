//! What people say of predictions, of explanations, and of events that no alert was raised for.

use super::phrases;

phrases! {
    /// What people say of predictions, of explanations, and of events that no alert was raised for.
    Judge {
        confirm: "Right", "Richtig";
        reject: "False alarm", "Fehlalarm";
        correct: "Something else", "Etwas anderes";
        unsure: "Unsure", "Unsicher";
        missed: "Missed", "Nicht gemeldet";
        thanks: "Noted, thank you.", "Vermerkt, danke.";

        verdicts: "Was the alert right?", "War der Alarm richtig?";
        causes: "What was it really?", "Was war es wirklich?";
        say_more: "Say more", "Mehr sagen";
        other_cause: "Another cause, in your own words", "Eine andere Ursache, in eigenen Worten";
        what_else: "What should it have been?", "Was hätte es sein sollen?";
        choose: "Choose…", "Bitte wählen…";
        value: "The right value", "Der richtige Wert";
        unit_gap: "({unit})", "({unit})";
        save_correction: "It was something else", "Es war etwas anderes";
        reasons: "Were these the reasons?", "Waren das die Gründe?";
        agree: "Yes", "Ja";
        disagree: "No", "Nein";
        not_said: "I do not say", "Keine Angabe";
        ticks: "Tick beside the bars which signals really mattered, and which did not.",
            "Neben den Balken lässt sich ankreuzen, welche Signale wirklich wichtig waren und welche nicht.";
        mattered: "Mattered", "Wichtig";
        mattered_not: "Did not", "Unwichtig";
        save: "Save", "Speichern";

        title: "An event without an alert", "Ein Ereignis ohne Alarm";
        about: "Something happened, and nobody was told? Say when and on which machine: models learn from it.",
            "Es ist etwas passiert, und niemand wurde gewarnt? Wann und an welcher Maschine: Daraus lernen die Modelle.";
        asset: "Machine", "Maschine";
        from: "From", "Von";
        to: "Until", "Bis";
        utc: "(in UTC)", "(in UTC angeben)";
        local: "(your time)", "(Ihre Uhrzeit)";
        report: "Report it", "Melden";
        missed_thanks: "Noted, thank you: the event is on record.", "Vermerkt, danke: Das Ereignis ist festgehalten.";
        lately: "Reported lately", "Zuletzt gemeldet";
        between: "{asset}: from", "{asset}: von";
        until: "until", "bis";
        revise: "Revise", "Ändern";
        revises: "This takes the place of what was said at", "Das tritt an die Stelle dessen, was gesagt wurde am";
    }
}
