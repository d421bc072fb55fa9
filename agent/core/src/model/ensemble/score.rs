//! From sums of trees to the output tensor, exactly as onnxruntime does it.
//!
//! The ONNX text leaves binary classifiers open. onnxruntime keeps the weights of most binary exports under class 0 and
//! means class 1 by them; what it writes then depends on the post-transform and on whether any weight is negative.
//! Forms in which it drops trees or base values silently are refused.

use crate::model::operators::PostTransform;

/// One column before the link: `offset + sign · sum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column {
    /// Which sum; none for a column that is the same for every row.
    pub(super) score: Option<u32>,
    pub(super) sign: f64,
    pub(super) offset: f64,
}

/// How the contributions of trees become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    /// A sum of shares.
    Average,
    Min,
    Max,
}

/// What follows the sums.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) columns: Vec<Column>,
    pub(super) transform: PostTransform,
    pub(super) aggregate: Aggregate,
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
    pub(super) transform: PostTransform,
    pub(super) negative_weights: bool,
    pub(super) aggregate: Aggregate,
}

impl Head {
    pub(super) fn regressor(scores: &Scores<'_>) -> Result<Self, String> {
        let dropped = scores.base.iter().zip(scores.used).any(|(base, used)| *base != 0.0 && !used);
        if dropped {
            return Err(
                "a target has a base value and no leaf, and onnxruntime drops its base value; export it without"
                    .to_owned(),
            );
        }
        let mut head = Self::plain(scores, "targets")?;
        // To one target alone onnxruntime applies PROBIT, and leaves the others out.
        if scores.count == 1 && scores.transform != PostTransform::Probit {
            head.transform = PostTransform::None;
        }
        Ok(head)
    }

    pub(super) fn classifier(scores: &Scores<'_>) -> Result<Self, String> {
        match (scores.count, scores.used) {
            (0 | 1, _) => Err("the classifier has fewer than two classes; export it with all of them".to_owned()),
            (2, [true, false]) if scores.base.len() <= 1 => Self::one_score(scores),
            // A lone base value is the first class's.
            (2, [true, true]) if scores.base.len() == 1 => {
                Self::plain(&Scores { base: &[scores.base[0], 0.0], ..*scores }, "classes")
            }
            (2, _) if !scores.base.is_empty() => {
                Err("the classifier has two classes and base values in a form in which onnxruntime drops trees or base values; \
                     export it with weights for class 0 and at most one base value, or without base values"
                    .to_owned())
            }
            _ => Self::plain(scores, "classes"),
        }
    }

    /// Two classes, one sum `s`: the score of class 1.
    fn one_score(scores: &Scores<'_>) -> Result<Self, String> {
        let base = scores.base.first().copied().unwrap_or(0.0);
        let mirror = |offset| Column { score: Some(0), sign: -1.0, offset };
        let second = Column { score: Some(0), sign: 1.0, offset: base };
        let (first, transform, raw) = match (scores.transform, scores.negative_weights) {
            (PostTransform::Probit, _) => {
                return Err(
                    "the classifier has two classes, weights for one of them and post_transform PROBIT, for which \
                            onnxruntime writes one column only; export it with NONE or LOGISTIC"
                        .to_owned(),
                );
            }
            // The logistic function of -s and s: two probabilities that add up to one.
            (PostTransform::Logistic, _) => (mirror(-base), PostTransform::Logistic, false),
            // Weights that are shares of votes: 1 - s and s. Softmax is not applied to a single score.
            (_, false) => (mirror(1.0 - base), PostTransform::None, false),
            (_, true) => (mirror(-base), PostTransform::None, true),
        };
        Ok(Self { columns: vec![first, second], transform, raw, aggregate: scores.aggregate })
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
        Ok(Self { columns: columns.collect(), transform: scores.transform, raw: false, aggregate: scores.aggregate })
    }

    /// One column before the link.
    pub(super) fn margin(&self, sums: &[f64], column: usize) -> f64 {
        self.columns.get(column).map_or(f64::NAN, |column| column.of(sums))
    }

    /// Appends one row of the output tensor.
    pub(super) fn push_outputs(&self, sums: &[f64], out: &mut Vec<f64>) {
        let start = out.len();
        out.extend(self.columns.iter().map(|column| column.of(sums)));
        self.transform.apply(&mut out[start..]);
    }

    /// Takes `scale · score + shift` into the columns. The leaves must be scaled beside it. False when something stands between
    /// the sums and what the file multiplies; then nothing else than a lone score as it is will do.
    pub(super) fn take_in(&mut self, scale: f64, shift: f64, lone: bool) -> bool {
        if lone && scale == 1.0 && shift == 0.0 {
            return true;
        }
        let plain = self.columns.iter().all(|column| column.sign == 1.0 && column.score.is_some());
        if !self.sums() || self.transform != PostTransform::None || !plain {
            return false;
        }
        self.columns.iter_mut().for_each(|column| column.offset = scale * column.offset + shift);
        true
    }

    /// Adds the offsets of another ensemble; false when its columns are others.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        let mut pairs = self.columns.iter().zip(&other.columns);
        if self.columns.len() != other.columns.len() || pairs.any(|(a, b)| (a.score, a.sign) != (b.score, b.sign)) {
            return false;
        }
        self.columns.iter_mut().zip(&other.columns).for_each(|(column, other)| column.offset += other.offset);
        true
    }

    /// Whether the columns are sums of trees, but for the function over them.
    pub(super) fn sums(&self) -> bool {
        matches!(self.aggregate, Aggregate::Sum | Aggregate::Average)
    }
}

impl Column {
    fn of(&self, sums: &[f64]) -> f64 {
        let sum = self.score.and_then(|score| sums.get(score as usize)).copied().unwrap_or(0.0);
        self.offset + self.sign * sum
    }
}
