//! Whose folder it is: a gateway's records come from one store, and nothing of central's is ever overwritten.

use explaind_core::domain::record::Stream;
use sha2::{Digest as _, Sha256};

use super::{SyncError, blocking};
use crate::buffer::{Buffer, BufferError};
use crate::clock;
use crate::registry::{Registry, StoreMark};

/// Makes sure that the gateway's folder in the registry belongs to this buffer's store, and says so there.
///
/// # Errors
/// [`SyncError::Foreign`] when a person has to decide.
pub(super) async fn claim(buffer: &Buffer, registry: &Registry) -> Result<(), SyncError> {
    let (gateway, store_id) = (buffer.gateway(), buffer.store_id());
    let predecessors = match registry.store(gateway).await? {
        Some(mark) if mark.store_id == store_id => return compare(buffer, registry).await,
        Some(mark) if buffer.predecessors().contains(&mark.store_id) => {
            tracing::info!(lost = %mark.store_id, "this store takes over from the one that was lost");
            [mark.predecessors, vec![mark.store_id]].concat()
        }
        Some(mark) => return Err(SyncError::Foreign(foreign(buffer, registry, &mark)?)),
        None => {
            unclaimed(buffer, registry).await?;
            buffer.predecessors()
        }
    };
    let mark = StoreMark { gateway: gateway.to_owned(), store_id, predecessors, records_of: Vec::new() };
    registry.set_store(&mark).await?;
    compare(buffer, registry).await
}

/// What a person is told when the folder belongs to another store.
fn foreign(buffer: &Buffer, registry: &Registry, mark: &StoreMark) -> Result<String, SyncError> {
    let (place, gateway) = (registry.place(buffer.gateway()), buffer.gateway());
    let adopt = registry.adopt(gateway, buffer.store_id());
    let apart = registry.set_apart();
    Ok(if buffer.moved()?.is_some_and(|moved| moved.from == mark.store_id) {
        format!(
            "{place} belongs to the machine that this card, or the one that it was copied from, was in before ({}): if \
             that machine goes on, give this one another [gateway] id; if this one takes its place, {adopt}, or, to \
             begin anew, {apart}",
            mark.store_id
        )
    } else {
        format!(
            "{place} belongs to another store ({}): if two gateways are called \"{gateway}\", give one of them another \
             [gateway] id; if this machine or its card was replaced, {adopt}, or, to begin anew, {apart}",
            mark.store_id
        )
    })
}

/// Makes sure that a place which names no store may be this one's.
async fn unclaimed(buffer: &Buffer, registry: &Registry) -> Result<(), SyncError> {
    let gateway = buffer.gateway();
    let (place, adopt) = (registry.place(gateway), registry.adopt(gateway, buffer.store_id()));
    let known = registry.knows(gateway).await?;
    if buffer.claimed() && !known {
        return Err(SyncError::Foreign(format!(
            "{place} is gone: is it the right registry? If it is, {}, and {adopt}",
            registry.restore(gateway)
        )));
    }
    if known && (buffer.claimed() || !registry.batches(gateway).await?.is_empty()) {
        return Err(SyncError::Foreign(format!(
            "{place} names no store any more: is it the right registry? If it is, {adopt}"
        )));
    }
    Ok(())
}

/// The place is this store's. Before anything is sent there for the first time, or when something was lost that says
/// what was sent, what it holds is compared with what this store has.
async fn compare(buffer: &Buffer, registry: &Registry) -> Result<(), SyncError> {
    if buffer.claimed() && !buffer.in_doubt() {
        return Ok(());
    }
    let found = registry.batches(buffer.gateway()).await?;
    let (buffer, place, apart) = (buffer.clone(), registry.place(buffer.gateway()), registry.set_apart());
    blocking(move || {
        for stream in Stream::ALL {
            leave_to_others(&buffer, stream)?;
            note_found(&buffer, stream, found.get(&stream).map_or(&[][..], Vec::as_slice), &place, apart)?;
        }
        // From now on a place that is gone is one that is not mounted.
        buffer.set_claimed().map_err(SyncError::from)
    })
    .await
}

