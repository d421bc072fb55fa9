//! The page of models.

use super::phrases;

phrases! {
    /// The page of models.
    Models {
        title: "Models", "Modelle";
        none: "No model runs on this gateway.", "Auf diesem Gateway läuft kein Modell.";
        as_of: "As of", "Stand";
        reload: "Reload the page to see what is new.", "Was neu ist, zeigt die Seite, wenn sie neu geladen wird.";
        version: "Version", "Version";
        in_registry: "{number} in the registry", "{number} in der Registry";
        since: "Since", "Seit";
        assets: "Machines", "Maschinen";
        signed: "Signed", "Signiert";
        yes: "yes", "ja";
        no: "no", "nein";
        before: "Before that", "Davor";
        challenger: "Challenger", "Herausforderer";
        refused: "Refused", "Abgelehnt";
        follows: "Follows", "Folgt";
        looked: "last looked", "zuletzt nachgesehen";
        whole: "The whole gateway", "Das ganze Gateway";
        whole_runs: "Models that are not stopped predict.", "Modelle, die nicht angehalten sind, sagen vorher.";
        whole_stops: "Nothing is predicted and no new alert is raised.",
            "Nichts wird vorhergesagt, und kein neuer Alarm wird ausgelöst.";
        with_all: "Stopped with the whole gateway.", "Mit dem ganzen Gateway angehalten.";
        there: "The registry says so, and only there it can be released.",
            "So steht es in der Registry, und nur dort kann es freigegeben werden.";
        trial: "New here: the gateway goes back by itself if this version does worse.",
            "Neu hier: Das Gateway geht von selbst zurück, wenn diese Version schlechter ist.";
        fallback: "No model can run, so a simple rule watches instead.",
            "Kein Modell kann laufen; eine einfache Regel wacht stattdessen.";
        no_model: "No model can run, so nothing is predicted.", "Kein Modell kann laufen; nichts wird vorhergesagt.";
        shadow: "Predicts beside the other one and raises nothing.", "Sagt neben dem anderen vorher und löst nichts aus.";
        reason: "Reason", "Grund";
        stop: "Stop", "Anhalten";
        release: "Release", "Freigeben";
        stop_all: "Stop everything", "Alles anhalten";
        release_all: "Release the gateway", "Gateway freigeben";
        what_stops: "It predicts no more from now on, also after a restart, until somebody releases it. Open alerts stay open.",
            "Ab jetzt sagt es nichts mehr vorher, auch nach einem Neustart, bis jemand es freigibt. Offene Alarme bleiben offen.";
        what_stops_all: "No model and no rule predicts from now on, also after a restart, until somebody releases the gateway. \
                         Open alerts stay open.",
            "Ab jetzt sagt kein Modell und keine Regel mehr etwas vorher, auch nach einem Neustart, bis jemand das Gateway \
             freigibt. Offene Alarme bleiben offen.";
        what_is_released: "It predicts again from now on.", "Ab jetzt wird wieder vorhergesagt.";
        what_goes_back: "The version before decides from now on. The one of today is not taken again until the registry offers \
                         another.",
            "Ab jetzt entscheidet die Version davor. Die heutige wird erst wieder genommen, wenn die Registry eine andere \
             angeboten hat.";
        all_now: "Stop everything now", "Jetzt alles anhalten";
        all_again: "Release the gateway now", "Gateway jetzt freigeben";
        stopped_by: "Stopped by {who}", "Angehalten von {who}";
        go_back: "Go back to {version}", "Zurück zu {version}";
        now: "Stop {name} now", "{name} jetzt anhalten";
        again: "Release {name} now", "{name} jetzt freigeben";
        back_now: "{name}: back to {version} now", "{name}: jetzt zurück zu {version}";
        predictions: "{count} predictions", "{count} Vorhersagen";
        agreement: "{count} predictions, the same in {same}", "{count} Vorhersagen, in {same} gleich";
        canary: "decides on {assets}", "entscheidet auf {assets}";
        model_is: "The model {name} is stopped.", "Das Modell {name} ist angehalten.";
        done_rolled_back: "The version before runs again.", "Die Version davor läuft wieder.";
        done_stopped: "Stopped.", "Angehalten.";
        done_released: "Released.", "Freigegeben.";
        state_active: "Active", "Aktiv";
        state_trial: "On trial", "Auf Probe";
        state_shadow: "Shadow", "Im Schatten";
        state_stopped: "Stopped", "Angehalten";
        state_fallback: "Simple rule", "Einfache Regel";
        state_no_model: "No model", "Kein Modell";
    }
}

impl Models {
    /// A state in few words; one that is not known here as it is.
    pub(crate) fn state<'a>(&self, name: &'a str) -> &'a str {
        match name {
            "active" => self.state_active,
            "trial" => self.state_trial,
            "shadow" => self.state_shadow,
            "stopped" => self.state_stopped,
            "fallback" => self.state_fallback,
            "no_model" => self.state_no_model,
            other => other,
        }
    }
}
