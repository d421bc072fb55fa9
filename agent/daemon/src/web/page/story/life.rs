//! What happened to an alert, step by step: when, by whom, and what they said.

use explaind_core::domain::alert::{AlarmState, AlertTransition, Cover};
use explaind_core::domain::record::{Body, Stream};
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::Language;
use maud::{Markup, html};
use uuid::Uuid;

use super::Words;
use crate::buffer::{Alert, BufferError};
use crate::web::Web;
use crate::web::page::views::{fill, when};
use crate::web::words::sentence;

/// Records read at a time, and at most: an alert that stood through a storm of others is told as far as that goes.
const STRIDE: usize = 500;
const MOST_SCANNED: usize = 20_000;
/// Steps shown: the first ones, and the last ones.
const FIRST: usize = 10;
const LAST: usize = 40;

/// One step.
pub(super) struct Step {
    at: Timestamp,
    change: AlertTransition,
}

/// The steps of one alert, the first one first, as far as they are kept.
pub(super) fn steps(web: &Web, alert: &Alert) -> Result<Vec<Step>, BufferError> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut after, mut scanned) = (alert.number().saturating_sub(1), 0);
    while scanned < MOST_SCANNED {
        let records = web.buffer.read(Stream::Alerts, after, STRIDE)?;
        let Some(last) = records.last() else { break };
        (after, scanned) = (last.sequence, scanned + records.len());
        let through = last.at.utc;
        for record in records {
            let Body::Alert(change) = record.body else { continue };
            if change.alert_id == Some(alert.id) {
                steps.push(Step { at: record.at.utc, change });
            }
        }
        let over = steps.iter().any(|step| step.change.from.is_open() && !step.change.to.is_open());
        if over && through >= alert.changed_at {
            break;
        }
    }
    Ok(steps)
}

/// The steps as a list.
pub(super) fn section(steps: &[Step], language: Language, words: &Words) -> Markup {
    let mut before = Cover::default();
    let told: Vec<Markup> = steps
        .iter()
        .map(|step| {
            let item = item(step, before, language, words);
            before = step.change.cover;
            item
        })
        .collect();
    let hidden = told.len().saturating_sub(FIRST + LAST);
    html! {
        @if told.is_empty() { p .means { (words.life_gone) } }
        @else {
            ol .steps {
                @for (number, step) in told.iter().enumerate() {
                    @if hidden == 0 || number < FIRST || number >= FIRST + hidden { (step) }
                    @else if number == FIRST { li { (fill(words.many_more, &[("count", &hidden.to_string())])) } }
                }
            }
        }
    }
}

fn item(step: &Step, before: Cover, language: Language, words: &Words) -> Markup {
    let change = &step.change;
    let state = state(change, words);
    html! {
        li {
            span .when { (when(language, step.at)) } " "
            @if let Some(state) = state { strong { (state) } }
            (covers(before, change.cover, state.is_some(), language, words))
            @if state.is_none() && before == change.cover { strong { (words.changed) } }
            @if let Some(author) = &change.author { " " (fill(words.by, &[("name", author)])) }
            "."
            @if let Some(comment) = &change.comment { " " q { (comment) } }
            @if change.author.is_none() && !change.reason.is_empty() {
                " " span .reason lang=[(language != Language::English).then_some("en")] { (sentence(&change.reason)) }
            }
        }
    }
}

/// What became of the state, in few words; nothing where it stayed.
fn state(change: &AlertTransition, words: &Words) -> Option<&'static str> {
    let (from, to) = (change.from, change.to);
    let words = match (from, to) {
        (AlarmState::Normal, AlarmState::Normal) => change.author.as_ref().map(|_| words.seen_later)?,
        _ if from == to => return None,
        (AlarmState::Normal, _) => words.raised,
        _ if to.holds() && !from.holds() => words.raised_again,
        _ if from.holds() && !to.holds() => match to {
            AlarmState::LatchedAcknowledged | AlarmState::LatchedUnacknowledged => words.latched,
            _ => words.returned,
        },
        _ if from.is_unseen() && !to.is_unseen() => words.acknowledged,
        (AlarmState::LatchedAcknowledged, AlarmState::Normal) => words.reset,
        (_, AlarmState::Normal) => words.closed,
        _ => words.changed,
    };
    Some(words)
}

