//! Measures one model on request, so that a script can measure a peer on the same rows in the same minute.
//!
//!     stopwatch FOLDER TENSOR classification|regression
//!
//! `FOLDER` holds `model.onnx`, `background.csv` and `rows.f32` (flat rows, little-endian); columns `name@0`, `name@1`, …
//! make a window. Each line on stdin asks for one thing and gets one line of JSON. `prepare`, `predict`, `explain`,
//! `both` (a prediction, and its explanation with what was predicted at hand) and `attribute` (the attributions alone) give
//! seconds: all but the first per row, `predict` and `attribute` with a number behind them for so many rows at once; `bytes` is the size of the tables. Of the first 20 rows, or as many as there are, `outputs` are the predictions,
//! `values` the attributions, and `gaps` how far these and the base value are from adding up. `estimate N` explains each
//! row from `N` evaluations at most and gives the seconds for it, its attributions, their standard errors, and the
//! evaluations; how attributions were found, `method` says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use explaind_core::domain::explanation::Explanation;
use explaind_core::explain::cells::TreeTables;
use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::Model;
use explaind_core::model::pack::{self, PackInputs};

/// What one estimate may cost; sums of trees need none.
const BUDGET: Budget = Budget { evaluations: 2_000 };

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rows whose figures are compared with those of others.
const COMPARED: usize = 20;
/// Rows that are measured one at a time per request.
const SINGLE: usize = 500;

