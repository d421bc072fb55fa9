//! Networks that compute nothing but sums of their input's values times constants: known by their operators, and asked
//! for the weights.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::error::ModelError;
use super::sum::WeightedSum;

/// Most values of one input for which the sums are written out: as many runs of the network, and as many weights a sum.
const MOST_INPUTS: usize = 2_048;
/// Most weights in all.
const MOST_WEIGHTS: usize = 4 << 20;

/// Finds the sums that the outputs of a network are of which [`is_affine`] holds, one per output column, by running it on an
/// input of zeros and on one for each value. `None` where they would be too large to write out.
///
/// `scales` has a step for each value: its usual size, so that what the network's float32 rounds off is small beside what
/// the step changes.
///
/// # Errors
/// What `run` returns.
pub(super) fn probe(
    scales: &[f32],
    columns: usize,
    run: impl Fn(&[f32]) -> Result<Vec<f64>, ModelError>,
) -> Result<Option<Vec<WeightedSum>>, ModelError> {
    let width = scales.len();
    if width > MOST_INPUTS || width * columns > MOST_WEIGHTS {
        return Ok(None);
    }
    let mut rows = vec![0.0; (width + 1) * width];
    for (input, &scale) in scales.iter().enumerate() {
        rows[(input + 1) * width + input] = scale;
    }
    let outputs = run(&rows)?;
    let mut outputs = outputs.chunks_exact(columns);
    let Some(without) = outputs.next() else { return Ok(None) };
    let sum = |&intercept: &f64| WeightedSum { weights: Vec::with_capacity(width), intercept };
    let mut sums: Vec<WeightedSum> = without.iter().map(sum).collect();
    for (with, &scale) in outputs.zip(scales) {
        let each = sums.iter_mut().zip(with);
        each.for_each(|(sum, with)| sum.weights.push((with - sum.intercept) / f64::from(scale)));
    }
    Ok(Some(sums))
}

/// What `Cast` calls float32.
const FLOAT: i64 = tract_onnx::pb::tensor_proto::DataType::Float as i64;

/// What a tensor is made of.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Made {
    Constants,
    /// Sums of the inputs times constants.
    Sums,
    Anything,
}

/// Whether `tensor` is a sum of the graph's one input's values times constants. Operators that are not known to keep it
/// so count as if they did not.
pub(super) fn is_affine(graph: &GraphProto, tensor: &str) -> bool {
    made(graph).get(tensor) == Some(&Made::Sums)
}

/// What each tensor of a graph is made of.
pub(super) fn made(graph: &GraphProto) -> HashMap<&str, Made> {
    let mut made: HashMap<&str, Made> = graph.input.iter().map(|input| (input.name.as_str(), Made::Sums)).collect();
    made.extend(graph.initializer.iter().map(|constant| (constant.name.as_str(), Made::Constants)));
    for node in &graph.node {
        let inputs: Vec<Made> = node
            .input
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| made.get(name.as_str()).copied().unwrap_or(Made::Anything))
            .collect();
        let result = if has_branches(node) { Made::Anything } else { of_operator(node, &inputs) };
        made.extend(node.output.iter().map(|output| (output.as_str(), result)));
    }
    made
}

/// Whether an operator has graphs inside, which read what its inputs do not show.
pub(super) fn has_branches(node: &NodeProto) -> bool {
    node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty())
}

fn of_operator(node: &NodeProto, inputs: &[Made]) -> Made {
    use Made::{Anything, Constants, Sums};
    if inputs.iter().all(|made| *made == Constants) {
        return Constants;
    }
    if inputs.contains(&Anything) {
        return Anything;
    }
    let sums = inputs.iter().filter(|made| **made == Sums).count();
    match node.op_type.as_str() {
        "Add" | "Sub" | "Concat" | "Sum" => Sums,
        "Mul" | "MatMul" | "Gemm" | "Conv" if sums == 1 => Sums,
        // What is divided, averaged or moved may be a sum; by what, or whereto, must be known.
        "Div" | "Identity" | "Neg" | "Flatten" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "AveragePool"
        | "GlobalAveragePool" | "Scaler"
            if sums == 1 && inputs.first() == Some(&Sums) =>
        {
            Sums
        }
        // The graph's input is float32, and this leaves it so.
        "Cast" if inputs == [Sums] && node.attribute.iter().any(|to| to.name == "to" && to.i == FLOAT) => Sums,
        _ => Anything,
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{AttributeProto, TensorProto, ValueInfoProto};

    use super::*;

    /// An operator, and what it reads; it writes `t0`, `t1`, … by its place.
    type Node<'a> = (&'a str, &'a [&'a str]);

    fn graph(nodes: &[Node<'_>]) -> GraphProto {
        let node = |(index, (operator, inputs)): (usize, &Node<'_>)| NodeProto {
            op_type: (*operator).to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![format!("t{index}")],
            ..Default::default()
        };
        GraphProto {
            node: nodes.iter().enumerate().map(node).collect(),
            input: vec![ValueInfoProto { name: "x".to_owned(), ..Default::default() }],
            initializer: vec![TensorProto { name: "w".to_owned(), ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn sums_are_known_by_their_operators() {
        let cases: [(&[Node<'_>], bool); 10] = [
            (&[("Sub", &["x", "w"]), ("Gemm", &["t0", "w", "w"]), ("Sub", &["x", "t1"])], true),
            (&[("Constant", &[]), ("Mul", &["t0", "x"])], true),
            (&[("Div", &["x", "w"]), ("Reshape", &["t0", "w"]), ("Conv", &["t1", "w", ""])], true),
            (&[("Relu", &["w"]), ("MatMul", &["x", "t0"])], true),
            (&[("Mul", &["x", "x"])], false),
            (&[("Div", &["w", "x"])], false),
            (&[("Relu", &["x"]), ("MatMul", &["t0", "w"])], false),
            (&[("Identity", &["unknown"])], false),
            (&[("Identity", &["w"])], false),
            (&[("Cast", &["x"])], false),
        ];
        for (nodes, expected) in cases {
            assert_eq!(is_affine(&graph(nodes), &format!("t{}", nodes.len() - 1)), expected, "{nodes:?}");
        }
    }

    #[test]
    fn what_leaves_float32_as_it_is_leaves_sums_sums() {
        for (to, expected) in [(1, true), (6, false)] {
            let mut graph = graph(&[("Scaler", &["x"]), ("Cast", &["t0"]), ("MatMul", &["t1", "w"])]);
            graph.node[1].attribute.push(AttributeProto { name: "to".to_owned(), i: to, ..Default::default() });
            assert_eq!(is_affine(&graph, "t2"), expected, "to {to}");
        }
    }

    #[test]
    fn the_weights_are_found_by_asking() {
        let run = |rows: &[f32]| -> Result<Vec<f64>, ModelError> {
            let outputs = |x: &[f32]| [f64::from(x[0]) - 2.0 * f64::from(x[1]) + 5.0, f64::from(x[1]) / 4.0];
            Ok(rows.chunks_exact(2).flat_map(outputs).collect())
        };
        let sums = probe(&[100.0, 0.5], 2, run).expect("answers").expect("small");
        let expected = [
            WeightedSum { weights: vec![1.0, -2.0], intercept: 5.0 },
            WeightedSum { weights: vec![0.0, 0.25], intercept: 0.0 },
        ];
        assert_eq!(sums, expected);
        assert_eq!([sums[0].of(&[3.0, 4.0]), sums[1].of(&[3.0, 4.0])], [0.0, 1.0]);
    }
}
