//! To which side a float64 value is rounded, so that every split on its feature decides as it would for the value itself.
//!
//! Between two neighbouring float32 numbers `a < value < b` no threshold lies. Rounded up, the value is only taken for what it
//! is not where `b` itself is a threshold that `<`, `>=`, `=` or `≠` asks for; rounded down, where `a` is one for `<=`, `>`,
//! `=` or `≠`.

use super::parse::{Node, Trees};
use crate::model::columns::region::{ceiling, floor};
use crate::model::tree::Branch;

/// Per feature the thresholds that a value must not be rounded to, ascending.
#[derive(Debug)]
pub(super) struct Sides(Vec<Side>);

#[derive(Debug, Default, Clone)]
struct Side {
    not_up: Vec<f32>,
    not_down: Vec<f32>,
}

impl Sides {
    pub(super) fn of(trees: &Trees) -> Self {
        let mut sides = vec![Side::default(); trees.width];
        for node in trees.trees.iter().flatten() {
            let Node::Split(split) = node else { continue };
            let side = &mut sides[split.feature as usize];
            // Adding zero turns -0 into 0, which compares alike and sorts apart.
            let threshold = split.threshold + 0.0;
            if !matches!(split.branch, Branch::Leq | Branch::Gt) {
                side.not_up.push(threshold);
            }
            if !matches!(split.branch, Branch::Lt | Branch::Gte) {
                side.not_down.push(threshold);
            }
        }
        for thresholds in sides.iter_mut().flat_map(|side| [&mut side.not_up, &mut side.not_down]) {
            thresholds.sort_unstable_by(f32::total_cmp);
            thresholds.dedup();
            thresholds.shrink_to_fit();
        }
        Self(sides)
    }

    /// # Errors
    /// A sentence when splits forbid either side.
    pub(super) fn rounded(&self, feature: usize, value: f64) -> Result<f32, String> {
        let (up, down) = (ceiling(value) + 0.0, floor(value) + 0.0);
        let asked_for =
            |thresholds: &[f32], value: f32| thresholds.binary_search_by(|other| other.total_cmp(&value)).is_ok();
        match self.0.get(feature) {
            Some(side) if !asked_for(&side.not_up, up) => Ok(up),
            Some(side) if !asked_for(&side.not_down, down) => Ok(down),
            _ => Err("the trees are given float64 numbers and compare them in ways that need float32; export the model in float32"
                .to_owned()),
        }
    }
}
