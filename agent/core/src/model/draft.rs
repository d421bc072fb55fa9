//! A manifest for whoever has none: written from the model's and the table's own names, with comments on what only a
//! person can know. It never says more than they do: no alert is raised by a drafted manifest.

use std::fmt::Write as _;

use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, TypeProto, ValueInfoProto};
use tract_onnx::prelude::Framework as _;

use super::error::{BundleError, Place};
use super::manifest::{Manifest, is_name};
use super::table::Sheet;
use super::{choose_column, load_engine};

/// Columns that are rather a target than a feature, in small letters.
const TARGETS: [&str; 12] = [
    "target",
    "label",
    "class",
    "y",
    "failed",
    "failure",
    "machine failure",
    "machine_failure",
    "rul",
    "fault",
    "anomaly",
    "defect",
];
/// The name that errors give the table.
const REFERENCE: &str = "the reference";
/// The most classes that a comment counts up.
const MOST_OUTPUTS: usize = 16;

/// Drafts a manifest for a model named `name` and a table of reference rows, as CSV.
///
/// # Errors
/// [`BundleError::Invalid`] where the two do not say enough: then a person has to write it.
pub fn manifest(model: &[u8], reference: &[u8], name: &str) -> Result<String, BundleError> {
    let decoded = std::panic::catch_unwind(|| tract_onnx::onnx().proto_model_for_read(&mut &*model));
    let Ok(Ok(proto)) = decoded else {
        return Err(BundleError::model("the file is not a whole ONNX model; copy or export it again"));
    };
    let graph = proto.graph.unwrap_or_default();
    let seen = Seen::read(reference)?;
    let input = Input::of(&graph, &seen)?;
    let name = if is_name(name) { name } else { "model" };
    let mut last = None;
    for output in graph.output.iter().take(MOST_OUTPUTS) {
        for kind in kinds(&graph, output) {
            let text = write(name, &input, &seen, &output.name, kind, None);
            match fits(model, &text) {
                Ok(()) => return Ok(text),
                Err(error) => last = last.or(Some(error)),
            }
            // Of several columns somebody has to choose; the second is the usual one of a classifier.
            let text = write(name, &input, &seen, &output.name, kind, Some(1));
            if fits(model, &text).is_ok() {
                return Ok(text);
            }
        }
    }
    Err(last.unwrap_or_else(|| BundleError::model("the file has no output; export it again")))
}

fn fits(model: &[u8], text: &str) -> Result<(), BundleError> {
    let manifest = Manifest::parse(text)?;
    let (engine, _) = load_engine(model, text, &manifest)?;
    choose_column(text, &manifest, &engine).map(drop)
}

