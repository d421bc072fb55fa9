//! Exact interventional Shapley values for sums of trees.
//!
//! Give a leaf's path the features `a` that only the explained row satisfies and the features `c` that only a background
//! row satisfies, every other one being satisfied by both: then a row mixed from the two reaches the leaf exactly when
//! all of `a` come from the explained row and all of `c` from the background row, and the leaf's value is shared among
//! them by the weights of that game. Where some feature is satisfied by neither, no mixed row reaches the leaf. Summed over leaves and
//! trees and averaged over the background rows this is the Shapley value.
//!
//! One depth-first walk per tree serves all background rows at once, those together that no split tells apart:
//!
//! - a bitset holds the groups of background rows for which some mixed row still gets here; a subtree without any is left
//!   out;
//! - which features are in `c` depends on the explained row alone, since a group that violates one of them is no longer in
//!   the bitset; so one running sum `from_background` serves them all;
//! - `a` differs between groups, so each has its count and a running sum `from_row`;
//! - a feature gets what a running sum gained between entering and leaving the subtree in which it belongs to `a` or `c`.
//!   So a leaf costs the same however many features its path has.
//!
//! Source: Laberge, Pequignot 2022, "Understanding Interventional TreeSHAP: How and Why it Works", arXiv:2209.15123, for
//! the walk over one background row.

use std::collections::HashMap;

use super::ExplainError;
use super::weights::Weights;
use crate::model::tree::{Node, Split, Tree, TreeSum};

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
    steps: Vec<Step>,
    /// Background rows that no split of this tree tells apart are taken together: how many they are, per group.
    counts: Vec<f64>,
    /// Words of a bitset of groups.
    words: usize,
    /// For each split the groups that take its `yes` side, `words` words each.
    yes_groups: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// `number` counts the splits.
    Split {
        split: Split,
        number: u32,
    },
    Leaf(f64),
}

impl TreeShapley {
    /// Prepares the trees for explanations against `background`: flat rows, `sum.width` values each.
    ///
    /// # Errors
    /// [`ExplainError::Background`] when `background` is empty or no whole number of rows.
    pub fn new(sum: &TreeSum, background: &[f32]) -> Result<Self, ExplainError> {
        let width = sum.width;
        if width == 0 || background.is_empty() || !background.len().is_multiple_of(width) {
            return Err(ExplainError::Background { values: background.len(), width });
        }
        let deepest = sum.trees.iter().map(depth).max().unwrap_or(0);
        Ok(Self {
            width,
            rows: background.len() / width,
            trees: sum.trees.iter().map(|tree| Prepared::new(&simplified(tree), background, width)).collect(),
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
            walk.tree(tree);
        }
        let rows = self.rows as f64;
        walk.attributions.iter_mut().for_each(|sum| *sum /= rows);
        Ok(walk.attributions)
    }
}

impl Prepared {
    fn new(tree: &Tree, background: &[f32], width: usize) -> Self {
        let mut splits = Vec::new();
        let steps = tree.nodes.iter().map(|node| match node {
            Node::Leaf(value) => Step::Leaf(*value),
            Node::Split(split) => {
                splits.push(*split);
                Step::Split { split: *split, number: splits.len() as u32 - 1 }
            }
        });
        let steps = steps.collect();

        let mut counts = Vec::new();
        let mut groups = Vec::new();
        let mut known = HashMap::new();
        for row in background.chunks_exact(width) {
            let sides: Vec<bool> = splits.iter().map(|split| split.goes_yes(row[split.feature as usize])).collect();
            let group = *known.entry(sides).or_insert_with_key(|sides| {
                groups.push(sides.clone());
                counts.push(0.0);
                counts.len() - 1
            });
            counts[group] += 1.0;
        }
        let words = counts.len().div_ceil(64);
        let mut yes_groups = vec![0; splits.len() * words];
        for (group, sides) in groups.iter().enumerate() {
            for (number, &yes) in sides.iter().enumerate() {
                yes_groups[number * words + group / 64] |= u64::from(yes) << (group % 64);
            }
        }
        Self { steps, counts, words, yes_groups }
    }
}

/// What is left to do, newest last.
#[derive(Debug, Clone, Copy)]
enum Todo {
    /// Take one side of a split.
    Enter { node: u32, yes: bool },
    /// Leave the explained row's side; the saved bits are the groups that came to miss the feature there.
    LeaveRowSide { feature: u32 },
    /// Leave the other side: the feature is again one that the explained row satisfies.
    LeaveOtherSide { feature: u32 },
    /// Leave a split of a feature that the explained row did not satisfy anyway.
    LeaveNarrowed,
}

/// One walk over the trees for one row. Between trees everything but the attributions is back at its beginning.
struct Walk<'a> {
    weights: &'a Weights,
    row: &'a [f32],
    attributions: Vec<f64>,
    todo: Vec<Todo>,
    /// Bitsets to restore.
    saved: Vec<u64>,
    /// Groups of background rows for which some mixed row gets here.
    alive: Vec<u64>,
    /// Per feature a bitset: the groups that miss a split on the path which the explained row satisfies.
    missed: Vec<u64>,
    /// Per feature: whether the explained row misses a split on the path. Their number is `c`.
    missed_by_row: Vec<bool>,
    c: usize,
    /// Per group.
    tallies: Vec<Tally>,
    from_background: f64,
}

