//! What makes Shapley values Shapley values, on random ensembles, and traps in which tree explainers have been caught.

mod support;

use explaind_core::explain::ExplainError;
use explaind_core::explain::cells::{MOST_BYTES, TreeTables};
use explaind_core::explain::tree::TreeShapley;
use explaind_core::model::Model;
use explaind_core::model::pack::{self, PackInputs};
use explaind_core::model::tree::{Branch, Node, Split, Tree, TreeSum};
use support::{Random, assert_close, base_value, by_definition, by_integral, output, random_sum, random_tree};

/// Memory for tables with which random ensembles take each way: walked, walked in part, single leaves, parts of all sizes.
const LADDER: [usize; 5] = [0, 1 << 10, 8 << 10, 64 << 10, MOST_BYTES];

/// Cells are kept in float32.
const TABLED: f64 = 1e-6;

/// By the walk, once every way has been seen to say the same.
#[expect(clippy::unwrap_used, reason = "a test's helper fails as the test would")]
fn explain(sum: &TreeSum, background: &[f32], row: &[f32]) -> Vec<f64> {
    let walked = TreeShapley::new(sum, background).unwrap().attributions(row).unwrap();
    for bytes in LADDER {
        let tables = TreeTables::within(bytes, sum, background).unwrap();
        assert!(tables.bytes() <= bytes, "{} bytes where {bytes} were allowed", tables.bytes());
        let tabled = tables.attributions(row).unwrap();
        assert_close(&tabled, &walked, TABLED, "tables against walk");
        // What is exactly nothing is so either way.
        assert!(tabled.iter().zip(&walked).all(|(tabled, walked)| *walked != 0.0 || *tabled == 0.0));
    }
    walked
}

fn background(random: &mut Random, width: usize, rows: usize) -> Vec<f32> {
    random.row(width * rows)
}

#[test]
fn equal_to_the_definition_whatever_the_trees() {
    for seed in 0..150 {
        let random = &mut Random::new(seed);
        let (width, trees, depth) = (1 + random.below(6), random.below(5), random.below(8));
        let sum = random_sum(random, width, trees, depth);
        // Around the word boundaries of the bitset now and then.
        let rows = [1, 2, 5, 9, 63, 64, 65, 130][random.below(8)];
        let background = background(random, width, rows);
        let row = random.row(width);
        let expected = by_definition(|mixed| output(&sum, mixed), &row, &background);
        assert_close(&explain(&sum, &background, &row), &expected, 1e-12, &format!("seed {seed}"));
    }
}

#[test]
fn equal_to_the_definition_for_more_features_than_a_cell_has_room_for() {
    for seed in 0..10 {
        let random = &mut Random::new(500 + seed);
        let width = 9 + random.below(4);
        let sum = random_sum(random, width, 3, 6);
        let background = background(random, width, 20);
        let row = random.row(width);
        let expected = by_definition(|mixed| output(&sum, mixed), &row, &background);
        assert_close(&explain(&sum, &background, &row), &expected, 1e-12, &format!("seed {seed}"));
    }
}

#[test]
fn equal_to_the_definition_for_trees_of_thousands_of_leaves() {
    for seed in 0..4 {
        let random = &mut Random::new(700 + seed);
        let sum = random_sum(random, 8, 2, 17);
        assert!(sum.trees.iter().any(|tree| tree.nodes.len() > 2_000));
        let rows = [3, 140][seed as usize % 2];
        let background = background(random, 8, rows);
        let row = random.row(8);
        let expected = by_definition(|mixed| output(&sum, mixed), &row, &background);
        assert_close(&explain(&sum, &background, &row), &expected, 1e-12, &format!("seed {seed}"));
    }
}

#[test]
fn many_rows_get_what_each_gets_alone() {
    for (seed, width) in [5, 30].into_iter().enumerate() {
        let random = &mut Random::new(900 + seed as u64);
        let sum = random_sum(random, width, 12, 7);
        let background = background(random, width, 30);
        let rows = random.row(width * 150);
        for bytes in LADDER {
            let tables = TreeTables::within(bytes, &sum, &background).unwrap();
            let alone = rows.chunks_exact(width).flat_map(|row| tables.attributions(row).unwrap());
            let alone: Vec<f64> = alone.collect();
            assert_eq!(tables.attributions_of_rows(&rows).unwrap(), alone, "width {width}, {bytes} bytes");
        }
    }
}

#[test]
fn base_value_and_attributions_make_the_output() {
    for seed in 0..50 {
        let random = &mut Random::new(1000 + seed);
        let width = 1 + random.below(40);
        let mut sum = random_sum(random, width, 5, 9);
        // Too many features on a path for tables: this one is walked beside them.
        sum.trees.push(chain(random, width));
        let background = background(random, width, 100);
        let row = random.row(width);
        let made = base_value(&sum, &background) + explain(&sum, &background, &row).iter().sum::<f64>();
        assert_close(&[made], &[output(&sum, &row)], 1e-12, &format!("seed {seed}"));
    }
}

