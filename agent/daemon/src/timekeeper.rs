//! Watches the wall clock, and puts on record what central needs to put times right.
//!
//! A gateway without a battery boots in 1970, and its clock jumps when it hears from a time server. No record is ever
//! rewritten for that. Each one has its boot and the time since that boot, which only goes forward; what is noted here,
//! an *anchor*, says what the wall clock showed at one such time, and whether it was known to be right. So for a record
//! of the same boot: its true time is the anchor's, plus the difference of the two times since boot.

use std::time::Duration;

use explaind_core::domain::time::{Now, Timestamp};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::buffer::Buffer;
use crate::clock;

/// How often the clocks are compared.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Slewing moves a clock by 0.5 ms a second at most; what moves it by so much between two looks is a jump.
const JUMP: Duration = Duration::from_millis(500);

/// How often it is asked whether a time service keeps the clock right: while none does, and once one does.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// What was seen last.
#[derive(Debug, Default)]
struct Timekeeper {
    last: Option<(Now, bool)>,
}

/// Something worth a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// The first look of this run, or the clock is right from now on, or is not known to be any more.
    Synchronised(bool),
    /// It jumped by so many microseconds.
    Jumped(i64),
}

impl Timekeeper {
    /// Takes one look.
    fn look(&mut self, now: Now, synchronised: bool) -> Vec<Anchor> {
        let last = self.last.replace((now, synchronised));
        let Some((before, was)) = last else { return vec![Anchor::Synchronised(synchronised)] };
        let mut anchors = Vec::new();
        let elapsed = i64::try_from(now.since(before).as_micros()).unwrap_or(i64::MAX);
        let jump = now.utc.as_micros().saturating_sub(before.utc.as_micros()).saturating_sub(elapsed);
        if u128::from(jump.unsigned_abs()) >= JUMP.as_micros() {
            anchors.push(Anchor::Jumped(jump));
        }
        if was != synchronised {
            anchors.push(Anchor::Synchronised(synchronised));
        }
        anchors
    }
}

/// Looks until `stop`.
pub(crate) async fn run(buffer: Buffer, stop: CancellationToken) {
    let (mut keeper, mut ticks) = (Timekeeper::default(), interval(LOOK_EVERY));
    let mut ask_at = Duration::ZERO;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // timesyncd's mark costs nothing to look at; the others have to be asked for.
        if !clock::is_marked() && clock::now().monotonic >= ask_at {
            let right = tokio::task::spawn_blocking(clock::kernel_says).await.ok().flatten().unwrap_or(false);
            clock::note_kept_right(right);
            ask_at = clock::now().monotonic.saturating_add(if right { ASK_AGAIN } else { ASK_EVERY });
        }
        let now = clock::now();
        for anchor in keeper.look(now, clock::synchronised()) {
            let (state, evidence) = record(anchor, now, buffer.boot_id());
            if let Anchor::Jumped(micros) = anchor {
                tracing::warn!(seconds = micros as f64 / 1e6, "the wall clock jumped");
            }
            let buffer = buffer.clone();
            let write = move || buffer.report(now, "clock", state, evidence);
            if tokio::task::spawn_blocking(write).await.is_err() {
                tracing::error!("a health record of the clock was not stored");
            }
        }
    }
}

fn record(anchor: Anchor, now: Now, boot_id: Uuid) -> (&'static str, Vec<(String, String)>) {
    let mut evidence = vec![
        ("boot_id".to_owned(), boot_id.to_string()),
        ("monotonic_ns".to_owned(), now.monotonic.as_nanos().to_string()),
        ("utc".to_owned(), utc(now.utc)),
    ];
    let state = match anchor {
        Anchor::Synchronised(true) => "synchronised",
        Anchor::Synchronised(false) => "unsynchronised",
        Anchor::Jumped(micros) => {
            evidence.push(("by_microseconds".to_owned(), micros.to_string()));
            "jumped"
        }
    };
    (state, evidence)
}

fn utc(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros())
        .map_or_else(|_| "out of range".to_owned(), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(utc_seconds: i64, boot_seconds: u64) -> Now {
        Now { utc: Timestamp::from_micros(utc_seconds * 1_000_000), monotonic: Duration::from_secs(boot_seconds) }
    }

    #[test]
    fn the_first_look_is_an_anchor_and_then_only_changes_are() {
        let mut keeper = Timekeeper::default();
        assert_eq!(keeper.look(at(300, 10), false), [Anchor::Synchronised(false)]);
        assert_eq!(keeper.look(at(305, 15), false), []);
        // 1970 until the time server answered.
        let jump = 1_795_300_000 - 310;
        let right = keeper.look(at(1_795_300_000, 20), true);
        assert_eq!(right, [Anchor::Jumped(jump * 1_000_000), Anchor::Synchronised(true)]);
        assert_eq!(keeper.look(at(1_795_300_005, 25), true), []);
        assert_eq!(keeper.look(at(1_795_296_410, 30), true), [Anchor::Jumped(-3_600_000_000)], "an hour back");
        assert_eq!(keeper.look(at(1_795_296_415, 35), false), [Anchor::Synchronised(false)]);
    }

    #[test]
    fn extreme_clocks_are_only_numbers() {
        let mut keeper = Timekeeper::default();
        keeper.look(Now { utc: Timestamp::from_micros(i64::MIN), monotonic: Duration::MAX }, false);
        let end = Now { utc: Timestamp::from_micros(i64::MAX), monotonic: Duration::ZERO };
        assert_eq!(keeper.look(end, false), [Anchor::Jumped(i64::MAX)]);
        let (state, evidence) = record(Anchor::Jumped(i64::MAX), end, Uuid::nil());
        assert_eq!((state, evidence[2].1.as_str()), ("jumped", "out of range"));
    }
}
