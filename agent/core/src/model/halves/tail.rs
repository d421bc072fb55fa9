//! The second half of a network where it is a chain of dense layers: computed here, not by tract.
//!
//! Such networks are so small that calling into a general engine costs more than they do. What is read here must agree with
//! tract on rows mixed from the background's before it is used, and whatever it does not give a finite number for, tract is
//! asked about.

mod dense;

use tract_onnx::pb::{ModelProto, NodeProto};

use self::dense::{Dense, Function, ROWS};
use crate::model::graph::attributes::Attributes;
use crate::model::graph::{Constant, Wiring};

/// Operators one behind the other.
const MOST_STEPS: usize = 64;
/// Most weights of all layers together: 4 MiB. Larger layers are tract's.
const MOST_WEIGHTS: usize = 1 << 20;
/// Rows that go through all layers before the next ones do, so that they stay in the processor's nearest memory.
const AT_ONCE: usize = 64;
const _: () = assert!(AT_ONCE.is_multiple_of(ROWS));

/// A chain of layers, for one column of its output.
#[derive(Debug)]
pub(super) struct Tail {
    inputs: usize,
    steps: Vec<Step>,
    /// Columns behind the last step, and which of them is asked for.
    columns: usize,
    column: usize,
    /// The most columns anywhere.
    widest: usize,
}

#[derive(Debug)]
enum Step {
    Dense(Dense),
    Each(Function),
    /// A factor and a summand for each column.
    Scale(Vec<(f32, f32)>),
}

/// A step as it is read, in float64.
enum Read {
    /// Row by row the weights of one input in all outputs.
    Dense {
        weights: Vec<f64>,
        offsets: Vec<f64>,
    },
    Each(Function),
    Scale(Vec<(f64, f64)>),
}

impl Tail {
    /// Reads a model with one input of `inputs` columns and one output; `None` where it is anything but such a chain.
    pub(super) fn read(model: &ModelProto, inputs: usize, column: usize) -> Option<Self> {
        let graph = model.graph.as_ref()?;
        let (input, output) = (graph.input.first()?, graph.output.first()?);
        let wiring = Wiring::new(graph);
        let mut chain = Vec::new();
        let mut tensor = output.name.as_str();
        while tensor != input.name {
            if chain.len() == MOST_STEPS {
                return None;
            }
            let node = wiring.producer(tensor)?;
            let mut changing =
                node.input.iter().enumerate().filter(|(_, name)| !name.is_empty() && (wiring.constant(name).is_none()));
            let (place, next) = changing.next().filter(|_| changing.next().is_none())?;
            chain.push((node, place));
            tensor = next;
        }
        let (mut steps, mut width, mut weights) = (Vec::new(), inputs, 0);
        for (node, place) in chain.into_iter().rev() {
            let Some(step) = step(&wiring, node, place, width)? else { continue };
            if let Read::Dense { weights: of_layer, offsets } = &step {
                width = offsets.len();
                weights += of_layer.len();
            }
            if width == 0 || weights > MOST_WEIGHTS {
                return None;
            }
            join(&mut steps, step);
        }
        Self::of(steps, inputs, width, column)
    }

    fn of(mut steps: Vec<Read>, inputs: usize, columns: usize, column: usize) -> Option<Self> {
        if column >= columns || inputs == 0 {
            return None;
        }
        // From the last layer on each column goes its own way: only one is asked for.
        let last = steps.iter().rposition(|step| matches!(step, Read::Dense { .. }));
        if let Some(last) = last {
            for step in &mut steps[last..] {
                match step {
                    Read::Dense { weights, offsets } => {
                        *weights = weights.iter().skip(column).step_by(columns).copied().collect();
                        *offsets = vec![offsets[column]];
                    }
                    Read::Scale(scale) => *scale = vec![scale[column]],
                    Read::Each(_) => {}
                }
            }
        }
        let (columns, column) = if last.is_some() { (1, 0) } else { (columns, column) };
        let mut widest = inputs;
        let finish = |step| match step {
            Read::Dense { weights, offsets } => {
                widest = widest.max(offsets.len());
                Step::Dense(Dense::new(&weights, &offsets))
            }
            Read::Each(function) => Step::Each(function),
            Read::Scale(scale) => Step::Scale(scale.into_iter().map(|(by, plus)| (by as f32, plus as f32)).collect()),
        };
        let steps = steps.into_iter().map(finish).collect();
        Some(Self { inputs, steps, columns, column, widest })
    }

