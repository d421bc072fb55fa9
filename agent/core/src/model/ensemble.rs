//! Tree ensembles, evaluated by ourselves: `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and `TreeEnsemble` of
//! `ai.onnx.ml`.
//!
//! tract refuses many exports of these and takes a millisecond for a row. Here a file is checked once, so that
//! whatever passed is safe to walk; then rows are scored on one flat array of nodes. Comparisons are made in float32
//! as ONNX defines them; sums in float64. What a pipeline does to features before the trees is taken into their splits,
//! so that rows, and all that is said of them, stay in the features' own numbers.

mod flat;
mod listing;
mod opset5;
mod parse;
mod score;
mod sides;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use tract_onnx::pb::{GraphProto, NodeProto};

use self::flat::Flat;
use self::listing::Ungrown;
use self::parse::{Node, Parsed, Trees, Weight};
use self::score::{Aggregate, Head};
use self::sides::Sides;
use self::tail::Tail;
use super::columns::Columns;
use super::columns::region::Region;
use super::columns::work::Work;
use super::error::ModelError;
use super::graph::Wiring;
use super::operators::PostTransform;
use super::tree::{self, Split, Tree, TreeSum};

/// Rows scored together: their sums and inputs stay in the fastest cache.
const BLOCK: usize = 256;

/// A checked ensemble behind one output tensor.
#[derive(Debug)]
pub(crate) struct Ensemble {
    trees: Trees,
    /// Absent when a split compares for equality, which the flat form has no room for.
    flat: Option<Flat>,
    head: Head,
    /// Features with the values that they may have.
    allowed: Vec<(u32, Region)>,
    /// For float64 values; found when first needed.
    sides: OnceLock<Sides>,
}

impl Ensemble {
    /// Reads the ensemble that computes `tensor` from rows of `width` features; none when the graph does something else,
    /// or something that cannot be taken into the trees.
    ///
    /// # Errors
    /// A sentence on what is wrong with the trees.
    pub(crate) fn load(graph: &GraphProto, tensor: &str, width: usize) -> Result<Option<Self>, String> {
        let wiring = Wiring::new(graph);
        let Some(tail) = Tail::behind(&wiring, tensor) else { return Ok(None) };
        let lone = tail.parts.len() == 1;
        let (mut trees, mut head, mut allowed) = (None::<Trees>, None::<Head>, Vec::new());
        // Of all parts together. Parts of one ensemble read the same columns, which are followed once.
        let (mut to_trace, mut to_grow) = (Work::to_trace(), Work::to_grow());
        let mut front = None::<(&str, Columns)>;
        for (node, scale) in &tail.parts {
            let mut parsed = read(node)?;
            if !parsed.head.take_in(*scale, if head.is_none() { tail.shift } else { 0.0 }, lone) {
                return Ok(None);
            }
            parsed.listing.weights.iter_mut().for_each(|weight| weight.value *= scale);
            if parsed.listing.weights.iter().any(|weight| !weight.value.is_finite()) {
                return Err(
                    "a leaf is too large for what the model does to it; scale the target and train it again".to_owned()
                );
            }
            let input = node.input.first().map_or("", String::as_str);
            let columns = match front.take().filter(|(name, _)| *name == input) {
                Some((_, columns)) => columns,
                None => {
                    let Some(mut columns) = Columns::of(&wiring, input, width, &mut to_trace)? else { return Ok(None) };
                    allowed.append(&mut columns.allowed);
                    columns
                }
            };
            let grown = match parsed.listing.grow(&columns.columns, width, parsed.scores, &mut to_grow) {
                Ok(grown) => grown,
                Err(Ungrown::TooLarge) => return Ok(None),
                Err(Ungrown::Wrong(problem)) => return Err(problem),
            };
            front = Some((input, columns));
            let fits = match (&mut trees, &mut head) {
                (Some(trees), Some(head)) => head.add(&parsed.head) && trees.append(grown),
                _ => {
                    (trees, head) = (Some(grown), Some(parsed.head));
                    true
                }
            };
            if !fits {
                return Ok(None);
            }
        }
        let (Some(trees), Some(head)) = (trees, head) else { return Ok(None) };
        Ok(Some(Self { flat: Flat::new(&trees), trees, head, allowed, sides: OnceLock::new() }))
    }

