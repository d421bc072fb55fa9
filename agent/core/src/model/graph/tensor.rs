//! Numbers stored in a file, checked against the shape that is claimed for them.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

use super::attributes::brief;

/// Checks that a stored tensor has as many values as its shape says, before anything makes room for them.
///
/// # Errors
/// A sentence on a tensor that is kept in another file, or that has more or fewer values.
pub(crate) fn check(tensor: &TensorProto, name: &str) -> Result<(), String> {
    let name = brief(name);
    if tensor.data_location == Some(DataLocation::External as i32) {
        return Err(format!("the tensor \"{name}\" is kept in another file; export the model with its weights inside"));
    }
    let mut claimed = Some(1_usize);
    for &dim in &tensor.dims {
        claimed = claimed.zip(usize::try_from(dim).ok()).and_then(|(product, dim)| product.checked_mul(dim));
    }
    let stored = stored(tensor);
    match (claimed, stored) {
        (Some(claimed), Some(stored)) if claimed == stored => Ok(()),
        (Some(_), None) => Ok(()),
        (_, stored) => Err(format!(
            "the tensor \"{name}\" has {} values and another size in its shape; export the model again",
            stored.unwrap_or(0)
        )),
    }
}

/// How many values are there; none for types that we do not know.
fn stored(tensor: &TensorProto) -> Option<usize> {
    let (size, listed) = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float => (4, tensor.float_data.len()),
        DataType::Double => (8, tensor.double_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Uint64 => (8, tensor.uint64_data.len()),
        DataType::Int32 => (4, tensor.int32_data.len()),
        DataType::Uint32 => (4, tensor.uint64_data.len()),
        DataType::Int16 | DataType::Uint16 | DataType::Float16 => (2, tensor.int32_data.len()),
        DataType::Int8 | DataType::Uint8 | DataType::Bool => (1, tensor.int32_data.len()),
        DataType::String => return Some(tensor.string_data.len()),
        _ => return None,
    };
    if tensor.raw_data.is_empty() {
        Some(listed)
    } else {
        tensor.raw_data.len().is_multiple_of(size).then(|| tensor.raw_data.len() / size)
    }
}

/// A tensor's values as float64, whatever kind of number they are.
///
/// # Errors
/// A sentence on a tensor that [`check`] refuses, or that holds no numbers.
pub(crate) fn numbers(tensor: &TensorProto, name: &str) -> Result<Vec<f64>, String> {
    check(tensor, name)?;
    let raw = &tensor.raw_data;
    let refused =
        || Err(format!("the tensor \"{}\" holds no numbers that can be read; export the model again", brief(name)));
    let Ok(kind) = DataType::try_from(tensor.data_type) else { return refused() };
    Ok(match (kind, raw.is_empty()) {
        (DataType::Float, true) => tensor.float_data.iter().map(|&value| f64::from(value)).collect(),
        (DataType::Double, true) => tensor.double_data.clone(),
        (DataType::Int64, true) => tensor.int64_data.iter().map(|&value| value as f64).collect(),
        (DataType::Int32 | DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Bool, true) => {
            tensor.int32_data.iter().map(|&value| f64::from(value)).collect()
        }
        (DataType::Float, false) => read(raw, |bytes| f64::from(f32::from_le_bytes(bytes))),
        (DataType::Double, false) => read(raw, f64::from_le_bytes),
        (DataType::Int64, false) => read(raw, |bytes| i64::from_le_bytes(bytes) as f64),
        (DataType::Int32, false) => read(raw, |bytes| f64::from(i32::from_le_bytes(bytes))),
        (DataType::Uint8 | DataType::Bool, false) => read(raw, |[byte]: [u8; 1]| f64::from(byte)),
        (DataType::Int8, false) => read(raw, |bytes: [u8; 1]| f64::from(i8::from_le_bytes(bytes))),
        _ => return refused(),
    })
}

fn read<const N: usize>(raw: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    raw.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
}
