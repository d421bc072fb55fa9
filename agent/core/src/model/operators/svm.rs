//! `SVMClassifier` and `SVMRegressor`.
//!
//! Kernels are computed in float64. onnxruntime's float32 is off from that by up to 1e-6 where powers cancel each other.
//!
//! Source for the coupling of pairwise probabilities: Wu, Lin, Weng 2004, "Probability Estimates for Multi-class
//! Classification by Pairwise Coupling", JMLR 5, algorithm 2, with the constants of libsvm.

use tract_onnx::pb::NodeProto;

use super::transform::PostTransform;
use super::{Rows, Shape};
use crate::model::graph::attributes::{Attributes, brief};

/// More classes than this are taken for a mistake: pairs of them grow with the square.
const MOST_CLASSES: usize = 1_000;
/// Rounds of the coupling before it is left as it is.
const MOST_ROUNDS: usize = 100;

/// How alike two rows are.
#[derive(Debug, Clone, Copy)]
enum Kernel {
    Linear,
    Polynomial { gamma: f64, offset: f64, degree: f64 },
    Radial { gamma: f64 },
    Sigmoid { gamma: f64, offset: f64 },
}

impl Kernel {
    fn read(attributes: &Attributes<'_>) -> Result<Self, String> {
        let parameters = attributes.floats("kernel_params");
        let parameter = |index: usize| parameters.get(index).map_or(0.0, |&value| f64::from(value));
        match attributes.string("kernel_type").unwrap_or("LINEAR") {
            "LINEAR" => Ok(Self::Linear),
            "POLY" => Ok(Self::Polynomial { gamma: parameter(0), offset: parameter(1), degree: parameter(2) }),
            "RBF" => Ok(Self::Radial { gamma: parameter(0) }),
            "SIGMOID" => Ok(Self::Sigmoid { gamma: parameter(0), offset: parameter(1) }),
            other => Err(format!("the kernel {} is not known; export the model again", brief(other))),
        }
    }

    fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let dot = || a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self {
            Self::Linear => dot(),
            Self::Polynomial { gamma, offset, degree } => (gamma * dot() + offset).powf(degree),
            Self::Radial { gamma } => (-gamma * a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()).exp(),
            Self::Sigmoid { gamma, offset } => (gamma * dot() + offset).tanh(),
        }
    }
}

/// Rows that others are compared with.
#[derive(Debug)]
struct Vectors {
    kernel: Kernel,
    values: Vec<f64>,
    width: usize,
}

impl Vectors {
    fn read(attributes: &Attributes<'_>, count: usize) -> Result<Self, String> {
        let values = doubles(attributes, "support_vectors")?;
        if count == 0 || values.is_empty() || !values.len().is_multiple_of(count) {
            return Err(format!(
                "the SVM has {} values for {count} support vectors; export the model again",
                values.len()
            ));
        }
        Ok(Self { kernel: Kernel::read(attributes)?, width: values.len() / count, values })
    }

    fn likeness(&self, row: &[f64]) -> Vec<f64> {
        self.values.chunks_exact(self.width).map(|vector| self.kernel.of(row, vector)).collect()
    }
}

fn doubles(attributes: &Attributes<'_>, name: &str) -> Result<Vec<f64>, String> {
    let values: Vec<f64> = attributes.floats(name).iter().map(|&value| f64::from(value)).collect();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(format!("{name} of the SVM has a value that is not a finite number; export the model again")),
    }
}

fn fits(width: usize, columns: usize, shape: Shape) -> Result<Shape, String> {
    if width == columns { Ok(shape) } else { Err(format!("the SVM takes {width} columns and is given {columns}")) }
}

/// `Σ coefficient · likeness + rho`, and its sign for a one-class machine.
#[derive(Debug)]
pub(super) struct Regressor {
    vectors: Vectors,
    coefficients: Vec<f64>,
    rho: f64,
    one_class: bool,
}