/// A group's part in a walk.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// How many of the path's features only the explained row satisfies.
    a: u32,
    /// Sum of what each of them gets from the leaves met so far.
    from_row: f64,
}

impl<'a> Walk<'a> {
    fn new(explainer: &'a TreeShapley, row: &'a [f32]) -> Self {
        let words = explainer.trees.iter().map(|tree| tree.words).max().unwrap_or(0);
        Self {
            weights: &explainer.weights,
            row,
            attributions: vec![0.0; explainer.width],
            todo: Vec::new(),
            saved: Vec::new(),
            alive: Vec::with_capacity(words),
            missed: vec![0; explainer.width * words],
            missed_by_row: vec![false; explainer.width],
            c: 0,
            tallies: Vec::with_capacity(words * 64),
            from_background: 0.0,
        }
    }

    fn tree(&mut self, tree: &Prepared) {
        let groups = tree.counts.len();
        self.alive.clear();
        self.alive.extend((0..tree.words).map(|word| u64::MAX >> (64 - (groups - word * 64).min(64))));
        // Sums that start anew keep the rounding error that of one tree.
        self.from_background = 0.0;
        self.tallies.clear();
        self.tallies.resize(groups, Tally::default());
        self.visit(tree, 0);
        while let Some(todo) = self.todo.pop() {
            match todo {
                Todo::Enter { node, yes } => self.enter(tree, node, yes),
                Todo::LeaveRowSide { feature } => self.leave_row_side(tree, feature as usize),
                Todo::LeaveOtherSide { feature } => self.leave_other_side(tree, feature as usize),
                Todo::LeaveNarrowed => self.restore_alive(tree),
            }
        }
    }

    fn visit(&mut self, tree: &Prepared, node: u32) {
        match tree.steps[node as usize] {
            Step::Leaf(value) => self.leaf(tree, value),
            Step::Split { .. } => {
                self.todo.push(Todo::Enter { node, yes: false });
                self.todo.push(Todo::Enter { node, yes: true });
            }
        }
    }

