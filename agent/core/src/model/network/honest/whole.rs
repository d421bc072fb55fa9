//! Functions of many numbers at once.

use tract_onnx::prelude::tract_ndarray::{ArrayD, Axis};
use tract_onnx::tract_hir::internal::*;

use super::{edit, is_finite, sigmoid};

/// One of tract's operators, computed as it is where all it is given is finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    op: Box<dyn TypedOp>,
    how: How,
}

/// Where what is no number comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// The greatest (or least) of a window: where there is NaN in it.
    Window { most: bool },
    /// Softmax, or its logarithm.
    Shares { axes: TVec<usize>, log: bool },
    /// The gates of an LSTM: sums for the input, output and forget gates and the cell; and the cell before.
    Lstm { hidden: usize },
    /// Those of a GRU: sums of the inputs, those of the state (for the update and reset gates and the state), and the state.
    Gru { hidden: usize },
}

impl Whole {
    pub(super) fn around(op: &(impl TypedOp + Clone), how: How) -> Box<dyn TypedOp> {
        Box::new(Self { op: Box::new(op.clone()), how })
    }
}

impl Op for Whole {
    fn name(&self) -> StaticName {
        self.op.name()
    }

    op_as_typed_op!();
}

impl TypedOp for Whole {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.op.output_facts(inputs)
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        self.op.cost(inputs)
    }

    as_op!();
}

impl EvalOp for Whole {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let float = inputs.first().is_some_and(|input| input.datum_type().is_float());
        let mut finite = true;
        for input in &inputs {
            finite = finite && float && is_finite(input)?;
        }
        if finite || !float {
            return self.op.eval(context, inputs);
        }
        match &self.how {
            How::Window { most } => self.window(context, inputs, *most),
            How::Shares { axes, log } => Ok(tvec!(shares(&inputs[0], axes, *log)?.into_tvalue())),
            How::Lstm { hidden } => self.lstm(context, inputs, *hidden),
            How::Gru { hidden } => self.gru(context, inputs, *hidden),
        }
    }
}

impl Whole {
    /// Asks the operator itself which windows have NaN in them: of a tensor that is 1 there (or -1), and else 0.
    fn window(&self, context: &EvalContext, inputs: TVec<TValue>, most: bool) -> TractResult<TVec<TValue>> {
        let flag = if most { 1.0 } else { -1.0 };
        let mut flags = inputs[0].clone().into_tensor();
        edit(&mut flags, |_, value| Some(if value.is_nan() { flag } else { 0.0 }))?;
        let flags = self.op.eval(context, tvec!(flags.into_tvalue()))?;
        let flags = flags[0].cast_to::<f64>()?.into_owned();
        let flags = flags.try_as_plain_ram()?;
        let flags = flags.as_slice::<f64>()?;
        let mut results = self.op.eval(context, inputs)?;
        let mut values = results.remove(0).into_tensor();
        // Where tract begins to look for the greatest: nothing is less, but for what is infinite.
        let (begin, end) = match values.datum_type() {
            DatumType::F64 => (f64::MAX, f64::INFINITY),
            DatumType::F16 => (f64::from(f16::MAX), f64::INFINITY),
            _ => (f64::from(f32::MAX), f64::INFINITY),
        };
        edit(&mut values, |place, value| {
            if flags[place] != 0.0 {
                return Some(f64::NAN);
            }
            (value == -flag * begin).then_some(-flag * end)
        })?;
        results.insert(0, values.into_tvalue());
        Ok(results)
    }

    fn lstm(&self, context: &EvalContext, inputs: TVec<TValue>, hidden: usize) -> TractResult<TVec<TValue>> {
        let sums = inputs[0].cast_to::<f64>()?.into_owned();
        let outputs = self.op.eval(context, inputs)?;
        let sums = sums.try_as_plain_ram()?;
        let sums = sums.as_slice::<f64>()?;
        let odd = |place: usize, gate: usize| {
            let (row, unit) = (place / hidden, place % hidden);
            sums.get((row * 4 + gate) * hidden + unit).is_none_or(|sum| sum.is_nan())
        };
        let [mut state, mut cell] = [0, 1].map(|slot| outputs[slot].clone().into_tensor());
        edit(&mut cell, |place, _| [0, 2, 3].iter().any(|&gate| odd(place, gate)).then_some(f64::NAN))?;
        let cells = cell.cast_to::<f64>()?.into_owned();
        let cells = cells.try_as_plain_ram()?;
        let cells = cells.as_slice::<f64>()?;
        edit(&mut state, |place, _| (cells[place].is_nan() || odd(place, 1)).then_some(f64::NAN))?;
        Ok(tvec!(state.into_tvalue(), cell.into_tvalue()))
    }

    fn gru(&self, context: &EvalContext, inputs: TVec<TValue>, hidden: usize) -> TractResult<TVec<TValue>> {
        let given = [0, 1].map(|slot| inputs[slot].clone());
        let mut state = self.op.eval(context, inputs)?.remove(0).into_tensor();
        let [sums, states] = [given[0].cast_to::<f32>()?, given[1].cast_to::<f32>()?];
        let (sums, states) = (sums.try_as_plain_ram()?, states.try_as_plain_ram()?);
        let (sums, states) = (sums.as_slice::<f32>()?, states.as_slice::<f32>()?);
        edit(&mut state, |place, _| {
            let at = |gate: usize| (place / hidden * 3 + gate) * hidden + place % hidden;
            let reset = sigmoid(sums[at(1)] + states[at(1)]);
            let odd = (sums[at(0)] + states[at(0)]).is_nan() || (sums[at(2)] + reset * states[at(2)]).is_nan();
            odd.then_some(f64::NAN)
        })?;
        Ok(tvec!(state.into_tvalue()))
    }
}

/// Softmax, or its logarithm, by its formula.
fn shares(input: &Tensor, axes: &[usize], log: bool) -> TractResult<Tensor> {
    let kind = input.datum_type();
    let input = input.cast_to::<f64>()?;
    let mut values: ArrayD<f64> = input.to_plain_array_view::<f64>()?.to_owned();
    let over = |values: &ArrayD<f64>, first: f64, join: &dyn Fn(&f64, &f64) -> f64| {
        axes.iter()
            .fold(values.clone(), |values, &axis| values.fold_axis(Axis(axis), first, join).insert_axis(Axis(axis)))
    };
    let most =
        over(&values, f64::NEG_INFINITY, &|most, value| if value > most || value.is_nan() { *value } else { *most });
    values -= &most;
    let sum = over(&values.mapv(f64::exp), 0.0, &|sum, value| sum + value);
    if log {
        values -= &sum.mapv(f64::ln);
    } else {
        values.mapv_inplace(f64::exp);
        values /= &sum;
    }
    Ok(values.into_tensor().cast_to_dt(kind)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::all_finite;

    #[test]
    fn one_value_that_is_not_finite_is_found_wherever_it_is() {
        for length in [0, 1, 7, 8, 33] {
            let mut values = vec![f32::MAX; length];
            assert!(all_finite(&values));
            for place in 0..length {
                for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[place] = odd;
                    assert!(!all_finite(&values), "{odd} at {place} of {length}");
                }
                values[place] = f32::MIN;
            }
        }
    }
}
