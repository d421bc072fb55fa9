//! From the attributes of `TreeEnsemble`, ai.onnx.ml 5, to listed trees.
//!
//! Splits and leaves have lists of their own here, children are named by their place in them, and leaves may be shared.

use tract_onnx::pb::NodeProto;

use super::listing::{Child, Listed, Listing, MOST_NODES, Test, too_large};
use super::parse::{Leaf, MOST_SCORES, Parsed, Weight};
use super::score::{Aggregate, Head, Scores};
use crate::model::graph::attributes::Attributes;
use crate::model::operators::PostTransform;
use crate::model::tree::Branch;

/// Reads a `TreeEnsemble`.
pub(super) fn read(node: &NodeProto) -> Result<Parsed, String> {
    let attributes = Attributes(node);
    let count = usize::try_from(attributes.int("n_targets").unwrap_or(1)).unwrap_or(0);
    if count == 0 || count > MOST_SCORES {
        return Err(format!("the ensemble has {count} targets; 1 to {MOST_SCORES} are supported"));
    }
    let aggregate = match attributes.int("aggregate_function").unwrap_or(1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(format!("aggregate_function {other} is not known; export the model again")),
    };
    let transform = match attributes.int("post_transform").unwrap_or(0) {
        0 => PostTransform::None,
        // The ONNX text has these two the other way round; onnxruntime decides.
        1 => PostTransform::Logistic,
        2 => PostTransform::Softmax,
        3 => PostTransform::SoftmaxZero,
        4 => PostTransform::Probit,
        other => return Err(format!("post_transform {other} is not known; export the model again")),
    };
    let mut listing = nodes(&attributes)?;
    leaves(&attributes, count, &mut listing)?;
    listing.check_leaves()?;
    listing.check()?;
    listing.share(aggregate);
    let mut used = vec![false; count];
    listing.weights.iter().for_each(|weight| used[weight.score as usize] = true);
    let scores = Scores { count, used: &used, base: &[], transform, negative_weights: false, aggregate };
    Ok(Parsed { head: Head::regressor(&scores)?, listing, scores: count })
}

/// The lists that describe splits, as long as each other.
fn nodes(attributes: &Attributes<'_>) -> Result<Listing, String> {
    let thresholds = attributes.tensor("nodes_splits")?.unwrap_or_default();
    let modes = attributes.tensor("nodes_modes")?.unwrap_or_default();
    let columns = attributes.ints("nodes_featureids");
    let (yes, yes_leaf) = (attributes.ints("nodes_truenodeids"), attributes.ints("nodes_trueleafs"));
    let (no, no_leaf) = (attributes.ints("nodes_falsenodeids"), attributes.ints("nodes_falseleafs"));
    let missing = attributes.ints("nodes_missing_value_tracks_true");
    let count = columns.len();
    let lengths = [thresholds.len(), modes.len(), yes.len(), yes_leaf.len(), no.len(), no_leaf.len()];
    if lengths.iter().any(|&len| len != count) || !(missing.is_empty() || missing.len() == count) {
        return Err("the lists nodes_… of the tree ensemble differ in length; export the model again".to_owned());
    }
    if count == 0 {
        return Err("the tree ensemble has no nodes; export the model again".to_owned());
    }
    // Leaves are counted when the trees are grown.
    if count > MOST_NODES {
        return Err(too_large(count));
    }
    let members = attributes.tensor("membership_values")?.unwrap_or_default();
    // Sets follow each other in the order of the splits that ask for them, each closed by a NaN.
    let mut sets = members.split(|value| value.is_nan());
    let mut listing = Listing::default();
    for place in 0..count {
        let column = u32::try_from(columns[place]).map_err(|_| {
            format!("node {place} splits on feature {}, which no model has; export the model again", columns[place])
        })?;
        let test = test(place, modes[place], thresholds[place], &mut sets)?;
        let always = matches!(test, Test::Compare { branch: Branch::Neq, .. });
        listing.splits.push(Listed {
            column,
            test,
            missing_yes: always || missing.get(place) == Some(&1),
            yes: child(place, yes[place], yes_leaf[place])?,
            no: child(place, no[place], no_leaf[place])?,
        });
        listing.names.push((0, place as i64));
    }
    for &root in attributes.ints("tree_roots") {
        listing.roots.push(child(0, root, 0)?);
    }
    if listing.roots.is_empty() {
        return Err("the tree ensemble has no tree_roots; export the model again".to_owned());
    }
    Ok(listing)
}

fn test<'a>(
    place: usize,
    mode: f64,
    threshold: f64,
    sets: &mut impl Iterator<Item = &'a [f64]>,
) -> Result<Test, String> {
    let branch = match mode {
        0.0 => Branch::Leq,
        1.0 => Branch::Lt,
        2.0 => Branch::Gte,
        3.0 => Branch::Gt,
        4.0 => Branch::Eq,
        5.0 => Branch::Neq,
        6.0 => {
            let set = sets.next().filter(|set| !set.is_empty());
            let set =
                set.ok_or_else(|| format!("node {place} has no set in membership_values; export the model again"))?;
            return Ok(Test::Member(set.to_vec()));
        }
        other => return Err(format!("node {place} has the mode {other}, which is not known; export the model again")),
    };
    if threshold.is_nan() {
        return Err(format!("node {place} has the threshold NaN; export the model again"));
    }
    Ok(Test::Compare { branch, threshold })
}

fn child(place: usize, id: i64, leaf: i64) -> Result<Child, String> {
    let id = u32::try_from(id)
        .map_err(|_| format!("node {place} leads to {id}, which is not there; export the model again"))?;
    Ok(if leaf == 0 { Child::Split(id) } else { Child::Leaf(id) })
}

/// What each leaf adds: one weight to one target.
fn leaves(attributes: &Attributes<'_>, count: usize, listing: &mut Listing) -> Result<(), String> {
    let targets = attributes.ints("leaf_targetids");
    let weights = attributes.tensor("leaf_weights")?.unwrap_or_default();
    if targets.len() != weights.len() || targets.is_empty() || u32::try_from(targets.len()).is_err() {
        return Err("the lists leaf_targetids and leaf_weights differ in length or are empty; export the model again"
            .to_owned());
    }
    for (place, (&target, &value)) in (0_u32..).zip(targets.iter().zip(&weights)) {
        let score = u32::try_from(target).ok().filter(|&target| (target as usize) < count);
        let score = score.ok_or_else(|| {
            format!("leaf {place} adds to target {target}, which is not among the {count}; export again")
        })?;
        if !value.is_finite() {
            return Err("leaf_weights has a value that is not a finite number; export the model again".to_owned());
        }
        listing.weights.push(Weight { score, value });
        listing.leaves.push(Leaf { start: place, end: place + 1 });
    }
    Ok(())
}
