//! Which feature each column of a tensor comes from, and what was done to it on the way.
//!
//! Pipelines scale, impute and encode features before the model proper. As long as each column still depends on a single
//! feature, that front need not be run: trees take it into their splits, linear models into their weights. So what is
//! said of the features stays exact, several columns of one feature (as of a category) included.

pub(crate) mod region;
pub(crate) mod step;
pub(crate) mod work;

use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use self::region::Region;
use self::step::Step;
use self::work::{Spent, Work};
use super::graph::attributes::Attributes;
use super::graph::{Constant, MOST_COLUMNS, Wiring, check_width};
use super::operators::encoder::{self, Lookup};
use super::operators::{Imputer, Scaler};

/// Operators one behind the other.
const MOST_STEPS: usize = 64;

/// A column of a tensor: one feature, and the steps from it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) feature: u32,
    pub(crate) steps: Vec<Step>,
}

impl Column {
    /// The values of the feature that the column takes into `region`.
    ///
    /// # Errors
    /// [`Spent`] when that is too much work.
    pub(crate) fn before(&self, region: Region, work: &mut Work) -> Result<Region, Spent> {
        self.steps.iter().rev().try_fold(region, |region, step| {
            work.take(1 + step.effort(&region))?;
            Ok(step.before(&region))
        })
    }

    /// The column's value for one of the feature.
    pub(crate) fn of(&self, value: f64) -> f64 {
        self.steps.iter().fold(value, |value, step| step.apply(value))
    }

    /// `(a, b)` where the column is `a·x + b` but for rounding.
    pub(crate) fn affine(&self) -> Option<(f64, f64)> {
        self.steps.iter().try_fold((1.0, 0.0), |(a, b), step| step.affine().map(|(c, d)| (c * a, c * b + d)))
    }
}

/// The columns of a tensor `[N, columns]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns {
    pub(crate) columns: Vec<Column>,
    /// Features with the values that they may have: an encoder without room for others fails on them.
    pub(crate) allowed: Vec<(u32, Region)>,
}

/// A tensor under way: as [`Columns`], with the shape behind the first dimension.
struct Traced {
    columns: Vec<Column>,
    dims: Vec<usize>,
    kind: DataType,
}

/// Why a tensor has no columns of this kind.
enum Refused {
    /// It is computed in some other way, which may be perfectly fine.
    General,
    /// The file is wrong.
    Wrong(String),
}

impl From<String> for Refused {
    fn from(problem: String) -> Self {
        Self::Wrong(problem)
    }
}

impl From<Spent> for Refused {
    fn from(Spent: Spent) -> Self {
        Self::Wrong(
            "what stands before the trees or the linear model changes more columns, more often, than can be followed; export              the model again with fewer operators before it"
                .to_owned(),
        )
    }
}

impl Columns {
    /// `width` features as they are.
    pub(crate) fn plain(width: usize) -> Result<Self, String> {
        if width > MOST_COLUMNS {
            return Err(format!("the model takes {width} columns; at most {MOST_COLUMNS} are supported"));
        }
        Ok(Self { columns: features(width), allowed: Vec::new() })
    }

    /// The columns of `tensor` in a model of `width` features; none where some column depends on several features, or
    /// on one in a way that is not known here.
    ///
    /// # Errors
    /// A sentence on an operator that is wrong in itself, or on more of them than there is `work` for.
    pub(crate) fn of(wiring: &Wiring<'_>, tensor: &str, width: usize, work: &mut Work) -> Result<Option<Self>, String> {
        let mut trace = Trace { wiring, width, work, allowed: Vec::new() };
        match trace.tensor(tensor, 0) {
            Ok(traced) if traced.dims.len() == 1 => Ok(Some(Self { columns: traced.columns, allowed: trace.allowed })),
            Ok(_) | Err(Refused::General) => Ok(None),
            Err(Refused::Wrong(problem)) => Err(problem),
        }
    }
}

fn features(width: usize) -> Vec<Column> {
    (0..width).filter_map(|feature| Some(Column { feature: u32::try_from(feature).ok()?, steps: Vec::new() })).collect()
}

