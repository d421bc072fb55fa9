//! Makes a bundle from a model, a manifest and reference rows. The same inputs give the same bytes.

mod mlmodel;
mod sample;
mod write;

pub use write::push_line;

use super::bundle::{self, Files};
use super::error::{BundleError, ModelError, Place};
use super::golden::Golden;
use super::manifest::Manifest;
use super::monitoring::{self, Monitoring, Origin, Targets};
use super::table::Table;
use super::{Engine, Model, card, choose_column, load_engine, reconstruction};
use crate::random::Random;

/// The name that errors give the reference rows.
const REFERENCE: &str = "the reference";
/// The name that errors give the calibration rows.
const CALIBRATION: &str = "the calibration rows";
/// Golden rows made here when the trainer gives none.
const GOLDEN_ROWS: usize = 50;
/// The most rows that calibrate: more would make intervals no narrower than a tenth of a percent of coverage.
const CALIBRATION_ROWS: usize = 1_000;
/// The most values in them: windows are long.
const CALIBRATION_VALUES: usize = 4_000_000;
/// The most rows of the reference that the model is run on.
const MODEL_ROWS: usize = 20_000;

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
    /// Rows that the model was not trained on, as CSV with the reference's columns and the target's.
    pub calibration: Option<Vec<u8>>,
}

/// Makes a bundle, and proves that it loads and that its golden rows come out right.
///
/// The background is the reference itself where that has at most `background_rows` rows, else a sample of it: in
/// proportion from each group of `output.target` where the manifest names it, else of what the model says; the digest of
/// the inputs is the seed. Without golden rows from the trainer, the first rows of the background are taken with what the
/// model says here. Calibration rows without a file of their own are drawn from the reference.
///
/// # Errors
/// [`BundleError`] for whatever keeps the result from being a sound bundle.
pub fn create(inputs: PackInputs) -> Result<Files, BundleError> {
    let manifest = Manifest::parse(&inputs.manifest)?;
    let (engine, _) = load_engine(&inputs.model, &inputs.manifest, &manifest)?;
    let column = choose_column(&inputs.manifest, &manifest, &engine)?;
    let reference = Table::read(REFERENCE, &inputs.reference, &manifest)?;
    let mut random = seeded(&inputs);
    let looked_at = looked_at(&reference);
    let outputs = outputs(&engine, column, &manifest, &looked_at)?;
    let background = background(&inputs, &manifest, &reference, &outputs, &mut random)?;
    let golden = golden(&inputs, &manifest, &engine, &background)?;
    let mut files = Files::from([
        (bundle::BACKGROUND.to_owned(), write::table_csv(&background, &manifest.features).into_bytes()),
        (bundle::GOLDEN.to_owned(), golden.into_bytes()),
        (bundle::MANIFEST.to_owned(), inputs.manifest.clone().into_bytes()),
        (bundle::MODEL.to_owned(), inputs.model.clone()),
        (bundle::MLMODEL.to_owned(), mlmodel::text(&manifest).into_bytes()),
    ]);
    seal(&mut files);
    let model = Model::load(&files)?;
    model.verify()?;
    let mut found = monitoring::of(&reference, &manifest, background.len(), &outputs);
    if let Some(text) = calibrate(&inputs, &model, &reference, &mut found, &mut random)? {
        files.insert(bundle::CALIBRATION.to_owned(), text.into_bytes());
    }
    let told = serde_json::to_vec_pretty(&found).map_err(|error| {
        BundleError::at(Place::file(bundle::MONITORING), format!("the figures cannot be written: {error}"))
    })?;
    files.insert(bundle::MONITORING.to_owned(), told);
    files.remove(bundle::SUMS);
    let page = card::page(model.manifest(), &found, &files);
    files.insert(bundle::CARD.to_owned(), page.into_bytes());
    seal(&mut files);
    // What was added must pass as all of it will have to.
    bundle::check(&files)?;
    Monitoring::read(files.get(bundle::MONITORING).map_or(&[][..], Vec::as_slice), &manifest)?;
    Ok(files)
}

fn seal(files: &mut Files) {
    files.insert(bundle::SUMS.to_owned(), bundle::sums(files).into_bytes());
}

