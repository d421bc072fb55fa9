//! Autoencoders: the score, each sensor's part of it, and its Shapley values, against answers found by enumerating all
//! coalitions through onnxruntime (`tests/models/autoencoders.py`).

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;

use explaind_core::domain::explanation::Method;
use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::pack::{self, PackInputs};
use explaind_core::model::{BundleError, Model};
use serde_json::Value;

const LINEAR: &[u8] = include_bytes!("../../../tests/models/autoencoders/linear.onnx");
const BENT: &[u8] = include_bytes!("../../../tests/models/autoencoders/bent.onnx");
const GOLDEN: &str = include_str!("../../../tests/models/autoencoders/golden.json");
const BUDGET: Budget = Budget { evaluations: 4_000 };

fn golden() -> Value {
    serde_json::from_str(GOLDEN).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// A bundle around one of the models, over windows of `steps` rows where that is more than one.
fn model(onnx: &[u8], rows: &Value, steps: usize, output: &str) -> Result<Model, BundleError> {
    let golden = golden();
    let sensors: Vec<&str> = golden["features"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let mut manifest = "schema = 1\nname = \"autoencoder\"\nversion = \"1\"\n".to_owned();
    if steps > 1 {
        write!(manifest, "[input]\nkind = \"window\"\nsteps = {steps}\n").expect("strings take text");
    }
    for name in &sensors {
        writeln!(manifest, "[[feature]]\nname = \"{name}\"").expect("strings take text");
    }
    write!(manifest, "[output]\ntensor = \"y\"\n{output}\n").expect("strings take text");
    let columns = (0..steps).flat_map(|step| sensors.iter().map(move |name| (name, step)));
    let columns: Vec<String> =
        columns.map(|(name, step)| if steps > 1 { format!("{name}@{step}") } else { (*name).to_string() }).collect();
    let mut reference = columns.join(",") + "\n";
    for row in rows["background"].as_array().expect("rows") {
        let cells: Vec<String> = numbers(row).iter().map(ToString::to_string).collect();
        reference += &(cells.join(",") + "\n");
    }
    let inputs = PackInputs {
        model: onnx.to_vec(),
        manifest,
        reference: reference.into_bytes(),
        golden: None,
        calibration: None,
    };
    Model::load(&pack::create(inputs)?)
}

fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found} for {expected}");
}

fn agrees(onnx: &[u8], name: &str, steps: usize, method: Method) {
    let golden = &golden()[name];
    let model = Arc::new(model(onnx, golden, steps, "kind = \"reconstruction\"").expect("a sound bundle"));
    let explainer = Explainer::new(Arc::clone(&model), BUDGET).expect("an explainer");
    close(explainer.base_value(), golden["base_value"].as_f64().expect("a number"), 1e-5, "base value");
    for row in golden["rows"].as_array().expect("rows") {
        let input: Vec<f32> = numbers(&row["x"]).into_iter().map(|value| value as f32).collect();
        let score = row["score"].as_f64().expect("a number");
        close(model.predict(&input).expect("an answer").output.value, score, 1e-6, "score");
        let explanation = explainer.explain(&input, None).expect("an explanation");
        assert_eq!(explanation.method, method);
        close(explanation.output, score, 1e-6, "explained score");
        assert!(explanation.additivity_gap <= 1e-5 * score.max(1.0), "{}", explanation.additivity_gap);
        let (shares, parts) = (numbers(&row["shap"]), numbers(&row["parts"]));
        for ((attribution, share), part) in explanation.attributions.iter().zip(shares).zip(parts) {
            close(attribution.value, share, 1e-5, &attribution.feature);
            close(attribution.error.expect("a part of the score"), part, 1e-5, &attribution.feature);
            assert_eq!(attribution.standard_error, 0.0);
            if !attribution.intervals.is_empty() {
                close(
                    attribution.intervals.iter().map(|interval| interval.value).sum(),
                    attribution.value,
                    1e-9,
                    "time",
                );
            }
        }
        let parts = explanation.attributions.iter().filter_map(|attribution| attribution.error);
        close(parts.sum(), score, 1e-6, "all parts");
        assert_eq!(explanation.attributions.iter().any(|attribution| !attribution.intervals.is_empty()), steps > 1);
    }
}

#[test]
fn a_linear_one_in_closed_form() {
    agrees(LINEAR, "linear", 1, Method::Quadratic);
}

#[test]
fn a_bent_one_over_windows_by_enumeration() {
    agrees(BENT, "bent", 4, Method::Enumeration);
}

/// One column of the linear one's tensor is a sum of the sensors.
#[test]
fn a_sum_in_closed_form_is_what_enumeration_finds() {
    let golden = &golden()["linear"];
    let model = Arc::new(model(LINEAR, golden, 1, "kind = \"regression\"\nindex = 2").expect("a sound bundle"));
    let explainer = Explainer::new(Arc::clone(&model), BUDGET).expect("an explainer");
    let enumeration = explaind_core::explain::exact::Enumeration::new(
        explaind_core::explain::Players::of_row(5),
        &model.background().rows,
    )
    .expect("few features");
    for row in golden["rows"].as_array().expect("rows") {
        let input: Vec<f32> = numbers(&row["x"]).into_iter().map(|value| value as f32).collect();
        let explanation = explainer.explain(&input, None).expect("an explanation");
        assert_eq!((explanation.method, explanation.evaluations < 1_000), (Method::Linear, true));
        let ask = |rows: &[f32]| model.explained(rows).map_err(explaind_core::explain::ExplainError::from);
        let expected = enumeration.attributions(&input, ask).expect("answers").attributions;
        for (attribution, expected) in explanation.attributions.iter().zip(expected) {
            close(attribution.value, expected, 1e-5, &attribution.feature);
        }
        assert!(explanation.additivity_gap < 1e-5);
    }
}

#[test]
fn a_tensor_that_is_no_reconstruction_is_refused() {
    let error = model(
        include_bytes!("../../../tests/models/ai4i-mlp/model.onnx"),
        &golden()["linear"],
        1,
        "kind = \"reconstruction\"",
    );
    let error = error.expect_err("another tensor").to_string();
    assert!(error.contains("has no output \"y\""), "{error}");
    let error = model(LINEAR, &golden()["linear"], 4, "kind = \"reconstruction\"").expect_err("windows").to_string();
    assert!(error.contains("windows need three, [N, steps, features]"), "{error}");
}
