//! Exact attributions looked up instead of walked.
//!
//! Which attributions a part of a tree gives to a row depends only on which side of the part's own thresholds the row's
//! values lie: on one cell of a small grid. So trees are cut into parts whose grids stay small, every cell of every grid
//! is explained once, by the walk of [`TreeShapley`], and a row is explained by adding up one stored vector per part.
//! Trees with paths over too many features for that, and those that no longer fit the memory set aside, are walked.

mod grid;

use std::collections::HashSet;

use grid::{Grid, ascending, rank, representatives};

use super::ExplainError;
use super::tree::{TreeShapley, simplified};
use crate::model::tree::TreeSum;

/// Most cells of one part's grid. More make fewer, larger parts: quicker to add up, longer to prepare.
const MOST_CELLS: usize = 1024;

/// Memory set aside for the tables of one model, in bytes.
const MOST_BYTES: usize = 32 << 20;

/// Explains rows of one [`TreeSum`] against one set of background rows.
#[derive(Debug, Clone)]
pub struct TreeTables {
    features: Vec<Ranks>,
    parts: Vec<Part>,
    axes: Vec<Axis>,
    /// Per part and cell: one attribution per axis.
    cells: Vec<f64>,
    walked: TreeShapley,
}

/// What one feature's value means to all parts.
#[derive(Debug, Clone, Default)]
struct Ranks {
    /// Ascending.
    cuts: Vec<f32>,
    /// Per rank: what it adds to the number of the cell, for each axis of this feature. All that one row needs of it lies
    /// in one piece.
    strides: Vec<u16>,
    axes: usize,
}

/// A part of a tree; its axes are those up to `axes` that belong to no part before it.
#[derive(Debug, Clone, Copy)]
struct Part {
    axes: usize,
    cells: usize,
}

/// One feature of a part's grid, and which of that feature's axes this is.
#[derive(Debug, Clone, Copy)]
struct Axis {
    feature: u32,
    number: u32,
}

impl TreeTables {
    /// Prepares explanations against `background`: flat rows, `sum.width` values each.
    ///
    /// # Errors
    /// [`ExplainError::Background`] when `background` is empty or no whole number of rows.
    pub fn new(sum: &TreeSum, background: &[f32]) -> Result<Self, ExplainError> {
        let mut rest = TreeSum { width: sum.width, base: 0.0, trees: Vec::new() };
        // Refuses a background that does not fit before anything relies on it.
        TreeShapley::new(&rest, background)?;
        let mut grids = Vec::new();
        let mut size = Size::new(sum.width);
        for tree in &sum.trees {
            let cut = if size.bytes() < MOST_BYTES { grid::cut(&simplified(tree)) } else { None };
            match cut {
                Some(cut) if size.add(&cut) <= MOST_BYTES => grids.extend(cut),
                _ => rest.trees.push(tree.clone()),
            }
        }
        let mut tables = Self {
            features: (0..sum.width).map(|feature| Ranks::new(feature as u32, &grids)).collect(),
            parts: Vec::with_capacity(grids.len()),
            axes: Vec::new(),
            cells: Vec::with_capacity(grids.iter().map(Grid::numbers).sum()),
            walked: TreeShapley::new(&rest, background)?,
        };
        let mut axes = vec![0; sum.width];
        for grid in &grids {
            let cells = tables.cells.len();
            explain_cells(grid, background, sum.width, &mut tables.cells)?;
            for axis in &grid.axes {
                let number = &mut axes[axis.feature as usize];
                tables.axes.push(Axis { feature: axis.feature, number: *number });
                *number += 1;
            }
            tables.parts.push(Part { axes: tables.axes.len(), cells });
        }
        Ok(tables)
    }

    /// The attributions of `row`, one per feature: their sum is the output for `row` less the mean output over the
    /// background.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `row` does not have one value per feature.
    pub fn attributions(&self, row: &[f32]) -> Result<Vec<f64>, ExplainError> {
        let mut attributions = self.walked.attributions(row)?;
        let strides: Vec<&[u16]> = self.features.iter().zip(row).map(|(ranks, &value)| ranks.strides(value)).collect();
        let mut first = 0;
        for part in &self.parts {
            let axes = &self.axes[first..part.axes];
            first = part.axes;
            let cell: usize =
                axes.iter().map(|axis| usize::from(strides[axis.feature as usize][axis.number as usize])).sum();
            let cell = &self.cells[part.cells + cell * axes.len()..];
            for (axis, value) in axes.iter().zip(cell) {
                attributions[axis.feature as usize] += value;
            }
        }
        Ok(attributions)
    }
}

impl Ranks {
    fn new(feature: u32, grids: &[Grid]) -> Self {
        let axes: Vec<_> =
            grids.iter().flat_map(Grid::strided_axes).filter(|(axis, _)| axis.feature == feature).collect();
        let cuts = ascending(axes.iter().flat_map(|(axis, _)| &axis.cuts).copied().collect());
        let mut strides = Vec::with_capacity((cuts.len() + 2) * axes.len());
        for value in representatives(&cuts) {
            strides.extend(axes.iter().map(|(axis, stride)| (axis.cell(value) * stride) as u16));
        }
        Self { cuts, strides, axes: axes.len() }
    }

    fn strides(&self, value: f32) -> &[u16] {
        &self.strides[rank(&self.cuts, value) * self.axes..][..self.axes]
    }
}

/// How large the tables of some grids will be. It only grows: what was too much is the last that is asked for.
struct Size {
    numbers: usize,
    /// Per feature: the cuts, as bits, and the number of axes.
    ranks: Vec<(HashSet<u32>, usize)>,
}

impl Size {
    fn new(width: usize) -> Self {
        Self { numbers: 0, ranks: vec![(HashSet::new(), 0); width] }
    }

    fn bytes(&self) -> usize {
        let strides: usize = self.ranks.iter().map(|(cuts, axes)| (cuts.len() + 2) * axes).sum();
        self.numbers * size_of::<f64>() + strides * size_of::<u16>()
    }

    fn add(&mut self, grids: &[Grid]) -> usize {
        for grid in grids {
            self.numbers += grid.numbers();
            for axis in &grid.axes {
                let (cuts, axes) = &mut self.ranks[axis.feature as usize];
                cuts.extend(axis.cuts.iter().map(|cut| cut.to_bits()));
                *axes += 1;
            }
        }
        self.bytes()
    }
}

/// Explains one row of each of a grid's cells.
fn explain_cells(grid: &Grid, background: &[f32], width: usize, cells: &mut Vec<f64>) -> Result<(), ExplainError> {
    let rows = background.chunks_exact(width);
    let background: Vec<f32> = rows.flat_map(|row| grid.axes.iter().map(|axis| row[axis.feature as usize])).collect();
    let sum = TreeSum { width: grid.axes.len(), base: 0.0, trees: vec![grid.tree.clone()] };
    let walk = TreeShapley::new(&sum, &background)?;
    let mut row = vec![0.0; grid.axes.len()];
    for cell in 0..grid.cells() {
        for (value, (axis, stride)) in row.iter_mut().zip(grid.strided_axes()) {
            *value = axis.values[cell / stride % axis.values.len()];
        }
        cells.extend(walk.attributions(&row)?);
    }
    Ok(())
}
