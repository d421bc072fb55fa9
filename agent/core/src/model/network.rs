//! Networks, run by tract: two plans per model, one for single rows and one for batches.
//!
//! tract panics on some malformed files, so loading and running are fenced. What a fence cannot hold is a file that asks for
//! more memory than there is, or for more work than can be waited for: that is counted beforehand ([`limits`]).

mod guarded;
mod honest;
mod limits;
#[cfg(test)]
mod nonfinite;
mod recurrent;
#[cfg(test)]
mod timing;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::pb::type_proto::{self, Value};
use tract_onnx::pb::{GraphProto, ModelProto, TensorShapeProto, TypeProto, tensor_shape_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::optim::Optimizer;

use self::limits::Refusal;
use super::affine;
use super::error::ModelError;
use super::graph::tensor;
use super::halves::Cut;
use super::operators;

/// Rows that the batch plan takes at once.
const BATCH: usize = 64;
/// From this many rows on, a batch filled up with copies is quicker than single rows.
const WORTH_A_BATCH: usize = 8;

type Plan = Arc<TypedRunnableModel>;

/// A network and its one output tensor that is of interest.
#[derive(Debug)]
pub(crate) struct Network {
    one: Plan,
    /// Absent for models whose file fixes a batch of one.
    many: Option<Plan>,
    /// Shape of one input.
    shape: Vec<usize>,
    columns: usize,
    affine: bool,
    /// Where it could be cut in two; of no use where all of it is affine.
    cut: Option<Box<Cut>>,
}

impl Network {
    /// Prepares the part of a model that computes `tensor` from inputs of `shape` (without the batch).
    ///
    /// # Errors
    /// A sentence on what the file has that is wrong or not supported.
    pub(crate) fn load(model: &ModelProto, tensor: &str, shape: &[usize]) -> Result<Self, String> {
        let model = prune(model, tensor, shape)?;
        let affine = model.graph.as_ref().is_some_and(|graph| affine::is_affine(graph, tensor));
        let cut = if affine { None } else { Cut::of(&model, tensor).map(Box::new) };
        let (network, _) = Self::of(&model, shape)?;
        Ok(Self { affine, cut, ..network })
    }

    /// Prepares a whole model with one input, of `shape` (without the batch), and one output. Also returns the output's
    /// shape.
    pub(super) fn of(model: &ModelProto, shape: &[usize]) -> Result<(Self, Vec<usize>), String> {
        let (one, output) = fenced(|| plan(model, shape, 1)).and_then(|result| result)?;
        let many = fenced(|| plan(model, shape, BATCH)).and_then(|result| result);
        let many = many.ok().filter(|(_, batched)| *batched == output).map(|(plan, _)| plan);
        let columns = output.iter().product();
        Ok((Self { one, many, shape: shape.to_vec(), columns, affine: false, cut: None }, output))
    }

    /// Where the network could be cut in two.
    pub(super) fn cut(&self) -> Option<&Cut> {
        self.cut.as_deref()
    }

    /// The shape of one input.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether it takes batches.
    pub(super) fn takes_batches(&self) -> bool {
        self.many.is_some()
    }

    /// Whether the tensor is nothing but sums of the inputs times constants.
    pub(crate) fn is_affine(&self) -> bool {
        self.affine
    }

    /// Number of columns of the output tensor.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Runs flat inputs: the output tensor, row after row.
    pub(crate) fn run(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        let width: usize = self.shape.iter().product();
        let mut out = Vec::with_capacity(rows.len() / width * self.columns);
        for block in rows.chunks(BATCH * width) {
            let count = block.len() / width;
            match &self.many {
                Some(many) if count == BATCH => out.extend(self.run_plan(many, BATCH, block)?),
                Some(many) if count >= WORTH_A_BATCH => {
                    let mut input = block.to_vec();
                    // Copies of a real row: whatever they cost, they cannot overflow where it does not.
                    (count..BATCH).for_each(|_| input.extend_from_slice(&block[..width]));
                    out.extend(self.run_plan(many, BATCH, &input)?.into_iter().take(count * self.columns));
                }
                _ => {
                    for row in block.chunks_exact(width) {
                        out.extend(self.run_plan(&self.one, 1, row)?);
                    }
                }
            }
        }
        Ok(out)
    }

    fn run_plan(&self, plan: &Plan, batch: usize, input: &[f32]) -> Result<Vec<f64>, ModelError> {
        let shape: Vec<usize> = std::iter::once(batch).chain(self.shape.iter().copied()).collect();
        let run = || -> TractResult<Vec<f64>> {
            let outputs = plan.run(tvec!(Tensor::from_shape(&shape, input)?.into()))?;
            let output = outputs.first().ok_or_else(|| TractError::msg("there is no output"))?;
            Ok(output.cast_to::<f64>()?.to_plain_array_view::<f64>()?.iter().copied().collect())
        };
        let values = fenced(run).map_err(ModelError::Failed)?.map_err(|error| ModelError::Failed(reason(&error)))?;
        if values.len() != batch * self.columns {
            return Err(ModelError::Failed(format!("it gave {} values for {batch} rows", values.len())));
        }
        Ok(values)
    }
}

/// Calls into tract; a panic becomes an error.
fn fenced<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("tract gave up on it ({}); export the model again", first_line(said.unwrap_or("no reason given")))
    })
}

