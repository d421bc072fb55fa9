//! Finds the parts into which trees are cut: those that make a row quickest, among those that fit the memory.
//!
//! A part may begin at any node whose grid is small enough. Given a price for a byte, the best parts of a tree follow
//! from the leaves up: a node is either one part or what its children are. The price is the lowest at which everything
//! fits three quarters of the memory: what joining parts takes comes from the rest. Where no price is high enough, the last
//! trees go without tables.

use super::super::tree::simplified;
use super::grid::{Grid, Rooted, ascending, cuts_of};
use super::group::{Layout, Size};
use crate::model::tree::{Node, Tree, TreeSum};

/// Larger trees tell so many cells apart that walking them is the better bargain.
const MOST_SPLITS: usize = 512;

/// Trees share a group, and so their ranks, up to so many splits: what a group looks up for a row stays in a near cache.
const GROUP_SPLITS: usize = 8192;

/// Comparisons that finding the parts of a sum may take, and pairs of patterns that filling them may, some seconds; trees that
/// come after are walked. A forest of a hundred trees of 250 leaves takes a hundredth of it.
const MOST_WORK: u64 = 4_000_000_000;

/// Between which the largest leaf of a tree must lie, for its cells and the sums of millions of them to keep their digits.
const FLOAT32: (f64, f64) = (1e-30, 1e30);

/// Powers of two between which the price of a byte is sought, where a part more for a row costs about one.
const PRICES: (f64, f64) = (-40.0, 10.0);

/// Halvings of that range.
const HALVINGS: usize = 20;

/// What is done with each tree of a sum.
pub(super) struct Plan {
    /// Simplified trees with their parts, in groups that share ranks.
    pub(super) groups: Vec<Vec<(Tree, Vec<Grid>)>>,
    pub(super) walked: Vec<Tree>,
    /// What a byte is worth, where a part more for a row is worth one.
    pub(super) price: f64,
    /// Bytes that are left.
    pub(super) spare: usize,
}

impl Plan {
    /// Cuts as many trees as there is memory for.
    pub(super) fn within(bytes: usize, sum: &TreeSum, layout: Layout) -> Self {
        let mut walked = Vec::new();
        let mut trees = Vec::new();
        let (mut least, mut work) = (0, MOST_WORK);
        for tree in &sum.trees {
            let candidates = if least <= bytes { Candidates::new(tree, layout, &mut work) } else { None };
            match candidates {
                Some(candidates) => {
                    least += candidates.least;
                    trees.push(candidates);
                }
                None => walked.push(tree.clone()),
            }
        }
        let size = |groups: &[Shared<'_>], price: f64| -> usize {
            groups.iter().map(|group| group.bytes(price.exp2(), sum.width, layout)).sum()
        };
        let (mut low, mut high) = PRICES;
        let fitting = most(trees.len(), |count| size(&shared(&trees[..count], sum.width), high) <= bytes);
        walked.extend(trees.drain(fitting..).map(|candidates| candidates.original.clone()));
        let groups = shared(&trees, sum.width);
        let most = bytes / 4 * 3;
        if size(&groups, low) <= most {
            high = low;
        }
        for _ in 0..HALVINGS {
            let middle = low.midpoint(high);
            if size(&groups, middle) <= most {
                high = middle;
            } else {
                low = middle;
            }
        }
        let price = high.exp2();
        let spare = bytes.saturating_sub(size(&groups, high));
        let cut = groups.iter().map(|group| group.cut(price, layout));
        // Where all that the trees say is the same for any row there are no parts.
        let groups = cut.filter(|trees| trees.iter().any(|(_, parts)| !parts.is_empty())).collect();
        Self { groups, walked, price, spare }
    }
}

/// Whether the sums of such leaves can be kept as float32: the largest neither near what overflows nor near what vanishes.
fn fits_float32(tree: &Tree) -> bool {
    let largest = tree.nodes.iter().fold(0.0_f64, |largest, node| match node {
        // NaN is larger than anything.
        Node::Leaf(value) if value.is_nan() => f64::INFINITY,
        Node::Leaf(value) => largest.max(value.abs()),
        Node::Split(_) => largest,
    });
    largest == 0.0 || (FLOAT32.0..=FLOAT32.1).contains(&largest)
}

/// The largest count up to `all` that fits, where smaller ones fit if larger ones do. None always fits.
fn most(all: usize, fits: impl Fn(usize) -> bool) -> usize {
    if fits(all) {
        return all;
    }
    let (mut fitting, mut too_many) = (0, all);
    while fitting + 1 < too_many {
        let middle = fitting.midpoint(too_many);
        if fits(middle) {
            fitting = middle;
        } else {
            too_many = middle;
        }
    }
    fitting
}