    fn enter(&mut self, tree: &Prepared, node: u32, yes: bool) {
        let Step::Split { split, number } = tree.steps[node as usize] else { return };
        let feature = split.feature as usize;
        let flip = if yes { 0 } else { u64::MAX };
        let side = tree.yes_groups[number as usize * tree.words..][..tree.words].iter().map(|word| word ^ flip);
        let missed = &mut self.missed[feature * tree.words..][..tree.words];

        if self.missed_by_row[feature] {
            if !narrow(&mut self.alive, &mut self.saved, side) {
                return;
            }
            self.todo.push(Todo::LeaveNarrowed);
        } else if split.goes_yes(self.row[feature]) == yes {
            // Groups that part from the explained row here need this feature from it, in this subtree.
            let mut any = 0;
            let start = self.saved.len();
            for ((side, missed), alive) in side.zip(missed).zip(&self.alive) {
                let parting = alive & !side & !*missed;
                *missed |= parting;
                any |= parting;
                self.saved.push(parting);
            }
            if any == 0 {
                self.saved.truncate(start);
            } else {
                for group in ones(&self.saved[start..]) {
                    let tally = &mut self.tallies[group];
                    tally.a += 1;
                    self.attributions[feature] -= tally.from_row;
                }
                self.todo.push(Todo::LeaveRowSide { feature: split.feature });
            }
        } else {
            let fitting = side.zip(missed).map(|(side, missed)| side & !*missed);
            if !narrow(&mut self.alive, &mut self.saved, fitting) {
                return;
            }
            self.missed_by_row[feature] = true;
            self.c += 1;
            self.attributions[feature] += self.from_background;
            self.todo.push(Todo::LeaveOtherSide { feature: split.feature });
        }
        self.visit(tree, if yes { split.yes } else { split.no });
    }

    fn leave_row_side(&mut self, tree: &Prepared, feature: usize) {
        let start = self.saved.len() - tree.words;
        for (missed, parting) in self.missed[feature * tree.words..].iter_mut().zip(&self.saved[start..]) {
            *missed ^= parting;
        }
        for group in ones(&self.saved[start..]) {
            let tally = &mut self.tallies[group];
            tally.a -= 1;
            self.attributions[feature] += tally.from_row;
        }
        self.saved.truncate(start);
    }

    fn leave_other_side(&mut self, tree: &Prepared, feature: usize) {
        self.attributions[feature] -= self.from_background;
        self.missed_by_row[feature] = false;
        self.c -= 1;
        self.restore_alive(tree);
    }

    fn restore_alive(&mut self, tree: &Prepared) {
        let start = self.saved.len() - tree.words;
        self.alive.copy_from_slice(&self.saved[start..]);
        self.saved.truncate(start);
    }

    fn leaf(&mut self, tree: &Prepared, value: f64) {
        if value == 0.0 {
            return;
        }
        for group in ones(&self.alive) {
            let tally = &mut self.tallies[group];
            let weight = self.weights.pair(tally.a as usize, self.c);
            let value = value * tree.counts[group];
            tally.from_row += value * weight.row;
            self.from_background += value * weight.background;
        }
    }
}

/// Takes from `alive` all that is not in `keep`, after saving it; leaves it as it is, and says no, when none would remain.
fn narrow(alive: &mut [u64], saved: &mut Vec<u64>, keep: impl Iterator<Item = u64>) -> bool {
    let start = saved.len();
    saved.extend_from_slice(alive);
    let mut any = 0;
    for (alive, keep) in alive.iter_mut().zip(keep) {
        *alive &= keep;
        any |= *alive;
    }
    if any == 0 {
        alive.copy_from_slice(&saved[start..]);
        saved.truncate(start);
    }
    any != 0
}

/// The positions of the ones in a bitset.
fn ones(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(index, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                index * 64 + bit
            })
        })
    })
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
    // A value that is there once may be far from all others, which would lose digits.
    let commonest = counts.into_iter().max_by_key(|&(bits, count)| (count, bits));
    let commonest = commonest.filter(|&(_, count)| count > 1 || nodes.len() == 1);
    let commonest = commonest.map_or(0.0, |(bits, _)| f64::from_bits(bits));
    for node in &mut nodes {
        if let Node::Leaf(value) = node {
            *value -= commonest;
        }
    }
    Tree { nodes }
}
