//! Reading back: only what is on disk, and never what is damaged.

use std::collections::BTreeSet;

use explaind_core::domain::extra::Kind;
use explaind_core::domain::record::{Record, Stream};
use uuid::Uuid;

use super::error::BufferError;
use super::room::Room;
use super::store::Entry;
use super::write::Write;
use super::{Buffer, Core, Pending, Stat, StreamStat, journal, keys, wear};
use crate::clock;

/// Records fetched from the store at a time.
const PAGE: usize = 500;
/// Records that one call returns at most, whatever its limit says.
const MOST: usize = 10_000;
/// By how many seconds a clock is put back at times: an hour, when summer ends, and what it was wrong by.
const CLOCK_PUT_BACK: u64 = 2 * 3600;

impl Buffer {
    /// The record with this id, while it is kept.
    pub(crate) fn get(&self, id: Uuid) -> Result<Option<Record>, BufferError> {
        let core = &self.0;
        let Some((stream, sequence)) = core.base.locate(id)? else { return Ok(None) };
        if sequence > core.commit.visible(stream) {
            return Ok(None);
        }
        let settled = core.settled(stream);
        match core.base.record(stream, sequence, settled)? {
            Some(Ok(record)) if record.id == id => Ok(Some(record)),
            Some(Err(reason)) => {
                core.set_aside(stream, &[(sequence, reason)]);
                Ok(None)
            }
            Some(Ok(_)) | None => Ok(None),
        }
    }

    /// The newest explanation of this kind beside the attributions of a prediction, while it is kept.
    pub(crate) fn extra(&self, prediction: Uuid, kind: Kind) -> Result<Option<Record>, BufferError> {
        let Some(sequence) = self.0.base.newest_extra(prediction, kind)? else { return Ok(None) };
        let record = self.read(Stream::Explanations, sequence.saturating_sub(1), 1)?.pop();
        Ok(record.filter(|record| record.sequence == sequence))
    }

    /// Whether a prediction with this id, which is not here, may have been kept here once: its time is before that of the
    /// oldest one kept, or of the newest where some were thinned, give or take what the clock may have been put back by. What was never
    /// here and claims to be as old cannot be told from it.
    pub(crate) fn may_be_evicted(&self, id: Uuid) -> Result<bool, BufferError> {
        let through = {
            let state = self.0.state();
            let thinned = state.sweeps[Stream::Predictions].through();
            state.cursors[Stream::Predictions].floor.saturating_sub(1).max(thinned)
        };
        let Some(made) = id.get_timestamp().map(|time| time.to_unix().0).filter(|_| through > 0) else {
            return Ok(false);
        };
        let oldest = self.read(Stream::Predictions, through, 1)?;
        let oldest = oldest.first().and_then(|record| record.id.get_timestamp()).map(|time| time.to_unix().0);
        Ok(oldest.is_none_or(|oldest| made <= oldest.saturating_add(CLOCK_PUT_BACK)))
    }

    /// Up to `limit` records of a stream with numbers above `after`, ascending.
    pub(crate) fn read(&self, stream: Stream, after: u64, limit: usize) -> Result<Vec<Record>, BufferError> {
        let core = &self.0;
        let through = core.commit.visible(stream);
        let start = after.checked_add(1).filter(|first| *first <= through);
        let (records, _) = core.collect(stream, limit, u64::MAX, start, core.ascending(stream, through))?;
        Ok(records)
    }

    /// Like [`read`](Self::read), but ends with the record that makes it more than so many bytes as they are stored. Says
    /// whether there were none beyond these bytes.
    pub(crate) fn read_within(
        &self,
        stream: Stream,
        after: u64,
        limit: usize,
        bytes: u64,
    ) -> Result<(Vec<Record>, bool), BufferError> {
        let core = &self.0;
        let through = core.commit.visible(stream);
        let start = after.checked_add(1).filter(|first| *first <= through);
        core.collect(stream, limit, bytes, start, core.ascending(stream, through))
    }

    /// Up to `limit` records of a stream with numbers below `before` (from the end without it), the newest first.
    pub(crate) fn latest(&self, stream: Stream, before: Option<u64>, limit: usize) -> Result<Vec<Record>, BufferError> {
        let core = &self.0;
        let newest = core.commit.visible(stream);
        let from = before.map_or(Some(newest), |before| before.checked_sub(1).map(|last| last.min(newest)));
        let (records, _) = core.collect(stream, limit, u64::MAX, from, |last, limit| {
            let entries = core.base.store.descending(&keys::record(stream, 0), &keys::record(stream, last), limit)?;
            let next = last_of(&entries).and_then(|first| first.checked_sub(1));
            Ok((entries, next))
        })?;
        Ok(records)
    }

