//! How an operator of ours is put into tract's graph: by what kind and shape its result has, and by what computes it.

use std::fmt::Debug;

use tract_onnx::tract_hir::internal::*;

use super::Built;

/// An operator with one result.
pub(super) trait Wired: Debug + Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// How many inputs it takes.
    fn inputs(&self) -> usize {
        1
    }

    /// Which kind of number it gives; that of the first input where this says none.
    fn kind(&self) -> Option<DatumType> {
        None
    }

    /// The shape of the result, from those of the inputs.
    fn shape(&self, inputs: &[TVec<TDim>]) -> TractResult<TVec<TDim>>;

    /// Adds what computes the result, the last of it under the name `prefix`.
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>>;
}

/// The operator as tract takes it.
pub(super) fn built(operator: impl Wired) -> Built {
    Ok((expand(Expanded(operator)), vec![]))
}

#[derive(Debug, Clone)]
struct Expanded<W>(W);

impl<W: Wired> Expansion for Expanded<W> {
    fn name(&self) -> StaticName {
        W::NAME.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.0.inputs())?;
        check_output_arity(outputs, 1)?;
        match self.0.kind() {
            Some(kind) => solver.equals(&outputs[0].datum_type, kind)?,
            None => solver.equals(&outputs[0].datum_type, &inputs[0].datum_type)?,
        }
        solver.given_all(inputs.iter().map(|input| &input.shape), move |solver, shapes| {
            solver.equals(&outputs[0].shape, self.0.shape(&shapes)?)
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        self.0.wire(prefix, model, inputs)
    }
}
