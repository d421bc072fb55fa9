//! Where a network can be cut in two.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

use crate::model::affine::{Made, has_branches, made};
use crate::model::network::Network;

/// Where a network can be cut: its nodes up to and with the last tensor of sums that all else is computed from, and the
/// others.
#[derive(Debug)]
pub(in crate::model) struct Cut {
    front: ModelProto,
    rest: ModelProto,
}

impl Cut {
    /// The latest cut of a model with one input whose output is `tensor`.
    pub(in crate::model) fn of(model: &ModelProto, tensor: &str) -> Option<Self> {
        let graph = model.graph.as_ref()?;
        if graph.node.iter().any(has_branches) {
            return None;
        }
        let made = made(graph);
        let is_constant = |name: &str| made.get(name) == Some(&Made::Constants);
        let (last_use, needed) = needed(graph, tensor);
        let (at, between) = latest(graph, &made, &last_use, &needed)?;
        let (mut front, mut rest) = (Vec::new(), Vec::new());
        for (index, node) in graph.node.iter().enumerate().filter(|(index, _)| needed[*index]) {
            let constant = node.output.iter().all(|name| is_constant(name));
            if index <= at {
                front.push(node.clone());
            }
            if index > at || constant {
                rest.push(node.clone());
            }
        }
        let named = |name: &str| ValueInfoProto { name: name.to_owned(), ..Default::default() };
        let inputs = graph.input.iter().filter(|input| !is_constant(&input.name)).cloned().collect();
        Some(Self {
            front: part(model, front, inputs, vec![named(between)]),
            rest: part(model, rest, vec![named(between)], graph.output.clone()),
        })
    }

    /// The second half, as a model of its own.
    pub(super) fn rest(&self) -> &ModelProto {
        &self.rest
    }

    /// Both halves; `None` where tract cannot run them in batches, or the first does not keep rows apart.
    pub(super) fn plans(&self, shape: &[usize]) -> Option<(Network, Network)> {
        let (front, between) = Network::of(&self.front, shape).ok()?;
        let (rest, _) = Network::of(&self.rest, &between).ok()?;
        (front.columns() > 0 && front.takes_batches() && rest.takes_batches()).then_some((front, rest))
    }
}

/// Per tensor the last node that reads it, and per node whether `tensor` needs it. What is `tensor` itself is read last of
/// all.
fn needed<'a>(graph: &'a GraphProto, tensor: &'a str) -> (HashMap<&'a str, usize>, Vec<bool>) {
    let mut last_use = HashMap::from([(tensor, graph.node.len())]);
    let mut needed = vec![false; graph.node.len()];
    for (index, node) in graph.node.iter().enumerate().rev() {
        if node.output.iter().any(|name| last_use.contains_key(name.as_str())) {
            needed[index] = true;
            for name in &node.input {
                last_use.entry(name).or_insert(index);
            }
        }
    }
    (last_use, needed)
}

/// The last node after which one tensor is all that anything later reads, constants aside, and that one is sums.
fn latest<'a>(
    graph: &'a GraphProto,
    made: &HashMap<&str, Made>,
    last_use: &HashMap<&str, usize>,
    needed: &[bool],
) -> Option<(usize, &'a str)> {
    let open_after = |index: Option<usize>, name: &str| {
        made.get(name) != Some(&Made::Constants) && last_use.get(name).is_some_and(|&last| Some(last) > index)
    };
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let mut open: HashSet<&str> = inputs.filter(|name| open_after(None, name)).collect();
    let mut found = None;
    for (index, node) in graph.node.iter().enumerate().filter(|(index, _)| needed[*index]) {
        open.extend(node.output.iter().map(String::as_str).filter(|name| open_after(Some(index), name)));
        for name in node.input.iter().filter(|name| !open_after(Some(index), name)) {
            open.remove(name.as_str());
        }
        let last = node.output.iter().find(|name| open.len() == 1 && open.contains(name.as_str()));
        if let Some(last) = last.filter(|last| made.get(last.as_str()) == Some(&Made::Sums)) {
            found = Some((index, last.as_str()));
        }
    }
    found
}

