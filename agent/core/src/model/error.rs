//! What can be wrong with a bundle or with a row given to a model. Each error is one sentence: where, what, what to do.

use std::fmt;

use thiserror::Error;

use crate::domain::prediction::Digest;

/// A place in a file, as far as it is known: `background.csv, line 7, column "Torque [Nm]"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// Line, counted from 1.
    pub line: Option<u64>,
    /// Column of a table, by its name.
    pub column: Option<String>,
    /// Key of a TOML file, as a path: `feature[2].range`.
    pub key: Option<String>,
}

impl Place {
    /// A whole file.
    pub fn file(name: &str) -> Self {
        Self { file: name.to_owned(), line: None, column: None, key: None }
    }

    /// With a line.
    #[must_use]
    pub fn line(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }

    /// With a table's column.
    #[must_use]
    pub fn column(self, column: &str) -> Self {
        Self { column: Some(column.to_owned()), ..self }
    }

    /// With a TOML key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()).filter(|key| !key.is_empty()), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column \"{column}\"")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        Ok(())
    }
}

/// Why a bundle, or a table of rows for its model, is refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BundleError {
    /// A file that every bundle has is not there.
    #[error("{file} is missing from the bundle: {remedy}")]
    Missing {
        /// The file.
        file: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file is there that `SHA256SUMS` does not vouch for.
    #[error("{file} is not listed in SHA256SUMS: remove it, or make the bundle anew with `explaind bundle create`")]
    Unlisted {
        /// The file.
        file: String,
    },
    /// A file's content is not what `SHA256SUMS` says.
    #[error(
        "{file} was changed or damaged: its SHA-256 is {found}, SHA256SUMS says {expected}; \
         fetch the bundle again, or make it anew with `explaind bundle create`"
    )]
    Digest {
        /// The file.
        file: String,
        /// What `SHA256SUMS` says.
        expected: Digest,
        /// What the content gives.
        found: Digest,
    },
    /// A file is larger than anything of its kind should be.
    #[error("{file} has {bytes} bytes; at most {most} are accepted, make it smaller")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// Nobody vouches for it.
    #[error("the bundle is not signed: there is no SHA256SUMS.minisig; sign it with `explaind bundle sign`")]
    Unsigned,
    /// The signature does not fit.
    #[error(
        "SHA256SUMS.minisig was not made for this SHA256SUMS by {}; somebody else signed the bundle, or it was changed \
         since: do not use it, or name the key of whoever signed it",
        if *keys == 1 { "the owner of the key given".to_owned() } else { format!("the owner of one of the {keys} keys given") }
    )]
    Signature {
        /// How many keys were tried.
        keys: usize,
    },
    /// Something in a file is wrong.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where.
        place: Place,
        /// What, and what to do.
        problem: String,
    },
    /// Nothing says what the model should answer.
    #[error(
        "there is no golden.csv, whose rows show that the model answers here as it did where it was made; pack it with \
         `explaind bundle create`, which writes one"
    )]
    NoGolden,
    /// A golden row does not come out as its trainer says.
    #[error(
        "golden.csv, line {line}: {tensor}[{column}] should be {expected} and came out as {found}, \
         further off than {tolerance:e}; this model does not run here as it did for its trainer, do not use it"
    )]
    Golden {
        /// The row's line.
        line: u64,
        /// The output tensor.
        tensor: String,
        /// Its column.
        column: usize,
        /// The trainer's value.
        expected: f64,
        /// The value here.
        found: f64,
        /// The largest difference allowed.
        tolerance: f64,
    },
}

impl BundleError {
    /// Something is wrong at a place.
    pub(crate) fn at(place: Place, problem: impl Into<String>) -> Self {
        Self::Invalid { place, problem: problem.into() }
    }

    /// Something is wrong with the model file.
    pub(crate) fn model(problem: impl Into<String>) -> Self {
        Self::at(Place::file(super::bundle::MODEL), problem)
    }
}

/// Why a model gave no answer for a row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// Rows are not as wide as the model.
    #[error("{found} values were given to a model that takes rows of {expected}")]
    Width {
        /// The model's features.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The answer is NaN or infinite.
    #[error("the model's answer is not a finite number")]
    NonFinite,
    /// The model failed to run.
    #[error("the model failed to run: {0}")]
    Failed(String),
}
