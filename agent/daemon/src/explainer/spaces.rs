//! Explains predictions in spaces that somebody asks for: other than the model's own, or the model's own where there was
//! no capacity for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use explaind_core::domain::extra::Kind;
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::Space;
use explaind_core::domain::record::Record;

use super::again;
use super::extras::{asked, keep};
use super::shelf::Shelf;
use crate::buffer::Buffer;
use crate::question::{Answer, Found, Unanswered};

/// The explanation of a prediction in this space, as it is stored, or worked out and stored now.
pub(super) fn answer(buffer: &Buffer, record: &Record, space: Space, shelf: &mut Shelf) -> Answer<Figures> {
    if let Ok(Some(stored)) = buffer.extra(record.id, Kind::Space(space))
        && let Some(found) = Found::stored(&stored)
    {
        return Ok(found);
    }
    let prediction = asked(record)?;
    let prepared = shelf.used(&prediction.key()).ok_or(Unanswered::NotRunning)?;
    let row = again(prediction, prepared.model()).ok_or(Unanswered::NotRunning)?;
    let explainer = prepared.in_space(space)?;
    // A panic, in a library on a row it cannot take, costs one answer and not the thread.
    let explanation = catch_unwind(AssertUnwindSafe(|| explainer.explain(&row, None)))
        .map_err(|_| Unanswered::within())?
        .map_err(|error| Unanswered::Failed(error.to_string()))?;
    keep(buffer, record.id, Kind::Space(space), &Figures::from(&explanation))
}
