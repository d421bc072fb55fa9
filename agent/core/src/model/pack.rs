//! Makes a bundle from a model, a manifest and reference rows. The same inputs give the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::bundle::{self, Files};
use super::error::{BundleError, ModelError};
use super::golden::{self, Golden, ORIGIN};
use super::manifest::{Feature, Manifest, OutputKind};
use super::table::{Sheet, Table};
use super::{Model, choose_column, load_engine};
use crate::random::Random;

/// The name that errors give the reference rows.
const REFERENCE: &str = "the reference";
/// Golden rows made here when the trainer gives none.
const GOLDEN_ROWS: usize = 50;
/// Groups that a numeric target is cut into for sampling.
const TARGET_GROUPS: usize = 10;

/// What a bundle is made from.
#[derive(Debug, Clone)]
pub struct PackInputs {
    /// `model.onnx`.
    pub model: Vec<u8>,
    /// `manifest.toml`.
    pub manifest: String,
    /// Rows to sample the background from, as CSV with one column per feature, and per step and feature for windows.
    pub reference: Vec<u8>,
    /// The trainer's golden rows, as CSV with the same columns and one per expected output.
    pub golden: Option<Vec<u8>>,
}

/// Makes a bundle, and proves that it loads and that its golden rows come out right.
///
/// The background is the reference itself where that has at most `background_rows` rows, else a sample of it, drawn
/// evenly, or evenly from each group of `output.target` where the manifest names it; the digest of the inputs is the
/// seed. Without golden rows from the trainer, the first rows of the background are taken with what the model says
/// here.
///
/// # Errors
/// [`BundleError`] for whatever keeps the result from being a sound bundle.
pub fn create(inputs: PackInputs) -> Result<Files, BundleError> {
    let manifest = Manifest::parse(&inputs.manifest)?;
    let (engine, _) = load_engine(&inputs.model, &inputs.manifest, &manifest)?;
    choose_column(&inputs.manifest, &manifest, &engine)?;
    let background = sample(&inputs, &manifest)?;
    let golden = match &inputs.golden {
        Some(bytes) => {
            let given = Golden::read(bytes, &manifest, engine.columns())?;
            let origin = given.origin().unwrap_or("trainer").to_owned();
            golden_csv(&manifest, given.outputs(), given.iter(), &origin)
        }
        None => {
            let rows = &background.rows[..background.rows.len().min(GOLDEN_ROWS * background.width())];
            let failed =
                |error: ModelError| BundleError::model(format!("{error}, for reference rows; export the model again"));
            let outputs = engine.run(rows).map_err(failed)?;
            let columns: Vec<usize> = (0..engine.columns()).collect();
            let rows = rows.chunks_exact(background.width()).zip(outputs.chunks_exact(columns.len()));
            golden_csv(&manifest, &columns, rows, "bundle-create")
        }
    };
    let mut files = Files::from([
        (bundle::BACKGROUND.to_owned(), table_csv(&background, &manifest.features).into_bytes()),
        (bundle::GOLDEN.to_owned(), golden.into_bytes()),
        (bundle::MLMODEL.to_owned(), MLMODEL.as_bytes().to_vec()),
        (bundle::MANIFEST.to_owned(), inputs.manifest.into_bytes()),
        (bundle::MODEL.to_owned(), inputs.model),
    ]);
    files.insert(bundle::SUMS.to_owned(), bundle::sums(&files).into_bytes());
    Model::load(&files)?.verify()?;
    Ok(files)
}

/// What `mlflow.onnx.load_model` needs to find the model. Without a time or an id: the same inputs, the same bytes.
const MLMODEL: &str = "\
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_session_options: null
    providers:
    - CPUExecutionProvider
";

/// The background: all of the reference, or a sample in the reference's order.
fn sample(inputs: &PackInputs, manifest: &Manifest) -> Result<Table, BundleError> {
    let table = Table::read(REFERENCE, &inputs.reference, manifest)?;
    let wanted = manifest.explanation.background_rows;
    if table.len() <= wanted {
        return Ok(table);
    }
    let mut seed = Vec::new();
    for part in [&inputs.model, inputs.manifest.as_bytes(), &inputs.reference] {
        seed.extend_from_slice(&bundle::digest(part).0);
    }
    let mut random = Random::new(bundle::digest(&seed).0);
    let groups = match &manifest.output.target {
        Some(target) => groups(&inputs.reference, target, manifest.output.kind)?,
        None => vec![(0..table.len()).collect()],
    };
    let mut chosen: Vec<usize> = Vec::with_capacity(wanted);
    for (group, share) in groups.iter().zip(shares(&groups, wanted)) {
        chosen.extend(random.choose(group, share));
    }
    chosen.sort_unstable();
    let rows = chosen.iter().filter_map(|&row| table.iter().nth(row)).flatten().copied().collect();
    Ok(Table { columns: table.columns.clone(), rows })
}

