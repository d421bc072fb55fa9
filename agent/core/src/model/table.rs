//! Rows of features, read from CSV by column name.

use std::sync::Arc;

use csv::StringRecord;

use super::error::{BundleError, Place};
use super::manifest::{Feature, Manifest};

/// Most values in one table: 256 MB of them.
const MOST_VALUES: usize = 64_000_000;

/// Rows of model inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns' names, in model order: features, or for windows `feature@step`.
    pub columns: Vec<Arc<str>>,
    /// The values, row after row, each row in model order.
    pub rows: Vec<f32>,
}

impl Table {
    /// Reads a table that has the manifest's columns, in any order; other columns are left alone.
    ///
    /// A word stands for the number that the feature's categories give it. `file` is the name that errors state.
    ///
    /// # Errors
    /// [`BundleError::Invalid`] with line and column: a column that is missing, a cell that is no finite number, a
    /// word that is no category, or more values than fit.
    pub fn read(file: &str, bytes: &[u8], manifest: &Manifest) -> Result<Self, BundleError> {
        let mut sheet = Sheet::open(file, bytes)?;
        let columns = manifest.columns();
        let cells = sheet.cells(&columns)?;
        let mut rows = Vec::new();
        while sheet.advance()? {
            sheet.read_row(&manifest.features, &cells, &mut rows)?;
        }
        if rows.is_empty() {
            return Err(BundleError::at(Place::file(file), "there are no rows below the header; add at least one"));
        }
        Ok(Self { columns, rows })
    }

    /// Number of values in a row.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.width().max(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, one after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.rows.chunks_exact(self.width().max(1))
    }
}

/// A CSV file being read, which knows where it is.
pub(crate) struct Sheet<'a> {
    file: &'a str,
    header: Vec<String>,
    reader: csv::Reader<&'a [u8]>,
    record: StringRecord,
    semicolons: bool,
    bytes: &'a [u8],
    /// How far line ends are counted, and how many there were.
    counted: (usize, u64),
}

impl<'a> Sheet<'a> {
    /// Reads the header.
    pub(crate) fn open(file: &'a str, bytes: &'a [u8]) -> Result<Self, BundleError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let header: Vec<String> = reader
            .headers()
            .map_err(|error| broken(Place::file(file).line(1), &error))?
            .iter()
            .map(str::to_owned)
            .collect();
        let semicolons = header.len() == 1 && header.iter().any(|name| name.contains(';'));
        Ok(Self { file, header, reader, record: StringRecord::new(), semicolons, bytes, counted: (0, 0) })
    }

    /// The columns' names.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The one column of this name.
    pub(crate) fn column(&self, name: &str) -> Result<Option<usize>, BundleError> {
        let mut found = self.header.iter().enumerate().filter(|(_, column)| *column == name);
        let first = found.next().map(|(index, _)| index);
        if found.next().is_some() {
            let place = Place::file(self.file).line(1).column(name);
            return Err(BundleError::at(place, "two columns have this name; remove or rename one"));
        }
        Ok(first)
    }

    /// Where each of the model's columns is.
    pub(crate) fn cells(&self, columns: &[Arc<str>]) -> Result<Vec<usize>, BundleError> {
        columns
            .iter()
            .map(|name| {
                let problem = "the feature has no column; add it, named as in manifest.toml (for windows one for each \
                               step: feature@0 is the oldest)";
                self.column(name)?.ok_or_else(|| self.missing(name, problem))
            })
            .collect()
    }

    /// Goes to the next row; false when there is none.
    pub(crate) fn advance(&mut self) -> Result<bool, BundleError> {
        let read = self.reader.read_record(&mut self.record);
        let start = match &read {
            Ok(_) => self.record.position(),
            Err(error) => error.position(),
        };
        let start = start.and_then(|position| usize::try_from(position.byte()).ok());
        self.count(start.unwrap_or_default());
        read.map_err(|error| broken(Place::file(self.file).line(self.line()), &error))
    }

    /// Counts line ends up to a row's first character. The reader's own count runs behind where they are CRLF or where
    /// lines are empty.
    fn count(&mut self, start: usize) {
        let (seen, lines) = self.counted;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let end = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count().saturating_add(start);
        let between = self.bytes.get(seen..end).unwrap_or_default();
        let more = between.iter().filter(|byte| **byte == b'\n').count();
        self.counted = (end.max(seen), lines + u64::try_from(more).unwrap_or_default());
    }

    /// The row's line in the file.
    pub(crate) fn line(&self) -> u64 {
        self.counted.1 + 1
    }

    /// A cell's text.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    /// A cell's number.
    pub(crate) fn number(&self, column: usize) -> Result<f64, BundleError> {
        let text = self.text(column);
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => {
                Err(self
                    .wrong(column, format!("\"{}\" is not a finite number; correct or remove the row", brief(text))))
            }
        }
    }

    /// Appends the row's values to `rows`: all features in turn, for windows again at each step.
    pub(crate) fn read_row(
        &self,
        features: &[Feature],
        cells: &[usize],
        rows: &mut Vec<f32>,
    ) -> Result<(), BundleError> {
        if rows.len().saturating_add(cells.len()) > MOST_VALUES {
            let problem = format!("the table holds more than {MOST_VALUES} values; leave rows out");
            return Err(BundleError::at(Place::file(self.file).line(self.line()), problem));
        }
        for (feature, &column) in features.iter().cycle().zip(cells) {
            rows.push(self.value(feature, column)?);
        }
        Ok(())
    }

    /// A feature's value as the model takes it: read as float64 and rounded once, as trainers do.
    fn value(&self, feature: &Feature, column: usize) -> Result<f32, BundleError> {
        let text = self.text(column);
        if let Some(&number) = feature.categories.get(text) {
            return Ok(number as f32);
        }
        if feature.missing && (text.trim().is_empty() || text.trim().eq_ignore_ascii_case("nan")) {
            return Ok(f32::NAN);
        }
        let number = self.number_or_word(feature, column)? as f32;
        if !number.is_finite() {
            return Err(self.wrong(column, format!("{} is too large for the model's float32", brief(text))));
        }
        Ok(number)
    }

    fn number_or_word(&self, feature: &Feature, column: usize) -> Result<f64, BundleError> {
        if feature.categories.is_empty() {
            return self.number(column);
        }
        let text = self.text(column);
        let known = |number: &f64| feature.categories.values().any(|value| value == number);
        text.parse::<f64>().ok().filter(known).ok_or_else(|| {
            let words: Vec<&str> = feature.categories.keys().map(String::as_str).collect();
            let problem = format!("\"{}\" is none of the feature's categories: {}", brief(text), words.join(", "));
            self.wrong(column, problem)
        })
    }

    /// An error about a column that is not there.
    pub(crate) fn missing(&self, column: &str, problem: &str) -> BundleError {
        let problem = match self.semicolons {
            true => "the file's columns are separated by semicolons; separate them by commas",
            false => problem,
        };
        BundleError::at(Place::file(self.file).line(1).column(column), problem)
    }

    /// An error at a cell of this row.
    pub(crate) fn wrong(&self, column: usize, problem: impl Into<String>) -> BundleError {
        let name = self.header.get(column).map_or("", String::as_str);
        BundleError::at(Place::file(self.file).line(self.line()).column(name), problem)
    }
}

