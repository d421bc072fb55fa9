//! A model's graph made plain, and ways to look around in it.
//!
//! Exporters write the same model in many dresses: class probabilities behind a `ZipMap`, one input per column of a data
//! frame, whole-number inputs. [`simplify`] takes those off, so that everything after it sees one float32 input of all
//! features and nothing but what computes the one output that is asked for.

pub(crate) mod attributes;
pub(crate) mod tensor;

use std::collections::{BTreeSet, HashMap};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

use self::attributes::{Attributes, brief};

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

/// More columns than this is taken for a mistake.
pub(crate) const MOST_COLUMNS: usize = 100_000;

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

/// Who computes what in a graph.
pub(crate) struct Wiring<'a> {
    graph: &'a GraphProto,
    producers: HashMap<&'a str, &'a NodeProto>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Wiring<'a> {
    pub(crate) fn new(graph: &'a GraphProto) -> Self {
        let mut producers = HashMap::new();
        for node in &graph.node {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                producers.entry(output.as_str()).or_insert(node);
            }
        }
        let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Self { graph, producers, constants }
    }

    /// The operator whose output a tensor is.
    pub(crate) fn producer(&self, tensor: &str) -> Option<&'a NodeProto> {
        self.producers.get(tensor).copied()
    }

    /// The graph input of a name.
    pub(crate) fn input(&self, tensor: &str) -> Option<&'a ValueInfoProto> {
        self.graph.input.iter().find(|input| input.name == tensor && !self.constants.contains_key(tensor))
    }

    /// A tensor that is the same for every row, if it is one and holds numbers.
    pub(crate) fn constant(&self, tensor: &str) -> Option<Constant> {
        let found = match self.constants.get(tensor) {
            Some(found) => *found,
            None => {
                let node = self.producer(tensor).filter(|node| node.op_type == "Constant")?;
                Attributes(node).get("value")?.t.as_ref()?
            }
        };
        let numbers = tensor::numbers(found, tensor).ok()?;
        Some(Constant { numbers, dims: found.dims.clone(), double: found.data_type == DataType::Double as i32 })
    }
}

/// What computes a tensor, seen through operators that only hand on.
pub(crate) struct Source<'a> {
    pub(crate) node: &'a NodeProto,
    /// The columns that are handed on; all of them where none is given.
    pub(crate) picked: Option<Vec<usize>>,
    /// Whether rows are divided by their sum.
    pub(crate) normalised: bool,
    /// Whether signs are turned.
    pub(crate) negated: bool,
}

impl<'a> Wiring<'a> {
    /// What computes a tensor.
    pub(crate) fn source(&self, tensor: &str) -> Option<Source<'a>> {
        const LONGEST_CHAIN: usize = 16;
        let mut source = Source { node: self.producer(tensor)?, picked: None, normalised: false, negated: false };
        for _ in 0..LONGEST_CHAIN {
            let attributes = Attributes(source.node);
            match source.node.op_type.as_str() {
                "Identity" => {}
                "Cast" if attributes.int("to").is_some_and(|to| [1, 11].contains(&to)) => {}
                "Normalizer" if attributes.string("norm") == Some("L1") && source.picked.is_none() => {
                    source.normalised = true
                }
                "Mul" => match self.constant(source.node.input.get(1)?)?.numbers.as_slice() {
                    [1.0] => {}
                    [-1.0] => source.negated = !source.negated,
                    _ => return Some(source),
                },
                "ArrayFeatureExtractor" if source.picked.is_none() => {
                    let indices = self.constant(source.node.input.get(1)?)?.numbers;
                    source.picked = Some(indices.iter().map(|&index| index as usize).collect());
                }
                _ => return Some(source),
            }
            source.node = self.producer(source.node.input.first()?)?;
        }
        None
    }
}

/// Numbers that are the same for every row.
pub(crate) struct Constant {
    pub(crate) numbers: Vec<f64>,
    pub(crate) dims: Vec<i64>,
    pub(crate) double: bool,
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
