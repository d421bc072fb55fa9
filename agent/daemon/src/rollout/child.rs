//! The process that a bundle is checked in, seen from inside: it limits itself, reads what is demanded, and says what it finds.
//!
//! On standard input comes [`Demands`] as JSON, and its end. On standard output goes a line of JSON for each check that begins,
//! and one for the verdict, so that whoever waits knows what it was at when it did not come to one.

use std::any::Any;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getppid, nice, setrlimit};
use serde::{Deserialize, Serialize};

use super::checks;
use super::verify::{Check, Demands, Refused, Report};

/// More than this is not demanded by anybody.
const MOST_DEMANDED: u64 = 4 << 20;
/// What threads of the daemon have, so that what runs deep here does not run deeper there.
const STACK: usize = 2 << 20;
/// How often it is looked whether anybody still waits.
const LOOKING: Duration = Duration::from_millis(500);
/// The exit code of which nobody hears.
const ORPHANED: i32 = 1;
/// Behind everything else that the gateway does.
const NICENESS: i32 = 10;

/// A line of what the process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// This is looked at now.
    Checking(Check),
    /// The bundle passed.
    Accepted(Box<Report>),
    /// It did not.
    Refused(Refused),
}

/// Checks a bundle's folder in this process, within the limits that are demanded on standard input.
///
/// # Errors
/// When nobody listens.
pub(crate) fn judge(folder: &Path) -> std::io::Result<Result<(), Refused>> {
    let found = bounded(folder);
    let verdict = match &found {
        Ok(report) => say(&Said::Accepted(Box::new(report.clone()))),
        Err(refused) => say(&Said::Refused(refused.clone())),
    };
    verdict.map(|()| found.map(|_| ()))
}

fn say(said: &Said) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, said)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn bounded(folder: &Path) -> Result<Report, Refused> {
    let ours = |reason: String| Refused::new(Check::Unchecked, reason);
    step_back();
    let mut asked = Vec::new();
    std::io::stdin()
        .lock()
        .take(MOST_DEMANDED)
        .read_to_end(&mut asked)
        .map_err(|error| ours(format!("what is demanded cannot be read: {error}")))?;
    let demands: Demands =
        serde_json::from_slice(&asked).map_err(|error| ours(format!("what is demanded cannot be read: {error}")))?;
    let started = Memory::now().ok_or_else(|| ours("the kernel does not say how much memory is used".to_owned()))?;
    limit(&demands, started.space).map_err(|error| ours(format!("its limits cannot be set: {error}")))?;
    leave_when_orphaned().map_err(|error| ours(format!("a thread cannot be started: {error}")))?;
    let folder = folder.to_owned();
    let checking = std::thread::Builder::new().name("checks".to_owned()).stack_size(STACK).spawn(move || {
        // Nobody who waits is left when this fails, and then the process goes as well.
        let tell = |check| drop(say(&Said::Checking(check)));
        let mut report = checks::all(&folder, &demands, &tell)?;
        let now = Memory::now().unwrap_or_default();
        report.peak_memory = now.most.saturating_sub(started.held);
        Ok(report)
    });
    let checking = checking.map_err(|error| ours(format!("a thread cannot be started: {error}")))?;
    checking.join().unwrap_or_else(|panic| Err(checks::judged(Check::Crash, panicked(panic.as_ref()))))
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it broke what runs it ({}); export the model again", said.unwrap_or("no reason given"))
}

/// Makes way for what the gateway is there for. Where it is not allowed to, the limits have to do.
fn step_back() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = nice(NICENESS);
    // Should memory run out nevertheless, this process is to go.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// From here on an allocation beyond the bound fails, and so does time: the one who waits may not be there to see to it.
fn limit(demands: &Demands, used: u64) -> rustix::io::Result<()> {
    let space = Some(used.saturating_add(demands.memory));
    setrlimit(Resource::As, Rlimit { current: space, maximum: space })?;
    // The first of the two ends it with a signal that says why.
    let seconds = demands.time.as_secs().saturating_add(2);
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) })
}

/// Nobody who waits for the verdict is left: not even the processor's time should go into it then.
fn leave_when_orphaned() -> std::io::Result<()> {
    let parent = getppid();
    let watching = move || {
        while getppid() == parent {
            std::thread::sleep(LOOKING);
        }
        std::process::exit(ORPHANED);
    };
    std::thread::Builder::new().name("orphan".to_owned()).stack_size(64 << 10).spawn(watching).map(drop)
}

/// What this process takes, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    /// Address space.
    space: u64,
    /// Memory.
    held: u64,
    /// The most memory that it ever took.
    most: u64,
}

impl Memory {
    fn now() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn read(status: &str) -> Option<Self> {
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { space: figure("VmSize")?, held: figure("VmRSS")?, most: figure("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_memory_is_used() {
        // Other tests of this process take memory and give it back meanwhile: what holds whatever they do is asked for.
        let taken = vec![1_u8; 64 << 20];
        let now = Memory::now().unwrap();
        assert!(now.held >= 64 << 20 && now.most >= now.held && now.space >= now.held, "{now:?}");
        drop(taken);
    }

    #[test]
    fn what_the_kernel_says_is_read_in_bytes() {
        let status = "Name:\texplaind\nVmPeak:\t  900 kB\nVmSize:\t  800 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n";
        let memory = Memory::read(status).unwrap();
        assert_eq!((memory.space, memory.held, memory.most), (800 << 10, 200 << 10, 300 << 10));
        assert!(Memory::read("VmSize:\t800 kB\nVmRSS:\t200 kB\n").is_none());
    }

    #[test]
    fn lines_come_back_as_they_were_said() {
        let refused = Refused::new(Check::Golden, "so");
        for (said, written) in [
            (Said::Checking(Check::Golden), r#"{"checking":"golden"}"#),
            (Said::Refused(refused), r#"{"refused":{"check":"golden","reason":"so"}}"#),
        ] {
            let line = serde_json::to_string(&said).unwrap();
            assert_eq!(line, written);
            let again: Said = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), written);
        }
    }
}
