//! Parts of several trees in one table.
//!
//! What two parts give to a row can be stored as one sum, in a table that tells apart what either does. That is one vector
//! to add instead of two, and a shorter one than both together where they share features; but it takes more cells. So
//! parts are joined where that is worth the bytes, the best bargain first, until nothing is left that pays or fits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::grid::{Axis, Grid, MOST_AXES, MOST_CELLS, ascending};
use super::group::{BLOCK, Layout};
use crate::model::tree::Tree;

/// So many tables are compared each with each.
const COMPARED: usize = 512;

/// So many are looked through for one that is like those before it.
const SIMILAR: usize = 512;

/// Least price of a byte for which parts are joined: larger tables lie in slower caches even where there is memory.
const LEAST_PRICE: f64 = 1.0 / (1 << 16) as f64;

/// One or more parts that share their cells.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Ascending by feature.
    pub(super) axes: Vec<Axis>,
    pub(super) cells: usize,
    pub(super) parts: Vec<Part>,
}

/// A part, and which tree it is of.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) tree: usize,
    pub(super) grid: Grid,
}

/// Trees, and their parts in tables that take no more than `spare` bytes more than the parts alone.
pub(super) fn tables(
    trees: Vec<(Tree, Vec<Grid>)>,
    price: f64,
    spare: usize,
    width: usize,
    layout: Layout,
) -> (Vec<Tree>, Vec<Table>) {
    let mut kept = Vec::with_capacity(trees.len());
    let mut tables = Vec::new();
    for (index, (tree, grids)) in trees.into_iter().enumerate() {
        kept.push(tree);
        tables.extend(grids.into_iter().map(|grid| Table::new(index, grid)));
    }
    let mut cuts = vec![Vec::new(); width];
    for axis in tables.iter().flat_map(|table| &table.axes) {
        cuts[axis.feature as usize].extend_from_slice(axis.cuts());
    }
    // Above all cuts, and NaN, are ranks too.
    let ranks: Vec<usize> = cuts.into_iter().map(|cuts| ascending(cuts).len() + 2).collect();
    let market = Market { price: price.max(LEAST_PRICE), ranks: &ranks, layout };
    (kept, market.joined(tables, spare))
}

/// An order in which tables over much the same features come together, [`BLOCK`] by [`BLOCK`].
pub(super) fn similar(tables: &[Table], width: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..tables.len()).collect();
    left.sort_by_key(|&table| Reverse(tables[table].axes.len()));
    let mut order = Vec::with_capacity(left.len());
    let mut met = vec![false; width];
    while !left.is_empty() {
        if order.len() % BLOCK == 0 {
            met.fill(false);
        }
        let new = |table: usize| tables[table].axes.iter().filter(|axis| !met[axis.feature as usize]).count();
        // The first of a block is the one with most features, for which all are new.
        let looked_through = if order.len() % BLOCK == 0 { 1 } else { left.len().min(SIMILAR) };
        let next = (0..looked_through).min_by_key(|&at| new(left[at])).unwrap_or(0);
        let next = left.remove(next);
        tables[next].axes.iter().for_each(|axis| met[axis.feature as usize] = true);
        order.push(next);
    }
    order
}

impl Table {
    fn new(tree: usize, grid: Grid) -> Self {
        Self { axes: grid.axes.clone(), cells: grid.cells(), parts: vec![Part { tree, grid }] }
    }

    fn bytes(&self, layout: Layout) -> usize {
        layout.cell_bytes(self.cells, self.axes.len())
    }

    /// The axes of one table in place of two, and how many cells it has.
    fn axes_with(&self, other: &Self) -> (Vec<Axis>, usize) {
        let joined = shared(&self.axes, &other.axes).filter_map(|pair| match pair {
            (Some(a), Some(b)) => Some(a.joined(b)),
            (a, b) => a.or(b).cloned(),
        });
        let axes: Vec<Axis> = joined.collect();
        let cells = axes.iter().map(|axis| axis.values.len()).product();
        (axes, cells)
    }

    /// Numbers the cells, so that those in which most rows lie, going by some, lie near each other.
    pub(super) fn arrange(&mut self, rows: &[f32], width: usize) {
        let mut spread = Vec::with_capacity(self.axes.len());
        for (index, axis) in self.axes.iter_mut().enumerate() {
            let counts = axis.arrange(rows.iter().skip(axis.feature as usize).step_by(width).copied());
            // The least where all cells are met equally often.
            spread.push((counts.len() * counts.iter().map(|count| count * count).sum::<usize>(), index));
        }
        spread.sort_unstable();
        let mut stride = 1;
        for (_, index) in spread {
            let axis = &mut self.axes[index];
            axis.stride = stride;
            stride *= axis.values.len();
        }
    }

    /// The number of a row's cell.
    pub(super) fn number(&self, row: &[f32]) -> u16 {
        self.axes.iter().map(|axis| axis.step(row[axis.feature as usize])).sum()
    }

