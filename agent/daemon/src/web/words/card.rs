//! One alert.

use super::phrases;

phrases! {
    /// One alert.
    Card {
        low: "Low", "Niedrig";
        medium: "Medium", "Mittel";
        high: "High", "Hoch";
        critical: "Critical", "Kritisch";
        priority: "{level} priority", "Priorität {level}";
        unacknowledged: "Not seen yet", "Noch nicht gesehen";
        acknowledged: "Acknowledged", "Quittiert";
        returned_unacknowledged: "Back to normal, not seen yet", "Wieder normal, noch nicht gesehen";
        latched_unacknowledged: "Latched, not seen yet", "Gehalten, noch nicht gesehen";
        latched_acknowledged: "Latched: reset it when all is well", "Gehalten: zurücksetzen, wenn alles gut ist";
        closed: "Closed", "Geschlossen";

        newer: "This alert was raised again meanwhile.", "Dieser Alarm wurde inzwischen wieder ausgelöst.";
        show_newer: "Show the newer one", "Den neueren zeigen";
        raised_again: "Raised again", "Wieder ausgelöst";
        consequence: "If nobody does anything", "Wenn niemand etwas tut";
        response: "What to do", "Was zu tun ist";

        seen_by: "Seen by {name}", "Gesehen von {name}";
        back_to_normal: "Back to normal", "Wieder normal";
        says: "says {name}", "sagt {name}";
        noted: "Noted", "Vermerkt";
        revised: "(since revised)", "(inzwischen geändert)";
        revision: "(a revision)", "(eine Änderung)";
        of_before: "(of the time before)", "(zum vorigen Mal)";
        cause: "Cause: {cause}.", "Ursache: {cause}.";
        agreed: "The reasons are right.", "Die Gründe stimmen.";
        disagreed: "The reasons are wrong.", "Die Gründe stimmen nicht.";
        mattered: "Really mattered: {names}.", "Wirklich wichtig: {names}.";
        mattered_not: "Did not matter: {names}.", "Unwichtig: {names}.";

        comment: "Comment", "Kommentar";
        optional: "(optional)", "(freiwillig)";
        acknowledge: "Acknowledge", "Quittieren";
        done_acknowledged: "Acknowledged.", "Quittiert.";
    }
}
