//! The names of the classes that a classifier's file carries, for manifests that name none.
//!
//! They are taken only where it is certain that they go with the tensor's columns: from a `ZipMap` over it, from the
//! classifier whose scores it shows, or from a label output that picks a name by the tensor's largest column.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::graph::attributes::Attributes;
use super::graph::{Wiring, tensor};
use super::manifest::is_name;

/// Operators one behind the other.
const LONGEST_CHAIN: usize = 8;
/// Outputs of a file that are looked at: classifiers have two.
const MOST_OUTPUTS: usize = 64;
/// Operators whose result has the columns of their first input, each made of that one alone or of all alike.
const KEEP_COLUMNS: [&str; 10] =
    ["Cast", "Div", "Exp", "Identity", "LpNormalization", "Mul", "Normalizer", "Sigmoid", "Softmax", "Sub"];

/// The names in the order of the columns of `tensor`; none where the file carries none, or some that are no names. The
/// graph is the file's own, before it is simplified.
pub(super) fn carried(graph: &GraphProto, tensor: &str) -> Vec<String> {
    let wiring = Wiring::new(graph);
    let named =
        mapped(&wiring, tensor).or_else(|| scored(&wiring, tensor)).or_else(|| looked_up(graph, &wiring, tensor));
    let names = named.unwrap_or_default();
    // A file may hold a million of them.
    let mut known = HashSet::with_capacity(names.len());
    let sound = names.iter().all(|name| is_name(name) && known.insert(name.as_str()));
    if sound { names } else { Vec::new() }
}

/// From a `ZipMap` that shows the tensor.
fn mapped(wiring: &Wiring<'_>, tensor: &str) -> Option<Vec<String>> {
    wiring.producer(tensor).filter(|node| node.op_type == "ZipMap").and_then(names)
}

/// From the classifier whose scores the tensor shows.
fn scored(wiring: &Wiring<'_>, tensor: &str) -> Option<Vec<String>> {
    let source = wiring.source(before_map(wiring, tensor))?;
    let names = names(source.node)?;
    match source.picked.as_deref() {
        None => Some(names),
        // A lone column says how likely the second of two classes is.
        Some([1]) if names.len() == 2 => Some(names),
        Some(picked) => picked.iter().map(|&index| names.get(index).cloned()).collect(),
    }
}

/// From a table of names in which another output looks up the largest of the same columns.
fn looked_up(graph: &GraphProto, wiring: &Wiring<'_>, tensor: &str) -> Option<Vec<String>> {
    let shown = same_columns(wiring, before_map(wiring, tensor));
    let table = |output: &str| {
        let picks = through(wiring, output, &["Cast", "Identity", "Reshape", "Squeeze"])?;
        let [table, place] = picks.input.as_slice() else { return None };
        let largest = through(wiring, place, &["Cast", "Identity", "Reshape"])?;
        let compared = same_columns(wiring, largest.input.first()?);
        let same = compared.iter().any(|node| shown.iter().any(|other| std::ptr::eq(*node, *other)));
        let picked = picks.op_type == "ArrayFeatureExtractor" && largest.op_type == "ArgMax";
        let table = (picked && same).then(|| graph.initializer.iter().find(|constant| constant.name == *table));
        table.flatten().and_then(words)
    };
    let mut others = graph.output.iter().take(MOST_OUTPUTS).filter(|output| output.name != tensor);
    others.find_map(|output| table(&output.name))
}

/// What computes a tensor, and what computes the columns that it shows after operators that keep them.
fn same_columns<'a>(wiring: &Wiring<'a>, tensor: &str) -> Vec<&'a NodeProto> {
    let mut nodes: Vec<&NodeProto> = wiring.producer(tensor).into_iter().collect();
    while let Some(last) = nodes.last().filter(|last| KEEP_COLUMNS.contains(&last.op_type.as_str())) {
        let Some(next) = last.input.first().and_then(|input| wiring.producer(input)) else { break };
        if nodes.len() == LONGEST_CHAIN {
            break;
        }
        nodes.push(next);
    }
    nodes
}

fn before_map<'a>(wiring: &Wiring<'a>, tensor: &'a str) -> &'a str {
    let map = wiring.producer(tensor).filter(|node| node.op_type == "ZipMap");
    map.and_then(|map| map.input.first()).map_or(tensor, String::as_str)
}

