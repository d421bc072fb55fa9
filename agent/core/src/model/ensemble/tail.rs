//! From an output tensor back to the ensemble, or the sum of ensembles, that it shows.
//!
//! Exporters put little operators behind trees: a cast, a product with one, the division by the number of trees of a
//! forest, the sum of the parts that a large ensemble was split into. They are taken into the leaves.

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use crate::model::graph::Wiring;
use crate::model::graph::attributes::Attributes;

/// More parts than this are no sum that an exporter writes.
const MOST_PARTS: usize = 1_000;
/// Operators one behind the other.
const LONGEST_CHAIN: usize = 16;

/// `Σ scale · ensemble + shift`
#[derive(Debug)]
pub(super) struct Tail<'a> {
    pub(super) parts: Vec<(&'a NodeProto, f64)>,
    pub(super) shift: f64,
    visits: usize,
}

/// Whether an operator is a tree ensemble, of whichever version.
pub(super) fn is_trees(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "TreeEnsemble" | "TreeEnsembleClassifier" | "TreeEnsembleRegressor")
}

impl<'a> Tail<'a> {
    /// What `tensor` shows; none when that is no such sum.
    pub(super) fn behind(wiring: &Wiring<'a>, tensor: &str) -> Option<Self> {
        let mut tail = Self { parts: Vec::new(), shift: 0.0, visits: 0 };
        tail.follow(wiring, tensor, 1.0, 0)?;
        (!tail.parts.is_empty()).then_some(tail)
    }

    fn follow(&mut self, wiring: &Wiring<'a>, tensor: &str, scale: f64, depth: usize) -> Option<()> {
        let node = wiring.producer(tensor).filter(|_| depth < LONGEST_CHAIN && self.parts.len() < MOST_PARTS)?;
        if is_trees(node) {
            // The same trees twice are the trees, twice as large.
            match self.parts.iter_mut().find(|(part, _)| std::ptr::eq(*part, node)) {
                Some((_, known)) => *known += scale,
                None => self.parts.push((node, scale)),
            }
            self.visits += 1;
            return (self.visits <= MOST_PARTS).then_some(());
        }
        let constant = |place: usize| {
            let constant = node.input.get(place).and_then(|input| wiring.constant(input))?;
            // One number for all columns, that leaves the shape as it is.
            match constant.numbers.as_slice() {
                [number] if constant.dims.len() <= 2 && number.is_finite() => Some(*number),
                _ => None,
            }
        };
        let mut follow = |place: usize, scale: f64| self.follow(wiring, node.input.get(place)?, scale, depth + 1);
        match (node.op_type.as_str(), constant(0), constant(1)) {
            ("Identity", ..) => follow(0, scale),
            ("Cast", ..) if casts_to_float(node) => follow(0, scale),
            ("Neg", ..) => follow(0, -scale),
            ("Mul", None, Some(by)) => follow(0, scale * by),
            ("Mul", Some(by), None) => follow(1, scale * by),
            ("Div", None, Some(by)) if by != 0.0 => follow(0, scale / by),
            ("Add", None, Some(by)) => follow(0, scale).map(|()| self.shift += scale * by),
            ("Add", Some(by), None) => follow(1, scale).map(|()| self.shift += scale * by),
            ("Sub", None, Some(by)) => follow(0, scale).map(|()| self.shift -= scale * by),
            ("Sub", Some(by), None) => follow(1, -scale).map(|()| self.shift += scale * by),
            ("Add" | "Sum", None, None) => (0..node.input.len()).try_for_each(|place| follow(place, scale)),
            _ => None,
        }
    }
}

fn casts_to_float(node: &NodeProto) -> bool {
    Attributes(node).int("to").is_some_and(|to| to == DataType::Float as i64 || to == DataType::Double as i64)
}