    /// Predictions whose explanation is not settled, the oldest first: what a restart interrupted. One that cannot be
    /// read is left out, and said.
    pub(crate) fn unsettled(&self) -> Vec<Record> {
        let core = &self.0;
        let sequences: Vec<u64> = core.state().unsettled.iter().copied().collect();
        let mut records = Vec::with_capacity(sequences.len());
        let (mut bad, mut lost) = (Vec::new(), BTreeSet::new());
        for sequence in sequences {
            match core.base.record(Stream::Predictions, sequence, 0) {
                Ok(Some(Ok(record))) => records.push(record),
                Ok(Some(Err(reason))) => bad.push((sequence, reason)),
                Ok(None) => drop(lost.insert(sequence)),
                Err(error) => {
                    tracing::warn!(%error, sequence, "a prediction that is not explained yet cannot be read");
                    lost.insert(sequence);
                }
            }
        }
        if !bad.is_empty() {
            core.set_aside(Stream::Predictions, &bad);
        }
        if !lost.is_empty() {
            // Nobody explains them: should they turn up in what is read out of the store, they are settled there.
            core.state().unsettled.retain(|sequence| !lost.contains(sequence));
        }
        records
    }

    /// What of a stream is not uploaded: the oldest such record, and up to where everything is final and not uploaded
    /// either. `None` when all is uploaded.
    pub(crate) fn pending(&self, stream: Stream) -> Result<Option<Pending>, BufferError> {
        let cursor = self.0.state().cursors[stream];
        let mut after = cursor.uploaded;
        let ahead = cursor.ahead.ranges().iter().map(|(first, last)| (first.saturating_sub(1), *last));
        for (end, next) in ahead.chain([(u64::MAX, u64::MAX)]) {
            let pending = self.pending_after(stream, after)?;
            if let Some(pending) = pending.filter(|pending| pending.oldest.sequence <= end) {
                return Ok(Some(Pending { through: pending.through.min(end), ..pending }));
            }
            after = next;
        }
        Ok(None)
    }

    /// The oldest record of a stream with a number above `after`, and up to where everything is final.
    pub(crate) fn pending_after(&self, stream: Stream, after: u64) -> Result<Option<Pending>, BufferError> {
        let through = self.0.commit.visible(stream).min(self.0.settled(stream));
        let oldest = self.read(stream, after, 1)?.pop();
        Ok(oldest.map(|oldest| Pending { oldest, through }))
    }
}

impl Buffer {
    /// Bytes that are free on the disk that the records are on, and bytes of all of it, as far as that can be seen.
    pub(crate) fn disk(&self) -> Option<(u64, u64)> {
        let folder = &self.0.opening.path;
        Room::free(folder).zip(Room::size(folder))
    }

    /// What of a stream may be handed out: from its first number that was not evicted, through the last whose record is
    /// final. Below the first only predictions that alerts name are kept.
    pub(crate) fn within(&self, stream: Stream) -> (u64, u64) {
        let through = self.0.commit.visible(stream).min(self.0.settled(stream));
        (self.0.state().cursors[stream].floor, through)
    }
}

impl Buffer {
    /// The number of a stream's last record that is on disk.
    pub(crate) fn newest(&self, stream: Stream) -> u64 {
        self.0.commit.visible(stream)
    }

    /// Numbers of the predictions whose explanation is not settled; `None` when there are more than so many.
    pub(crate) fn unsettled_numbers(&self, most: usize) -> Option<Vec<u64>> {
        let state = self.0.state();
        (state.unsettled.len() <= most).then(|| state.unsettled.iter().copied().collect())
    }
}

impl Core {
    /// Up to where explanations are settled; streams without explanations are settled throughout.
    fn settled(&self, stream: Stream) -> u64 {
        if stream == Stream::Predictions { self.state().cursors[stream].settled } else { u64::MAX }
    }

    /// The pages of a stream, ascending.
    fn ascending(
        &self,
        stream: Stream,
        through: u64,
    ) -> impl FnMut(u64, usize) -> Result<(Vec<Entry>, Option<u64>), BufferError> {
        move |first, limit| {
            let entries =
                self.base.store.ascending(&keys::record(stream, first), &keys::record(stream, through), limit)?;
            let next = last_of(&entries).and_then(|last| last.checked_add(1)).filter(|first| *first <= through);
            Ok((entries, next))
        }
    }

