//! Decision trees as plain arrays of nodes, checked once and then safe to walk.

/// Deepest tree that is accepted: deeper than trainers grow them, shallow enough to bound every walk.
pub const MAX_DEPTH: usize = 1_000;

/// How a split compares the row's value with its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// value ≤ threshold
    Leq,
    /// value < threshold
    Lt,
    /// value ≥ threshold
    Gte,
    /// value > threshold
    Gt,
    /// value = threshold
    Eq,
    /// value ≠ threshold
    Neq,
}

/// An inner node. Comparisons are made in float32, as ONNX defines them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Column of the row.
    pub feature: u32,
    /// What it is compared with.
    pub threshold: f32,
    /// How.
    pub branch: Branch,
    /// Whether NaN takes the `yes` side.
    pub missing_yes: bool,
    /// Node to go to when the comparison holds.
    pub yes: u32,
    /// Node to go to when it does not.
    pub no: u32,
}

impl Split {
    /// Whether a value takes the `yes` side.
    pub fn goes_yes(&self, value: f32) -> bool {
        if value.is_nan() {
            return self.missing_yes;
        }
        match self.branch {
            Branch::Leq => value <= self.threshold,
            Branch::Lt => value < self.threshold,
            Branch::Gte => value >= self.threshold,
            Branch::Gt => value > self.threshold,
            Branch::Eq => value == self.threshold,
            Branch::Neq => value != self.threshold,
        }
    }
}

/// A node of a tree that contributes one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    /// An inner node.
    Split(Split),
    /// What the tree adds to the ensemble's sum.
    Leaf(f64),
}

/// One tree: node 0 is the root, every child's index is greater than its parent's, every node is reached exactly once.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A sum of trees that gives one number: `base + Σ trees`. It is what a tree explanation explains.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeSum {
    /// Number of model features; every split's `feature` is below it.
    pub width: usize,
    /// Added to every row's sum.
    pub base: f64,
    /// The trees.
    pub trees: Vec<Tree>,
}