struct Trace<'a> {
    wiring: &'a Wiring<'a>,
    width: usize,
    work: &'a mut Work,
    allowed: Vec<(u32, Region)>,
}

impl Trace<'_> {
    fn tensor(&mut self, name: &str, depth: usize) -> Result<Traced, Refused> {
        if depth > MOST_STEPS {
            return Err(Refused::General);
        }
        let traced = if let Some(input) = self.wiring.input(name) {
            check_width(input, self.width)?;
            Traced { columns: features(self.width), dims: vec![self.width], kind: DataType::Float }
        } else {
            let node = self.wiring.producer(name).ok_or(Refused::General)?;
            self.work.take(node.input.len() + node.attribute.len())?;
            self.operator(node, depth + 1)?
        };
        // A tensor that is read in several places is followed anew from each.
        self.work.take(1 + traced.columns.iter().map(|column| 1 + column.steps.len()).sum::<usize>())?;
        Ok(traced)
    }

    /// A tensor that is the same for every row.
    fn constant(&mut self, name: &str) -> Result<Option<Constant>, Spent> {
        let constant = self.wiring.constant(name);
        self.work.take(constant.as_ref().map_or(0, |constant| constant.numbers.len()))?;
        Ok(constant)
    }

    fn operator(&mut self, node: &NodeProto, depth: usize) -> Result<Traced, Refused> {
        let attributes = Attributes(node);
        let first = node.input.first().map_or("", String::as_str);
        match node.op_type.as_str() {
            "Concat" | "FeatureVectorizer" => self.joined(node, depth),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(node, depth),
            "Identity" => self.tensor(first, depth),
            "Cast" => cast(self.tensor(first, depth)?, attributes.int("to").unwrap_or(0)),
            "Reshape" | "Flatten" => self.reshaped(node, depth),
            "ArrayFeatureExtractor" | "Gather" => self.picked(node, depth),
            "Scaler" => {
                let traced = self.tensor(first, depth)?;
                let scaler = Scaler::read(node)?.for_columns(traced.columns.len())?;
                if scaler.iter().any(|(offset, scale)| !offset.is_finite() || !scale.is_normal()) {
                    return Err(Refused::General);
                }
                Ok(traced.singles().each(|index| {
                    let (offset, scale) = scaler[index];
                    vec![
                        Step::Add { by: -f64::from(offset), single: true },
                        Step::Times { by: f64::from(scale), single: true },
                    ]
                }))
            }
            "Imputer" => {
                let traced = self.tensor(first, depth)?;
                let imputer = Imputer::read(node)?;
                let values = imputer.for_columns(traced.columns.len())?;
                if imputer.replaced.is_infinite() {
                    return Err(Refused::General);
                }
                Ok(traced.each(|index| vec![Step::Impute { replaced: imputer.replaced, by: values[index] }]))
            }
            "Binarizer" => {
                let threshold = f64::from(attributes.float("threshold").unwrap_or(0.0));
                let traced = self.tensor(first, depth)?.singles();
                // It fails on NaN.
                let numbers = Region { nan: false, ..Region::constant(true) };
                for column in &traced.columns {
                    self.allowed.push((column.feature, column.before(numbers.clone(), self.work)?));
                }
                Ok(traced.each(|_| vec![Step::Above(threshold)]))
            }
            "LabelEncoder" => {
                let traced = self.tensor(first, depth)?;
                let (table, kind) = encoder::label_encoder(node)?;
                self.work.take(table.pairs.len())?;
                if table.pairs.iter().any(|(key, _)| key.is_infinite()) {
                    return Err(Refused::General);
                }
                let table = Arc::new(table);
                Ok(Traced { kind, ..traced }.each(|_| vec![Step::Lookup(Arc::clone(&table))]))
            }
            "OneHotEncoder" => {
                let traced = self.tensor(first, depth)?;
                self.one_hot(&encoder::OneHot::read(node)?, traced)
            }
            _ => Err(Refused::General),
        }
    }

    /// One column of zeros and ones per category.
    fn one_hot(&mut self, encoder: &encoder::OneHot, traced: Traced) -> Result<Traced, Refused> {
        self.work.take(encoder.categories.len())?;
        let traced = traced.each(|_| vec![Step::Whole { limit: WHOLE_64 }]);
        let count = traced.columns.len().checked_mul(encoder.categories.len()).filter(|&count| count <= MOST_COLUMNS);
        let mut columns = Vec::with_capacity(count.ok_or(Refused::General)?);
        for column in &traced.columns {
            if !encoder.unknown_allowed {
                self.work.take(encoder.categories.len())?;
                let known = Region::points(encoder.categories.iter().copied());
                self.allowed.push((column.feature, column.before(known, self.work)?));
            }
            columns.extend(encoder.categories.iter().map(|&category| {
                let table = Lookup { pairs: vec![(category, 1.0)], default: 0.0 };
                let steps = column.steps.iter().cloned().chain([Step::Lookup(Arc::new(table))]).collect();
                Column { feature: column.feature, steps }
            }));
        }
        let dims = traced.dims.into_iter().chain([encoder.categories.len()]).collect();
        Ok(Traced { columns, dims, kind: DataType::Float })
    }

    /// Columns side by side.
    fn joined(&mut self, node: &NodeProto, depth: usize) -> Result<Traced, Refused> {
        let vectorizer = node.op_type == "FeatureVectorizer";
        let attributes = Attributes(node);
        let widths = attributes.ints("inputdimensions");
        let along = vectorizer || attributes.int("axis").is_some_and(|axis| axis == 1 || axis == -1);
        let mut all = Traced { columns: Vec::new(), dims: vec![0], kind: DataType::Float };
        for (index, input) in node.input.iter().enumerate() {
            let traced = self.tensor(input, depth)?;
            let traced = if vectorizer { traced.singles() } else { traced };
            // A vectorizer cuts and fills up columns to the width that it states; exporters state the width there is.
            let stated =
                !vectorizer || widths.get(index).is_some_and(|&w| usize::try_from(w) == Ok(traced.columns.len()));
            let fits = all.columns.len() + traced.columns.len() <= MOST_COLUMNS;
            if !(along && stated && fits && traced.dims.len() == 1 && (index == 0 || traced.kind == all.kind)) {
                return Err(Refused::General);
            }
            all.kind = traced.kind;
            all.columns.extend(traced.columns);
        }
        all.dims = vec![all.columns.len()];
        Ok(all)
    }

    /// Sums, differences, products and quotients with a constant.
    fn arithmetic(&mut self, node: &NodeProto, depth: usize) -> Result<Traced, Refused> {
        let [left, right] = node.input.as_slice() else { return Err(Refused::General) };
        let (constant, tensor, swapped) = match (self.constant(left)?, self.constant(right)?) {
            (None, Some(constant)) => (constant, left, false),
            (Some(constant), None) => (constant, right, true),
            _ => return Err(Refused::General),
        };
        let traced = self.tensor(tensor, depth)?;
        let single = match (traced.kind, constant.double) {
            (DataType::Float, false) => true,
            (DataType::Double, true) => false,
            _ => return Err(Refused::General),
        };
        let values = per_column(&constant, traced.columns.len()).filter(|_| traced.dims.len() == 1);
        let values = values.ok_or(Refused::General)?;
        let divides = matches!(node.op_type.as_str(), "Mul" | "Div");
        if values.iter().any(|by| !by.is_finite() || divides && !by.is_normal()) || node.op_type == "Div" && swapped {
            return Err(Refused::General);
        }
        Ok(traced.each(|index| {
            let by = values[index];
            vec![match node.op_type.as_str() {
                "Add" => Step::Add { by, single },
                "Sub" if swapped => Step::From { by, single },
                "Sub" => Step::Add { by: -by, single },
                "Mul" => Step::Times { by, single },
                _ => Step::Over { by, single },
            }]
        }))
    }

    /// Another shape for the same columns.
    fn reshaped(&mut self, node: &NodeProto, depth: usize) -> Result<Traced, Refused> {
        let traced = self.tensor(node.input.first().map_or("", String::as_str), depth)?;
        let count = traced.columns.len();
        let dims = if node.op_type == "Flatten" {
            if Attributes(node).int("axis").is_some_and(|axis| axis != 1) {
                return Err(Refused::General);
            }
            vec![count]
        } else {
            let shape = self.constant(node.input.get(1).ok_or(Refused::General)?)?.ok_or(Refused::General)?;
            let [rows, dims @ ..] = shape.numbers.as_slice() else { return Err(Refused::General) };
            // The rows must stay rows: -1 and 0 leave their number as it is, if the columns are spelled out.
            if *rows > 0.0 || dims.iter().any(|&dim| dim < 1.0 || dim > MOST_COLUMNS as f64) {
                return Err(Refused::General);
            }
            dims.iter().map(|&dim| dim as usize).collect()
        };
        let product = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        if product == Some(count) { Ok(Traced { dims, ..traced }) } else { Err(Refused::General) }
    }

    /// Some of the columns, by their numbers.
    fn picked(&mut self, node: &NodeProto, depth: usize) -> Result<Traced, Refused> {
        let [tensor, indices] = node.input.as_slice() else { return Err(Refused::General) };
        let traced = self.tensor(tensor, depth)?;
        let indices = self.constant(indices)?.ok_or(Refused::General)?;
        let gather = node.op_type == "Gather";
        let along = !gather || Attributes(node).int("axis").is_some_and(|axis| axis == 1 || axis == -1);
        // A scalar index would take the dimension away.
        if !along || traced.dims.len() != 1 || gather && indices.dims.len() != 1 || indices.numbers.len() > MOST_COLUMNS
        {
            return Err(Refused::General);
        }
        let count = traced.columns.len();
        let pick = |&index: &f64| {
            let index = if index < 0.0 && gather { index + count as f64 } else { index };
            (index >= 0.0).then(|| traced.columns.get(index as usize).cloned()).flatten()
        };
        let columns = indices.numbers.iter().map(pick).collect::<Option<Vec<Column>>>().ok_or_else(|| {
            Refused::Wrong(format!(
                "the operator {} picks a column that is not among {count}; export the model again",
                node.op_type
            ))
        })?;
        Ok(Traced { dims: vec![columns.len()], columns, kind: traced.kind })
    }
}

