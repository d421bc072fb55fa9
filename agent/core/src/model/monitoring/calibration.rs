//! Rows with the truth: how good the model is, and how far off it is where it is off.

use serde::{Deserialize, Serialize};

use crate::model::error::BundleError;
use crate::model::manifest::OutputKind;
use crate::model::table::{Sheet, Table};
use crate::model::{Model, ModelError};

/// How far off the model is, for conformal intervals and sets.
/// Source: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005, inductive conformal prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certainty {
    /// What a score is.
    pub score: Score,
    /// Where the rows are from.
    pub origin: Origin,
    /// The score of each calibration row, ascending.
    pub scores: Vec<f64>,
}

/// What is measured of a row with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The difference between target and output, without its sign.
    AbsoluteResidual,
    /// One less the probability of the true class.
    /// Source: Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers", 2019.
    OneMinusProbability,
}

/// Where rows with targets are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Given as rows that the model was not trained on.
    HeldOut,
    /// Drawn from the reference, which the model may have been trained on: then scores are smaller than they should be.
    Reference,
}

/// How good the model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// On so many rows.
    pub rows: u64,
    /// Where they are from.
    pub origin: Origin,
    /// What came out.
    pub quality: Quality,
}

/// The figures, by kind of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Quality {
    /// Of a classifier.
    Classification {
        /// The share of rows whose likeliest class is the true one.
        accuracy: f64,
        /// Of the class that is predicted and decided on, against the others; absent where only one of them is there.
        area_under_roc: Option<f64>,
        /// The mean, over rows, of the squared differences between probabilities and truth, over all classes.
        /// Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
        brier: f64,
    },
    /// Of a regression.
    Regression {
        /// In the target's unit.
        mean_absolute_error: f64,
        /// In the target's unit.
        root_mean_square_error: f64,
        /// The share of the target's variance that the model explains (R²); absent where that does not vary.
        explained_variance: Option<f64>,
    },
    /// Of a score of how unusual the input is, against a target of 0 and 1.
    Anomaly {
        /// How well it tells them apart.
        area_under_roc: f64,
    },
}

/// The truth about rows.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) enum Targets {
    /// Numbers of classes.
    Classes(Vec<usize>),
    /// Quantities.
    Values(Vec<f64>),
}

impl Targets {
    /// Reads the truth of every row of a table.
    ///
    /// A class is written as its label, as its number (from 0), or, of two, as `false` and `true`.
    pub(in crate::model) fn read(
        file: &str,
        bytes: &[u8],
        target: &str,
        kind: OutputKind,
        labels: &[String],
    ) -> Result<Self, BundleError> {
        let mut sheet = Sheet::open(file, bytes)?;
        let Some(column) = sheet.column(target)? else {
            return Err(
                sheet.missing(target, "the column that output.target names is not there; add it or remove the key")
            );
        };
        if kind != OutputKind::Classification {
            let mut values = Vec::new();
            while sheet.advance()? {
                values.push(sheet.number(column)?);
            }
            return Ok(Self::Values(values));
        }
        let mut classes = Vec::new();
        while sheet.advance()? {
            let text = sheet.text(column);
            let class = class(text, labels).ok_or_else(|| {
                let known = if labels.is_empty() { "from 0".to_owned() } else { labels.join(", ") };
                sheet.wrong(
                    column,
                    format!("\"{text}\" is no class of the model; write its label or its number: {known}"),
                )
            })?;
            classes.push(class);
        }
        Ok(Self::Classes(classes))
    }

    /// Those of some rows.
    pub(in crate::model) fn of(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().filter_map(|&row| classes.get(row).copied()).collect()),
            Self::Values(values) => Self::Values(rows.iter().filter_map(|&row| values.get(row).copied()).collect()),
        }
    }
}

fn class(text: &str, labels: &[String]) -> Option<usize> {
    let named = || labels.iter().position(|label| label == text);
    let number = || {
        let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && (0.0..1e6).contains(number))?;
        Some(number as usize)
    };
    let truth = || match text.to_ascii_lowercase().as_str() {
        "false" => Some(0),
        "true" => Some(1),
        _ => None,
    };
    named().or_else(number).or_else(truth).filter(|&class| labels.is_empty() || class < labels.len())
}

/// What the model makes of rows whose truth is known; nothing where its kind of answer has no such measure.
pub(in crate::model) fn measure(
    model: &Model,
    table: &Table,
    targets: &Targets,
    origin: Origin,
) -> Result<(Option<Certainty>, Option<Measured>), ModelError> {
    let rows = table.len() as u64;
    let outputs = model.outputs(&table.rows)?;
    let (certainty, quality) = match targets {
        Targets::Values(values) if model.manifest().output.kind == OutputKind::Regression => {
            (Some((Score::AbsoluteResidual, residuals(values, &outputs))), Some(regression(values, &outputs)))
        }
        Targets::Values(values) => {
            let truth: Vec<bool> = values.iter().map(|value| *value > 0.5).collect();
            (None, area(&outputs, &truth).map(|area_under_roc| Quality::Anomaly { area_under_roc }))
        }
        Targets::Classes(classes) => match model.probabilities(&table.rows)? {
            Some((width, probabilities)) if classes.iter().all(|&class| class < width) => {
                let scores =
                    classes.iter().zip(probabilities.chunks_exact(width)).map(|(&class, row)| 1.0 - row[class]);
                // A lone column says how likely the second class is.
                let decided = if model.engine.columns() == 1 { 1 } else { model.column };
                let truth: Vec<bool> = classes.iter().map(|&class| class == decided).collect();
                let quality = classification(classes, width, &probabilities, area(&outputs, &truth));
                (Some((Score::OneMinusProbability, scores.collect())), Some(quality))
            }
            _ => (None, None),
        },
    };
    let certainty = certainty.map(|(score, mut scores): (Score, Vec<f64>)| {
        scores.sort_unstable_by(f64::total_cmp);
        Certainty { score, origin, scores }
    });
    Ok((certainty, quality.map(|quality| Measured { rows, origin, quality })))
}

