//! What went wrong, for people. Problems are made in English, for scripts and the log; the page says them in its reader's
//! language. One that has no phrase here is said in general, by its status, with the English words behind it.

use axum::http::StatusCode;
use explaind_core::explain::words::Language;

use super::{Words, fill};
use crate::web::problem::Problem;

/// What problems say, word by word, and the same in German.
const SAID: &[(&str, &str)] = &[
    ("there is nothing at this address", "unter dieser Adresse gibt es nichts"),
    ("there is no such file", "diese Datei gibt es nicht"),
    ("the name or the password is wrong", "Name oder Passwort ist falsch"),
    (
        "too many tries; wait {seconds} s and try again",
        "zu viele Versuche; bitte {seconds} s warten und dann noch einmal versuchen",
    ),
    (
        "others are signing in right now; try again in a moment",
        "gerade melden sich andere an; bitte gleich noch einmal versuchen",
    ),
    (
        "this is for the role {least} and up, and {name} is {role}; ask an engineer",
        "das ist ab der Rolle {least} möglich, und {name} ist {role}; bitte ans Engineering wenden",
    ),
    (
        "this change does not carry the secret of your sign-in (form field csrf or header X-CSRF-Token); load the page \
        again and repeat it",
        "diese Änderung gehört nicht zu Ihrer Anmeldung; bitte die Seite neu laden und noch einmal versuchen",
    ),
    (
        "this change was asked for by a page of another site; open the gateway's own page",
        "diese Änderung kam von der Seite eines anderen Anbieters; bitte die Seite des Gateways selbst öffnen",
    ),
    (
        "this gateway does not go by that host name; ask for localhost, or add the name to [web] hosts",
        "unter diesem Namen ist das Gateway nicht bekannt; es heißt localhost oder so, wie unter [web] hosts steht",
    ),
    (
        "with demo_accounts the page is for this machine only, and this request came through a proxy; make real \
        accounts with `explaind users add` and turn demo_accounts off",
        "mit demo_accounts ist die Seite nur für diese Maschine, und diese Anfrage kam über einen Proxy; bitte mit `explaind \
        users add` echte Konten anlegen und demo_accounts ausschalten",
    ),
    (
        "this took too long; look whether it was done before you try again",
        "das hat zu lange gedauert; bitte erst nachsehen, ob es geschehen ist",
    ),
    ("this address does not take that method; see the header Allow", "diese Adresse nimmt das so nicht an"),
    ("a request may have at most {count} bytes", "eine Anfrage darf höchstens {count} Bytes haben"),
    (
        "the request broke off before its end; send it again",
        "die Anfrage brach vor ihrem Ende ab; bitte noch einmal senden",
    ),
    (
        "the gateway broke this off; try again, and look into its log if it happens again",
        "das Gateway hat das abgebrochen; bitte noch einmal versuchen, und wenn es wieder geschieht, ins Protokoll sehen",
    ),
    (
        "the feedback was stored and not given back; reload to see it",
        "die Rückmeldung ist gespeichert, kam aber nicht zurück; neu laden zeigt sie",
    ),
    (
        "the gateway's store does not answer as it should: {error}",
        "der Speicher des Gateways antwortet nicht, wie er soll: {error}",
    ),
    (
        "this says nothing: give a verdict, an explanation_verdict, a cause or a comment",
        "das sagt noch nichts: bitte ein Urteil, eine Ursache oder einen Kommentar angeben",
    ),
    ("the verdict correct needs corrected: what it should have been", "bitte angeben, was es hätte sein sollen"),
    (
        "\"{text}\" is not a number; write the right value as one, like 12.5",
        "\"{text}\" ist keine Zahl; bitte den richtigen Wert als Zahl schreiben, etwa 12,5",
    ),
    ("\"{name}\" is named as relevant and as irrelevant", "\"{name}\" ist als wichtig und als unwichtig angekreuzt"),
    ("{key}: the prediction has no feature \"{name}\"", "{key}: ein Signal \"{name}\" hat die Vorhersage nicht"),
    ("{key} may name at most {count} features", "{key} darf höchstens {count} Signale nennen"),
    ("the form's verdict is none that can be said of an alert", "dieses Urteil passt nicht zu einem Alarm"),
    ("there is no such language here", "diese Sprache gibt es hier nicht"),
    ("{key} may have at most {count} characters", "{key} darf höchstens {count} Zeichen haben"),
    ("there is no explanation to agree or disagree with", "es gibt keine Gründe, zu denen man etwas sagen könnte"),
    (
        "prediction {id} is no longer kept here; give the feedback on its alert {alert}",
        "die Vorhersage {id} wird hier nicht mehr aufbewahrt; bitte das Urteil bei ihrem Alarm {alert} abgeben",
    ),
    (
        "prediction {id} is no longer kept here, if it ever was",
        "die Vorhersage {id} wird hier nicht mehr aufbewahrt, falls es sie gab",
    ),
    ("no prediction has the id {id}", "keine Vorhersage hat die Kennung {id}"),
    (
        "prediction {id} is of another asset than alert {alert}",
        "die Vorhersage {id} gehört zu einer anderen Maschine als der Alarm {alert}",
    ),
    ("no feedback has the id {id} that this revises", "die Rückmeldung {id}, die geändert werden soll, gibt es nicht"),
    (
        "feedback {id}, which this revises, is of another asset",
        "die Rückmeldung {id}, die geändert werden soll, gehört zu einer anderen Maschine",
    ),
    (
        "feedback {id} is somebody else's; only an engineer may revise it",
        "die Rückmeldung {id} ist von jemand anderem; nur das Engineering kann sie ändern",
    ),
    ("missed needs the asset by its id in the configuration", "bitte die Maschine wählen, um die es geht"),
    ("missed needs {key} as RFC 3339, like 2026-01-31T14:05:00Z", "bitte Anfang und Ende angeben ({key})"),
    (
        "event_to must not be before event_from, nor more than a year after it",
        "das Ende darf nicht vor dem Anfang liegen und nicht mehr als ein Jahr danach",
    ),
    ("no alert has the id {id}", "kein Alarm hat die Kennung {id}"),
    ("there is no model \"{name}\" in the configuration", "in der Konfiguration gibt es kein Modell \"{name}\""),
    ("model \"{name}\" has no bundle to go back to", "beim Modell \"{name}\" gibt es nichts, wohin es zurück könnte"),
    (
        "the registry says that {what} is stopped; remove the tag explaind.stop there first",
        "die Registry sagt, dass {what} angehalten ist; erst dort das Tag explaind.stop entfernen",
    ),
    ("it could not be stored: {error}", "es ließ sich nicht speichern: {error}"),
    (
        "the gateway is too busy to answer; look whether it was done before you try again",
        "das Gateway hat zu viel zu tun, um zu antworten; bitte erst nachsehen, ob es geschehen ist",
    ),
    ("only a single model can go back; name one", "nur ein einzelnes Modell kann zurückgehen; bitte eines nennen"),
    (
        "say why, for those who will miss the alert: reason is empty",
        "bitte sagen, warum, für alle, denen der Alarm fehlen wird",
    ),
    ("for: {error}", "die Dauer ist nicht zu verstehen: {error}"),
    (
        "its condition still holds; it can be reset once that is gone",
        "seine Ursache besteht noch; zurücksetzen lässt er sich, wenn sie weg ist",
    ),
    ("nobody has seen it yet; acknowledge it first", "noch niemand hat ihn gesehen; bitte erst quittieren"),
    ("it is not latched, so there is nothing to reset", "er wird nicht gehalten, also gibt es nichts zurückzusetzen"),
    (
        "an alert is shelved for more than nothing and at most 7 days; for longer, take it out of service",
        "ein Alarm wird höchstens 7 Tage zurückgestellt; für länger wird er außer Betrieb genommen",
    ),
    ("it is not shelved", "er ist nicht zurückgestellt"),
    ("it is out of service already", "er ist schon außer Betrieb"),
    ("it is not out of service", "er ist nicht außer Betrieb"),
    (
        "nothing watches this any more, so it raises no alert",
        "darüber wacht nichts mehr, also löst es keinen Alarm aus",
    ),
];