    /// Whether what is computed lies between bounds, of the size of 1.
    pub(super) fn is_bounded(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Each(Function::Sigmoid | Function::Tanh)))
    }

    /// The column that is asked for, of flat rows.
    pub(super) fn run(&self, rows: &[f32]) -> Vec<f64> {
        let mut found = Vec::with_capacity(rows.len() / self.inputs);
        let (mut now, mut next) = (vec![0.0; AT_ONCE * self.widest], vec![0.0; AT_ONCE * self.widest]);
        for block in rows.chunks(AT_ONCE * self.inputs) {
            let count = block.len() / self.inputs;
            // What fills up the last rows is left over from others.
            let whole = count.next_multiple_of(ROWS);
            now[..block.len()].copy_from_slice(block);
            let mut width = self.inputs;
            for step in &self.steps {
                match step {
                    Step::Dense(dense) => {
                        dense.run(&now[..whole * width], &mut next[..whole * dense.outputs()]);
                        std::mem::swap(&mut now, &mut next);
                        width = dense.outputs();
                    }
                    Step::Each(function) => function.apply(&mut now[..whole * width]),
                    Step::Scale(scale) => {
                        for row in now[..whole * width].chunks_exact_mut(width) {
                            row.iter_mut().zip(scale).for_each(|(value, (by, plus))| *value = *value * by + plus);
                        }
                    }
                }
            }
            let values = now[..count * self.columns].iter().skip(self.column).step_by(self.columns);
            found.extend(values.map(|&value| f64::from(value)));
        }
        found
    }
}

/// Adds a step; one that only scales goes into the layer before it.
fn join(steps: &mut Vec<Read>, step: Read) {
    match (steps.last_mut(), step) {
        (Some(Read::Dense { weights, offsets }), Read::Scale(scale)) => {
            for row in weights.chunks_exact_mut(scale.len()) {
                row.iter_mut().zip(&scale).for_each(|(weight, (by, _))| *weight *= by);
            }
            offsets.iter_mut().zip(&scale).for_each(|(offset, (by, plus))| *offset = *offset * by + plus);
        }
        (_, step) => steps.push(step),
    }
}

/// What an operator does to rows of `width` columns, which it reads in `place`. Outside, none where it is not known here;
/// inside, none where it hands on what it is given.
fn step(wiring: &Wiring<'_>, node: &NodeProto, place: usize, width: usize) -> Option<Option<Read>> {
    let attributes = Attributes(node);
    let constant = |place: usize| node.input.get(place).and_then(|name| wiring.constant(name));
    let columns = |by: &dyn Fn(f64) -> (f64, f64)| -> Option<Option<Read>> {
        let constant = constant(1 - place)?;
        Some(Some(Read::Scale(per_column(&constant, width)?.into_iter().map(by).collect())))
    };
    match node.op_type.as_str() {
        "Identity" | "Dropout" if place == 0 => Some(None),
        "Cast" => attributes.int("to").filter(|&to| to == 1).map(|_| None),
        "Flatten" => (attributes.int("axis").unwrap_or(1) == 1).then_some(None),
        "Reshape" if place == 0 => match constant(1)?.numbers.as_slice() {
            // Rows stay rows where only their number is left open.
            [rows, rest @ ..] if *rows <= 0.0 && rest.iter().product::<f64>() == width as f64 => Some(None),
            _ => None,
        },
        "Add" if place < 2 => columns(&|plus| (1.0, plus)),
        "Sub" if place == 0 => columns(&|plus| (1.0, -plus)),
        "Sub" if place == 1 => columns(&|plus| (-1.0, plus)),
        "Mul" if place < 2 => columns(&|by| (by, 0.0)),
        "Div" if place == 0 => columns(&|by| (1.0 / by, 0.0)),
        "MatMul" if place == 0 => {
            let weights = matrix(&constant(1)?, false, 1.0, width)?;
            let offsets = vec![0.0; weights.len() / width];
            Some(Some(Read::Dense { weights, offsets }))
        }
        "Gemm" if place == 0 && attributes.int("transA").unwrap_or(0) == 0 => {
            let (alpha, beta) = (attributes.float("alpha").unwrap_or(1.0), attributes.float("beta").unwrap_or(1.0));
            let turned = attributes.int("transB").unwrap_or(0) != 0;
            let weights = matrix(&constant(1)?, turned, f64::from(alpha), width)?;
            let outputs = weights.len() / width;
            let offsets = match node.input.get(2).filter(|name| !name.is_empty()) {
                Some(_) => per_column(&constant(2)?, outputs)?.iter().map(|offset| f64::from(beta) * offset).collect(),
                None => vec![0.0; outputs],
            };
            Some(Some(Read::Dense { weights, offsets }))
        }
        operator if node.input.len() == 1 => Function::of(operator).map(|function| Some(Read::Each(function))),
        _ => None,
    }
}