/// A tree, and what each of its nodes would be as a part.
struct Candidates<'a> {
    original: &'a Tree,
    tree: Tree,
    /// `None` where the grid would be too large.
    nodes: Vec<Option<Candidate>>,
    /// Bytes of the cells of its smallest parts.
    least: usize,
}

/// What lies below a node, as a part.
#[derive(Default)]
struct Candidate {
    /// Bytes of the cells; 0 for what adds nothing and needs no part.
    bytes: usize,
    features: Vec<u32>,
}

impl<'a> Candidates<'a> {
    /// `None` for a tree that can't be cut into parts, or not with what is left of `work`.
    fn new(original: &'a Tree, layout: Layout, work: &mut u64) -> Option<Self> {
        let tree = simplified(original);
        if tree.nodes.len() > 2 * MOST_SPLITS + 1 || !fits_float32(&tree) {
            return None;
        }
        let rooted = Rooted::new(&tree);
        let mut nodes: Vec<Option<Candidate>> = tree.nodes.iter().map(|_| None).collect();
        let mut least = vec![0; tree.nodes.len()];
        for (index, node) in tree.nodes.iter().enumerate().rev() {
            let below = match node {
                Node::Leaf(0.0) => {
                    nodes[index] = Some(Candidate::default());
                    continue;
                }
                Node::Leaf(_) => None,
                Node::Split(split) => {
                    let children = [split.yes as usize, split.no as usize];
                    let below = children.iter().map(|&child| least[child]).sum();
                    least[index] = below;
                    if children.iter().any(|&child| nodes[child].is_none()) {
                        // More cells still.
                        continue;
                    }
                    Some(below)
                }
            };
            let Some(grid) = Grid::new(&rooted, index as u32, work) else {
                // A leaf must have a grid, anything else need not.
                below?;
                continue;
            };
            if below.is_none() {
                // What filling takes of a leaf, at most: pairs of patterns of which one is in the other.
                *work = work.checked_sub(3_u64.saturating_pow(grid.axes.len() as u32))?;
            }
            let bytes = layout.cell_bytes(grid.cells(), grid.axes.len());
            least[index] = below.map_or(bytes, |below| below.min(bytes));
            nodes[index] = Some(Candidate { bytes, features: grid.axes.iter().map(|axis| axis.feature).collect() });
        }
        Some(Self { original, nodes, least: least[0], tree })
    }

    /// The nodes at which the best parts begin.
    fn parts(&self, price: f64, ranks: &[usize], layout: Layout) -> Vec<u32> {
        let mut costs = vec![0.0; self.nodes.len()];
        let mut one = vec![true; self.nodes.len()];
        for (index, candidate) in self.nodes.iter().enumerate().rev() {
            let own = candidate.as_ref().map_or(f64::INFINITY, |candidate| candidate.cost(price, ranks, layout));
            let below = match self.tree.nodes[index] {
                Node::Split(split) => costs[split.yes as usize] + costs[split.no as usize],
                Node::Leaf(_) => f64::INFINITY,
            };
            one[index] = own <= below;
            costs[index] = own.min(below);
        }
        let mut parts = Vec::new();
        let mut open = vec![0_u32];
        while let Some(node) = open.pop() {
            match self.tree.nodes[node as usize] {
                Node::Split(split) if !one[node as usize] => open.extend([split.no, split.yes]),
                Node::Leaf(0.0) => {}
                _ => parts.push(node),
            }
        }
        parts
    }
}

impl Candidate {
    /// What the part costs: its time per row, and the bytes it takes at their price.
    fn cost(&self, price: f64, ranks: &[usize], layout: Layout) -> f64 {
        if self.bytes == 0 {
            return 0.0;
        }
        let steps: usize = self.features.iter().map(|&feature| ranks[feature as usize]).sum();
        let bytes = self.bytes + steps * size_of::<u16>();
        layout.time(self.features.len()) + price * bytes as f64
    }
}

/// Trees of a group, with how many ranks they tell apart per feature.
struct Shared<'a> {
    trees: &'a [Candidates<'a>],
    ranks: Vec<usize>,
}

/// Groups of trees that follow each other.
fn shared<'a>(mut trees: &'a [Candidates<'a>], width: usize) -> Vec<Shared<'a>> {
    let mut groups = Vec::new();
    while !trees.is_empty() {
        let mut splits = 0;
        let fits = |candidates: &&Candidates<'_>| {
            splits += candidates.tree.nodes.len() / 2;
            splits <= GROUP_SPLITS
        };
        let count = trees.iter().take_while(fits).count().max(1);
        let (group, rest) = trees.split_at(count);
        trees = rest;
        let mut cuts = vec![Vec::new(); width];
        for node in group.iter().flat_map(|candidates| &candidates.tree.nodes) {
            if let Node::Split(split) = node {
                cuts[split.feature as usize].extend(cuts_of(split));
            }
        }
        // Above all cuts, and NaN, are ranks too.
        let ranks = cuts.into_iter().map(|cuts| ascending(cuts).len() + 2).collect();
        groups.push(Shared { trees: group, ranks });
    }
    groups
}

