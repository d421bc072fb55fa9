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
mod packed;
mod table;

use cut::Plan;
use group::{Group, Layout, Scratch};
use table::tables;

use super::ExplainError;
use super::tree::TreeShapley;
use crate::model::tree::TreeSum;

/// Memory set aside for the tables of one model, in bytes, unless something else is asked for.
pub const MOST_BYTES: usize = 24 << 20;

/// Smaller tables are never packed: they stay in the nearer caches anyway.
const SMALL: usize = 4 << 20;

/// How far packed tables may be off at worst, as a part of the largest output (or of 1). What is rounded in hundreds of cells
/// never all adds up, so that they are off by a hundredth of this.
const COARSEST: f64 = 1e-5;

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
        let bytes = bytes.min(u32::MAX as usize);
        let layout = Layout::of(width);
        let plan = Plan::within(bytes, sum, layout);
        if let (true, Some(layout)) = (bytes.saturating_sub(plan.spare) > SMALL, Layout::packed(width)) {
            let packed = Self::filled(Plan::within(bytes, sum, layout), layout, width, background)?;
            if packed.groups.iter().map(Group::off).sum::<f64>() <= COARSEST * packed::scale(sum, background) {
                return Ok(packed);
            }
        }
        Self::filled(plan, layout, width, background)
    }

    fn filled(plan: Plan, layout: Layout, width: usize, background: &[f32]) -> Result<Self, ExplainError> {
        let spare = plan.spare / plan.groups.len().max(1);
        let groups = plan.groups.into_iter().map(|trees| {
            let (trees, tables) = tables(trees, plan.price, spare, width, layout);
            Group::new(&trees, tables, layout, width, background)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::{Branch, Node, Split, Tree};

    const WIDTH: usize = 5;

    /// A full tree of five levels, its leaves of another size than those of the tree before.
    fn tree(number: u32) -> Tree {
        let mixed = |index: u32| (index + 64 * number).wrapping_mul(2_654_435_761) >> 8;
        let split = |index: u32| Split {
            feature: mixed(index) % WIDTH as u32,
            threshold: (mixed(index) >> 4 & 63) as f32 / 64.0,
            branch: Branch::Leq,
            missing_yes: index.is_multiple_of(2),
            yes: 2 * index + 1,
            no: 2 * index + 2,
        };
        let leaf = |index: u32| f64::from(mixed(index) >> 4 & 1_023) / 1e4 / f64::from(1 << (number % 9));
        let node = |index| if index < 31 { Node::Split(split(index)) } else { Node::Leaf(leaf(index)) };
        Tree { nodes: (0..63).map(node).collect() }
    }

    fn rows(count: usize, factor: usize) -> Vec<f32> {
        let value = |at: usize| if at % 97 == 96 { f32::NAN } else { (at * factor % 101) as f32 / 101.0 };
        (0..count * WIDTH).map(value).collect()
    }

    #[test]
    fn packed_tables_say_what_others_say_and_of_many_rows_the_same_as_of_one() {
        let sum = TreeSum { width: WIDTH, base: 0.0, trees: (0..40).map(tree).collect() };
        let (background, rows) = (rows(30, 37), rows(150, 53));
        let [narrow, packed] = [Layout::of(WIDTH), Layout::packed(WIDTH).expect("few features")].map(|layout| {
            let plan = Plan::within(MOST_BYTES, &sum, layout);
            TreeTables::filled(plan, layout, WIDTH, &background).expect("tables")
        });
        let off: f64 = packed.groups.iter().map(Group::off).sum();
        assert!(off > 0.0 && off <= COARSEST, "{off}");
        let (expected, found) =
            (narrow.attributions_of_rows(&rows).unwrap(), packed.attributions_of_rows(&rows).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= off + 1e-7, "{found} for {expected}");
        }
        let alone = rows.chunks_exact(WIDTH).flat_map(|row| packed.attributions(row).unwrap());
        assert_eq!(found, alone.collect::<Vec<f64>>());
    }

    fn is_packed(trees: Vec<Tree>, background: &[f32]) -> bool {
        let tables = TreeTables::new(&TreeSum { width: WIDTH, base: 0.0, trees }, background).unwrap();
        assert!(tables.bytes() <= MOST_BYTES);
        tables.groups.iter().any(|group| group.off() > 0.0)
    }

    #[test]
    fn tables_are_packed_where_they_are_large() {
        assert!(is_packed((0..120).map(tree).collect(), &rows(30, 37)), "large tables");
        assert!(!is_packed((0..4).map(tree).collect(), &rows(30, 37)), "small tables");
    }

    /// Per tree another that asks for the next feature and takes away what the first adds: nothing is left where all features have
    /// one value, while the features get large shares of both signs.
    fn opposed(factor: f64) -> Vec<Tree> {
        let times = |tree: &Tree, next: u32, factor: f64| {
            let node = |node: &Node| match *node {
                Node::Leaf(value) => Node::Leaf(value * factor),
                Node::Split(split) => Node::Split(Split { feature: (split.feature + next) % WIDTH as u32, ..split }),
            };
            Tree { nodes: tree.nodes.iter().map(node).collect() }
        };
        (0..60).map(tree).flat_map(|tree| [times(&tree, 0, factor), times(&tree, 1, -factor)]).collect()
    }

    #[test]
    fn tables_are_not_packed_where_that_would_be_too_coarse_for_the_outputs() {
        let background: Vec<f32> = (0..30).flat_map(|row| [row as f32 / 30.0; WIDTH]).collect();
        assert!(is_packed(opposed(1.0), &background));
        assert!(!is_packed(opposed(1e3), &background));
    }
}
