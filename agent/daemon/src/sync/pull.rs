//! Batches for those who come and take them: the same columns as what is sent.

use explaind_core::domain::record::{Record, Stream};

use super::names::Names;
use super::ndjson;
use super::parquet::{Encoder, ParquetError};

/// How records are written for those who come for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object a line.
    Ndjson,
    /// A file like those in the registry.
    Parquet,
}

impl Form {
    /// Records of one stream, in order, with people called as `names` has it. Without any, NDJSON is empty and Parquet a file with no rows.
    ///
    /// # Errors
    /// When they do not fit their columns.
    pub(crate) fn write(self, stream: Stream, records: &[Record], names: Names) -> Result<Vec<u8>, ParquetError> {
        match self {
            Self::Ndjson => Ok(ndjson::lines(stream, records, &names)),
            Self::Parquet => {
                let mut encoder = Encoder::new(stream, names)?;
                encoder.push(records)?;
                encoder.finish()
            }
        }
    }
}