/// Row numbers by what the target column says: each class, or each tenth of a quantity.
fn groups(reference: &[u8], target: &str, kind: OutputKind) -> Result<Vec<Vec<usize>>, BundleError> {
    let mut sheet = Sheet::open(REFERENCE, reference)?;
    let Some(column) = sheet.column(target)? else {
        return Err(sheet.missing(target, "the column that output.target names is not there; add it or remove the key"));
    };
    if kind == OutputKind::Classification {
        let mut classes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut row = 0;
        while sheet.advance()? {
            classes.entry(sheet.text(column).to_owned()).or_default().push(row);
            row += 1;
        }
        return Ok(classes.into_values().collect());
    }
    let mut targets = Vec::new();
    while sheet.advance()? {
        targets.push((sheet.number(column)?, targets.len()));
    }
    targets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = targets.len().div_ceil(TARGET_GROUPS).max(1);
    Ok(targets.chunks(size).map(|group| group.iter().map(|&(_, row)| row).collect()).collect())
}

/// How many rows each group gives: in proportion, what rounding leaves over going to the largest remainders.
fn shares(groups: &[Vec<usize>], wanted: usize) -> Vec<usize> {
    let total: u128 = groups.iter().map(|group| group.len() as u128).sum::<u128>().max(1);
    let exact = |group: &Vec<usize>| group.len() as u128 * wanted as u128;
    let mut shares: Vec<usize> = groups.iter().map(|group| (exact(group) / total) as usize).collect();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(exact(&groups[index]) % total));
    let left = wanted.saturating_sub(shares.iter().sum());
    order.into_iter().take(left).for_each(|index| shares[index] += 1);
    shares
}

fn table_csv(table: &Table, features: &[Feature]) -> String {
    let mut text = String::new();
    push_line(&mut text, table.columns.iter().map(ToString::to_string));
    for row in table.iter() {
        push_line(&mut text, cells(row, features));
    }
    text
}

fn golden_csv<'a>(
    manifest: &Manifest,
    columns: &[usize],
    rows: impl Iterator<Item = (&'a [f32], &'a [f64])>,
    origin: &str,
) -> String {
    let mut text = String::new();
    let names = manifest.columns().into_iter().map(|name| name.to_string());
    let outputs = columns.iter().map(|&column| golden::column_name(&manifest.output.tensor, column));
    push_line(&mut text, names.chain(outputs).chain([ORIGIN.to_owned()]));
    for (row, outputs) in rows {
        let outputs = outputs.iter().map(f64::to_string);
        push_line(&mut text, cells(row, &manifest.features).chain(outputs).chain([origin.to_owned()]));
    }
    text
}

/// Values as text that reads back as the same float32; categories as their words, which may themselves look like
/// numbers; a missing value as nothing.
fn cells<'a>(row: &'a [f32], features: &'a [Feature]) -> impl Iterator<Item = String> + 'a {
    row.iter().zip(features.iter().cycle()).map(|(&value, feature)| {
        let word = feature.categories.iter().find(|(_, number)| **number as f32 == value);
        let number = || if value.is_nan() { String::new() } else { value.to_string() };
        word.map_or_else(number, |(word, _)| word.clone())
    })
}

