//! What people do to alarms beside acknowledging them, and what lies over an alarm.

use super::phrases;

phrases! {
    /// What people do to alarms beside acknowledging them, and what lies over an alarm.
    Alarm {
        reset: "Reset", "Zurücksetzen";
        shelve: "Shelve", "Zurückstellen";
        shelve_now: "Shelve it now", "Jetzt zurückstellen";
        length: "For how long", "Für wie lange";
        half_hour: "30 minutes", "30 Minuten";
        hour: "1 hour", "1 Stunde";
        shift: "8 hours", "8 Stunden";
        day: "1 day", "1 Tag";
        week: "7 days", "7 Tage";
        reason: "Why", "Warum";
        unshelve: "Unshelve", "Wieder zeigen";
        out: "Out of service", "Außer Betrieb";
        out_now: "Take it out of service now", "Jetzt außer Betrieb nehmen";
        what_out_means: "Nobody is shown this alert, however often it is raised, until an engineer puts it back in service.",
            "Niemand sieht diesen Alarm, so oft er auch ausgelöst wird, bis ihn jemand vom Engineering wieder in Betrieb nimmt.";
        back: "Put back in service", "Wieder in Betrieb nehmen";
        aside: "Alerts that are not shown", "Alarme, die nicht gezeigt werden";
        is_off: "The machine is off.", "Die Maschine ist aus.";
        is_shelved: "Shelved until", "Zurückgestellt bis";
        is_out: "Out of service", "Außer Betrieb";
        by: "by {name}", "von {name}";
        its_alert: "Its alert of", "Ihr Alarm von";
        done_reset: "Reset.", "Zurückgesetzt.";
        done_shelve: "Shelved.", "Zurückgestellt.";
        done_unshelve: "Unshelved.", "Wird wieder gezeigt.";
        done_out_of_service: "Taken out of service.", "Außer Betrieb genommen.";
        done_in_service: "Back in service.", "Wieder in Betrieb.";
    }
}

impl Alarm {
    /// How long an alert may be shelved, in the words of the API and in people's.
    pub(crate) fn lengths(&self) -> [(&'static str, &'static str); 5] {
        [("30m", self.half_hour), ("1h", self.hour), ("8h", self.shift), ("1d", self.day), ("7d", self.week)]
    }
}