/// What an output can be, the likeliest first; nothing for labels.
fn kinds(graph: &GraphProto, output: &ValueInfoProto) -> &'static [&'static str] {
    let lower = output.name.to_lowercase();
    let made_by = graph.node.iter().find(|node| node.output.contains(&output.name)).map(|node| node.op_type.as_str());
    let classifies = graph.node.iter().any(|node| node.op_type.ends_with("Classifier"));
    let numbers = matches!(tensor(output.r#type.as_ref()), Some((1 | 11, _)));
    let normalised = matches!(made_by, Some("Softmax" | "Sigmoid"));
    if made_by == Some("ZipMap") || numbers && (lower.contains("prob") || classifies || normalised) {
        &["classification"]
    } else if numbers && lower.contains("recon") {
        &["reconstruction", "regression"]
    } else if numbers && (lower.contains("score") || lower.contains("anomal")) {
        &["anomaly"]
    } else if numbers {
        &["regression"]
    } else {
        &[]
    }
}

/// A tensor's type, and its sizes where they are fixed.
fn tensor(kind: Option<&TypeProto>) -> Option<(i32, Vec<Option<usize>>)> {
    let Some(Value::TensorType(tensor)) = kind?.value.as_ref() else { return None };
    let size = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok(),
        _ => None,
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| size(&dim.value)).collect();
    Some((tensor.elem_type, dims))
}

/// The table's columns, and what they hold.
struct Seen {
    columns: Vec<Column>,
}

struct Column {
    name: String,
    /// The least and the largest number; absent where none is.
    range: Option<(f64, f64)>,
    /// Cells without a number.
    empty: bool,
    words: bool,
}

impl Seen {
    fn read(reference: &[u8]) -> Result<Self, BundleError> {
        let mut sheet = Sheet::open(REFERENCE, reference)?;
        let column = |name: &String| Column { name: name.clone(), range: None, empty: false, words: false };
        let mut columns: Vec<Column> = sheet.header().iter().map(column).collect();
        while sheet.advance()? {
            for (index, column) in columns.iter_mut().enumerate() {
                let text = sheet.text(index);
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => {
                        let (low, high) = column.range.unwrap_or((number, number));
                        column.range = Some((low.min(number), high.max(number)));
                    }
                    Ok(number) if number.is_nan() => column.empty = true,
                    _ if text.is_empty() => column.empty = true,
                    _ => column.words = true,
                }
            }
        }
        Ok(Self { columns })
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// What the model takes, in the table's words.
struct Input {
    features: Vec<String>,
    steps: Option<usize>,
    target: Option<String>,
}

impl Input {
    fn of(graph: &GraphProto, seen: &Seen) -> Result<Self, BundleError> {
        let constant = |name: &str| graph.initializer.iter().any(|constant| constant.name == name);
        let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !constant(&input.name)).collect();
        let names: Vec<String> = seen.columns.iter().map(|column| column.name.clone()).collect();
        match inputs.as_slice() {
            [] => Err(BundleError::model("the file has no input; export it again")),
            [input] => match tensor(input.r#type.as_ref()).map(|(_, dims)| dims).as_deref() {
                Some([_, steps, _]) => Self::windows(&names, *steps),
                Some([_, width]) => Self::rows(&names, *width),
                _ => Self::rows(&names, None),
            },
            // One input per column carries its name.
            inputs => {
                let features: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
                if let Some(stray) = features.iter().find(|feature| !names.contains(feature)) {
                    return unclear(&format!("the model has an input \"{stray}\" and the table no such column"));
                }
                let target = target(names.iter().filter(|name| !features.contains(name)));
                Ok(Self { features, steps: None, target })
            }
        }
    }

    fn rows(names: &[String], width: Option<usize>) -> Result<Self, BundleError> {
        let target = match width {
            Some(width) if width == names.len() => None,
            Some(width) if width.checked_add(1) == Some(names.len()) => target(names.iter()).or(names.last().cloned()),
            Some(width) => {
                let columns = names.len();
                return unclear(&format!("the model takes {width} features and the table has {columns} columns"));
            }
            None => target(names.iter()),
        };
        let features = names.iter().filter(|name| Some(*name) != target.as_ref()).cloned().collect();
        Ok(Self { features, steps: None, target })
    }

    fn windows(names: &[String], steps: Option<usize>) -> Result<Self, BundleError> {
        let features: Vec<String> =
            names.iter().filter_map(|name| name.strip_suffix("@0")).map(str::to_owned).collect();
        let Some(first) = features.first() else {
            return unclear(
                "the model takes windows and the table has no column like \"torque@0\" (@0 is the oldest step)",
            );
        };
        let there = |step: &usize| names.contains(&format!("{first}@{step}"));
        let found = (0..).take_while(there).count();
        if steps.is_some_and(|steps| steps != found) {
            let steps = steps.unwrap_or_default();
            return unclear(&format!("the model takes windows of {steps} steps and the table has {found}"));
        }
        let target = target(names.iter().filter(|name| !name.contains('@')));
        Ok(Self { features, steps: Some(found), target })
    }
}

fn unclear<T>(what: &str) -> Result<T, BundleError> {
    let problem = format!("{what}, so no manifest can be drafted from them; write one, and name it with --manifest");
    Err(BundleError::at(Place::file(REFERENCE).line(1), problem))
}

fn target<'a>(names: impl Iterator<Item = &'a String> + Clone) -> Option<String> {
    let known = |name: &&String| TARGETS.contains(&name.to_lowercase().as_str());
    let mut found = names.filter(known);
    let first = found.next().cloned();
    if found.next().is_some() { None } else { first }
}

