//! Which cells a part of a tree tells apart.

use std::cmp::Reverse;

use crate::model::tree::{Branch, Node, Split, Tree};

/// Cells are numbered with 16 bits.
pub(super) const MOST_CELLS: usize = 1 << 14;
/// Features of a part. More make more patterns than cells, where values of some tell nothing apart.
pub(super) const MOST_AXES: usize = 14;

/// Up to so many values are counted quicker than halved.
const COUNTED: usize = 32;

/// A tree that knows the way up.
pub(super) struct Rooted<'a> {
    pub(super) tree: &'a Tree,
    /// Per node its parent, and whether it is the parent's `yes` child; the root is its own parent.
    parents: Vec<(u32, bool)>,
}

impl<'a> Rooted<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        let mut parents = vec![(0, false); tree.nodes.len()];
        for (index, node) in (0..).zip(&tree.nodes) {
            if let Node::Split(split) = node {
                parents[split.yes as usize] = (index, true);
                parents[split.no as usize] = (index, false);
            }
        }
        Self { tree, parents }
    }

    /// The splits on the way from a node up to the root, each with its node and the side taken.
    pub(super) fn path(&self, node: u32) -> impl Iterator<Item = (u32, Split, bool)> {
        let mut at = node;
        std::iter::from_fn(move || {
            let (parent, yes) = self.parents[at as usize];
            let Node::Split(split) = self.tree.nodes[parent as usize] else { return None };
            let here = std::mem::replace(&mut at, parent);
            (here != 0).then_some((parent, split, yes))
        })
    }

    /// A node and all that lies below it.
    pub(super) fn below(&self, node: u32) -> impl Iterator<Item = (u32, Node)> {
        let mut open = vec![node];
        std::iter::from_fn(move || {
            let at = open.pop()?;
            let here = self.tree.nodes[at as usize];
            if let Node::Split(split) = here {
                open.extend([split.no, split.yes]);
            }
            Some((at, here))
        })
    }
}

/// All that lies below one node of a tree, with the cells that it and the path to it tell apart.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub(super) node: u32,
    /// Ascending by feature.
    pub(super) axes: Vec<Axis>,
}

/// One feature's cells in a grid.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) feature: u32,
    /// What one step along this axis adds to the number of a cell.
    pub(super) stride: usize,
    /// Ascending.
    cuts: Vec<f32>,
    /// Per rank among `cuts` the cell.
    cells: Vec<u16>,
    /// Per cell a value that lies in it.
    pub(super) values: Vec<f32>,
}

impl Grid {
    /// `None` when there would be more than [`MOST_CELLS`], or when finding that out takes more than is left of `work`.
    pub(super) fn new(tree: &Rooted<'_>, node: u32, work: &mut u64) -> Option<Self> {
        let path = tree.path(node).map(|(_, split, yes)| (split, Some(yes)));
        let below = tree.below(node).filter_map(|(_, node)| match node {
            Node::Split(split) => Some((split, None)),
            Node::Leaf(_) => None,
        });
        let mut splits: Vec<(Split, Option<bool>)> = path.chain(below).collect();
        splits.sort_by_key(|(split, _)| split.feature);
        let mut cells = 1;
        let mut axes = Vec::new();
        for splits in splits.chunk_by(|(one, _), (other, _)| one.feature == other.feature) {
            *work = work.checked_sub(Axis::work(splits.len()))?;
            let axis = Axis::new(splits, cells);
            cells *= axis.values.len();
            if cells > MOST_CELLS || axes.len() == MOST_AXES {
                return None;
            }
            axes.push(axis);
        }
        Some(Self { node, axes })
    }

    pub(super) fn cells(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).product()
    }
}

impl Axis {
    /// Comparisons that [`Axis::new`] may take: each cut is held against each split, and against the cells known by then.
    fn work(splits: usize) -> u64 {
        let splits = splits as u64;
        let cuts = 2 * splits + 2;
        cuts * splits * (1 + splits / 32)
    }

    /// The cells that splits of one feature tell apart. Those on the path come with the side taken.
    fn new(splits: &[(Split, Option<bool>)], stride: usize) -> Self {
        let feature = splits.first().map_or(0, |(split, _)| split.feature);
        let cuts = ascending(splits.iter().flat_map(|(split, _)| cuts_of(split)).collect());
        let mut known: Vec<Option<Vec<bool>>> = Vec::new();
        let mut values = Vec::new();
        let cells = representatives(&cuts).map(|value| {
            // To values that miss the path the part is all one: it takes this feature from the background then.
            let met = splits.iter().all(|(split, side)| side.is_none_or(|yes| split.goes_yes(value) == yes));
            let below = splits.iter().filter(|(_, side)| side.is_none());
            let sides = met.then(|| below.map(|(split, _)| split.goes_yes(value)).collect());
            // Most often the cell is that of the value before.
            let cell = known.iter().rposition(|other| *other == sides).unwrap_or_else(|| {
                known.push(sides);
                values.push(value);
                known.len() - 1
            });
            // Larger ones belong to grids that are refused.
            u16::try_from(cell).unwrap_or(u16::MAX)
        });
        let cells = cells.collect();
        Self { feature, stride, cuts, cells, values }
    }

