//! A bundle is believed once a process of its own has read it, run it and explained with it, on this very machine.
//!
//! In a process of its own, because a model is a program that somebody else wrote: one that takes all memory, never comes to an
//! end or breaks what runs it takes only that process with it. [`checks`](super::checks) are made there, in
//! [`child`](super::child); [`supervise`](super::supervise) starts it, bounds it and makes sense of its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::supervise;

/// The longest reason that is told, in characters.
const LONGEST_REASON: usize = 600;

/// What a bundle must fulfil to run here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demands {
    /// Public keys of minisign, as text, of which one must have signed it; empty: unsigned ones are accepted.
    pub(crate) keys: Vec<String>,
    /// What this machine's processor is called (`uname -m`).
    pub(crate) hardware: String,
    /// Today, as `YYYY-MM-DD`; absent while the clock is not known to be right: then nothing expires.
    pub(crate) today: Option<String>,
    /// Where it is to run.
    pub(crate) assets: Vec<AssetDemand>,
    /// What checking it may take beside the program itself, in bytes of address space, which is never less than memory.
    pub(crate) memory: u64,
    /// What all of it may take, on the clock.
    pub(crate) time: Duration,
    /// What one prediction may take of a processor.
    pub(crate) latency: Duration,
}

/// One machine that a model is to watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssetDemand {
    /// Its name.
    pub(crate) id: String,
    /// The features that have a signal, with the signal's unit where one is stated.
    pub(crate) inputs: BTreeMap<String, Option<String>>,
    /// How often it is predicted, if at an interval.
    pub(crate) every: Option<Duration>,
}

/// What was found out of a bundle that passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The digest that the whole bundle is known by. Whoever loads it afterwards must find the same.
    pub(crate) identity: String,
    /// The manifest's name.
    pub(crate) name: String,
    /// The manifest's version.
    pub(crate) version: String,
    /// Digest of `model.onnx`, in hexadecimal digits.
    pub(crate) model_digest: String,
    /// Digest of `background.csv`.
    pub(crate) background_digest: String,
    /// What was signed beside it; absent where no key was asked for.
    pub(crate) signed: Option<String>,
    /// The last day on which it may run.
    pub(crate) expires: Option<String>,
    /// What 95 of 100 predictions took at most, of a processor.
    pub(crate) latency: Duration,
    /// The most memory that loading, running and explaining took, in bytes, beside the program itself.
    pub(crate) peak_memory: u64,
    /// What the slowest of the explanations took.
    pub(crate) explanation: Duration,
    /// How they were found.
    pub(crate) method: String,
    /// Rows that the model was asked about for the slowest.
    pub(crate) evaluations: u64,
    /// Golden rows reproduced.
    pub(crate) golden_rows: usize,
    /// The largest difference from what they should give.
    pub(crate) largest_error: f64,
}

/// Why a bundle is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The check that it did not pass.
    pub(crate) check: Check,
    /// A sentence.
    pub(crate) reason: String,
}

impl Refused {
    pub(super) fn new(check: Check, reason: impl Into<String>) -> Self {
        // What a bundle says of itself finds its way into reasons: a bound on how much, and on one line.
        let reason = reason.into().split_whitespace().collect::<Vec<_>>().join(" ");
        let end = reason.char_indices().nth(LONGEST_REASON);
        Self { check, reason: end.map_or(reason.clone(), |(end, _)| format!("{}…", &reason[..end])) }
    }
}

/// What is looked at, in this order but for the last four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// The folder can be read: plain files, not too many and not too large.
    Files,
    /// Somebody with one of the keys signed it.
    Signature,
    /// Every file is what `SHA256SUMS` says.
    Digests,
    /// Manifest, background, golden rows and the rest can be read, and fit the model.
    Schema,
    /// The model can be run at all.
    Operators,
    /// Its card allows this processor.
    Hardware,
    /// Its card allows these assets.
    Asset,
    /// Its card allows this day.
    Expiry,
    /// Every feature has a signal in its unit, and every signal a feature.
    Features,
    /// A prediction is quick enough.
    Latency,
    /// What it answers for its own background are numbers.
    Finite,
    /// Its golden rows come out as they should.
    Golden,
    /// What it says can be explained, and the explanations add up.
    Explanation,
    /// It makes do with the memory that there is for it.
    Memory,
    /// All of this comes to an end in time.
    Time,
    /// It does not break what runs it.
    Crash,
    /// None of it was found out, and the bundle is not to blame: to be tried again.
    Unchecked,
}

impl Check {
    /// As it is recorded and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Signature => "signature",
            Self::Digests => "digests",
            Self::Schema => "schema",
            Self::Operators => "operators",
            Self::Hardware => "hardware",
            Self::Asset => "asset",
            Self::Expiry => "expiry",
            Self::Features => "features",
            Self::Latency => "latency",
            Self::Finite => "finite",
            Self::Golden => "golden",
            Self::Explanation => "explanation",
            Self::Memory => "memory",
            Self::Time => "time",
            Self::Crash => "crash",
            Self::Unchecked => "unchecked",
        }
    }

    /// What is being done while it is looked at: "it was ...".
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Files => "being read",
            Self::Signature | Self::Digests => "having its digests and its signature looked at",
            Self::Schema | Self::Operators => "being loaded",
            Self::Hardware | Self::Asset | Self::Expiry | Self::Features => "being held against the configuration",
            Self::Latency => "predicting single rows",
            Self::Finite => "predicting its background",
            Self::Golden => "predicting its golden rows",
            Self::Explanation => "explaining a few of its rows",
            Self::Memory | Self::Time | Self::Crash | Self::Unchecked => "being checked",
        }
    }
}

/// Checks the bundle in a folder with `program`, which is this program: `/proc/self/exe` stays so whatever happens to the file.
///
/// Whoever gives up waiting ends the check, and so does `stop`.
///
/// # Errors
/// The first check that it did not pass; [`Check::Unchecked`] where nothing was found out.
pub(crate) async fn verify(
    program: &Path,
    folder: &Path,
    demands: &Demands,
    stop: &CancellationToken,
) -> Result<Report, Refused> {
    let given_up = stop.child_token();
    let _waiting = given_up.clone().drop_guard();
    let (command, demands) = (supervise::command(program, folder), demands.clone());
    tokio::task::spawn_blocking(move || supervise::run(command, &demands, &|| given_up.is_cancelled()))
        .await
        .unwrap_or_else(|_| Err(Refused::new(Check::Unchecked, "what watches over the check failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(Refused::new(Check::Schema, "one\n two\t three").reason, "one two three");
        let long = Refused::new(Check::Schema, "ä".repeat(10_000)).reason;
        assert_eq!(long.chars().count(), LONGEST_REASON + 1);
    }

    #[test]
    fn a_check_is_written_as_it_is_shown() {
        for check in [Check::Files, Check::Golden, Check::Unchecked] {
            assert_eq!(serde_json::to_string(&check).unwrap(), format!("\"{}\"", check.as_str()));
        }
    }
}