    /// The ensemble that one operator is, over the columns that it is given; see [`Self::width`].
    ///
    /// # Errors
    /// A sentence on what is wrong with the trees.
    pub(crate) fn alone(node: &NodeProto) -> Result<Self, String> {
        let parsed = read(node)?;
        let columns = Columns::plain(parsed.listing.width().max(1))?.columns;
        let grown = parsed.listing.grow(&columns, columns.len(), parsed.scores, &mut Work::to_grow());
        let trees = grown.map_err(|ungrown| match ungrown {
            Ungrown::TooLarge => "the tree ensemble is too large; train it with fewer or smaller trees".to_owned(),
            Ungrown::Wrong(problem) => problem,
        })?;
        let (flat, sides) = (Flat::new(&trees), OnceLock::new());
        Ok(Self { flat, trees, head: parsed.head, allowed: Vec::new(), sides })
    }

    /// Number of values in a row.
    pub(crate) fn width(&self) -> usize {
        self.trees.width
    }

    /// Number of nodes of all trees.
    pub(crate) fn nodes(&self) -> usize {
        self.trees.trees.iter().map(Vec::len).sum()
    }

    /// Number of columns of the output tensor.
    pub(crate) fn columns(&self) -> usize {
        self.head.columns.len()
    }

    /// Whether the output is the sum of trees after a function such as the logistic.
    pub(crate) fn has_link(&self) -> bool {
        self.head.transform != PostTransform::None
    }

    /// Whether a classifier's output tensor holds raw scores and no probabilities.
    pub(crate) fn is_raw(&self) -> bool {
        self.head.raw
    }

    /// Scores flat rows: the output tensor, row after row.
    ///
    /// # Errors
    /// [`ModelError::Failed`] when a feature has a category that the model does not know.
    pub(crate) fn run(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        self.check_allowed(rows)?;
        let mut out = Vec::with_capacity(rows.len() / self.trees.width * self.columns());
        self.scores(rows, |scores| self.head.push_outputs(scores, &mut out));
        Ok(out)
    }

