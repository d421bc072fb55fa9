//! Who computes what in a graph.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::attributes::Attributes;
use super::tensor;

/// Who computes what in a graph.
pub(crate) struct Wiring<'a> {
    graph: &'a GraphProto,
    producers: HashMap<&'a str, &'a NodeProto>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Wiring<'a> {
    pub(crate) fn new(graph: &'a GraphProto) -> Self {
        let mut producers = HashMap::new();
        for node in &graph.node {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                producers.entry(output.as_str()).or_insert(node);
            }
        }
        let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Self { graph, producers, constants }
    }

    /// The operator whose output a tensor is.
    pub(crate) fn producer(&self, tensor: &str) -> Option<&'a NodeProto> {
        self.producers.get(tensor).copied()
    }

    /// The graph input of a name.
    pub(crate) fn input(&self, tensor: &str) -> Option<&'a ValueInfoProto> {
        self.graph.input.iter().find(|input| input.name == tensor && !self.constants.contains_key(tensor))
    }

    /// A tensor that is the same for every row, if it is one and holds numbers.
    pub(crate) fn constant(&self, tensor: &str) -> Option<Constant> {
        let found = match self.constants.get(tensor) {
            Some(found) => *found,
            None => {
                let node = self.producer(tensor).filter(|node| node.op_type == "Constant")?;
                Attributes(node).get("value")?.t.as_ref()?
            }
        };
        let numbers = tensor::numbers(found, tensor).ok()?;
        Some(Constant { numbers, dims: found.dims.clone(), double: found.data_type == DataType::Double as i32 })
    }
}

/// What computes a tensor, seen through operators that only hand on.
pub(crate) struct Source<'a> {
    pub(crate) node: &'a NodeProto,
    /// The columns that are handed on; all of them where none is given.
    pub(crate) picked: Option<Vec<usize>>,
    /// Whether rows are divided by their sum.
    pub(crate) normalised: bool,
    /// Whether signs are turned.
    pub(crate) negated: bool,
}

impl<'a> Wiring<'a> {
    /// What computes a tensor.
    pub(crate) fn source(&self, tensor: &str) -> Option<Source<'a>> {
        const LONGEST_CHAIN: usize = 16;
        let mut source = Source { node: self.producer(tensor)?, picked: None, normalised: false, negated: false };
        for _ in 0..LONGEST_CHAIN {
            let attributes = Attributes(source.node);
            match source.node.op_type.as_str() {
                "Identity" => {}
                "Cast" if attributes.int("to").is_some_and(|to| [1, 11].contains(&to)) => {}
                "Normalizer" if attributes.string("norm") == Some("L1") && source.picked.is_none() => {
                    source.normalised = true
                }
                "Mul" => match self.constant(source.node.input.get(1)?)?.numbers.as_slice() {
                    [1.0] => {}
                    [-1.0] => source.negated = !source.negated,
                    _ => return Some(source),
                },
                "ArrayFeatureExtractor" if source.picked.is_none() => {
                    let indices = self.constant(source.node.input.get(1)?)?.numbers;
                    source.picked = Some(indices.iter().map(|&index| index as usize).collect());
                }
                _ => return Some(source),
            }
            source.node = self.producer(source.node.input.first()?)?;
        }
        None
    }
}

/// Numbers that are the same for every row.
pub(crate) struct Constant {
    pub(crate) numbers: Vec<f64>,
    pub(crate) dims: Vec<i64>,
    pub(crate) double: bool,
}
