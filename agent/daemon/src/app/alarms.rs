//! What the records tell of alarms at a start: open occurrences, what lies over alarms, and how many there were lately.

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::{Moment, Now};
use explaind_core::pipeline::alarm::Remembered;
use explaind_core::pipeline::shelf;
use uuid::Uuid;

use crate::buffer::{Buffer, Standing};
use crate::clock;
use crate::rates::AlarmRates;

/// Transitions that are counted again: more are made in an hour by nothing that anybody could answer.
const COUNTED: usize = 10_000;

/// The present moment. Whether the wall clock is right is asked once more where it matters, since that may take two seconds:
/// chrony leaves no mark as systemd does.
pub(super) fn here(buffer: &Buffer, boot_id: Uuid, at: Now) -> Moment {
    let is_shelved = |one: &Standing| one.cover.is_some_and(|(cover, _)| cover.shelved_until.is_some());
    let known = clock::synchronised();
    let asked = || buffer.standing().iter().any(is_shelved) && clock::kernel_says() == Some(true);
    Moment { at, boot_id, synchronised: known || asked() }
}

/// Alarms that are not at rest, and what lies over alarms for as long as it still is to.
pub(super) fn remembered(buffer: &Buffer, here: &Moment) -> Vec<Remembered> {
    let known = buffer.standing().into_iter().map(|Standing { asset, model, priority, open, cover }| {
        let left = cover.and_then(|(cover, told)| Some(shelf::left(cover.shelved_until?, &told, here)));
        let cover = cover.map(|(cover, _)| cover).unwrap_or_default();
        Remembered { asset, model, priority, open, cover, shelved_for: left.unwrap_or_default() }
    });
    known.collect()
}

/// How many alarms there were.
pub(super) fn rates(buffer: &Buffer, here: &Moment) -> AlarmRates {
    let rates = AlarmRates::default();
    let newest = buffer.latest(Stream::Alerts, None, COUNTED).unwrap_or_default();
    let alerts = buffer.alerts();
    let holding = alerts.iter().filter(|alert| alert.state.holds()).map(|alert| {
        // Of those whose raise is not among the newest only the wall clock tells.
        let raised = Moment { at: Now { utc: alert.raised_at, ..here.at }, boot_id: Uuid::nil(), ..*here };
        (&alert.asset, &alert.model, here.age(&raised))
    });
    rates.remember(newest.iter().rev(), holding, here);
    rates
}
