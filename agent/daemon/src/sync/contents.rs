//! What a batch's file holds, for those who carry it: whether it is one at all, of which stream, numbers and stores.

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use explaind_core::domain::record::Stream;
use hyper::body::Bytes;
use uuid::Uuid;

use super::columns::Columns;
use super::names::Names;

/// The columns that say what a record is and whose.
const TELLING: [(&str, DataType); 3] =
    [("sequence", DataType::Int64), ("gateway", DataType::Utf8), ("store_id", DataType::Utf8)];

/// What was found in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents {
    pub(super) records: u64,
    /// The stores that its records were made by.
    pub(super) stores: BTreeSet<Uuid>,
}

/// Reads what tells of a batch whose name says its stream and its numbers.
///
/// # Errors
/// Why it is no such batch.
pub(super) fn contents(stream: Stream, (first, last): (u64, u64), bytes: Vec<u8>) -> Result<Contents, String> {
    // Nothing that a stranger put onto a medium may end this process.
    catch_unwind(|| read(stream, (first, last), bytes)).unwrap_or_else(|_| Err("it is no Parquet file".to_owned()))
}

fn read(stream: Stream, numbers: (u64, u64), bytes: Vec<u8>) -> Result<Contents, String> {
    let broken = |error: &dyn std::fmt::Display| format!("it cannot be read as Parquet: {error}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(|error| broken(&error))?;
    let schema = builder.schema();
    let there: BTreeSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let (ours, _) = Columns::of(stream, &[], &Names::plain()).finish();
    let ours: BTreeSet<&str> = ours.fields().iter().map(|field| field.name().as_str()).collect();
    // Columns are only ever added: an earlier version has some of ours, a later one all and more.
    if !there.is_subset(&ours) && !ours.is_subset(&there) {
        return Err(format!("its columns are not those of {}", stream.as_str()));
    }
    for (name, kind) in TELLING {
        if !schema.field_with_name(name).is_ok_and(|field| *field.data_type() == kind) {
            return Err(format!("it has no column {name} as batches have it"));
        }
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), TELLING.map(|(name, _)| name));
    let rows = builder.with_projection(mask).build().map_err(|error| broken(&error))?;
    let mut found = Contents::default();
    let mut before = None;
    for rows in rows {
        take(&rows.map_err(|error| broken(&error))?, numbers, &mut before, &mut found)?;
    }
    if found.records == 0 { Err("it holds no record".to_owned()) } else { Ok(found) }
}

fn take(
    rows: &RecordBatch,
    (first, last): (u64, u64),
    before: &mut Option<u64>,
    found: &mut Contents,
) -> Result<(), String> {
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| format!("it has no column {name}"));
    let (sequences, stores) = (column("sequence")?, column("store_id")?);
    let (sequences, stores) = (sequences.as_primitive::<Int64Type>(), stores.as_string::<i32>());
    if sequences.null_count() + stores.null_count() > 0 {
        return Err("a record says neither its number nor its store".to_owned());
    }
    for (sequence, store) in sequences.values().iter().zip(stores.iter().flatten()) {
        let sequence = u64::try_from(*sequence).ok().filter(|n| (first..=last).contains(n));
        let sequence = sequence.ok_or("it holds numbers that its name does not say")?;
        if before.replace(sequence).is_some_and(|before| before >= sequence) {
            return Err("its records are not in order".to_owned());
        }
        found.stores.insert(store.parse().map_err(|_| format!("\"{store}\" is no id of a store"))?);
        found.records += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::outgoing::encode;
    use super::*;
    use crate::buffer::Closed;
    use crate::buffer::samples::{at, health, open};

    #[test]
    fn a_batch_is_known_by_its_content_and_rubbish_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        buffer.append((0..5).map(health).collect()).unwrap();
        let bounds = Closed { first: 2, last: 4, closed_at: at(9).utc };
        let bytes = encode(&buffer, Stream::Health, bounds, Names::plain()).unwrap().unwrap();
        let found = contents(Stream::Health, (2, 4), bytes.clone()).unwrap();
        assert_eq!(found, Contents { records: 3, stores: [buffer.store_id()].into() });
        let reason = |stream, numbers, bytes: &[u8]| contents(stream, numbers, bytes.to_vec()).unwrap_err();
        assert!(reason(Stream::Alerts, (2, 4), &bytes).contains("columns are not those of alerts"));
        assert!(reason(Stream::Health, (2, 3), &bytes).contains("its name does not say"));
        assert!(reason(Stream::Health, (3, 4), &bytes).contains("its name does not say"));
        for length in [0, 4, bytes.len() / 2, bytes.len() - 1] {
            assert!(contents(Stream::Health, (2, 4), bytes[..length].to_vec()).is_err(), "{length} bytes");
        }
        assert!(contents(Stream::Health, (2, 4), b"PAR1 and no more PAR1".to_vec()).is_err());
    }
}
