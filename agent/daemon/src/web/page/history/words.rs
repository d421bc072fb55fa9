//! The words of the history.

use super::super::views::phrases;

phrases! {
    /// What stands on it.
    title: "History of alerts", "Verlauf der Alarme";
    filters: "Filters", "Filter";
    asset: "Machine", "Maschine";
    state: "State", "Zustand";
    priority: "Priority", "Priorität";
    verdict: "Verdict", "Urteil";
    from: "From", "Von";
    to: "Until", "Bis";
    utc: "(UTC)", "(in UTC)";
    local: "(your time)", "(Ihre Uhrzeit)";
    any: "All", "Alle";
    open: "Open", "Offen";
    closed: "Closed", "Geschlossen";
    no_verdict: "Nobody has judged it", "Noch nicht beurteilt";
    show: "Show", "Anzeigen";
    reset: "Without filters", "Ohne Filter";
    nothing: "No alert fits.", "Kein Alarm passt.";
    nothing_here: "None was found in what was looked through; older ones may fit.", "Im durchsuchten Teil wurde keiner gefunden; ältere können passen.";
    count: "{count} alerts, those raised last first.", "{count} Alarme, die zuletzt ausgelösten zuerst.";
    one: "1 alert.", "1 Alarm.";
    older: "Older ones", "Ältere";
    newest: "Back to the newest", "Zurück zu den neuesten";
    gone: "What was evicted is not listed.", "Was entfernt wurde, steht nicht hier.";
}
