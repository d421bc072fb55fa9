//! Finding the ensemble behind an output tensor. What may stand between them changes no number.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, NodeProto, tensor_shape_proto::dimension};

/// Operators between the ensemble and the graph's edges; a longer chain is none that an exporter writes.
const LONGEST_CHAIN: usize = 8;

/// Whether an operator is a tree ensemble, of whichever version.
pub(super) fn is_trees(node: &NodeProto) -> bool {
    node.op_type.starts_with("TreeEnsemble")
}

/// The ensemble whose scores an output tensor shows.
pub(super) fn behind<'a>(graph: &'a GraphProto, tensor: &str) -> Result<&'a NodeProto, String> {
    let mut name = tensor;
    for _ in 0..LONGEST_CHAIN {
        let Some(node) = graph.node.iter().find(|node| node.output.iter().any(|output| output == name)) else {
            break;
        };
        match node.op_type.as_str() {
            "TreeEnsembleClassifier" if node.output.first().is_some_and(|labels| labels == name) => {
                let scores = node.output.get(1).map_or("", String::as_str);
                return Err(format!(
                    "\"{tensor}\" holds labels, which cannot be decided on; name the tensor of the scores in output.tensor, \
                     here the one that shows \"{scores}\""
                ));
            }
            "TreeEnsembleClassifier" | "TreeEnsembleRegressor" => return Ok(node),
            "TreeEnsemble" => {
                return Err(
                    "the operator TreeEnsemble (ai.onnx.ml 5) is not supported in this version; export the model for \
                            ai.onnx.ml 1 to 3, as TreeEnsembleClassifier or TreeEnsembleRegressor"
                        .to_owned(),
                );
            }
            "Identity" => {}
            "Cast" if casts_to_float(node) => {}
            other => return Err(in_the_way(other)),
        }
        name = node.input.first().map_or("", String::as_str);
    }
    Err(format!("no tree ensemble leads to \"{tensor}\"; name the tensor of its scores in output.tensor"))
}

/// The row must reach the ensemble unchanged, and be as wide as the manifest says where the file says anything.
pub(super) fn check_input(graph: &GraphProto, node: &NodeProto, width: usize) -> Result<(), String> {
    let mut name = node.input.first().map_or("", String::as_str);
    for _ in 0..LONGEST_CHAIN {
        if let Some(input) = graph.input.iter().find(|input| input.name == name) {
            let Some(Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
                return Err(format!("the input \"{name}\" has no tensor type; export the model again"));
            };
            let float = [DataType::Float as i32, DataType::Double as i32].contains(&tensor.elem_type);
            if !float {
                return Err(format!(
                    "the input \"{name}\" takes whole numbers or text; export the model with a float input"
                ));
            }
            let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
            if let Some(dimension::Value::DimValue(columns)) = dims.get(1).and_then(|dim| dim.value.as_ref())
                && usize::try_from(*columns) != Ok(width)
            {
                return Err(format!(
                    "the model takes rows of {columns} values, and manifest.toml names {width} features"
                ));
            }
            return Ok(());
        }
        let Some(before) = graph.node.iter().find(|node| node.output.iter().any(|output| output == name)) else {
            break;
        };
        match before.op_type.as_str() {
            "Identity" => {}
            "Cast" if casts_to_float(before) => {}
            other => return Err(in_the_way(other)),
        }
        name = before.input.first().map_or("", String::as_str);
    }
    Err("no graph input leads to the tree ensemble; export the model again".to_owned())
}

fn casts_to_float(node: &NodeProto) -> bool {
    let to = node.attribute.iter().find(|attribute| attribute.name == "to").map(|attribute| attribute.i);
    to.is_some_and(|to| to == DataType::Float as i64 || to == DataType::Double as i64)
}

fn in_the_way(operator: &str) -> String {
    let remedy = match operator {
        "ZipMap" => "export it without (skl2onnx: options={\"zipmap\": False})",
        "Scaler" | "Imputer" | "Normalizer" => {
            "train the trees on unscaled features, which they do not need, and export again"
        }
        _ => "export the trees alone",
    };
    format!("the operator {operator} stands beside a tree ensemble, which is not supported in this version; {remedy}")
}
