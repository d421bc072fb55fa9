//! Every state with every event, latching or not, below every cover: held to tables written out by hand.
//!
//! The states are those of ISA-18.2 in the words of OPC UA Part 9 (OPC 10000-9): active, acknowledged, latched. The tables are
//! written as the standards have them and use nothing of the code that they check. Names are one letter each:
//!
//! `N` normal, `U` unacknowledged, `A` acknowledged, `R` returned to normal unacknowledged, `L` latched unacknowledged,
//! `K` latched acknowledged. `-`: it does not happen and nothing changes. A word: it is refused so.

#![expect(clippy::panic, reason = "a table that does not read fails")]

use std::time::Duration;

use explaind_core::domain::alert::{AlarmState, AlertTransition, Cover, Priority, Suppression, Unfit};
use explaind_core::domain::command::Act;
use explaind_core::domain::time::{Now, Timestamp};
use explaind_core::model::manifest::{Decision, Threshold};
use explaind_core::pipeline::alarm::{Alarm, Remembered};
use uuid::Uuid;

/// What happens to an occurrence.
const PLAIN: &str = "
    state  raise  clear  acknowledge  reset
    N      U      -      -            not_latched
    U      U      R      A            holds
    A      A      N      A            holds
    R      U      R      N            not_latched
    L      U      L      K            unseen
    K      U      K      K            N
";

/// The same where the rule latches. (What is latched stays so also when the rule does not latch any more, so its lines are
/// the same above.)
const LATCHING: &str = "
    state  raise  clear  acknowledge  reset
    N      U      -      -            not_latched
    U      U      L      A            holds
    A      A      K      A            holds
    R      U      R      N            not_latched
    L      U      L      K            unseen
    K      U      K      K            N
";

/// What happens to what lies over the alarm. Columns are facts before (O out of service, S shelved, D by design; `.` not),
/// then, by event, the facts after.
const COVERS: &str = "
    before  shelve  unshelve     over  out             in          off  on
    ...     .S.     not_shelved  -     O..             in_service  ..D  -
    ..D     .SD     not_shelved  -     O.D             in_service  -    ...
    .S.     .S.     ...          ...   OS.             in_service  .SD  -
    .SD     .SD     ..D          ..D   OSD             in_service  -    .S.
    O..     OS.     not_shelved  -     out_of_service  ...         O.D  -
    O.D     OSD     not_shelved  -     out_of_service  ..D         -    O..
    OS.     OS.     O..          O..   out_of_service  .S.         OSD  -
    OSD     OSD     O.D          O.D   out_of_service  .SD         -    OS.
";

/// Which of them is shown.
const SHOWN: &str = "
    ...  none
    ..D  by_design
    .S.  shelved
    .SD  shelved
    O..  out_of_service
    O.D  out_of_service
    OS.  out_of_service
    OSD  out_of_service
";

fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).filter(|row: &Vec<_>| !row.is_empty()).collect()
}

fn state(name: &str) -> AlarmState {
    match name {
        "N" => AlarmState::Normal,
        "U" => AlarmState::Unacknowledged,
        "A" => AlarmState::Acknowledged,
        "R" => AlarmState::ReturnedUnacknowledged,
        "L" => AlarmState::LatchedUnacknowledged,
        "K" => AlarmState::LatchedAcknowledged,
        other => panic!("{other}"),
    }
}

