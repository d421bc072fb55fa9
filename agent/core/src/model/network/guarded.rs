//! tract's operators and ours, each under a guard that looks at the sizes of its results before they are made.
//!
//! tract computes what follows from constants while it still looks for the shapes of all tensors. Under the guard it does so
//! for small tensors only, those that sizes are computed with; whatever is larger must have a known size, within bounds, and
//! is computed when all of the graph has been counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::*;

use super::limits::{self, MOST_VALUES, Refusal};
use super::recurrent;
use crate::model::graph::attributes::brief;
use crate::model::operators;

/// Tensors of more values than this hold no sizes.
const SMALL: u128 = 1_024;
/// Operators whose work is more than what goes in and comes out, or is not known from it.
const LABORIOUS: [&str; 24] = [
    "AveragePool",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DFT",
    "Einsum",
    "GRU",
    "GlobalLpPool",
    "GridSample",
    "If",
    "LRN",
    "LSTM",
    "MaxPool",
    "MelWeightMatrix",
    "Multinomial",
    "NonMaxSuppression",
    "QLinearConv",
    "RNN",
    "Resize",
    "STFT",
    "SVMClassifier",
    "SVMRegressor",
    "Scan",
    "Upsample",
];
/// Operators whose results are never larger than what they take (but for one number per dimension), and whose size tract
/// cannot tell beforehand.
const SHRINKING: [&str; 2] = ["Compress", "NonZero"];
/// Operators whose results are about as large as what they are given, but for a table of all pairs of steps.
const UNTOLD: [&str; 4] = ["Attention", "GroupQueryAttention", "MultiHeadAttention", "RotaryEmbedding"];
/// Operators whose whole numbers say sizes, all but those of the first input. tract keeps only half the bits of some.
const SIZED: [&str; 8] = ["ConstantOfShape", "Expand", "OneHot", "Pad", "Reshape", "Resize", "Tile", "Upsample"];
/// Attributes that say sizes.
const SIZES: [&str; 8] =
    ["dilations", "kernel_shape", "output_padding", "output_shape", "pads", "sample_size", "size", "strides"];

/// tract with our operators, all under guard.
pub(super) fn framework() -> Onnx {
    let mut framework = plain().clone();
    for (operator, builder) in &mut framework.op_register.0 {
        // Its tensor is stored in the file.
        if operator != "Constant" {
            *builder = build;
        }
    }
    framework
}

/// The same without guards.
pub(super) fn plain() -> &'static Onnx {
    static PLAIN: OnceLock<Onnx> = OnceLock::new();
    PLAIN.get_or_init(operators::framework)
}

fn build(context: &ParsingContext<'_>, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let builder = plain().op_register.0.get(&node.op_type);
    let builder = builder.ok_or_else(|| TractError::msg("an operator that is not supported"))?;
    let name = Some(&node.name).filter(|name| !name.is_empty()).or_else(|| node.output.first());
    let place = Arc::new(Place { operator: node.op_type.clone(), node: brief(name.map_or("", String::as_str)) });
    for attribute in node.attribute.iter().filter(|attribute| SIZES.contains(&attribute.name.as_str())) {
        let sizes = attribute.ints.iter().chain(std::iter::once(&attribute.i));
        if let Some(size) = sizes.into_iter().find(|size| u128::from(size.unsigned_abs()) > MOST_VALUES) {
            return Err(Refusal(format!(
                "{place} has {size} in its {}, and a network may hold {MOST_VALUES} values at a time; export the model again",
                attribute.name
            ))
            .into());
        }
    }
    recurrent::check(node)
        .map_err(|what| Refusal(format!("{place} {what}, which is not supported; export the model without it")))?;
    let (op, closures) = builder(context, node)?;
    Ok((Box::new(Guarded { op, place, counted: false }), closures))
}

/// Which operator it is.
#[derive(Debug)]
struct Place {
    operator: String,
    node: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operator {} (node \"{}\")", brief(&self.operator), self.node)
    }
}