impl Regressor {
    pub(super) fn read(node: &NodeProto) -> Result<Self, String> {
        let attributes = Attributes(node);
        let coefficients = doubles(&attributes, "coefficients")?;
        let count = usize::try_from(attributes.int("n_supports").unwrap_or(0)).unwrap_or(0);
        if PostTransform::read(&attributes)? != PostTransform::None {
            return Err("the SVM regressor has a post_transform, which onnxruntime ignores and ONNX does not; export it with NONE".to_owned());
        }
        // Without support vectors the coefficients are the weights of a linear model: its one vector.
        let vectors = if count == 0 {
            Vectors { kernel: Kernel::Linear, width: coefficients.len(), values: coefficients.clone() }
        } else {
            Vectors::read(&attributes, count)?
        };
        let coefficients = if count == 0 { vec![1.0] } else { coefficients };
        let rho = doubles(&attributes, "rho")?;
        let (true, &[rho, ..]) = (coefficients.len() == count.max(1) && vectors.width > 0, rho.as_slice()) else {
            return Err(format!(
                "the SVM has {} coefficients for {count} support vectors, or no rho; export the model again",
                coefficients.len()
            ));
        };
        Ok(Self { vectors, coefficients, rho, one_class: attributes.int("one_class").unwrap_or(0) != 0 })
    }
}

impl Rows for Regressor {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        fits(self.vectors.width, columns, Shape::Columns(1))
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let likeness = self.vectors.likeness(row);
        let sum = likeness.iter().zip(&self.coefficients).map(|(k, c)| k * c).sum::<f64>() + self.rho;
        out.push(if !self.one_class {
            sum
        } else if sum > 0.0 {
            1.0
        } else {
            -1.0
        });
        Ok(())
    }

    fn work(&self) -> usize {
        self.vectors.values.len()
    }
}

/// Reads a classifier: of support vectors, or of one row of weights per class.
pub(super) fn classifier(node: &NodeProto) -> Result<Classifier, String> {
    let attributes = Attributes(node);
    let labels = attributes.ints("classlabels_ints").len().max(attributes.strings("classlabels_strings").len());
    if !(2..=MOST_CLASSES).contains(&labels) {
        return Err(format!("the SVM has {labels} classes; 2 to {MOST_CLASSES} are supported"));
    }
    let classes: Option<Vec<usize>> =
        attributes.ints("vectors_per_class").iter().map(|&count| usize::try_from(count).ok()).collect();
    let classes = classes.filter(|classes| classes.len() == labels).ok_or_else(|| {
        "the SVM does not say how many support vectors each class has; export it with them".to_owned()
    })?;
    let count = classes.iter().try_fold(0_usize, |sum, &count| sum.checked_add(count)).unwrap_or(0);
    let vectors = Vectors::read(&attributes, count)?;
    let (coefficients, rho) = (doubles(&attributes, "coefficients")?, doubles(&attributes, "rho")?);
    let (a, b) = (doubles(&attributes, "prob_a")?, doubles(&attributes, "prob_b")?);
    let pairs = labels * (labels - 1) / 2;
    let coupled = a.len() == b.len() && (a.is_empty() || a.len() == pairs);
    if Some(coefficients.len()) != count.checked_mul(labels - 1) || rho.len() != pairs || !coupled {
        return Err(format!(
            "the SVM has {} coefficients, {} rho and {} and {} prob_a and prob_b, which do not fit {labels} classes and {count} \
             support vectors; export the model again",
            coefficients.len(),
            rho.len(),
            a.len(),
            b.len()
        ));
    }
    let transform = PostTransform::read(&attributes)?;
    if transform != PostTransform::None {
        return Err("the SVM has a post_transform, which exporters do not write; export it with NONE".to_owned());
    }
    Ok(Classifier { vectors, classes, coefficients, rho, sigmoids: a.into_iter().zip(b).collect() })
}

/// Scores of pairs of classes, and probabilities made from them.
#[derive(Debug)]
pub(super) struct Classifier {
    vectors: Vectors,
    /// Support vectors of each class.
    classes: Vec<usize>,
    /// For each class but one, a coefficient per vector.
    coefficients: Vec<f64>,
    /// One per pair, as all that follows.
    rho: Vec<f64>,
    /// Empty where the model gives no probabilities.
    sigmoids: Vec<(f64, f64)>,
}

