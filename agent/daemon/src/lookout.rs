//! Looks once a second how the gateway itself is: whether the buffer takes records, and whether sync gets on. The driver
//! makes alerts of what is wrong.

use std::time::Duration;

use explaind_core::domain::condition::Condition;
use explaind_core::pipeline::gateway::{Conditions, Seen};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::clock;
use crate::condition::Board;
use crate::sync;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// For so many looks a conflict counts as one that is there.
const CONFLICT_LOOKS: u32 = 5;

/// What others say of conditions that they know of.
pub(crate) type Told = Box<dyn Fn() -> Vec<(Condition, Seen)> + Send + Sync>;

/// Looks until `stop`. `syncs`: whether there is a registry.
pub(crate) async fn run(
    buffer: Buffer,
    status: sync::Status,
    syncs: bool,
    told: Told,
    board: Board,
    stop: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut conflicts = Conflicts::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let mut seen = Conditions::default();
        let looked = buffer.clone();
        // It may have to evict, which waits for the disk.
        let own = tokio::task::spawn_blocking(move || {
            looked.look_for_room(clock::now());
            (looked.fullness(), looked.check().err())
        });
        if let Ok((full, broken)) = own.await {
            seen.set(
                Condition::BufferFull,
                match full {
                    Some(full) => Seen::Holds(format!("{} bytes are kept and {} are allowed", full.kept, full.bound)),
                    None => Seen::Gone,
                },
            );
            seen.set(Condition::StoreDegraded, broken.map_or(Seen::Gone, |error| Seen::Holds(error.to_string())));
        }
        let snapshot = status.snapshot();
        seen.set(Condition::SyncStopped, if syncs { stopped(&snapshot) } else { Seen::Gone });
        seen.set(Condition::BatchConflict, conflicts.look(snapshot.conflicts));
        for (condition, what) in told() {
            seen.set(condition, what);
        }
        board.post(seen);
    }
}

/// Whether the registry's records belong to another store. While it does not answer nobody knows.
fn stopped(status: &sync::Snapshot) -> Seen {
    match status.state {
        sync::State::Stopped => Seen::Holds(status.error.clone().unwrap_or_else(|| "sync stopped".to_owned())),
        sync::State::CatchingUp | sync::State::Online => Seen::Gone,
        sync::State::Offline => Seen::Unknown,
    }
}

/// A conflict happens and is over: its alert waits until somebody has seen it.
#[derive(Default)]
struct Conflicts {
    counted: u64,
    left: u32,
}

impl Conflicts {
    fn look(&mut self, count: u64) -> Seen {
        if count > self.counted {
            (self.counted, self.left) = (count, CONFLICT_LOOKS);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Seen::Holds(format!("{count} since the start"))
            }
            None => Seen::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_seen_for_a_moment_each_time() {
        let mut conflicts = Conflicts::default();
        assert_eq!(conflicts.look(0), Seen::Gone);
        for _ in 0..CONFLICT_LOOKS {
            assert_eq!(conflicts.look(1), Seen::Holds("1 since the start".to_owned()));
        }
        assert_eq!(conflicts.look(1), Seen::Gone);
        assert_eq!(conflicts.look(2), Seen::Holds("2 since the start".to_owned()));
    }

    #[test]
    fn that_the_registry_is_away_says_nothing_of_whose_it_is() {
        let status = |state| sync::Snapshot { state, error: Some("another store".to_owned()), ..Default::default() };
        assert_eq!(stopped(&status(sync::State::Offline)), Seen::Unknown);
        assert_eq!(stopped(&status(sync::State::Online)), Seen::Gone);
        assert_eq!(stopped(&status(sync::State::Stopped)), Seen::Holds("another store".to_owned()));
    }
}