    /// Notes per cell the number of a part's cell.
    pub(super) fn cells_of(&self, part: &Grid, numbers: &mut Vec<u16>) {
        let mut axes: Vec<&Axis> = self.axes.iter().collect();
        axes.sort_by_key(|axis| axis.stride);
        numbers.clear();
        numbers.push(0);
        for axis in axes {
            let Some(own) = part.axes.iter().find(|own| own.feature == axis.feature) else {
                *numbers = numbers.repeat(axis.values.len());
                continue;
            };
            let steps = axis.values.iter().map(|&value| own.step(value));
            *numbers = steps.flat_map(|step| numbers.iter().map(move |number| number + step)).collect();
        }
    }
}

/// What decides whether two tables become one.
struct Market<'a> {
    /// Of a byte, where a part more for a row costs about one.
    price: f64,
    /// Per feature how many ranks are told apart.
    ranks: &'a [usize],
    layout: Layout,
}

/// Two tables that should be one: first what that saves, as bits, since what is above zero is ordered as its bits are; then
/// which they are, and how many bytes of cells come to them.
type Bargain = (u64, Reverse<(usize, usize)>, isize);

impl Market<'_> {
    /// Joins tables where it pays, with cells of no more than so many bytes more. All else that tables take gets less.
    fn joined(&self, tables: Vec<Table>, mut spare: usize) -> Vec<Table> {
        let mut done = Vec::with_capacity(tables.len());
        let mut tables = tables.into_iter();
        let mut seen = Vec::new();
        loop {
            let mut open: Vec<Option<Table>> = tables.by_ref().take(COMPARED).map(Some).collect();
            if open.is_empty() {
                return done;
            }
            let mut bargains = BinaryHeap::new();
            (0..open.len()).for_each(|last| self.offer(&open[..=last], &mut bargains, &mut seen));
            while let Some((_, Reverse((one, other)), more)) = bargains.pop() {
                let Some(left) = spare.checked_add_signed(-more) else { continue };
                let (Some(first), Some(second)) = (&open[one], &open[other]) else { continue };
                let (axes, cells) = first.axes_with(second);
                spare = left;
                let parts = [open[one].take(), open[other].take()].into_iter().flatten().flat_map(|table| table.parts);
                open.push(Some(Table { axes, cells, parts: parts.collect() }));
                self.offer(&open, &mut bargains, &mut seen);
            }
            done.extend(open.into_iter().flatten());
        }
    }

    /// Offers the last of some tables to all before it.
    fn offer(&self, open: &[Option<Table>], bargains: &mut BinaryHeap<Bargain>, seen: &mut Vec<u64>) {
        let Some((Some(last), before)) = open.split_last() else { return };
        for (index, table) in before.iter().enumerate() {
            let Some((saved, more)) = table.as_ref().and_then(|table| self.saved(table, last, seen)) else { continue };
            bargains.push((saved.to_bits(), Reverse((index, before.len())), more));
        }
    }

    /// What it saves to join two tables, if anything, and how many bytes of cells it takes.
    fn saved(&self, one: &Table, other: &Table, seen: &mut Vec<u64>) -> Option<(f64, isize)> {
        let (mut axes, mut cells, mut steps) = (0, 1, 0);
        let both = || shared(&one.axes, &other.axes);
        for (a, b) in both() {
            axes += 1;
            // At least as many as either has.
            cells *= [a, b].into_iter().flatten().map(|axis| axis.values.len()).max().unwrap_or(1);
            if let (Some(a), Some(_)) = (a, b) {
                steps += self.ranks[a.feature as usize] * size_of::<u16>();
            }
        }
        let time = self.layout.time(one.axes.len()) + self.layout.time(other.axes.len()) - self.layout.time(axes);
        let apart = one.bytes(self.layout) + other.bytes(self.layout);
        let saved = |cells: usize| {
            let more = self.layout.cell_bytes(cells, axes) as isize - apart as isize;
            let saved = time - self.price * (more - steps as isize) as f64;
            (saved > 0.0 && cells <= MOST_CELLS && axes <= MOST_AXES).then_some((saved, more))
        };
        saved(cells)?;
        for (a, b) in both() {
            if let (Some(a), Some(b)) = (a, b) {
                cells = cells / a.values.len().max(b.values.len()) * a.cells_with(b, seen);
                saved(cells)?;
            }
        }
        saved(cells)
    }
}

