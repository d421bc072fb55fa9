//! How many verdicts people gave, beyond the feedback that is still kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::BufferError;
use super::write::Write;
use super::{Buffer, codec, keys};

/// Verdicts counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// The last feedback that is counted.
    pub(crate) through: u64,
    /// How many there were of each.
    pub(crate) verdicts: BTreeMap<String, u64>,
}

impl Buffer {
    /// What was counted so far. Nothing in stores of earlier versions, and where it cannot be read: then it is counted anew
    /// from what is kept.
    pub(crate) fn tally(&self) -> Result<Tally, BufferError> {
        let sealed = self.0.base.store.get(keys::TALLY)?;
        Ok(sealed.and_then(|sealed| codec::open(keys::TALLY, &sealed).ok()).unwrap_or_default())
    }

    /// Stores what was counted. Durable when it returns.
    pub(crate) fn set_tally(&self, tally: &Tally) -> Result<(), BufferError> {
        let core = &self.0;
        let sealed = codec::seal(keys::TALLY, tally).map_err(|error| BufferError::Unstorable(error.to_string()))?;
        let mut state = core.writing()?;
        let mut write = Write::new(&core.base, &state);
        write.batch.insert(keys::TALLY, sealed);
        let ticket = core.apply(&mut state, write)?;
        drop(state);
        core.commit.make_durable(ticket)
    }
}
