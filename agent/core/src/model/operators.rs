//! The operators of `ai.onnx.ml`, as onnxruntime computes them, for tract to run.
//!
//! tract lacks most of them and gets some wrong, so all are ours. Each is a function of one row of numbers; this file
//! makes tract operators of them. Labels are no outputs of theirs: they are derived from scores.

pub(crate) mod encoder;
mod linear;
mod scale;
mod select;
pub(crate) mod svm;
mod transform;
mod trees;
mod whole;
mod wired;

use std::fmt::Debug;
use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::array::ConstantOfShape;

pub(crate) use self::linear::LinearScores;
pub(crate) use self::scale::{Imputer, Scaler};
pub(crate) use self::svm::linear_kernel;
pub(crate) use self::transform::PostTransform;
pub(crate) use self::whole::guard_casts;
use self::wired::{Wired, built};
use super::graph::Source;
use super::graph::attributes::Attributes;

/// A function from one row of numbers to another.
pub(crate) trait Rows: Debug + Send + Sync {
    /// How the shape of the result follows from that of the input.
    ///
    /// # Errors
    /// A sentence when rows of `columns` do not fit the operator.
    fn shape(&self, columns: usize) -> Result<Shape, String>;

    /// Appends the result for a row. It fits: [`Self::shape`] was asked first.
    ///
    /// # Errors
    /// A sentence when the operator has no answer for the row.
    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String>;

    /// About how many multiplications a row takes at most, where it is more than one for each number of it.
    fn work(&self) -> usize {
        0
    }
}

/// The shape of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As the input's.
    Same,
    /// The input's with one more dimension.
    Deeper(usize),
    /// `[N, columns]`
    Columns(usize),
}

/// Operators that make room for as much as their attributes say while they are read, or unpacked. They are no part of ONNX:
/// the first was taken out of it, the others are of large language models.
const HOSTILE: [&str; 3] = ["ConstantLike", "GatherBlockQuantized", "MatMulNBits"];

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract with our operators.
pub(crate) fn framework() -> Onnx {
    let mut framework = tract_onnx::onnx();
    let register = &mut framework.op_register;
    register.insert("ArrayFeatureExtractor", select::pick);
    register.insert("FeatureVectorizer", select::vectorizer);
    register.insert("Scaler", |_, node| rows(Scaler::read(node), f32::datum_type()));
    register.insert("Imputer", |_, node| rows(Imputer::read(node), kind_of(node)));
    register.insert("Normalizer", |_, node| rows(scale::Normalizer::read(node), f32::datum_type()));
    register.insert("Binarizer", |_, node| rows(Ok(scale::Binarizer::read(node)), f32::datum_type()));
    register.insert("LabelEncoder", |_, node| {
        let (encoder, kind) = encoder::Encoder::read(node).map_err(Sentence)?;
        rows(Ok(encoder), kind)
    });
    register.insert("OneHotEncoder", |_, node| rows(encoder::OneHot::read(node), f32::datum_type()));
    for operator in ["LinearClassifier", "LinearRegressor"] {
        register.insert(operator, |_, node| rows(LinearScores::read(node), f32::datum_type()));
    }
    register.insert("SVMClassifier", |_, node| rows(svm::classifier(node), f32::datum_type()));
    register.insert("SVMRegressor", |_, node| rows(svm::Regressor::read(node), f32::datum_type()));
    for operator in ["TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"] {
        register.insert(operator, |_, node| rows(trees::TreeScores::read(node), f32::datum_type()));
    }
    register.insert(whole::NAME, |_, _| whole::build());
    register.insert("ConstantOfShape", constant_of_shape);
    for operator in HOSTILE {
        register.0.remove(operator);
    }
    framework
}

/// Zeros are of float32 where the file says no value, as ONNX has it; tract makes them float64, which fits nothing.
fn constant_of_shape(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let value = match Attributes(node).get("value").and_then(|attribute| attribute.t.as_ref()) {
        Some(stored) => context.load_tensor(stored)?,
        None => tensor0(0_f32),
    };
    if value.len() != 1 {
        bail!("the value of a ConstantOfShape is {} values, and should be one", value.len());
    }
    Ok((expand(ConstantOfShape::new(value.nth(0)?.into_arc_tensor())), vec![]))
}

/// What a classifier's tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A probability per class.
    Probabilities,
    /// A raw score per class; or, alone, one that is above zero for the second class of two.
    Scores,
    /// Two scores, the lesser of which speaks for its class: those of a two-class SVM as onnxruntime gives them.
    Reversed,
    /// One score per pair of classes, as `SVMClassifier` gives them.
    Pairs,
    /// Such scores changed on their way: no class follows from them.
    Changed,
}