/// Per feature the axis of either, where both are ascending by feature.
fn shared<'a>(
    mut ones: &'a [Axis],
    mut others: &'a [Axis],
) -> impl Iterator<Item = (Option<&'a Axis>, Option<&'a Axis>)> {
    std::iter::from_fn(move || {
        let feature = ones.first().into_iter().chain(others.first()).map(|axis| axis.feature).min()?;
        let next = |axes: &mut &'a [Axis]| match *axes {
            [axis, rest @ ..] if axis.feature == feature => {
                *axes = rest;
                Some(axis)
            }
            _ => None,
        };
        Some((next(&mut ones), next(&mut others)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::grid::Rooted;
    use super::*;
    use crate::model::tree::{Branch, Node, Split};

    const WIDTH: usize = 10;

    /// A full tree of two levels over two of [`WIDTH`] features, as one table.
    fn table(tree: usize, features: [u32; 2], threshold: f32, branch: Branch) -> Table {
        let split = |feature, threshold, yes| {
            Node::Split(Split { feature, threshold, branch, missing_yes: tree.is_multiple_of(2), yes, no: yes + 1 })
        };
        let [first, second] = features;
        let mut nodes = vec![split(first, threshold, 1), split(second, 0.0, 3), split(second, threshold, 5)];
        nodes.extend((1..5).map(|leaf| Node::Leaf(f64::from(leaf))));
        let tree_of = Tree { nodes };
        Table::new(tree, Grid::new(&Rooted::new(&tree_of), 0, &mut 1_000_000).unwrap())
    }

    fn some() -> Vec<Table> {
        let features = [[0, 1], [1, 0], [1, 4], [7, 4], [0, 1], [4, 1], [7, 9], [1, 0]];
        let branches = [Branch::Leq, Branch::Gt, Branch::Eq, Branch::Lt];
        let of = |(index, features): (usize, [u32; 2])| table(index, features, index as f32, branches[index % 4]);
        features.into_iter().enumerate().map(of).collect()
    }

    fn rows() -> Vec<f32> {
        let values = [f32::NEG_INFINITY, -1.0, 0.0, 0.5, 2.0, 3.0, 3.5, 6.0, 7.0, f32::INFINITY, f32::NAN];
        (0..400 * WIDTH).map(|at| values[(at * at / 7 + 3 * at) % values.len()]).collect()
    }

    fn joined(price: f64, spare: usize) -> Vec<Table> {
        let market = Market { price, ranks: &[2; WIDTH], layout: Layout::Wide };
        market.joined(some(), spare)
    }

    #[test]
    fn a_joined_table_tells_apart_what_its_parts_do() {
        let tables = joined(1e-9, 1 << 20);
        assert!(tables.len() < some().len(), "nothing was joined");
        assert_eq!(tables.iter().map(|table| table.parts.len()).sum::<usize>(), some().len());
        let rows = rows();
        let mut numbers = Vec::new();
        for mut table in tables {
            assert!(table.axes.is_sorted_by_key(|axis| axis.feature));
            assert_eq!(table.cells, table.axes.iter().map(|axis| axis.values.len()).product::<usize>());
            table.arrange(&rows, WIDTH);
            for part in &table.parts {
                table.cells_of(&part.grid, &mut numbers);
                assert_eq!(numbers.len(), table.cells);
                for row in rows.chunks_exact(WIDTH) {
                    let own: u16 = part.grid.axes.iter().map(|axis| axis.step(row[axis.feature as usize])).sum();
                    assert_eq!(numbers[usize::from(table.number(row))], own);
                }
            }
        }
    }

    #[test]
    fn no_more_bytes_are_taken_than_there_are() {
        let bytes = |tables: &[Table]| tables.iter().map(|table| table.bytes(Layout::Wide)).sum::<usize>();
        let before = bytes(&some());
        let counts = [0, 200, 1 << 20].map(|spare| {
            let tables = joined(1e-9, spare);
            assert!(bytes(&tables) <= before + spare, "{spare} bytes were to spare");
            tables.len()
        });
        assert!(counts[2] < counts[0], "{counts:?}");
        assert_eq!(joined(1e9, 1 << 20).len(), joined(1e9, 0).len(), "where bytes are dear none are bought");
    }

    #[test]
    fn as_many_cells_are_counted_as_there_would_be() {
        for one in some() {
            for other in some() {
                for (a, b) in shared(&one.axes, &other.axes) {
                    let (Some(a), Some(b)) = (a, b) else { continue };
                    assert_eq!(a.cells_with(b, &mut Vec::new()), a.joined(b).values.len());
                }
            }
        }
    }

    #[test]
    fn most_rows_lie_in_the_first_cells() {
        let mut table = table(0, [0, 1], 5.0, Branch::Leq);
        let mut rows = vec![6.0; 20 * WIDTH];
        rows[..WIDTH].fill(-1.0);
        table.arrange(&rows, WIDTH);
        assert_eq!(table.number(&rows[WIDTH..2 * WIDTH]), 0);
        assert_ne!(table.number(&rows[..WIDTH]), 0);
    }

    #[test]
    fn tables_over_the_same_features_share_a_block() {
        let tables: Vec<Table> =
            (0..3 * BLOCK).map(|index| table(index, [[0, 1], [2, 3], [4, 5]][index % 3], 1.0, Branch::Leq)).collect();
        let order = similar(&tables, WIDTH);
        for block in order.chunks(BLOCK) {
            assert!(block.iter().all(|table| table % 3 == block[0] % 3), "{order:?}");
        }
    }
}
