//! The process that a bundle is checked in, seen from outside: started, waited for within bounds, ended, understood.

use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::child::Said;
use super::verify::{Check, Demands, Refused, Report};

/// How often it is looked whether it has ended.
const LOOKING: Duration = Duration::from_millis(10);
/// More than this of what it says is not listened to.
const MOST_SAID: u64 = 64 << 10;
/// Stack of threads that only carry bytes.
const STACK: usize = 128 << 10;

/// Signals by their numbers, the same on every Linux that we run on.
const HUNG_UP: i32 = 1;
const INTERRUPTED: i32 = 2;
const ABORTED: i32 = 6;
const KILLED: i32 = 9;
const TERMINATED: i32 = 15;
const OUT_OF_TIME: i32 = 24;

/// How it ended.
enum End {
    Exited(ExitStatus),
    TooLate,
    GivenUp,
}

/// What checks the bundle in a folder. It reads what nobody vouches for: it gets none of what the environment may hold. One
/// arena, since others would only take up address space.
pub(super) fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    // What a terminal sends to the daemon is not meant for it.
    command.process_group(0);
    command.arg("verify-bundle").arg("--bundle").arg(folder).env_clear();
    command.env("EXPLAIND_LOG", "off").env("MALLOC_ARENA_MAX", "1");
    command
}

/// Starts it and waits for its verdict, on this thread.
pub(super) fn run(mut command: Command, demands: &Demands, given_up: &dyn Fn() -> bool) -> Result<Report, Refused> {
    let failed = |doing: &str, error: &dyn std::fmt::Display| {
        Refused::new(Check::Unchecked, format!("the process that checks it {doing}: {error}"))
    };
    let asked = serde_json::to_vec(demands).map_err(|error| failed("cannot be told what to do", &error))?;
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut process = Guarded(spawned.map_err(|error| failed("cannot be started", &error))?);
    let (stdin, stdout, stderr) = (process.0.stdin.take(), process.0.stdout.take(), process.0.stderr.take());
    let deadline = Instant::now().checked_add(demands.time);
    let (end, said, complained) = std::thread::scope(|scope| {
        let thread = || std::thread::Builder::new().stack_size(STACK);
        let asking = move || stdin.map(|mut stdin| stdin.write_all(&asked));
        let started = thread()
            .spawn_scoped(scope, asking)
            .and_then(|_| thread().spawn_scoped(scope, || hear(stdout)))
            .and_then(|said| Ok((said, thread().spawn_scoped(scope, || hear(stderr))?)));
        let end = match &started {
            Ok(_) => process.wait(deadline, given_up),
            Err(_) => Ok(End::GivenUp),
        };
        // The pipes close with it, so that nobody reads on.
        process.end();
        let (said, complained) = started?;
        Ok((end?, said.join().unwrap_or_default(), complained.join().unwrap_or_default()))
    })
    .map_err(|error: std::io::Error| failed("cannot be listened to", &error))?;
    let (at, verdict) = understood(&said);
    match (verdict, end) {
        (_, End::GivenUp) => Err(Refused::new(Check::Unchecked, "checking it was given up, since the gateway stops")),
        (Some(verdict), End::Exited(_)) => verdict,
        (_, End::TooLate) => Err(too_late(at, demands)),
        (None, End::Exited(status)) => Err(broken(status, at, demands, complained.trim())),
    }
}

/// A process that does not outlive its keeper.
struct Guarded(Child);