    /// Puts the cells that are met most often first. Gives how often each is met.
    pub(super) fn arrange(&mut self, met: impl Iterator<Item = f32>) -> Vec<usize> {
        let mut counts = vec![0_usize; self.values.len()];
        for value in met {
            counts[usize::from(self.cell(value))] += 1;
        }
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|&cell| Reverse(counts[cell]));
        let mut place = vec![0_u16; order.len()];
        // Fits, as the number of every cell does.
        order.iter().zip(0..).for_each(|(&cell, new)| place[cell] = new);
        self.cells.iter_mut().for_each(|cell| *cell = place[usize::from(*cell)]);
        self.values = order.iter().map(|&cell| self.values[cell]).collect();
        order.into_iter().map(|cell| counts[cell]).collect()
    }

    /// What a value adds to the number of the cell. Fits 16 bits, as that number does.
    pub(super) fn step(&self, value: f32) -> u16 {
        self.cell(value) * self.stride as u16
    }

    fn cell(&self, value: f32) -> u16 {
        self.cells[rank(&self.cuts, value)]
    }

    /// One axis that tells apart what either of two does. Not laid out yet.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let cuts = ascending([&self.cuts[..], &other.cuts].concat());
        let mut known = Vec::new();
        let mut values = Vec::new();
        let cells = representatives(&cuts).map(|value| {
            let both = (self.cell(value), other.cell(value));
            let cell = known.iter().rposition(|other| *other == both).unwrap_or_else(|| {
                known.push(both);
                values.push(value);
                known.len() - 1
            });
            u16::try_from(cell).unwrap_or(u16::MAX)
        });
        let cells = cells.collect();
        Self { feature: self.feature, stride: 0, cuts, cells, values }
    }

    /// How many cells an axis has that tells apart what either of two does.
    pub(super) fn cells_with(&self, other: &Self, seen: &mut Vec<u64>) -> usize {
        seen.clear();
        seen.resize((self.values.len() * other.values.len()).div_ceil(64), 0);
        let mut see = |at: usize, other_at: usize| {
            let pair = usize::from(self.cells[at]) * other.values.len() + usize::from(other.cells[other_at]);
            seen[pair / 64] |= 1 << (pair % 64);
        };
        let (mut at, mut other_at) = (0, 0);
        loop {
            see(at, other_at);
            match (self.cuts.get(at), other.cuts.get(other_at)) {
                (None, None) => break,
                (Some(_), None) => at += 1,
                (None, Some(_)) => other_at += 1,
                (Some(cut), Some(other_cut)) => {
                    (at, other_at) = (at + usize::from(cut <= other_cut), other_at + usize::from(other_cut <= cut));
                }
            }
        }
        // NaN.
        see(at + 1, other_at + 1);
        seen.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn cuts(&self) -> &[f32] {
        &self.cuts
    }
}

/// How many of ascending cuts are below a value; for NaN one more than there are.
#[inline]
pub(super) fn rank(cuts: &[f32], value: f32) -> usize {
    if value.is_nan() {
        return cuts.len() + 1;
    }
    let mut below = 0;
    let mut rest = cuts;
    while rest.len() > COUNTED {
        let (low, high) = rest.split_at(rest.len() / 2);
        (below, rest) = if high[0] < value { (below + low.len(), high) } else { (below, low) };
    }
    // Several at once, and without a branch to guess.
    below + rest.iter().map(|&cut| u32::from(cut < value)).sum::<u32>() as usize
}

/// One value of each rank.
pub(super) fn representatives(cuts: &[f32]) -> impl Iterator<Item = f32> {
    cuts.iter().copied().chain([f32::INFINITY, f32::NAN])
}

pub(super) fn ascending(mut cuts: Vec<f32>) -> Vec<f32> {
    cuts.sort_unstable_by(f32::total_cmp);
    cuts.dedup();
    cuts
}

/// The values up to and including which a split sends all one way, and above which the other.
pub(super) fn cuts_of(split: &Split) -> impl Iterator<Item = f32> + use<> {
    // Adding zero turns -0 into 0, which compares alike and sorts apart.
    let (at, before) = (split.threshold + 0.0, split.threshold.next_down() + 0.0);
    let (first, second) = match split.branch {
        Branch::Leq | Branch::Gt => (Some(at), None),
        Branch::Lt | Branch::Gte => (Some(before), None),
        Branch::Eq | Branch::Neq => (Some(before), Some(at)),
    };
    first.into_iter().chain(second).filter(|cut| !cut.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_counts_the_cuts_below_however_many_there_are() {
        for count in [0, 1, COUNTED, COUNTED + 1, 5 * COUNTED + 3] {
            let cuts: Vec<f32> = (0..count).map(|cut| cut as f32).collect();
            for value in [-1.0, 0.0, 0.5, 1.0, count as f32 / 2.0, count as f32, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(rank(&cuts, value), cuts.partition_point(|&cut| cut < value), "{value} among {count}");
            }
            assert_eq!(rank(&cuts, f32::NAN), count + 1);
        }
    }
}
