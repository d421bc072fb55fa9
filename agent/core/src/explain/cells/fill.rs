//! Fills the cells of a part.
//!
//! What a leaf adds to a row's attributions depends only on which of the k features on its path the row satisfies. So
//! that is worked out once for each of the 2^k patterns, and a cell is the sum over the part's leaves of what each adds
//! for the cell's pattern.

use super::super::weights::Weights;
use super::grid::{Grid, Rooted};
use super::group::{Layout, NARROW};
use super::table::Table;
use crate::model::tree::{Node, Tree};

/// The numbers of all cells of some tables, with [`NARROW`] zeros at the very end, and per table where its cells begin.
pub(super) fn filled(
    trees: &[Tree],
    tables: &[Table],
    layout: Layout,
    background: &[f32],
    width: usize,
) -> (Vec<f32>, Vec<u32>) {
    let rooted: Vec<Rooted<'_>> = trees.iter().map(Rooted::new).collect();
    let axes = tables.iter().flat_map(|table| &table.parts).map(|part| part.grid.axes.len());
    let mut filler = Filler::new(axes.max().unwrap_or(0));
    let total = tables.iter().map(|table| table.cells * layout.lanes(table.axes.len())).sum::<usize>();
    let mut cells = Vec::with_capacity(total + NARROW);
    let mut starts = Vec::with_capacity(tables.len());
    let (mut sums, mut numbers) = (Vec::new(), Vec::new());
    for table in tables {
        // Fits: there is not so much memory for tables.
        starts.push(cells.len() as u32);
        let lanes = layout.lanes(table.axes.len());
        sums.clear();
        sums.resize(table.cells * lanes, 0.0);
        for part in &table.parts {
            table.cells_of(&part.grid, &mut numbers);
            let axes = &part.grid.axes;
            let lane = |feature: u32| match layout {
                Layout::Narrow(_) | Layout::Packed(_) => feature as usize,
                Layout::Wide => table.axes.partition_point(|axis| axis.feature < feature),
            };
            let lane_of: Vec<usize> = axes.iter().map(|axis| lane(axis.feature)).collect();
            let tree = &rooted[part.tree];
            let filled = filler.cells(tree, &part.grid, &Sides::new(tree, part.grid.node, background, width));
            for (sums, &number) in sums.chunks_exact_mut(lanes).zip(&numbers) {
                let cell = &filled[usize::from(number) * axes.len()..][..axes.len()];
                cell.iter().zip(&lane_of).for_each(|(value, &lane)| sums[lane] += value);
            }
        }
        cells.extend(sums.iter().map(|&value: &f64| value as f32));
    }
    cells.resize(total + NARROW, 0.0);
    (cells, starts)
}

/// The sides that background rows take in a part of a tree, and on the path to it.
struct Sides {
    rows: usize,
    /// Per node of the tree where its rows begin.
    starts: Vec<usize>,
    /// Per split and row: all ones where the row takes the `yes` side.
    yes: Vec<u16>,
}

impl Sides {
    fn new(tree: &Rooted<'_>, part: u32, background: &[f32], width: usize) -> Self {
        let rows = background.len() / width;
        let mut starts = vec![0; tree.tree.nodes.len()];
        let mut yes = Vec::new();
        let below = tree.below(part).filter_map(|(node, kind)| match kind {
            Node::Split(split) => Some((node, split)),
            Node::Leaf(_) => None,
        });
        for (node, split) in below.chain(tree.path(part).map(|(node, split, _)| (node, split))) {
            starts[node as usize] = yes.len();
            let values = background.iter().skip(split.feature as usize).step_by(width);
            yes.extend(values.map(|&value| if split.goes_yes(value) { u16::MAX } else { 0 }));
        }
        Self { rows, starts, yes }
    }

    /// Of all rows at a split.
    fn at(&self, node: u32) -> &[u16] {
        &self.yes[self.starts[node as usize]..][..self.rows]
    }
}

/// Fills part after part, keeping its scratch space.
struct Filler {
    weights: Weights,
    /// Per background row the features of a leaf's path that it satisfies.
    patterns: Vec<u16>,
    /// How many background rows satisfy each pattern.
    counts: Vec<u32>,
    /// Per pattern of the explained row what each feature gets.
    shares: Vec<f64>,
    /// Per pattern what each feature that it lacks loses.
    losses: Vec<f64>,
    /// Per cell the pattern.
    met: Vec<u16>,
    totals: Vec<f64>,
}

impl Filler {
    /// For paths over up to `most` features.
    fn new(most: usize) -> Self {
        Self {
            weights: Weights::new(most),
            patterns: Vec::new(),
            counts: Vec::new(),
            shares: Vec::new(),
            losses: Vec::new(),
            met: Vec::new(),
            totals: Vec::new(),
        }
    }

