//! What was found at the start goes on record: central must be able to tell loss from eviction.

use std::path::PathBuf;

use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Now;
use uuid::Uuid;

use super::base::Base;
use super::cursor::PerStream;
use super::declared::numbers;
use super::error::BufferError;
use super::journal::Journal;
use super::keys;
use super::moved;
use super::salvage::Salvaged;
use super::state::State;
use super::verify::{Findings, Range};
use super::write::Write;

/// Something about the store as a whole.
#[derive(Debug)]
pub(super) enum Note {
    /// Files that made no sense were set aside.
    SetAside { what: &'static str, to: PathBuf, reason: String },
    /// What could be read of a damaged store is in this one; where the damaged one is, if it was kept.
    Salvaged(Salvaged, Option<PathBuf>),
    /// This store is new, and takes over from one that is gone.
    Replaced { lost: Uuid },
    /// Numbers from `first` to `known` were given out, and the store has no such records (any more); to be safe, its
    /// numbers go on above `last`. So many of them were evicted before.
    Behind { stream: Stream, first: u64, known: u64, last: u64, evicted: u64 },
    /// The journal has a stream's records of a store that is gone; numbers from `first` to `last` may have been given out
    /// there, and are passed over.
    PassedOver { stream: Stream, first: u64, last: u64 },
    /// Records that the store had lost, or others in their place, came back from the journal.
    Restored { stream: Stream, range: Range, missing: u64, displaced: u64 },
    /// The journal has not got what the store has.
    Incomplete { reason: String },
    /// The store came from another machine, under this id.
    Moved { from: Uuid, base: u64 },
}

impl Note {
    /// The range of a stream's numbers that it says have no records.
    pub(super) fn gap_of(&self, of: Stream) -> Option<Range> {
        match self {
            Self::Behind { stream, first, last, .. } | Self::PassedOver { stream, first, last } => {
                Some((*first, *last)).filter(|_| *stream == of)
            }
            _ => None,
        }
    }

    /// The range of a stream's newest numbers of which nothing was left.
    pub(super) fn newest_of(&self, of: Stream) -> Option<Range> {
        match self {
            Self::Behind { stream, first, last, .. } if *stream == of => Some((*first, *last)),
            _ => None,
        }
    }

    /// Notes that so many of a stream's numbers in a range were evicted, as far as it says that they are lost; gives how many
    /// are left over.
    pub(super) fn evicted_of(&mut self, of: Stream, (from, to): Range, most: u64) -> u64 {
        let Self::Behind { stream, first, last, evicted, .. } = self else { return most };
        if *stream != of {
            return most;
        }
        let lost =
            numbers(((*first).max(from), (*last).min(to))).min(numbers((*first, *last)).saturating_sub(*evicted));
        let taken = most.min(lost);
        *evicted = evicted.saturating_add(taken);
        most - taken
    }

    /// Whether it says that records are gone.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self, Self::Behind { .. } | Self::PassedOver { .. } | Self::Replaced { .. })
    }
}

