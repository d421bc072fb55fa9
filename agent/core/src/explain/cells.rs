//! Exact attributions looked up instead of walked.
//!
//! Which attributions a part of a tree gives to a row depends only on which side of the part's own thresholds the row's
//! values lie: on one cell of a small grid. So trees are cut into parts, every cell of every grid is filled once, and a
//! row is explained by adding up one stored vector per part. Parts that tell much the same apart share one: see [`table`].
//!
//! How finely trees are cut is a matter of memory. Few large parts are quicker to add up than many small ones; the
//! smallest part is a single leaf, whose cells are the ways of satisfying the features on its path. [`cut`] finds the
//! quickest parts that fit the memory set aside. Trees that do not fit even as single leaves are walked by
//! [`TreeShapley`]: all three ways give the same values.

mod cut;
mod fill;
mod grid;
mod group;
mod table;

use cut::Plan;
use group::{Group, Scratch};
use table::tables;

use super::ExplainError;
use super::tree::TreeShapley;
use crate::model::tree::TreeSum;

/// Memory set aside for the tables of one model, in bytes, unless something else is asked for.
pub const MOST_BYTES: usize = 24 << 20;

/// Rows explained together, group of trees by group of trees: so many rows' sums stay in the fastest cache.
const BLOCK: usize = 64;

/// Explains rows of one [`TreeSum`] against one set of background rows.
#[derive(Debug, Clone)]
pub struct TreeTables {
    width: usize,
    groups: Vec<Group>,
    /// The trees without tables; absent when all have theirs.
    walked: Option<TreeShapley>,
}

impl TreeTables {
    /// Prepares explanations against `background`: flat rows, `sum.width` values each.
    ///
    /// # Errors
    /// [`ExplainError::Background`] when `background` is empty or no whole number of rows; [`ExplainError::TooLarge`] when
    /// the trees that have to be walked are too many for the background, see [`TreeShapley::new`].
    pub fn new(sum: &TreeSum, background: &[f32]) -> Result<Self, ExplainError> {
        Self::within(MOST_BYTES, sum, background)
    }

    /// The same with tables of no more than so many bytes.
    ///
    /// # Errors
    /// As [`TreeTables::new`].
    pub fn within(bytes: usize, sum: &TreeSum, background: &[f32]) -> Result<Self, ExplainError> {
        let width = sum.width;
        if width == 0 || background.is_empty() || !background.len().is_multiple_of(width) {
            return Err(ExplainError::Background { values: background.len(), width });
        }
        let plan = Plan::within(bytes.min(u32::MAX as usize), sum);
        let spare = plan.spare / plan.groups.len().max(1);
        let groups = plan.groups.into_iter().map(|trees| {
            let (trees, tables) = tables(trees, plan.price, spare, width);
            Group::new(&trees, tables, width, background)
        });
        let groups = groups.collect();
        let walked = TreeSum { width, base: 0.0, trees: plan.walked };
        let walked = if walked.trees.is_empty() { None } else { Some(TreeShapley::new(&walked, background)?) };
        Ok(Self { width, groups, walked })
    }

    /// How many bytes the tables take.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(Group::bytes).sum()
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
        self.attributions_of_rows(row)
    }

    /// The attributions of flat rows, row after row. Quicker than one call per row.
    ///
    /// # Errors
    /// [`ExplainError::Width`] when `rows` is no whole number of rows.
    pub fn attributions_of_rows(&self, rows: &[f32]) -> Result<Vec<f64>, ExplainError> {
        if !rows.len().is_multiple_of(self.width) {
            return Err(ExplainError::Width { expected: self.width, got: rows.len() % self.width });
        }
        let mut attributions = vec![0.0; rows.len()];
        let mut scratch = Scratch::default();
        let block = BLOCK * self.width;
        for (rows, attributions) in rows.chunks(block).zip(attributions.chunks_mut(block)) {
            for group in &self.groups {
                group.add(rows, &mut scratch, attributions);
            }
        }
        if let Some(walked) = &self.walked {
            for (row, attributions) in rows.chunks_exact(self.width).zip(attributions.chunks_exact_mut(self.width)) {
                for (sum, value) in attributions.iter_mut().zip(walked.attributions(row)?) {
                    *sum += value;
                }
            }
        }
        Ok(attributions)
    }
}
