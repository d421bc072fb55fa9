//! Exporters write the same model in many dresses: class probabilities behind a `ZipMap`, one input per column of a data
//! frame, whole-number inputs. Those are taken off here, so that everything after sees one float32 input of all features
//! and nothing but what computes the one output that is asked for.

use std::collections::BTreeSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

use super::attributes::brief;
use super::{MOST_COLUMNS, tensor};

/// Operators whose first output are labels and whose second are the scores.
const CLASSIFIERS: [&str; 3] = ["LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"];

/// The input that stands for several, and the prefix of what [`simplify`] adds.
const UNITED: &str = "explaind:features";

/// The part of a model that computes `tensor`, with one float32 input.
///
/// # Errors
/// A sentence on what the file has that is wrong or not supported.
pub(crate) fn simplify(model: ModelProto, tensor: &str) -> Result<ModelProto, String> {
    let mut model = model;
    let graph = model.graph.as_mut().ok_or("the file has no graph; export the model again")?;
    for constant in &graph.initializer {
        tensor::check(constant, &constant.name)?;
    }
    for node in &mut graph.node {
        if node.op_type == "ZipMap" {
            node.op_type = "Identity".to_owned();
            node.domain.clear();
            node.attribute.clear();
        }
        for attribute in &node.attribute {
            attribute.t.iter().try_for_each(|found| tensor::check(found, &attribute.name))?;
        }
    }
    graph.output.retain(|output| output.name == tensor);
    if let Some(output) = graph.output.first_mut() {
        // A map's type, or a symbolic shape, says nothing that the operators do not.
        output.r#type = None;
    }
    let needed = keep_what_computes(graph, tensor);
    refuse_labels(graph, tensor, &needed)?;
    unite_inputs(graph)?;
    Ok(model)
}

/// Drops the operators that only other outputs need, such as a classifier's labels. Files list operators in the order
/// in which they run.
fn keep_what_computes(graph: &mut GraphProto, tensor: &str) -> BTreeSet<String> {
    let mut needed = BTreeSet::from([tensor.to_owned()]);
    let mut kept = Vec::new();
    while let Some(node) = graph.node.pop() {
        if node.output.iter().any(|output| needed.contains(output)) {
            add_inputs(&node, &mut needed);
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    needed
}

/// What an operator reads, also from inside its own graphs.
fn add_inputs(node: &NodeProto, needed: &mut BTreeSet<String>) {
    needed.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
    let graphs = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    for graph in graphs {
        needed.extend(graph.output.iter().map(|output| output.name.clone()));
        graph.node.iter().for_each(|node| add_inputs(node, needed));
    }
}

/// Labels are derived from scores, never computed: an output that is one is refused, an unused one is unnamed.
fn refuse_labels(graph: &mut GraphProto, tensor: &str, needed: &BTreeSet<String>) -> Result<(), String> {
    for node in graph.node.iter_mut().filter(|node| CLASSIFIERS.contains(&node.op_type.as_str())) {
        let scores = node.output.get(1).cloned().unwrap_or_default();
        let Some(labels) = node.output.first_mut() else { continue };
        if needed.contains(labels.as_str()) {
            return Err(format!(
                "\"{}\" holds labels, or is made from them, which cannot be decided on; name the tensor of the scores in \
                 output.tensor, here the one that shows \"{}\"",
                brief(tensor),
                brief(&scores)
            ));
        }
        labels.clear();
    }
    Ok(())
}

/// Puts one float32 input in the place of several, or of one of another type.
fn unite_inputs(graph: &mut GraphProto) -> Result<(), String> {
    let constants: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let (constant, inputs): (Vec<_>, Vec<_>) =
        graph.input.iter().cloned().partition(|input| constants.contains(input.name.as_str()));
    let kinds = inputs.iter().map(Kind::of).collect::<Result<Vec<Kind>, String>>()?;
    if let ([_], [Kind { data: DataType::Float, .. }]) | ([], []) = (inputs.as_slice(), kinds.as_slice()) {
        return Ok(());
    }
    let mut added = Vec::new();
    let mut width = Some(0_usize);
    let alone = inputs.len() == 1;
    for (input, kind) in inputs.iter().zip(&kinds) {
        let mut from = UNITED.to_owned();
        if !alone {
            let columns = kind.columns.filter(|&columns| columns <= MOST_COLUMNS).ok_or_else(|| {
                format!("the model has {} inputs, and \"{}\" does not say how many columns it has; export it with one input, that takes all features", inputs.len(), brief(&input.name))
            })?;
            let start = width.unwrap_or(0);
            let end =
                start.checked_add(columns).filter(|&end| end <= MOST_COLUMNS).ok_or("the model has too many inputs")?;
            width = Some(end);
            let index = format!("{UNITED}:{start}:index");
            graph.initializer.push(indices(&index, start..end));
            let to = if kind.data == DataType::Float { input.name.clone() } else { format!("{UNITED}:{start}") };
            added.push(node("Gather", vec![from, index], &to, "axis", 1));
            from = to;
        }
        if kind.data != DataType::Float {
            added.push(node("Cast", vec![from], &input.name, "to", i64::from(kind.data as i32)));
        }
    }
    let columns = if alone { kinds.first().and_then(|kind| kind.columns) } else { width };
    graph.input = constant;
    graph.input.push(float_input(columns));
    added.append(&mut graph.node);
    graph.node = added;
    Ok(())
}

/// What a graph input takes.
struct Kind {
    data: DataType,
    columns: Option<usize>,
}

impl Kind {
    fn of(input: &ValueInfoProto) -> Result<Self, String> {
        let name = brief(&input.name);
        let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        else {
            return Err(format!("the input \"{name}\" has no tensor type; export the model again"));
        };
        let data = DataType::try_from(tensor.elem_type).unwrap_or(DataType::Undefined);
        match data {
            DataType::Float | DataType::Double | DataType::Int64 | DataType::Int32 => {}
            DataType::String => {
                return Err(format!(
                    "the input \"{name}\" takes text, and features are numbers; export the model with its categories as numbers"
                ));
            }
            _ => {
                return Err(format!(
                    "the input \"{name}\" takes no plain numbers; export the model with a float32 input"
                ));
            }
        }
        let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
        let columns = match dims.get(1).and_then(|dim| dim.value.as_ref()) {
            Some(dimension::Value::DimValue(columns)) if dims.len() == 2 => usize::try_from(*columns).ok(),
            _ => None,
        };
        if data != DataType::Float && !dims.is_empty() && dims.len() != 2 {
            return Err("the model's input is not float32; export it with a float32 input".to_owned());
        }
        Ok(Self { data, columns })
    }
}

fn float_input(columns: Option<usize>) -> ValueInfoProto {
    let columns = columns.and_then(|columns| i64::try_from(columns).ok()).map(dimension::Value::DimValue);
    let dims = [None, columns].map(|value| Dimension { value, ..Default::default() });
    let tensor =
        type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim: dims.to_vec() }) };
    ValueInfoProto {
        name: UNITED.to_owned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn indices(name: &str, range: std::ops::Range<usize>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: DataType::Int64 as i32,
        dims: vec![range.len() as i64],
        int64_data: range.map(|index| index as i64).collect(),
        ..Default::default()
    }
}