fn seeded(inputs: &PackInputs) -> Random {
    let mut seed = Vec::new();
    for part in [&inputs.model, inputs.manifest.as_bytes(), &inputs.reference] {
        seed.extend_from_slice(&bundle::digest(part).0);
    }
    Random::new(bundle::digest(&seed).0)
}

/// The rows of the reference that the model is run on: all, or some that are spread over it.
fn looked_at(reference: &Table) -> Table {
    let every = reference.len().div_ceil(MODEL_ROWS).max(1);
    let rows: Vec<usize> = (0..reference.len()).step_by(every).collect();
    sample::pick(reference, &rows)
}

/// What is decided on, of each row; not a number where the model gives none.
fn outputs(engine: &Engine, column: usize, manifest: &Manifest, table: &Table) -> Result<Vec<f64>, BundleError> {
    let answers = engine.run(&table.rows).map_err(failed)?;
    Ok(match manifest.output.kind {
        super::OutputKind::Reconstruction => reconstruction::scores(&table.rows, &answers, table.width()),
        _ => answers.into_iter().skip(column).step_by(engine.columns()).collect(),
    })
}

fn failed(error: ModelError) -> BundleError {
    BundleError::model(format!("{error}, for reference rows; export the model again"))
}

fn background(
    inputs: &PackInputs,
    manifest: &Manifest,
    reference: &Table,
    outputs: &[f64],
    random: &mut Random,
) -> Result<Table, BundleError> {
    let wanted = manifest.explanation.background_rows;
    // A target that is named is one that is there, also where nothing is drawn.
    let groups = match &manifest.output.target {
        Some(target) => sample::by_target(REFERENCE, &inputs.reference, target, manifest.output.kind)?.0,
        None => sample::by_quantity(outputs),
    };
    if reference.len() <= wanted {
        return Ok(reference.clone());
    }
    if manifest.output.target.is_some() {
        return Ok(sample::pick(reference, &sample::draw(&groups, wanted, random)));
    }
    let looked_at = looked_at(reference);
    Ok(sample::pick(&looked_at, &sample::draw(&groups, wanted, random)))
}

fn golden(
    inputs: &PackInputs,
    manifest: &Manifest,
    engine: &Engine,
    background: &Table,
) -> Result<String, BundleError> {
    if let Some(bytes) = &inputs.golden {
        let given = Golden::read(bytes, manifest, engine.columns())?;
        let origin = given.origin().unwrap_or("trainer").to_owned();
        return Ok(write::golden_csv(manifest, given.outputs(), given.iter(), &origin));
    }
    let rows = &background.rows[..background.rows.len().min(GOLDEN_ROWS * background.width())];
    let outputs = engine.run(rows).map_err(failed)?;
    let columns: Vec<usize> = (0..engine.columns()).collect();
    let rows = rows.chunks_exact(background.width()).zip(outputs.chunks_exact(columns.len()));
    Ok(write::golden_csv(manifest, &columns, rows, "bundle-create"))
}

