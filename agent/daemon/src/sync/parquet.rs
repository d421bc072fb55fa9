//! Batches as Parquet: snappy, and the same bytes for the same records.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use explaind_core::domain::record::{Record, SCHEMA_VERSION, Stream};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::columns::Columns;
use super::names::Names;

/// A batch that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("a batch of {stream} cannot be written as Parquet: {reason}")]
pub(crate) struct ParquetError {
    stream: &'static str,
    reason: String,
}

/// Writes one batch, piece by piece, so that only the columns are held and not the records.
pub(crate) struct Encoder {
    stream: Stream,
    names: Names,
    writer: ArrowWriter<Vec<u8>>,
    schema: Arc<Schema>,
    records: u64,
}

impl Encoder {
    /// An empty batch of a stream, which is to call people so.
    pub(crate) fn new(stream: Stream, names: Names) -> Result<Self, ParquetError> {
        let (schema, _) = Columns::of(stream, &[], &names).finish();
        let schema = Arc::new(schema);
        let version = KeyValue::new("explaind.schema_version".to_owned(), SCHEMA_VERSION.to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Without our version in it: a batch has the same bytes before and after an upgrade.
            .set_created_by("explaind".to_owned())
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
            .map_err(|error| failed(stream, error))?;
        Ok(Self { stream, names, writer, schema, records: 0 })
    }

    /// Adds records, all of this stream, in order.
    pub(crate) fn push(&mut self, records: &[Record]) -> Result<(), ParquetError> {
        if records.is_empty() {
            return Ok(());
        }
        let (_, arrays) = Columns::of(self.stream, records, &self.names).finish();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(|error| failed(self.stream, error))?;
        self.writer.write(&batch).map_err(|error| failed(self.stream, error))?;
        self.records += u64::try_from(records.len()).unwrap_or(0);
        Ok(())
    }

    /// Records added so far.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// The file.
    pub(crate) fn finish(self) -> Result<Vec<u8>, ParquetError> {
        let stream = self.stream;
        self.writer.into_inner().map_err(|error| failed(stream, error))
    }
}

fn failed(stream: Stream, error: impl std::fmt::Display) -> ParquetError {
    ParquetError { stream: stream.as_str(), reason: error.to_string() }
}