fn write(name: &str, input: &Input, seen: &Seen, tensor: &str, kind: &str, index: Option<usize>) -> String {
    let mut text = format!(
        "# Drafted by explaind from the names in the model and in the reference table. Read it, correct it, take out what is\n\
         # wrong, and make the bundle again with --manifest.\n\
         schema = 1\nname = {}\nversion = \"0.1.0\"\n\n",
        quoted(name)
    );
    if let Some(steps) = input.steps {
        let _infallible = write!(
            text,
            "[input]\nkind = \"window\"\nsteps = {steps}\n# period = \"1s\"            # the time between two rows of a window\n\n"
        );
    }
    text.push_str("# In the model's order, which is that of the table's columns: is it?\n");
    for feature in &input.features {
        push_feature(&mut text, feature, seen, input.steps);
    }
    let _infallible = writeln!(text, "[output]\nkind = \"{kind}\"\ntensor = {}", quoted(tensor));
    match index {
        Some(index) => {
            let _infallible = writeln!(
                text,
                "index = {index}                  # which column is meant, counted from 0: is it this one?"
            );
        }
        None => text.push_str("# index = 1                # which column is meant, counted from 0\n"),
    }
    if kind == "classification" {
        text.push_str("# labels = [\"healthy\", \"failure\"]\n");
    }
    match &input.target {
        Some(target) => {
            let _infallible = writeln!(text, "target = {}", quoted(target));
        }
        None => text.push_str(
            "# target = \"failed\"        # the table's column with the truth, for calibration and metrics\n",
        ),
    }
    let threshold = if kind == "classification" { "0.5" } else { "100.0" };
    let _infallible = write!(
        text,
        "\n# Without a rule the model only predicts, and raises no alert.\n\
         # [decision]\n# raise_above = {threshold}\n# clear_below = {threshold}\n# priority = \"medium\"\n\
         # response = \"What is to be done.\"\n\n\
         # [card]\n# purpose = \"What the model is for.\"\n# data = \"What it was trained on.\"\n\
         # limits = \"What it is not for.\"\n# owner = \"Whom to ask.\"\n# approved_by = \"Who lets it run.\"\n\
         # expires = \"2030-12-31\"\n# hardware = [\"aarch64\"]\n# assets = [\"press-7\"]\n"
    );
    text
}

