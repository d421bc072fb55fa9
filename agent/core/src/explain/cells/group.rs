//! Tables of some trees, and how a row's cells are found in them.
//!
//! A value's rank among all cuts of its feature says what it adds to the number of the cell in every part at once. These
//! steps lie side by side, [`BLOCK`] parts to a block, so that adding them up is a few wide additions; then one stored
//! vector per part is added to the row's sums. Cells are float32, as the model's own answers are; they are added in float64
//! but for the few of one block.

use super::fill::{Filler, Sides};
use super::grid::{Grid, Rooted, ascending, rank, representatives};
use crate::model::tree::Tree;

/// Parts whose numbers are found together.
pub(super) const BLOCK: usize = 8;

/// Models of up to so many features keep a number for each of them in every cell.
const NARROW: usize = 8;

/// One number for each part of a block.
type Block = [u16; BLOCK];

/// How cells are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A number for each of the model's features, which are so many: adding a cell is one wide addition.
    Narrow(usize),
    /// A number for each of the part's axes.
    Wide,
}

impl Layout {
    pub(super) fn of(width: usize) -> Self {
        if width <= NARROW { Self::Narrow(width) } else { Self::Wide }
    }

    /// Numbers to a cell of a part with so many axes.
    pub(super) fn lanes(self, axes: usize) -> usize {
        match self {
            Self::Narrow(width) => width,
            Self::Wide => axes,
        }
    }

    /// What adding a cell of a part with so many axes takes, to compare with other parts.
    pub(super) fn time(self, axes: usize) -> f64 {
        match self {
            Self::Narrow(_) => 1.0,
            Self::Wide => 1.0 + axes as f64 / 2.0,
        }
    }

    /// Bytes that so many parts of so many axes in all take beside cells and steps.
    pub(super) fn part_bytes(self, parts: usize, axes: usize) -> usize {
        let padding = NARROW * size_of::<f32>();
        let starts = parts.next_multiple_of(BLOCK) * size_of::<u32>();
        match self {
            Self::Narrow(_) => padding + starts,
            Self::Wide => padding + 2 * starts + axes * size_of::<u32>(),
        }
    }
}

/// Bytes of one feature's steps in so many blocks of parts, for so many ranks.
pub(super) fn step_bytes(blocks: usize, ranks: usize) -> usize {
    blocks * (size_of::<u32>() + ranks * size_of::<Block>()) + ranks * size_of::<f32>()
}

/// Trees that share ranks, with the tables of all their parts.
#[derive(Debug, Clone)]
pub(super) struct Group {
    width: usize,
    ranks: Vec<Ranks>,
    /// Per part where its cells begin. Whole blocks: parts that are none have one cell of zeros.
    parts: Vec<[u32; BLOCK]>,
    cells: Cells,
}

