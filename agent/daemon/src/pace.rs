//! How fast each model runs on this machine, measured once and kept, so that the time a manifest grants an explanation
//! becomes the same number of model evaluations after every start.
//!
//! `pace.json` in the state folder holds rows per second by the digest of `model.onnx`, for the models that were asked about
//! last, and on which host that is: another machine, and another version of this program, measure anew. So does removing
//! it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use explaind_core::explain::Budget;
use explaind_core::model::Model;
use serde::{Deserialize, Serialize};

/// The file's name.
const FILE: &str = "pace.json";
/// A larger file is none of ours.
const MOST_BYTES: u64 = 1 << 20;
/// Models whose pace is kept: those that run, those before them, and what was tried beside them.
const MOST_MODELS: usize = 32;
/// Measuring one model takes about twice so long, or two rows where one takes longer: a busy moment must not count for ever.
const LENGTH: Duration = Duration::from_millis(200);
/// Rows that are asked about at once, as explanations do; fewer of a model so slow that they would take longer than that.
const BATCH: usize = 256;
/// Other rows per second than these were never measured.
const LIKELY: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;
/// What commands without a state folder assume, in rows per second, so that their answers are the same everywhere; so
/// do models that cannot be measured.
const ASSUMED: u64 = 100_000;

/// What a search for counterfactuals may take, asked in batches; one row at a time, as it mostly asks, it takes a few
/// times as long.
const SEARCH: Duration = Duration::from_millis(20);
/// Model evaluations that a search is worth,
const WORTH: u64 = 256;
/// even where they take longer, but for no more than this: the next alert waits for it.
const LONGEST: Duration = Duration::from_millis(100);
/// Fewest and most of a search: the present row, a few settings of a slow model, and what verifies them.
const SEARCHED: (u64, u64) = (16, 16_384);

/// What may be asked of one model, in evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// For an explanation.
    pub(crate) explanation: Budget,
    /// For a search for counterfactuals.
    pub(crate) search: u64,
}

/// What a pace holds for: this machine, and this version of the program.
pub(crate) struct Host<'a> {
    /// As it is kept.
    pub(crate) described: String,
    /// Whether a host so described is this one.
    pub(crate) is: &'a dyn Fn(&str) -> bool,
}

/// `pace.json`
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    host: String,
    rows_per_second: BTreeMap<String, u64>,
    /// The digests, in the order in which they were last asked about; those that are not there come before.
    #[serde(default)]
    order: Vec<String>,
}

/// The paces that are known. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Paces(Arc<Known>);

struct Known {
    path: PathBuf,
    /// Locked while a model is measured: two at once would slow each other down.
    kept: Mutex<Kept>,
}

impl Paces {
    /// Those that are kept in `state_dir` and hold for this host. A file that cannot be read or written costs
    /// measurements, and says so in the log.
    pub(crate) fn open(state_dir: &Path, host: &Host<'_>) -> Self {
        let path = state_dir.join(FILE);
        let mut kept = read(&path);
        if !(host.is)(&kept.host) {
            kept = Kept { host: host.described.clone(), ..Kept::default() };
        }
        kept.tidy();
        Self(Arc::new(Known { path, kept: Mutex::new(kept) }))
    }

    /// What may be asked of a model: at once where its pace is known, else after it was measured and that was kept, which
    /// takes about half a second or the time of two rows. Others wait meanwhile.
    pub(crate) fn allowance(&self, name: &str, model: &Model) -> Allowance {
        let Known { path, kept } = &*self.0;
        let digest = model.model_digest().to_string();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = kept.known(&digest) {
            return allowance(model, pace);
        }
        let Some(pace) = measure(model) else {
            // Not kept: it is tried again with the next start.
            tracing::warn!(model = name, "the model's pace could not be measured; one is assumed");
            return assumed(model);
        };
        kept.note(digest, pace);
        if let Err(error) = write(path, &kept) {
            let path = path.display();
            tracing::warn!(%path, %error, "a model's pace could not be kept; it is measured at each start");
        }
        allowance(model, pace)
    }
}

