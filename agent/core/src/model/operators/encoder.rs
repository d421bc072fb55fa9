//! Operators on categories: `LabelEncoder` and `OneHotEncoder`, for categories that are numbers.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::tract_hir::internal::{Datum, DatumType};

use super::{Rows, Shape};
use crate::model::graph::MOST_COLUMNS;
use crate::model::graph::attributes::Attributes;

/// More categories than this are taken for a mistake.
const MOST_CATEGORIES: usize = 1_000_000;

/// A table from numbers to numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lookup {
    /// Each key once, finite or NaN.
    pub(crate) pairs: Vec<(f64, f64)>,
    /// For all that is no key.
    pub(crate) default: f64,
}

impl Lookup {
    /// What the table says of a number.
    pub(crate) fn of(&self, key: f64) -> f64 {
        let same = |other: f64| other == key || other.is_nan() && key.is_nan();
        self.pairs.iter().find(|(other, _)| same(*other)).map_or(self.default, |(_, value)| *value)
    }
}

/// The table of a `LabelEncoder`, each key once, and the kind of number that it gives.
pub(crate) fn label_encoder(node: &NodeProto) -> Result<(Lookup, DataType), String> {
    let attributes = Attributes(node);
    let (keys, _) = list(&attributes, "keys")?;
    let (values, kind) = list(&attributes, "values")?;
    if keys.len() != values.len() || keys.is_empty() || keys.len() > MOST_CATEGORIES {
        return Err("the keys and values of the operator LabelEncoder differ in number, or there are none; export the model again".to_owned());
    }
    let default = match attributes.tensor("default_tensor")?.as_deref() {
        Some([value, ..]) => *value,
        _ if kind == DataType::Int64 => attributes.int("default_int64").unwrap_or(-1) as f64,
        _ => f64::from(attributes.float("default_float").unwrap_or(-0.0)),
    };
    let mut known = HashMap::with_capacity(keys.len());
    let mut pairs = Vec::with_capacity(keys.len());
    for (key, value) in keys.into_iter().zip(values) {
        // The first of two equal keys counts.
        known.entry(bits(key)).or_insert_with(|| pairs.push((key, value)));
    }
    Ok((Lookup { pairs, default }, kind))
}

/// Keys or values, from whichever attribute has them.
fn list(attributes: &Attributes<'_>, name: &str) -> Result<(Vec<f64>, DataType), String> {
    let tensor = format!("{name}_tensor");
    if let Some(numbers) = attributes.tensor(&tensor)? {
        let kind =
            attributes.get(&tensor).and_then(|attribute| attribute.t.as_ref()).map_or(0, |tensor| tensor.data_type);
        return Ok((numbers, DataType::try_from(kind).unwrap_or(DataType::Float)));
    }
    let (floats, wholes) = (attributes.floats(&format!("{name}_floats")), attributes.ints(&format!("{name}_int64s")));
    match (floats, wholes) {
        ([], []) => Err(format!(
            "the operator LabelEncoder has {name} that are no numbers; export the model with its categories as numbers"
        )),
        ([], wholes) => Ok((wholes.iter().map(|&value| value as f64).collect(), DataType::Int64)),
        (floats, _) => Ok((floats.iter().map(|&value| f64::from(value)).collect(), DataType::Float)),
    }
}

/// Equal numbers as equal integers; NaN is equal to itself.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// `LabelEncoder` as an operator.
#[derive(Debug)]
pub(super) struct Encoder {
    table: HashMap<u64, f64>,
    default: f64,
}

impl Encoder {
    pub(super) fn read(node: &NodeProto) -> Result<(Self, DatumType), String> {
        let (Lookup { pairs, default }, kind) = label_encoder(node)?;
        let kind = match kind {
            DataType::Int64 => i64::datum_type(),
            DataType::Double => f64::datum_type(),
            _ => f32::datum_type(),
        };
        Ok((Self { table: pairs.into_iter().map(|(key, value)| (bits(key), value)).collect(), default }, kind))
    }
}

impl Rows for Encoder {
    fn shape(&self, _columns: usize) -> Result<Shape, String> {
        Ok(Shape::Same)
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        out.extend(row.iter().map(|&key| self.table.get(&bits(key)).copied().unwrap_or(self.default)));
        Ok(())
    }
}

/// One column of zeros and ones per category.
#[derive(Debug)]
pub(crate) struct OneHot {
    /// Whole numbers, each once.
    pub(crate) categories: Vec<f64>,
    /// Whether other values become zeros throughout; if not, there is no answer for them.
    pub(crate) unknown_allowed: bool,
}

impl OneHot {
    pub(crate) fn read(node: &NodeProto) -> Result<Self, String> {
        let attributes = Attributes(node);
        let categories = attributes.ints("cats_int64s");
        if categories.is_empty() || categories.len() > MOST_CATEGORIES {
            return Err("the operator OneHotEncoder has categories that are no whole numbers; export the model with its categories as numbers".to_owned());
        }
        let mut sorted = categories.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != categories.len() {
            return Err("the operator OneHotEncoder has a category twice; export the model again".to_owned());
        }
        let categories = categories.iter().map(|&category| category as f64).collect();
        Ok(Self { categories, unknown_allowed: attributes.int("zeros").unwrap_or(1) != 0 })
    }
}

impl Rows for OneHot {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        if columns.saturating_mul(self.categories.len()) > MOST_COLUMNS {
            return Err(format!(
                "the operator OneHotEncoder makes more than {MOST_COLUMNS} columns; use fewer categories"
            ));
        }
        Ok(Shape::Deeper(self.categories.len()))
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        for x in row.iter().map(|x| x.trunc()) {
            if !self.unknown_allowed && !self.categories.contains(&x) {
                return Err(format!("{x} is none of the categories that the model knows"));
            }
            out.extend(self.categories.iter().map(|category| f64::from(u8::from(*category == x))));
        }
        Ok(())
    }
}
