//! What is no number stays none.
//!
//! tract's kernels clamp, compare and look at the largest, and so make ordinary numbers of NaN: a logistic function of it is
//! 0.0000005, a Relu 0. onnxruntime hands it on, and what is then no finite number is withheld. So the operators that hide it
//! are replaced here by ones that look, and compute with tract's kernels where all is well. What simplifies a product with
//! zero away is replaced too: it is no zero where the other factor is infinite.
//!
//! Some are replaced [`before`] tract optimises a graph, which may join them with others; those that take part in how it lays
//! tensors out in memory, [`after`]. What is in loops and branches is out of reach then, and all replaced before.

mod binary;
mod gru;
mod unary;
mod whole;

use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, OptMaxPool};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::gru_cell::GruEpilogue;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::lstm_cell::LstmEpilogue;
use tract_onnx::tract_core::ops::math::{Max, Min, Mul, Pow};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_hir::internal::*;

use self::binary::Function;
use self::unary::{Bound, Unary};
use self::whole::{How, Whole};

/// Replaces operators in a graph that is not optimised yet.
pub(super) fn before(model: &mut TypedModel) -> TractResult<()> {
    replace(model, false)
}

/// Replaces operators in a graph that is optimised.
pub(super) fn after(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(op) = late(&*node.op) {
            node.op = op;
        }
    }
}

fn replace(model: &mut TypedModel, nested: bool) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        if let Some((op, input)) = bound(model, &model.nodes[id])? {
            TypedModelPatch::replace_single_op(model, &model.nodes[id], &[input], op)?.apply(model)?;
            continue;
        }
        let node = &model.nodes[id];
        let op = match early(model, node)? {
            Some(op) => Some(op),
            None if nested => late(&*node.op),
            None => None,
        };
        if let Some(op) = op {
            model.nodes[id].op = op;
        }
    }
    Ok(())
}

/// The least or the greatest of a tensor and one constant: a function of the tensor alone.
fn bound(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(ElementWiseOp, OutletId)>> {
    let Some(op) = node.op_as::<TypedBinOp>() else { return Ok(None) };
    let (most, least) = (op.0.is::<Max>(), op.0.is::<Min>());
    let facts = model.node_input_facts(node.id)?;
    let &[a, b] = facts.as_slice() else { return Ok(None) };
    if !(most || least) || a.datum_type != b.datum_type || !a.datum_type.is_float() || a.datum_type.is_quantized() {
        return Ok(None);
    }
    for (constant, varying, place) in [(b, a, 0), (a, b, 1)] {
        if let Some(at) = constant.uniform.as_ref().filter(|_| varying.shape == node.outputs[0].fact.shape) {
            let at = at.cast_to_scalar::<f64>()?;
            if !at.is_nan() && varying.konst.is_none() {
                return Ok(Some((ElementWiseOp(Box::new(Bound { at, below: most }), None), node.inputs[place])));
            }
        }
    }
    Ok(None)
}

fn early(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Box<dyn TypedOp>>> {
    let facts = model.node_input_facts(node.id)?;
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        let float = facts.iter().all(|fact| fact.datum_type.is_float());
        return Ok(Unary::around(&*op.0)
            .filter(|_| float)
            .map(|unary| Box::new(ElementWiseOp(Box::new(unary), op.1)) as Box<dyn TypedOp>));
    }
    if let (Some(op), &[a, b]) = (node.op_as::<TypedBinOp>(), facts.as_slice()) {
        let is = |fact: &TypedFact, number: f64| {
            fact.uniform.as_ref().is_some_and(|value| value.cast_to_scalar::<f64>().is_ok_and(|value| value == number))
        };
        let function = if op.0.is::<Max>() {
            Some(Function::Most)
        } else if op.0.is::<Min>() {
            Some(Function::Least)
        } else if op.0.is::<Mul>() && (is(a, 0.0) || is(b, 0.0)) {
            Some(Function::Times)
        } else if op.0.is::<Pow>() && is(b, 0.5) {
            // Not the square root, which has none of what is infinite and negative.
            Some(Function::Power)
        } else {
            None
        };
        let float = a.datum_type == b.datum_type && a.datum_type.is_float() && !a.datum_type.is_quantized();
        return Ok(function
            .filter(|_| float && op.1.is_none())
            .map(|function| Box::new(TypedBinOp(Box::new(function), None)) as Box<dyn TypedOp>));
    }
    if let Some(op) = node.op_as::<LstmEpilogue>() {
        return Ok(Some(Whole::around(op, How::Lstm { hidden: op.hidden })));
    }
    if let Some(op) = node.op_as::<GruEpilogue>() {
        return Ok(Some(Whole::around(op, How::Gru { hidden: op.hidden })));
    }
    if let Some(scan) = node.op_as::<Scan>() {
        let mut scan = scan.clone();
        replace(&mut scan.body, true)?;
        return Ok(Some(Box::new(scan)));
    }
    if let Some(branches) = node.op_as::<IfThenElse>() {
        let mut branches = branches.clone();
        replace(&mut branches.then_body, true)?;
        replace(&mut branches.else_body, true)?;
        return Ok(Some(Box::new(branches)));
    }
    Ok(None)
}

fn late(op: &dyn TypedOp) -> Option<Box<dyn TypedOp>> {
    if let Some(op) = op.downcast_ref::<OptMaxPool>() {
        return Some(Whole::around(op, How::Window { most: true }));
    }
    if let Some(op) = op.downcast_ref::<MaxPool>() {
        return Some(Whole::around(op, How::Window { most: true }));
    }
    if let Some(op) = op.downcast_ref::<Reduce>() {
        return match op.reducer {
            Reducer::Max => Some(Whole::around(op, How::Window { most: true })),
            Reducer::Min => Some(Whole::around(op, How::Window { most: false })),
            _ => None,
        };
    }
    if let Some(op) = op.downcast_ref::<Softmax>().filter(|op| op.quant_output_dt.is_none()) {
        return Some(Whole::around(op, How::Shares { axes: op.axes.clone(), log: op.kind == SoftmaxKind::LogSoftmax }));
    }
    op.downcast_ref::<GruSeq>().map(|op| Box::new(gru::Sequence(op.clone())) as Box<dyn TypedOp>)
}

/// Whether all values are finite numbers. Without a branch, so that the compiler looks at several at once.
fn all_finite(values: &[f32]) -> bool {
    values.iter().fold(true, |all, value| all & value.is_finite())
}

/// The same of a tensor of any floats.
fn is_finite(tensor: &Tensor) -> TractResult<bool> {
    if tensor.datum_type() == f32::datum_type() {
        return Ok(all_finite(tensor.try_as_plain_ram()?.as_slice::<f32>()?));
    }
    Ok(tensor.cast_to::<f64>()?.try_as_plain_ram()?.as_slice::<f64>()?.iter().all(|value| value.is_finite()))
}

/// Puts other values into a tensor of floats, at the places where `change` gives some.
fn edit(tensor: &mut Tensor, change: impl Fn(usize, f64) -> Option<f64>) -> TractResult<()> {
    let kind = tensor.datum_type();
    let mut values = tensor.cast_to::<f64>()?.into_owned();
    for (place, value) in values.try_as_plain_ram_mut()?.as_slice_mut::<f64>()?.iter_mut().enumerate() {
        *value = change(place, *value).unwrap_or(*value);
    }
    *tensor = values.cast_to_dt(kind)?.into_owned();
    Ok(())
}

/// The logistic function, of a number or of none.
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