#[derive(Debug, Clone)]
struct Guarded {
    op: Box<dyn InferenceOp>,
    place: Arc<Place>,
    /// Whether what it makes for want of a value has been counted.
    counted: bool,
}

impl PartialEq for Guarded {
    fn eq(&self, _other: &Self) -> bool {
        false
    }
}

impl Eq for Guarded {}

impl Guarded {
    /// How many values a result has; none where that is not known (yet).
    fn volume(&self, fact: &InferenceFact) -> Result<Option<u128>, Refusal> {
        let known = fact.shape.dims().filter_map(Factoid::concretize).filter_map(|size| size.as_i64());
        let mut sizes = Vec::new();
        for size in known {
            let wrong = || Refusal(format!("{} gives a tensor of the size {size}; export the model again", self.place));
            sizes.push(usize::try_from(size).map_err(|_| wrong())?);
        }
        let volume = limits::volume(sizes.iter().copied());
        if volume > MOST_VALUES {
            return Err(Refusal::too_many(&self.place, volume, 0));
        }
        let rank = fact.shape.rank().concretize().and_then(|rank| usize::try_from(rank).ok());
        Ok((rank == Some(sizes.len())).then_some(volume))
    }

    /// tract makes this one's values as soon as it knows their shape.
    fn count_eyes(&mut self, inputs: &[&InferenceFact]) -> Result<(), Refusal> {
        let sizes = inputs.first().and_then(|input| input.shape.concretize());
        let (false, "EyeLike", Some(sizes)) = (self.counted, self.place.operator.as_str(), sizes) else {
            return Ok(());
        };
        self.counted = true;
        limits::spend(&self.place, limits::volume(sizes.iter().filter_map(|size| size.to_usize().ok())), 2)
    }

    /// tract's rule for the length of a range does not hold for steps that are negative or no whole numbers.
    fn check_range(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        if self.place.operator != "Range" {
            return Ok(());
        }
        let values: Option<Vec<Arc<Tensor>>> = inputs.iter().map(|input| input.value.concretize()).collect();
        let Some(values) = values else { return Ok(()) };
        let number = |value: &Arc<Tensor>| {
            // What may be a size is a formula, and that of another kind of whole numbers first.
            let whole = value.datum_type().is_tdim();
            if whole { value.cast_to_scalar::<i64>().map(|whole| whole as f64) } else { value.cast_to_scalar::<f64>() }
        };
        let numbers = values.iter().map(number).collect::<TractResult<Vec<f64>>>()?;
        let &[start, limit, step] = numbers.as_slice() else { return Ok(()) };
        let length = ((limit - start) / step).abs().ceil();
        // Also where it is no number.
        if length <= MOST_VALUES as f64 {
            return Ok(());
        }
        // A cast from floats stops at the largest number there is.
        Err(if length.is_nan() {
            Refusal::unknown(&self.place)
        } else {
            Refusal::too_many(&self.place, length as u128, 0)
        }
        .into())
    }

    fn check_sizes(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        if !SIZED.contains(&self.place.operator.as_str()) {
            return Ok(());
        }
        let skipped = usize::from(self.place.operator != "ConstantOfShape");
        for value in inputs.iter().skip(skipped).filter_map(|input| input.value.concretize()) {
            if !(value.datum_type().is_integer() || value.datum_type().is_tdim()) || value.len() > SMALL as usize {
                continue;
            }
            // Sizes that are formulas still cannot be looked at.
            let Ok(sizes) = value.cast_to::<i64>() else { continue };
            let sizes = sizes.try_as_plain_ram()?;
            let most = sizes.as_slice::<i64>()?.iter().map(|size| u128::from(size.unsigned_abs())).max();
            if let Some(most) = most.filter(|&most| most > MOST_VALUES) {
                return Err(Refusal::too_many(&self.place, most, 0).into());
            }
        }
        Ok(())
    }

