//! Why a verb did not do what it was asked: an exit code and one sentence.

use std::any::Any;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::app::AppError;
use crate::buffer::BufferError;
use crate::config::ConfigError;
use crate::registry::RegistryError;
use crate::sync::{ImportError, SyncError};

/// Wrong arguments.
pub(crate) const USAGE: u8 = 64;
/// The data given is not acceptable.
pub(crate) const DATA: u8 = 65;
/// What is named does not exist.
pub(crate) const MISSING: u8 = 66;
/// The daemon, a source or the registry does not answer.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A fault of the program itself.
pub(super) const SOFTWARE: u8 = 70;
/// The disk or a pipe failed.
pub(crate) const IO: u8 = 74;
/// Not allowed.
pub(crate) const FORBIDDEN: u8 = 77;
/// The configuration is wrong.
pub(crate) const CONFIG: u8 = 78;

/// A verb's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code, after sysexits.
    pub(crate) code: u8,
    /// What is wrong, where, and what to do.
    pub(crate) sentence: String,
}

impl Failure {
    /// A failure with this exit code.
    pub(crate) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }

    /// A panic that nobody caught, from what it carries.
    pub(crate) fn internal(panic: &(dyn Any + Send)) -> Self {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("no reason given");
        Self::new(SOFTWARE, format!("this is a fault in explaind itself: {said}; please report it, with what you did"))
    }

    /// Says it on standard error, in one line, and gives the exit code. A reader who has gone away is told nothing.
    pub(crate) fn report(&self) -> ExitCode {
        if self.code != 0 {
            let line = self.sentence.split_whitespace().collect::<Vec<_>>().join(" ");
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "explaind: {line}");
        }
        ExitCode::from(self.code)
    }
}

/// What the command line's reader says: help and the version are printed, wrong arguments are a failure.
pub(super) fn usage(error: &clap::Error) -> Result<(), Failure> {
    if !error.use_stderr() {
        return error.print().map_err(Failure::from);
    }
    // Its first paragraph is the mistake; the rest is the usage, which --help shows in full.
    let text = error.to_string();
    let mistake = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Err(Failure::new(USAGE, format!("{mistake}; --help shows what is possible")))
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIG, error.to_string())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let code = match &error {
            AppError::Config(_) => CONFIG,
            AppError::Bundle { .. } => DATA,
            AppError::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => FORBIDDEN,
            AppError::Buffer(BufferError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                FORBIDDEN
            }
            AppError::Buffer(_) | AppError::Io { .. } | AppError::Died(_) => IO,
        };
        Self::new(code, error.to_string())
    }
}

impl From<BufferError> for Failure {
    fn from(error: BufferError) -> Self {
        let code = match &error {
            BufferError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => FORBIDDEN,
            BufferError::Damaged { .. } | BufferError::Newer { .. } => DATA,
            BufferError::InUse { .. } => UNAVAILABLE,
            _ => IO,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        let code = match error {
            SyncError::Buffer(error) => return error.into(),
            SyncError::Registry(RegistryError::Server { .. } | RegistryError::Busy { .. }) => UNAVAILABLE,
            SyncError::Registry(RegistryError::Forbidden { .. }) => FORBIDDEN,
            SyncError::Registry(RegistryError::Io { ref source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                FORBIDDEN
            }
            SyncError::Registry(RegistryError::Io { .. }) | SyncError::Interrupted(_) => IO,
            SyncError::Registry(_) | SyncError::Foreign(_) | SyncError::Parquet(_) | SyncError::Stuck(_) => DATA,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let code = match error {
            ImportError::Sync(error) => return error.into(),
            ImportError::Missing { .. } => MISSING,
            ImportError::Content { .. } => DATA,
            ImportError::Io { ref source, .. } if source.kind() == io::ErrorKind::PermissionDenied => FORBIDDEN,
            ImportError::Io { .. } => IO,
        };
        Self::new(code, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Output that could not be written. A reader who has gone away is no error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, "nobody reads the output any more"),
            _ => Self::new(IO, format!("the output could not be written: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_as_our_fault_with_what_it_said() {
        for panic in [Box::new("broken") as Box<dyn Any + Send>, Box::new("broken".to_owned())] {
            let failure = Failure::internal(panic.as_ref());
            assert_eq!(failure.code, SOFTWARE);
            assert!(failure.sentence.contains("broken") && failure.sentence.contains("report it"));
        }
    }
}