fn node(operator: &str, input: Vec<String>, output: &str, attribute: &str, value: i64) -> NodeProto {
    // 2 is the code of whole numbers among the types of attributes.
    let attribute = AttributeProto { name: attribute.to_owned(), i: value, r#type: 2, ..Default::default() };
    NodeProto {
        op_type: operator.to_owned(),
        input,
        output: vec![output.to_owned()],
        attribute: vec![attribute],
        ..Default::default()
    }
}

/// The number of columns that an input declares; an error when it says another number than the features there are.
pub(crate) fn check_width(input: &ValueInfoProto, width: usize) -> Result<(), String> {
    match Kind::of(input)?.columns {
        Some(columns) if columns != width => {
            Err(format!("the model takes rows of {columns} values, and manifest.toml names {width} features"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, kind: DataType, columns: Option<i64>) -> ValueInfoProto {
        let columns = columns.map(dimension::Value::DimValue);
        let dims = [None, columns].map(|value| Dimension { value, ..Default::default() });
        let tensor =
            type_proto::Tensor { elem_type: kind as i32, shape: Some(TensorShapeProto { dim: dims.to_vec() }) };
        ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
            ..Default::default()
        }
    }

    fn operator(kind: &str, input: &[&str], output: &[&str]) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto { op_type: kind.to_owned(), input: owned(input), output: owned(output), ..Default::default() }
    }

    fn model(inputs: Vec<ValueInfoProto>, node: Vec<NodeProto>, outputs: &[&str]) -> ModelProto {
        let output = outputs.iter().map(|name| input(name, DataType::Float, None)).collect();
        ModelProto {
            graph: Some(GraphProto { input: inputs, node, output, ..Default::default() }),
            ..Default::default()
        }
    }

    fn operators(model: &ModelProto) -> Vec<&str> {
        model.graph.iter().flat_map(|graph| &graph.node).map(|node| node.op_type.as_str()).collect()
    }

    #[test]
    fn only_what_computes_the_output_is_left_and_maps_are_opened() {
        let nodes = vec![
            operator("LinearClassifier", &["x"], &["label", "scores"]),
            operator("Mystery", &["label"], &["output_label"]),
            operator("ZipMap", &["scores"], &["probabilities"]),
        ];
        let inputs = vec![input("x", DataType::Float, Some(3))];
        let found = model(inputs, nodes, &["output_label", "probabilities"]);
        let plain = simplify(found.clone(), "probabilities").expect("a sound graph");
        assert_eq!(operators(&plain), ["LinearClassifier", "Identity"]);
        let error = simplify(found, "output_label").expect_err("labels");
        assert!(error.contains("holds labels") && error.contains("\"scores\""), "{error}");
    }

    #[test]
    fn several_inputs_become_one() {
        let inputs = vec![input("a", DataType::Float, Some(1)), input("b", DataType::Int64, Some(2))];
        let found = model(inputs, vec![operator("Sum", &["a", "b"], &["y"])], &["y"]);
        let plain = simplify(found, "y").expect("a sound graph");
        assert_eq!(operators(&plain), ["Gather", "Gather", "Cast", "Sum"]);
        let graph = plain.graph.expect("a graph");
        assert!(
            matches!(graph.input.as_slice(), [input] if check_width(input, 3).is_ok() && check_width(input, 2).is_err())
        );
    }

    #[test]
    fn inputs_that_are_no_columns_of_numbers_are_refused() {
        let cases = [
            ("takes text", vec![input("a", DataType::String, Some(1))]),
            ("no plain numbers", vec![input("a", DataType::Bool, Some(1))]),
            ("how many columns", vec![input("a", DataType::Float, None), input("b", DataType::Float, Some(1))]),
            ("too many inputs", vec![input("a", DataType::Float, Some(99_999)), input("b", DataType::Float, Some(9))]),
            ("how many columns", vec![input("a", DataType::Float, Some(-1)), input("b", DataType::Float, Some(9))]),
        ];
        for (sentence, inputs) in cases {
            let error =
                simplify(model(inputs, vec![operator("Identity", &["a"], &["y"])], &["y"]), "y").expect_err(sentence);
            assert!(error.contains(sentence), "{error}");
        }
    }
}
