//! The knowing half of explaind.
//!
//! No clock, no files, no network, no logging: time comes in as an argument, models as bytes, outcomes go out as
//! values. So everything here can be tested, fuzzed and benchmarked without a plant.

pub mod domain;
pub mod explain;
pub mod model;
pub mod pipeline;
mod random;
