//! Damaged and hostile models and bundles: an error each time, soon, and never a panic.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use explaind_core::model::{BundleError, Files, Model, bundle};
use prost::Message;
use tract_onnx::pb::ModelProto;

const FOREST: &[u8] = include_bytes!("../../../tests/models/ai4i-gbt/model.onnx");
const NETWORK: &[u8] = include_bytes!("../../../tests/models/ai4i-mlp/model.onnx");
const BACKGROUND: &[u8] = include_bytes!("../../../tests/models/ai4i-gbt/background.csv");
const FEATURES: [&str; 6] =
    ["type", "air_temperature_k", "process_temperature_k", "rotational_speed_rpm", "torque_nm", "tool_wear_min"];

/// A bundle with whatever model, and digests that vouch for it.
fn bundle_of(onnx: &[u8], tensor: &str) -> Files {
    let mut manifest = "schema = 1\nname = \"m\"\nversion = \"1\"\n".to_owned();
    for name in FEATURES {
        writeln!(manifest, "[[feature]]\nname = \"{name}\"").expect("strings take text");
    }
    write!(manifest, "[output]\nkind = \"classification\"\ntensor = \"{tensor}\"\n").expect("strings take text");
    seal(Files::from([
        ("model.onnx".to_owned(), onnx.to_vec()),
        ("manifest.toml".to_owned(), manifest.into_bytes()),
        ("background.csv".to_owned(), BACKGROUND.to_vec()),
    ]))
}

fn seal(mut files: Files) -> Files {
    files.remove("SHA256SUMS");
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

/// A file with a model of a kind of its own, and the tensor that is asked for.
fn originals() -> [(&'static [u8], &'static str); 2] {
    [(FOREST, "probabilities"), (NETWORK, "probability")]
}

/// Loads, and runs a row where loading went well. What comes out does not matter; that it comes out does.
fn survives(onnx: &[u8], tensor: &str) -> Result<(), BundleError> {
    let model = Model::load(&bundle_of(onnx, tensor))?;
    let row: Vec<f32> = model.background().iter().next().expect("a row").to_vec();
    let _answer = model.predict(&row);
    let _explained = model.explained(&model.background().rows);
    Ok(())
}

#[test]
fn the_originals_are_sound() {
    for (onnx, tensor) in originals() {
        survives(onnx, tensor).expect("a sound model");
    }
}

#[test]
fn truncated_files_are_refused() {
    for (onnx, tensor) in originals() {
        for cut in (0..onnx.len()).step_by(onnx.len() / 97) {
            let error = survives(&onnx[..cut], tensor).expect_err("a truncated model");
            assert!(error.to_string().contains("model.onnx") || error.to_string().contains("output.tensor"), "{error}");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let mut state = 0x243f_6a88_85a3_08d3_u64;
    let mut random = move || {
        // A linear congruential generator: the same bytes in every run. Source: Knuth's MMIX.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for (onnx, tensor) in originals() {
        for _ in 0..150 {
            let mut damaged = onnx.to_vec();
            for _ in 0..=random() % 4 {
                let place = random() % damaged.len();
                damaged[place] ^= (1 + random() % 255) as u8;
            }
            let _either = survives(&damaged, tensor);
        }
    }
}

/// The forest's file with one of its operator's attributes changed.
fn forest_with(change: impl FnOnce(&mut tract_onnx::pb::NodeProto)) -> Vec<u8> {
    let mut model = ModelProto::decode(FOREST).expect("the reference model");
    change(&mut model.graph.as_mut().expect("a graph").node[0]);
    model.encode_to_vec()
}

fn set_int(node: &mut tract_onnx::pb::NodeProto, name: &str, index: usize, value: i64) {
    node.attribute.iter_mut().find(|attribute| attribute.name == name).expect(name).ints[index] = value;
}

#[test]
fn hostile_trees_in_a_file_are_refused_by_name() {
    let cases: [(&str, Vec<u8>); 4] = [
        ("reached twice", forest_with(|node| set_int(node, "nodes_truenodeids", 0, 0))),
        ("which is not there", forest_with(|node| set_int(node, "nodes_falsenodeids", 0, i64::MAX))),
        ("splits on feature 6", forest_with(|node| set_int(node, "nodes_featureids", 0, 6))),
        (
            "two classes and base values",
            forest_with(|node| {
                let base =
                    node.attribute.iter_mut().find(|attribute| attribute.name == "base_values").expect("base values");
                base.floats = vec![0.1, 0.2];
            }),
        ),
    ];
    for (sentence, onnx) in cases {
        let error = survives(&onnx, "probabilities").expect_err(sentence).to_string();
        assert!(error.starts_with("model.onnx: ") && error.contains(sentence), "{error}");
    }
}

#[test]
fn a_model_that_does_not_fit_its_manifest_is_refused_with_the_key() {
    let error = survives(NETWORK, "probabilities").expect_err("another tensor").to_string();
    assert!(error.contains("key output.tensor") && error.contains("probability"), "{error}");
    let error = survives(FOREST, "label").expect_err("labels").to_string();
    assert!(error.contains("labels"), "{error}");
    let mut files = bundle_of(NETWORK, "probability");
    let manifest = String::from_utf8(files["manifest.toml"].clone()).expect("text");
    let narrower = manifest.replace("[[feature]]\nname = \"type\"\n", "");
    files.insert("manifest.toml".to_owned(), narrower.into_bytes());
    let error = Model::load(&seal(files)).expect_err("five features").to_string();
    assert_eq!(error, "model.onnx: the model takes rows of 6 values, and manifest.toml names 5 features");
}

#[test]
fn bundles_that_were_touched_are_refused_by_file() {
    let sound = bundle_of(FOREST, "probabilities");
    Model::load(&sound).expect("a sound bundle");
    let missing = |name: &str| {
        let mut files = sound.clone();
        files.remove(name);
        Model::load(&files).expect_err(name).to_string()
    };
    for name in ["SHA256SUMS", "model.onnx", "manifest.toml", "background.csv"] {
        assert!(missing(name).starts_with(name), "{}", missing(name));
    }
    assert!(missing("background.csv").contains("reference rows"));
    let mut files = sound.clone();
    files.insert("extra.txt".to_owned(), b"hello".to_vec());
    assert!(matches!(Model::load(&files), Err(BundleError::Unlisted { file }) if file == "extra.txt"));
    files = sound.clone();
    files.entry("model.onnx".to_owned()).or_default()[1000] ^= 1;
    assert!(matches!(Model::load(&files), Err(BundleError::Digest { file, .. }) if file == "model.onnx"));
    files = sound.clone();
    files.insert("SHA256SUMS.minisig".to_owned(), b"signature".to_vec());
    Model::load(&files).expect("a signature is not listed");
    files.insert("SHA256SUMS.minisig".to_owned(), vec![0; 100_000]);
    assert!(matches!(Model::load(&files), Err(BundleError::TooLarge { .. })));
    files = sound;
    let sums = format!("{}\nnot a line\n", String::from_utf8(files["SHA256SUMS"].clone()).expect("text").trim());
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    let error = Model::load(&files).expect_err("a broken line").to_string();
    assert!(error.starts_with("SHA256SUMS, line 4: "), "{error}");
}
