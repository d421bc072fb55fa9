//! From an ONNX operator's attributes to trees that are safe to walk.
//!
//! The attributes are parallel lists that any file may fill with anything. Here every tree is walked once, on an
//! explicit stack, and refused unless each of its nodes is reached exactly once: no cycle, no shared or dangling child.

use std::collections::HashMap;

use tract_onnx::pb::{AttributeProto, NodeProto};

use super::score::{Head, Link, Scores};
use crate::model::tree::{Branch, MAX_DEPTH, Split};

/// What a leaf adds to one sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weight {
    pub(super) score: u32,
    pub(super) value: f64,
}

/// A range of [`Trees::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    start: u32,
    end: u32,
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
    #[inline]
    pub(super) fn weights_of(&self, leaf: Leaf) -> &[Weight] {
        &self.weights[leaf.start as usize..leaf.end as usize]
    }
}

/// Reads a `TreeEnsembleClassifier` or `TreeEnsembleRegressor`.
pub(super) fn read(node: &NodeProto, width: usize) -> Result<(Trees, Head), String> {
    let attributes = Attributes(node);
    let classifier = node.op_type == "TreeEnsembleClassifier";
    attributes.refuse_tensors()?;
    let prefix = if classifier { "class" } else { "target" };
    let count = if classifier {
        attributes.ints("classlabels_int64s").len().max(attributes.strings("classlabels_strings").len())
    } else {
        usize::try_from(attributes.int("n_targets").unwrap_or(1)).unwrap_or(0)
    };
    if count == 0 || count > MOST_SCORES {
        return Err(format!("the ensemble has {count} classes or targets; 1 to {MOST_SCORES} are supported"));
    }
    let raw = RawNodes::read(&attributes)?;
    let weights = RawWeights::read(&attributes, prefix, count)?;
    let mut used = vec![false; count];
    weights.ids.iter().for_each(|&id| used[id as usize] = true);
    let base = attributes.floats("base_values");
    if base.iter().any(|value| !value.is_finite()) {
        return Err("a base value is not a finite number; export the model again".to_owned());
    }
    let base: Vec<f64> = base.iter().map(|&value| f64::from(value)).collect();
    let scores = Scores {
        count,
        used: &used,
        base: &base,
        link: link(&attributes)?,
        negative_weights: weights.values.iter().any(|&value| value < 0.0),
    };
    let head = if classifier { Head::classifier(&scores)? } else { Head::regressor(&scores)? };
    let one = head.columns.iter().all(|column| column.score.is_none_or(|score| score == 0));
    let trees = raw.into_trees(&weights, width, if one { 1 } else { count }, &attributes)?;
    Ok((trees, head))
}

/// More classes or targets than this is taken for a mistake.
const MOST_SCORES: usize = 1_000;

fn link(attributes: &Attributes<'_>) -> Result<Link, String> {
    match attributes.string("post_transform").unwrap_or("NONE") {
        "NONE" => Ok(Link::Identity),
        "LOGISTIC" => Ok(Link::Logistic),
        "SOFTMAX" => Ok(Link::Softmax),
        "SOFTMAX_ZERO" => Ok(Link::SoftmaxZero),
        other => Err(format!(
            "post_transform {} is not supported; export the model with NONE, LOGISTIC or SOFTMAX",
            brief(other)
        )),
    }
}

/// An operator's attributes by name; absent ones are empty.
struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn ints(&self, name: &str) -> &'a [i64] {
        self.get(name).map_or(&[], |attribute| &attribute.ints)
    }

    fn floats(&self, name: &str) -> &'a [f32] {
        self.get(name).map_or(&[], |attribute| &attribute.floats)
    }

    fn strings(&self, name: &str) -> &'a [Vec<u8>] {
        self.get(name).map_or(&[], |attribute| &attribute.strings)
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|attribute| attribute.i)
    }

    fn string(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
    }

    /// float64 thresholds come as tensors; rounding them would flip branches, so they are refused.
    fn refuse_tensors(&self) -> Result<(), String> {
        match self.0.attribute.iter().find(|attribute| attribute.name.ends_with("_as_tensor")) {
            Some(attribute) => Err(format!(
                "{} holds float64, which is not supported in this version; export the model with a float32 input",
                brief(&attribute.name)
            )),
            None => Ok(()),
        }
    }
}

/// The lists that describe nodes, as long as each other.
struct RawNodes<'a> {
    trees: &'a [i64],
    ids: &'a [i64],
    features: &'a [i64],
    modes: &'a [Vec<u8>],
    thresholds: &'a [f32],
    yes: &'a [i64],
    no: &'a [i64],
    missing_yes: &'a [i64],
}

/// The lists that describe what leaves add.
struct RawWeights<'a> {
    trees: &'a [i64],
    nodes: &'a [i64],
    ids: Vec<u32>,
    values: &'a [f32],
}

