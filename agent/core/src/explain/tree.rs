//! Exact interventional Shapley values for sums of trees.
//!
//! Give a leaf's path the features `a` that only the explained row satisfies and the features `c` that only a background
//! row satisfies, every other one being satisfied by both: then a row mixed from the two reaches the leaf exactly when
//! all of `a` come from the explained row and all of `c` from the background row, and the leaf's value is shared among
//! them by the weights of that game. Where some feature is satisfied by neither, no mixed row reaches the leaf. Summed
//! over leaves and trees and averaged over the background rows this is the Shapley value.
//!
//! One depth-first walk per tree serves up to [`LANES`] background rows at once, those together that no split tells apart:
//!
//! - a set of bits holds the groups of background rows for which some mixed row still gets here; a subtree without any is
//!   left out, and where all go the explained row's way nothing is to be done but to follow;
//! - which features are in `c` depends on the explained row alone, since a group that violates one of them is no longer in
//!   the set; so one running sum `from_background` serves them all;
//! - `a` differs between groups, so each has its count and a running sum `from_row`;
//! - a feature gets what a running sum gained between entering and leaving the subtree in which it belongs to `a` or `c`.
//!   So a leaf costs the same however many features its path has.
//!
//! Source: Laberge, Pequignot 2022, "Understanding Interventional TreeSHAP: How and Why it Works", arXiv:2209.15123, for
//! the walk over one background row.

use std::collections::HashMap;

use super::ExplainError;
use super::weights::Weights;
use crate::model::bundle;
use crate::model::tree::{Node, Split, Tree, TreeSum};

/// Groups of background rows walked at once: the bits of a [`Set`].
const LANES: usize = 128;

/// Which of up to [`LANES`] groups.
type Set = u128;

/// Memory for where the background rows go, in bytes: 256 rows in as many nodes as an ensemble may have.
pub const MOST_BYTES: usize = 128 << 20;

/// Explains rows of one [`TreeSum`] against one set of background rows.
#[derive(Debug, Clone)]
pub struct TreeShapley {
    width: usize,
    rows: usize,
    trees: Vec<Prepared>,
    weights: Weights,
}

/// A tree, and where the background rows go in it.
#[derive(Debug, Clone)]
struct Prepared {
    nodes: Vec<Node>,
    groups: Vec<Groups>,
}

/// Up to [`LANES`] groups of background rows. Those that no split of the tree tells apart are one.
#[derive(Debug, Clone)]
struct Groups {
    /// Per group how many rows it is.
    counts: Vec<f64>,
    /// Per node of the tree the groups that take its `yes` side.
    yes: Vec<Set>,
}

impl TreeShapley {
    /// Prepares the trees for explanations against `background`: flat rows, `sum.width` values each.
    ///
    /// # Errors
    /// [`ExplainError::Background`] when `background` is empty or no whole number of rows; [`ExplainError::TooLarge`] when
    /// there are so many nodes and background rows that [`MOST_BYTES`] would not do.
    pub fn new(sum: &TreeSum, background: &[f32]) -> Result<Self, ExplainError> {
        let width = sum.width;
        if width == 0 || background.is_empty() || !background.len().is_multiple_of(width) {
            return Err(ExplainError::Background { values: background.len(), width });
        }
        let deepest = sum.trees.iter().map(depth).max().unwrap_or(0);
        let mut left = MOST_BYTES;
        let mut prepare = |tree| Prepared::new(&simplified(tree), background, width, &mut left);
        Ok(Self {
            width,
            rows: background.len() / width,
            trees: sum.trees.iter().map(&mut prepare).collect::<Result<_, _>>()?,
            weights: Weights::new(deepest.min(width)),
        })
    }

    /// The attributions of `row`, one per feature: their sum is the output for `row` less the mean output over the
    /// background.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` does not have one value per feature.
    pub fn attributions(&self, row: &[f32]) -> Result<Vec<f64>, ExplainError> {
        if row.len() != self.width {
            return Err(ExplainError::Width { expected: self.width, got: row.len() });
        }
        let mut walk = Walk::new(self, row);
        for tree in &self.trees {
            for groups in &tree.groups {
                walk.tree(&tree.nodes, groups);
            }
        }
        let rows = self.rows as f64;
        walk.attributions.iter_mut().for_each(|sum| *sum /= rows);
        Ok(walk.attributions)
    }
}

