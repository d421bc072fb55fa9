//! A GRU over a whole sequence, which tract computes in one operator.

use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_hir::internal::*;

use super::sigmoid;

/// Below this, no sum of products of two numbers becomes infinite: of as many as memory holds.
const LARGEST: f32 = 1e12;

/// tract's operator; computed here, step by step, where something in it may become infinite or is not a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sequence(pub(super) GruSeq);

impl Op for Sequence {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl TypedOp for Sequence {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}

impl EvalOp for Sequence {
    not_out_of_plan!();

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(self.0.state(context)?.map(|inner| Box::new(State(inner)) as Box<dyn OpState>))
    }
}

#[derive(Debug, Clone)]
struct State(Box<dyn OpState>);

impl OpState for State {
    fn eval(&mut self, context: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Some(Sequence(op)) = op.downcast_ref::<Sequence>() else { bail!("the state of another operator") };
        let mut ordinary = true;
        for input in &inputs {
            let values = input.try_as_plain_ram()?;
            let values = values.as_slice::<f32>()?;
            ordinary &= values.iter().fold(true, |all, value| all & (value.abs() <= LARGEST));
        }
        if ordinary { self.0.eval(context, op, inputs) } else { step_by_step(op, &inputs) }
    }

    fn reset_lanes(&mut self, lanes: &[LaneId]) -> TractResult<()> {
        self.0.reset_lanes(lanes)
    }
}

/// The sequence by the operator's definition, `linear_before_reset` being set. Each run starts from the state that it is
/// given: plans are run once per state.
fn step_by_step(op: &GruSeq, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
    let of =
        |slot: usize| -> TractResult<Vec<f32>> { Ok(inputs[slot].try_as_plain_ram()?.as_slice::<f32>()?.to_vec()) };
    let hidden = op.hidden;
    let &[batch, steps, columns] = inputs[0].shape() else { bail!("a sequence has three dimensions") };
    let recurrent = if op.projected { 1 } else { 2 };
    let (x, r) = (of(0)?, of(recurrent)?);
    let w = if op.projected { None } else { Some(of(1)?) };
    let b = if op.has_bias { Some(of(recurrent + 1)?) } else { None };
    let bias = |place: usize| b.as_ref().map_or(0.0, |b| b[place]);
    let mut state = of(inputs.len() - 1)?;
    let mut all = vec![0.0; if op.emit_y { batch * steps * hidden } else { 0 }];
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for step in 0..steps {
        let step = if op.chunk < 0 { steps - 1 - step } else { step };
        for row in 0..batch {
            let x = &x[(row * steps + step) * columns..][..columns];
            let before = state[row * hidden..][..hidden].to_vec();
            // A row of the weights is one gate of one unit.
            let input = |place: usize| match &w {
                Some(w) => product(x, &w[place * columns..][..columns]) + bias(place),
                None => x[place],
            };
            let own = |place: usize| product(&before, &r[place * hidden..][..hidden]) + bias(3 * hidden + place);
            for unit in 0..hidden {
                let update = sigmoid(input(unit) + own(unit));
                let reset = sigmoid(input(hidden + unit) + own(hidden + unit));
                let new = (input(2 * hidden + unit) + reset * own(2 * hidden + unit)).tanh();
                let value = new + update * (before[unit] - new);
                state[row * hidden + unit] = value;
                if op.emit_y {
                    all[(row * steps + step) * hidden + unit] = value;
                }
            }
        }
    }
    let given = if op.emit_y { steps } else { 0 };
    Ok(tvec!(
        Tensor::from_shape(&[batch, given, hidden], &all)?.into_tvalue(),
        Tensor::from_shape(&[batch, 1, hidden], &state)?.into_tvalue()
    ))
}
