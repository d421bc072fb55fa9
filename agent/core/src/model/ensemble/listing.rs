//! Trees as a file lists them, checked, and grown into trees over features.
//!
//! A file may say anything. Here every split is walked to once, on an explicit stack, and the trees are refused unless each
//! is reached exactly once: no cycle, no shared or dangling child. Then they are grown: a split on a column that a
//! pipeline made from a feature becomes one or more splits on the feature itself.

use super::parse::{Leaf, Node, Trees, Weight};
use super::score::Aggregate;
use crate::model::columns::Column;
use crate::model::columns::region::{Region, ceiling, floor};
use crate::model::columns::work::{Spent, Work};
use crate::model::tree::{Branch, MAX_DEPTH, Split};

/// Most nodes of an ensemble, also after splits on columns became splits on features: so many that two million leaves are still
/// explained in a gigabyte (`tests/bounded.rs` measures it).
pub(super) const MOST_NODES: usize = 1 << 22;

/// Most trees: what is kept of each beside its nodes would else be without bound.
const MOST_TREES: usize = 1 << 17;

/// What is said of more nodes.
pub(super) fn too_large(nodes: usize) -> String {
    format!(
        "the tree ensemble has {nodes} nodes; at most {MOST_NODES} are supported, train it with fewer or smaller trees"
    )
}

/// Where a split leads: an entry of [`Listing::splits`] or of [`Listing::leaves`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    Split(u32),
    Leaf(u32),
}

/// What is asked of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Compare {
        branch: Branch,
        threshold: f64,
    },
    /// Whether the value is one of these.
    Member(Vec<f64>),
}

/// A listed split.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) column: u32,
    pub(super) test: Test,
    pub(super) missing_yes: bool,
    pub(super) yes: Child,
    pub(super) no: Child,
}

/// The trees of a file.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) splits: Vec<Listed>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) roots: Vec<Child>,
    pub(super) weights: Vec<Weight>,
    /// What a split is called in the file: tree and node.
    pub(super) names: Vec<(i64, i64)>,
}

/// Why trees over columns were not grown into trees over features.
#[derive(Debug, PartialEq)]
pub(super) enum Ungrown {
    /// They would be too many: run the columns first.
    TooLarge,
    /// The file is wrong.
    Wrong(String),
}

impl From<Spent> for Ungrown {
    fn from(Spent: Spent) -> Self {
        Self::TooLarge
    }
}

impl Listing {
    /// The number of columns that splits ask about.
    pub(super) fn width(&self) -> usize {
        self.splits.iter().map(|split| split.column as usize + 1).max().unwrap_or(0)
    }