/// What was laid over the alarm, or taken away from there.
fn covers(before: Cover, after: Cover, follows: bool, language: Language, words: &Words) -> Markup {
    let mut told: Vec<(&str, Option<Timestamp>)> = Vec::new();
    if before.shelved_until != after.shelved_until {
        told.push(match after.shelved_until {
            Some(until) => (words.was_shelved, Some(until)),
            None => (words.was_unshelved, None),
        });
    }
    if before.out_of_service != after.out_of_service {
        told.push((if after.out_of_service { words.was_out } else { words.was_back }, None));
    }
    if before.by_design != after.by_design {
        told.push((if after.by_design { words.machine_off } else { words.machine_on }, None));
    }
    html! {
        @for (number, (sentence, until)) in told.iter().enumerate() {
            @if follows || number > 0 { ", " }
            strong { (sentence) }
            @if let Some(until) = until { " " (when(language, *until)) }
        }
    }
}

/// How long ago an id was minted, by its own time: of alerts that are no longer kept.
pub(super) fn minted(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000))?;
    Some(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::alert::{Guidance, Priority};

    use super::*;

    fn step(from: AlarmState, to: AlarmState, cover: Cover, author: Option<&str>) -> Step {
        let change = AlertTransition {
            alert_id: Some(Uuid::nil()),
            asset: "press-7".into(),
            model: "press-failure".into(),
            prediction_id: None,
            from,
            to,
            cover,
            priority: Priority::High,
            author: author.map(str::to_owned),
            comment: author.map(|_| "<b>on my way</b>".to_owned()),
            reason: "probability 0.93 above 0.5".to_owned(),
            raised: None,
            guidance: Guidance::default(),
        };
        Step { at: Timestamp::from_micros(1), change }
    }

    fn shown(steps: &[Step], language: Language) -> String {
        section(steps, language, Words::of(language)).into_string()
    }

    #[test]
    fn every_step_says_what_happened_and_who_did_it() {
        use AlarmState::{Acknowledged, LatchedAcknowledged, Normal, ReturnedUnacknowledged, Unacknowledged};
        let none = Cover::default();
        let shelved = Cover { shelved_until: Some(Timestamp::from_micros(0)), ..none };
        let steps = [
            step(Normal, Unacknowledged, none, None),
            step(Unacknowledged, ReturnedUnacknowledged, none, None),
            step(ReturnedUnacknowledged, Unacknowledged, none, None),
            step(Unacknowledged, Acknowledged, none, Some("ada")),
            step(Acknowledged, Acknowledged, shelved, Some("ben")),
            step(Acknowledged, Acknowledged, none, None),
            step(Acknowledged, LatchedAcknowledged, none, None),
            step(LatchedAcknowledged, Normal, none, Some("ben")),
            step(Normal, Normal, none, Some("cleo")),
        ];
        let english = shown(&steps, Language::English);
        let order = [
            "<strong>Raised</strong>",
            "Back to normal",
            "Raised again",
            "Acknowledged</strong> by ada",
            "Shelved until",
            "Shown again",
            "Condition gone, held",
            "Reset</strong> by ben",
            "Seen after it was closed</strong> by cleo",
        ];
        let places: Vec<usize> = order.iter().map(|part| english.find(part).expect(part)).collect();
        assert!(places.is_sorted(), "{places:?} {english}");
        assert!(english.contains("&lt;b&gt;on my way") && !english.contains("<b>"));
        let german = shown(&steps, Language::German);
        assert!(
            german.contains("Quittiert</strong> von ada") && german.contains("lang=\"en\">Probability 0.93 above 0.5.")
        );
        assert!(shown(&[], Language::German).contains("nicht mehr gespeichert"));
    }

    #[test]
    fn an_alert_that_comes_and_goes_for_hours_is_told_in_bounds() {
        use AlarmState::{ReturnedUnacknowledged, Unacknowledged};
        let steps: Vec<Step> =
            (0..200).map(|_| step(Unacknowledged, ReturnedUnacknowledged, Cover::default(), None)).collect();
        let shown = shown(&steps, Language::English);
        assert_eq!(shown.matches("<li>").count(), FIRST + LAST + 1);
        assert!(shown.contains("150 more steps"), "{shown}");
    }
}
