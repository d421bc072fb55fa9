//! Files of a few operators, written as lines of text.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto,
};

/// An attribute: `to=7`, `pads=[1,2]` or `mode=nearest`.
pub(crate) fn attribute(text: &str) -> AttributeProto {
    let (name, value) = text.split_once('=').expect("a name and a value");
    let name = name.to_owned();
    if let Some(list) = value.strip_prefix('[') {
        let ints = list.trim_end_matches(']').split(',').map(|value| value.parse().expect("a number")).collect();
        return AttributeProto { name, r#type: 7, ints, ..Default::default() };
    }
    match value.parse() {
        Ok(i) => AttributeProto { name, r#type: 2, i, ..Default::default() },
        Err(_) => AttributeProto { name, r#type: 3, s: value.as_bytes().to_vec(), ..Default::default() },
    }
}

/// `Operator inputs > outputs | attributes`, by blanks; `_` is an input that is left out.
pub(crate) fn node(line: &str) -> NodeProto {
    let (line, attributes) = line.split_once('|').unwrap_or((line, ""));
    let (inputs, outputs) = line.split_once('>').expect("inputs and outputs");
    let names = |names: &str| -> Vec<String> {
        names.split_whitespace().map(|name| if name == "_" { String::new() } else { name.to_owned() }).collect()
    };
    let mut input = names(inputs);
    let op_type = input.remove(0);
    let output = names(outputs);
    let name = format!("{op_type} of {}", output[output.len() - 1]);
    let attribute = attributes.split_whitespace().map(attribute).collect();
    NodeProto { op_type, name, input, output, attribute, ..Default::default() }
}

pub(crate) fn nodes(lines: &str) -> Vec<NodeProto> {
    lines.split(';').map(str::trim).filter(|line| !line.is_empty()).map(node).collect()
}

/// Whole numbers `a=1,2`, floats `a~1,2`, one of either `a=:1` and `a~:1`, and a tensor of ones `a#2x3`, by blanks.
pub(crate) fn constants(text: &str) -> Vec<TensorProto> {
    text.split_whitespace().map(constant).collect()
}

pub(crate) fn constant(text: &str) -> TensorProto {
    let at = text.find(['=', '~', '#']).expect("a kind");
    let (name, kind, value) = (text[..at].to_owned(), &text[at..=at], &text[at + 1..]);
    let mut tensor = TensorProto { name, data_type: DataType::Float as i32, ..Default::default() };
    if kind == "#" {
        tensor.dims = value.split('x').map(|size| size.parse().expect("a size")).collect();
        tensor.float_data = vec![1.0; tensor.dims.iter().product::<i64>() as usize];
        return tensor;
    }
    let values: Vec<&str> = value.trim_start_matches(':').split(',').collect();
    if !value.starts_with(':') {
        tensor.dims = vec![values.len() as i64];
    }
    if kind == "=" {
        tensor.data_type = DataType::Int64 as i32;
        tensor.int64_data = values.iter().map(|value| value.parse().expect("a whole number")).collect();
    } else {
        tensor.float_data = values.iter().map(|value| value.parse().expect("a number")).collect();
    }
    tensor
}

pub(crate) fn value(name: &str) -> ValueInfoProto {
    let kind = Tensor { elem_type: DataType::Float as i32, shape: None };
    let r#type = Some(TypeProto { value: Some(Value::TensorType(kind)), ..Default::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..Default::default() }
}

pub(crate) fn graph(inputs: &[&str], node: Vec<NodeProto>, output: &str, initializer: Vec<TensorProto>) -> GraphProto {
    let (input, output) = (inputs.iter().map(|name| value(name)).collect(), vec![value(output)]);
    GraphProto { node, input, output, initializer, ..Default::default() }
}

pub(crate) fn file(opset: i64, graph: GraphProto) -> Vec<u8> {
    let opset_import = vec![OperatorSetIdProto { version: opset, ..Default::default() }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..Default::default() }.encode_to_vec()
}

/// A file whose last tensor, "big", is added up and to the input: so its output is small.
pub(crate) fn summed(opset: i64, lines: &str, stored: &str) -> Vec<u8> {
    let lines = format!("{lines}; ReduceSum big > total | keepdims=0; Cast total > number | to=1; Add x number > y");
    file(opset, graph(&["x"], nodes(&lines), "y", constants(stored)))
}

pub(crate) const VALUES: &str = "and a network may hold 67108864 of float32's size at a time for one input";
pub(crate) const WORK: &str = "multiplications, and all of a network may take 68719476736 for one input";

/// What each file is; a part of its refusal, where it must be refused; and the file.
pub(crate) type Case = (&'static str, Option<&'static str>, Vec<u8>);