/// What one feature's value adds to the numbers of the cells.
#[derive(Debug, Clone)]
struct Ranks {
    feature: u32,
    /// Ascending.
    cuts: Vec<f32>,
    /// The blocks with parts that have this feature.
    blocks: Vec<u32>,
    /// Per rank: one entry for each of `blocks`.
    steps: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Cells {
    /// Padded at the very end, so that [`NARROW`] numbers can be read anywhere.
    Narrow(Vec<f32>),
    Wide {
        numbers: Vec<f32>,
        /// Of all parts, one after the other.
        features: Vec<u32>,
        /// Per part where its features end.
        ends: Vec<[u32; BLOCK]>,
    },
}

/// What adding needs to write on.
#[derive(Default)]
pub(super) struct Scratch {
    /// Per row and part the number of the cell.
    numbers: Vec<Block>,
    /// Per row the sums of a narrow model.
    sums: Vec<[f64; NARROW]>,
}

impl Group {
    /// Fills the tables of trees, each cut into parts.
    pub(super) fn new(trees: &[(Tree, Vec<Grid>)], width: usize, background: &[f32]) -> Self {
        let layout = Layout::of(width);
        let grids: Vec<&Grid> = trees.iter().flat_map(|(_, grids)| grids).collect();
        let axes = grids.iter().map(|grid| grid.axes.len());
        let numbers = grids.iter().map(|grid| grid.cells() * layout.lanes(grid.axes.len())).sum::<usize>() + NARROW;
        let mut filler = Filler::new(axes.clone().max().unwrap_or(0));
        let mut cells = Vec::with_capacity(numbers);
        let mut starts = Vec::with_capacity(grids.len());
        for (tree, grids) in trees {
            let rooted = Rooted::new(tree);
            let sides = Sides::new(&tree.nodes, background, width);
            for grid in grids {
                // Fits: there is not so much memory for tables.
                starts.push(cells.len() as u32);
                let lanes = layout.lanes(grid.axes.len());
                let lane = |axis: usize| if layout == Layout::Wide { axis } else { grid.axes[axis].feature as usize };
                cells.extend(filler.cells(&rooted, grid, &sides, lanes, lane).iter().map(|&value| value as f32));
            }
        }
        let zeros = cells.len() as u32;
        cells.resize(cells.len() + NARROW, 0.0);
        let cells = match layout {
            Layout::Narrow(_) => Cells::Narrow(cells),
            Layout::Wide => {
                let features = grids.iter().flat_map(|grid| &grid.axes).map(|axis| axis.feature).collect::<Vec<_>>();
                let ends = axes.scan(0, |end, axes| {
                    *end += axes as u32;
                    Some(*end)
                });
                Cells::Wide { ends: blocks(ends, features.len() as u32), numbers: cells, features }
            }
        };
        let ranks = (0..width as u32).filter_map(|feature| Ranks::new(feature, &grids)).collect();
        Self { width, ranks, parts: blocks(starts.into_iter(), zeros), cells }
    }

    pub(super) fn bytes(&self) -> usize {
        let ranks: usize = self.ranks.iter().map(Ranks::bytes).sum();
        let cells = match &self.cells {
            Cells::Narrow(numbers) => size_of_val(&numbers[..]),
            Cells::Wide { numbers, features, ends } => {
                size_of_val(&numbers[..]) + size_of_val(&features[..]) + size_of_val(&ends[..])
            }
        };
        ranks + cells + size_of_val(&self.parts[..])
    }

