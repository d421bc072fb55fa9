//! From the attributes of `TreeEnsembleClassifier` and `TreeEnsembleRegressor`, versions 1 to 3, to listed trees.
//!
//! The attributes are parallel lists that any file may fill with anything.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::listing::{Child, Listed, Listing, MOST_NODES, Test, too_large};
use super::score::{Aggregate, Head, Scores};
use crate::model::graph::attributes::{Attributes, brief};
use crate::model::operators::PostTransform;
use crate::model::tree::{Branch, Split};

/// What a leaf adds to one sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weight {
    pub(super) score: u32,
    pub(super) value: f64,
}

/// A range of [`Trees::weights_of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Leaf {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A node. Children are neighbours, the one for small values first, and come after their parent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Node {
    Split(Split),
    Leaf(Leaf),
}

/// Checked trees.
#[derive(Debug)]
pub(super) struct Trees {
    /// Model features; every split's is below it.
    pub(super) width: usize,
    /// Sums that leaves add to; every weight's is below it.
    pub(super) scores: usize,
    /// Node 0 of each is its root.
    pub(super) trees: Vec<Vec<Node>>,
    weights: Vec<Weight>,
}

impl Trees {
    pub(super) fn new(width: usize, scores: usize, trees: Vec<Vec<Node>>, weights: Vec<Weight>) -> Self {
        Self { width, scores, trees, weights }
    }

    /// With the trees of another ensemble over the same features and sums; false, and nothing done, when they do not fit.
    pub(super) fn append(&mut self, other: Self) -> bool {
        let (Ok(shift), true) =
            (u32::try_from(self.weights.len()), self.scores == other.scores && self.width == other.width)
        else {
            return false;
        };
        let nodes = |trees: &[Vec<Node>]| trees.iter().map(Vec::len).sum::<usize>();
        if u32::try_from(self.weights.len() + other.weights.len()).is_err()
            || nodes(&self.trees).saturating_add(nodes(&other.trees)) > MOST_NODES
        {
            return false;
        }
        self.weights.extend(other.weights);
        self.trees.extend(other.trees.into_iter().map(|mut nodes| {
            for node in &mut nodes {
                if let Node::Leaf(leaf) = node {
                    *leaf = Leaf { start: leaf.start + shift, end: leaf.end + shift };
                }
            }
            nodes
        }));
        true
    }

    #[inline]
    pub(super) fn weights_of(&self, leaf: Leaf) -> &[Weight] {
        &self.weights[leaf.start as usize..leaf.end as usize]
    }
}

/// An ensemble as a file lists it, with what follows its sums.
pub(super) struct Parsed {
    pub(super) listing: Listing,
    pub(super) head: Head,
    /// Sums that leaves add to.
    pub(super) scores: usize,
}

/// More classes or targets than this is taken for a mistake.
pub(super) const MOST_SCORES: usize = 1_000;

/// Reads a `TreeEnsembleClassifier` or `TreeEnsembleRegressor`.
pub(super) fn read(node: &NodeProto) -> Result<Parsed, String> {
    let attributes = Attributes(node);
    let classifier = node.op_type == "TreeEnsembleClassifier";
    let prefix = if classifier { "class" } else { "target" };
    let count = if classifier {
        attributes.ints("classlabels_int64s").len().max(attributes.strings("classlabels_strings").len())
    } else {
        usize::try_from(attributes.int("n_targets").unwrap_or(1)).unwrap_or(0)
    };
    if count == 0 || count > MOST_SCORES {
        return Err(format!("the ensemble has {count} classes or targets; 1 to {MOST_SCORES} are supported"));
    }
    let nodes = RawNodes::read(&attributes)?;
    let weights = RawWeights::read(&attributes, prefix, count)?;
    let mut used = vec![false; count];
    weights.ids.iter().for_each(|&id| used[id as usize] = true);
    let base = attributes.doubles("base_values")?;
    if base.iter().any(|value| !value.is_finite()) {
        return Err("a base value is not a finite number; export the model again".to_owned());
    }
    let aggregate = if classifier { Aggregate::Sum } else { aggregate(&attributes)? };
    let scores = Scores {
        count,
        used: &used,
        base: &base,
        transform: PostTransform::read(&attributes)?,
        negative_weights: weights.values.iter().any(|&value| value < 0.0),
        aggregate,
    };
    let head = if classifier { Head::classifier(&scores)? } else { Head::regressor(&scores)? };
    let one = head.columns.iter().all(|column| column.score.is_none_or(|score| score == 0));
    let mut listing = nodes.list(&weights)?;
    listing.share(aggregate);
    Ok(Parsed { listing, head, scores: if one { 1 } else { count } })
}

