//! Random ensembles, and Shapley values found in two ways that have nothing in common with the crate's own.

use explaind_core::model::tree::{Branch, Node, Split, Tree, TreeSum};

/// A small deterministic generator (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.bits() >> 33) as usize) % end
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Few distinct values, so that values meet thresholds; now and then a special one.
    pub(crate) fn value(&mut self) -> f32 {
        match self.below(24) {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => -0.0,
            _ => self.below(9) as f32 - 4.0,
        }
    }

    pub(crate) fn row(&mut self, width: usize) -> Vec<f32> {
        (0..width).map(|_| self.value()).collect()
    }
}

/// A tree of up to `depth` splits on a path over all kinds of comparison; features may repeat.
pub(crate) fn random_tree(random: &mut Random, features: &[usize], depth: usize) -> Tree {
    let mut nodes = vec![Node::Leaf(0.0)];
    let mut open = vec![(0_usize, 0_usize)];
    while let Some((index, level)) = open.pop() {
        let leaf = level == depth || (level > 0 && random.below(5) == 0);
        nodes[index] = if leaf {
            // Some leaves agree, as they do in forests.
            Node::Leaf(if random.below(3) == 0 { 0.25 } else { random.unit() * 2.0 - 1.0 })
        } else {
            let (yes, no) = (nodes.len(), nodes.len() + 1);
            nodes.extend([Node::Leaf(0.0), Node::Leaf(0.0)]);
            open.extend([(yes, level + 1), (no, level + 1)]);
            Node::Split(Split {
                feature: features[random.below(features.len())] as u32,
                threshold: random.below(9) as f32 - 4.5 + 0.5 * random.below(2) as f32,
                branch: [Branch::Leq, Branch::Lt, Branch::Gte, Branch::Gt, Branch::Eq, Branch::Neq][random.below(6)],
                missing_yes: random.below(2) == 0,
                yes: yes as u32,
                no: no as u32,
            })
        };
    }
    Tree { nodes }
}

/// Trees over all of `width` features.
pub(crate) fn random_sum(random: &mut Random, width: usize, trees: usize, depth: usize) -> TreeSum {
    let features: Vec<_> = (0..width).collect();
    let trees = (0..trees).map(|_| random_tree(random, &features, depth)).collect();
    TreeSum { width, base: random.unit(), trees }
}

/// The sum's output for a row.
pub(crate) fn output(sum: &TreeSum, row: &[f32]) -> f64 {
    sum.base + sum.trees.iter().map(|tree| leaf(tree, |feature| row[feature])).sum::<f64>()
}

fn leaf(tree: &Tree, value: impl Fn(usize) -> f32) -> f64 {
    let mut index = 0;
    loop {
        match &tree.nodes[index] {
            Node::Leaf(value) => return *value,
            Node::Split(split) => {
                let yes = split.goes_yes(value(split.feature as usize));
                index = if yes { split.yes } else { split.no } as usize;
            }
        }
    }
}

/// The mean output over background rows.
pub(crate) fn base_value(sum: &TreeSum, background: &[f32]) -> f64 {
    let rows = background.len() / sum.width;
    background.chunks_exact(sum.width).map(|row| output(sum, row)).sum::<f64>() / rows as f64
}

/// Shapley values by their definition: every coalition, every background row.
pub(crate) fn by_definition(function: impl Fn(&[f32]) -> f64, row: &[f32], background: &[f32]) -> Vec<f64> {
    let width = row.len();
    let rows = background.len() / width;
    let worth: Vec<f64> = (0..1_usize << width)
        .map(|coalition| {
            let sum: f64 = background
                .chunks_exact(width)
                .map(|other| {
                    let mixed: Vec<f32> =
                        (0..width).map(|f| if coalition >> f & 1 == 1 { row[f] } else { other[f] }).collect();
                    function(&mixed)
                })
                .sum();
            sum / rows as f64
        })
        .collect();
    let factorial = |n: usize| (1..=n).map(|n| n as f64).product::<f64>();
    (0..width)
        .map(|feature| {
            (0..1_usize << width)
                .filter(|coalition| coalition >> feature & 1 == 0)
                .map(|coalition| {
                    let size = coalition.count_ones() as usize;
                    let weight = factorial(size) * factorial(width - size - 1) / factorial(width);
                    weight * (worth[coalition | 1 << feature] - worth[coalition])
                })
                .sum()
        })
        .collect()
}

/// Shapley values of sums too wide to enumerate, as an integral (Owen 1972, "Multilinear extensions of games"): let each
/// feature come from the row with probability `q`, all else from the background row; then a feature's value is the
/// integral over `q` of what its presence adds to the expected output. That is a polynomial in `q`, so Gauss-Legendre
/// nodes give it exactly.
pub(crate) fn by_integral(sum: &TreeSum, row: &[f32], background: &[f32]) -> Vec<f64> {
    let width = sum.width;
    let rows = (background.len() / width) as f64;
    let nodes = gauss_legendre(width / 2 + 1);
    let mut values = vec![0.0; width];
    for other in background.chunks_exact(width) {
        for tree in &sum.trees {
            for &(q, weight) in &nodes {
                for (feature, value) in values.iter_mut().enumerate() {
                    let mut from = vec![None; width];
                    from[feature] = Some(true);
                    let with = expected(tree, 0, row, other, q, &mut from);
                    from[feature] = Some(false);
                    let without = expected(tree, 0, row, other, q, &mut from);
                    *value += weight * (with - without) / rows;
                }
            }
        }
    }
    values
}

fn expected(tree: &Tree, index: usize, row: &[f32], other: &[f32], q: f64, from: &mut Vec<Option<bool>>) -> f64 {
    let split = match &tree.nodes[index] {
        Node::Leaf(value) => return *value,
        Node::Split(split) => split,
    };
    let feature = split.feature as usize;
    let child = |from: &mut Vec<Option<bool>>, of_row: bool| {
        let yes = split.goes_yes(if of_row { row[feature] } else { other[feature] });
        expected(tree, if yes { split.yes } else { split.no } as usize, row, other, q, from)
    };
    match from[feature] {
        Some(of_row) => child(from, of_row),
        None if split.goes_yes(row[feature]) == split.goes_yes(other[feature]) => child(from, true),
        None => {
            from[feature] = Some(true);
            let with = child(from, true);
            from[feature] = Some(false);
            let without = child(from, false);
            from[feature] = None;
            q * with + (1.0 - q) * without
        }
    }
}

/// Nodes and weights on [0, 1], by Newton's method on the Legendre polynomial.
fn gauss_legendre(count: usize) -> Vec<(f64, f64)> {
    let n = count as f64;
    (0..count)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
            let mut slope = 0.0;
            for _ in 0..100 {
                let (mut p, mut previous) = (x, 1.0);
                for k in 2..=count {
                    let k = k as f64;
                    (p, previous) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * previous) / k, p);
                }
                slope = n * (x * p - previous) / (x * x - 1.0);
                x -= p / slope;
            }
            ((1.0 + x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

/// Fails where two lists differ by more than `tolerance` of the largest value.
#[track_caller]
pub(crate) fn assert_close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance * scale,
            "{what}: feature {index}: {got} where {expected} is right"
        );
    }
}