    /// Whether the operator is one of those whose result's shape tract tells only when it has put them together, and what it
    /// is given is so small that nothing on the way can be large.
    fn is_modest(&self, inputs: &[&InferenceFact]) -> bool {
        UNTOLD.contains(&self.place.operator.as_str())
            && inputs.iter().all(|input| {
                let Some(sizes) = input.shape.concretize() else { return false };
                let sizes: Option<Vec<usize>> = sizes.iter().map(|size| size.to_usize().ok()).collect();
                sizes.is_some_and(|sizes| {
                    sizes.iter().all(|&size| size <= 1 << 12) && limits::volume(sizes.iter().copied()) <= 1 << 20
                })
            })
    }

    fn folds(&self, inputs: &[InferenceFact], outputs: &[Option<u128>]) -> bool {
        let operator = self.place.operator.as_str();
        let small = |tensor: &Tensor| limits::volume(tensor.shape().iter().copied()) <= SMALL;
        !inputs.is_empty()
            && !LABORIOUS.contains(&operator)
            && inputs.iter().all(|input| input.value.concretize().is_some_and(|value| small(&value)))
            && (SHRINKING.contains(&operator)
                || outputs.iter().all(|volume| volume.is_some_and(|volume| volume <= SMALL)))
    }
}

impl Op for Guarded {
    fn name(&self) -> StaticName {
        self.op.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Guarded {
    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.op.eval(context, inputs)
    }

    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.op.eval_out_of_plan(inputs)
    }

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        self.op.state(context)
    }
}

type Facts = (TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>);

impl InferenceOp for Guarded {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        self.check_range(&inputs)?;
        self.check_sizes(&inputs)?;
        self.count_eyes(&inputs)?;
        let facts = self.op.infer_facts(inputs.clone(), outputs.clone(), observed.clone())?;
        let volumes = facts.1.iter().map(|fact| self.volume(fact)).collect::<Result<Vec<_>, Refusal>>()?;
        if self.folds(&facts.0, &volumes) { self.op.infer(inputs, outputs, observed) } else { Ok(facts) }
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        self.op.infer_facts(inputs, outputs, observed)
    }

    fn observe_outlets(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Vec<OutletId>> {
        self.op.observe_outlets(model, node)
    }

    fn incorporate(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Option<InferenceModelPatch>> {
        self.op.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.op.nboutputs()
    }

    fn as_op(&self) -> &dyn Op {
        self
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let (inputs, outputs) = source.node_facts(node.id)?;
        self.check_range(&inputs)?;
        self.check_sizes(&inputs)?;
        if self.place.operator == "Range" && inputs.iter().any(|input| input.value.concretize().is_none()) {
            return Err(Refusal::unknown(&self.place).into());
        }
        let volumes = outputs.iter().map(|output| self.volume(output)).collect::<Result<Vec<_>, Refusal>>()?;
        if volumes.iter().any(Option::is_none) && !self.is_modest(&inputs) {
            return Err(Refusal::unknown(&self.place).into());
        }
        if LABORIOUS.contains(&self.place.operator.as_str()) {
            // tract would compute it at once, however much work it is.
            let few = |input: &OutletId| -> TractResult<bool> {
                let constant = &target.outlet_fact(mapping[input])?.konst;
                Ok(constant.as_ref().is_some_and(|constant| constant.len() < SMALL as usize))
            };
            if !node.inputs.is_empty()
                && node.inputs.iter().map(few).collect::<TractResult<Vec<bool>>>()?.iter().all(|few| *few)
            {
                return Err(Refusal(format!(
                    "{} is given nothing but constants; export the model with its constants folded",
                    self.place
                ))
                .into());
            }
        }
        let before = target.nodes.len();
        let outlets = self.op.to_typed(source, node, target, mapping)?;
        // What follows from constants has been computed, and the states before the first step are constants too.
        for made in target.nodes.iter().skip(before).filter(|made| made.op_is::<Const>()) {
            let fact = &made.outputs[0].fact;
            let values = limits::volume(fact.shape.as_concrete().unwrap_or_default().iter().copied());
            limits::spend(&self.place, values, limits::weight(fact.datum_type))?;
        }
        Ok(outlets)
    }
}
