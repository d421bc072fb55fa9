//! Damaged and hostile models and bundles: an error each time, soon, and never a panic.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use explaind_core::model::{BundleError, Files, Model, bundle};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};

const FOREST: &[u8] = include_bytes!("../../../tests/models/ai4i-gbt/model.onnx");
const NETWORK: &[u8] = include_bytes!("../../../tests/models/ai4i-mlp/model.onnx");
const BACKGROUND: &[u8] = include_bytes!("../../../tests/models/ai4i-gbt/background.csv");
const FEATURES: [&str; 6] =
    ["type", "air_temperature_k", "process_temperature_k", "rotational_speed_rpm", "torque_nm", "tool_wear_min"];

/// A bundle with whatever model, and digests that vouch for it.
fn bundle_of(onnx: &[u8], tensor: &str) -> Files {
    let mut manifest = "schema = 1\nname = \"m\"\nversion = \"1\"\n".to_owned();
    for name in FEATURES {
        writeln!(manifest, "[[feature]]\nname = \"{name}\"").expect("strings take text");
    }
    write!(manifest, "[output]\nkind = \"classification\"\ntensor = \"{tensor}\"\n").expect("strings take text");
    seal(Files::from([
        ("model.onnx".to_owned(), onnx.to_vec()),
        ("manifest.toml".to_owned(), manifest.into_bytes()),
        ("background.csv".to_owned(), BACKGROUND.to_vec()),
    ]))
}