    /// Checks that every split is reached exactly once, and how deep the trees are.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.roots.len() > MOST_TREES {
            return Err(format!(
                "the tree ensemble has {} trees; at most {MOST_TREES} are supported, train it with fewer",
                self.roots.len()
            ));
        }
        let mut seen = vec![false; self.splits.len()];
        let mut open = Vec::new();
        for &root in &self.roots {
            open.push((root, 0_usize));
            while let Some((child, depth)) = open.pop() {
                let Child::Split(index) = child else { continue };
                let (Some(split), Some(seen)) = (self.splits.get(index as usize), seen.get_mut(index as usize)) else {
                    continue;
                };
                let (tree, node) = self.name(index);
                if std::mem::replace(seen, true) {
                    return Err(format!(
                        "node {node} of tree {tree} is reached twice; a tree has no cycles and no shared nodes"
                    ));
                }
                if depth >= MAX_DEPTH {
                    return Err(format!(
                        "tree {tree} is deeper than {MAX_DEPTH}; train the model with a limit on depth"
                    ));
                }
                open.extend([(split.no, depth + 1), (split.yes, depth + 1)]);
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(index) => {
                let (tree, node) = self.name(index as u32);
                Err(format!("nothing leads to node {node} of tree {tree}; export the model again"))
            }
            None => Ok(()),
        }
    }

    /// Checks that every place that a split or a root leads to is there.
    pub(super) fn check_leaves(&self) -> Result<(), String> {
        let there = |child: &Child| match child {
            Child::Split(index) => (*index as usize) < self.splits.len(),
            Child::Leaf(index) => (*index as usize) < self.leaves.len(),
        };
        let children = self.splits.iter().flat_map(|split| [&split.yes, &split.no]);
        match self.roots.iter().chain(children).find(|child| !there(child)) {
            Some(Child::Split(index)) => {
                Err(format!("something leads to node {index}, which is not there; export the model again"))
            }
            Some(Child::Leaf(index)) => {
                Err(format!("something leads to leaf {index}, which is not there; export the model again"))
            }
            None => Ok(()),
        }
    }

    /// Gives each tree its share of an average.
    pub(super) fn share(&mut self, aggregate: Aggregate) {
        if aggregate == Aggregate::Average {
            let share = 1.0 / self.roots.len() as f64;
            self.weights.iter_mut().for_each(|weight| weight.value *= share);
        }
    }

    fn name(&self, index: u32) -> (i64, i64) {
        self.names.get(index as usize).copied().unwrap_or((0, i64::from(index)))
    }

    /// The trees over `width` features that these trees over `columns` are.
    pub(super) fn grow(
        self,
        columns: &[Column],
        width: usize,
        scores: usize,
        work: &mut Work,
    ) -> Result<Trees, Ungrown> {
        let mut grower = Grower { listing: &self, columns, nodes: 0, work };
        let trees = self.roots.iter().map(|&root| grower.tree(root)).collect::<Result<Vec<_>, Ungrown>>()?;
        Ok(Trees::new(width, scores, trees, self.weights))
    }
}

struct Grower<'a> {
    listing: &'a Listing,
    columns: &'a [Column],
    nodes: usize,
    work: &'a mut Work,
}

impl Grower<'_> {
    fn tree(&mut self, root: Child) -> Result<Vec<Node>, Ungrown> {
        let mut nodes = vec![Node::Leaf(Leaf::default())];
        let mut open = vec![(root, 0_usize, 0_usize)];
        while let Some((child, slot, depth)) = open.pop() {
            match child {
                Child::Leaf(leaf) => nodes[slot] = Node::Leaf(self.listing.leaves[leaf as usize]),
                Child::Split(index) => {
                    let split = &self.listing.splits[index as usize];
                    let chain = self.chain(split, index)?;
                    self.nodes += 2 * chain.splits.len();
                    if self.nodes > MOST_NODES || depth + chain.splits.len() > MAX_DEPTH {
                        return Err(Ungrown::TooLarge);
                    }
                    let side = |yes: bool| if yes { split.yes } else { split.no };
                    let (mut slot, mut depth) = (slot, depth);
                    for (peeled, inside) in chain.splits {
                        let low = nodes.len();
                        let yes_is_low = matches!(peeled.branch, Branch::Leq | Branch::Lt | Branch::Eq);
                        let (yes, no) = if yes_is_low { (low, low + 1) } else { (low + 1, low) };
                        // Fits: there are at most MOST_NODES.
                        nodes[slot] = Node::Split(Split { yes: yes as u32, no: no as u32, ..peeled });
                        nodes.resize(low + 2, Node::Leaf(Leaf::default()));
                        depth += 1;
                        open.push((side(inside), yes, depth));
                        slot = no;
                    }
                    open.push((side(chain.rest), slot, depth));
                }
            }
        }
        Ok(nodes)
    }

    fn chain(&mut self, split: &Listed, index: u32) -> Result<Chain, Ungrown> {
        let Some(column) = self.columns.get(split.column as usize) else {
            let (tree, node) = self.listing.name(index);
            return Err(Ungrown::Wrong(format!(
                "node {node} of tree {tree} splits on feature {}, and there are {}; name all features in manifest.toml, or \
                 export the model again",
                split.column,
                self.columns.len()
            )));
        };
        if let (Test::Compare { branch, threshold }, []) = (&split.test, column.steps.as_slice())
            && let Some((branch, threshold)) = narrowed(*branch, *threshold)
        {
            let plain =
                Split { feature: column.feature, threshold, branch, missing_yes: split.missing_yes, yes: 0, no: 0 };
            return Ok(Chain { splits: vec![(plain, true)], rest: false });
        }
        let odd = match &split.test {
            Test::Compare { branch, threshold } => {
                matches!(branch, Branch::Eq | Branch::Neq) && threshold.is_infinite()
            }
            Test::Member(values) => values.iter().any(|value| value.is_infinite()),
        };
        if odd {
            return Err(Ungrown::TooLarge);
        }
        self.work.take(match &split.test {
            Test::Member(values) => values.len(),
            Test::Compare { .. } => 1,
        })?;
        let region = column.before(split.region(), self.work)?.of_float32();
        self.work.take(region.flips.len())?;
        Ok(Chain::new(column.feature, &region))
    }
}

