use tract_onnx::pb::{AttributeProto, NodeProto, TypeProto, ValueInfoProto, type_proto};

use super::*;
use crate::model::tree::MAX_DEPTH;

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), ints: ints.to_vec(), ..Default::default() }
}

fn floats(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), floats: floats.to_vec(), ..Default::default() }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), s: text.as_bytes().to_vec(), ..Default::default() }
}

/// A regressor of one tree: `x ≤ 1` gives 10, else `x ≤ 2` gives 20, else 30.
fn regressor() -> NodeProto {
    let modes = ["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"];
    let modes = modes.iter().map(|mode| mode.as_bytes().to_vec()).collect();
    NodeProto {
        op_type: "TreeEnsembleRegressor".to_owned(),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        attribute: vec![
            AttributeProto { name: "n_targets".to_owned(), i: 1, ..Default::default() },
            ints("nodes_treeids", &[0; 5]),
            ints("nodes_nodeids", &[0, 1, 2, 3, 4]),
            ints("nodes_featureids", &[0; 5]),
            AttributeProto { name: "nodes_modes".to_owned(), strings: modes, ..Default::default() },
            floats("nodes_values", &[1.0, 0.0, 2.0, 0.0, 0.0]),
            ints("nodes_truenodeids", &[1, 0, 3, 0, 0]),
            ints("nodes_falsenodeids", &[2, 0, 4, 0, 0]),
            ints("target_treeids", &[0; 3]),
            ints("target_nodeids", &[1, 3, 4]),
            ints("target_ids", &[0; 3]),
            floats("target_weights", &[10.0, 20.0, 30.0]),
        ],
        ..Default::default()
    }
}

fn set(node: &mut NodeProto, attribute: AttributeProto) {
    node.attribute.retain(|other| other.name != attribute.name);
    node.attribute.push(attribute);
}

