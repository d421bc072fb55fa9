//! The words of an alert's story.

use super::super::views::phrases;

phrases! {
    /// What stands on it.
    whole: "The whole story", "Die ganze Geschichte";
    title: "Alert: {machine}", "Alarm: {machine}";
    back: "All alerts", "Alle Alarme";
    more_of: "History of this machine", "Verlauf dieser Maschine";

    curves: "The signals around that moment", "Die Signale um diesen Zeitpunkt";
    about_curves: "The upright line is when the alert was raised, the band is what is usual. Where the curve is broken nothing was predicted.",
        "Die senkrechte Linie zeigt, wann der Alarm ausgelöst wurde, das Band das Übliche. Wo die Kurve unterbrochen ist, wurde nichts vorhergesagt.";
    no_curves: "What was measured then is no longer kept on this gateway.",
        "Was damals gemessen wurde, ist auf diesem Gateway nicht mehr gespeichert.";
    own_curves: "This alert is of the gateway itself, not of a machine.",
        "Dieser Alarm betrifft das Gateway selbst, keine Maschine.";
    at_raise: "{value} when it was raised", "{value} beim Auslösen";
    usual: "usually {low} to {high}", "üblich {low} bis {high}";
    outside_since: "Outside of what is usual since", "Außerhalb des Üblichen seit";
    outside_all: "Outside of what is usual in all of this time.", "In der ganzen Zeit außerhalb des Üblichen.";
    inside: "Within what is usual then.", "Zu diesem Zeitpunkt im üblichen Bereich.";
    described: "{name}: from {low} to {high} in this time", "{name}: in dieser Zeit von {low} bis {high}";
    withheld_spans: "No prediction: {count} times.", "Keine Vorhersage: {count}-mal.";
    others: "{count} more signals mattered less and are not drawn.", "{count} weitere Signale waren weniger wichtig und sind nicht gezeichnet.";
    until: "Drawn up to", "Gezeichnet bis";
    as_table: "The same as a table", "Dasselbe als Tabelle";
    table: "Values around the moment the alert was raised", "Werte um den Zeitpunkt, zu dem der Alarm ausgelöst wurde";
    time: "Time", "Zeit";
    raised_here: "raised", "ausgelöst";
    withheld: "no prediction", "keine Vorhersage";
    no_value: "no value", "kein Wert";

    life: "What happened", "Was geschah";
    life_gone: "Its records are no longer kept on this gateway.", "Ihre Daten sind auf diesem Gateway nicht mehr gespeichert.";
    raised: "Raised", "Ausgelöst";
    raised_again: "Raised again", "Erneut ausgelöst";
    returned: "Back to normal", "Wieder normal";
    latched: "Condition gone, held", "Bedingung vorbei, gehalten";
    acknowledged: "Acknowledged", "Quittiert";
    reset: "Reset", "Zurückgesetzt";
    closed: "Closed", "Geschlossen";
    seen_later: "Seen after it was closed", "Nach dem Schließen gesehen";
    was_shelved: "Shelved until", "Zurückgestellt bis";
    was_unshelved: "Shown again", "Wieder gezeigt";
    was_out: "Taken out of service", "Außer Betrieb genommen";
    was_back: "Put back in service", "Wieder in Betrieb genommen";
    machine_off: "Machine switched off: not shown", "Maschine ausgeschaltet: nicht gezeigt";
    machine_on: "Machine switched on", "Maschine eingeschaltet";
    changed: "Changed", "Geändert";
    by: "by {name}", "von {name}";
    many_more: "{count} more steps in between are not listed.", "{count} weitere Schritte dazwischen sind nicht aufgeführt.";

    clear: "What would clear it", "Was ihn beenden würde";
    signal: "Signal", "Signal";
    now: "Then", "Damals";
    then: "Would have to be", "Müsste sein";
    way: "Way {number}", "Weg {number}";
    or_less: "or less", "oder weniger";
    or_more: "or more", "oder mehr";
    output_then: "Output then: {value}", "Ausgabe dann: {value}";
    no_clear: "This was not searched.", "Danach wurde nicht gesucht.";

    similar: "Earlier alerts like it", "Frühere ähnliche Alarme";
    no_similar: "No earlier alert was compared.", "Es wurde kein früherer Alarm verglichen.";
    none_alike: "{count} earlier alerts were compared, and none is like it.", "{count} frühere Alarme wurden verglichen, keiner ist ähnlich.";
    alike: "{share} alike", "zu {share} ähnlich";
    not_judged: "not judged", "nicht beurteilt";
    alert_gone: "no longer kept", "nicht mehr gespeichert";

    trust: "How sure this is", "Wie sicher das ist";
    says: "The model says", "Das Modell sagt";
    likely: "{share} probability", "{share} Wahrscheinlichkeit";
    reasons: "Reasons", "Gründe";
    exact: "exact: they add up to what the model says", "exakt: Sie ergeben zusammen, was das Modell sagt";
    estimated: "estimated, each give or take {error} at most", "geschätzt, jeder auf höchstens {error} genau";
    no_reasons: "none", "keine Gründe";
    pending: "being worked out", "werden noch ermittelt";
    inputs: "Measured values", "Messwerte";
    good: "all of good quality", "alle von guter Qualität";
    uncertain: "some of uncertain quality", "einige von unsicherer Qualität";
    bad: "some of bad quality", "einige von schlechter Qualität";
    faithful: "Test of the reasons", "Prüfung der Gründe";
    faithfulness: "without its reasons the output goes {deletion} of the way back, without others {random}",
        "ohne diese Gründe geht die Ausgabe {deletion} des Wegs zurück, ohne andere {random}";
    model: "Model", "Modell";
    digest: "Digest", "Digest";
    measured_at: "Measured at", "Gemessen um";
    of_machine: "Judged alerts of this machine", "Beurteilte Alarme dieser Maschine";
    judged: "{count}, of which {false} false", "{count}, davon {false} Fehlalarme";

    said: "What people said", "Was dazu gesagt wurde";
    nothing_said: "Nothing yet.", "Noch nichts.";
    noted: "Noted", "Vermerkt";
    says_who: "{name} ({role})", "{name} ({role})";
    revised: "since revised", "inzwischen geändert";
    revises: "takes the place of what was said before", "tritt an die Stelle des früher Gesagten";
    other_prediction: "on the time before", "zum Mal davor";
    corrected: "It should have been: {value}", "Es hätte sein sollen: {value}";
    agree: "The reasons are right", "Die Gründe stimmen";
    disagree: "The reasons are not right", "Die Gründe stimmen nicht";
    relevant: "Mattered: {names}", "Wichtig: {names}";
    irrelevant: "Did not matter: {names}", "Unwichtig: {names}";
    cause: "Cause: {cause}", "Ursache: {cause}";
    had_seen: "The explanation had been shown before.", "Die Erklärung war zuvor angezeigt worden.";
    had_not_seen: "The explanation had not been shown before.", "Die Erklärung war zuvor nicht angezeigt worden.";
}