    /// The attributions of every cell, one after the other, a number for each axis.
    fn cells(&mut self, tree: &Rooted<'_>, grid: &Grid, sides: &Sides) -> &[f64] {
        let lanes = grid.axes.len();
        self.totals.clear();
        self.totals.resize(grid.cells() * lanes, 0.0);
        for (leaf, node) in tree.below(grid.node) {
            let Node::Leaf(value) = node else { continue };
            if value == 0.0 {
                continue;
            }
            let places = self.patterns_of(tree, leaf, grid, sides);
            self.count(places.len());
            self.share(&places, value / sides.rows as f64, lanes);
            self.meet(tree, leaf, grid, &places);
            for (total, &pattern) in self.totals.chunks_exact_mut(lanes).zip(&self.met) {
                let shares = &self.shares[usize::from(pattern) * lanes..][..lanes];
                for (total, share) in total.iter_mut().zip(shares) {
                    *total += share;
                }
            }
        }
        &self.totals
    }

    /// Notes which features on a leaf's path each background row satisfies. Gives their axes: bit by bit.
    fn patterns_of(&mut self, tree: &Rooted<'_>, leaf: u32, grid: &Grid, sides: &Sides) -> Vec<usize> {
        let mut places: Vec<usize> = Vec::new();
        self.patterns.clear();
        self.patterns.resize(sides.rows, u16::MAX);
        for (node, split, yes) in tree.path(leaf) {
            let axis = grid.axes.partition_point(|axis| axis.feature < split.feature);
            let bit = places.iter().position(|&place| place == axis).unwrap_or_else(|| {
                places.push(axis);
                places.len() - 1
            });
            let (bit, wanted) = (1_u16 << bit, if yes { u16::MAX } else { 0 });
            for (pattern, taken) in self.patterns.iter_mut().zip(sides.at(node)) {
                *pattern &= !((taken ^ wanted) & bit);
            }
        }
        places
    }

    /// Counts the background rows of each pattern of `k` bits.
    fn count(&mut self, k: usize) {
        let all = (1_u16 << k) - 1;
        self.counts.clear();
        self.counts.resize(1 << k, 0);
        for pattern in &self.patterns {
            self.counts[usize::from(pattern & all)] += 1;
        }
    }

    /// Shares out a leaf's value for each pattern that an explained row may have. What a background row lacks, the
    /// explained row must have: those features are `a`. Of the others those that the explained row lacks are `c`.
    fn share(&mut self, places: &[usize], value: f64, lanes: usize) {
        let all = self.counts.len() - 1;
        self.losses.clear();
        self.losses.resize(all + 1, 0.0);
        self.shares.clear();
        self.shares.resize((all + 1) * lanes, 0.0);
        let mut gaining = Vec::with_capacity(places.len());
        for (background, &count) in self.counts.iter().enumerate() {
            if count == 0 {
                continue;
            }
            let needed = all & !background;
            gaining.clear();
            gaining
                .extend(places.iter().enumerate().filter(|(bit, _)| needed >> bit & 1 == 1).map(|(_, &place)| place));
            let value = value * f64::from(count);
            // All subsets of what the background row satisfies, the empty one last.
            let mut also = background;
            loop {
                let row = needed | also;
                let c = (background & !also).count_ones() as usize;
                let weight = self.weights.pair(gaining.len(), c);
                self.losses[row] += value * weight.background;
                let shares = &mut self.shares[row * lanes..][..lanes];
                for &lane in &gaining {
                    shares[lane] += value * weight.row;
                }
                if also == 0 {
                    break;
                }
                also = (also - 1) & background;
            }
        }
        for (row, &loss) in self.losses.iter().enumerate() {
            for (bit, &place) in places.iter().enumerate() {
                if row >> bit & 1 == 0 {
                    self.shares[row * lanes + place] -= loss;
                }
            }
        }
    }

    /// Notes for each cell which features on a leaf's path its values satisfy.
    fn meet(&mut self, tree: &Rooted<'_>, leaf: u32, grid: &Grid, places: &[usize]) {
        self.met.clear();
        self.met.push(0);
        for (index, axis) in grid.axes.iter().enumerate() {
            let satisfied = |value| {
                let mut path = tree.path(leaf).filter(|(_, split, _)| split.feature == axis.feature);
                path.all(|(_, split, yes)| split.goes_yes(value) == yes)
            };
            let bit = places.iter().position(|&place| place == index).map_or(0, |bit| 1_u16 << bit);
            let so_far = self.met.len();
            for &value in axis.values.iter().skip(1) {
                let first = self.met.len();
                self.met.extend_from_within(..so_far);
                if satisfied(value) {
                    self.met[first..].iter_mut().for_each(|pattern| *pattern |= bit);
                }
            }
            // The first comes last, since the others are made from what was there before.
            if axis.values.first().is_some_and(|&value| satisfied(value)) {
                self.met[..so_far].iter_mut().for_each(|pattern| *pattern |= bit);
            }
        }
    }
}
