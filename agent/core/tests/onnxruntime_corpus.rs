//! Small random tree ensembles of `tests/models/corpus`: every row must come out as onnxruntime gave it.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use explaind_core::domain::prediction::Digest;
use explaind_core::model::{Files, Model, bundle};
use serde_json::Value;

/// A bundle around an ensemble over three features, which decides on one column of its scores.
fn bundle(onnx: &[u8], column: usize) -> Files {
    let manifest = format!(
        "schema = 1\nname = \"corpus\"\nversion = \"1\"\n\
         [[feature]]\nname = \"a\"\n[[feature]]\nname = \"b\"\n[[feature]]\nname = \"c\"\n\
         [output]\nkind = \"regression\"\ntensor = \"scores\"\nindex = {column}\nspace = \"value\"\n"
    );
    let mut files = Files::from([
        ("model.onnx".to_owned(), onnx.to_vec()),
        ("manifest.toml".to_owned(), manifest.into_bytes()),
        ("background.csv".to_owned(), b"a,b,c\n0,0,0\n".to_vec()),
    ]);
    let line = |(name, bytes): (&String, &Vec<u8>)| -> String {
        let digest: Digest = bundle::digest(bytes);
        format!("{digest}  {name}\n")
    };
    let sums: String = files.iter().map(line).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Compares all rows of a model; the number of values compared.
fn compare(case: &Value) -> Result<usize, String> {
    let onnx = from_hex(case["onnx"].as_str().expect("the model"));
    let scores = case["scores"].as_array().expect("scores");
    let values = case["rows"].as_array().expect("rows").iter().flat_map(|row| row.as_array().expect("a row"));
    let rows: Vec<f32> = values.map(|value| value.as_f64().map_or(f32::NAN, |value| value as f32)).collect();
    // Of a function that onnxruntime itself has only roughly.
    let tolerance = case["tolerance"].as_f64().unwrap_or(1e-6);
    let mut compared = 0;
    for column in 0..scores[0].as_array().expect("scores").len() {
        let model = Model::load(&bundle(&onnx, column)).map_err(|error| error.to_string())?;
        let mut whole = Vec::new();
        let mut singly = Vec::new();
        for (row, scores) in rows.chunks_exact(3).zip(scores) {
            match (scores[column].as_f64(), model.predict(row)) {
                (Some(expected), Ok(answer))
                    if (answer.output.value - expected).abs() <= tolerance * expected.abs().max(1.0) =>
                {
                    compared += 1;
                    if row.iter().all(|value| !value.is_nan()) {
                        whole.extend_from_slice(row);
                        singly.push(answer.output.value);
                    }
                }
                (None, Err(_)) => {}
                (expected, found) => return Err(format!("{row:?}: {found:?} for {expected:?}")),
            }
        }
        for (together, alone) in model.explained(&whole).expect("answers").iter().zip(&singly) {
            assert!((together - alone).abs() <= 1e-12, "{together} in a batch, {alone} alone");
        }
    }
    Ok(compared)
}

#[test]
fn every_row_of_the_corpus_comes_out_as_onnxruntime_gave_it() {
    let corpus = include_str!("../../../tests/models/corpus.json");
    let corpus: Vec<Value> = serde_json::from_str(corpus).expect("the corpus is JSON");
    let (mut compared, mut problems) = (0, Vec::new());
    for case in &corpus {
        match compare(case) {
            Ok(count) => compared += count,
            Err(problem) => problems.push(format!("{}: {problem}", case["seed"])),
        }
    }
    assert!(problems.is_empty(), "{} of {} models:\n{}", problems.len(), corpus.len(), problems.join("\n"));
    assert!(compared >= 3_000, "only {compared} values were compared");
}