impl Listed {
    /// The values that take the `yes` side.
    fn region(&self) -> Region {
        let up_from = |flip: f64| {
            let flip = flip + 0.0;
            if flip == f64::NEG_INFINITY {
                Region::constant(true)
            } else {
                Region { nan: false, low: false, flips: vec![flip] }
            }
        };
        let numbers = match &self.test {
            Test::Member(values) => Region::points(values.iter().copied()),
            Test::Compare { branch, threshold } => match branch {
                Branch::Gte => up_from(*threshold),
                Branch::Lt => inverted(up_from(*threshold)),
                Branch::Gt | Branch::Leq if *threshold == f64::INFINITY => Region::constant(*branch == Branch::Leq),
                Branch::Gt => up_from(threshold.next_up()),
                Branch::Leq => inverted(up_from(threshold.next_up())),
                Branch::Eq => Region::points([*threshold]),
                Branch::Neq => inverted(Region::points([*threshold])),
            },
        };
        Region { nan: self.missing_yes, ..numbers }
    }
}

fn inverted(region: Region) -> Region {
    Region { low: !region.low, ..region }
}

/// A comparison of float32 numbers with a float64 threshold, as one with a float32 threshold; none where there is none.
fn narrowed(branch: Branch, threshold: f64) -> Option<(Branch, f32)> {
    let threshold = match branch {
        Branch::Leq | Branch::Gt => floor(threshold),
        Branch::Lt | Branch::Gte => ceiling(threshold),
        Branch::Eq | Branch::Neq => Some(threshold as f32).filter(|&single| f64::from(single) == threshold)?,
    };
    Some((branch, threshold))
}

/// A region as splits one behind the other: what passes one takes the side noted with it, the rest goes on to the next.
struct Chain {
    splits: Vec<(Split, bool)>,
    /// The side of what is left.
    rest: bool,
}

impl Chain {
    fn new(feature: u32, region: &Region) -> Self {
        let plain = |branch, threshold: f64, missing_yes| {
            // Nothing is lost: the region is one of float32 numbers.
            Split { feature, threshold: threshold as f32, branch, missing_yes, yes: 0, no: 0 }
        };
        let mut splits = Vec::new();
        // First the single numbers: without them the intervals beside them are one.
        let mut edges: Vec<f64> = Vec::new();
        let mut inside = region.low;
        let mut flips = region.flips.iter().copied().peekable();
        while let Some(flip) = flips.next() {
            let next = f64::from((flip as f32).next_up()) + 0.0;
            if flips.next_if_eq(&next).is_some() {
                splits.push((plain(Branch::Eq, flip, false), !inside));
            } else {
                edges.push(flip);
                inside = !inside;
            }
        }
        let mut rest = region.low;
        for edge in edges {
            splits.push((plain(Branch::Leq, f64::from((edge as f32).next_down()), false), rest));
            rest = !rest;
        }
        // NaN passes the first split that leads to its side, or is left over.
        if rest != region.nan {
            match splits.iter_mut().find(|(_, side)| *side == region.nan) {
                Some((split, _)) => split.missing_yes = true,
                // No number is above ∞.
                None => splits.push((plain(Branch::Gt, f64::INFINITY, true), region.nan)),
            }
        }
        Self { splits, rest }
    }
}
