//! From sums of trees to the output tensor, exactly as onnxruntime does it.
//!
//! The ONNX text leaves binary classifiers open. onnxruntime keeps the weights of most binary exports under class 0 and
//! means class 1 by them; what it writes then depends on the post-transform and on whether any weight is negative.
//! Forms in which it drops trees or base values silently are refused.

/// One column before the link: `offset + sign · sum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column {
    /// Which sum; none for a column that is the same for every row.
    pub(super) score: Option<u32>,
    pub(super) sign: f64,
    pub(super) offset: f64,
}

/// The function over all columns of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Identity,
    Logistic,
    Softmax,
    /// Softmax in which columns of exactly zero stay zero.
    SoftmaxZero,
}

/// What follows the sums.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) columns: Vec<Column>,
    pub(super) link: Link,
    /// A classifier's columns are raw scores, not probabilities.
    pub(super) raw: bool,
}

/// What the file says about scores.
pub(super) struct Scores<'a> {
    /// Classes of a classifier, targets of a regressor.
    pub(super) count: usize,
    /// Which of them any leaf adds to.
    pub(super) used: &'a [bool],
    pub(super) base: &'a [f64],
    pub(super) link: Link,
    pub(super) negative_weights: bool,
}

impl Head {
    pub(super) fn regressor(scores: &Scores<'_>) -> Result<Self, String> {
        if scores.count == 1 && scores.link != Link::Identity {
            return Err(
                "the regressor has one target and a post_transform, which onnxruntime ignores and ONNX does not; \
                        export it with post_transform NONE"
                    .to_owned(),
            );
        }
        let dropped = scores.base.iter().zip(scores.used).any(|(base, used)| *base != 0.0 && !used);
        if dropped {
            return Err(
                "a target has a base value and no leaf, and onnxruntime drops its base value; export it without"
                    .to_owned(),
            );
        }
        Self::plain(scores, "targets")
    }

    pub(super) fn classifier(scores: &Scores<'_>) -> Result<Self, String> {
        match (scores.count, scores.used) {
            (0 | 1, _) => Err("the classifier has fewer than two classes; export it with all of them".to_owned()),
            (2, [true, false]) if scores.base.len() <= 1 => Ok(Self::one_score(scores)),
            (2, _) if !scores.base.is_empty() => {
                Err("the classifier has two classes and base values in a form in which onnxruntime drops trees or base values; \
                     export it with its weights under class 0 and at most one base value, or without base values"
                    .to_owned())
            }
            _ => Self::plain(scores, "classes"),
        }
    }

    /// Two classes, one sum `s`: the score of class 1.
    fn one_score(scores: &Scores<'_>) -> Self {
        let base = scores.base.first().copied().unwrap_or(0.0);
        let mirror = |offset| Column { score: Some(0), sign: -1.0, offset };
        let second = Column { score: Some(0), sign: 1.0, offset: base };
        match (scores.link, scores.negative_weights) {
            // The logistic function of -s and s: two probabilities that add up to one.
            (Link::Logistic, _) => Self { columns: vec![mirror(-base), second], link: Link::Logistic, raw: false },
            // Weights that are shares of votes: 1 - s and s. Softmax is not applied to a single score.
            (_, false) => Self { columns: vec![mirror(1.0 - base), second], link: Link::Identity, raw: false },
            (_, true) => Self { columns: vec![mirror(-base), second], link: Link::Identity, raw: true },
        }
    }

    /// One column per sum.
    fn plain(scores: &Scores<'_>, what: &str) -> Result<Self, String> {
        if !scores.base.is_empty() && scores.base.len() != scores.count {
            return Err(format!(
                "there are {} base values for {} {what}; export it with one for each, or none",
                scores.base.len(),
                scores.count
            ));
        }
        let columns = (0..scores.count).map(|index| Column {
            score: u32::try_from(index).ok(),
            sign: 1.0,
            offset: scores.base.get(index).copied().unwrap_or(0.0),
        });
        Ok(Self { columns: columns.collect(), link: scores.link, raw: false })
    }

    /// One column before the link.
    pub(super) fn margin(&self, sums: &[f64], column: usize) -> f64 {
        self.columns.get(column).map_or(f64::NAN, |column| column.of(sums))
    }

    /// Appends one row of the output tensor.
    pub(super) fn push_outputs(&self, sums: &[f64], out: &mut Vec<f64>) {
        let start = out.len();
        out.extend(self.columns.iter().map(|column| column.of(sums)));
        let row = &mut out[start..];
        match self.link {
            Link::Identity => {}
            Link::Logistic => row.iter_mut().for_each(|value| *value = logistic(*value)),
            Link::Softmax => softmax(row, |_| false),
            Link::SoftmaxZero => softmax(row, |value| value.abs() <= 1e-7),
        }
    }
}

impl Column {
    fn of(&self, sums: &[f64]) -> f64 {
        let sum = self.score.and_then(|score| sums.get(score as usize)).copied().unwrap_or(0.0);
        self.offset + self.sign * sum
    }
}

/// `1 / (1 + e^-x)`, without overflow on either side.
fn logistic(value: f64) -> f64 {
    let half = 1.0 / (1.0 + (-value.abs()).exp());
    if value < 0.0 { 1.0 - half } else { half }
}

/// Softmax over a row, shifted by its largest value. Columns that `stays_zero` keep a share of zero.
fn softmax(row: &mut [f64], stays_zero: impl Fn(f64) -> bool) {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for value in &mut *row {
        *value = if stays_zero(*value) { 0.0 } else { (*value - largest).exp() };
    }
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}