impl Shown {
    /// What a tensor holds, as far as the operator behind it tells.
    pub(crate) fn by(source: &Source<'_>) -> Self {
        let attributes = Attributes(source.node);
        match source.node.op_type.as_str() {
            "LinearClassifier" if attributes.string("post_transform").unwrap_or("NONE") == "NONE" => Self::Scores,
            "SVMClassifier" if attributes.floats("prob_a").is_empty() => {
                match (attributes.ints("vectors_per_class").len(), source.negated) {
                    (2, true) => Self::Scores,
                    (2, false) => Self::Reversed,
                    _ if source.negated || source.normalised || source.picked.is_some() => Self::Changed,
                    _ => Self::Pairs,
                }
            }
            _ => Self::Probabilities,
        }
    }
}

/// An imputer gives what it takes: whole numbers where it has whole numbers to put in.
fn kind_of(node: &NodeProto) -> DatumType {
    let whole = !Attributes(node).ints("imputed_value_int64s").is_empty();
    if whole { i64::datum_type() } else { f32::datum_type() }
}

/// Sentences of ours as errors of tract's.
struct Sentence(String);

impl From<Sentence> for TractError {
    fn from(Sentence(problem): Sentence) -> Self {
        Self::msg(problem)
    }
}

fn rows<R: Rows + 'static>(operator: Result<R, String>, kind: DatumType) -> Built {
    built(RowsOperator { rows: Arc::new(operator.map_err(Sentence)?), kind })
}

/// One of our operators, before shapes are known and after.
#[derive(Debug, Clone)]
struct RowsOperator {
    rows: Arc<dyn Rows>,
    /// Of the result.
    kind: DatumType,
}

impl PartialEq for RowsOperator {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows) && self.kind == other.kind
    }
}

impl Eq for RowsOperator {}

impl RowsOperator {
    fn output_shape(&self, input: &[TDim]) -> TractResult<TVec<TDim>> {
        let columns = input.last().filter(|_| input.len() > 1).map_or(Ok(1), TDim::to_usize)?;
        let mut shape: TVec<TDim> = input.into();
        match self.rows.shape(columns).map_err(Sentence)? {
            Shape::Same => {}
            Shape::Deeper(depth) => shape.push(depth.to_dim()),
            Shape::Columns(_) if input.len() != 2 => bail!("the operator needs rows of numbers, [N, columns]"),
            Shape::Columns(columns) => shape[1] = columns.to_dim(),
        }
        Ok(shape)
    }
}

impl Wired for RowsOperator {
    const NAME: &'static str = "Rows";

    fn kind(&self) -> Option<DatumType> {
        Some(self.kind)
    }

    fn shape(&self, inputs: &[TVec<TDim>]) -> TractResult<TVec<TDim>> {
        self.output_shape(&inputs[0])
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let numbers = model.wire_node(format!("{prefix}.numbers"), cast(f64::datum_type()), inputs)?;
        let result = model.wire_node(format!("{prefix}.rows"), self.clone(), &numbers)?;
        model.wire_node(prefix, cast(self.kind), &result)
    }
}

impl Op for RowsOperator {
    fn name(&self) -> StaticName {
        "Rows".into()
    }

    op_as_typed_op!();
}

impl EvalOp for RowsOperator {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape: TVec<TDim> = input.shape().iter().map(|&dim| dim.to_dim()).collect();
        let shape = self.output_shape(&shape)?.iter().map(TDim::to_usize).collect::<Result<TVec<usize>, _>>()?;
        let columns = input.shape().last().copied().filter(|_| input.rank() > 1).unwrap_or(1);
        let view = input.to_plain_array_view::<f64>()?;
        let values: Vec<f64> = view.iter().copied().collect();
        let mut out = Vec::with_capacity(shape.iter().product());
        if columns > 0 {
            for row in values.chunks_exact(columns) {
                self.rows.run(row, &mut out).map_err(Sentence)?;
            }
        }
        Ok(tvec!(Tensor::from_shape(&shape, &out)?.into_tvalue()))
    }
}

impl TypedOp for RowsOperator {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = self.output_shape(&inputs[0].shape.to_tvec())?;
        Ok(tvec!(f64::datum_type().fact(&*shape)))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let rows: TDim = inputs[0].shape.iter().take(inputs[0].rank().saturating_sub(1)).product();
        let work = i64::try_from(self.rows.work()).unwrap_or(i64::MAX).min(1 << 36);
        Ok(tvec!((Cost::FMA(f64::datum_type()), rows * work)))
    }

    as_op!();
}