struct Stopwatch {
    model: Arc<Model>,
    explainer: Explainer,
    /// By their budgets.
    estimators: BTreeMap<u64, Explainer>,
    tables: Option<TreeTables>,
    rows: Vec<f32>,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, tensor, kind] = arguments.as_slice() else {
        return Err("usage: stopwatch FOLDER TENSOR classification|regression".into());
    };
    let mut stopwatch = Stopwatch::new(Path::new(folder), tensor, kind)?;
    for line in io::stdin().lock().lines() {
        let answer = stopwatch.answer(&line?)?;
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

impl Stopwatch {
    fn new(folder: &Path, tensor: &str, kind: &str) -> Outcome<Self> {
        let background = read(&folder.join("background.csv"))?;
        let mut manifest = "schema = 1\nname = \"measured\"\nversion = \"1\"\n".to_owned();
        let header = String::from_utf8_lossy(&background).lines().next().unwrap_or("").to_owned();
        let columns: Vec<&str> = header.split(',').collect();
        let features: Vec<&str> = match columns.iter().filter_map(|column| column.strip_suffix("@0")).collect() {
            window if Vec::is_empty(&window) => columns,
            window => {
                write!(manifest, "[input]\nkind = \"window\"\nsteps = {}\n", columns.len() / window.len())?;
                window
            }
        };
        for name in features {
            writeln!(manifest, "[[feature]]\nname = \"{name}\"")?;
        }
        let labels = if kind == "classification" { "labels = [\"no\", \"yes\"]\n" } else { "" };
        writeln!(manifest, "[output]\ntensor = \"{tensor}\"\nkind = \"{kind}\"\n{labels}")?;
        let model = read(&folder.join("model.onnx"))?;
        let files =
            pack::create(PackInputs { model, manifest, reference: background, golden: None, calibration: None })?;
        let model = Arc::new(Model::load(&files)?);
        let bytes = read(&folder.join("rows.f32"))?;
        let rows = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let explainer = Explainer::new(Arc::clone(&model), BUDGET)?;
        let tables = model.trees().map(|trees| TreeTables::new(trees, &model.background().rows)).transpose()?;
        Ok(Self { model, explainer, estimators: BTreeMap::new(), tables, rows })
    }

    fn answer(&mut self, question: &str) -> Outcome<serde_json::Value> {
        if let Some(evaluations) = question.strip_prefix("estimate ") {
            return self.estimate(evaluations.parse()?);
        }
        let tables = || self.tables.as_ref().ok_or("not a sum of trees");
        let (verb, count) = question.split_once(' ').map_or((question, None), |(verb, count)| (verb, Some(count)));
        let many = match count {
            Some(count) => self.rows.get(..count.parse::<usize>()? * self.model.width()),
            None => None,
        };
        let time = match (verb, many) {
            ("prepare", _) => {
                let start = now();
                drop(black_box(Explainer::new(Arc::clone(&self.model), BUDGET)?));
                now() - start
            }
            ("predict", None) => self.median(|row| Ok(self.model.predict(row)?))?,
            ("explain", None) => self.median(|row| Ok(self.explainer.explain(row, None)?))?,
            ("both", None) => self.median(|row| {
                let answer = self.model.predict(row)?;
                let explanation = self.explainer.explain(row, Some(answer.explained))?;
                Ok((answer, explanation))
            })?,
            ("attribute", None) => {
                let tables = tables()?;
                self.median(|row| Ok(tables.attributions(row)?))?
            }
            ("predict", Some(rows)) => {
                let start = now();
                drop(black_box(self.model.outputs(black_box(rows))?));
                now() - start
            }
            ("attribute", Some(rows)) => {
                let tables = tables()?;
                let start = now();
                drop(black_box(tables.attributions_of_rows(black_box(rows))?));
                now() - start
            }
            ("method", _) => {
                let row = self.rows.get(..self.model.width()).ok_or("there is no row")?;
                return Ok(format!("{:?}", self.explainer.explain(row, None)?.method).into());
            }
            ("bytes", _) => return Ok(tables()?.bytes().into()),
            ("outputs", _) => return Ok(self.model.outputs(self.first_rows())?.into()),
            ("values" | "gaps", _) => {
                let rows = self.first_rows().chunks_exact(self.model.width());
                let explained = rows.map(|row| Ok(self.explainer.explain(row, None)?)).collect::<Outcome<Vec<_>>>()?;
                if verb == "gaps" {
                    return Ok(explained.iter().map(|explanation| explanation.additivity_gap).collect());
                }
                let values = |explanation: &Explanation| -> serde_json::Value {
                    explanation.attributions.iter().map(|attribution| attribution.value).collect()
                };
                return Ok(explained.iter().map(values).collect());
            }
            _ => return Err(format!("{question} is not known").into()),
        };
        Ok(time.as_secs_f64().into())
    }

    fn first_rows(&self) -> &[f32] {
        &self.rows[..self.rows.len().min(COMPARED * self.model.width())]
    }

    /// What each row takes and gets from so many evaluations.
    fn estimate(&mut self, evaluations: u64) -> Outcome<serde_json::Value> {
        let explainer = match self.estimators.entry(evaluations) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Explainer::new(Arc::clone(&self.model), Budget { evaluations })?),
        };
        let mut answers = Vec::new();
        for row in self.rows.chunks_exact(self.model.width()) {
            let start = now();
            let explanation = black_box(explainer.explain(black_box(row), None)?);
            let seconds = (now() - start).as_secs_f64();
            let (values, standard_errors): (Vec<f64>, Vec<f64>) =
                explanation.attributions.iter().map(|share| (share.value, share.standard_error)).unzip();
            answers.push(serde_json::json!({
                "seconds": seconds,
                "values": values,
                "standard_errors": standard_errors,
                "evaluations": explanation.evaluations,
            }));
        }
        Ok(answers.into())
    }

    /// The median over rows of what a call takes.
    fn median<T>(&self, mut call: impl FnMut(&[f32]) -> Outcome<T>) -> Outcome<Duration> {
        let mut times = Vec::with_capacity(SINGLE);
        for row in self.rows.chunks_exact(self.model.width()).take(SINGLE) {
            let start = now();
            let answer = black_box(call(black_box(row))?);
            times.push(now() - start);
            drop(answer);
        }
        times.sort_unstable();
        Ok(times.get(times.len() / 2).copied().unwrap_or_default())
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "the wall is the core's, this stands outside")]
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "measuring time is what this is for")]
    Instant::now()
}
