//! The reference models of `tests/models`: what onnxruntime answered for them must come out here.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use explaind_core::domain::prediction::Space;
use explaind_core::model::pack::{self, PackInputs};
use explaind_core::model::tree::Node;
use explaind_core::model::{Files, Model, TreeSum};
use serde_json::Value;

/// A reference model's folder.
struct Reference {
    name: &'static str,
    golden: Value,
}

impl Reference {
    fn open(name: &'static str) -> Self {
        let golden = serde_json::from_slice(&read(name, "golden.json")).expect("golden.json is JSON");
        Self { name, golden }
    }

    fn features(&self) -> Vec<&str> {
        self.golden["features"].as_array().expect("features").iter().filter_map(Value::as_str).collect()
    }

    fn tensor(&self) -> &str {
        self.golden["explained"]["output"].as_str().expect("a tensor")
    }

    fn rows(&self) -> &[Value] {
        self.golden["rows"].as_array().expect("rows")
    }

    fn manifest(&self, output: &str) -> String {
        let mut text = format!("schema = 1\nname = \"{}\"\nversion = \"1\"\n", self.name);
        for feature in self.features() {
            writeln!(text, "[[feature]]\nname = \"{feature}\"").expect("strings take text");
        }
        write!(text, "[output]\ntensor = \"{}\"\n{output}", self.tensor()).expect("strings take text");
        text
    }