impl Classifier {
    /// The score of each pair of classes.
    fn pairs(&self, row: &[f64]) -> Vec<f64> {
        let likeness = self.vectors.likeness(row);
        let mut starts = Vec::with_capacity(self.classes.len());
        let mut start = 0;
        for count in &self.classes {
            starts.push(start);
            start += count;
        }
        let part = |class: usize, against: usize| -> f64 {
            let (from, count) = (starts[class], self.classes[class]);
            let coefficients = &self.coefficients[against * likeness.len() + from..][..count];
            likeness[from..from + count].iter().zip(coefficients).map(|(k, c)| k * c).sum()
        };
        let count = self.classes.len();
        let pairs = (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
        pairs.zip(&self.rho).map(|((i, j), rho)| part(i, j - 1) + part(j, i) + rho).collect()
    }
}

impl Rows for Classifier {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        let shown = match (self.classes.len(), self.sigmoids.is_empty()) {
            (2, _) => 2,
            (_, true) => self.rho.len(),
            (classes, false) => classes,
        };
        fits(self.vectors.width, columns, Shape::Columns(shown))
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let scores = self.pairs(row);
        if !self.sigmoids.is_empty() {
            let likely = scores.iter().zip(&self.sigmoids).map(|(score, (a, b))| platt(*score, *a, *b));
            out.extend(coupled(self.classes.len(), &likely.collect::<Vec<f64>>()));
            return Ok(());
        }
        match scores.as_slice() {
            [score] => out.extend([-score, *score]),
            scores => out.extend_from_slice(scores),
        }
        Ok(())
    }

    fn work(&self) -> usize {
        let rounds = if self.sigmoids.is_empty() { 1 } else { MOST_ROUNDS };
        let coupled = self.classes.len().saturating_mul(self.classes.len()).saturating_mul(rounds);
        self.vectors.values.len().saturating_add(self.coefficients.len()).saturating_add(coupled)
    }
}

/// More multiplications than this are not worth the weights of a linear kernel.
const MOST_WORK: usize = 1 << 28;

/// Weights, and an intercept.
type Weighed = (Vec<f64>, f64);

/// The weights and the intercept of each column that a machine with a linear kernel shows, where it shows scores; none of
/// one that shows their sign, or probabilities made from them.
///
/// # Errors
/// A sentence on an operator that is wrong in itself.
pub(crate) fn linear_kernel(node: &NodeProto) -> Result<Option<Vec<Weighed>>, String> {
    if node.op_type == "SVMRegressor" {
        let machine = Regressor::read(node)?;
        return if machine.one_class { Ok(None) } else { by_asking(&machine, &machine.vectors) };
    }
    let machine = classifier(node)?;
    if machine.sigmoids.is_empty() { by_asking(&machine, &machine.vectors) } else { Ok(None) }
}

fn by_asking(machine: &impl Rows, vectors: &Vectors) -> Result<Option<Vec<Weighed>>, String> {
    let (width, few) = (vectors.width, vectors.width.saturating_mul(vectors.values.len()) <= MOST_WORK);
    if !few || !matches!(vectors.kernel, Kernel::Linear) {
        return Ok(None);
    }
    let mut row = vec![0.0; width];
    let mut intercepts = Vec::new();
    machine.run(&row, &mut intercepts)?;
    let mut columns: Vec<Weighed> =
        intercepts.into_iter().map(|intercept| (Vec::with_capacity(width), intercept)).collect();
    for value in 0..width {
        row[value] = 1.0;
        let mut scores = Vec::with_capacity(columns.len());
        machine.run(&row, &mut scores)?;
        columns.iter_mut().zip(scores).for_each(|((weights, intercept), score)| weights.push(score - *intercept));
        row[value] = 0.0;
    }
    Ok(Some(columns))
}

/// How many classes have so many pairs, where any number has.
pub(crate) fn classes_of(pairs: usize) -> Option<usize> {
    (2..=MOST_CLASSES).find(|classes| classes * (classes - 1) / 2 == pairs)
}

