//! The check of a store that is in use.

use std::io;
use std::path::Path;

use explaind_core::domain::record::Stream;

use super::super::base::Base;
use super::super::cursor::Cursor;
use super::super::error::BufferError;
use super::super::journal::look::{self, Look};
use super::super::outbox::{Content, Outbox};
use super::super::{Buffer, Closed, Core};
use super::{Finding, Part, Piece, View};

impl Buffer {
    /// Looks at the piece of a part that begins after a number.
    pub(crate) fn inspect(&self, part: Part, after: u64) -> Result<Piece, BufferError> {
        let core = &*self.0;
        match (core.commit.failure(), part) {
            (Some(reason), Part::Store) => {
                let problem = format!("it takes no writes at present, since this failed: {reason}");
                Ok(Piece { findings: vec![Finding::new(part, None, problem)], ..Piece::default() })
            }
            // What it holds is out of sight; that it is, the store's finding says.
            _ if core.base.store.is_unreadable() => Ok(Piece::default()),
            _ => super::piece(core, part, after),
        }
    }
}

impl View for Core {
    fn base(&self) -> &Base {
        &self.base
    }

    fn standing(&self, stream: Stream) -> (Cursor, impl Sized) {
        let state = self.state();
        (state.cursors[stream], state)
    }

    fn through(&self, stream: Stream) -> u64 {
        self.commit.visible(stream)
    }

    fn batch(&self, stream: Stream) -> Option<(Closed, Content)> {
        let state = self.state();
        state.batches[stream].zip(state.contents[stream])
    }

    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn journal(&self) -> &Path {
        &self.opening.journal
    }

    fn segment(&self, number: u64) -> io::Result<Look> {
        // A MiB, read in a moment; writers wait for that long.
        let journal = self.commit.journal();
        let look = look::look(&self.opening.journal, number);
        drop(journal);
        look
    }
}
