//! Tables that people give: CSV as it is, Parquet as the CSV that it would be.

use std::path::Path;

use explaind_core::model::pack::push_line;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

use super::MOST_BYTES;
use crate::cli::failure::{DATA, Failure};

/// How a Parquet file begins and ends.
const MAGIC: &[u8] = b"PAR1";
/// The most columns that are read.
const MOST_COLUMNS: usize = 200_000;

/// Reads a table as CSV, whichever of the two it is.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = super::read(path)?;
    if !bytes.starts_with(MAGIC) {
        return Ok(bytes);
    }
    csv(bytes).map_err(|reason| Failure::new(DATA, format!("{}: {reason}", path.display())))
}

fn csv(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let wrong = |error: parquet::errors::ParquetError| {
        let said = error.to_string();
        let said: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
        format!("cannot be read as Parquet ({said}); write it with Snappy or without compression, or as CSV")
    };
    let reader = SerializedFileReader::new(hyper::body::Bytes::from(bytes)).map_err(wrong)?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    if names.is_empty() || names.len() > MOST_COLUMNS {
        return Err(format!("it has {} columns; a table has 1 to {MOST_COLUMNS}", names.len()));
    }
    let mut text = String::new();
    push_line(&mut text, names.iter().map(String::as_str));
    for row in reader.get_row_iter(None).map_err(wrong)? {
        let row = row.map_err(wrong)?;
        let cells: Vec<String> = row.get_column_iter().map(|(_, field)| cell(field)).collect();
        push_line(&mut text, cells.iter().map(String::as_str));
        if text.len() as u64 > MOST_BYTES {
            return Err(format!(
                "it is larger than the {MOST_BYTES} bytes, as CSV, that are read at once; leave rows out"
            ));
        }
    }
    Ok(text.into_bytes())
}

/// A value as a CSV has it. What is no plain value is told by its kind: where it is needed, that is what an error shows.
fn cell(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(value) => value.to_string(),
        Field::Short(value) => value.to_string(),
        Field::Int(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::UByte(value) => value.to_string(),
        Field::UShort(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        Field::Float16(value) => f32::from(*value).to_string(),
        Field::Float(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        Field::Str(value) => value.clone(),
        Field::Group(_) => "(a group)".to_owned(),
        Field::ListInternal(_) => "(a list)".to_owned(),
        Field::MapInternal(_) => "(a map)".to_owned(),
        Field::Bytes(_) => "(bytes)".to_owned(),
        // Decimals, dates and times.
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
        let batch = batch.unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    #[test]
    fn parquet_reads_as_the_csv_that_it_would_be() {
        let bytes = parquet(vec![
            ("a, \"b\"", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-2e30)]))),
            ("c", Arc::new(Float32Array::from(vec![0.1, f32::NAN, 1.0]))),
            ("d", Arc::new(Int64Array::from(vec![1, -2, i64::MAX]))),
            ("e", Arc::new(StringArray::from(vec!["L", "M,H", ""]))),
            ("f", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ]);
        let text = String::from_utf8(csv(bytes).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["\"a, \"\"b\"\"\",c,d,e,f", "0.1,0.1,1,L,true", "\"\",NaN,-2,\"M,H\",false"]);
        assert!(lines[3].ends_with(",1,9223372036854775807,\"\",true"), "{text}");
    }

    #[test]
    fn what_only_begins_like_parquet_is_refused() {
        let whole = parquet(vec![("a", Arc::new(Int64Array::from(vec![1, 2, 3])))]);
        for bytes in [MAGIC.to_vec(), whole[..whole.len() / 2].to_vec(), [MAGIC, &[0xff; 64], MAGIC].concat()] {
            let error = csv(bytes).unwrap_err();
            assert!(error.starts_with("cannot be read as Parquet"), "{error}");
        }
    }
}
