//! Missing values where whole numbers are asked for.
//!
//! tract casts NaN to 0, onnxruntime (on x86) to the lowest whole number. The first is a category like any other, the second
//! is none: so an operator of ours stands before each such cast.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_hir::internal::*;

use super::{Built, Rows, RowsOperator, Shape, Wired, built};
use crate::model::graph::attributes::Attributes;

/// The operator's name in a graph.
pub(super) const NAME: &str = "explaind:Lowest";

/// Puts the operator before every cast to whole numbers.
pub(crate) fn guard_casts(graph: &mut GraphProto) {
    for (place, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let to = Attributes(&node).int("to");
        let whole = [DataType::Int64 as i64, DataType::Int32 as i64].into_iter().any(|kind| to == Some(kind));
        if let (true, "Cast", [input]) = (whole, node.op_type.as_str(), node.input.as_mut_slice()) {
            let output = format!("{NAME}:{place}");
            let input = std::mem::replace(input, output.clone());
            let op_type = NAME.to_owned();
            graph.node.push(NodeProto { op_type, input: vec![input], output: vec![output], ..Default::default() });
        }
        graph.node.push(node);
    }
}

pub(super) fn build() -> Built {
    built(Guard)
}

/// The lowest whole number in the place of NaN.
#[derive(Debug)]
struct Lowest;

impl Rows for Lowest {
    fn shape(&self, _columns: usize) -> Result<Shape, String> {
        Ok(Shape::Same)
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        out.extend(row.iter().map(|&x| if x.is_nan() { i64::MIN as f64 } else { x }));
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct Guard;

impl Wired for Guard {
    const NAME: &'static str = "Lowest";

    fn shape(&self, inputs: &[TVec<TDim>]) -> TractResult<TVec<TDim>> {
        Ok(inputs[0].clone())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let kind = model.outlet_fact(inputs[0])?.datum_type;
        if !kind.is_float() {
            return Ok(inputs.into());
        }
        RowsOperator { rows: Arc::new(Lowest), kind }.wire(prefix, model, inputs)
    }
}