fn refusal(unfit: Unfit) -> &'static str {
    match unfit {
        Unfit::Holds => "holds",
        Unfit::Unseen => "unseen",
        Unfit::NotLatched => "not_latched",
        Unfit::NotShelved => "not_shelved",
        Unfit::OutOfService => "out_of_service",
        Unfit::InService => "in_service",
        Unfit::Length => "length",
        Unfit::Unwatched => "unwatched",
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn at(hours: u32) -> Now {
    Now { utc: Timestamp::from_micros(i64::from(hours) * 3_600_000_000), monotonic: HOUR * hours }
}

/// With a shelving that ends at hour 8.
fn cover(facts: &str) -> Cover {
    let [out, shelved, design] = facts.as_bytes() else { panic!("{facts}") };
    let shelved_until = (*shelved == b'S').then_some(at(8).utc);
    Cover { out_of_service: *out == b'O', shelved_until, by_design: *design == b'D' }
}

fn facts(cover: Cover) -> String {
    let fact = |is: bool, letter: char| if is { letter } else { '.' };
    [fact(cover.out_of_service, 'O'), fact(cover.shelved_until.is_some(), 'S'), fact(cover.by_design, 'D')]
        .into_iter()
        .collect()
}

/// An alarm in this state, below this, as the records would bring it back at hour 1.
fn alarm(in_state: &str, below: &str, latching: bool) -> Alarm {
    let known = Remembered {
        asset: "press-7".into(),
        model: "press-failure".into(),
        priority: Priority::Low,
        open: (in_state != "N").then(|| (OCCURRENCE, state(in_state))),
        cover: cover(below),
        shelved_for: HOUR * 7,
    };
    let mut alarm = Alarm::restored(known, at(1));
    alarm.follow(&Decision {
        raise: Threshold::Above(0.5),
        clear: Threshold::Below(0.4),
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        priority: Priority::High,
        latching,
        guidance: explaind_core::domain::alert::Guidance::default(),
    });
    alarm
}

const OCCURRENCE: Uuid = Uuid::from_u128(1);
const FRESH: Uuid = Uuid::from_u128(2);

/// What comes of an event: a transition, nothing, or a refusal.
fn happens(alarm: &mut Alarm, event: &str) -> Result<Option<AlertTransition>, &'static str> {
    let text = String::new;
    let now = at(if event == "over" { 8 } else { 2 });
    let act = match event {
        "raise" => return Ok(Some(alarm.raise(FRESH, None, text()))),
        "clear" => return Ok(alarm.clear(None, text())),
        "off" => return Ok(alarm.switch(true)),
        "on" => return Ok(alarm.switch(false)),
        "over" => return Ok(alarm.tick(now)),
        "acknowledge" => {
            let seen = alarm.acknowledgement("ann".into(), None);
            seen.iter().for_each(|seen| alarm.apply(seen, now));
            return Ok(seen);
        }
        "reset" => Act::Reset { comment: None },
        "shelve" => Act::Shelve { length: HOUR * 8, reason: text() },
        "unshelve" => Act::Unshelve { comment: None },
        "out" => Act::OutOfService { reason: text() },
        "in" => Act::InService { comment: None },
        other => panic!("{other}"),
    };
    let asked = alarm.asked(act, "ann".into(), now).map_err(refusal)?;
    alarm.apply(&asked, now);
    Ok(Some(asked))
}

/// What an alarm is, seen from outside: its state by how it goes on, and what lies over it.
fn seen(alarm: &Alarm) -> (bool, Option<Uuid>, Cover) {
    (alarm.is_raised(), alarm.id(), alarm.cover())
}

#[test]
fn states_go_as_the_standards_say_below_every_cover() {
    let mut checked = 0;
    for (latching, table) in [(false, PLAIN), (true, LATCHING)] {
        let table = rows(table);
        let (events, lines) = table.split_first().unwrap();
        assert_eq!(lines.len(), AlarmState::ALL.len());
        for line in lines {
            for (event, expected) in events.iter().zip(line).skip(1) {
                for below in rows(SHOWN).iter().map(|row| row[0]) {
                    let case = format!("{} {event} {expected} below {below}, latching {latching}", line[0]);
                    let mut alarm = alarm(line[0], below, latching);
                    let before = seen(&alarm);
                    checked += 1;
                    match (happens(&mut alarm, event), *expected) {
                        (Ok(None), "-") => assert_eq!(seen(&alarm), before, "{case}"),
                        (Err(reason), expected) => {
                            assert_eq!(reason, expected, "{case}");
                            assert_eq!(seen(&alarm), before, "{case}: what is refused changes nothing");
                        }
                        (Ok(Some(change)), expected) => {
                            assert_eq!((change.from, change.to), (state(line[0]), state(expected)), "{case}");
                            let id = if line[0] == "N" { FRESH } else { OCCURRENCE };
                            assert_eq!(change.alert_id, Some(id), "{case}: one occurrence until it is closed");
                            assert_eq!(change.cover, cover(below), "{case}: what lies over it stays");
                            let holds = matches!(expected, "U" | "A");
                            let open = (expected != "N").then_some(id);
                            assert_eq!(seen(&alarm), (holds, open, cover(below)), "{case}");
                        }
                        (Ok(None), _) => panic!("{case}: nothing happened"),
                    }
                }
            }
        }
    }
    assert_eq!(checked, 2 * 6 * 4 * 8);
}