impl Shared<'_> {
    /// How many bytes the tables will take at most.
    fn bytes(&self, price: f64, width: usize, layout: Layout) -> usize {
        let mut size = Size::new(width);
        for tree in self.trees {
            for part in tree.parts(price, &self.ranks, layout) {
                let Some(candidate) = &tree.nodes[part as usize] else { continue };
                size.add(candidate.bytes, candidate.features.iter().copied());
            }
        }
        size.bytes(&self.ranks, layout)
    }

    fn cut(&self, price: f64, layout: Layout) -> Vec<(Tree, Vec<Grid>)> {
        let cut = |candidates: &Candidates<'_>| {
            let rooted = Rooted::new(&candidates.tree);
            let parts = candidates.parts(price, &self.ranks, layout);
            // They were found once, within the work set for it.
            let mut work = MOST_WORK;
            let grids = parts.into_iter().filter_map(|part| Grid::new(&rooted, part, &mut work)).collect();
            (candidates.tree.clone(), grids)
        };
        self.trees.iter().map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::{Branch, Split};

    /// A full tree of four levels that asks for another feature at each, and its leaves' numbers.
    fn tree(first: f32) -> Tree {
        let split = |index: u32| Split {
            feature: (index + 1).ilog2(),
            threshold: first + index as f32,
            branch: Branch::Leq,
            missing_yes: false,
            yes: 2 * index + 1,
            no: 2 * index + 2,
        };
        let node = |index| if index < 15 { Node::Split(split(index)) } else { Node::Leaf(f64::from(index)) };
        Tree { nodes: (0..31).map(node).collect() }
    }

    #[test]
    fn more_memory_makes_fewer_parts_and_none_makes_walks() {
        let sum = TreeSum { width: 4, base: 0.0, trees: (0..8).map(|first| tree(first as f32)).collect() };
        let counts = [0, 10 << 10, 18 << 10, 1 << 20].map(|bytes| {
            let plan = Plan::within(bytes, &sum, Layout::of(4));
            let parts: usize = plan.groups.iter().flatten().map(|(_, grids)| grids.len()).sum();
            (plan.walked.len(), parts)
        });
        let [(8, 0), (some, few), (0, many), (0, 8)] = counts else { panic!("{counts:?}") };
        assert!((1..8).contains(&some) && few > 0 && many > 8, "{counts:?}");
    }

    #[test]
    fn leaves_that_float32_does_not_hold_are_walked() {
        for (scale, walked) in [(1.0, 0), (1e29, 0), (1e38, 1), (1e300, 1), (1e-29, 0), (1e-40, 1)] {
            let mut tree = tree(0.0);
            tree.nodes.iter_mut().for_each(|node| {
                if let Node::Leaf(value) = node {
                    *value *= scale / 30.0;
                }
            });
            let plan = Plan::within(1 << 20, &TreeSum { width: 4, base: 0.0, trees: vec![tree] }, Layout::of(4));
            assert_eq!(plan.walked.len(), walked, "{scale:e}");
        }
    }

    /// A chain that asks for one feature again and again.
    fn chain(splits: u32) -> Tree {
        let mut nodes = Vec::new();
        for index in 0..splits {
            nodes.push(Node::Split(Split {
                feature: 0,
                threshold: index as f32,
                branch: Branch::Leq,
                missing_yes: false,
                yes: 2 * index + 1,
                no: 2 * index + 2,
            }));
            nodes.push(Node::Leaf(f64::from(index + 1)));
        }
        nodes.push(Node::Leaf(-1.0));
        Tree { nodes }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test says how long something takes")]
    fn finding_parts_takes_bounded_work_and_the_trees_after_that_are_walked() {
        let begun = std::time::Instant::now();
        let sum = TreeSum { width: 1, base: 0.0, trees: (0..2_000).map(|_| chain(500)).collect() };
        let plan = Plan::within(usize::MAX >> 1, &sum, Layout::of(1));
        assert!(!plan.walked.is_empty() && plan.walked.len() < 2_000, "{} walked", plan.walked.len());
        assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    }

    #[test]
    fn the_most_that_fits_is_found() {
        for all in 0..20 {
            for limit in 0..=all {
                assert_eq!(most(all, |count| count <= limit), limit);
            }
        }
    }
}
