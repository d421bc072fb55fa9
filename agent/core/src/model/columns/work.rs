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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::columns::Column;
    use crate::model::columns::region::Region;
    use crate::model::columns::step::Step;
    use crate::model::operators::encoder::Lookup;

    #[test]
    fn a_table_is_charged_for_at_every_step_that_it_is_carried_through() {
        let pairs = (0..1_000).map(|key| (f64::from(key), f64::from(key % 2))).collect();
        let table = Step::Lookup(Arc::new(Lookup { pairs, default: 0.0 }));
        let steps = vec![Step::Add { by: 0.5, single: false }; 60].into_iter().chain([table]).collect();
        let column = Column { feature: 0, steps };
        // Half of the keys begin and end inside the region: 1,000 flips through 60 steps at eight looks, the table itself, and
        // one look for each step.
        let needed = 1_000 * 60 * 8 + 1_000 + 61;
        let before = |left| column.before(Region::points([1.0]), &mut Work { left });
        assert_eq!(before(needed - 1), Err(Spent));
        assert!(before(needed).is_ok_and(|region| region.contains(-29.0) && !region.contains(-28.0)));
    }
}