impl Prepared {
    /// Takes from `left` the bytes that it keeps beside the tree.
    fn new(tree: &Tree, background: &[f32], width: usize, left: &mut usize) -> Result<Self, ExplainError> {
        let nodes = depth_first(tree);
        let mut known = HashMap::new();
        let mut groups: Vec<Groups> = Vec::new();
        for row in background.chunks_exact(width) {
            let yes = nodes.iter().map(|node| match node {
                Node::Split(split) => split.goes_yes(row[split.feature as usize]),
                Node::Leaf(_) => false,
            });
            let sides: Vec<u8> = yes.map(u8::from).collect();
            // Sides themselves as keys would take memory by nodes times rows.
            let digest = bundle::digest(&sides);
            if let Some(&(at, lane)) = known.get(&digest) {
                let at: &mut Groups = &mut groups[at];
                at.counts[lane] += 1.0;
                continue;
            }
            if groups.last().is_none_or(|last| last.counts.len() == LANES) {
                groups.push(Groups { counts: Vec::new(), yes: vec![0; nodes.len()] });
            }
            let at = groups.len() - 1;
            let lane = groups[at].counts.len();
            groups[at].counts.push(1.0);
            for (set, &yes) in groups[at].yes.iter_mut().zip(&sides) {
                *set |= Set::from(yes) << lane;
            }
            known.insert(digest, (at, lane));
            if groups.len().saturating_mul(nodes.len()).saturating_mul(size_of::<Set>()) > *left {
                return Err(ExplainError::TooLarge { most: MOST_BYTES });
            }
        }
        *left -= groups.len() * nodes.len() * size_of::<Set>();
        Ok(Self { nodes, groups })
    }
}

/// What is to be done on leaving a subtree, newest last.
#[derive(Debug, Clone, Copy)]
enum Todo {
    /// The explained row's side of a split is done: here some `groups` needed the feature from it. Next is the other side,
    /// `other`, for those groups only.
    OtherSide { groups: Set, feature: u32, other: u32 },
    /// The other side is done: the feature is again one that the explained row satisfies.
    Leave { from_background: f64, feature: u32 },
    /// One side of a split is done whose feature must come from the background anyway; the other is for other groups.
    Rest { groups: Set, node: u32 },
}

/// One walk over the trees for one row. Between trees everything but the attributions is back at its beginning.
struct Walk<'a> {
    weights: &'a Weights,
    row: &'a [f32],
    attributions: Vec<f64>,
    todo: Vec<Todo>,
    /// Per feature: the groups that miss a split on the path which the explained row satisfies.
    missed: Vec<Set>,
    /// Per feature: whether the explained row misses a split on the path. Their number is `c`.
    missed_by_row: Vec<bool>,
    c: usize,
    tallies: [Tally; LANES],
    from_background: f64,
}

/// A group's part in a walk.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// How many of the path's features only the explained row satisfies.
    a: usize,
    /// Sum of what each of them gets from the leaves met so far.
    from_row: f64,
}

impl<'a> Walk<'a> {
    fn new(explainer: &'a TreeShapley, row: &'a [f32]) -> Self {
        Self {
            weights: &explainer.weights,
            row,
            attributions: vec![0.0; explainer.width],
            todo: Vec::new(),
            missed: vec![0; explainer.width],
            missed_by_row: vec![false; explainer.width],
            c: 0,
            tallies: [Tally::default(); LANES],
            from_background: 0.0,
        }
    }

    fn tree(&mut self, nodes: &[Node], groups: &Groups) {
        // Sums that start anew keep the rounding error that of one tree.
        self.from_background = 0.0;
        self.tallies[..groups.counts.len()].fill(Tally::default());
        let mut next = Some((0, Set::MAX >> (LANES - groups.counts.len())));
        while let Some((node, alive)) = next {
            let (value, alive) = self.descend(nodes, groups, node, alive);
            self.leaf(&groups.counts, value, alive);
            next = self.leave();
        }
    }

    /// Goes down to a leaf, on the explained row's side wherever that row may go, leaving the other sides for later. Gives
    /// the leaf's value and the groups that are left there.
    fn descend(&mut self, nodes: &[Node], groups: &Groups, mut node: u32, mut alive: Set) -> (f64, Set) {
        loop {
            let split = match &nodes[node as usize] {
                Node::Leaf(value) => return (*value, alive),
                Node::Split(split) => split,
            };
            let feature = split.feature as usize;
            let yes = groups.yes[node as usize];
            if self.missed_by_row[feature] {
                let (to_yes, to_no) = (alive & yes, alive & !yes);
                if to_yes != 0 && to_no != 0 {
                    self.todo.push(Todo::Rest { groups: to_no, node: split.no });
                }
                (node, alive) = if to_yes == 0 { (split.no, to_no) } else { (split.yes, to_yes) };
                continue;
            }
            let (own, other, agreeing) = if split.goes_yes(self.row[feature]) {
                (split.yes, split.no, yes)
            } else {
                (split.no, split.yes, !yes)
            };
            // Groups that part from the explained row here need this feature from it, in this subtree.
            let parting = alive & !agreeing & !self.missed[feature];
            if parting != 0 {
                self.missed[feature] |= parting;
                let mut before = 0.0;
                for group in ones(parting) {
                    let tally = &mut self.tallies[group];
                    tally.a += 1;
                    before += tally.from_row;
                }
                self.attributions[feature] -= before;
                self.todo.push(Todo::OtherSide { groups: parting, feature: split.feature, other });
            }
            node = own;
        }
    }

