//! Closes batches, writes Parquet, uploads.