/// Measures the model on rows with targets, and gives `calibration.csv`; nothing where the manifest names no target.
fn calibrate(
    inputs: &PackInputs,
    model: &Model,
    reference: &Table,
    found: &mut Monitoring,
    random: &mut Random,
) -> Result<Option<String>, BundleError> {
    let manifest = model.manifest();
    let (file, bytes, origin) = match &inputs.calibration {
        Some(bytes) => (CALIBRATION, bytes, Origin::HeldOut),
        None => (REFERENCE, &inputs.reference, Origin::Reference),
    };
    let Some(target) = &manifest.output.target else {
        if inputs.calibration.is_some() {
            let problem = "calibration rows need a target; write its column's name as output.target";
            return Err(Manifest::error(&inputs.manifest, "output.target", problem));
        }
        return Ok(None);
    };
    let own = inputs.calibration.as_ref().map(|bytes| Table::read(file, bytes, manifest)).transpose()?;
    let table = own.as_ref().unwrap_or(reference);
    let kind = manifest.output.kind;
    let (groups, texts) = sample::by_target(file, bytes, target, kind)?;
    let targets = Targets::read(file, bytes, target, kind, &manifest.output.labels)?;
    let most = CALIBRATION_ROWS.min(CALIBRATION_VALUES / table.width().max(1)).max(1);
    let chosen = sample::draw(&groups, most, random);
    let rows = sample::pick(table, &chosen);
    let measured = monitoring::measure(model, &rows, &targets.of(&chosen), origin);
    let failed = |error: ModelError| BundleError::model(format!("{error}, for {file}; export the model again"));
    (found.certainty, found.quality) = measured.map_err(failed)?;
    found.round();
    let texts: Vec<String> = chosen.iter().filter_map(|&row| texts.get(row).cloned()).collect();
    Ok(Some(write::calibration_csv(&rows, &manifest.features, target, &texts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../../../../tests/models/ai4i-mlp/model.onnx");

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
        PackInputs {
            model: MODEL.to_vec(),
            manifest: manifest(rest),
            reference: reference(rows),
            golden: None,
            calibration: None,
        }
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
        let trees = include_bytes!("../../../../../tests/models/ai4i-gbt/model.onnx");
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
            calibration: None,
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
        let error = create(inputs(5, rest)).expect_err("no such column").to_string();
        assert!(error.starts_with("the reference, line 1, column \"broken\": "), "{error}");
    }

    fn monitoring(files: &Files) -> Monitoring {
        Model::load(files).expect("it loads").monitoring().cloned().expect("its figures")
    }

    #[test]
    fn without_a_target_the_background_has_all_that_the_model_says() {
        let rest = "[explanation]\nbackground_rows = 50\n";
        let files = create(inputs(1_000, rest)).expect("a sound bundle");
        let model = Model::load(&files).expect("it loads");
        let all = Table::read("reference", &reference(1_000), model.manifest()).expect("a table");
        let mut said = model.outputs(&all.rows).expect("outputs");
        said.sort_by(f64::total_cmp);
        let drawn = model.outputs(&model.background().rows).expect("outputs");
        for tenth in said.chunks(100) {
            let within = drawn.iter().filter(|output| (tenth[0]..=tenth[99]).contains(*output)).count();
            assert!(within >= 5, "{within} between {} and {}", tenth[0], tenth[99]);
        }
        let told = monitoring(&files);
        assert_eq!((told.rows, told.background_rows, told.certainty), (1_000, 50, None));
        assert!(!files.contains_key("calibration.csv"));
        let card = String::from_utf8(files["MODEL_CARD.md"].clone()).expect("text");
        assert!(card.contains("names no `output.target`") && card.contains("`model.onnx`"), "{card}");
    }

    #[test]
    fn targets_calibrate_by_their_class_and_held_out_rows_come_first() {
        let rest = "target = \"failed\"\n[card]\npurpose = \"To see.\"\nassets = [\"press-7\"]\n";
        let files = create(inputs(3_000, rest)).expect("a sound bundle");
        let text = String::from_utf8(files["calibration.csv"].clone()).expect("text");
        assert_eq!(text.lines().count(), 1_001);
        assert_eq!(text.lines().filter(|line| line.ends_with(",1")).count(), 100, "as many failed as in the reference");
        let told = monitoring(&files);
        let certainty = told.certainty.expect("scores");
        assert_eq!((certainty.score, certainty.origin), (monitoring::Score::OneMinusProbability, Origin::Reference));
        assert_eq!(certainty.scores.len(), 1_000);
        let card = String::from_utf8(files["MODEL_CARD.md"].clone()).expect("text");
        for part in ["To see.", "assets: press-7", "On 1000 rows of the reference", "accuracy", "expires: never"] {
            assert!(card.contains(part), "{part}: {card}");
        }
        let held = create(PackInputs { calibration: Some(reference(30)), ..inputs(3_000, rest) }).expect("sound");
        let told = monitoring(&held).quality.expect("measured");
        assert_eq!((told.rows, told.origin), (30, Origin::HeldOut));
        let error = create(PackInputs { calibration: Some(reference(30)), ..inputs(10, "") }).expect_err("no target");
        assert!(error.to_string().contains("output.target"), "{error}");
    }
}