/// What computes a tensor, seen through these operators.
fn through<'a>(wiring: &Wiring<'a>, tensor: &str, seen_through: &[&str]) -> Option<&'a NodeProto> {
    let mut node = wiring.producer(tensor)?;
    for _ in 0..LONGEST_CHAIN {
        if !seen_through.contains(&node.op_type.as_str()) {
            return Some(node);
        }
        node = wiring.producer(node.input.first()?)?;
    }
    None
}

/// The class labels among an operator's attributes.
fn names(node: &NodeProto) -> Option<Vec<String>> {
    let attributes = Attributes(node);
    let strings = attributes.strings("classlabels_strings");
    if !strings.is_empty() {
        return strings.iter().map(|name| String::from_utf8(name.clone()).ok()).collect();
    }
    let numbers = ["classlabels_int64s", "classlabels_ints"].map(|name| attributes.ints(name));
    let numbers = numbers.into_iter().find(|numbers| !numbers.is_empty())?;
    Some(numbers.iter().map(i64::to_string).collect())
}

/// A constant as names: its words, or its whole numbers.
fn words(constant: &TensorProto) -> Option<Vec<String>> {
    if !constant.string_data.is_empty() {
        return constant.string_data.iter().map(|word| String::from_utf8(word.clone()).ok()).collect();
    }
    let numbers = tensor::numbers(constant, &constant.name).ok()?;
    let whole = |&number: &f64| (number.fract() == 0.0 && number.abs() < 1e15).then(|| (number as i64).to_string());
    numbers.iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tract_onnx::pb::{AttributeProto, ModelProto};

    use super::*;

    /// An export of a forest behind a `ZipMap`, from `tests/models/exports.json`.
    fn forest() -> GraphProto {
        let corpus: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/models/exports.json")).expect("JSON");
        let cases = corpus.as_array().expect("cases");
        let case = cases.iter().find(|case| case["name"] == "forest-two").expect("the forest");
        let digits: Vec<u32> = case["onnx"].as_str().expect("text").chars().filter_map(|c| c.to_digit(16)).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
        ModelProto::decode(bytes.as_slice()).expect("a model").graph.expect("a graph")
    }

    fn rename(graph: &mut GraphProto, operator: &str, words: &[&str]) {
        let node = graph.node.iter_mut().find(|node| node.op_type == operator).expect(operator);
        node.attribute.retain(|attribute| !attribute.name.starts_with("classlabels"));
        let strings = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        // 8 is the code of strings among the types of attributes.
        let name = "classlabels_strings".to_owned();
        node.attribute.push(AttributeProto { name, strings, r#type: 8, ..Default::default() });
    }

    #[test]
    fn words_and_numbers_are_found_at_the_map_or_at_the_classifier_behind_it() {
        let mut graph = forest();
        assert_eq!(carried(&graph, "output_probability"), ["0", "1"]);
        rename(&mut graph, "TreeEnsembleClassifier", &["gut", "schlecht"]);
        assert_eq!(carried(&graph, "output_probability"), ["0", "1"], "the map's stand before the classifier's");
        rename(&mut graph, "ZipMap", &[]);
        assert_eq!(carried(&graph, "output_probability"), ["gut", "schlecht"]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test says how long something takes")]
    fn a_million_names_are_looked_at_once_each() {
        let names: Vec<String> = (0..1_000_000).map(|number| format!("{number:x}")).collect();
        let mut words: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut graph = forest();
        rename(&mut graph, "ZipMap", &words);
        let begun = std::time::Instant::now();
        assert_eq!(carried(&graph, "output_probability").len(), words.len());
        words[999_999] = words[0];
        rename(&mut graph, "ZipMap", &words);
        assert_eq!(carried(&graph, "output_probability"), Vec::<String>::new());
        // Compared each with each they would take an hour.
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_no_name_or_there_twice_is_not_taken() {
        for words in [["same", "same"], ["", "b"], ["a\nb", "c"]] {
            let mut graph = forest();
            rename(&mut graph, "ZipMap", &words);
            assert_eq!(carried(&graph, "output_probability"), Vec::<String>::new(), "{words:?}");
        }
        assert_eq!(carried(&forest(), "nothing"), Vec::<String>::new());
    }
}