fn seal(mut files: Files) -> Files {
    files.remove("SHA256SUMS");
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

/// A file with a model of a kind of its own, and the tensor that is asked for.
fn originals() -> [(&'static [u8], &'static str); 2] {
    [(FOREST, "probabilities"), (NETWORK, "probability")]
}

/// Loads, and runs a row where loading went well. What comes out does not matter; that it comes out does.
fn survives(onnx: &[u8], tensor: &str) -> Result<(), BundleError> {
    let model = Model::load(&bundle_of(onnx, tensor))?;
    let row: Vec<f32> = model.background().iter().next().expect("a row").to_vec();
    let _answer = model.predict(&row);
    let _explained = model.explained(&model.background().rows);
    Ok(())
}

#[test]
fn the_originals_are_sound() {
    for (onnx, tensor) in originals() {
        survives(onnx, tensor).expect("a sound model");
    }
}

#[test]
fn truncated_files_are_refused() {
    for (onnx, tensor) in originals() {
        for cut in (0..onnx.len()).step_by(onnx.len() / 97) {
            let error = survives(&onnx[..cut], tensor).expect_err("a truncated model");
            assert!(error.to_string().contains("model.onnx") || error.to_string().contains("output.tensor"), "{error}");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let mut state = 0x243f_6a88_85a3_08d3_u64;
    let mut random = move || {
        // A linear congruential generator: the same bytes in every run. Source: Knuth's MMIX.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for (onnx, tensor) in originals() {
        for _ in 0..150 {
            let mut damaged = onnx.to_vec();
            for _ in 0..=random() % 4 {
                let place = random() % damaged.len();
                damaged[place] ^= (1 + random() % 255) as u8;
            }
            let _either = survives(&damaged, tensor);
        }
    }
}

/// The forest's file with one of its operator's attributes changed.
fn forest_with(change: impl FnOnce(&mut tract_onnx::pb::NodeProto)) -> Vec<u8> {
    let mut model = ModelProto::decode(FOREST).expect("the reference model");
    change(&mut model.graph.as_mut().expect("a graph").node[0]);
    model.encode_to_vec()
}

fn set_int(node: &mut tract_onnx::pb::NodeProto, name: &str, index: usize, value: i64) {
    node.attribute.iter_mut().find(|attribute| attribute.name == name).expect(name).ints[index] = value;
}

#[test]
fn hostile_trees_in_a_file_are_refused_by_name() {
    let cases: [(&str, Vec<u8>); 4] = [
        ("reached twice", forest_with(|node| set_int(node, "nodes_truenodeids", 0, 0))),
        ("which is not there", forest_with(|node| set_int(node, "nodes_falsenodeids", 0, i64::MAX))),
        ("splits on feature 6", forest_with(|node| set_int(node, "nodes_featureids", 0, 6))),
        (
            "two classes and base values",
            forest_with(|node| {
                let base =
                    node.attribute.iter_mut().find(|attribute| attribute.name == "base_values").expect("base values");
                base.floats = vec![0.1, 0.2];
            }),
        ),
    ];
    for (sentence, onnx) in cases {
        let error = survives(&onnx, "probabilities").expect_err(sentence).to_string();
        assert!(error.starts_with("model.onnx: ") && error.contains(sentence), "{error}");
    }
}

fn tensor(kind: DataType, dims: &[i64], values: &[f64]) -> TensorProto {
    let mut tensor = TensorProto { data_type: kind as i32, dims: dims.to_vec(), ..Default::default() };
    match kind {
        DataType::Float => tensor.float_data = values.iter().map(|&value| value as f32).collect(),
        DataType::Int64 => tensor.int64_data = values.iter().map(|&value| value as i64).collect(),
        _ => tensor.int32_data = values.iter().map(|&value| value as i32).collect(),
    }
    tensor
}

fn numbers(name: &str, kind: DataType, values: &[f64]) -> AttributeProto {
    let found = tensor(kind, &[values.len() as i64], values);
    AttributeProto { name: name.to_owned(), r#type: 4, t: Some(found), ..Default::default() }
}

fn wholes(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 7, ints: values.to_vec(), ..Default::default() }
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 6, floats: values.to_vec(), ..Default::default() }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 3, s: text.as_bytes().to_vec(), ..Default::default() }
}

/// A file of one operator from the input to the output "scores", with what it needs beside the input.
fn file_of(operator: &str, attribute: Vec<AttributeProto>, constants: Vec<TensorProto>) -> Vec<u8> {
    let input = ["x".to_owned()].into_iter().chain(constants.iter().map(|constant| constant.name.clone())).collect();
    let mut output = vec!["scores".to_owned()];
    if operator.ends_with("Classifier") {
        output.insert(0, "label".to_owned());
    }
    file_of_nodes(
        vec![NodeProto { op_type: operator.to_owned(), input, output, attribute, ..Default::default() }],
        constants,
    )
}

/// A file of operators from the input "x" to the output "scores".
fn file_of_nodes(node: Vec<NodeProto>, constants: Vec<TensorProto>) -> Vec<u8> {
    let kind = Tensor { elem_type: DataType::Float as i32, shape: None };
    let kind = TypeProto { value: Some(Value::TensorType(kind)), ..Default::default() };
    let value = |name: &str| ValueInfoProto { name: name.to_owned(), r#type: Some(kind.clone()), ..Default::default() };
    let graph = GraphProto {
        node,
        input: vec![value("x")],
        output: vec![value("scores")],
        initializer: constants,
        ..Default::default()
    };
    ModelProto { ir_version: 8, graph: Some(graph), ..Default::default() }.encode_to_vec()
}

fn said(onnx: &[u8]) -> String {
    survives(onnx, "scores").expect_err("a refusal").to_string()
}

/// An opset-5 ensemble: `x ≤ 1` gives 10, else `x ≤ 2` gives 20, else 30; with one attribute in another form.
fn new_trees(changed: Option<AttributeProto>) -> Vec<u8> {
    let mut attributes = new_tree_attributes();
    if let Some(changed) = changed {
        attributes.retain(|attribute| attribute.name != changed.name);
        attributes.push(changed);
    }
    file_of("TreeEnsemble", attributes, Vec::new())
}

fn new_tree_attributes() -> Vec<AttributeProto> {
    vec![
        wholes("tree_roots", &[0]),
        wholes("nodes_featureids", &[0, 0]),
        numbers("nodes_modes", DataType::Uint8, &[0.0, 0.0]),
        numbers("nodes_splits", DataType::Float, &[1.0, 2.0]),
        wholes("nodes_truenodeids", &[0, 1]),
        wholes("nodes_trueleafs", &[1, 1]),
        wholes("nodes_falsenodeids", &[1, 2]),
        wholes("nodes_falseleafs", &[0, 1]),
        wholes("leaf_targetids", &[0, 0, 0]),
        numbers("leaf_weights", DataType::Float, &[10.0, 20.0, 30.0]),
    ]
}

#[test]
fn hostile_trees_of_opset_5_are_refused_in_one_sentence() {
    survives(&new_trees(None), "scores").expect("a sound ensemble");
    let mut huge = numbers("nodes_splits", DataType::Float, &[1.0, 2.0]);
    huge.t.as_mut().expect("a tensor").dims = vec![i64::MAX, i64::MAX];
    let cases = [
        ("reached twice", wholes("nodes_falsenodeids", &[0, 2])),
        ("nothing leads to node 1", wholes("nodes_falseleafs", &[1, 1])),
        ("node 9, which is not there", wholes("nodes_falsenodeids", &[9, 2])),
        ("leaf 9, which is not there", wholes("nodes_truenodeids", &[0, 9])),
        ("leads to -1", wholes("nodes_truenodeids", &[-1, 1])),
        ("node 7, which is not there", wholes("tree_roots", &[7])),
        ("reached twice", wholes("tree_roots", &[0, 0])),
        ("no tree_roots", wholes("tree_roots", &[])),
        ("differ in length", wholes("nodes_trueleafs", &[1])),
        ("differ in length", wholes("nodes_missing_value_tracks_true", &[1])),
        ("differ in length", wholes("leaf_targetids", &[0])),
        ("not among the 1", wholes("leaf_targetids", &[0, 1, 0])),
        ("the mode 9", numbers("nodes_modes", DataType::Uint8, &[9.0, 0.0])),
        ("no set in membership_values", numbers("nodes_modes", DataType::Uint8, &[6.0, 0.0])),
        ("threshold NaN", numbers("nodes_splits", DataType::Float, &[f64::NAN, 0.0])),
        ("not a finite number", numbers("leaf_weights", DataType::Float, &[f64::NAN, 0.0, 0.0])),
        ("splits on feature 6", wholes("nodes_featureids", &[0, 6])),
        ("splits on feature -1", wholes("nodes_featureids", &[0, -1])),
        ("another size in its shape", huge),
    ];
    for (sentence, attribute) in cases {
        let error = said(&new_trees(Some(attribute)));
        assert!(error.starts_with("model.onnx: ") && error.contains(sentence), "{error}\nshould have: {sentence}");
    }
}

#[test]
fn operators_with_lists_of_wrong_lengths_are_refused_in_one_sentence() {
    let count =
        |name: &str, value: i64| AttributeProto { name: name.to_owned(), r#type: 2, i: value, ..Default::default() };
    let six = [1.0_f32; 6];
    let cases: Vec<(&str, &str, Vec<AttributeProto>)> = vec![
        ("offset and scale", "Scaler", vec![floats("offset", &six), floats("scale", &[1.0])]),
        ("5 values for 6 columns", "Scaler", vec![floats("offset", &six[..5]), floats("scale", &six[..5])]),
        ("one list of values", "Imputer", vec![]),
        ("2 values for 6 columns", "Imputer", vec![floats("imputed_value_floats", &six[..2])]),
        ("the norm L7", "Normalizer", vec![text("norm", "L7")]),
        ("differ in number", "LabelEncoder", vec![floats("keys_floats", &six), floats("values_floats", &six[..2])]),
        ("keys that are no numbers", "LabelEncoder", vec![]),
        ("no whole numbers", "OneHotEncoder", vec![]),
        ("a category twice", "OneHotEncoder", vec![wholes("cats_int64s", &[1, 1])]),
        ("7 coefficients", "LinearRegressor", vec![floats("coefficients", &[1.0; 7]), count("targets", 2)]),
        ("takes 5 columns", "LinearRegressor", vec![floats("coefficients", &six[..5])]),
        ("0 scores", "LinearRegressor", vec![floats("coefficients", &six), count("targets", i64::MIN)]),
        ("not a finite number", "LinearRegressor", vec![floats("coefficients", &[f32::NAN; 6])]),
        ("0 scores", "LinearClassifier", vec![floats("coefficients", &six)]),
        ("or no rho", "SVMRegressor", vec![floats("coefficients", &six)]),
        ("support vectors", "SVMRegressor", vec![count("n_supports", i64::MAX), floats("coefficients", &six)]),
        ("0 classes", "SVMClassifier", vec![]),
        (
            "do not fit 2 classes",
            "SVMClassifier",
            vec![
                wholes("classlabels_ints", &[0, 1]),
                wholes("vectors_per_class", &[1, 1]),
                floats("support_vectors", &[1.0; 12]),
                floats("coefficients", &six),
            ],
        ),
        (
            "how many support vectors",
            "SVMClassifier",
            vec![wholes("classlabels_ints", &[0, 1]), wholes("vectors_per_class", &[1, -1])],
        ),
    ];
    for (sentence, operator, attributes) in cases {
        let error = said(&file_of(operator, attributes, Vec::new()));
        assert!(error.starts_with("model.onnx: ") && error.contains(sentence), "{error}\nshould have: {sentence}");
    }
}

#[test]
fn huge_shapes_of_stored_tensors_are_refused_before_room_is_made() {
    for dims in [vec![1 << 40, 1 << 40], vec![1 << 33], vec![-1, 6], vec![6, 2]] {
        let mut weights = tensor(DataType::Float, &dims, &[1.0; 6]);
        weights.name = "w".to_owned();
        let error = said(&file_of("MatMul", Vec::new(), vec![weights]));
        assert!(error.contains("another size in its shape"), "{error}");
    }
    let mut outside = tensor(DataType::Float, &[6, 1], &[]);
    (outside.name, outside.data_location) = ("w".to_owned(), Some(1));
    let error = said(&file_of("MatMul", Vec::new(), vec![outside]));
    assert!(error.contains("kept in another file"), "{error}");
}

/// A balanced tree of `2^depth` leaves.
fn balanced(depth: u32) -> Vec<u8> {
    let splits = (1_i64 << depth) - 1;
    let leaf_level = |node: i64| 2 * node + 1 >= splits;
    let child = |by: i64| -> Vec<i64> {
        (0..splits).map(|node| if leaf_level(node) { 2 * node + by - splits } else { 2 * node + by }).collect()
    };
    let leafs: Vec<i64> = (0..splits).map(|node| i64::from(leaf_level(node))).collect();
    let leaves = vec![1.0; 1 << depth];
    let attributes = vec![
        wholes("tree_roots", &[0]),
        wholes("nodes_featureids", &(0..splits).map(|node| node % 6).collect::<Vec<i64>>()),
        numbers("nodes_modes", DataType::Uint8, &vec![0.0; splits as usize]),
        numbers("nodes_splits", DataType::Float, &vec![0.5; splits as usize]),
        wholes("nodes_truenodeids", &child(1)),
        wholes("nodes_trueleafs", &leafs),
        wholes("nodes_falsenodeids", &child(2)),
        wholes("nodes_falseleafs", &leafs),
        wholes("leaf_targetids", &vec![0; 1 << depth]),
        numbers("leaf_weights", DataType::Float, &leaves),
    ];
    file_of("TreeEnsemble", attributes, Vec::new())
}

#[test]
fn a_million_leaves_load_and_run() {
    survives(&balanced(20), "scores").expect("a large tree is no wrong one");
}

/// A chain of splits, each on whether a value is in a set of sixteen: as splits on the feature it doubles sixteenfold at each.
fn sets(depth: usize) -> Vec<u8> {
    let place = |index: usize| index as i64;
    let members: Vec<f64> = (0..depth).flat_map(|_| (0..16).map(f64::from).chain([f64::NAN])).collect();
    let attributes = vec![
        wholes("tree_roots", &[0]),
        wholes("nodes_featureids", &vec![0; depth]),
        numbers("nodes_modes", DataType::Uint8, &vec![6.0; depth]),
        numbers("nodes_splits", DataType::Float, &vec![0.0; depth]),
        wholes(
            "nodes_truenodeids",
            &(0..depth).map(|node| place(if node + 1 < depth { node + 1 } else { 0 })).collect::<Vec<_>>(),
        ),
        wholes("nodes_trueleafs", &(0..depth).map(|node| i64::from(node + 1 == depth)).collect::<Vec<_>>()),
        wholes("nodes_falsenodeids", &vec![1; depth]),
        wholes("nodes_falseleafs", &vec![1; depth]),
        wholes("leaf_targetids", &[0, 0]),
        numbers("leaf_weights", DataType::Float, &[1.0, 2.0]),
        numbers("membership_values", DataType::Float, &members),
    ];
    file_of("TreeEnsemble", attributes, Vec::new())
}

#[test]
fn sets_that_multiply_are_bounded() {
    survives(&sets(3), "scores").expect("a few sets");
    let error = said(&sets(12));
    assert!(error.contains("too large"), "{error}");
}

/// `levels` of columns that are made very many and then few again, each twice as often read as the one behind it; and trees,
/// or a linear model, on top.
fn fans(levels: usize, last: &str, attribute: Vec<AttributeProto>) -> Vec<u8> {
    let node = |operator: &str, input: &[&str], output: String| {
        let input = input.iter().map(|&name| name.to_owned()).collect();
        NodeProto { op_type: operator.to_owned(), input, output: vec![output], ..Default::default() }
    };
    let whole = |name: &str, value: i64| {
        vec![AttributeProto { name: name.to_owned(), r#type: 2, i: value, ..Default::default() }]
    };
    let mut nodes = Vec::new();
    let mut before = "x".to_owned();
    for level in 0..levels {
        let named = |what: &str| format!("{what}{level}");
        nodes.push(node("ArrayFeatureExtractor", &[&before, "many"], named("many")));
        nodes.push(node("ArrayFeatureExtractor", &[&named("many"), "few"], named("few")));
        let attribute = whole("axis", 1);
        nodes.push(NodeProto { attribute, ..node("Concat", &[&named("few"), &named("few")], named("both")) });
        before = named("both");
    }
    nodes.push(node("ArrayFeatureExtractor", &[&before, "few"], "front".to_owned()));
    nodes.push(NodeProto { attribute, ..node(last, &["front"], "scores".to_owned()) });
    let mut constants = Vec::new();
    for (name, indices) in
        [("few", vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), ("many", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0].repeat(15_000))]
    {
        let mut tensor = tensor(DataType::Int64, &[indices.len() as i64], &indices);
        name.clone_into(&mut tensor.name);
        constants.push(tensor);
    }
    file_of_nodes(nodes, constants)
}

/// Twelve levels ask for 4,096 times 90,000 columns. What is counted is work, not time, so the refusal is the same anywhere.
#[test]
fn columns_that_multiply_are_bounded() {
    let sum = vec![floats("coefficients", &[1.0; 6]), floats("intercepts", &[0.5])];
    for (operator, attributes) in [("TreeEnsemble", new_tree_attributes()), ("LinearRegressor", sum)] {
        survives(&fans(1, operator, attributes.clone()), "scores").expect("a few columns more");
        let error = said(&fans(12, operator, attributes));
        assert!(error.starts_with("model.onnx: ") && error.contains("more often, than can be followed"), "{error}");
    }
}

#[test]
fn a_model_that_does_not_fit_its_manifest_is_refused_with_the_key() {
    let error = survives(NETWORK, "probabilities").expect_err("another tensor").to_string();
    assert!(error.contains("key output.tensor") && error.contains("probability"), "{error}");
    let error = survives(FOREST, "label").expect_err("labels").to_string();
    assert!(error.contains("labels"), "{error}");
    let mut files = bundle_of(NETWORK, "probability");
    let manifest = String::from_utf8(files["manifest.toml"].clone()).expect("text");
    let narrower = manifest.replace("[[feature]]\nname = \"type\"\n", "");
    files.insert("manifest.toml".to_owned(), narrower.into_bytes());
    let error = Model::load(&seal(files)).expect_err("five features").to_string();
    assert_eq!(error, "model.onnx: the model takes rows of 6 values, and manifest.toml names 5 features");
}

#[test]
fn bundles_that_were_touched_are_refused_by_file() {
    let sound = bundle_of(FOREST, "probabilities");
    Model::load(&sound).expect("a sound bundle");
    let missing = |name: &str| {
        let mut files = sound.clone();
        files.remove(name);
        Model::load(&files).expect_err(name).to_string()
    };
    for name in ["SHA256SUMS", "model.onnx", "manifest.toml", "background.csv"] {
        assert!(missing(name).starts_with(name), "{}", missing(name));
    }
    assert!(missing("background.csv").contains("reference rows"));
    let mut files = sound.clone();
    files.insert("extra.txt".to_owned(), b"hello".to_vec());
    assert!(matches!(Model::load(&files), Err(BundleError::Unlisted { file }) if file == "extra.txt"));
    files = sound.clone();
    files.entry("model.onnx".to_owned()).or_default()[1000] ^= 1;
    assert!(matches!(Model::load(&files), Err(BundleError::Digest { file, .. }) if file == "model.onnx"));
    files = sound.clone();
    files.insert("SHA256SUMS.minisig".to_owned(), b"signature".to_vec());
    Model::load(&files).expect("a signature is not listed");
    files.insert("SHA256SUMS.minisig".to_owned(), vec![0; 100_000]);
    assert!(matches!(Model::load(&files), Err(BundleError::TooLarge { .. })));
    files = sound;
    let sums = format!("{}\nnot a line\n", String::from_utf8(files["SHA256SUMS"].clone()).expect("text").trim());
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    let error = Model::load(&files).expect_err("a broken line").to_string();
    assert!(error.starts_with("SHA256SUMS, line 4: "), "{error}");
}
