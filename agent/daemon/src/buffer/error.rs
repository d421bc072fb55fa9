//! What can go wrong with the buffer, in sentences for the log, the page and the terminal.

use std::io;
use std::path::{Path, PathBuf};

use explaind_core::domain::record::Stream;

/// Why the buffer did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BufferError {
    /// Another process has it open.
    #[error("the buffer {} is in use by another explaind; stop that one first", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// The bound is reached and nothing may be evicted.
    #[error(
        "the buffer is full: {kept} bytes are kept that must not go, and {bound} are allowed; \
         bring the registry back, or raise [buffer] max_bytes or give it a larger disk"
    )]
    Full {
        /// Bytes kept.
        kept: u64,
        /// Bytes allowed.
        bound: u64,
    },
    /// One record alone is larger than any real one.
    #[error("a record of {bytes} bytes for {stream} is more than the {most} that one record may take")]
    TooLarge {
        /// Its stream.
        stream: &'static str,
        /// Its size.
        bytes: usize,
        /// The most allowed.
        most: usize,
    },
    /// Something that postcard cannot write.
    #[error("a record cannot be stored: {0}")]
    Unstorable(String),
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// In a verb: `create`, `lock`, …
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The store holds something that cannot be: it is set aside when this comes up at the start.
    #[error("the store {} is damaged: {detail}", path.display())]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A later version wrote it.
    #[error(
        "the store {} has format {found}, and this explaind reads up to {known}; \
         install the version that wrote it, or move the folder away",
        path.display()
    )]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Its format.
        found: u8,
        /// The newest known here.
        known: u8,
    },
    /// A write or a sync of the store failed, so nothing more is promised of it until it is opened again, which is tried
    /// by and by. Until then the journal takes alerts, feedback and audit, and nothing else is taken.
    #[error(
        "predictions are not stored at present, since this failed: {0}; \
         alerts and feedback still are; give the disk room, or put it right, and explaind goes on by itself"
    )]
    Broken(String),
    /// What the registry has of a stream lies in more pieces than are remembered.
    #[error(
        "the registry has {} in too many pieces to go on between them; give this gateway a new [gateway] id, and it begins \
         anew there",
        stream.as_str()
    )]
    Scattered {
        /// The stream.
        stream: Stream,
    },
    /// What was taken has its number and is not on disk yet: it goes there before anything else does.
    #[error(
        "this is not on disk yet, since this failed: {0}; it waits, and is stored as soon as the disk takes it, so it need \
         not be said again"
    )]
    Waiting(String),
}

impl BufferError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.into() }
    }
}