fn reason(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|cause| first_line(&cause.to_string())).collect();
    causes.join(": ")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

/// The model with nothing but one input, of our shape, and one output.
fn prune(model: &ModelProto, tensor: &str, shape: &[usize]) -> Result<ModelProto, String> {
    let mut model = model.clone();
    let graph = model.graph.as_mut().ok_or("the file has no graph; export the model again")?;
    let constants: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut inputs: Vec<_> =
        graph.input.iter().filter(|input| !constants.contains(&input.name.as_str())).cloned().collect();
    let [input] = inputs.as_mut_slice() else {
        return Err(format!("the model has {} inputs; export it with one, that takes all features", inputs.len()));
    };
    check_shape(input.r#type.as_ref(), shape)?;
    set_shape(&mut input.r#type, 1, shape);
    graph.input.retain(|input| constants.contains(&input.name.as_str()));
    graph.input.append(&mut inputs);
    let names: Vec<String> = graph.output.iter().map(|output| format!("\"{}\"", output.name)).collect();
    graph.output.retain(|output| output.name == tensor);
    if graph.output.is_empty() {
        return Err(format!(
            "the model has no output \"{tensor}\"; write one of {} in output.tensor",
            names.join(", ")
        ));
    }
    if !graph.node.iter().any(|node| node.output.iter().any(|output| output == tensor)) {
        return Err(format!("nothing in the model computes \"{tensor}\"; export the model again"));
    }
    check_operators(graph)?;
    check_stored(graph, &mut 0, 0)?;
    operators::guard_casts(graph);
    graph.value_info.clear();
    graph.node.iter_mut().flat_map(|node| &mut node.attribute).for_each(|attribute| {
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(forget_symbols);
    });
    Ok(model)
}

/// Symbolic sizes inside of loops and branches are parsed by recursion, which a file could make as deep as it likes.
/// They are only hints, so they go. How deep graphs nest is bounded by their decoder.
fn forget_symbols(graph: &mut GraphProto) {
    graph.value_info.clear();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(TypeProto { value: Some(Value::TensorType(tensor)), .. }) = &mut info.r#type {
            let dims = tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim);
            for dim in dims.filter(|dim| matches!(dim.value, Some(tensor_shape_proto::dimension::Value::DimParam(_)))) {
                dim.value = None;
            }
        }
    }
    graph.node.iter_mut().flat_map(|node| &mut node.attribute).for_each(|attribute| {
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(forget_symbols);
    });
}

fn check_operators(graph: &GraphProto) -> Result<(), String> {
    let known = &guarded::plain().op_register.0;
    match graph.node.iter().find(|node| !known.contains_key(&node.op_type)) {
        Some(node) => Err(format!(
            "the operator {} is not supported; export the model without it",
            first_line(&node.op_type).escape_debug()
        )),
        None => Ok(()),
    }
}