    /// Adds the attributions of flat rows to their sums.
    pub(super) fn add(&self, rows: &[f32], scratch: &mut Scratch, attributions: &mut [f64]) {
        let blocks = self.parts.len();
        scratch.numbers.clear();
        scratch.numbers.resize(rows.len() / self.width * blocks, [0; BLOCK]);
        for (row, numbers) in rows.chunks_exact(self.width).zip(scratch.numbers.chunks_exact_mut(blocks)) {
            self.ranks.iter().for_each(|ranks| ranks.step(row, numbers));
        }
        match &self.cells {
            Cells::Narrow(cells) => {
                scratch.sums.clear();
                scratch.sums.resize(rows.len() / self.width, [0.0; NARROW]);
                for (block, parts) in self.parts.iter().enumerate() {
                    for (numbers, sums) in scratch.numbers.chunks_exact(blocks).zip(&mut scratch.sums) {
                        add_narrow(cells, self.width, parts, &numbers[block], sums);
                    }
                }
                for (sums, attributions) in scratch.sums.iter().zip(attributions.chunks_exact_mut(self.width)) {
                    attributions.iter_mut().zip(sums).for_each(|(attribution, sum)| *attribution += sum);
                }
            }
            Cells::Wide { numbers: cells, features, ends } => {
                let mut first = 0;
                for (block, (parts, ends)) in self.parts.iter().zip(ends).enumerate() {
                    let of_rows = scratch.numbers.chunks_exact(blocks).zip(attributions.chunks_exact_mut(self.width));
                    for (numbers, attributions) in of_rows {
                        add_wide(cells, parts, &numbers[block], first, ends, features, attributions);
                    }
                    first = ends[BLOCK - 1];
                }
            }
        }
    }
}

#[inline]
fn add_narrow(cells: &[f32], width: usize, parts: &[u32; BLOCK], numbers: &Block, sums: &mut [f64; NARROW]) {
    let mut added = [0.0_f32; NARROW];
    for (&start, &number) in parts.iter().zip(numbers) {
        let cell = cells.get(start as usize + usize::from(number) * width..).and_then(<[f32]>::first_chunk::<NARROW>);
        for (sum, value) in added.iter_mut().zip(cell.unwrap_or(&[0.0; NARROW])) {
            *sum += value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(added) {
        *sum += f64::from(value);
    }
}

#[inline]
fn add_wide(
    cells: &[f32],
    parts: &[u32; BLOCK],
    numbers: &Block,
    mut first: u32,
    ends: &[u32; BLOCK],
    features: &[u32],
    attributions: &mut [f64],
) {
    for ((&start, &number), &end) in parts.iter().zip(numbers).zip(ends) {
        let features = &features[first as usize..end as usize];
        first = end;
        let cell = &cells[start as usize + usize::from(number) * features.len()..][..features.len()];
        let mut add = |feature: u32, value: f32| attributions[feature as usize] += f64::from(value);
        // Four to a round, since the counting would take as long as the adding.
        let ((four_features, features), (four_values, values)) = (features.as_chunks::<4>(), cell.as_chunks::<4>());
        for (features, values) in four_features.iter().zip(four_values) {
            features.iter().zip(values).for_each(|(&feature, &value)| add(feature, value));
        }
        features.iter().zip(values).for_each(|(&feature, &value)| add(feature, value));
    }
}

impl Ranks {
    /// `None` for a feature that no grid has.
    fn new(feature: u32, grids: &[&Grid]) -> Option<Self> {
        let axes = grids.iter().enumerate().filter_map(|(part, grid)| {
            let axis = grid.axes.binary_search_by_key(&feature, |axis| axis.feature).ok()?;
            Some((part, &grid.axes[axis]))
        });
        let axes: Vec<_> = axes.collect();
        let mut blocks: Vec<_> = axes.iter().map(|(part, _)| (part / BLOCK) as u32).collect();
        blocks.dedup();
        let cuts = ascending(axes.iter().flat_map(|(_, axis)| axis.cuts()).copied().collect());
        let mut steps = Vec::with_capacity((cuts.len() + 2) * blocks.len());
        for value in representatives(&cuts) {
            let first = steps.len();
            steps.resize(first + blocks.len(), [0; BLOCK]);
            let mut at = 0;
            for (part, axis) in &axes {
                while blocks[at] != (part / BLOCK) as u32 {
                    at += 1;
                }
                steps[first + at][part % BLOCK] = axis.step(value);
            }
        }
        (!axes.is_empty()).then_some(Self { feature, cuts, blocks, steps })
    }

    /// Adds to the numbers of a row's cells what this feature's value adds.
    #[inline]
    fn step(&self, row: &[f32], numbers: &mut [Block]) {
        let rank = rank(&self.cuts, row[self.feature as usize]);
        let steps = &self.steps[rank * self.blocks.len()..][..self.blocks.len()];
        for (&block, steps) in self.blocks.iter().zip(steps) {
            let number = &mut numbers[block as usize];
            // Never more than there are cells.
            *number = std::array::from_fn(|part| number[part].wrapping_add(steps[part]));
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.cuts[..]) + size_of_val(&self.blocks[..]) + size_of_val(&self.steps[..])
    }
}

/// Whole blocks, the last filled up.
fn blocks(values: impl Iterator<Item = u32>, fill: u32) -> Vec<[u32; BLOCK]> {
    let values: Vec<u32> = values.collect();
    values.chunks(BLOCK).map(|chunk| std::array::from_fn(|lane| chunk.get(lane).copied().unwrap_or(fill))).collect()
}
