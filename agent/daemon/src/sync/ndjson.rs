//! Records as lines of JSON, with the names and the content of the Parquet columns.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use explaind_core::domain::record::{Record, Stream};
use serde_json::{Map, Value};

use super::columns::Columns;
use super::names::Names;

/// One line per record, each an object with one member per column. Times are RFC 3339, maps are objects, and numbers
/// that JSON does not know are null.
pub(super) fn lines(stream: Stream, records: &[Record], names: &Names) -> Vec<u8> {
    let (schema, columns) = Columns::of(stream, records, names).finish();
    let mut lines = Vec::new();
    for row in 0..records.len() {
        let members =
            schema.fields().iter().zip(&columns).map(|(field, column)| (field.name().clone(), cell(column, row)));
        lines.extend_from_slice(Value::Object(members.collect()).to_string().as_bytes());
        lines.push(b'\n');
    }
    lines
}

fn cell(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Timestamp(..) => time(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len()).map(|item| cell(&items, item)).collect()
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1));
            let members = (0..entries.len()).map(|entry| (keys.value(entry).to_owned(), cell(values, entry)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        DataType::Struct(_) => {
            let record = column.as_struct();
            let members = record
                .fields()
                .iter()
                .zip(record.columns())
                .map(|(field, column)| (field.name().clone(), cell(column, row)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        // No column has another type; the test below would show one.
        _ => Value::Null,
    }
}

fn time(micros: i64) -> Value {
    jiff::Timestamp::from_microsecond(micros).map_or(Value::Null, |time| format!("{time:.6}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::samples;

    #[test]
    fn every_column_is_there_under_its_name_with_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = samples::open(folder.path());
        let prediction = samples::prediction(1, 65.0);
        let id = prediction.id;
        buffer.append(vec![prediction, samples::feedback(2, id), samples::health(3)]).unwrap();
        buffer.settle(vec![(id, samples::explained(65.0))]).unwrap();
        for stream in [Stream::Predictions, Stream::Feedback, Stream::Health] {
            let records = buffer.read(stream, 0, 10).unwrap();
            let text = String::from_utf8(lines(stream, &records, &Names::plain())).unwrap();
            let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(objects.len(), 1);
            let (schema, columns) = Columns::of(stream, &records, &Names::plain()).finish();
            for (field, column) in schema.fields().iter().zip(&columns) {
                let value = objects[0].get(field.name()).unwrap_or_else(|| panic!("{} is missing", field.name()));
                assert_eq!(value.is_null(), column.is_null(0), "{}", field.name());
            }
        }
        let records = buffer.read(Stream::Predictions, 0, 10).unwrap();
        let object: Value = serde_json::from_slice(&lines(Stream::Predictions, &records, &Names::plain())).unwrap();
        assert_eq!(object["record_id"], id.to_string());
        assert_eq!(object["inputs"]["Torque [Nm]"], 65.0);
        assert_eq!(object["sequence"], 1);
        assert_eq!(object["recorded_at"], "2026-11-21T22:26:41.000000Z");
    }
}