/// A model of some of another's nodes, with the constants that they read.
fn part(
    model: &ModelProto,
    node: Vec<NodeProto>,
    input: Vec<ValueInfoProto>,
    output: Vec<ValueInfoProto>,
) -> ModelProto {
    let graph = model.graph.as_ref().map(|graph| {
        let read: HashSet<&str> = node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        let initializer = graph.initializer.iter().filter(|constant| read.contains(constant.name.as_str()));
        GraphProto {
            name: graph.name.clone(),
            initializer: initializer.cloned().collect(),
            node,
            input,
            output,
            ..Default::default()
        }
    });
    ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        functions: model.functions.clone(),
        graph,
        ..Default::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use prost::Message;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::{TensorProto, TypeProto, type_proto};

    use super::*;

    const DENSE: &[u8] = include_bytes!("../../../../../tests/models/ai4i-mlp/model.onnx");

    /// An operator, what it reads, and what it writes.
    pub(in crate::model::halves) type Node<'a> = (&'a str, &'a [&'a str], &'a str);

    /// A network over rows of two values, `x`, with constants `w` (two by two) and `b` (two).
    pub(in crate::model::halves) fn model(nodes: &[Node<'_>]) -> ModelProto {
        let constant = |name: &str, dims: &[i64], values: &[f32]| TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: values.to_vec(),
            ..Default::default()
        };
        let tensor = TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape: None,
            })),
            ..Default::default()
        };
        let named =
            |name: &str| ValueInfoProto { name: name.to_owned(), r#type: Some(tensor.clone()), ..Default::default() };
        let node = |(operator, inputs, output): &Node<'_>| NodeProto {
            op_type: (*operator).to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![(*output).to_owned()],
            ..Default::default()
        };
        let mut model = ModelProto::decode(DENSE).expect("a reference model");
        model.graph = Some(GraphProto {
            node: nodes.iter().map(node).collect(),
            input: vec![named("x")],
            output: vec![named("y")],
            initializer: vec![constant("w", &[2, 2], &[1.0, -2.0, 3.0, 0.5]), constant("b", &[2], &[0.25, -1.0])],
            ..Default::default()
        });
        model
    }

    fn operators(model: &ModelProto) -> Vec<&str> {
        model.graph.iter().flat_map(|graph| &graph.node).map(|node| node.op_type.as_str()).collect()
    }

    #[test]
    fn a_network_is_cut_behind_the_last_sums_that_all_else_is_computed_from() {
        let cases: [(&[Node<'_>], &[&str], &[&str]); 4] = [
            (
                &[
                    ("MatMul", &["x", "w"], "s"),
                    ("Add", &["s", "b"], "t"),
                    ("Relu", &["t"], "r"),
                    ("Mul", &["r", "r"], "y"),
                ],
                &["MatMul", "Add"],
                &["Relu", "Mul"],
            ),
            // Around the first layer there is a way that leaves it out: only what comes before it can be cut off.
            (
                &[
                    ("Sub", &["x", "b"], "c"),
                    ("MatMul", &["c", "w"], "s"),
                    ("Relu", &["s"], "r"),
                    ("Add", &["r", "c"], "y"),
                ],
                &["Sub"],
                &["MatMul", "Relu", "Add"],
            ),
            // What two halves both need, and is constant, both have. What nobody needs neither has.
            (
                &[
                    ("Neg", &["b"], "n"),
                    ("Exp", &["x"], "unused"),
                    ("Add", &["x", "n"], "s"),
                    ("Relu", &["s"], "r"),
                    ("Add", &["r", "n"], "y"),
                ],
                &["Neg", "Add"],
                &["Neg", "Relu", "Add"],
            ),
            // Sums of what is no sum, and sums that are kept beside others, do not count.
            (&[("Relu", &["x"], "r"), ("MatMul", &["r", "w"], "s"), ("Exp", &["s"], "y")], &[], &[]),
        ];
        for (nodes, front, rest) in cases {
            let cut = Cut::of(&model(nodes), "y");
            let found = cut.as_ref().map(|cut| (operators(&cut.front), operators(&cut.rest))).unwrap_or_default();
            assert_eq!(found, (front.to_vec(), rest.to_vec()), "{nodes:?}");
            let Some((front, rest)) = cut.as_ref().and_then(|cut| cut.plans(&[2])) else {
                assert!(front.is_empty(), "{nodes:?}: tract cannot run the halves");
                continue;
            };
            let (whole, _) = Network::of(&model(nodes), &[2]).expect("a network");
            for row in [[0.0, 0.0], [1.0, -3.0], [0.3, 7.0]] {
                let sums: Vec<f32> = front.run(&row).expect("sums").into_iter().map(|sum| sum as f32).collect();
                assert_eq!(rest.run(&sums), whole.run(&row), "{nodes:?}");
            }
        }
    }
}