    /// The output tensor of one row, and one of its columns before the link.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn answers(&self, row: &[f32], column: usize) -> Result<(Vec<f64>, f64), ModelError> {
        self.check_allowed(row)?;
        let (mut out, mut margin) = (Vec::with_capacity(self.columns()), f64::NAN);
        self.scores(row, |scores| {
            self.head.push_outputs(scores, &mut out);
            margin = self.head.margin(scores, column);
        });
        Ok((out, margin))
    }

    /// One column of flat rows before the link: one number per row.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn margins(&self, rows: &[f32], column: usize) -> Result<Vec<f64>, ModelError> {
        self.check_allowed(rows)?;
        let mut out = Vec::with_capacity(rows.len() / self.trees.width);
        self.scores(rows, |scores| out.push(self.head.margin(scores, column)));
        Ok(out)
    }

    fn check_allowed(&self, rows: &[f32]) -> Result<(), ModelError> {
        for (feature, allowed) in &self.allowed {
            let mut values = rows.iter().skip(*feature as usize).step_by(self.trees.width);
            if let Some(value) = values.find(|value| !allowed.contains(f64::from(**value))) {
                return Err(ModelError::Failed(format!("{value} is none of the categories that the model knows")));
            }
        }
        Ok(())
    }

    /// One row of the output tensor, appended, for float64 values. Where one of them is no float32, it is rounded to the
    /// side on which every split decides as it would for the value itself.
    ///
    /// # Errors
    /// A sentence when the splits disagree on that side.
    pub(crate) fn run_exactly(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let mut narrow = Vec::with_capacity(self.trees.width);
        for (feature, &value) in row.iter().take(self.trees.width).enumerate() {
            let near = value as f32;
            let exact = value.is_nan() || f64::from(near) == value;
            let rounded = || self.sides.get_or_init(|| Sides::of(&self.trees)).rounded(feature, value);
            narrow.push(if exact { near } else { rounded()? });
        }
        self.scores(&narrow, |scores| self.head.push_outputs(scores, out));
        Ok(())
    }

    /// One column before the link, as a sum of trees; none for an ensemble that takes the least or greatest of its trees.
    /// Trees that add the same to any row are one number, however many there are.
    pub(crate) fn tree_sum(&self, column: usize) -> Option<TreeSum> {
        if !self.head.sums() {
            return None;
        }
        let (score, sign, offset) =
            self.head.columns.get(column).map_or((None, 1.0, 0.0), |c| (c.score, c.sign, c.offset));
        let mut sum = TreeSum { width: self.trees.width, base: offset, trees: Vec::new() };
        for nodes in &self.trees.trees {
            let mut leaves = nodes.iter().filter_map(|node| match self.sum_node(node, score, sign) {
                tree::Node::Leaf(value) => Some(value),
                tree::Node::Split(_) => None,
            });
            let Some(first) = leaves.next() else { continue };
            if leaves.all(|value| value == first) {
                sum.base += first;
            } else {
                let nodes = nodes.iter().map(|node| self.sum_node(node, score, sign)).collect();
                sum.trees.push(Tree { nodes });
            }
        }
        Some(sum)
    }

    fn sum_node(&self, node: &Node, score: Option<u32>, sign: f64) -> tree::Node {
        match node {
            Node::Split(split) => tree::Node::Split(*split),
            Node::Leaf(leaf) => {
                let weights = self.trees.weights_of(*leaf).iter();
                tree::Node::Leaf(
                    sign * weights.filter(|weight| Some(weight.score) == score).map(|w| w.value).sum::<f64>(),
                )
            }
        }
    }

    /// Adds up the trees for every row and hands on one slice of sums per row.
    fn scores(&self, rows: &[f32], mut each: impl FnMut(&[f64])) {
        let (width, scores) = (self.trees.width, self.trees.scores);
        let mut sums = vec![0.0; BLOCK.min(rows.len() / width) * scores];
        for block in rows.chunks(BLOCK * width) {
            let count = block.len() / width;
            let sums = &mut sums[..count * scores];
            match (&self.flat, self.head.aggregate) {
                (_, Aggregate::Min) => self.extremes(block, sums, f64::min),
                (_, Aggregate::Max) => self.extremes(block, sums, f64::max),
                (Some(flat), _) if !block.iter().any(|value| value.is_nan()) => {
                    sums.fill(0.0);
                    flat.add(&self.trees, block, sums);
                }
                _ => self.walk(block, sums),
            }
            sums.chunks_exact(scores).for_each(&mut each);
        }
    }

    /// The plain way: each tree, node by node. It knows every kind of split, and missing values.
    fn walk(&self, block: &[f32], sums: &mut [f64]) {
        sums.fill(0.0);
        for (row, sums) in block.chunks_exact(self.trees.width).zip(sums.chunks_exact_mut(self.trees.scores)) {
            for weight in self.trees.trees.iter().flat_map(|nodes| self.reached(nodes, row)) {
                sums[weight.score as usize] += weight.value;
            }
        }
    }

    /// The least, or greatest, of what the trees contribute; zero where they contribute nothing.
    fn extremes(&self, block: &[f32], found: &mut [f64], better: fn(f64, f64) -> f64) {
        found.fill(f64::NAN);
        for (row, found) in block.chunks_exact(self.trees.width).zip(found.chunks_exact_mut(self.trees.scores)) {
            for weight in self.trees.trees.iter().flat_map(|nodes| self.reached(nodes, row)) {
                // The better of NaN and a number is the number.
                found[weight.score as usize] = better(found[weight.score as usize], weight.value);
            }
        }
        found.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
    }

    /// What the leaf adds that a row comes to.
    fn reached(&self, nodes: &[Node], row: &[f32]) -> &[Weight] {
        let mut at = 0;
        loop {
            match &nodes[at] {
                Node::Split(split) => {
                    at = if split.goes_yes(row[split.feature as usize]) { split.yes } else { split.no } as usize;
                }
                Node::Leaf(leaf) => return self.trees.weights_of(*leaf),
            }
        }
    }

    /// The splits that a column of the output tensor depends on: those of the trees that contribute to it, or, where it also
    /// depends on the sums behind other columns, those of all trees.
    pub(crate) fn splits(&self, column: usize) -> Vec<Split> {
        let coupled = matches!(self.head.transform, PostTransform::Softmax | PostTransform::SoftmaxZero);
        let score = self.head.columns.get(column).and_then(|column| column.score);
        let own = |node: &Node| match node {
            Node::Leaf(leaf) => self.trees.weights_of(*leaf).iter().any(|weight| Some(weight.score) == score),
            Node::Split(_) => false,
        };
        let counted = self.trees.trees.iter().filter(|nodes| coupled || nodes.iter().any(own)).flatten();
        let split = |node: &Node| match node {
            Node::Split(split) => Some(*split),
            Node::Leaf(_) => None,
        };
        counted.filter_map(split).collect()
    }
}

/// Reads a tree ensemble of whichever version.
fn read(node: &NodeProto) -> Result<Parsed, String> {
    if node.op_type == "TreeEnsemble" { opset5::read(node) } else { parse::read(node) }
}
