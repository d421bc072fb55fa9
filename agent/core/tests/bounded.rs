//! A model of a million leaves, no two alike, is loaded and explained in bounded memory and time: in a process of its own that
//! may take no more address space than is stated, and is stopped when it takes too long.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test has files and a clock, and fails by panicking"
)]
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use explaind_core::domain::explanation::Method;
use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::{Files, Model, bundle};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};

/// Full trees of so many levels: 16 times 65,536 leaves.
const TREES: u32 = 16;
const LEVELS: u32 = 16;
const WIDTH: u32 = 8;
const BACKGROUND_ROWS: u32 = 100;
/// What README.md states for such a model while it is loaded: address space, which is never less than memory.
const MOST_KIBIBYTES: u64 = 1 << 20;
/// And once it is ready, per leaf.
const MOST_BYTES_PER_LEAF: u64 = 400;
/// Generous: an unhurried machine takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(180);

fn attribute(name: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), ..Default::default() }
}

fn wholes(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { r#type: 7, ints, ..attribute(name) }
}

fn numbers(name: &str, floats: Vec<f32>) -> AttributeProto {
    AttributeProto { r#type: 6, floats, ..attribute(name) }
}

fn forest() -> Vec<u8> {
    forest_of(TREES, LEVELS)
}

/// Node `n` of a tree leads to `2n + 1` and `2n + 2`.
fn forest_of(trees: u32, levels: u32) -> Vec<u8> {
    let (splits, nodes) = ((1_u32 << levels) - 1, (1_u32 << (levels + 1)) - 1);
    let all = || (0..trees).flat_map(|tree| (0..nodes).map(move |node| (tree, node)));
    let listed = |of: &dyn Fn(u32, u32) -> u32| all().map(|(tree, node)| i64::from(of(tree, node))).collect::<Vec<_>>();
    let ends = || all().filter(|(_, node)| *node >= splits);
    let split = |node: u32, value: u32| if node < splits { value } else { 0 };
    let mixed = |tree: u32, node: u32| (tree * nodes + node).wrapping_mul(2_654_435_761) >> 8;
    let modes = all().map(|(_, node)| if node < splits { b"BRANCH_LEQ".to_vec() } else { b"LEAF".to_vec() });
    let node = NodeProto {
        op_type: "TreeEnsembleRegressor".to_owned(),
        domain: "ai.onnx.ml".to_owned(),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        attribute: vec![
            wholes("nodes_treeids", listed(&|tree, _| tree)),
            wholes("nodes_nodeids", listed(&|_, node| node)),
            wholes("nodes_featureids", listed(&|tree, node| split(node, mixed(tree, node) % WIDTH))),
            numbers("nodes_values", all().map(|(tree, node)| mixed(tree, node) as f32 / (1 << 24) as f32).collect()),
            wholes("nodes_truenodeids", listed(&|_, node| split(node, 2 * node + 1))),
            wholes("nodes_falsenodeids", listed(&|_, node| split(node, 2 * node + 2))),
            AttributeProto { r#type: 8, strings: modes.collect(), ..attribute("nodes_modes") },
            wholes("target_treeids", ends().map(|(tree, _)| i64::from(tree)).collect()),
            wholes("target_nodeids", ends().map(|(_, node)| i64::from(node)).collect()),
            wholes("target_ids", ends().map(|_| 0).collect()),
            numbers("target_weights", (0_u32..).zip(ends()).map(|(leaf, _)| leaf as f32 / 1_024.0).collect()),
        ],
        ..Default::default()
    };
    let kind = TypeProto {
        value: Some(Value::TensorType(Tensor { elem_type: DataType::Float as i32, shape: None })),
        ..Default::default()
    };
    let value = |name: &str| ValueInfoProto { name: name.to_owned(), r#type: Some(kind.clone()), ..Default::default() };
    let graph =
        GraphProto { node: vec![node], input: vec![value("x")], output: vec![value("y")], ..Default::default() };
    ModelProto { ir_version: 8, graph: Some(graph), ..Default::default() }.encode_to_vec()
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("a-million-leaves.onnx")
}

fn bundle_of(onnx: Vec<u8>, background_rows: u32) -> Files {
    let mut manifest = "schema = 1\nname = \"m\"\nversion = \"1\"\n".to_owned();
    let names: Vec<String> = (0..WIDTH).map(|feature| format!("f{feature}")).collect();
    for name in &names {
        writeln!(manifest, "[[feature]]\nname = \"{name}\"").expect("strings take text");
    }
    manifest.push_str("[output]\nkind = \"regression\"\ntensor = \"y\"\n");
    let mut background = names.join(",") + "\n";
    for row in 0..background_rows {
        let cells: Vec<String> =
            (0..WIDTH).map(|f| (((row * 37 + f * 101) % 997) as f32 / 997.0).to_string()).collect();
        background += &(cells.join(",") + "\n");
    }
    let mut files = Files::from([
        (bundle::MODEL.to_owned(), onnx),
        (bundle::MANIFEST.to_owned(), manifest.into_bytes()),
        (bundle::BACKGROUND.to_owned(), background.into_bytes()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert(bundle::SUMS.to_owned(), sums.into_bytes());
    files
}

/// A figure of this process in KiB: `VmHWM` (the most memory it ever had) or `VmRSS` (what it has).
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a figure");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Loads and explains within the limits that its parent set.
#[test]
#[ignore = "run by the test below, in a process with limits"]
fn child() {
    let before = memory("VmRSS");
    let begun = Instant::now();
    let model =
        Model::load(&bundle_of(std::fs::read(file()).expect("the model"), BACKGROUND_ROWS)).expect("a sound model");
    let loaded = begun.elapsed();
    let explainer = Explainer::new(Arc::new(model), Budget { evaluations: 1_000 }).expect("an explainer");
    let ready = begun.elapsed();
    let explanation = explainer.explain(&[0.4; WIDTH as usize], None).expect("an explanation");
    // The output is of the order of the sum of sixteen values up to 1,024.
    assert!(explanation.additivity_gap < 1e-6 * explanation.output.abs(), "{}", explanation.additivity_gap);
    let (held, most) = (memory("VmRSS") - before, memory("VmHWM"));
    let per_leaf = held * 1_024 / u64::from(TREES << LEVELS);
    println!(
        "loaded in {loaded:.1?}, ready after {ready:.1?}, explained by {:.1?}; at most {most} KiB, {held} KiB kept: {per_leaf} bytes a leaf",
        begun.elapsed()
    );
    assert!(per_leaf <= MOST_BYTES_PER_LEAF, "{per_leaf} bytes a leaf");
}

#[test]
fn a_million_leaves_take_bounded_memory_and_time() {
    std::fs::write(file(), forest()).expect("room for the model");
    let own = std::env::current_exe().expect("this test");
    let limited =
        format!("ulimit -v {MOST_KIBIBYTES}; exec \"$0\" --exact child --ignored --nocapture --test-threads=1");
    let mut child = Command::new("sh").arg("-c").arg(limited).arg(own).stdin(Stdio::null()).spawn().expect("a shell");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if begun.elapsed() > LIMIT {
            child.kill().expect("its own child");
            child.wait().expect("its end");
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    std::fs::remove_file(file()).expect("its own file");
    assert!(status.is_some_and(|status| status.success()), "{status:?} after {:?}", begun.elapsed());
}

#[test]
fn trees_too_large_for_their_background_are_sampled() {
    let model = Model::load(&bundle_of(forest(), 10 * BACKGROUND_ROWS)).expect("a sound model");
    let explainer = Explainer::new(Arc::new(model), Budget { evaluations: 1_000 }).expect("an explainer");
    let explanation = explainer.explain(&[0.4; WIDTH as usize], None).expect("an explanation");
    assert_eq!(explanation.method, Method::Sampling);
    assert!(explanation.attributions.iter().any(|attribution| attribution.standard_error > 0.0));
}

#[test]
fn more_nodes_than_are_supported_are_refused_in_one_sentence() {
    let mut model = ModelProto::decode(forest().as_slice()).expect("a model");
    let node = &mut model.graph.as_mut().expect("a graph").node[0];
    for attribute in &mut node.attribute {
        // Twice as many as are allowed, all in one tree more.
        attribute.ints.extend_from_within(..);
        attribute.floats.extend_from_within(..);
        attribute.strings.extend_from_within(..);
        attribute.ints.extend_from_within(..);
        attribute.floats.extend_from_within(..);
        attribute.strings.extend_from_within(..);
    }
    let begun = Instant::now();
    let error = Model::load(&bundle_of(model.encode_to_vec(), BACKGROUND_ROWS)).expect_err("too many").to_string();
    assert!(error.contains("at most 4194304 are supported"), "{error}");
    assert!(begun.elapsed() < LIMIT);
}

#[test]
fn a_million_trees_are_refused_and_many_that_say_nothing_cost_nothing() {
    let begun = Instant::now();
    let error = Model::load(&bundle_of(forest_of(1_000_000, 0), BACKGROUND_ROWS)).expect_err("too many").to_string();
    assert!(error.contains("1000000 trees; at most 131072 are supported"), "{error}");
    let model = Model::load(&bundle_of(forest_of(100_000, 0), BACKGROUND_ROWS)).expect("a sound model");
    let trees = model.trees().expect("a sum of trees");
    let sum: f64 = (0..100_000).map(|leaf| f64::from(leaf as f32 / 1_024.0)).sum();
    assert!(trees.trees.is_empty() && (trees.base - sum).abs() < 1e-3 * sum, "{} and {sum}", trees.base);
    assert!(begun.elapsed() < LIMIT);
}
