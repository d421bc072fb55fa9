//! Keeps every record, durably, in sled.
