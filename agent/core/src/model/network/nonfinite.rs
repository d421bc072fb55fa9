//! What is no number, or infinite, comes out of each operator as it comes out of onnxruntime: of single rows and of batches.

use prost::Message;
use serde_json::Value;
use tract_onnx::pb::ModelProto;

use super::Network;

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("nan") => f64::NAN,
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        _ => value.as_f64().expect("a number"),
    }
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    let rows = value.as_array().expect("rows").iter();
    rows.map(|row| row.as_array().expect("a row").iter().map(number).collect()).collect()
}

fn agrees(found: f64, expected: f64) -> bool {
    if expected.is_finite() {
        (found - expected).abs() <= 1e-5 * expected.abs().max(1.0)
    } else {
        found == expected || found.is_nan() && expected.is_nan()
    }
}

fn compare(case: &Value) -> Result<usize, String> {
    let onnx: Vec<char> = case["onnx"].as_str().expect("the file").chars().collect();
    let digit = |c: &char| c.to_digit(16).expect("hexadecimal") as u8;
    let onnx: Vec<u8> = onnx.chunks_exact(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect();
    let model = ModelProto::decode(onnx.as_slice()).expect("a file");
    let shape: Vec<usize> =
        case["shape"].as_array().expect("a shape").iter().map(|size| size.as_u64().expect("a size") as usize).collect();
    let network = Network::load(&model, "y", &shape)?;
    let (inputs, expected) = (rows(&case["rows"]), rows(&case["outputs"]));
    let mut compared = 0;
    let mut check = |how: &str, input: &[f64], found: &[f64], expected: &[f64]| {
        if found.len() != expected.len() {
            return Err(format!("{} values {how}, and should be {}", found.len(), expected.len()));
        }
        for (place, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            if !agrees(found, expected) {
                return Err(format!("{found} for {expected} at {place} {how}, of {input:?}"));
            }
            compared += 1;
        }
        Ok(())
    };
    for (input, expected) in inputs.iter().zip(&expected) {
        let row: Vec<f32> = input.iter().map(|&value| value as f32).collect();
        check("alone", input, &network.run(&row).map_err(|error| error.to_string())?, expected)?;
    }
    if !network.takes_batches() {
        return Err("it takes no batches".to_owned());
    }
    let order: Vec<usize> = (0..64).map(|row| row * 5 % inputs.len()).collect();
    let together: Vec<f32> = order.iter().flat_map(|&row| inputs[row].iter().map(|&value| value as f32)).collect();
    let found = network.run(&together).map_err(|error| error.to_string())?;
    for (found, &row) in found.chunks_exact(network.columns().max(1)).zip(&order) {
        check("in a batch", &inputs[row], found, &expected[row])?;
    }
    Ok(compared)
}

#[test]
fn what_is_no_number_stays_so_where_onnxruntime_says_so() {
    let cases = include_str!("../../../../../tests/models/nonfinite.json");
    let cases: Vec<Value> = serde_json::from_str(cases).expect("JSON");
    let (mut compared, mut problems) = (0, Vec::new());
    for case in &cases {
        match compare(case) {
            Ok(count) => compared += count,
            Err(problem) => problems.push(format!("{}: {problem}", case["name"])),
        }
    }
    assert!(problems.is_empty(), "{} of {} models:\n{}", problems.len(), cases.len(), problems.join("\n"));
    assert!(compared > 50_000, "only {compared} values were compared");
}
