//! The bounded way by which the driver learns of the gateway's own conditions: one place, that always holds the newest.

use std::sync::{Arc, Mutex, PoisonError};

use explaind_core::pipeline::gateway::Conditions;

/// What was last seen. Cheap to clone; all clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Conditions>>);

impl Board {
    /// Puts the newest in the place of what was there.
    pub(crate) fn post(&self, seen: Conditions) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// The newest.
    pub(crate) fn read(&self) -> Conditions {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