impl Kept {
    /// A model's pace; it counts as asked about last.
    fn known(&mut self, digest: &str) -> Option<u64> {
        let pace = *self.rows_per_second.get(digest)?;
        self.order.retain(|other| other != digest);
        self.order.push(digest.to_owned());
        Some(pace)
    }

    /// Notes what was measured; beyond [`MOST_MODELS`] the model goes that was asked about longest ago.
    fn note(&mut self, digest: String, pace: u64) {
        self.rows_per_second.insert(digest.clone(), pace);
        self.order.retain(|other| *other != digest);
        self.order.push(digest);
        self.tidy();
    }

    /// Makes of what a file holds, or of one model too many, what is kept: each once in the order, and no more than may be.
    fn tidy(&mut self) {
        self.rows_per_second.retain(|_, pace| LIKELY.contains(pace));
        let mut newest: Vec<String> = Vec::new();
        let named = std::mem::take(&mut self.order);
        let others = self.rows_per_second.keys().filter(|digest| !named.contains(digest)).rev();
        for digest in named.iter().rev().chain(others) {
            if newest.len() < MOST_MODELS && self.rows_per_second.contains_key(digest) && !newest.contains(digest) {
                newest.push(digest.clone());
            }
        }
        newest.reverse();
        self.rows_per_second.retain(|digest, _| newest.contains(digest));
        self.order = newest;
    }
}

/// The allowance of a model for commands that run without a state folder.
pub(crate) fn assumed(model: &Model) -> Allowance {
    allowance(model, ASSUMED)
}

fn allowance(model: &Model, pace: u64) -> Allowance {
    let within = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).saturating_mul(pace) / 1_000_000;
    let (fewest, most) = SEARCHED;
    Allowance {
        explanation: Budget { evaluations: within(model.manifest().explanation.budget) },
        search: within(SEARCH).max(WORTH.min(within(LONGEST))).clamp(fewest, most),
    }
}

/// Rows per second: the fastest of several batches, which is what the model takes when nothing else interferes. `None`
/// when it fails on its own background.
fn measure(model: &Model) -> Option<u64> {
    let rows: Vec<f32> = model.background().rows.iter().copied().cycle().take(BATCH * model.width()).collect();
    let ask =
        |count: usize| fastest(|| rows.get(..count * model.width()).is_some_and(|rows| model.explained(rows).is_ok()));
    let count =
        ask(1).map(|row| (LENGTH.as_secs_f64() / row.as_secs_f64().max(1e-9)).clamp(1.0, BATCH as f64) as usize);
    let found = count.and_then(|count| Some((count, ask(count)?)));
    found.map(|(count, fastest)| (count as f64 / fastest.as_secs_f64().max(1e-9)).max(1.0) as u64)
}

/// The shortest time that `work` takes, tried for [`LENGTH`] and at least once; `None` when it says that it failed, or
/// panics, as a library may on a model it cannot run.
fn fastest(work: impl Fn() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    let mut fastest = Duration::MAX;
    loop {
        let start = Instant::now();
        if !catch_unwind(AssertUnwindSafe(&work)).unwrap_or(false) {
            return None;
        }
        fastest = fastest.min(start.elapsed());
        if begun.elapsed() >= LENGTH {
            return Some(fastest);
        }
    }
}