#[test]
fn covers_come_and_go_each_by_itself_over_every_state() {
    let table = rows(COVERS);
    let (events, lines) = table.split_first().unwrap();
    let mut checked = 0;
    for line in lines {
        for (event, expected) in events.iter().zip(line).skip(1) {
            for (in_state, latching) in ["N", "U", "A", "R", "L", "K"].into_iter().zip([true, false].repeat(3)) {
                let case = format!("{} {event} {expected} over {in_state}", line[0]);
                let mut alarm = alarm(in_state, line[0], latching);
                let before = seen(&alarm);
                checked += 1;
                match (happens(&mut alarm, event), *expected) {
                    (Ok(None), "-") => assert_eq!(seen(&alarm), before, "{case}"),
                    (Err(reason), expected) => {
                        assert_eq!((reason, seen(&alarm)), (expected, before), "{case}");
                    }
                    (Ok(Some(change)), expected) => {
                        assert_eq!(facts(change.cover), expected, "{case}");
                        let open = (in_state != "N").then_some(OCCURRENCE);
                        assert_eq!((change.from, change.to), (state(in_state), state(in_state)), "{case}");
                        assert_eq!(change.alert_id, open, "{case}: an alarm at rest has no occurrence");
                        assert_eq!(seen(&alarm), (before.0, open, change.cover), "{case}");
                    }
                    (Ok(None), _) => panic!("{case}: nothing happened"),
                }
            }
        }
    }
    assert_eq!(checked, 8 * 7 * 6);
}

#[test]
fn one_cover_is_shown() {
    let names = [Suppression::None, Suppression::ByDesign, Suppression::Shelved, Suppression::OutOfService];
    for row in rows(SHOWN) {
        let shown = cover(row[0]).shown();
        assert_eq!(shown.as_str(), row[1], "{row:?}");
        assert!(names.contains(&shown));
    }
}

#[test]
fn shelving_has_bounds() {
    let ask = |length| {
        let act = Act::Shelve { length, reason: String::new() };
        alarm("U", "...", false).asked(act, "ann".into(), at(1)).map(|change| change.cover.shelved_until)
    };
    assert_eq!(ask(Duration::ZERO), Err(Unfit::Length));
    assert_eq!(ask(HOUR * 24 * 7 + Duration::from_nanos(1)), Err(Unfit::Length));
    assert_eq!(ask(HOUR * 24 * 7), Ok(Some(at(1 + 24 * 7).utc)));
}

#[test]
fn an_alert_storm_keeps_its_order() {
    let mut alarm = alarm("N", "...", false);
    let mut ids = Vec::new();
    for n in 0..10_000_u128 {
        let raised = alarm.raise(Uuid::from_u128(10 + n), None, String::new());
        ids.extend(raised.alert_id);
        // Every third is seen while it holds, every third when it is gone, every third not at all.
        if n % 3 == 0 {
            happens(&mut alarm, "acknowledge").unwrap();
        }
        let gone = alarm.clear(None, String::new()).unwrap();
        assert_eq!(gone.alert_id, raised.alert_id);
        if n % 3 == 1 {
            happens(&mut alarm, "acknowledge").unwrap();
        }
    }
    ids.dedup();
    // What was not seen is the occurrence of the raise after it.
    assert_eq!(ids.len(), 10_000 - 3_333);
}
