//! A model's graph: made plain, and ways to look around in it.

pub(crate) mod attributes;
mod simplify;
pub(crate) mod tensor;
mod wiring;

pub(crate) use self::simplify::{check_width, simplify};
pub(crate) use self::wiring::{Constant, Source, Wiring};

/// More columns than this is taken for a mistake.
pub(crate) const MOST_COLUMNS: usize = 100_000;