impl<'a> RawWeights<'a> {
    fn read(attributes: &Attributes<'a>, prefix: &str, count: usize) -> Result<Self, String> {
        let trees = attributes.ints(&format!("{prefix}_treeids"));
        let nodes = attributes.ints(&format!("{prefix}_nodeids"));
        let ids = attributes.ints(&format!("{prefix}_ids"));
        let values = attributes.floats(&format!("{prefix}_weights"));
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
            thresholds: attributes.floats("nodes_values"),
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
        if count == 0 || u32::try_from(count).is_err() {
            return Err("the tree ensemble has no nodes, or too many; export the model again".to_owned());
        }
        Ok(raw)
    }

    fn into_trees(
        self,
        weights: &RawWeights<'_>,
        width: usize,
        scores: usize,
        attributes: &Attributes<'_>,
    ) -> Result<Trees, String> {
        let places = self.places()?;
        let (leaves, mut sorted) = self.sort_weights(weights, &places)?;
        let mut walk = Walk { raw: &self, places: &places, leaves: &leaves, width, seen: vec![false; self.ids.len()] };
        let mut trees = Vec::new();
        let mut start = 0;
        while let Some(&tree) = self.trees.get(start) {
            let len = self.trees.iter().skip(start).take_while(|&&other| other == tree).count();
            trees.push(walk.tree(start, len)?);
            start += len;
        }
        let share = match attributes.string("aggregate_function").unwrap_or("SUM") {
            "SUM" => 1.0,
            "AVERAGE" => 1.0 / trees.len() as f64,
            other => {
                return Err(format!("aggregate_function {} is not supported; SUM and AVERAGE are", brief(other)));
            }
        };
        sorted.iter_mut().for_each(|weight| weight.value *= share);
        Ok(Trees { width, scores, trees, weights: sorted })
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
        for (((&tree, &node), &score), &value) in raw.trees.iter().zip(raw.nodes).zip(&raw.ids).zip(raw.values) {
            let Some(&place) = places.get(&(tree, node)) else {
                return Err(format!(
                    "a weight belongs to node {node} of tree {tree}, which is not there; export the model again"
                ));
            };
            owned.push((place, Weight { score, value: f64::from(value) }));
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

    fn split(&self, place: usize, width: usize) -> Result<Option<Split>, String> {
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
        let feature = u32::try_from(feature).ok().filter(|&feature| (feature as usize) < width).ok_or_else(|| {
            format!("{} splits on feature {feature}, and manifest.toml names {width} features", node())
        })?;
        let threshold = self.thresholds[place];
        if threshold.is_nan() {
            return Err(format!("{} has the threshold NaN; export the model again", node()));
        }
        // onnxruntime finds NaN different from any threshold, whatever the track of missing values says.
        let missing_yes = branch == Branch::Neq || self.missing_yes.get(place) == Some(&1);
        Ok(Some(Split { feature, threshold, branch, missing_yes, yes: 0, no: 0 }))
    }
}

/// Walks the listed trees, noting what it has seen.
struct Walk<'a> {
    raw: &'a RawNodes<'a>,
    places: &'a HashMap<(i64, i64), usize>,
    leaves: &'a [Leaf],
    width: usize,
    seen: Vec<bool>,
}

impl Walk<'_> {
    /// The tree whose `len` nodes are listed from `root` on. The first listed node is the root, as in onnxruntime.
    fn tree(&mut self, root: usize, len: usize) -> Result<Vec<Node>, String> {
        let tree = self.raw.trees[root];
        let mut nodes = vec![Node::Leaf(self.leaves[root])];
        let mut open = vec![(root, 0_usize, 0_usize)];
        while let Some((place, slot, depth)) = open.pop() {
            if std::mem::replace(&mut self.seen[place], true) {
                let id = self.raw.ids[place];
                return Err(format!(
                    "node {id} of tree {tree} is reached twice; a tree has no cycles and no shared nodes"
                ));
            }
            if depth > MAX_DEPTH {
                return Err(format!("tree {tree} is deeper than {MAX_DEPTH}; train the model with a limit on depth"));
            }
            let Some(split) = self.raw.split(place, self.width)? else {
                nodes[slot] = Node::Leaf(self.leaves[place]);
                continue;
            };
            let low = nodes.len();
            let yes_is_low = matches!(split.branch, Branch::Leq | Branch::Lt | Branch::Eq);
            let (yes, no) = if yes_is_low { (low, low + 1) } else { (low + 1, low) };
            // Fits: a tree has no more nodes than the lists, and those were counted with 32 bits.
            nodes[slot] = Node::Split(Split { yes: yes as u32, no: no as u32, ..split });
            nodes.resize(low + 2, Node::Leaf(self.leaves[place]));
            open.push((self.child(tree, place, self.raw.no[place])?, no, depth + 1));
            open.push((self.child(tree, place, self.raw.yes[place])?, yes, depth + 1));
        }
        if nodes.len() != len {
            return Err(format!(
                "tree {tree} has {len} nodes, of which {} hang together; export the model again",
                nodes.len()
            ));
        }
        Ok(nodes)
    }

    fn child(&self, tree: i64, place: usize, id: i64) -> Result<usize, String> {
        self.places.get(&(tree, id)).copied().ok_or_else(|| {
            format!(
                "node {} of tree {tree} leads to node {id}, which is not there; export the model again",
                self.raw.ids[place]
            )
        })
    }
}

/// The start of a text from the file, for a sentence.
fn brief(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
