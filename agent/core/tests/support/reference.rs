//! The reference models of `tests/models`, with the answers and Shapley values that they must give.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use explaind_core::model::Model;
use explaind_core::model::pack::{self, PackInputs};
use serde_json::Value;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// One reference model.
pub(crate) struct Reference {
    pub(crate) name: &'static str,
    pub(crate) onnx: Vec<u8>,
    pub(crate) golden: Value,
}

impl Reference {
    pub(crate) fn open(name: &'static str) -> Outcome<Self> {
        let golden = serde_json::from_slice(&read(name, "golden.json")?)?;
        Ok(Self { name, onnx: read(name, "model.onnx")?, golden })
    }

    /// The model as a bundle gives it; a classifier where its name says so.
    pub(crate) fn model(&self) -> Outcome<Model> {
        let mut manifest = format!("schema = 1\nname = \"{}\"\nversion = \"1\"\n", self.name);
        if let Some(steps) = self.golden["window"][0].as_u64() {
            write!(manifest, "[input]\nkind = \"window\"\nsteps = {steps}\n")?;
        }
        for feature in self.features() {
            writeln!(manifest, "[[feature]]\nname = \"{feature}\"")?;
        }
        let kind = match self.name.starts_with("ai4i") {
            true => "kind = \"classification\"\nlabels = [\"healthy\", \"failure\"]",
            false => "kind = \"regression\"",
        };
        writeln!(manifest, "[output]\ntensor = {}\n{kind}", self.golden["explained"]["output"])?;
        let reference = read(self.name, "background.csv")?;
        let files = pack::create(PackInputs {
            model: self.onnx.clone(),
            manifest,
            reference,
            golden: None,
            calibration: None,
        })?;
        Ok(Model::load(&files)?)
    }

    pub(crate) fn features(&self) -> Vec<&str> {
        self.golden["features"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The golden rows, each with its inputs as the model takes them.
    pub(crate) fn rows(&self) -> Vec<(Vec<f32>, &Value)> {
        let rows = self.golden["rows"].as_array().into_iter().flatten();
        rows.map(|row| (numbers(&row["x"]).into_iter().map(|x| x as f32).collect(), row)).collect()
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn read(name: &str, file: &str) -> Outcome<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/models").join(name).join(file);
    #[expect(clippy::disallowed_methods, reason = "the wall is the core's, its tests stand outside")]
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}