impl Guarded {
    fn wait(&mut self, deadline: Option<Instant>, given_up: &dyn Fn() -> bool) -> std::io::Result<End> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(End::Exited(status));
            }
            if given_up() {
                return Ok(End::GivenUp);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(End::TooLate);
            }
            std::thread::sleep(LOOKING);
        }
    }

    /// It may have ended just now; either way it is waited for, so that nothing is left of it.
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a pipe says, up to a bound. Who says more finds that nobody listens.
fn hear(pipe: Option<impl Read>) -> String {
    let mut heard = Vec::new();
    if let Some(pipe) = pipe {
        // What came before a failure is worth as much as without it.
        let _ = pipe.take(MOST_SAID).read_to_end(&mut heard);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// The check that was begun last, and the verdict if there is one.
fn understood(said: &str) -> (Option<Check>, Option<Result<Report, Refused>>) {
    let (mut at, mut verdict) = (None, None);
    for line in said.lines() {
        match serde_json::from_str(line) {
            Ok(Said::Checking(check)) => at = Some(check),
            Ok(Said::Accepted(report)) => verdict = Some(Ok(*report)),
            Ok(Said::Refused(refused)) => verdict = Some(Err(refused)),
            Err(_) => {}
        }
    }
    (at, verdict)
}

fn too_late(at: Option<Check>, demands: &Demands) -> Refused {
    let doing = at.unwrap_or(Check::Time).doing();
    Refused::new(Check::Time, format!("checking it was not over after {:?}; it was {doing} then", demands.time))
}

/// What became of a process that ended without a verdict.
fn broken(status: ExitStatus, at: Option<Check>, demands: &Demands, complained: &str) -> Refused {
    let Some(check) = at else {
        return Refused::new(
            Check::Unchecked,
            format!("the process that checks it ended at once ({status}): {complained}"),
        );
    };
    let (doing, most) = (check.doing(), demands.memory >> 20);
    let more = format!("it needs more than the {most} MiB that checking may take; it was {doing} then");
    match status.signal() {
        // Somebody stops what there is: the service, or a terminal.
        Some(HUNG_UP | INTERRUPTED | TERMINATED) => {
            Refused::new(Check::Unchecked, format!("the process that checks it was told to end ({status})"))
        }
        Some(OUT_OF_TIME) => too_late(at, demands),
        Some(ABORTED) if complained.contains("memory allocation of") => Refused::new(Check::Memory, more),
        // Nobody else kills it: the kernel does when memory runs out, or when it does not heed the limit on its time.
        Some(KILLED) => {
            Refused::new(Check::Memory, format!("the kernel ended it for want of memory; it was {doing} then"))
        }
        Some(ABORTED) if complained.contains("overflowed its stack") => {
            Refused::new(Check::Crash, format!("it goes too deep for what runs it; it was {doing} then"))
        }
        _ => Refused::new(Check::Crash, format!("it broke what runs it ({status}); it was {doing} then")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::rollout::verify::AssetDemand;

    fn demands(time: u64) -> Demands {
        Demands {
            keys: Vec::new(),
            hardware: "x86_64".to_owned(),
            today: None,
            assets: Vec::new(),
            memory: 64 << 20,
            time: Duration::from_millis(time),
            latency: Duration::from_secs(1),
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    fn refused(script: &str) -> (Check, String) {
        let refused = run(shell(script), &demands(20_000), &|| false).unwrap_err();
        (refused.check, refused.reason)
    }

    const GOLDEN: &str = "echo '{\"checking\":\"golden\"}'";

    #[test]
    fn every_end_has_its_reason() {
        for (end, check, said) in [
            ("kill -KILL $$", Check::Memory, "want of memory; it was predicting its golden rows"),
            ("kill -XCPU $$", Check::Time, "not over after 20s; it was predicting its golden rows"),
            ("kill -SEGV $$", Check::Crash, "broke what runs it"),
            ("kill -ABRT $$", Check::Crash, "broke what runs it"),
            ("echo memory allocation of 9 bytes failed >&2; kill -ABRT $$", Check::Memory, "the 64 MiB that"),
            ("echo thread has overflowed its stack >&2; kill -ABRT $$", Check::Crash, "too deep"),
            ("exit 0", Check::Crash, "broke what runs it (exit status: 0)"),
            ("echo '{\"refused\":{\"check\":\"expiry\",\"reason\":\"so\"}}'; exit 65", Check::Expiry, "so"),
        ] {
            let (found, reason) = refused(&format!("{GOLDEN}; {end}"));
            assert!(found == check && reason.contains(said), "{end}: {found:?} {reason}");
        }
    }

    #[test]
    fn what_never_began_says_nothing_of_the_bundle() {
        let (check, reason) = refused("echo no such verb >&2; exit 64");
        assert!(check == Check::Unchecked && reason.contains("no such verb"), "{reason}");
        let missing = run(Command::new("/nowhere/explaind"), &demands(1_000), &|| false).unwrap_err();
        assert_eq!(missing.check, Check::Unchecked);
    }

    /// Whether the process whose id a file holds is gone.
    fn is_gone(file: &Path) -> bool {
        let id = std::fs::read_to_string(file).unwrap();
        !Path::new("/proc").join(id.trim()).exists()
    }

    #[test]
    fn what_never_ends_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let begun = Instant::now();
        // It does not even read what is demanded of it, though that is more than a pipe holds.
        let asset = AssetDemand { id: "x".repeat(1 << 20), inputs: Default::default(), every: None };
        let many = Demands { assets: vec![asset], ..demands(300) };
        let script = format!("echo $$ > {}; {GOLDEN}; exec sleep 600", file.display());
        let late = run(shell(&script), &many, &|| false).unwrap_err();
        assert_eq!((late.check, is_gone(&file)), (Check::Time, true), "{}", late.reason);
        assert!(late.reason.contains("300ms") && late.reason.contains("golden rows"), "{}", late.reason);
        // Nor does somebody who talks without end.
        let (check, _) = refused("while :; do echo nothing; done");
        assert_eq!(check, Check::Unchecked);
        let asked = AtomicU32::new(0);
        let stopped = run(shell(&script), &demands(600_000), &|| asked.fetch_add(1, Ordering::Relaxed) > 20);
        assert_eq!((stopped.unwrap_err().check, is_gone(&file)), (Check::Unchecked, true));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
