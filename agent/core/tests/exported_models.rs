//! Models as the converters of scikit-learn, LightGBM and XGBoost write them, from `tests/models/exports.json`: predictions
//! and labels as onnxruntime gave them, and attributions as enumeration through onnxruntime gave them.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;

use explaind_core::domain::explanation::Method;
use explaind_core::domain::extra::Outcome;
use explaind_core::explain::counterfactual::Search;
use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::{Files, Model, bundle};
use serde_json::Value;

const WIDTH: usize = 5;

/// A bundle around an exported model. Its labels are the classes' numbers.
fn bundle_of(case: &Value) -> Files {
    let text = |key: &str| case[key].as_str().expect(key);
    let mut manifest = "schema = 1\nname = \"exported\"\nversion = \"1\"\n".to_owned();
    for feature in 0..WIDTH {
        write!(manifest, "[[feature]]\nname = \"{feature}\"\n").expect("strings take text");
    }
    write!(
        manifest,
        "[output]\nkind = \"{}\"\ntensor = \"{}\"\nindex = {}\n",
        text("kind"),
        text("tensor"),
        case["column"]
    )
    .expect("strings take text");
    if text("way") == "linear" && text("space") == "margin" {
        manifest.push_str("space = \"margin\"\n");
    }
    if case["labels"].is_array() {
        let classes = rows(&case["outputs"])[0].len().max(2);
        let labels: Vec<String> = (0..classes).map(|class| format!("\"{class}\"")).collect();
        writeln!(manifest, "labels = [{}]", labels.join(", ")).expect("strings take text");
    }
    let mut background = "0,1,2,3,4\n".to_owned();
    for row in rows(&case["background"]) {
        let cells: Vec<String> =
            row.iter().map(|value| if value.is_nan() { String::new() } else { value.to_string() }).collect();
        writeln!(background, "{}", cells.join(",")).expect("strings take text");
    }
    let mut files = Files::from([
        ("model.onnx".to_owned(), from_hex(text("onnx"))),
        ("manifest.toml".to_owned(), manifest.into_bytes()),
        ("background.csv".to_owned(), background.into_bytes()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn rows(table: &Value) -> Vec<Vec<f64>> {
    let row = |row: &Value| {
        let values = row.as_array().into_iter().flatten();
        values.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
    };
    table.as_array().into_iter().flatten().map(row).collect()
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(1.0, |largest, value| largest.max(value.abs()))
}

/// What is wrong with a model, if anything.
fn problem(case: &Value) -> Result<(), String> {
    let model = Arc::new(Model::load(&bundle_of(case)).map_err(|error| error.to_string())?);
    let column = usize::try_from(case["column"].as_u64().expect("a column")).expect("a small number");
    let inputs: Vec<Vec<f32>> =
        rows(&case["rows"]).iter().map(|row| row.iter().map(|&value| value as f32).collect()).collect();
    let outputs = rows(&case["outputs"]);
    let tolerance = 1e-6 * largest(outputs.iter().flatten().copied());
    for (place, (input, expected)) in inputs.iter().zip(&outputs).enumerate() {
        let found = model.predict(input).map_err(|error| error.to_string())?;
        if (found.value - expected[column]).abs() > tolerance {
            return Err(format!("row {place}: {} for {}", found.value, expected[column]));
        }
        let (label, found) = (&case["labels"][place], found.label);
        if label.is_number() && found.as_deref() != Some(label.to_string().as_str()) {
            return Err(format!("row {place}: label {found:?} for {label}; {expected:?}"));
        }
    }
    let way = case["way"].as_str().expect("a way");
    let (trees, linear) = (model.trees().is_some(), model.linear().is_some());
    if (trees, linear) != (way == "trees", way == "linear") {
        return Err(format!("trees: {trees}, linear: {linear}, and it should be {way}"));
    }
    let explainer =
        Explainer::new(Arc::clone(&model), Budget { evaluations: 2_000 }).map_err(|error| error.to_string())?;
    let base = case["base_value"].as_f64().expect("a base value");
    let attributions = rows(&case["shap"]);
    let scale = largest(attributions.iter().flatten().copied().chain([base]));
    if (explainer.base_value() - base).abs() > 1e-5 * scale {
        return Err(format!("the base value is {} and should be {base}", explainer.base_value()));
    }
    for (place, (input, expected)) in inputs.iter().zip(&attributions).enumerate() {
        let explanation = explainer.explain(input).map_err(|error| error.to_string())?;
        if way == "trees" && explanation.method != Method::TreeShapley {
            return Err(format!("explained by {:?}", explanation.method));
        }
        for (found, expected) in explanation.attributions.iter().zip(expected) {
            if (found.value - expected).abs() > 1e-5 * scale {
                return Err(format!("row {place}: attribution {} for {expected}", found.value));
            }
        }
        if explanation.additivity_gap > 1e-6 * scale {
            return Err(format!("row {place}: it does not add up, by {}", explanation.additivity_gap));
        }
    }
    Ok(())
}

#[test]
fn exported_models_run_and_are_explained_as_onnxruntime_would_have_it() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    assert!(corpus.len() >= 75, "only {} models", corpus.len());
    let problems: Vec<String> = corpus
        .iter()
        .filter_map(|case| problem(case).err().map(|error| format!("{}: {error}", case["name"])))
        .collect();
    assert!(problems.is_empty(), "{} of {} models:\n{}", problems.len(), corpus.len(), problems.join("\n"));
}

/// A bundle whose first feature may be set, and whose alert never clears; it need not name its classes.
fn never_clear(case: &Value) -> Files {
    let mut files = bundle_of(case);
    let manifest = String::from_utf8(files.remove("manifest.toml").expect("a manifest")).expect("text");
    let plain = manifest.lines().filter(|line| !line.starts_with("labels"));
    let mut manifest = plain.collect::<Vec<_>>().join("\n");
    manifest = manifest.replacen("name = \"0\"", "name = \"0\"\nadjustable = [-3, 3]", 1);
    let clear = if case["kind"] == "regression" { -1e9 } else { 0.0 };
    write!(manifest, "\n[decision]\nraise_above = 0.5\nclear_below = {clear}\n").expect("strings take text");
    files.insert("manifest.toml".to_owned(), manifest.into_bytes());
    files.remove("SHA256SUMS");
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

/// Classes that share a softmax depend on all trees, whether or not the manifest names them; the shares of a forest's
/// votes do not.
#[test]
fn a_search_is_complete_where_one_sum_of_trees_decides() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    let cases = [
        ("forest-three", true),
        ("tree-three", true),
        ("boosting-two", true),
        ("boosting-number", true),
        ("boosting-three", false),
        ("histogram-three", false),
        ("light-three", false),
        ("extreme-three", false),
    ];
    for (name, complete) in cases {
        let case = corpus.iter().find(|case| case["name"] == name).expect(name);
        let model = Model::load(&never_clear(case)).expect(name);
        assert!(model.trees().is_some(), "{name}");
        let row: Vec<f32> = rows(&case["rows"])[0].iter().map(|&value| value as f32).collect();
        let found = Search::of(&model).search(&row, 100_000, |rows| model.outputs(rows)).expect(name);
        assert_eq!((found.outcome, found.complete), (Outcome::NoneWithinLimits, complete), "{name}");
    }
}