fn push_line(text: &mut String, cells: impl Iterator<Item = String>) {
    for (index, cell) in cells.enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let quoted = cell.contains([',', '"', '\n', '\r']) || cell.is_empty();
        let _infallible = if quoted {
            write!(text, "{separator}\"{}\"", cell.replace('"', "\"\""))
        } else {
            write!(text, "{separator}{cell}")
        };
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../../../tests/models/ai4i-mlp/model.onnx");

    fn manifest(rest: &str) -> String {
        let mut text = "schema = 1\nname = \"m\"\nversion = \"1\"\n".to_owned();
        text.push_str("[[feature]]\nname = \"a, \\\"b\\\"\"\ncategories = { \"1\" = 2, \"2\" = 1 }\n");
        ["c", "d", "e", "f", "g"].iter().for_each(|name| text.push_str(&format!("[[feature]]\nname = \"{name}\"\n")));
        text + "[output]\nkind = \"classification\"\ntensor = \"probability\"\n" + rest
    }

    /// Rows of which every tenth failed.
    fn reference(rows: usize) -> Vec<u8> {
        let mut text = "\"a, \"\"b\"\"\",c,d,e,f,g,failed\n".to_owned();
        for row in 0..rows {
            text.push_str(&format!("{},300.1,310.{row},1500,40.5,{row},{}\n", 1 + row % 2, u8::from(row % 10 == 0)));
        }
        text.into_bytes()
    }

    fn inputs(rows: usize, rest: &str) -> PackInputs {
        PackInputs { model: MODEL.to_vec(), manifest: manifest(rest), reference: reference(rows), golden: None }
    }

    #[test]
    fn a_small_reference_is_taken_whole_and_in_order() {
        let files = create(inputs(100, "")).expect("a sound bundle");
        let model = Model::load(&files).expect("it loads");
        let whole = Table::read("reference", &reference(100), model.manifest()).expect("a table");
        assert_eq!(*model.background(), whole);
        assert_eq!(whole.rows[..2], [2.0, 300.1], "the word \"1\" stands for 2");
        let verified = model.verify().expect("its own outputs");
        assert_eq!((verified.rows, verified.origin.as_deref()), (50, Some("bundle-create")));
        assert_eq!(create(inputs(100, "")).as_ref(), Ok(&files), "the same inputs, the same bytes");
    }

    #[test]
    fn a_large_reference_is_sampled_evenly_from_each_class() {
        let rest = "target = \"failed\"\n[explanation]\nbackground_rows = 50\n";
        let files = create(inputs(1_000, rest)).expect("a sound bundle");
        let model = Model::load(&files).expect("it loads");
        let wear: Vec<f32> = model.background().iter().map(|row| row[5]).collect();
        assert_eq!(wear.len(), 50);
        assert!(wear.is_sorted(), "in the reference's order");
        assert_eq!(wear.iter().filter(|&&row| row % 10.0 == 0.0).count(), 5);
        assert!(wear.iter().any(|&row| row < 200.0) && wear.iter().any(|&row| row > 800.0));
        assert_eq!(create(inputs(1_000, rest)).as_ref(), Ok(&files));
        let other = create(inputs(1_001, rest)).expect("a sound bundle");
        assert_ne!(other["background.csv"], files["background.csv"], "another reference, another sample");
    }

    #[test]
    fn the_trainers_golden_rows_are_kept_or_refuse_the_model() {
        let files = create(inputs(3, "")).expect("a sound bundle");
        let golden = String::from_utf8(files["golden.csv"].clone()).expect("text").replace("bundle-create", "trainer");
        let again = create(PackInputs { golden: Some(golden.clone().into_bytes()), ..inputs(3, "") }).expect("sound");
        assert_eq!(again["golden.csv"], golden.as_bytes());
        let wrong = golden.replace(",0.", ",1.");
        assert_ne!(wrong, golden);
        let error =
            create(PackInputs { golden: Some(wrong.into_bytes()), ..inputs(3, "") }).expect_err("a wrong output");
        assert!(matches!(&error, BundleError::Golden { line: 2, column: 0, .. }), "{error}");
        let nan = golden.replace(",0.", ",NaN 0.");
        let error = create(PackInputs { golden: Some(nan.into_bytes()), ..inputs(3, "") }).expect_err("a NaN");
        assert!(error.to_string().starts_with("golden.csv, line 2, column \"output:probability[0]\": "), "{error}");
        let none = "\"a, \"\"b\"\"\",c,d,e,f,g\n1,1,1,1,1,1\n";
        let error = create(PackInputs { golden: Some(none.into()), ..inputs(3, "") }).expect_err("no outputs");
        assert!(error.to_string().contains("there is no expected output"), "{error}");
    }

    #[test]
    fn a_value_that_may_be_missing_may_be_left_empty_and_is_kept_so() {
        let trees = include_bytes!("../../../../tests/models/ai4i-gbt/model.onnx");
        let features = ["a", "b", "c", "d", "e", "f"];
        let manifest = |missing: &str| {
            let features = features.map(|name| format!("[[feature]]\nname = \"{name}\"\n")).concat();
            let output = "[output]\nkind = \"classification\"\ntensor = \"probabilities\"\n";
            format!("schema = 1\nname = \"m\"\nversion = \"1\"\n{features}{missing}{output}")
        };
        let reference = "a,b,c,d,e,f\n0,300,310,1500,40,\n1,301,311,1400,50,NaN\n2,302,312,1300,60,200\n";
        let inputs = |missing| PackInputs {
            model: trees.to_vec(),
            manifest: manifest(missing),
            reference: reference.as_bytes().to_vec(),
            golden: None,
        };
        let files = create(inputs("missing = true\n")).expect("a sound bundle");
        let model = Model::load(&files).expect("it loads");
        let last: Vec<bool> = model.background().iter().map(|row| row[5].is_nan()).collect();
        assert_eq!(last, [true, true, false]);
        assert_eq!(model.verify().expect("its own outputs").rows, 3);
        let error = create(inputs("")).expect_err("an empty cell").to_string();
        assert!(error.starts_with("the reference, line 2, column \"f\": "), "{error}");
    }

    #[test]
    fn a_target_that_is_not_there_is_said() {
        let rest = "target = \"broken\"\n[explanation]\nbackground_rows = 10\n";
        let error = create(inputs(100, rest)).expect_err("no such column").to_string();
        assert!(error.starts_with("the reference, line 1, column \"broken\": "), "{error}");
    }

    #[test]
    fn shares_are_in_proportion_and_add_up() {
        let groups: Vec<Vec<usize>> = [970, 20, 10].iter().map(|&len| vec![0; len]).collect();
        assert_eq!(shares(&groups, 100), [97, 2, 1]);
        assert_eq!(shares(&groups, 10), [10, 0, 0]);
        for wanted in [1, 7, 99, 500] {
            assert_eq!(shares(&groups, wanted).iter().sum::<usize>(), wanted);
        }
    }
}
