//! What it may cost to follow columns, whatever a file says.

/// Looks left at single numbers, columns or steps. Counted, not timed: the same file is refused everywhere or nowhere.
#[derive(Debug)]
pub(crate) struct Work {
    left: usize,
}

/// There was more to do than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

impl Work {
    /// To follow what stands before a model, for all parts of it together: enough for 100,000 columns through a
    /// dozen operators.
    pub(crate) fn to_trace() -> Self {
        Self { left: 1 << 24 }
    }

    /// To take the columns into the splits of an ensemble.
    pub(crate) fn to_grow() -> Self {
        Self { left: 1 << 26 }
    }

    /// Sets some aside for what comes next.
    pub(crate) fn take(&mut self, looks: usize) -> Result<(), Spent> {
        match self.left.checked_sub(looks) {
            Some(left) => self.left = left,
            None => return Err(Spent),
        }
        Ok(())
    }
}