/// Sets aside what cannot be read, notes what is missing, and records it all in one write. Nothing found, nothing
/// written.
pub(super) fn record(
    base: &Base,
    state: &mut State,
    journal: &mut Journal,
    now: Now,
    notes: &[Note],
    findings: &PerStream<Findings>,
) -> Result<(), BufferError> {
    let mut write = Write::new(base, state);
    for note in notes {
        add_note(&mut write, now, note)?;
    }
    let mut anything = !notes.is_empty();
    for stream in Stream::ALL {
        let found = &findings[stream];
        for (sequence, sealed) in &found.bad {
            write.quarantine(stream, *sequence, sealed)?;
        }
        // They were checked from the newest down.
        if let (Some((last, _)), Some((first, _))) = (found.bad.first(), found.bad.last()) {
            write.quarantined(now, stream, (*first, *last), found.bad.len(), &found.reason)?;
        }
        for (sequence, sealed) in &found.bad_settlements {
            write.quarantine_settlement(*sequence, sealed);
        }
        if let (Some((last, _)), Some((first, _))) = (found.bad_settlements.first(), found.bad_settlements.last()) {
            let count = found.bad_settlements.len();
            write.quarantined(now, stream, (*first, *last), count, "their explanations cannot be read")?;
        }
        for gap in &found.gaps {
            write.missing(now, stream, *gap, "records are missing from the store")?;
        }
        for short in &found.short {
            write.lost_among_evicted(now, stream, short)?;
        }
        for (segment, count) in &found.declared {
            write.declare_exactly(stream, *segment, *count)?;
        }
        for (sequence, sealed) in &found.returned {
            write.evict(stream, *sequence, sealed)?;
        }
        anything |= !(found.short.is_empty() && found.declared.is_empty() && found.returned.is_empty());
        anything |= !(found.bad.is_empty() && found.bad_settlements.is_empty() && found.gaps.is_empty());
    }
    if !anything {
        return Ok(());
    }
    for record in &write.news {
        tracing::warn!(found = ?record.body, "the store was not as it should be");
    }
    state.prepare(&mut write)?;
    let entry = write.journal_entry();
    base.store.apply(std::mem::take(&mut write.batch))?;
    state.adopt(base, write);
    base.store.flush()?;
    if let Some(entry) = entry
        && let Err(error) = journal.append(&[entry])
    {
        // The store has it, and the next start tries again.
        tracing::warn!(%error, "what was found at the start is not in the journal");
    }
    Ok(())
}

fn add_note(write: &mut Write<'_>, now: Now, note: &Note) -> Result<(), BufferError> {
    match note {
        Note::SetAside { what, to, reason } => {
            let evidence = [("what", (*what).to_owned()), ("to", to.display().to_string()), ("reason", reason.clone())];
            write.health(now, "set_aside", &evidence)
        }
        Note::Salvaged(found, to) => {
            if let Some(to) = to {
                let to = to.display().to_string();
                let evidence = [("what", "store".to_owned()), ("to", to), ("reason", found.reason.clone())];
                write.health(now, "set_aside", &evidence)?;
            }
            let mut evidence = vec![("records", found.total().to_string())];
            evidence.extend(found.records.iter().map(|(stream, count)| (stream.as_str(), count.to_string())));
            evidence.push(("complete", found.complete.to_string()));
            evidence.push(("seconds", format!("{:.1}", found.took.as_secs_f64())));
            evidence.push(("reason", found.reason.clone()));
            write.batch.remove(keys::REPAIR);
            write.health(now, "salvaged", &evidence)
        }
        Note::Replaced { lost } => {
            let first = write.cursors[Stream::Predictions].next;
            let evidence = [("lost_store", lost.to_string()), ("predictions_from", first.to_string())];
            write.health(now, "store_replaced", &evidence)
        }
        Note::Moved { from, base } => moved::skip(write, now, *from, *base),
        Note::Behind { stream, first, known, last, evicted } => {
            let lost = numbers((*first, *known)).saturating_sub(*evicted);
            let reason = format!("the store has lost its newest records, {lost} at least");
            write.missing_some(now, *stream, (*first, *last), *evicted, &reason)
        }
        Note::PassedOver { stream, first, last } => {
            let reason = "the lost store may have given them out; all that it acknowledged is back from the journal";
            write.missing(now, *stream, (*first, *last), reason)
        }
        Note::Restored { stream, range: (first, last), missing, displaced } => {
            let evidence = [
                ("stream", stream.as_str().to_owned()),
                ("first", first.to_string()),
                ("last", last.to_string()),
                ("records", (missing + displaced).to_string()),
                ("displaced", displaced.to_string()),
            ];
            write.health(now, "restored", &evidence)
        }
        Note::Incomplete { reason } => write.health(now, "journal_incomplete", &[("reason", reason.clone())]),
    }
}