/// What to say to people of the statuses, where nothing better is known.
const BY_STATUS: [(StatusCode, &str); 6] = [
    (StatusCode::BAD_REQUEST, "Das war nicht zu verstehen."),
    (StatusCode::FORBIDDEN, "Das ist hier nicht erlaubt."),
    (StatusCode::NOT_FOUND, "Das gibt es nicht."),
    (StatusCode::CONFLICT, "Das geht gerade nicht."),
    (StatusCode::UNPROCESSABLE_ENTITY, "So lässt sich das nicht annehmen."),
    (StatusCode::SERVICE_UNAVAILABLE, "Das geht zurzeit nicht; bitte später noch einmal versuchen."),
];

/// A problem in somebody's language: our words, and English ones behind them where there are no others.
pub(crate) fn told(language: Language, problem: &Problem) -> (String, Option<&str>) {
    if language == Language::English {
        return (sentence(&problem.detail), None);
    }
    let known = SAID.iter().find_map(|(english, german)| Some(fill(german, &as_said(english, &problem.detail)?)));
    match known {
        Some(text) => (sentence(&text), None),
        None => {
            let general = BY_STATUS.iter().find(|(status, _)| *status == problem.status);
            let general = general.map_or(Words::of(language).page.failed, |(_, text)| *text);
            (general.to_owned(), Some(&problem.detail))
        }
    }
}

