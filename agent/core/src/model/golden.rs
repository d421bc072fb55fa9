//! Golden rows: inputs with the outputs that the trainer got, replayed before a model is trusted.

use super::bundle::GOLDEN;
use super::error::{BundleError, Place};
use super::manifest::Manifest;
use super::table::Sheet;

/// Largest difference from a golden output, relative to the largest of them (or to 1, where all are smaller).
const TOLERANCE: f64 = 1e-6;
/// The column that says who computed the outputs.
pub(super) const ORIGIN: &str = "origin";

/// What a replay of the golden rows showed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verified {
    /// Rows replayed; zero for a bundle without golden rows.
    pub rows: usize,
    /// Outputs compared.
    pub values: usize,
    /// The largest difference.
    pub largest_error: f64,
    /// The largest difference that is allowed for these outputs.
    pub tolerance: f64,
    /// Who computed the expected outputs, where the file says: `trainer` or `bundle-create`.
    pub origin: Option<String>,
}

/// The golden rows of a bundle.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Golden {
    /// Inputs, flat.
    pub(super) rows: Vec<f32>,
    /// Each row's line in the file.
    lines: Vec<u64>,
    /// Which columns of the output tensor are given.
    outputs: Vec<usize>,
    /// The expected outputs, flat.
    expected: Vec<f64>,
    origin: Option<String>,
}

/// The name of the column for one column of a tensor.
pub(super) fn column_name(tensor: &str, column: usize) -> String {
    format!("output:{tensor}[{column}]")
}

impl Golden {
    /// Reads the rows. Outputs of tensors other than the manifest's are left alone.
    pub(super) fn read(bytes: &[u8], manifest: &Manifest, columns: usize) -> Result<Self, BundleError> {
        let mut sheet = Sheet::open(GOLDEN, bytes)?;
        let cells = sheet.cells(&manifest.columns())?;
        let tensor = &manifest.output.tensor;
        let mut places = Vec::new();
        let mut golden = Self::default();
        for column in 0..columns {
            if let Some(place) = sheet.column(&column_name(tensor, column))? {
                places.push(place);
                golden.outputs.push(column);
            }
        }
        if places.is_empty() {
            let place = Place::file(GOLDEN).line(1).column(&column_name(tensor, 0));
            return Err(BundleError::at(
                place,
                "there is no expected output; add this column, or more of the same tensor",
            ));
        }
        let origin = sheet.column(ORIGIN)?;
        while sheet.advance()? {
            sheet.read_row(&manifest.features, &cells, &mut golden.rows)?;
            golden.lines.push(sheet.line());
            for &place in &places {
                golden.expected.push(sheet.number(place)?);
            }
            if let Some(origin) = origin {
                golden.origin.get_or_insert_with(|| sheet.text(origin).to_owned());
            }
        }
        if golden.lines.is_empty() {
            return Err(BundleError::at(
                Place::file(GOLDEN),
                "there are no rows below the header; add rows or remove the file",
            ));
        }
        Ok(golden)
    }

    /// Compares what a model of `columns` output columns gave for the rows.
    pub(super) fn compare(&self, found: &[f64], columns: usize, tensor: &str) -> Result<Verified, BundleError> {
        let largest = self.expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
        let tolerance = TOLERANCE * largest;
        let mut largest_error = 0.0_f64;
        let rows = found.chunks_exact(columns).zip(self.expected.chunks_exact(self.outputs.len()));
        for ((found, expected), &line) in rows.zip(&self.lines) {
            for (&column, &expected) in self.outputs.iter().zip(expected) {
                let found = found.get(column).copied().unwrap_or(f64::NAN);
                let error = (found - expected).abs();
                if error.is_nan() || error > tolerance {
                    return Err(BundleError::Golden {
                        line,
                        tensor: tensor.to_owned(),
                        column,
                        expected,
                        found,
                        tolerance,
                    });
                }
                largest_error = largest_error.max(error);
            }
        }
        Ok(Verified {
            rows: self.lines.len(),
            values: self.expected.len(),
            largest_error,
            tolerance,
            origin: self.origin.clone(),
        })
    }

    /// The rows again as CSV values: for each the inputs, and the outputs given.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[f32], &[f64])> {
        let width = self.rows.len() / self.lines.len().max(1);
        self.rows.chunks_exact(width.max(1)).zip(self.expected.chunks_exact(self.outputs.len().max(1)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Who computed the outputs, where the file says.
    pub(super) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Which columns of the output tensor are given.
    pub(super) fn outputs(&self) -> &[usize] {
        &self.outputs
    }
}