impl Traced {
    /// With more steps for each column, by its number.
    fn each(mut self, steps: impl Fn(usize) -> Vec<Step>) -> Self {
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.steps.extend(steps(index));
        }
        self
    }

    /// As float32.
    fn singles(self) -> Self {
        match self.kind {
            DataType::Float => self,
            _ => Self { kind: DataType::Float, ..self.each(|_| vec![Step::Single]) },
        }
    }
}

/// The largest whole numbers of the two kinds, as far as float64 knows them.
const WHOLE_64: f64 = 9_223_372_036_854_775_808.0;
const WHOLE_32: f64 = 2_147_483_648.0;

fn cast(traced: Traced, to: i64) -> Result<Traced, Refused> {
    let to = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok()).ok_or(Refused::General)?;
    match (traced.kind, to) {
        (_, DataType::Float) => Ok(traced.singles()),
        (_, DataType::Double) => Ok(Traced { kind: to, ..traced }),
        (_, DataType::Int64) => Ok(Traced { kind: to, ..traced.each(|_| vec![Step::Whole { limit: WHOLE_64 }]) }),
        (_, DataType::Int32) => Ok(Traced { kind: to, ..traced.each(|_| vec![Step::Whole { limit: WHOLE_32 }]) }),
        _ => Err(Refused::General),
    }
}

/// A constant that is added to rows of `columns` columns: one number for each.
fn per_column(constant: &Constant, columns: usize) -> Option<Vec<f64>> {
    let row = constant.dims.split_last().is_none_or(|(_, before)| before.iter().all(|&dim| dim == 1));
    match constant.numbers.as_slice() {
        [number] if constant.dims.len() <= 2 => Some(vec![*number; columns]),
        numbers if row && constant.dims.len() <= 2 && numbers.len() == columns => Some(numbers.to_vec()),
        _ => None,
    }
}