fn graph(node: NodeProto) -> GraphProto {
    let tensor = type_proto::Tensor { elem_type: 1, shape: None };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    GraphProto {
        input: vec![ValueInfoProto { name: "x".to_owned(), r#type: Some(kind), ..Default::default() }],
        node: vec![node],
        ..Default::default()
    }
}

#[test]
fn float64_values_are_rounded_to_the_side_on_which_their_own_feature_decides_the_same() {
    let one = 1.0_f32;
    let (below, above) = (one.next_down(), one.next_up());
    let between = f64::from(one) + 1e-9;
    let mut node = regressor();
    // The first split asks whether x ≤ 1, the second whether x < the next number: either alone would settle the side.
    set(&mut node, floats("nodes_values", &[one, 0.0, above, 0.0, 0.0]));
    let modes = ["BRANCH_LEQ", "LEAF", "BRANCH_LT", "LEAF", "LEAF"];
    let strings = modes.iter().map(|mode| mode.as_bytes().to_vec()).collect();
    set(&mut node, AttributeProto { name: "nodes_modes".to_owned(), strings, ..Default::default() });
    let mut out = Vec::new();
    let error = load(node.clone()).expect("sound").run_exactly(&[between], &mut out).expect_err("neither side");
    assert!(error.contains("need float32"), "{error}");
    // A little apart, and there is a side: up for the one, down for the other.
    for (thresholds, expected) in [([one, 2.0], 20.0), ([below, above], 20.0), ([0.5, one], 30.0)] {
        set(&mut node, floats("nodes_values", &[thresholds[0], 0.0, thresholds[1], 0.0, 0.0]));
        let mut out = Vec::new();
        load(node.clone()).expect("sound").run_exactly(&[between], &mut out).expect("a side");
        assert_eq!(out, [expected], "{thresholds:?}");
    }
}

fn load(node: NodeProto) -> Result<Ensemble, String> {
    Ensemble::load(&graph(node), "y", 1).map(|ensemble| ensemble.expect("an ensemble"))
}

#[test]
fn a_tree_gives_the_weight_of_the_leaf_that_a_row_reaches() {
    let ensemble = load(regressor()).expect("a sound ensemble");
    let run = |rows: &[f32]| ensemble.run(rows).expect("answers");
    assert_eq!(run(&[0.0, 1.0, 1.5, 2.0, 2.1]), [10.0, 10.0, 20.0, 20.0, 30.0]);
    assert_eq!(run(&[f32::NAN]), [30.0]);
    assert_eq!(run(&[f32::INFINITY, f32::NEG_INFINITY]), [30.0, 10.0]);
    let nodes = &ensemble.tree_sum(0).expect("a sum").trees[0].nodes;
    for (index, node) in nodes.iter().enumerate() {
        if let tree::Node::Split(split) = node {
            assert!(split.yes as usize > index && split.no as usize > index, "children come after their parent");
        }
    }
}

#[test]
fn hostile_trees_are_refused_in_one_sentence() {
    let cases: [(&str, AttributeProto); 15] = [
        ("reached twice", ints("nodes_falsenodeids", &[0, 0, 4, 0, 0])),
        ("reached twice", ints("nodes_truenodeids", &[1, 0, 1, 0, 0])),
        ("is not there", ints("nodes_falsenodeids", &[2, 0, 99, 0, 0])),
        ("is not there", ints("nodes_falsenodeids", &[-1, 0, 4, 0, 0])),
        ("nothing leads to node 3", floats_as_leaf()),
        ("two nodes 1", ints("nodes_nodeids", &[0, 1, 1, 3, 4])),
        ("not listed together", ints("nodes_treeids", &[0, 0, 1, 0, 0])),
        ("splits on feature 1,", ints("nodes_featureids", &[0, 0, 1, 0, 0])),
        ("splits on feature -1,", ints("nodes_featureids", &[-1, 0, 0, 0, 0])),
        ("threshold NaN", floats("nodes_values", &[f32::NAN, 0.0, 2.0, 0.0, 0.0])),
        ("not a finite number", floats("target_weights", &[10.0, f32::INFINITY, 30.0])),
        ("differ in length", floats("nodes_values", &[1.0])),
        ("not among the 1", ints("target_ids", &[0, 1, 0])),
        ("which is not there", ints("target_nodeids", &[1, 3, 77])),
        ("not a finite number", floats("base_values", &[f32::NAN])),
    ];
    for (sentence, attribute) in cases {
        let mut node = regressor();
        set(&mut node, attribute);
        let error = load(node).expect_err(sentence);
        assert!(error.contains(sentence), "{error}");
    }
}

/// The second split becomes a leaf, which leaves two nodes that nothing leads to.
fn floats_as_leaf() -> AttributeProto {
    let modes = ["BRANCH_LEQ", "LEAF", "LEAF", "LEAF", "LEAF"];
    let strings = modes.iter().map(|mode| mode.as_bytes().to_vec()).collect();
    AttributeProto { name: "nodes_modes".to_owned(), strings, ..Default::default() }
}

#[test]
fn what_is_not_supported_is_said() {
    let cases = [
        ("aggregate_function MEDIAN", text("aggregate_function", "MEDIAN")),
        ("post_transform CUBE", text("post_transform", "CUBE")),
        ("2 base values", floats("base_values", &[1.0, 2.0])),
        ("0 classes or targets", AttributeProto { name: "n_targets".to_owned(), ..Default::default() }),
    ];
    for (sentence, attribute) in cases {
        let mut node = regressor();
        set(&mut node, attribute);
        let error = load(node).expect_err(sentence);
        assert!(error.contains(sentence), "{error}");
    }
}

/// onnxruntime applies to one target alone what it calls PROBIT, and nothing else.
#[test]
fn one_target_is_left_as_it_is() {
    for transform in ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"] {
        let mut node = regressor();
        set(&mut node, text("post_transform", transform));
        let ensemble = load(node).expect("sound");
        assert_eq!((ensemble.run(&[0.0, 1.5]).expect("answers"), ensemble.has_link()), (vec![10.0, 20.0], false));
    }
}

/// A chain of splits, each with one leaf.
fn chain(depth: usize) -> NodeProto {
    let count = 2 * depth + 1;
    let ids: Vec<i64> = (0..count as i64).collect();
    let split = |id: i64| id % 2 == 0 && (id as usize) < count - 1;
    let mode = |&id: &i64| if split(id) { b"BRANCH_LT".to_vec() } else { b"LEAF".to_vec() };
    let child = |by: i64| ids.iter().map(|&id| if split(id) { id + by } else { 0 }).collect::<Vec<i64>>();
    let leaves: Vec<i64> = ids.iter().copied().filter(|&id| !split(id)).collect();
    let mut node = regressor();
    set(&mut node, ints("nodes_treeids", &vec![0; count]));
    set(&mut node, ints("nodes_nodeids", &ids));
    set(&mut node, ints("nodes_featureids", &vec![0; count]));
    let strings = ids.iter().map(mode).collect();
    set(&mut node, AttributeProto { name: "nodes_modes".to_owned(), strings, ..Default::default() });
    set(&mut node, floats("nodes_values", &ids.iter().map(|&id| id as f32).collect::<Vec<f32>>()));
    set(&mut node, ints("nodes_truenodeids", &child(1)));
    set(&mut node, ints("nodes_falsenodeids", &child(2)));
    set(&mut node, ints("target_treeids", &vec![0; leaves.len()]));
    set(&mut node, ints("target_nodeids", &leaves));
    set(&mut node, ints("target_ids", &vec![0; leaves.len()]));
    set(&mut node, floats("target_weights", &leaves.iter().map(|&id| id as f32).collect::<Vec<f32>>()));
    node
}

#[test]
fn depth_is_bounded() {
    let deepest = load(chain(MAX_DEPTH)).expect("just deep enough");
    assert_eq!(deepest.run(&[1e9]).expect("an answer"), [2.0 * MAX_DEPTH as f64]);
    for depth in [MAX_DEPTH + 1, 10_000, 200_000] {
        let error = load(chain(depth)).expect_err("too deep");
        assert!(error.contains("deeper than"), "{error}");
    }
}