    /// The golden rows as the trainer would hand them over.
    fn golden_csv(&self) -> String {
        let mut text = self.features().join(",");
        let columns = numbers(&self.rows()[0]["outputs"][self.tensor()]).len();
        (0..columns).for_each(|column| write!(text, ",output:{}[{column}]", self.tensor()).expect("strings take text"));
        text.push('\n');
        for row in self.rows() {
            let cells: Vec<String> = numbers(&row["x"])
                .into_iter()
                .chain(numbers(&row["outputs"][self.tensor()]))
                .map(|x| x.to_string())
                .collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    fn bundle(&self, output: &str) -> Files {
        pack::create(PackInputs {
            model: read(self.name, "model.onnx"),
            manifest: self.manifest(output),
            reference: read(self.name, "background.csv"),
            golden: Some(self.golden_csv().into_bytes()),
            calibration: None,
        })
        .expect("a sound bundle")
    }

    fn model(&self, output: &str) -> Model {
        Model::load(&self.bundle(output)).expect("the bundle loads")
    }
}

/// A file of the repository's reference models.
fn read(name: &str, file: &str) -> Vec<u8> {
    macro_rules! model {
        ($name:literal) => {
            match file {
                "model.onnx" => &include_bytes!(concat!("../../../tests/models/", $name, "/model.onnx"))[..],
                "background.csv" => &include_bytes!(concat!("../../../tests/models/", $name, "/background.csv"))[..],
                _ => &include_bytes!(concat!("../../../tests/models/", $name, "/golden.json"))[..],
            }
        };
    }
    match name {
        "ai4i-gbt" => model!("ai4i-gbt"),
        "ai4i-forest" => model!("ai4i-forest"),
        "ai4i-mlp" => model!("ai4i-mlp"),
        "cmapss-rul-lgbm" => model!("cmapss-rul-lgbm"),
        _ => panic!("there is no reference model {name}"),
    }
    .to_vec()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
}

fn row_of(value: &Value) -> Vec<f32> {
    numbers(&value["x"]).into_iter().map(|x| x as f32).collect()
}

/// Adds up a sum of trees the plain way.
fn evaluate(sum: &TreeSum, row: &[f32]) -> f64 {
    let tree = |nodes: &[Node]| {
        let mut at = 0;
        loop {
            match &nodes[at] {
                Node::Leaf(value) => return *value,
                Node::Split(split) => {
                    at = if split.goes_yes(row[split.feature as usize]) { split.yes } else { split.no } as usize
                }
            }
        }
    };
    sum.base + sum.trees.iter().map(|t| tree(&t.nodes)).sum::<f64>()
}

const CLASSIFIER: &str = "kind = \"classification\"\nlabels = [\"healthy\", \"failure\"]\n";

#[test]
fn golden_rows_come_out_as_onnxruntime_gave_them() {
    let references = [
        ("ai4i-gbt", CLASSIFIER),
        ("ai4i-forest", CLASSIFIER),
        ("ai4i-mlp", CLASSIFIER),
        ("cmapss-rul-lgbm", "kind = \"regression\"\n"),
    ];
    for (name, output) in references {
        let reference = Reference::open(name);
        let verified = reference.model(output).verify().expect("golden rows hold");
        assert_eq!(verified.rows, reference.rows().len(), "{name}");
        assert_eq!(verified.origin.as_deref(), Some("trainer"), "{name}");
        println!("{name}: largest error {:e}, allowed {:e}", verified.largest_error, verified.tolerance);
    }
}

#[test]
fn predictions_carry_value_label_and_probability() {
    for name in ["ai4i-gbt", "ai4i-forest"] {
        let reference = Reference::open(name);
        let model = reference.model(CLASSIFIER);
        for row in reference.rows() {
            let output = model.predict(&row_of(row)).expect("an answer").output;
            let expected = numbers(&row["outputs"]["probabilities"])[1];
            assert!((output.value - expected).abs() <= 1e-6, "{name}: {} for {expected}", output.value);
            assert_eq!(output.probability, Some(output.value), "{name}");
            let label = if row["outputs"]["label"] == 1 { "failure" } else { "healthy" };
            assert_eq!(output.label.as_deref(), Some(label), "{name}");
        }
    }
    let output = Reference::open("cmapss-rul-lgbm").model("kind = \"regression\"\n");
    let row = output.background().iter().next().expect("a row").to_vec();
    let output = output.predict(&row).expect("an answer").output;
    assert_eq!((output.label, output.probability), (None, None));
}

#[test]
fn the_explained_quantity_is_a_sum_of_trees_wherever_it_can_be() {
    let cases = [
        ("ai4i-gbt", CLASSIFIER, Space::Margin, true),
        ("ai4i-gbt", "kind = \"classification\"\nspace = \"probability\"\n", Space::Probability, false),
        ("ai4i-forest", CLASSIFIER, Space::Probability, true),
        ("ai4i-mlp", CLASSIFIER, Space::Probability, false),
        ("cmapss-rul-lgbm", "kind = \"regression\"\n", Space::Value, true),
    ];
    for (name, output, space, summed) in cases {
        let reference = Reference::open(name);
        let model = reference.model(output);
        assert_eq!(model.space(), space, "{name}");
        assert_eq!(model.trees().is_some(), summed, "{name}");
        let explained = model.explained(&model.background().rows).expect("answers");
        assert_eq!(explained.len(), model.background().len());
        for (row, explained) in model.background().iter().zip(&explained) {
            if let Some(trees) = model.trees() {
                let sum = evaluate(trees, row);
                assert!((sum - explained).abs() <= 1e-9 * sum.abs().max(1.0), "{name}: {sum} and {explained}");
            }
        }
        let mean = explained.iter().sum::<f64>() / explained.len() as f64;
        let base = if space == Space::Margin { "base_value_margin" } else { "base_value" };
        let base = reference.golden[base].as_f64().expect("a base value");
        assert!((mean - base).abs() <= 1e-6 * base.abs().max(1.0), "{name}: {mean} for {base}");
    }
}

#[test]
fn a_margin_is_the_log_odds_of_its_probability() {
    let reference = Reference::open("ai4i-gbt");
    let model = reference.model(CLASSIFIER);
    for row in reference.rows() {
        let row = row_of(row);
        let margin = model.explained(&row).expect("an answer")[0];
        let probability = model.predict(&row).expect("an answer").output.value;
        assert!((1.0 / (1.0 + (-margin).exp()) - probability).abs() < 1e-12);
    }
}