#[test]
fn features_that_do_the_same_get_the_same() {
    for seed in 0..40 {
        let random = &mut Random::new(2000 + seed);
        let sum = random_sum(random, 5, 3, 6);
        // The mirror image of every tree under exchange of the first two features, and rows in which both are equal.
        let mut mirrored = sum.clone();
        for node in mirrored.trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            if let Node::Split(split) = node {
                split.feature = [1, 0, 2, 3, 4][split.feature as usize];
            }
        }
        mirrored.trees.extend(sum.trees);
        let mut background = background(random, 5, 40);
        background.chunks_exact_mut(5).for_each(|row| row[1] = row[0]);
        let mut row = random.row(5);
        row[1] = row[0];
        let values = explain(&mirrored, &background, &row);
        assert_close(&values[..1], &values[1..2], 1e-12, &format!("seed {seed}"));
    }
}

#[test]
fn a_feature_that_no_tree_asks_for_gets_exactly_nothing() {
    for seed in 0..40 {
        let random = &mut Random::new(3000 + seed);
        let trees = (0..4).map(|_| random_tree(random, &[0, 2, 3], 7)).collect();
        let sum = TreeSum { width: 5, base: 1.0, trees };
        let background = background(random, 5, 70);
        let values = explain(&sum, &background, &random.row(5));
        assert_eq!((values[1], values[4]), (0.0, 0.0), "seed {seed}");
    }
}

#[test]
fn the_sum_of_two_ensembles_gets_the_sum_of_their_attributions() {
    for seed in 0..40 {
        let random = &mut Random::new(4000 + seed);
        let (first, second) = (random_sum(random, 8, 3, 8), random_sum(random, 8, 4, 8));
        let mut both = first.clone();
        both.trees.extend(second.trees.iter().cloned());
        let background = background(random, 8, 90);
        let row = random.row(8);
        let (one, two) = (explain(&first, &background, &row), explain(&second, &background, &row));
        let expected: Vec<f64> = one.iter().zip(&two).map(|(one, two)| one + two).collect();
        assert_close(&explain(&both, &background, &row), &expected, 1e-12, &format!("seed {seed}"));
    }
}

#[test]
fn a_row_of_the_background_alone_explains_itself_with_nothing() {
    let random = &mut Random::new(5);
    let sum = random_sum(random, 6, 5, 8);
    let row = random.row(6);
    assert_eq!(explain(&sum, &row, &row), [0.0; 6]);
}

/// A tree that asks each of `width` features once, one below the other, with a leaf at each.
fn chain(random: &mut Random, width: usize) -> Tree {
    let mut nodes = Vec::new();
    for feature in 0..width {
        let here = nodes.len() as u32;
        let split = Split {
            feature: feature as u32,
            threshold: 0.0,
            branch: Branch::Leq,
            missing_yes: random.below(2) == 0,
            yes: here + 1,
            no: here + 2,
        };
        nodes.extend([Node::Split(split), Node::Leaf(random.unit())]);
    }
    nodes.push(Node::Leaf(1.0 + random.unit()));
    Tree { nodes }
}

#[test]
fn paths_with_more_features_than_a_machine_word_has_bits() {
    for (seed, width) in [34, 40, 65, 90].into_iter().enumerate() {
        let random = &mut Random::new(6000 + seed as u64);
        let sum = TreeSum { width, base: 0.0, trees: vec![chain(random, width), chain(random, width)] };
        // Most go on at each feature, so that all depths matter: some of the row's, some of the background's.
        let mut go_on = |odds: usize| if random.below(odds) == 0 { -1.0 } else { 1.0 };
        let row: Vec<f32> = (0..width).map(|_| go_on(20)).collect();
        let background: Vec<f32> = (0..width * 3).map(|_| go_on(3)).collect();
        let expected = by_integral(&sum, &row, &background);
        assert_close(&explain(&sum, &background, &row), &expected, 1e-10, &format!("{width} features"));
    }
}