fn push_feature(text: &mut String, feature: &str, seen: &Seen, steps: Option<usize>) {
    let _infallible = writeln!(text, "[[feature]]\nname = {}", quoted(feature));
    // "Torque [Nm]" says its unit itself.
    match feature.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')).map(|(_, unit)| unit.trim()) {
        Some(unit) if !unit.is_empty() => {
            let _infallible = writeln!(text, "unit = {}", quoted(unit));
        }
        _ => text.push_str("# unit = \"\"\n"),
    }
    let names = (0..steps.unwrap_or(1)).map(|step| match steps {
        Some(_) => format!("{feature}@{step}"),
        None => feature.to_owned(),
    });
    let columns: Vec<&Column> = names.filter_map(|name| seen.column(&name)).collect();
    let ranges = || columns.iter().filter_map(|column| column.range);
    if let Some((low, high)) = ranges().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
        let _infallible =
            writeln!(text, "# range = [{low:?}, {high:?}]      # as in the table; write what is physically possible");
    }
    if columns.iter().any(|column| column.words) {
        text.push_str(
            "# categories = { A = 0, B = 1 }     # the table has words here: write the numbers they stand for\n",
        );
    }
    if columns.iter().any(|column| column.empty) {
        text.push_str("missing = true             # the table has empty cells here\n");
    }
    text.push('\n');
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pack::{self, PackInputs};
    use crate::model::{Model, OutputKind};

    fn example(name: &str, file: &str) -> Vec<u8> {
        let path = format!("{}/../../tests/models/{name}/{file}", env!("CARGO_MANIFEST_DIR"));
        #[expect(clippy::disallowed_methods, reason = "a test reads its example")]
        std::fs::read(path).unwrap()
    }

    /// The background's table with a column more in front of the line's end.
    fn with_column(table: &[u8], name: &str, cell: impl Fn(usize) -> String) -> Vec<u8> {
        let text = String::from_utf8(table.to_vec()).unwrap();
        let lines = text.lines().enumerate();
        let more = |line: usize| if line == 0 { name.to_owned() } else { cell(line) };
        lines.map(|(line, text)| format!("{text},{}\n", more(line))).collect::<String>().into_bytes()
    }

    #[test]
    fn a_drafted_manifest_makes_a_bundle_of_every_kind_of_model() {
        let kinds = [
            ("ai4i-gbt", OutputKind::Classification, 6, 1),
            ("ai4i-forest", OutputKind::Classification, 6, 1),
            ("ai4i-mlp", OutputKind::Classification, 6, 1),
            ("cmapss-rul-lgbm", OutputKind::Regression, 56, 1),
            ("cmapss-rul-cnn", OutputKind::Regression, 14, 30),
        ];
        for (name, kind, features, steps) in kinds {
            let (model, reference) = (example(name, "model.onnx"), example(name, "background.csv"));
            let text = manifest(&model, &reference, name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let drafted = Manifest::parse(&text).unwrap();
            assert_eq!(
                (drafted.output.kind, drafted.features.len(), drafted.steps()),
                (kind, features, steps),
                "{name}"
            );
            assert_eq!((&*drafted.name, drafted.decision, drafted.output.target), (name, None, None));
            let inputs = PackInputs { model, manifest: text, reference, golden: None, calibration: None };
            Model::load(&pack::create(inputs).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_column_too_many_is_the_target_and_more_than_that_is_a_persons_business() {
        let (model, table) = (example("ai4i-gbt", "model.onnx"), example("ai4i-gbt", "background.csv"));
        for name in ["failed", "whatever"] {
            let more = with_column(&table, name, |line| (line % 2).to_string());
            let drafted = Manifest::parse(&manifest(&model, &more, "m").unwrap()).unwrap();
            assert_eq!((drafted.output.target.as_deref(), drafted.features.len()), (Some(name), 6));
        }
        let two = with_column(&with_column(&table, "id", |line| line.to_string()), "failed", |_| "0".to_owned());
        let error = manifest(&model, &two, "m").unwrap_err().to_string();
        assert!(
            error.contains("takes 6 features and the table has 8 columns") && error.contains("--manifest"),
            "{error}"
        );
        let error = manifest(b"no model", &table, "m").unwrap_err().to_string();
        assert!(error.starts_with("model.onnx: "), "{error}");
    }

    #[test]
    fn names_say_units_and_the_table_says_the_rest() {
        let (model, table) = (example("ai4i-gbt", "model.onnx"), example("ai4i-gbt", "background.csv"));
        let text = String::from_utf8(table).unwrap().replacen("torque_nm", "\"Torque \"\"x\"\" [Nm]\"", 1);
        let drafted = manifest(&model, text.as_bytes(), "two\nlines").unwrap();
        let read = Manifest::parse(&drafted).unwrap();
        assert_eq!(
            (&*read.features[4].name, &*read.features[4].unit, &*read.name),
            ("Torque \"x\" [Nm]", "Nm", "model")
        );
        assert!(drafted.contains("# range = [0.0, 2.0]      # as in the table"), "{drafted}");
        // What is commented out is right once it is taken in.
        let whole = drafted
            .replace("# [decision]\n# raise", "[decision]\nraise")
            .replace("# clear", "clear")
            .replace("# priority", "priority")
            .replace("# response", "response");
        let (before, card) = whole.split_once("# [card]").unwrap();
        let card = format!("[card]{}", card.replace("\n# ", "\n"));
        let read = Manifest::parse(&format!("{before}{card}")).unwrap();
        assert!(read.decision.is_some() && read.card.hardware.is_some(), "{card}");
    }
}