    /// Fetches page after page, beginning with that at `from`, joins settlements, and sets aside what cannot be read.
    /// A page says where the next one begins. Ends with the record that makes it more than `bytes`, and says whether it
    /// did not come to that.
    fn collect(
        &self,
        stream: Stream,
        limit: usize,
        bytes: u64,
        mut from: Option<u64>,
        mut page: impl FnMut(u64, usize) -> Result<(Vec<Entry>, Option<u64>), BufferError>,
    ) -> Result<(Vec<Record>, bool), BufferError> {
        if !journal::keeps(stream) && self.base.store.is_unreadable() {
            self.check()?;
        }
        let limit = limit.min(MOST);
        let settled = self.settled(stream);
        let mut records = Vec::with_capacity(limit.min(PAGE));
        let mut bad = Vec::new();
        let mut taken: u64 = 0;
        while let Some(start) = from
            && records.len() < limit
            && taken <= bytes
        {
            let wanted = (limit - records.len()).min(PAGE);
            let (entries, next) = page(start, wanted)?;
            from = next;
            for (key, sealed) in entries {
                let Some(sequence) = keys::sequence(&key) else { continue };
                if bytes < u64::MAX {
                    if taken > bytes {
                        break;
                    }
                    taken = taken.saturating_add(self.stored_bytes(stream, sequence, &sealed)?);
                }
                match self.base.join(stream, sequence, &sealed, settled)? {
                    Ok(record) => records.push(record),
                    Err(reason) => bad.push((sequence, reason)),
                }
            }
        }
        if !bad.is_empty() {
            self.set_aside(stream, &bad);
        }
        Ok((records, taken <= bytes))
    }

    /// What a record takes in the store, with its explanation.
    fn stored_bytes(&self, stream: Stream, sequence: u64, sealed: &[u8]) -> Result<u64, BufferError> {
        let settlement = match stream {
            Stream::Predictions => self.base.store.get(&keys::settlement(sequence))?.map_or(0, |sealed| sealed.len()),
            _ => 0,
        };
        Ok((sealed.len() + settlement) as u64)
    }

    /// Moves records that cannot be read to the quarantine, and records that. That it may fail stops no reader.
    fn set_aside(&self, stream: Stream, bad: &[(u64, String)]) {
        let done = self.writing().and_then(|mut state| {
            let mut write = Write::new(&self.base, &state);
            let at = clock::now();
            for (sequence, reason) in bad {
                // Another reader may have been quicker.
                if let Some(sealed) = self.base.store.get(&keys::record(stream, *sequence))? {
                    write.quarantine(stream, *sequence, &sealed)?;
                    write.quarantined(at, stream, (*sequence, *sequence), 1, reason)?;
                }
            }
            let ticket = self.apply(&mut state, write)?;
            drop(state);
            self.commit.make_durable(ticket)
        });
        for (sequence, reason) in bad {
            tracing::warn!(
                stream = stream.as_str(),
                sequence,
                reason,
                "a stored record cannot be read and is set aside"
            );
        }
        if let Err(error) = done {
            tracing::warn!(%error, "records that cannot be read could not be set aside");
        }
    }

    /// The buffer in figures.
    pub(super) fn stat(&self) -> Stat {
        let disk_bytes = self.bytes_on_disk();
        let (journal_bytes, journal_reserve) = {
            let journal = self.commit.journal();
            (journal.bytes(), journal.reserve())
        };
        self.metrics.buffer_bytes(disk_bytes);
        let mut state = self.state();
        state.journal_bytes = journal_bytes;
        let streams = Stream::ALL.map(|stream| {
            let cursor = state.cursors[stream];
            let (lowest, highest) = (keys::record(stream, 0), keys::record(stream, u64::MAX));
            let first = self.base.store.ascending(&lowest, &highest, 1).ok();
            let first = first.and_then(|entries| keys::sequence(&entries.first()?.0)).unwrap_or(cursor.next);
            StreamStat {
                stream: stream.as_str(),
                first,
                last: cursor.last(),
                records: cursor.records,
                uploaded: cursor.uploaded,
            }
        });
        Stat {
            store_id: self.base.session().store_id,
            bytes: state.kept(),
            max_bytes: self.config.max_bytes,
            bound: state.room.bound(&self.config),
            disk_bytes,
            full: state.full,
            degraded: self.commit.failure(),
            journal_bytes,
            journal_reserve,
            streams: streams.to_vec(),
            wear: Some(wear::wear()),
        }
    }
}

/// The number of the last entry of a page.
fn last_of(entries: &[Entry]) -> Option<u64> {
    keys::sequence(&entries.last()?.0)
}
