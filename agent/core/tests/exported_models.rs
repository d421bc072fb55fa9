//! Models as the converters of scikit-learn, LightGBM and XGBoost write them, from `tests/models/exports.json`: predictions
//! and labels as onnxruntime gave them, and attributions as enumeration through onnxruntime gave them.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;

use explaind_core::domain::explanation::Method;
use explaind_core::domain::extra::Outcome;
use explaind_core::domain::prediction::Space;
use explaind_core::explain::counterfactual::Search;
use explaind_core::explain::exact::Enumeration;
use explaind_core::explain::{Budget, ExplainError, Explainer, Players};
use explaind_core::model::{Files, Model, bundle};
use serde_json::Value;

const WIDTH: usize = 5;

/// A bundle around an exported model. Its labels are the classes' numbers.
fn bundle_of(case: &Value) -> Files {
    bundle_with(case, true)
}

/// The same, and the manifest need not name the classes.
fn bundle_with(case: &Value, named: bool) -> Files {
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
    if case["labels"].is_array() && named {
        // Scores of pairs say how many classes there are in a way of their own.
        let classes = case["classes"].as_u64().unwrap_or(rows(&case["outputs"])[0].len().max(2) as u64);
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

/// With digests that vouch for what is there now.
fn sealed(mut files: Files) -> Files {
    files.remove("SHA256SUMS");
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
        let answer = model.predict(input).map_err(|error| error.to_string())?;
        let (found, explained) = (answer.output, answer.explained);
        if (found.value - expected[column]).abs() > tolerance {
            return Err(format!("row {place}: {} for {}", found.value, expected[column]));
        }
        if model.explained(input) != Ok(vec![explained]) {
            return Err(format!("row {place}: {explained} is predicted, and something else explained"));
        }
        let (label, found) = (&case["labels"][place], found.label);
        if label.is_number() && found.as_deref() != Some(label.to_string().as_str()) {
            return Err(format!("row {place}: label {found:?} for {label}; {expected:?}"));
        }
    }
    let way = case["way"].as_str().expect("a way");
    let (trees, linear) = (model.trees().is_some(), model.linear_in(model.space()).is_some());
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
        let explanation = explainer.explain(input, None).map_err(|error| error.to_string())?;
        let answer = model.predict(input).map_err(|error| error.to_string())?;
        let known = explainer.explain(input, Some(answer.explained)).map_err(|error| error.to_string())?;
        // As text, since an input that is missing is not even equal to itself.
        if format!("{known:?}") != format!("{explanation:?}") {
            return Err(format!("row {place}: it is explained otherwise once its prediction is known"));
        }
        let wrong = explainer.explain(input, Some(answer.explained + 1.0 + scale));
        if explanation.method == Method::TreeShapley && !matches!(wrong, Err(ExplainError::Unsound { .. })) {
            return Err(format!("row {place}: a wrong prediction does not show"));
        }
        if way == "trees" && explanation.method != Method::TreeShapley {
            return Err(format!("explained by {:?}", explanation.method));
        }
        if way == "linear" && explanation.method != Method::Linear {
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

/// Where the manifest names no classes, the names that the file carries are those that onnxruntime gives, row by row.
#[test]
fn classes_have_the_names_that_the_file_carries() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    for case in corpus.iter().filter(|case| case["kind"] == "classification") {
        let name = case["name"].as_str().expect("a name");
        if name == "svm-three-each" {
            // What its converter makes of the scores lies too far from the names.
            continue;
        }
        let model = Model::load(&bundle_with(case, false)).expect(name);
        assert!(!model.manifest().output.labels.is_empty(), "{name}");
        for (row, label) in rows(&case["rows"]).iter().zip(case["labels"].as_array().into_iter().flatten()) {
            let row: Vec<f32> = row.iter().map(|&value| value as f32).collect();
            assert_eq!(model.predict(&row).expect(name).output.label, Some(label.to_string()), "{name}");
        }
    }
}

/// What would be called a probability, and is none, is refused with what to do, and never called so.
#[test]
fn scores_are_not_taken_for_probabilities() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    for name in ["svm-three-each", "perceptron"] {
        let case = corpus.iter().find(|case| case["name"] == name).expect(name);
        let model = Model::load(&bundle_of(case)).expect(name);
        let mut outside = 0;
        for row in rows(&case["rows"]) {
            let row: Vec<f32> = row.iter().map(|&value| value as f32).collect();
            let output = model.predict(&row).expect(name).output;
            let inside = (0.0..=1.0).contains(&output.value);
            outside += usize::from(!inside);
            assert_eq!(output.probability.is_some(), inside && output.probability == Some(output.value), "{name}");
        }
        let verified = model.verify();
        assert!(model.spaces().contains(&Space::Probability) && outside > 0, "{name}");
        let error = verified.expect_err(name).to_string();
        assert!(error.starts_with("model.onnx: \"") && error.contains("which is no probability"), "{error}");
        assert!(error.contains("space = \"value\""), "{error}");
        let mut files = bundle_of(case);
        let manifest = String::from_utf8(files.remove("manifest.toml").expect("a manifest")).expect("text");
        files.insert("manifest.toml".to_owned(), format!("{manifest}space = \"value\"\n").into_bytes());
        let meant = Model::load(&sealed(files)).expect(name);
        meant.verify().expect("scores are meant");
        let row: Vec<f32> = rows(&case["rows"])[0].iter().map(|&value| value as f32).collect();
        let output = meant.predict(&row).expect(name).output;
        assert_eq!((output.probability, output.label.is_some()), (None, true), "{name}");
    }
}

/// Each space that a model has can be asked for beside its own, and says the same in its own terms; others are refused.
#[test]
fn models_are_explained_in_every_space_that_they_have() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    let budget = Budget { evaluations: 2_000 };
    let logistic = |margin: f64| 1.0 / (1.0 + (-margin).exp());
    for (name, spaces) in [
        ("boosting-two", &[Space::Probability, Space::Margin, Space::Value][..]),
        ("logistic-two-margin", &[Space::Probability, Space::Margin, Space::Value]),
        ("forest-two", &[Space::Probability, Space::Value]),
        ("boosting-number", &[Space::Value]),
    ] {
        let case = corpus.iter().find(|case| case["name"] == name).expect(name);
        let model = Arc::new(Model::load(&bundle_of(case)).expect(name));
        assert_eq!(model.spaces(), spaces, "{name}");
        let row: Vec<f32> = rows(&case["rows"])[0].iter().map(|&value| value as f32).collect();
        let predicted = model.predict(&row).expect(name).output.value;
        for space in [Space::Probability, Space::Margin, Space::Value] {
            let explainer = Explainer::in_space(Arc::clone(&model), space, budget);
            if !spaces.contains(&space) {
                let refusal = explainer.expect_err(name).to_string();
                assert!(refusal.starts_with(&format!("this model has no {}; it can be", space.as_str())), "{refusal}");
                continue;
            }
            let explanation = explainer.expect(name).explain(&row, None).expect(name);
            assert_eq!(explanation.space, space);
            let shown = if space == Space::Margin { logistic(explanation.output) } else { explanation.output };
            assert!((shown - predicted).abs() < 1e-6, "{name} in {space:?}: {shown} for {predicted}");
            let made = explanation.base_value + explanation.attributions.iter().map(|a| a.value).sum::<f64>();
            assert!((made - explanation.output).abs() < 1e-6, "{name} in {space:?}");
        }
    }
}

