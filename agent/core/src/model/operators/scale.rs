//! Operators that change each column, or each row, by a formula: `Scaler`, `Imputer`, `Normalizer`, `Binarizer`.

use tract_onnx::pb::NodeProto;

use super::{Rows, Shape};
use crate::model::graph::attributes::{Attributes, brief};

/// `(x - offset) · scale` in float32, with one offset and scale for all columns or one for each.
#[derive(Debug)]
pub(crate) struct Scaler {
    offsets: Vec<f32>,
    scales: Vec<f32>,
}

impl Scaler {
    pub(crate) fn read(node: &NodeProto) -> Result<Self, String> {
        let attributes = Attributes(node);
        let (offsets, scales) = (attributes.floats("offset").to_vec(), attributes.floats("scale").to_vec());
        if scales.is_empty() || offsets.len() != scales.len() {
            return Err("the lists offset and scale of the operator Scaler differ in length or are empty; export the model again".to_owned());
        }
        Ok(Self { offsets, scales })
    }

    /// Offset and scale of each of `columns` columns.
    pub(crate) fn for_columns(&self, columns: usize) -> Result<Vec<(f32, f32)>, String> {
        let both = self.offsets.iter().copied().zip(self.scales.iter().copied());
        spread(both.collect(), columns, "Scaler")
    }
}

/// One of something for each column, given as many or a single one.
fn spread<T: Copy>(list: Vec<T>, columns: usize, operator: &str) -> Result<Vec<T>, String> {
    match list.as_slice() {
        [single] => Ok(vec![*single; columns]),
        list if list.len() == columns => Ok(list.to_vec()),
        _ => Err(format!(
            "the operator {operator} has {} values for {columns} columns; export the model again",
            list.len()
        )),
    }
}

impl Rows for Scaler {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        self.for_columns(columns).map(|_| Shape::Same)
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let both = self.offsets.iter().zip(&self.scales).cycle();
        out.extend(row.iter().zip(both).map(|(&x, (offset, scale))| f64::from((x as f32 - offset) * scale)));
        Ok(())
    }
}

/// A value in place of one that stands for "missing".
#[derive(Debug)]
pub(crate) struct Imputer {
    /// What is replaced; may be NaN.
    pub(crate) replaced: f64,
    values: Vec<f64>,
}

impl Imputer {
    pub(crate) fn read(node: &NodeProto) -> Result<Self, String> {
        let attributes = Attributes(node);
        let floats = attributes.floats("imputed_value_floats");
        let wholes = attributes.ints("imputed_value_int64s");
        let (replaced, values): (f64, Vec<f64>) = match (floats, wholes) {
            ([_, ..], []) => {
                let replaced = attributes.float("replaced_value_float").unwrap_or(0.0);
                (f64::from(replaced), floats.iter().map(|&value| f64::from(value)).collect())
            }
            ([], [_, ..]) => {
                let replaced = attributes.int("replaced_value_int64").unwrap_or(0);
                (replaced as f64, wholes.iter().map(|&value| value as f64).collect())
            }
            _ => {
                return Err(
                    "the operator Imputer needs one list of values to put in; export the model again".to_owned()
                );
            }
        };
        Ok(Self { replaced, values })
    }

    /// What is put into each of `columns` columns.
    pub(crate) fn for_columns(&self, columns: usize) -> Result<Vec<f64>, String> {
        spread(self.values.clone(), columns, "Imputer")
    }
}

impl Rows for Imputer {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        self.for_columns(columns).map(|_| Shape::Same)
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let missing = |x: f64| x == self.replaced || x.is_nan() && self.replaced.is_nan();
        out.extend(row.iter().zip(self.values.iter().cycle()).map(|(&x, &value)| if missing(x) { value } else { x }));
        Ok(())
    }
}

/// Rows divided by a norm of theirs.
#[derive(Debug)]
pub(super) enum Normalizer {
    /// The largest value.
    Max,
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares; signs are kept.
    L2,
}

impl Normalizer {
    pub(super) fn read(node: &NodeProto) -> Result<Self, String> {
        match Attributes(node).string("norm").unwrap_or("MAX") {
            "MAX" => Ok(Self::Max),
            "L1" => Ok(Self::L1),
            "L2" => Ok(Self::L2),
            other => Err(format!("the norm {} is not supported; export the model with MAX, L1 or L2", brief(other))),
        }
    }
}

impl Rows for Normalizer {
    fn shape(&self, _columns: usize) -> Result<Shape, String> {
        Ok(Shape::Same)
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let norm = match self {
            Self::Max => row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::L1 => row.iter().map(|x| x.abs()).sum(),
            Self::L2 => row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        };
        let norm = if norm == 0.0 { 1.0 } else { norm };
        out.extend(row.iter().map(|x| x / norm));
        Ok(())
    }
}

/// One above a threshold, zero elsewhere.
#[derive(Debug)]
pub(super) struct Binarizer {
    threshold: f64,
}

impl Binarizer {
    pub(super) fn read(node: &NodeProto) -> Self {
        Self { threshold: f64::from(Attributes(node).float("threshold").unwrap_or(0.0)) }
    }
}

impl Rows for Binarizer {
    fn shape(&self, _columns: usize) -> Result<Shape, String> {
        Ok(Shape::Same)
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        if row.iter().any(|x| x.is_nan()) {
            return Err("a missing value cannot be compared with a threshold".to_owned());
        }
        out.extend(row.iter().map(|&x| f64::from(u8::from(x > self.threshold))));
        Ok(())
    }
}
