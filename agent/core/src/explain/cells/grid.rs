//! Cuts trees into parts that tell few cells apart.

use super::MOST_CELLS;
use crate::model::tree::{Branch, Node, Split, Tree};

/// Trees with more splits, or a longer path to a part, tell so many cells apart that walking them is the better bargain.
const MOST_SPLITS: usize = 512;
const LONGEST_PATH: usize = 64;

/// A part of a tree, with the cells that it tells apart.
pub(super) struct Grid {
    /// The path to the part, with leaves of zero beside it, and the part. Features are numbered as the axes are.
    pub(super) tree: Tree,
    pub(super) axes: Vec<Axis>,
}

impl Grid {
    pub(super) fn cells(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).product()
    }

    /// How many numbers the attributions of all cells are.
    pub(super) fn numbers(&self) -> usize {
        self.cells() * self.axes.len()
    }

    /// The axes, each with what one step along it adds to the number of the cell.
    pub(super) fn strided_axes(&self) -> impl Iterator<Item = (&Axis, usize)> {
        self.axes.iter().scan(1, |next, axis| {
            let stride = *next;
            *next *= axis.values.len();
            Some((axis, stride))
        })
    }
}

/// One feature's cells in a grid.
pub(super) struct Axis {
    pub(super) feature: u32,
    /// Ascending.
    pub(super) cuts: Vec<f32>,
    /// Per rank among `cuts` the cell.
    cells: Vec<usize>,
    /// Per cell a value that lies in it.
    pub(super) values: Vec<f32>,
}

impl Axis {
    /// The cells that splits on a path (each with the side taken), and splits below it, tell apart.
    fn new(feature: u32, path: &[(Split, bool)], below: &[Split]) -> Self {
        let cuts = ascending(path.iter().map(|(split, _)| split).chain(below).flat_map(cuts_of).collect());
        let mut known: Vec<Option<Vec<bool>>> = Vec::new();
        let mut values = Vec::new();
        let cells = representatives(&cuts).map(|value| {
            // To values that miss the path the part is all one: it takes this feature from the background then.
            let met = path.iter().all(|(split, yes)| split.goes_yes(value) == *yes);
            let sides = met.then(|| below.iter().map(|split| split.goes_yes(value)).collect());
            known.iter().position(|other| *other == sides).unwrap_or_else(|| {
                known.push(sides);
                values.push(value);
                known.len() - 1
            })
        });
        let cells = cells.collect();
        Self { feature, cuts, cells, values }
    }

    pub(super) fn cell(&self, value: f32) -> usize {
        self.cells[rank(&self.cuts, value)]
    }
}

/// How many of ascending cuts are below a value; for NaN one more than there are.
pub(super) fn rank(cuts: &[f32], value: f32) -> usize {
    if value.is_nan() { cuts.len() + 1 } else { cuts.partition_point(|&cut| cut < value) }
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
fn cuts_of(split: &Split) -> impl Iterator<Item = f32> + use<> {
    // Adding zero turns -0 into 0, which compares alike and sorts apart.
    let (at, before) = (split.threshold + 0.0, split.threshold.next_down() + 0.0);
    let (first, second) = match split.branch {
        Branch::Leq | Branch::Gt => (Some(at), None),
        Branch::Lt | Branch::Gte => (Some(before), None),
        Branch::Eq | Branch::Neq => (Some(before), Some(at)),
    };
    first.into_iter().chain(second).filter(|cut| !cut.is_nan())
}

/// The grids of all parts of a tree that are not zero throughout; `None` for a tree that is better walked.
pub(super) fn cut(tree: &Tree) -> Option<Vec<Grid>> {
    if tree.nodes.len() > 2 * MOST_SPLITS + 1 {
        return None;
    }
    let mut grids = Vec::new();
    let mut open = vec![(0_u32, Vec::new())];
    while let Some((node, path)) = open.pop() {
        let here = tree.nodes[node as usize];
        if here == Node::Leaf(0.0) {
            continue;
        }
        if let Some(grid) = grid(tree, node, &path) {
            grids.push(grid);
            continue;
        }
        let Node::Split(split) = here else { return None };
        if path.len() == LONGEST_PATH {
            return None;
        }
        for (child, yes) in [(split.no, false), (split.yes, true)] {
            open.push((child, path.iter().copied().chain([(split, yes)]).collect()));
        }
    }
    Some(grids)
}

/// The grid of all that lies below one node; `None` when it has too many cells.
fn grid(tree: &Tree, node: u32, path: &[(Split, bool)]) -> Option<Grid> {
    let (mut part, below) = part(tree, node, path);
    let mut features: Vec<u32> = path.iter().map(|(split, _)| split).chain(&below).map(|split| split.feature).collect();
    features.sort_unstable();
    features.dedup();
    let mut cells = 1;
    let mut axes = Vec::with_capacity(features.len());
    for &feature in &features {
        let path: Vec<_> = path.iter().copied().filter(|(split, _)| split.feature == feature).collect();
        let below: Vec<_> = below.iter().copied().filter(|split| split.feature == feature).collect();
        let axis = Axis::new(feature, &path, &below);
        cells *= axis.values.len();
        if cells > MOST_CELLS {
            return None;
        }
        axes.push(axis);
    }
    for node in &mut part.nodes {
        if let Node::Split(split) = node {
            split.feature = features.partition_point(|&feature| feature < split.feature) as u32;
        }
    }
    Some(Grid { tree: part, axes })
}

/// A tree of nothing but the path to a node and what lies below it, and the splits below it.
fn part(tree: &Tree, node: u32, path: &[(Split, bool)]) -> (Tree, Vec<Split>) {
    let mut nodes = Vec::new();
    for &(split, yes) in path {
        let beside = nodes.len() as u32 + 1;
        let (to_yes, to_no) = if yes { (beside + 1, beside) } else { (beside, beside + 1) };
        nodes.extend([Node::Split(Split { yes: to_yes, no: to_no, ..split }), Node::Leaf(0.0)]);
    }
    let first = nodes.len();
    let mut kept = vec![node];
    let mut below = Vec::new();
    while let Some(&old) = kept.get(nodes.len() - first) {
        nodes.push(match tree.nodes[old as usize] {
            Node::Split(split) => {
                below.push(split);
                let next = (first + kept.len()) as u32;
                kept.extend([split.yes, split.no]);
                Node::Split(Split { yes: next, no: next + 1, ..split })
            }
            leaf @ Node::Leaf(_) => leaf,
        });
    }
    (Tree { nodes }, below)
}