    /// Leaves the subtrees that are done. Gives the node at which to go on, and for which groups.
    fn leave(&mut self) -> Option<(u32, Set)> {
        loop {
            match self.todo.pop()? {
                Todo::Rest { groups, node } => return Some((node, groups)),
                Todo::Leave { from_background, feature } => {
                    self.attributions[feature as usize] -= self.from_background - from_background;
                    self.missed_by_row[feature as usize] = false;
                    self.c -= 1;
                }
                Todo::OtherSide { groups, feature, other } => {
                    self.missed[feature as usize] &= !groups;
                    let mut after = 0.0;
                    for group in ones(groups) {
                        let tally = &mut self.tallies[group];
                        tally.a -= 1;
                        after += tally.from_row;
                    }
                    self.attributions[feature as usize] += after;
                    self.missed_by_row[feature as usize] = true;
                    self.c += 1;
                    self.todo.push(Todo::Leave { from_background: self.from_background, feature });
                    return Some((other, groups));
                }
            }
        }
    }

    fn leaf(&mut self, counts: &[f64], value: f64, alive: Set) {
        if value == 0.0 {
            return;
        }
        for group in ones(alive) {
            let tally = &mut self.tallies[group];
            let weight = self.weights.pair(tally.a, self.c);
            let value = value * counts[group];
            tally.from_row += value * weight.row;
            self.from_background += value * weight.background;
        }
    }
}

/// The groups of a set.
#[inline]
fn ones(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        // Never past the last lane, which lets the compiler leave out checks.
        let lane = (set.trailing_zeros() as usize).min(LANES - 1);
        (set != 0).then(|| {
            set &= set - 1;
            lane
        })
    })
}

/// The nodes in the order of a walk, siblings as neighbours: what is walked together lies together.
fn depth_first(tree: &Tree) -> Vec<Node> {
    let mut nodes = vec![Node::Leaf(0.0)];
    let mut open = vec![(0_u32, 0_usize)];
    while let Some((old, new)) = open.pop() {
        nodes[new] = match tree.nodes[old as usize] {
            leaf @ Node::Leaf(_) => leaf,
            Node::Split(split) => {
                let next = nodes.len();
                nodes.resize(next + 2, Node::Leaf(0.0));
                open.extend([(split.no, next + 1), (split.yes, next)]);
                // Fits: there are no more nodes than the tree has, and those are counted with 32 bits.
                Node::Split(Split { yes: next as u32, no: next as u32 + 1, ..split })
            }
        };
    }
    nodes
}

/// The most splits on a path.
fn depth(tree: &Tree) -> usize {
    let mut depths = vec![0_usize; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate() {
        if let Node::Split(split) = node {
            depths[split.yes as usize] = depths[index] + 1;
            depths[split.no as usize] = depths[index] + 1;
        }
    }
    depths.into_iter().max().unwrap_or(0)
}

/// The same tree for all that attributions can tell: a split between equal leaves is a leaf, and the commonest value is
/// taken from all leaves, since what all leaves gain or lose together is nobody's doing, and a leaf of zero costs nothing.
/// Where no value is there twice it is the middle one: the less is left in the leaves, the more digits their shares keep.
pub(super) fn simplified(tree: &Tree) -> Tree {
    let mut values = vec![None; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate().rev() {
        values[index] = match node {
            Node::Leaf(value) => Some(*value),
            Node::Split(split) => values[split.yes as usize].filter(|value| values[split.no as usize] == Some(*value)),
        };
    }
    // Level by level, so that children still follow their parents.
    let mut kept = vec![0_u32];
    let mut nodes = Vec::new();
    let mut counts = HashMap::new();
    while let Some(&old) = kept.get(nodes.len()) {
        nodes.push(match (values[old as usize], tree.nodes[old as usize]) {
            (Some(value), _) | (None, Node::Leaf(value)) => {
                *counts.entry(value.to_bits()).or_insert(0_usize) += 1;
                Node::Leaf(value)
            }
            (None, Node::Split(split)) => {
                let next = kept.len() as u32;
                kept.extend([split.yes, split.no]);
                Node::Split(Split { yes: next, no: next + 1, ..split })
            }
        });
    }
    let commonest = counts.iter().map(|(&bits, &count)| (count, bits)).max();
    let commonest = match commonest {
        Some((1, _)) => {
            // Not just any: one far from all others would lose digits, and so might the larger of two in the middle.
            let mut values: Vec<f64> = counts.into_keys().map(f64::from_bits).collect();
            values.sort_unstable_by(f64::total_cmp);
            let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
            if above.abs() < below.abs() { above } else { below }
        }
        Some((_, bits)) => f64::from_bits(bits),
        None => 0.0,
    };
    for node in &mut nodes {
        if let Node::Leaf(value) = node {
            *value -= commonest;
        }
    }
    Tree { nodes }
}
