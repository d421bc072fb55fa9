//! The quick way through an ensemble: all nodes in one array, no branches, several descents at once.
//!
//! Each split is turned into `value > threshold`, which picks one of two neighbouring children; a leaf is its own
//! child. So a step is one comparison and one addition whatever it meets, and as many descents as there are lanes hide
//! each other's waiting for memory. A group of lanes is done when none of them moves any more.

use super::parse::{Leaf, Node, Trees};
use crate::model::tree::{Branch, Split};

/// Descents made at once.
const LANES: usize = 8;

/// Sixteen bytes: four nodes to a cache line, siblings mostly on the same one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct FlatNode {
    /// Infinite for leaves, so that no value is above it.
    threshold: f32,
    feature: u32,
    /// The low side; the high side follows it. A leaf's own place for leaves.
    child: u32,
    /// A leaf's weights.
    leaf: u32,
}

/// All trees.
#[derive(Debug)]
pub(super) struct Flat {
    nodes: Vec<FlatNode>,
    roots: Vec<u32>,
    leaves: Vec<Leaf>,
    /// The leaves' values where the ensemble has a single sum; empty otherwise.
    values: Vec<f64>,
}

impl Flat {
    /// None when some split cannot be put as "above a threshold".
    pub(super) fn new(trees: &Trees) -> Option<Self> {
        let total = trees.trees.iter().map(Vec::len).sum();
        let mut flat =
            Self { nodes: Vec::with_capacity(total), roots: Vec::new(), leaves: Vec::new(), values: Vec::new() };
        for nodes in &trees.trees {
            let root = u32::try_from(flat.nodes.len()).ok()?;
            flat.roots.push(root);
            for node in nodes {
                let place = u32::try_from(flat.nodes.len()).ok()?;
                let node = match node {
                    Node::Split(split) => {
                        let child = root.checked_add(split.yes.min(split.no))?;
                        FlatNode { threshold: threshold(split)?, feature: split.feature, child, leaf: 0 }
                    }
                    Node::Leaf(leaf) => {
                        let index = u32::try_from(flat.leaves.len()).ok()?;
                        flat.leaves.push(*leaf);
                        if trees.scores == 1 {
                            flat.values.push(trees.weights_of(*leaf).iter().map(|weight| weight.value).sum());
                        }
                        FlatNode { threshold: f32::INFINITY, feature: 0, child: place, leaf: index }
                    }
                };
                flat.nodes.push(node);
            }
        }
        Some(flat)
    }

    /// Adds every tree's weights to the rows' sums. No value may be NaN.
    pub(super) fn add(&self, trees: &Trees, rows: &[f32], sums: &mut [f64]) {
        let (width, scores) = (trees.width, trees.scores);
        let group = LANES * width;
        let whole = rows.len() / group * group;
        let (grouped, rest) = rows.split_at(whole);
        let (grouped_sums, rest_sums) = sums.split_at_mut(whole / width * scores);
        for &root in &self.roots {
            for (rows, sums) in grouped.chunks_exact(group).zip(grouped_sums.chunks_exact_mut(LANES * scores)) {
                let mut at = [root; LANES];
                self.descend(&mut at, |lane| &rows[lane * width..(lane + 1) * width]);
                for (place, sums) in at.into_iter().zip(sums.chunks_exact_mut(scores)) {
                    self.leaf(trees, place, sums);
                }
            }
        }
        for (row, sums) in rest.chunks_exact(width).zip(rest_sums.chunks_exact_mut(scores)) {
            self.add_row(trees, row, sums);
        }
    }

    /// One row: the lanes are trees.
    fn add_row(&self, trees: &Trees, row: &[f32], sums: &mut [f64]) {
        let (groups, rest) = self.roots.as_chunks::<LANES>();
        for group in groups {
            let mut at = *group;
            self.descend(&mut at, |_| row);
            at.into_iter().for_each(|place| self.leaf(trees, place, sums));
        }
        for &root in rest {
            let mut at = [root];
            self.descend(&mut at, |_| row);
            at.into_iter().for_each(|place| self.leaf(trees, place, sums));
        }
    }

    #[inline]
    fn descend<'a, const N: usize>(&self, at: &mut [u32; N], row: impl Fn(usize) -> &'a [f32]) {
        loop {
            let mut moved = false;
            for (lane, place) in at.iter_mut().enumerate() {
                let node = &self.nodes[*place as usize];
                let next = node.child + u32::from(row(lane)[node.feature as usize] > node.threshold);
                moved |= next != *place;
                *place = next;
            }
            if !moved {
                return;
            }
        }
    }

    #[inline]
    fn leaf(&self, trees: &Trees, place: u32, sums: &mut [f64]) {
        let leaf = self.nodes[place as usize].leaf as usize;
        if let [sum] = sums {
            *sum += self.values[leaf];
            return;
        }
        for weight in trees.weights_of(self.leaves[leaf]) {
            sums[weight.score as usize] += weight.value;
        }
    }
}

/// The largest value that takes the side of the lower-numbered child.
///
/// [`super::parse`] puts the child for small values first, so `<` and `≥` only need the next smaller number.
fn threshold(split: &Split) -> Option<f32> {
    match split.branch {
        Branch::Leq | Branch::Gt => Some(split.threshold),
        Branch::Lt | Branch::Gte if split.threshold > f32::NEG_INFINITY => Some(split.threshold.next_down()),
        Branch::Lt | Branch::Gte | Branch::Eq | Branch::Neq => None,
    }
}