/// A bundle in which the first two features may be set to quarters, and whose alert clears below a threshold. It need not
/// name its classes.
fn adjustable(case: &Value, space: &str, clear: f64) -> Files {
    let mut files = bundle_of(case);
    let manifest = String::from_utf8(files.remove("manifest.toml").expect("a manifest")).expect("text");
    let kept = |line: &&str| !line.starts_with("labels") && !line.starts_with("space");
    let mut manifest = manifest.lines().filter(kept).collect::<Vec<_>>().join("\n");
    for feature in ["name = \"0\"", "name = \"1\""] {
        manifest = manifest.replacen(feature, &format!("{feature}\nadjustable = [-3, 3, 0.25]"), 1);
    }
    let raise = if case["kind"] == "regression" { 1e9 } else { 1.0 };
    write!(manifest, "\nspace = \"{space}\"\n[decision]\nraise_above = {raise:?}\nclear_below = {clear:?}\n")
        .expect("strings take text");
    files.insert("manifest.toml".to_owned(), manifest.into_bytes());
    files.remove("SHA256SUMS");
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

/// Every way to set the first two features to a quarter, or to leave them, with the model's answer.
fn all_settings(model: &Model, row: &[f32]) -> Vec<([f64; 2], f64)> {
    let settings = |feature: usize| {
        (-12..=12).map(|quarter| f64::from(quarter) / 4.0).chain([f64::from(row[feature])]).collect::<Vec<f64>>()
    };
    let mut all = Vec::new();
    for first in settings(0) {
        for second in settings(1) {
            let mut there = row.to_vec();
            (there[0], there[1]) = (first as f32, second as f32);
            all.push(([first, second], model.outputs(&there).expect("an answer")[0]));
        }
    }
    all
}

/// Categories are no multiples of their number, but each has a weight: so the score is still a sum over features. Held against
/// all coalitions, of what the whole pipeline says.
#[test]
fn linear_models_of_categories_are_explained_in_closed_form() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    let case = corpus.iter().find(|case| case["name"] == "one-hot-logistic").expect("the model");
    let model = Arc::new(Model::load(&bundle_of(case)).expect("a model"));
    let explainer =
        Explainer::in_space(Arc::clone(&model), Space::Margin, Budget { evaluations: 1 }).expect("a margin");
    let enumeration = Enumeration::new(Players::of_row(WIDTH), &model.background().rows).expect("few features");
    let margins = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
        Ok(model.outputs(rows)?.into_iter().map(|likely| (likely / (1.0 - likely)).ln()).collect())
    };
    for row in rows(&case["rows"]) {
        let row: Vec<f32> = row.iter().map(|&value| value as f32).collect();
        let found = explainer.explain(&row, None).expect("an explanation");
        assert_eq!((found.method, found.evaluations), (Method::Linear, 1));
        assert!(found.additivity_gap < 1e-9, "{}", found.additivity_gap);
        let expected = enumeration.attributions(&row, margins).expect("answers");
        for (found, expected) in found.attributions.iter().zip(expected.attributions) {
            assert!((found.value - expected).abs() < 1e-4, "{}: {} for {expected}", found.feature, found.value);
        }
    }
}