fn aggregate(attributes: &Attributes<'_>) -> Result<Aggregate, String> {
    match attributes.string("aggregate_function").unwrap_or("SUM") {
        "SUM" => Ok(Aggregate::Sum),
        "AVERAGE" => Ok(Aggregate::Average),
        "MIN" => Ok(Aggregate::Min),
        "MAX" => Ok(Aggregate::Max),
        other => Err(format!("aggregate_function {} is not known; export the model again", brief(other))),
    }
}

/// The lists that describe nodes, as long as each other.
struct RawNodes<'a> {
    trees: &'a [i64],
    ids: &'a [i64],
    features: &'a [i64],
    modes: &'a [Vec<u8>],
    thresholds: Vec<f64>,
    yes: &'a [i64],
    no: &'a [i64],
    missing_yes: &'a [i64],
}

/// The lists that describe what leaves add.
struct RawWeights<'a> {
    trees: &'a [i64],
    nodes: &'a [i64],
    ids: Vec<u32>,
    values: Vec<f64>,
}

impl<'a> RawWeights<'a> {
    fn read(attributes: &Attributes<'a>, prefix: &str, count: usize) -> Result<Self, String> {
        let trees = attributes.ints(&format!("{prefix}_treeids"));
        let nodes = attributes.ints(&format!("{prefix}_nodeids"));
        let ids = attributes.ints(&format!("{prefix}_ids"));
        let values = attributes.doubles(&format!("{prefix}_weights"))?;
        if [nodes.len(), ids.len(), values.len()].iter().any(|&len| len != trees.len()) {
            return Err(format!(
                "the lists {prefix}_treeids, _nodeids, _ids and _weights differ in length; export again"
            ));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(format!("{prefix}_weights has a value that is not a finite number; export the model again"));
        }
        let in_range = |&id: &i64| u32::try_from(id).ok().filter(|&id| (id as usize) < count);
        let ids = ids.iter().map(in_range).collect::<Option<Vec<u32>>>();
        let ids =
            ids.ok_or_else(|| format!("{prefix}_ids names a score that is not among the {count}; export again"))?;
        Ok(Self { trees, nodes, ids, values })
    }
}

impl<'a> RawNodes<'a> {
    fn read(attributes: &Attributes<'a>) -> Result<Self, String> {
        let raw = Self {
            trees: attributes.ints("nodes_treeids"),
            ids: attributes.ints("nodes_nodeids"),
            features: attributes.ints("nodes_featureids"),
            modes: attributes.strings("nodes_modes"),
            thresholds: attributes.doubles("nodes_values")?,
            yes: attributes.ints("nodes_truenodeids"),
            no: attributes.ints("nodes_falsenodeids"),
            missing_yes: attributes.ints("nodes_missing_value_tracks_true"),
        };
        let count = raw.trees.len();
        let lengths = [
            raw.ids.len(),
            raw.features.len(),
            raw.modes.len(),
            raw.thresholds.len(),
            raw.yes.len(),
            raw.no.len(),
            if raw.missing_yes.is_empty() { count } else { raw.missing_yes.len() },
        ];
        if lengths.iter().any(|&len| len != count) {
            return Err("the lists nodes_… of the tree ensemble differ in length; export the model again".to_owned());
        }
        match count {
            0 => Err("the tree ensemble has no nodes; export the model again".to_owned()),
            1..=MOST_NODES => Ok(raw),
            _ => Err(too_large(count)),
        }
    }

    fn list(&self, weights: &RawWeights<'_>) -> Result<Listing, String> {
        let places = self.places()?;
        let (leaves, weights) = self.sort_weights(weights, &places)?;
        let mut reached = vec![false; self.ids.len()];
        let mut children = Vec::with_capacity(self.ids.len());
        let mut splits = 0;
        for place in 0..self.ids.len() {
            // Fits: nodes were counted with 32 bits.
            children.push(if self.modes[place] == b"LEAF" { Child::Leaf(place as u32) } else { Child::Split(splits) });
            splits += u32::from(self.modes[place] != b"LEAF");
        }
        let mut listing = Listing { weights, ..Listing::default() };
        for place in 0..self.ids.len() {
            let first = place == 0 || self.trees[place - 1] != self.trees[place];
            if first {
                // The first listed node is the root, as in onnxruntime.
                listing.roots.push(children[place]);
                reached[place] = true;
            }
            if let Some((column, test, missing_yes)) = self.split(place)? {
                let mut child = |id: i64| {
                    let place = self.child(place, id, &places)?;
                    // A leaf twice is refused here, a split when all are walked.
                    if std::mem::replace(&mut reached[place], true) && matches!(children[place], Child::Leaf(_)) {
                        return Err(format!(
                            "node {} of tree {} is reached twice; a tree has no cycles and no shared nodes",
                            self.ids[place], self.trees[place]
                        ));
                    }
                    Ok(children[place])
                };
                let (yes, no) = (child(self.yes[place])?, child(self.no[place])?);
                listing.splits.push(Listed { column, test, missing_yes, yes, no });
                listing.names.push((self.trees[place], self.ids[place]));
            }
        }
        listing.check()?;
        if let Some(place) = reached.iter().position(|reached| !reached) {
            return Err(format!(
                "nothing leads to node {} of tree {}; export the model again",
                self.ids[place], self.trees[place]
            ));
        }
        listing.leaves = leaves;
        Ok(listing)
    }