/// Checks what is stored, in loops and branches too, and counts it.
fn check_stored(graph: &GraphProto, count: &mut usize, depth: usize) -> Result<(), String> {
    if depth > limits::MOST_DEPTH {
        return Err(format!(
            "the model has loops or branches in each other, more than {} deep; export it without them",
            limits::MOST_DEPTH
        ));
    }
    *count = count.saturating_add(graph.node.len()).saturating_add(graph.initializer.len());
    if *count > limits::MOST_OPERATORS {
        return Err(format!(
            "the model has {count} operators and stored tensors or more, and may have {}; export a smaller model",
            limits::MOST_OPERATORS
        ));
    }
    graph.initializer.iter().try_for_each(|stored| tensor::check(stored, &stored.name))?;
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(|stored| tensor::check(stored, &attribute.name))?;
        attribute.g.iter().chain(&attribute.graphs).try_for_each(|graph| check_stored(graph, count, depth + 1))?;
    }
    Ok(())
}

fn check_shape(declared: Option<&TypeProto>, shape: &[usize]) -> Result<(), String> {
    let Some(Value::TensorType(tensor)) = declared.and_then(|kind| kind.value.as_ref()) else {
        return Err("the model's input has no tensor type; export the model again".to_owned());
    };
    if tensor.elem_type != tract_onnx::pb::tensor_proto::DataType::Float as i32 {
        return Err("the model's input is not float32; export it with a float32 input".to_owned());
    }
    let Some(dims) = tensor.shape.as_ref().map(|shape| &shape.dim) else { return Ok(()) };
    if dims.len() != shape.len() + 1 {
        let needed = match shape {
            [_] => "rows need two, [N, features]; windows, with input.kind = \"window\", three",
            _ => "windows need three, [N, steps, features]",
        };
        return Err(format!("the model's input has {} dimensions; {needed}", dims.len()));
    }
    let fixed = |dim: &tensor_shape_proto::Dimension| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(value)) => Some(value),
        _ => None,
    };
    let sizes: Vec<Option<i64>> = dims.iter().skip(1).map(fixed).collect();
    for (index, (size, &named)) in sizes.into_iter().zip(shape).enumerate() {
        match size {
            Some(value) if usize::try_from(value) != Ok(named) => {
                return Err(if index + 1 == shape.len() {
                    format!("the model takes rows of {value} values, and manifest.toml names {named} features")
                } else {
                    format!("the model takes windows of {value} steps, and manifest.toml says input.steps = {named}")
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn set_shape(declared: &mut Option<TypeProto>, batch: usize, shape: &[usize]) {
    let dims = std::iter::once(batch).chain(shape.iter().copied()).map(|size| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(size as i64)),
        ..Default::default()
    });
    let tensor = type_proto::Tensor {
        elem_type: tract_onnx::pb::tensor_proto::DataType::Float as i32,
        shape: Some(TensorShapeProto { dim: dims.collect() }),
    };
    *declared = Some(TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() });
}

/// One plan, and the shape of its output without the batch.
fn plan(model: &ModelProto, shape: &[usize], batch: usize) -> Result<(Plan, Vec<usize>), String> {
    let mut model = model.clone();
    if let Some(input) = model.graph.as_mut().and_then(|graph| graph.input.last_mut()) {
        set_shape(&mut input.r#type, batch, shape);
    }
    let build = || -> TractResult<(Plan, Vec<usize>)> {
        let dims: TVec<usize> = std::iter::once(batch).chain(shape.iter().copied()).collect();
        limits::start_counting();
        let mut model = guarded::framework()
            .with_ignore_value_info(true)
            .model_for_proto_model(&model)?
            .with_input_fact(0, f32::fact(&*dims).into())?
            .into_typed()?;
        limits::check(&model)?;
        Optimizer::prop_consts().optimize(&mut model)?;
        honest::before(&mut model)?;
        let mut model = model.into_optimized()?;
        // Optimising makes tensors of its own, such as those that convolutions are unrolled into.
        limits::check(&model)?;
        honest::after(&mut model);
        let output = model.output_fact(0)?.shape.as_concrete().map(<[usize]>::to_vec);
        let output = output.ok_or_else(|| TractError::msg("the size of the output depends on the input's values"))?;
        Ok((model.into_runnable()?, output))
    };
    let (plan, output) =
        build().map_err(|error| match error.chain().find_map(|cause| cause.downcast_ref::<Refusal>()) {
            Some(refusal) => refusal.to_string(),
            None => format!("tract cannot run it ({}); export the model again", reason(&error)),
        })?;
    match output.split_first() {
        Some((&rows, rest)) if rows == batch => Ok((plan, rest.to_vec())),
        _ => {
            Err(format!("its output has the shape {output:?} for {batch} rows; the output needs one row per input row"))
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    const DENSE: &[u8] = include_bytes!("../../../../tests/models/ai4i-mlp/model.onnx");
    const CONVOLUTION: &[u8] = include_bytes!("../../../../tests/models/cmapss-rul-cnn/model.onnx");
    const CONVOLUTION_GOLDEN: &str = include_str!("../../../../tests/models/cmapss-rul-cnn/golden.json");

    fn decode(bytes: &[u8]) -> ModelProto {
        ModelProto::decode(bytes).expect("a reference model")
    }

    #[test]
    fn inputs_of_more_than_one_dimension_run_flat() {
        let golden: serde_json::Value = serde_json::from_str(CONVOLUTION_GOLDEN).expect("JSON");
        let network = Network::load(&decode(CONVOLUTION), "rul", &[30, 14]).expect("a network");
        for row in golden["rows"].as_array().expect("rows") {
            let input: Vec<f32> =
                row["x"].as_array().expect("x").iter().filter_map(|x| x.as_f64()).map(|x| x as f32).collect();
            let expected = row["outputs"]["rul"][0].as_f64().expect("a number");
            let found = network.run(&input).expect("an answer");
            assert!((found[0] - expected).abs() <= 1e-6 * expected.abs(), "{found:?} for {expected}");
        }
    }

    #[test]
    fn batches_of_any_size_give_what_single_rows_give() {
        let network = Network::load(&decode(DENSE), "probability", &[6]).expect("a network");
        assert!(network.many.is_some());
        let rows: Vec<f32> = (0..6 * 150).map(|i| 300.0 + (i % 37) as f32).collect();
        for count in [0, 1, 7, 8, 63, 64, 65, 128, 150] {
            let together = network.run(&rows[..6 * count]).expect("answers");
            assert_eq!(together.len(), count);
            for (row, together) in rows.chunks_exact(6).zip(&together) {
                let alone = network.run(row).expect("an answer")[0];
                assert!((alone - together).abs() < 1e-6, "{alone} and {together}");
            }
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_in_one_sentence() {
        let load = |change: &dyn Fn(&mut GraphProto), shape: &[usize]| {
            let mut model = decode(DENSE);
            change(model.graph.as_mut().expect("a graph"));
            Network::load(&model, "probability", shape).expect_err("a refusal")
        };
        let cases = [
            (load(&|_| (), &[5]), "takes rows of 6 values, and manifest.toml names 5"),
            (load(&|_| (), &[2, 3]), "has 2 dimensions; windows need three"),
            (load(&|graph| graph.output.clear(), &[6]), "has no output \"probability\""),
            (load(&|graph| graph.input.clear(), &[6]), "has 0 inputs"),
            (
                load(&|graph| graph.node[0].op_type = "Mystery".to_owned(), &[6]),
                "the operator Mystery is not supported",
            ),
            (load(&|graph| graph.initializer.clear(), &[6]), "tract cannot run it"),
            (load(&|graph| graph.node.truncate(4), &[6]), "nothing in the model computes \"probability\""),
        ];
        for (error, expected) in cases {
            assert!(error.contains(expected) && !error.contains('\n'), "{error}\nshould have: {expected}");
        }
    }

    #[test]
    fn a_panic_in_a_fence_is_an_error() {
        let said = fenced(|| panic!("index out of bounds\nat length")).map(|()| 0);
        assert_eq!(said, Err("tract gave up on it (index out of bounds); export the model again".to_owned()));
    }
}