/// The class that wins most of its pairs, as onnxruntime counts: a score above zero is a vote for the first of the two, and
/// of classes with as many votes the first is taken.
pub(crate) fn voted(pairs: &[f64]) -> Option<usize> {
    let count = classes_of(pairs.len())?;
    let mut votes = vec![0_usize; count];
    let places = (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
    places.zip(pairs).for_each(|((i, j), &score)| votes[if score > 0.0 { i } else { j }] += 1);
    let most = votes.iter().max()?;
    votes.iter().position(|count| count == most)
}

/// The probability of the first of two classes, kept off 0 and 1.
fn platt(score: f64, a: f64, b: f64) -> f64 {
    const LEAST: f64 = 1e-7;
    let exponent = score * a + b;
    let probability =
        if exponent >= 0.0 { (-exponent).exp() / (1.0 + (-exponent).exp()) } else { 1.0 / (1.0 + exponent.exp()) };
    probability.clamp(LEAST, 1.0 - LEAST)
}

/// Probabilities of all classes from those of each pair.
fn coupled(count: usize, pairs: &[f64]) -> Vec<f64> {
    let mut r = vec![0.0; count * count];
    let places = (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
    for ((i, j), &likely) in places.zip(pairs) {
        r[i * count + j] = likely;
        r[j * count + i] = 1.0 - likely;
    }
    let mut q = vec![0.0; count * count];
    for t in 0..count {
        for j in (0..count).filter(|&j| j != t) {
            q[t * count + t] += r[j * count + t] * r[j * count + t];
            q[t * count + j] = -r[j * count + t] * r[t * count + j];
        }
    }
    let mut p = vec![1.0 / count as f64; count];
    for _ in 0..MOST_ROUNDS {
        let mut qp: Vec<f64> = q.chunks_exact(count).map(|row| row.iter().zip(&p).map(|(q, p)| q * p).sum()).collect();
        let mut pqp: f64 = qp.iter().zip(&p).map(|(qp, p)| qp * p).sum();
        if qp.iter().all(|qp| (qp - pqp).abs() < 0.005 / count as f64) {
            break;
        }
        for t in 0..count {
            let diagonal = q[t * count + t];
            let step = (pqp - qp[t]) / diagonal;
            p[t] += step;
            pqp = (pqp + step * (step * diagonal + 2.0 * qp[t])) / ((1.0 + step) * (1.0 + step));
            for j in 0..count {
                qp[j] = (qp[j] + step * q[t * count + j]) / (1.0 + step);
                p[j] /= 1.0 + step;
            }
        }
    }
    p
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;

    use super::*;

    fn attribute(name: &str) -> AttributeProto {
        AttributeProto { name: name.to_owned(), ..Default::default() }
    }

    fn node(operator: &str, kernel: &str, more: Vec<AttributeProto>) -> NodeProto {
        let floats = |name: &str, values: &[f32]| AttributeProto { floats: values.to_vec(), ..attribute(name) };
        let mut all = vec![
            AttributeProto { s: kernel.as_bytes().to_vec(), ..attribute("kernel_type") },
            floats("support_vectors", &[1.0, 2.0, -1.0, 0.5, 3.0, -2.0]),
            floats("kernel_params", &[0.5, 0.0, 3.0]),
            floats("rho", &[0.25]),
            floats("coefficients", &[0.5, -1.5, 1.0]),
        ];
        all.extend(more);
        NodeProto { op_type: operator.to_owned(), attribute: all, ..Default::default() }
    }

    #[test]
    fn a_linear_kernel_s_scores_are_weighted_sums_and_those_of_others_are_not() {
        let supports = || vec![AttributeProto { i: 3, ..attribute("n_supports") }];
        let classes = || {
            vec![
                AttributeProto { ints: vec![0, 1], ..attribute("classlabels_ints") },
                AttributeProto { ints: vec![1, 2], ..attribute("vectors_per_class") },
            ]
        };
        // 0.5 · (1, 2) − 1.5 · (−1, 0.5) + (3, −2), by hand.
        let (weights, rho) = (vec![5.0, -1.75], 0.25);
        let opposite = weights.iter().map(|weight| -weight).collect::<Vec<f64>>();
        let number = linear_kernel(&node("SVMRegressor", "LINEAR", supports()));
        assert_eq!(number, Ok(Some(vec![(weights.clone(), rho)])));
        let two = linear_kernel(&node("SVMClassifier", "LINEAR", classes()));
        assert_eq!(two, Ok(Some(vec![(opposite, -rho), (weights, rho)])));

        assert_eq!(linear_kernel(&node("SVMRegressor", "RBF", supports())), Ok(None));
        let signs = [supports(), vec![AttributeProto { i: 1, ..attribute("one_class") }]].concat();
        assert_eq!(linear_kernel(&node("SVMRegressor", "LINEAR", signs)), Ok(None));
        let likely = ["prob_a", "prob_b"].map(|name| AttributeProto { floats: vec![1.0], ..attribute(name) });
        assert_eq!(linear_kernel(&node("SVMClassifier", "LINEAR", [classes(), likely.to_vec()].concat())), Ok(None));
    }
}