    /// Where each (tree, node) stands in the lists.
    fn places(&self) -> Result<HashMap<(i64, i64), usize>, String> {
        let mut places = HashMap::with_capacity(self.ids.len());
        let mut left = HashMap::new();
        for (place, (&tree, &id)) in self.trees.iter().zip(self.ids).enumerate() {
            if places.insert((tree, id), place).is_some() {
                return Err(format!("tree {tree} has two nodes {id}; export the model again"));
            }
            if left.insert(tree, place).is_some_and(|last| last + 1 != place) {
                return Err(format!("the nodes of tree {tree} are not listed together; export the model again"));
            }
        }
        Ok(places)
    }

    /// Weights in the order of the nodes they belong to, with each node's range among them.
    fn sort_weights(
        &self,
        raw: &RawWeights<'_>,
        places: &HashMap<(i64, i64), usize>,
    ) -> Result<(Vec<Leaf>, Vec<Weight>), String> {
        let mut owned = Vec::with_capacity(raw.ids.len());
        for (((&tree, &node), &score), &value) in raw.trees.iter().zip(raw.nodes).zip(&raw.ids).zip(&raw.values) {
            let Some(&place) = places.get(&(tree, node)) else {
                return Err(format!(
                    "a weight belongs to node {node} of tree {tree}, which is not there; export the model again"
                ));
            };
            owned.push((place, Weight { score, value }));
        }
        owned.sort_by_key(|(place, _)| *place);
        if u32::try_from(owned.len()).is_err() {
            return Err("the tree ensemble has too many weights".to_owned());
        }
        let mut leaves = vec![Leaf { start: 0, end: 0 }; self.ids.len()];
        let mut start = 0;
        for group in owned.chunk_by(|a, b| a.0 == b.0) {
            let end = start + group.len();
            if let Some((place, _)) = group.first() {
                leaves[*place] = Leaf { start: start as u32, end: end as u32 };
            }
            start = end;
        }
        Ok((leaves, owned.into_iter().map(|(_, weight)| weight).collect()))
    }

    /// The column, the test and the side of NaN of a split; none for a leaf.
    fn split(&self, place: usize) -> Result<Option<(u32, Test, bool)>, String> {
        let branch = match self.modes[place].as_slice() {
            b"LEAF" => return Ok(None),
            b"BRANCH_LEQ" => Branch::Leq,
            b"BRANCH_LT" => Branch::Lt,
            b"BRANCH_GTE" => Branch::Gte,
            b"BRANCH_GT" => Branch::Gt,
            b"BRANCH_EQ" => Branch::Eq,
            b"BRANCH_NEQ" => Branch::Neq,
            other => return Err(format!("the node mode {} is not supported", brief(&String::from_utf8_lossy(other)))),
        };
        let node = || format!("node {} of tree {}", self.ids[place], self.trees[place]);
        let feature = self.features[place];
        let column = u32::try_from(feature).map_err(|_| {
            format!("{} splits on feature {feature}, which no model has; export the model again", node())
        })?;
        let threshold = self.thresholds[place];
        if threshold.is_nan() {
            return Err(format!("{} has the threshold NaN; export the model again", node()));
        }
        // onnxruntime finds NaN different from any threshold, whatever the track of missing values says.
        let missing_yes = branch == Branch::Neq || self.missing_yes.get(place) == Some(&1);
        Ok(Some((column, Test::Compare { branch, threshold }, missing_yes)))
    }

    fn child(&self, place: usize, id: i64, places: &HashMap<(i64, i64), usize>) -> Result<usize, String> {
        let tree = self.trees[place];
        places.get(&(tree, id)).copied().ok_or_else(|| {
            format!(
                "node {} of tree {tree} leads to node {id}, which is not there; export the model again",
                self.ids[place]
            )
        })
    }
}