fn residuals(values: &[f64], outputs: &[f64]) -> Vec<f64> {
    values.iter().zip(outputs).map(|(value, output)| (value - output).abs()).collect()
}

fn regression(values: &[f64], outputs: &[f64]) -> Quality {
    let count = values.len().max(1) as f64;
    let squares: f64 = residuals(values, outputs).iter().map(|off| off * off).sum();
    let mean = values.iter().sum::<f64>() / count;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Quality::Regression {
        mean_absolute_error: residuals(values, outputs).iter().sum::<f64>() / count,
        root_mean_square_error: (squares / count).sqrt(),
        explained_variance: (variance > 0.0).then(|| 1.0 - squares / variance),
    }
}

fn classification(classes: &[usize], width: usize, probabilities: &[f64], area_under_roc: Option<f64>) -> Quality {
    let count = classes.len().max(1) as f64;
    let rows = || classes.iter().zip(probabilities.chunks_exact(width));
    let likeliest = |row: &[f64]| (0..width).reduce(|best, class| if row[class] > row[best] { class } else { best });
    let right = rows().filter(|(class, row)| likeliest(row) == Some(**class)).count();
    let off = |class: usize, row: &[f64]| -> f64 {
        row.iter().enumerate().map(|(index, found)| (found - f64::from(u8::from(index == class))).powi(2)).sum()
    };
    let brier = rows().map(|(class, row)| off(*class, row)).sum::<f64>() / count;
    Quality::Classification { accuracy: right as f64 / count, area_under_roc, brier }
}

/// The area under the ROC curve: how often a row that is so has the larger score than one that is not, ties as half.
/// Source: Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982.
fn area(scores: &[f64], truth: &[bool]) -> Option<f64> {
    let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(truth.iter().copied()).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives = pairs.iter().filter(|(_, truth)| *truth).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    let (mut below, mut won) = (0.0, 0.0);
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let ours = tied.iter().filter(|(_, truth)| *truth).count() as f64;
        let theirs = tied.len() as f64 - ours;
        won += ours * (below + theirs / 2.0);
        below += theirs;
    }
    (positives > 0.0 && negatives > 0.0).then(|| won / (positives * negatives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs() {
        let area = |scores: &[f64], truth: &[u8]| {
            super::area(scores, &truth.iter().map(|truth| *truth == 1).collect::<Vec<_>>())
        };
        // sklearn.metrics.roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.75.
        assert_eq!(area(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1]), Some(0.75));
        assert_eq!(area(&[0.5, 0.5, 0.5], &[0, 1, 1]), Some(0.5));
        assert_eq!(area(&[0.5, 0.6], &[1, 1]), None);
    }

    #[test]
    fn regressions_and_classifiers_are_measured_as_the_field_does() {
        let Quality::Regression { mean_absolute_error, root_mean_square_error, explained_variance } =
            regression(&[3.0, -0.5, 2.0, 7.0], &[2.5, 0.0, 2.0, 8.0])
        else {
            panic!("a regression")
        };
        // scikit-learn's own examples.
        assert_eq!((mean_absolute_error, root_mean_square_error), (0.5, 0.375_f64.sqrt()));
        assert!((explained_variance.unwrap() - 0.948_608_137_044_967_9).abs() < 1e-12);
        let found = classification(&[0, 1, 1], 2, &[0.9, 0.1, 0.2, 0.8, 0.7, 0.3], None);
        let Quality::Classification { accuracy, brier, .. } = found else { panic!("a classification") };
        assert!((accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert!((brier - (0.02 + 0.08 + 0.98) / 3.0).abs() < 1e-12, "{brier}");
    }

    #[test]
    fn classes_are_written_as_labels_numbers_or_truth() {
        let labels = ["healthy".to_owned(), "failure".to_owned()];
        let read =
            |text: &str| Targets::read("the reference", text.as_bytes(), "y", OutputKind::Classification, &labels);
        assert_eq!(read("y\nfailure\n0\n1.0\nTrue\nfalse\n"), Ok(Targets::Classes(vec![1, 0, 1, 1, 0])));
        for wrong in ["y\n2\n", "y\n0.5\n", "y\n-1\n", "y\nbroken\n", "y\n\"\"\n"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with("the reference, line 2, column \"y\": ") && error.contains("healthy, failure"),
                "{error}"
            );
        }
        // Numbers may be labels of other classes.
        let turned = ["1".to_owned(), "0".to_owned()];
        assert_eq!(class("0", &turned), Some(1));
    }
}