/// What fills the gaps of a phrase, if this is what the phrase says.
fn as_said<'a>(phrase: &'a str, text: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut filled = Vec::new();
    let (mut phrase, mut text) = (phrase, text);
    while let Some((before, rest)) = phrase.split_once('{') {
        let (gap, after) = rest.split_once('}')?;
        text = text.strip_prefix(before)?;
        let next = after.split('{').next().unwrap_or_default();
        let end = if next.is_empty() { text.len() } else { text.find(next)? };
        let (value, left) = text.split_at_checked(end)?;
        filled.push((gap, value));
        (phrase, text) = (after, left);
    }
    (phrase == text).then_some(filled)
}

/// Every phrase here, in English and German.
#[cfg(test)]
pub(super) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    SAID.iter().copied()
}

/// A phrase as a sentence: a capital in front, a full stop at the end.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut sentence: String =
        chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::alert::Unfit;
    use explaind_core::domain::command::Refusal;
    use uuid::Uuid;

    use super::*;

    fn german(problem: &Problem) -> (String, Option<&str>) {
        told(Language::German, problem)
    }

    #[test]
    fn a_phrase_becomes_a_sentence() {
        assert_eq!(sentence("no alert has the id 7"), "No alert has the id 7.");
        assert_eq!(sentence(""), ".");
    }

    #[test]
    fn whatever_refuses_a_command_is_said_in_german() {
        let unfit = [
            Unfit::Holds,
            Unfit::Unseen,
            Unfit::NotLatched,
            Unfit::Length,
            Unfit::NotShelved,
            Unfit::OutOfService,
            Unfit::InService,
            Unfit::Unwatched,
        ];
        let refusals = [
            Refusal::UnknownAlert(Uuid::nil()),
            Refusal::UnknownModel("press".into()),
            Refusal::NothingToRollBackTo("press".into()),
            Refusal::CannotRelease("press".into()),
            Refusal::NotStored("no room".into()),
            Refusal::Busy,
        ];
        for refusal in unfit.map(Refusal::Unfit).into_iter().chain(refusals) {
            let problem = Problem::from(refusal);
            let (text, english) = german(&problem);
            assert!(english.is_none() && text != sentence(&problem.detail), "{}", problem.detail);
        }
    }

    #[test]
    fn gaps_keep_what_stood_in_them_and_the_unknown_is_said_in_general() {
        let problem = Problem::forbidden("this is for the role technician and up, and {x} is viewer; ask an engineer");
        let (text, english) = german(&problem);
        assert_eq!(
            (text.as_str(), english),
            ("Das ist ab der Rolle technician möglich, und {x} ist viewer; bitte ans Engineering wenden.", None)
        );
        let odd = Problem::unacceptable("the moon is full");
        assert_eq!(german(&odd), ("So lässt sich das nicht annehmen.".to_owned(), Some("the moon is full")));
        let teapot = Problem::new(StatusCode::IM_A_TEAPOT, "short and stout");
        assert_eq!(german(&teapot).1, Some("short and stout"));
        assert_eq!(told(Language::English, &odd), ("The moon is full.".to_owned(), None));
    }
}