/// A copy of a store under another gateway's name has records that were never sent: they are the other gateway's to send.
pub(super) fn leave_to_others(buffer: &Buffer, stream: Stream) -> Result<(), SyncError> {
    let Some(moved) = buffer.moved()? else { return Ok(()) };
    let Some(pending) = buffer.pending(stream)? else { return Ok(()) };
    let (oldest, last) = (pending.oldest, moved.base.saturating_sub(1));
    if oldest.sequence > last || &*oldest.session.gateway == buffer.gateway() {
        return Ok(());
    }
    buffer.mark_sent(stream, (oldest.sequence, last))?;
    report(buffer, "left", stream, (oldest.sequence, last), &oldest.session.gateway);
    Ok(())
}

/// Takes in which of a stream's numbers the registry has.
fn note_found(
    buffer: &Buffer,
    stream: Stream,
    found: &[(u64, u64)],
    place: &str,
    apart: &str,
) -> Result<(), SyncError> {
    let base = buffer.moved()?.map(|moved| moved.base);
    let tried = buffer.closed(stream).map(|batch| (batch.first, batch.last));
    for &(first, last) in &joined(found) {
        let uploaded = buffer.uploaded(stream);
        if last <= uploaded {
            continue;
        }
        // What this store gave out itself it has sent itself; what it brought from another machine, that one has sent.
        let known = match base {
            Some(base) if !buffer.claimed() => last < base,
            _ => buffer.claimed() && last <= buffer.last(stream),
        };
        if !known && tried != Some((first, last)) {
            return Err(SyncError::Foreign(format!(
                "{place} has {} up to number {last}, and the next of this store is {}: records of two stores would be \
                 taken for one; {apart}, and this gateway begins anew there",
                stream.as_str(),
                uploaded.saturating_add(1)
            )));
        }
        if known {
            take_in(buffer, stream, (first.max(uploaded.saturating_add(1)), last))?;
            report(buffer, "found", stream, (first, last), buffer.gateway());
        }
    }
    Ok(())
}

/// Notes that the registry has a range. Where it has more pieces than are remembered, a gateway thinned what is between them
/// before it sent them: what is left of that here stays here, and a record says so. That never happens to what people did.
fn take_in(buffer: &Buffer, stream: Stream, (first, last): (u64, u64)) -> Result<(), SyncError> {
    match buffer.mark_sent(stream, (first, last)) {
        Err(BufferError::Scattered { .. }) if can_be_thinned(stream) => {
            let from = buffer.mark_sent_joined(stream, (first, last))?;
            report(buffer, "left", stream, (from, first.saturating_sub(1)), buffer.gateway());
            Ok(())
        }
        done => Ok(done?),
    }
}

fn can_be_thinned(stream: Stream) -> bool {
    match stream {
        Stream::Predictions | Stream::Explanations | Stream::Health => true,
        Stream::Alerts | Stream::Feedback | Stream::Audit => false,
    }
}

/// Puts on record that a range is not sent from here, because it is or will be sent from elsewhere.
fn report(buffer: &Buffer, state: &str, stream: Stream, (first, last): (u64, u64), gateway: &str) {
    let evidence = [
        ("stream", stream.as_str().to_owned()),
        ("first", first.to_string()),
        ("last", last.to_string()),
        ("gateway", gateway.to_owned()),
    ];
    let evidence = evidence.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    buffer.report(clock::now(), "sync", state, evidence);
}

/// Ranges, ascending, with those that touch made one.
fn joined(found: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut found = found.to_vec();
    found.sort_unstable();
    let mut all: Vec<(u64, u64)> = Vec::with_capacity(found.len());
    for (first, last) in found {
        match all.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

/// Where a batch goes whose name the registry has other content for: outside the streams' folders, under a name that
/// says what it was and holds its digest.
pub(super) fn conflict_path(gateway: &str, path: &str, content: &[u8]) -> String {
    let inner = path.strip_prefix(gateway).unwrap_or(path).trim_start_matches('/');
    let inner = inner.strip_suffix(".parquet").unwrap_or(inner);
    let digest = Sha256::digest(content);
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{gateway}/conflicts/{inner}-{digest}.parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_has_a_name_of_its_own() {
        let path = "line-3/alerts/date=2026-11-21/1-40.parquet";
        let aside = conflict_path("line-3", path, b"rows");
        assert_eq!(aside, "line-3/conflicts/alerts/date=2026-11-21/1-40-bc51e9e65d79e1c9.parquet");
        assert_ne!(aside, conflict_path("line-3", path, b"other rows"));
    }

    #[test]
    fn batches_that_touch_are_one_range() {
        assert_eq!(joined(&[(1, 5), (6, 9), (11, 12), (11, 20)]), [(1, 9), (11, 20)]);
        assert_eq!(joined(&[]), []);
    }
}
