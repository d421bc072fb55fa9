//! Around every view, signing in, and the list of alerts.

use super::phrases;

phrases! {
    /// Around every view, signing in, and the list of alerts.
    Page {
        skip_to_alerts: "Skip to the alerts", "Zu den Alarmen springen";
        skip_to_models: "Skip to the models", "Zu den Modellen springen";
        skip_to_form: "Skip to the form", "Zum Formular springen";
        ways: "Pages", "Seiten";
        alerts: "Alerts", "Alarme";
        models: "Models", "Modelle";
        missed: "Report an event", "Ereignis melden";
        collector: "collects records", "holt Daten ab";
        viewer: "viewer", "nur ansehen";
        technician: "technician", "Technik";
        engineer: "engineer", "Engineering";
        sign_out: "Sign out", "Abmelden";
        choose_language: "Language", "Sprache";
        english: "English", "English";
        german: "Deutsch", "Deutsch";
        no_scripts: "Without scripts this page does not renew itself: reload it to see what is new.",
            "Ohne Skripte erneuert sich diese Seite nicht: Neu laden zeigt, was neu ist.";

        sign_in: "Sign in", "Anmelden";
        sign_in_name: "Name", "Name";
        password: "Password", "Passwort";
        demo: "This is the demo: sign in as {technician} or {engineer}, password {password}.",
            "Dies ist die Vorführung: Anmelden als {technician} oder {engineer}, Passwort {password}.";
        accounts: "Accounts are made on the gateway: {command}.", "Konten werden auf dem Gateway angelegt: {command}.";
        ended: "You were signed out. Sign in to go on where you were.",
            "Die Anmeldung ist abgelaufen. Nach dem Anmelden geht es dort weiter, wo Sie waren.";
        error: "This did not work", "Das hat nicht geklappt";
        back_to_alerts: "Back to the alerts", "Zurück zu den Alarmen";

        no_alerts: "No alerts", "Keine Alarme";
        one_alert: "1 alert", "1 Alarm";
        many_alerts: "{count} alerts", "{count} Alarme";
        all_well: "Nothing is out of the ordinary on the machines that are watched.",
            "An den überwachten Maschinen ist nichts ungewöhnlich.";
        else_well: "Nothing else is out of the ordinary on the machines that are watched; see below what is not shown.",
            "An den überwachten Maschinen ist sonst nichts ungewöhnlich; was nicht gezeigt wird, steht unten.";
        all_seen: "All of them have been seen.", "Alle wurden schon gesehen.";
        not_seen: "{count} not seen yet.", "{count} noch nicht gesehen.";
        more: "{count} more.", "{count} weitere.";
        next: "Show the next", "Die nächsten zeigen";
        first: "Back to the first", "Zurück zu den ersten";
        closed: "Closed lately", "Zuletzt geschlossen";
        not_stored: "Predictions are not stored at present, since the store does not work as it should. Alerts and feedback still are.",
            "Vorhersagen werden zurzeit nicht gespeichert, weil der Speicher nicht arbeitet, wie er soll. Alarme und Rückmeldungen \
             schon.";
        technically: "In technical terms:", "Technische Angabe auf Englisch:";

        live: "Live", "Verbunden";
        not_connected: "Not connected", "Nicht verbunden";
        lost: "The connection to the gateway is lost. What you see may be old; trying again…",
            "Die Verbindung zum Gateway ist unterbrochen. Was hier steht, kann veraltet sein; neuer Versuch läuft…";
        new_alert: "New alert: {name}", "Neuer Alarm: {name}";
        new_alerts: "{count} new alerts", "{count} neue Alarme";
        session_over: "Your sign-in has ended. What you have written is still here.",
            "Die Anmeldung ist abgelaufen. Was Sie geschrieben haben, steht noch da.";
        sign_in_again: "Sign in again in a new window", "In einem neuen Fenster wieder anmelden";
        changed_now: "This card has changed just now. Look again, then press.",
            "Diese Karte hat sich gerade geändert. Bitte erst noch einmal ansehen, dann drücken.";
        failed: "This did not work. Try again.", "Das hat nicht geklappt. Bitte noch einmal versuchen.";
        waiting: "Not sent yet: the gateway does not answer. It is sent, once, as soon as it does.",
            "Noch nicht gesendet: Das Gateway antwortet nicht. Sobald es antwortet, wird es gesendet, und zwar einmal.";
        not_sent: "Not sent: the gateway does not answer. What you wrote is still here.",
            "Nicht gesendet: Das Gateway antwortet nicht. Was Sie geschrieben haben, steht noch da.";
        unknown_time: "at an unknown time", "zu unbekannter Zeit";
    }
}