/// Whatever function stands behind the trees, and whichever space is explained: a search that calls itself complete finds a way
/// where there is one, none where there is none, and none is nearer. Every setting is tried to know.
#[test]
fn searches_over_trees_leave_nothing_out() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    let cases = [
        ("forest-three", "probability"),
        ("tree-three", "probability"),
        ("boosting-number", "value"),
        ("boosting-two", "margin"),
        ("boosting-two", "probability"),
        ("light-two", "probability"),
        ("boosting-three", "margin"),
        ("boosting-three", "probability"),
        ("histogram-three", "probability"),
        ("light-three", "probability"),
        ("extreme-three", "probability"),
        ("light-each", "probability"),
    ];
    let (mut found_single, mut found_pairs, mut without) = (0, 0, 0);
    for (name, space) in cases {
        let case = corpus.iter().find(|case| case["name"] == name).expect(name);
        let plain = Model::load(&adjustable(case, space, 0.0)).expect(name);
        for row in rows(&case["rows"]) {
            let row: Vec<f32> = row.iter().map(|&value| value as f32).collect();
            if !row.iter().all(|value| value.is_finite()) {
                continue;
            }
            let settings = all_settings(&plain, &row);
            let lowest = settings.iter().fold(f64::INFINITY, |lowest, (_, output)| lowest.min(*output));
            let present = plain.outputs(&row).expect(name)[0];
            for share in [0.0, 0.1, 0.5, 0.9] {
                let clear = lowest + share * (present - lowest);
                let model = Model::load(&adjustable(case, space, clear)).expect(name);
                let answer = Search::of(&model).search(&row, 100_000, |rows| model.outputs(rows)).expect(name);
                let clearing: Vec<[f64; 2]> =
                    settings.iter().filter(|(_, output)| *output < clear).map(|(setting, _)| *setting).collect();
                let far = |setting: &[f64; 2]| [0, 1].map(|place| (setting[place] - f64::from(row[place])).abs());
                assert!(answer.complete, "{name} in {space}");
                match answer.outcome {
                    Outcome::NoneWithinLimits => {
                        assert_eq!(clearing, Vec::<[f64; 2]>::new(), "{name} in {space}: missed");
                        without += 1;
                    }
                    Outcome::Found => {}
                    other => panic!("{name} in {space}: {other:?}"),
                }
                for way in &answer.alternatives {
                    let mut there = [f64::from(row[0]), f64::from(row[1])];
                    way.changes.iter().for_each(|change| there[usize::from(&*change.feature == "1")] = change.to);
                    assert!(clearing.contains(&there), "{name} in {space}: {there:?} does not clear");
                    let there = far(&there);
                    let nearer = |setting: &&[f64; 2]| {
                        let other = far(setting);
                        other != there && other[0] <= there[0] && other[1] <= there[1]
                    };
                    assert_eq!(clearing.iter().find(nearer), None, "{name} in {space}: {there:?} is too far");
                    found_single += usize::from(way.changes.len() == 1);
                    found_pairs += usize::from(way.changes.len() == 2);
                }
            }
        }
    }
    assert!(found_single > 50 && found_pairs > 10 && without > 50, "{found_single}, {found_pairs}, {without}");
}

/// What is no tree may do anything between two settings.
#[test]
fn searches_over_other_models_are_not_called_complete() {
    let corpus: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/models/exports.json")).expect("the corpus is JSON");
    for (name, space) in [("logistic-three", "probability"), ("svm-two", "probability"), ("perceptron-layers", "value")]
    {
        let case = corpus.iter().find(|case| case["name"] == name).expect(name);
        let model = Model::load(&adjustable(case, space, 0.0)).expect(name);
        let row: Vec<f32> = rows(&case["rows"])[0].iter().map(|&value| value as f32).collect();
        let found = Search::of(&model).search(&row, 100_000, |rows| model.outputs(rows)).expect(name);
        assert_eq!((found.outcome, found.complete), (Outcome::NoneWithinLimits, false), "{name}");
    }
}