fn read(path: &Path) -> Kept {
    let small = std::fs::metadata(path).is_ok_and(|found| found.len() <= MOST_BYTES);
    let text = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Writes beside the goal, to the disk, and renames, so that the file is whole or not there even after a power cut.
fn write(path: &Path, kept: &Kept) -> std::io::Result<()> {
    let draft = path.with_extension("json.part");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use explaind_core::model::pack::{self, PackInputs};

    use super::*;

    fn model() -> Model {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/ai4i-mlp");
        let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
        let features = [
            "type",
            "air_temperature_k",
            "process_temperature_k",
            "rotational_speed_rpm",
            "torque_nm",
            "tool_wear_min",
        ];
        let features = features.map(|name| format!("[[feature]]\nname = \"{name}\"\n")).concat();
        let manifest = format!(
            "schema = 1\nname = \"m\"\nversion = \"1\"\n{features}[output]\nkind = \"classification\"\n\
             tensor = \"probability\"\n[explanation]\nbudget = \"50ms\"\n"
        );
        let inputs = PackInputs {
            model: read("model.onnx"),
            manifest,
            reference: read("background.csv"),
            golden: None,
            calibration: None,
        };
        Model::load(&pack::create(inputs).unwrap()).unwrap()
    }

    #[test]
    fn what_was_measured_once_holds_after_every_start() {
        let folder = tempfile::tempdir().unwrap();
        let model = model();
        let host = Host { described: "here".to_owned(), is: &|host| host == "here" };
        let started = || Paces::open(folder.path(), &host).allowance("m", &model);
        let first = started();
        assert!(first.explanation.evaluations > 0);
        assert_eq!(started(), first);
        // What is kept decides, not the clock.
        let digest = model.model_digest();
        let keep = |host: &str, pace: u64| {
            let kept = format!("{{\"host\": \"{host}\", \"rows_per_second\": {{\"{digest}\": {pace}}}}}");
            std::fs::write(folder.path().join(FILE), kept).unwrap();
        };
        keep("here", 1000);
        let slow = Allowance { explanation: Budget { evaluations: 50 }, search: 100 };
        assert_eq!(started(), slow);
        // Unless it was measured elsewhere, or never.
        for (host, pace) in [("elsewhere", 1000), ("here", 0), ("here", u64::MAX)] {
            keep(host, pace);
            let anew = started();
            assert!(anew != slow && (1..1_000_000_000).contains(&anew.explanation.evaluations), "{anew:?}");
            assert_eq!(started(), anew);
        }
        for text in ["damaged".to_owned(), format!("{{\"{digest}\": 1000}}")] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            assert!(started() != slow);
        }
        assert_eq!(assumed(&model), Allowance { explanation: Budget { evaluations: 5_000 }, search: 2_000 });
    }

    #[test]
    fn the_models_asked_about_last_are_kept_and_no_more() {
        let digests = |kept: &Kept| kept.rows_per_second.keys().cloned().collect::<Vec<_>>();
        let mut kept = Kept::default();
        for n in 0..MOST_MODELS {
            kept.note(format!("{n:02}"), 1);
        }
        assert_eq!(kept.known("00"), Some(1));
        kept.note("new".to_owned(), 1);
        assert_eq!((kept.rows_per_second.len(), kept.known("01"), kept.known("00")), (MOST_MODELS, None, Some(1)));

        // Whatever a file says, this is what is made of it; one of an earlier version has no order.
        let paces = |n: usize| (0..n).map(|n| (format!("{n:03}"), 7)).collect();
        let order = ["001", "gone", "001", "000"].map(ToOwned::to_owned).to_vec();
        let mut read = Kept { host: "here".to_owned(), rows_per_second: paces(100), order };
        read.tidy();
        assert_eq!(digests(&read).len(), MOST_MODELS);
        assert_eq!(read.order[MOST_MODELS - 2..], ["001", "000"]);
        assert!(read.rows_per_second.contains_key("000"));
        let old: Kept = serde_json::from_str(r#"{"host": "here", "rows_per_second": {"a": 5}}"#).unwrap();
        assert_eq!((old.rows_per_second["a"], old.order.len()), (5, 0));
    }

    #[test]
    fn a_model_that_fails_has_no_pace() {
        assert_eq!(fastest(|| false), None);
        assert_eq!(fastest(|| panic!("a shape that nobody thought of")), None);
        assert!(fastest(|| true).is_some());
    }
}