/// The start of a cell, for a sentence.
fn brief(text: &str) -> String {
    let mut start: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

/// A file that is no CSV.
fn broken(place: Place, error: &csv::Error) -> BundleError {
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} cells and the header {expected_len}; give each row as many cells as the header")
        }
        csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8; save the file as UTF-8".to_owned(),
        _ => format!("the file is not readable as CSV: {error}"),
    };
    BundleError::at(place, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\nname = \"a\"\n\
                    [[feature]]\nname = \"b\"\ncategories = { L = 0, M = 1 }\n\
                    [output]\nkind = \"regression\"\ntensor = \"y\"\n";
        Manifest::parse(text).expect("a sound manifest")
    }

    #[test]
    fn columns_are_found_by_name_and_words_become_numbers() {
        let bytes = b"\xef\xbb\xbfb,other,a\nM,x, 1.5\n0,,-2e3\n\"L\",y,0.1\n";
        let table = Table::read("input.csv", bytes, &manifest()).expect("a sound table");
        assert_eq!(table.columns, ["a".into(), "b".into()]);
        assert_eq!(table.rows, [1.5, 1.0, -2000.0, 0.0, 0.1, 0.0]);
        assert_eq!((table.len(), table.width()), (3, 2));
        assert_eq!(table.iter().nth(1), Some(&[-2000.0, 0.0][..]));
    }

    #[test]
    fn a_window_has_a_column_for_each_step_and_feature() {
        let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[input]\nkind = \"window\"\nsteps = 2\n\
                    [[feature]]\nname = \"a\"\n[[feature]]\nname = \"b\"\ncategories = { L = 0, M = 1 }\n\
                    [output]\nkind = \"regression\"\ntensor = \"y\"\n";
        let manifest = Manifest::parse(text).expect("a sound manifest");
        let table = Table::read("input.csv", b"b@1,b@0,a@1,a@0\nM,L,2,1\n", &manifest).expect("a sound table");
        assert_eq!(table.columns.join(" "), "a@0 b@0 a@1 b@1");
        assert_eq!((table.rows.as_slice(), table.len()), (&[1.0, 0.0, 2.0, 1.0][..], 1));
        let error = Table::read("input.csv", b"a@0,b@0,a@1\n1,L,2\n", &manifest).expect_err("a step short").to_string();
        assert!(error.contains("line 1, column \"b@1\": the feature has no column"), "{error}");
    }

    #[test]
    fn a_broken_table_is_refused_with_line_and_column() {
        let cases: [(&[u8], &str); 13] = [
            (b"a,b\n1,L\nx,M\n", "line 3, column \"a\": \"x\" is not a finite number"),
            (b"a,b\nNaN,L\n", "line 2, column \"a\": \"NaN\" is not a finite number"),
            (b"a,b\n-inf,L\n", "line 2, column \"a\""),
            (b"a,b\n1e39,L\n", "line 2, column \"a\": 1e39 is too large"),
            (b"a,b\n,L\n", "line 2, column \"a\": \"\" is not"),
            (b"a,b\n1,H\n", "line 2, column \"b\": \"H\" is none of the feature's categories: L, M"),
            (b"a,b\n1,7\n", "line 2, column \"b\": \"7\" is none of"),
            (b"a,c\n1,2\n", "line 1, column \"b\": the feature has no column"),
            (b"a;b\n1;L\n", "separated by semicolons"),
            (b"a,b,a\n1,L,2\n", "line 1, column \"a\": two columns have this name"),
            (b"a,b\n1\n", "line 2: the row has 1 cells and the header 2"),
            (b"a,b\n\xff,L\n", "line 2: the text is not UTF-8"),
            (b"a,b\n", "no rows"),
        ];
        for (bytes, expected) in cases {
            let error = Table::read("input.csv", bytes, &manifest()).expect_err(expected).to_string();
            assert!(error.starts_with("input.csv") && error.contains(expected), "{error}\nshould have: {expected}");
        }
    }
}