/// A matrix with `width` rows, or, `turned`, with so many columns.
fn matrix(constant: &Constant, turned: bool, factor: f64, width: usize) -> Option<Vec<f64>> {
    let [rows, columns] = constant.dims.as_slice() else { return None };
    let (rows, columns) = (usize::try_from(*rows).ok()?, usize::try_from(*columns).ok()?);
    let numbers = &constant.numbers;
    if rows.checked_mul(columns)? != numbers.len() || numbers.is_empty() || width != if turned { columns } else { rows }
    {
        return None;
    }
    let at = |input: usize, output: usize| if turned { output * columns + input } else { input * columns + output };
    let outputs = numbers.len() / width;
    Some((0..width).flat_map(|input| (0..outputs).map(move |output| factor * numbers[at(input, output)])).collect())
}

/// A number for each of `width` columns of every row.
fn per_column(constant: &Constant, width: usize) -> Option<Vec<f64>> {
    let row = constant.dims.split_last().is_none_or(|(_, before)| before.iter().all(|&dim| dim == 1));
    match constant.numbers.as_slice() {
        _ if constant.dims.len() > 2 || !row => None,
        [number] => Some(vec![*number; width]),
        numbers => (numbers.len() == width).then(|| numbers.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cut::tests::{Node, model};
    use super::*;
    use crate::model::network::Network;

    /// What both give for rows of two values, more of them than go at once.
    fn both(nodes: &[Node<'_>], column: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let rows: Vec<f32> = (0..2 * 150).map(|at| ((at * 37) % 101) as f32 / 25.0 - 2.0).collect();
        let (network, shape) = Network::of(&model(nodes), &[2]).expect("a network");
        let columns = shape.iter().product();
        let whole = network.run(&rows).expect("answers").into_iter().skip(column).step_by(columns).collect();
        Tail::read(&model(nodes), 2, column).map(|tail| (whole, tail.run(&rows)))
    }

    #[test]
    fn chains_of_dense_layers_give_what_tract_gives() {
        let chains: [&[Node<'_>]; 5] = [
            &[("Relu", &["x"], "r"), ("MatMul", &["r", "w"], "s"), ("Add", &["s", "b"], "y")],
            &[("Gemm", &["x", "w", "b"], "g"), ("Tanh", &["g"], "t"), ("Gemm", &["t", "w"], "y")],
            &[("Sub", &["b", "x"], "d"), ("Sigmoid", &["d"], "s"), ("Mul", &["s", "b"], "y")],
            &[
                ("MatMul", &["x", "w"], "m"),
                ("Sub", &["b", "m"], "d"),
                ("Div", &["d", "b"], "q"),
                ("Tanh", &["q"], "y"),
            ],
            &[("Flatten", &["x"], "f"), ("Identity", &["f"], "y")],
        ];
        for nodes in chains {
            for column in [0, 1] {
                let (whole, tail) = both(nodes, column).expect("a chain");
                assert_eq!((whole.len(), tail.len()), (150, 150));
                for (whole, tail) in whole.iter().zip(tail) {
                    assert!((whole - tail).abs() <= 2e-6 * whole.abs().max(1.0), "{nodes:?}: {whole} and {tail}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_chain_is_left_to_tract() {
        let others: [&[Node<'_>]; 4] = [
            &[("Relu", &["x"], "r"), ("Mul", &["r", "r"], "y")],
            &[("Exp", &["x"], "y")],
            &[("Div", &["b", "x"], "y")],
            &[("MatMul", &["w", "w"], "v"), ("MatMul", &["x", "v"], "y")],
        ];
        for nodes in others {
            assert!(Tail::read(&model(nodes), 2, 0).is_none(), "{nodes:?}");
        }
        assert!(Tail::read(&model(&[("Relu", &["x"], "y")]), 2, 2).is_none(), "there are two columns");
    }
}
