//! Operators that put columns together or pick some: `FeatureVectorizer` and `ArrayFeatureExtractor`.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::{Gather, TypedConcat};
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::*;

use super::{Built, Wired, built};
use crate::model::graph::attributes::Attributes;

/// `FeatureVectorizer`: columns side by side, as float32.
pub(super) fn vectorizer(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let widths = Attributes(node).ints("inputdimensions").iter().map(|&width| usize::try_from(width).unwrap_or(0));
    built(Vectorizer { widths: widths.collect() })
}

#[derive(Debug, Clone)]
struct Vectorizer {
    widths: Vec<usize>,
}

impl Wired for Vectorizer {
    const NAME: &'static str = "FeatureVectorizer";

    fn inputs(&self) -> usize {
        self.widths.len()
    }

    fn kind(&self) -> Option<DatumType> {
        Some(f32::datum_type())
    }

    fn shape(&self, inputs: &[TVec<TDim>]) -> TractResult<TVec<TDim>> {
        let rows = inputs.first().and_then(|shape| shape.first()).cloned().unwrap_or_else(|| 1.to_dim());
        let width: usize = self.widths.iter().fold(0, |sum, &width| sum.saturating_add(width));
        Ok(tvec!(rows, width.to_dim()))
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut parts = TVec::new();
        for (index, (&input, &width)) in inputs.iter().zip(&self.widths).enumerate() {
            let fact = model.outlet_fact(input)?;
            if fact.rank() != 2 || fact.shape[1] != width.to_dim() {
                bail!("input {index} of FeatureVectorizer has not the {width} columns that inputdimensions says");
            }
            parts.push(model.wire_node(format!("{prefix}.{index}"), cast(f32::datum_type()), &[input])?[0]);
        }
        model.wire_node(prefix, TypedConcat::new(1), &parts)
    }
}

/// `ArrayFeatureExtractor`: columns by their numbers.
pub(super) fn pick(_context: &ParsingContext<'_>, _node: &NodeProto) -> Built {
    built(Pick)
}

#[derive(Debug, Clone)]
struct Pick;

impl Wired for Pick {
    const NAME: &'static str = "ArrayFeatureExtractor";

    fn inputs(&self) -> usize {
        2
    }

    fn shape(&self, inputs: &[TVec<TDim>]) -> TractResult<TVec<TDim>> {
        let count = inputs[1].iter().product::<TDim>();
        Ok(match inputs[0].as_slice() {
            [] | [_] => tvec!(1.to_dim(), count),
            [before @ .., _] => before.iter().cloned().chain([count]).collect(),
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let shape = model.outlet_fact(inputs[0])?.shape.to_tvec();
        let indices = model.outlet_fact(inputs[1])?.shape.to_tvec();
        let count = indices.iter().product::<TDim>();
        let flat = AxisOp::Reshape(0, indices, tvec!(count));
        let flat = model.wire_node(format!("{prefix}.indices"), flat, &[inputs[1]])?;
        let flat = model.wire_node(format!("{prefix}.whole"), cast(i64::datum_type()), &flat)?;
        let axis = shape.len().saturating_sub(1);
        let name = if shape.len() == 1 { format!("{prefix}.picked") } else { prefix.to_owned() };
        let picked = model.wire_node(name, Gather::new(axis), &[inputs[0], flat[0]])?;
        // A lone dimension comes out as a row of a table.
        if shape.len() == 1 { model.wire_node(prefix, AxisOp::Add(0), &picked) } else { Ok(picked) }
    }
}
