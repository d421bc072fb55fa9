//! Tables as CSV text that reads back as it was.

use std::fmt::Write as _;

use crate::model::golden::{self, ORIGIN};
use crate::model::manifest::{Feature, Manifest};
use crate::model::table::Table;

/// Rows of features.
pub(super) fn table_csv(table: &Table, features: &[Feature]) -> String {
    let mut text = String::new();
    push_line(&mut text, table.columns.iter().map(ToString::to_string));
    for row in table.iter() {
        push_line(&mut text, cells(row, features));
    }
    text
}

/// Rows of features with calibration targets, as their column has them.
pub(super) fn calibration_csv(table: &Table, features: &[Feature], target: &str, targets: &[String]) -> String {
    let mut text = String::new();
    push_line(&mut text, table.columns.iter().map(ToString::to_string).chain([target.to_owned()]));
    for (row, target) in table.iter().zip(targets) {
        push_line(&mut text, cells(row, features).chain([target.clone()]));
    }
    text
}

/// Rows of features with outputs.
pub(super) fn golden_csv<'a>(
    manifest: &Manifest,
    columns: &[usize],
    rows: impl Iterator<Item = (&'a [f32], &'a [f64])>,
    origin: &str,
) -> String {
    let mut text = String::new();
    let names = manifest.columns().into_iter().map(|name| name.to_string());
    let outputs = columns.iter().map(|&column| golden::column_name(&manifest.output.tensor, column));
    push_line(&mut text, names.chain(outputs).chain([ORIGIN.to_owned()]));
    for (row, outputs) in rows {
        let outputs = outputs.iter().map(f64::to_string);
        push_line(&mut text, cells(row, &manifest.features).chain(outputs).chain([origin.to_owned()]));
    }
    text
}

/// Values as text that reads back as the same float32; categories as their words, which may themselves look like
/// numbers; a missing value as nothing.
fn cells<'a>(row: &'a [f32], features: &'a [Feature]) -> impl Iterator<Item = String> + 'a {
    row.iter().zip(features.iter().cycle()).map(|(&value, feature)| {
        let word = feature.categories.iter().find(|(_, number)| **number as f32 == value);
        let number = || if value.is_nan() { String::new() } else { value.to_string() };
        word.map_or_else(number, |(word, _)| word.clone())
    })
}

/// Adds a line of CSV. A cell that is empty is quoted: a line of one such cell would else be no line.
pub fn push_line(text: &mut String, cells: impl Iterator<Item = impl AsRef<str>>) {
    for (index, cell) in cells.enumerate() {
        let cell = cell.as_ref();
        let separator = if index == 0 { "" } else { "," };
        let quoted = cell.contains([',', '"', '\n', '\r']) || cell.is_empty();
        let _infallible = if quoted {
            write!(text, "{separator}\"{}\"", cell.replace('"', "\"\""))
        } else {
            write!(text, "{separator}{cell}")
        };
    }
    text.push('\n');
}
