//! The words of the machine view.

use super::super::views::phrases;

phrases! {
    /// What stands on it.
    title: "Machines", "Maschinen";
    nothing: "No machine is watched by this gateway.", "Dieses Gateway überwacht keine Maschine.";
    running: "Running", "Läuft";
    off: "Off", "Aus";
    unknown: "Not known whether it runs", "Unbekannt, ob sie läuft";
    stopped: "Nothing is predicted: stopped", "Keine Vorhersagen: gestoppt";
    model: "Model", "Modell";
    no_model_yet: "none: its values are recorded and sent home", "keines: Ihre Werte werden aufgezeichnet und gesendet";
    last: "Last prediction", "Letzte Vorhersage";
    never: "none in this run", "keine seit dem Start";
    by_rule: "by the rule that stands in for the model", "nach der Regel, die das Modell vertritt";
    alerts: "Open alerts", "Offene Alarme";
    no_alerts: "none", "keine";
    not_shown: "Not shown", "Nicht gezeigt";
    shelved: "shelved until", "zurückgestellt bis";
    out_of_service: "out of service", "außer Betrieb";
    by_design: "while the machine is off", "solange die Maschine aus ist";
    by: "by {name}", "von {name}";
    hour: "Alarms in the last hour", "Alarme in der letzten Stunde";
    chattering: "chattering: {count}", "flatternd: {count}";
    stale: "standing for more than a day: {count}", "seit mehr als einem Tag anstehend: {count}";
    judged: "Judged alerts", "Beurteilte Alarme";
    of_judged: "{count}, of which {false} false", "{count}, davon {false} Fehlalarme";
    values: "Values now of {machine}", "Aktuelle Werte von {machine}";
    no_values: "No values yet.", "Noch keine Werte.";
    signal: "Signal", "Signal";
    value: "Value", "Wert";
    quality: "Quality", "Qualität";
    age: "Age", "Alter";
    no_value: "no value", "kein Wert";
    good: "good", "gut";
    uncertain: "uncertain", "unsicher";
    bad: "bad", "schlecht";
    refused: "not usable", "nicht brauchbar";
    more: "{count} more machines.", "{count} weitere Maschinen.";
    next: "Show the next", "Die nächsten zeigen";
    first: "Back to the first", "Zurück zu den ersten";
}