/// A model as its exporter wrote it, whose paths are deeper and have more features than any shortcut has room for.
#[test]
fn an_exported_model_of_great_depth() {
    let file = |csv: &str| -> Vec<f32> {
        csv.lines().skip(1).flat_map(|line| line.split(',')).map(|cell| cell.parse().unwrap()).collect()
    };
    let background = include_str!("../../../tests/models/deep-trees/background.csv");
    let features: String =
        background.lines().next().unwrap().split(',').map(|name| format!("[[feature]]\nname = \"{name}\"\n")).collect();
    let manifest = format!(
        "schema = 1\nname = \"deep\"\nversion = \"1\"\n{features}[output]\ntensor = \"variable\"\nkind = \"regression\"\n"
    );
    let model = include_bytes!("../../../tests/models/deep-trees/model.onnx").to_vec();
    let reference = background.as_bytes().to_vec();
    let files = pack::create(PackInputs { model, manifest, reference, golden: None, calibration: None }).unwrap();
    let model = Model::load(&files).unwrap();
    let sum = model.trees().unwrap();
    let deepest = sum.trees.iter().map(deepest).max().unwrap();
    assert!(deepest.0 >= 30 && deepest.1 > 32, "{deepest:?}");
    for (index, row) in file(include_str!("../../../tests/models/deep-trees/rows.csv")).chunks_exact(90).enumerate() {
        let background = &model.background().rows;
        let found = explain(sum, background, row);
        assert_close(&found, &by_integral(sum, row, background), 1e-9, &format!("row {index}"));
        let made = base_value(sum, background) + found.iter().sum::<f64>();
        assert_close(&[made], &model.explained(row).unwrap(), 1e-6, "what they add up to");
    }
}

/// Of the paths to a tree's leaves the largest depth, and the most different features.
fn deepest(tree: &Tree) -> (usize, usize) {
    let (mut deepest, mut waiting) = ((0, 0), vec![(0, Vec::new())]);
    while let Some((node, path)) = waiting.pop() {
        match &tree.nodes[node as usize] {
            Node::Leaf(_) => {
                let features: std::collections::BTreeSet<u32> = path.iter().copied().collect();
                deepest = (deepest.0.max(path.len()), deepest.1.max(features.len()));
            }
            Node::Split(split) => {
                let path = [path.as_slice(), &[split.feature]].concat();
                waiting.extend([(split.yes, path.clone()), (split.no, path)]);
            }
        }
    }
    deepest
}

#[test]
fn a_path_as_long_as_the_tree_is_large() {
    // The last leaf needs every feature from the row: each is worth the same.
    let width = 20_000;
    let random = &mut Random::new(7);
    let mut tree = chain(random, width);
    tree.nodes.iter_mut().for_each(|node| {
        if let Node::Leaf(value) = node {
            *value = f64::from(*value >= 1.0);
        }
    });
    let sum = TreeSum { width, base: 0.0, trees: vec![tree] };
    let values = explain(&sum, &vec![-1.0; width], &vec![1.0; width]);
    assert_close(&values, &vec![1.0 / width as f64; width], 1e-15, "all from the row");
    let values = explain(&sum, &vec![1.0; width], &vec![-1.0; width]);
    assert_close(&values, &vec![-1.0 / width as f64; width], 1e-15, "all from the background");
}

#[test]
fn what_does_not_fit_is_refused() {
    let sum = random_sum(&mut Random::new(8), 3, 1, 2);
    assert_eq!(TreeShapley::new(&sum, &[]).err(), Some(ExplainError::Background { values: 0, width: 3 }));
    assert_eq!(TreeShapley::new(&sum, &[1.0; 4]).err(), Some(ExplainError::Background { values: 4, width: 3 }));
    let walk = TreeShapley::new(&sum, &[1.0; 6]).unwrap();
    assert_eq!(walk.attributions(&[1.0; 2]), Err(ExplainError::Width { expected: 3, got: 2 }));
    let tables = TreeTables::new(&sum, &[1.0; 6]).unwrap();
    assert_eq!(tables.attributions(&[1.0; 2]), Err(ExplainError::Width { expected: 3, got: 2 }));
    assert_eq!(tables.attributions_of_rows(&[1.0; 8]), Err(ExplainError::Width { expected: 3, got: 2 }));
    assert_eq!(TreeTables::new(&sum, &[1.0; 4]).err(), Some(ExplainError::Background { values: 4, width: 3 }));
}

/// Splits that send every value one way make no cells, however many features a path has.
#[test]
fn splits_that_tell_nothing_apart_cost_nothing() {
    const DEPTH: u32 = 40;
    let mut nodes = Vec::new();
    for feature in 0..DEPTH {
        let (yes, no) = (2 * feature + 1, 2 * feature + 2);
        let split = Split { feature, threshold: f32::INFINITY, branch: Branch::Leq, missing_yes: true, yes, no };
        nodes.extend([Node::Split(split), Node::Leaf(f64::from(feature))]);
    }
    nodes.push(Node::Leaf(-1.0));
    let sum = TreeSum { width: DEPTH as usize, base: 0.0, trees: vec![Tree { nodes }] };
    let tables = TreeTables::new(&sum, &[0.0; 2 * DEPTH as usize]).unwrap();
    assert_eq!(tables.attributions(&[f32::NAN; DEPTH as usize]).unwrap(), [0.0; DEPTH as usize]);
}
