//! Whose folder it is: a gateway's records come from one store, and nothing of central's is ever overwritten.

use explaind_core::domain::record::Stream;
use sha2::{Digest as _, Sha256};

use super::SyncError;
use crate::buffer::Buffer;
use crate::registry::{Registry, StoreMark};

/// Makes sure that the gateway's folder in the registry belongs to this buffer's store, and says so there.
///
/// # Errors
/// [`SyncError::Foreign`] when a person has to decide.
pub(super) async fn claim(buffer: &Buffer, registry: &Registry) -> Result<(), SyncError> {
    let (gateway, store_id) = (buffer.gateway(), buffer.store_id());
    let mark = registry.store(gateway).await?;
    let predecessors = match mark {
        Some(mark) if mark.store_id == store_id => return note(buffer).await,
        Some(mark) if buffer.predecessors().contains(&mark.store_id) => {
            tracing::info!(lost = %mark.store_id, "this store takes over from the one that was lost");
            [mark.predecessors, vec![mark.store_id]].concat()
        }
        Some(mark) => {
            return Err(SyncError::Foreign(format!(
                "{} belongs to another store ({}): if two gateways are called \"{gateway}\", give one of them another \
                 [gateway] id; if this machine or its card was replaced, {}",
                registry.place(gateway),
                mark.store_id,
                registry.set_apart()
            )));
        }
        None => {
            let holds = anything(registry, gateway).await?;
            if holds || buffer.claimed() {
                let found = if holds { "has batches but names no store" } else { "is gone" };
                return Err(SyncError::Foreign(format!(
                    "{} {found}: is it the right registry? If it is meant to be so, {}",
                    registry.place(gateway),
                    registry.adopt(gateway, store_id)
                )));
            }
            buffer.predecessors()
        }
    };
    registry.set_store(&StoreMark { gateway: gateway.to_owned(), store_id, predecessors }).await?;
    note(buffer).await
}

/// The buffer remembers that it has a folder: should that be gone one day, the share is not mounted.
async fn note(buffer: &Buffer) -> Result<(), SyncError> {
    if buffer.claimed() {
        return Ok(());
    }
    let buffer = buffer.clone();
    Ok(tokio::task::spawn_blocking(move || buffer.set_claimed()).await??)
}

/// Whether the registry has any batch of a gateway.
async fn anything(registry: &Registry, gateway: &str) -> Result<bool, SyncError> {
    for stream in Stream::ALL {
        if registry.highest(gateway, stream).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
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
}
