//! The words of the field, as types. No room of the house is below this one.

pub mod alert;
pub mod command;
pub mod condition;
pub mod explanation;
pub mod extra;
pub mod feedback;
pub mod figures;
pub mod live;
pub mod prediction;
pub mod reason;
pub mod record;
pub mod sample;
pub mod time;
pub mod units;
