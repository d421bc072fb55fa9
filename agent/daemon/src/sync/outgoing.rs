//! One batch on its way: from the outbox, or first into it, then under its name in the registry.

use explaind_core::domain::record::Stream;

use super::names::Names;
use super::parquet::Encoder;
use super::{PIECE, Sync, SyncError, blocking, claim, figures, status};
use crate::buffer::{Buffer, Closed};
use crate::clock;
use crate::registry::{RegistryError, batch_path};

impl Sync {
    /// Uploads one batch and lets go of it.
    pub(super) async fn send(&self, stream: Stream, batch: Closed) -> Result<(), SyncError> {
        let date = status::date(batch.closed_at);
        let path = batch_path(self.buffer.gateway(), stream, &date, batch.first, batch.last);
        match self.load(stream, batch, &path).await? {
            Load::Bytes(content) => {
                self.put(&path, content).await?;
                tracing::debug!(path, "a batch is in the registry");
            }
            Load::Nothing => {}
            Load::Passed => return Ok(()),
        }
        let buffer = self.buffer.clone();
        blocking(move || let_go(&buffer, stream, batch)).await
    }

    /// What there is to send of a closed batch.
    async fn load(&self, stream: Stream, batch: Closed, path: &str) -> Result<Load, SyncError> {
        let buffer = self.buffer.clone();
        if let Some(load) = blocking(move || Load::filed(&buffer, stream, batch)).await? {
            return Ok(load);
        }
        // Its file is lost: should an earlier try have arrived, other bytes of the same records must not follow.
        if let Some(sent) = self.buffer.content(stream)
            && self.registry.holds(path, sent.size, sent.sha256).await?
        {
            return Ok(Load::Nothing);
        }
        let (buffer, authors) = (self.buffer.clone(), self.config.authors);
        blocking(move || Load::made(&buffer, stream, batch, Names::of(&buffer, authors))).await
    }

    /// Puts a batch under its name. When that has other content, what is there stays, ours goes beside it under a name
    /// of its own, and it is recorded: nothing is lost, and a person must look.
    pub(super) async fn put(&self, path: &str, content: Vec<u8>) -> Result<(), SyncError> {
        match self.registry.put(path, content.clone()).await {
            Ok(_) => return Ok(()),
            Err(RegistryError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let aside = claim::conflict_path(self.buffer.gateway(), path, &content);
        self.registry.put(&aside, content).await?;
        tracing::error!(path, aside, "the registry has other content under a batch's name; ours was put aside");
        self.status.change(|s| s.conflicts += 1);
        let buffer = self.buffer.clone();
        let evidence = vec![("path".to_owned(), path.to_owned()), ("aside".to_owned(), aside)];
        tokio::task::spawn_blocking(move || buffer.report(clock::now(), "sync", "conflict", evidence)).await?;
        Ok(())
    }
}

/// What there is to send of a closed batch.
pub(super) enum Load {
    /// These bytes, by every try.
    Bytes(Vec<u8>),
    /// None of its records is left, or all are where they should be.
    Nothing,
    /// It is not the closed batch any more. A person carried it (`carry`) and marked it, or the store lost its bounds: then
    /// its records are still to be sent.
    Passed,
}

impl Load {
    /// What the outbox has; `None` when the file is not there or not what it was.
    pub(super) fn filed(buffer: &Buffer, stream: Stream, batch: Closed) -> Result<Option<Self>, SyncError> {
        let content = buffer.outbox(stream)?;
        // What lies there is another's otherwise.
        if buffer.closed(stream) != Some(batch) {
            return Ok(Some(Self::Passed));
        }
        Ok(content.map(Self::Bytes))
    }

    /// Writes the file, anew where it is lost.
    pub(super) fn made(buffer: &Buffer, stream: Stream, batch: Closed, names: Names) -> Result<Self, SyncError> {
        let content = encode(buffer, stream, batch, names)?;
        if let Some(content) = &content {
            buffer.fill_batch(stream, batch, content)?;
        }
        if buffer.closed(stream) != Some(batch) {
            return Ok(Self::Passed);
        }
        Ok(content.map_or(Self::Nothing, Self::Bytes))
    }
}

/// Lets go of a batch that is safe elsewhere.
pub(super) fn let_go(buffer: &Buffer, stream: Stream, batch: Closed) -> Result<(), SyncError> {
    // Once it is marked as sent, feedback may go.
    if stream == Stream::Feedback
        && let Err(error) = figures::verdicts(buffer)
    {
        tracing::warn!(%error, "verdicts were not counted");
    }
    Ok(buffer.mark_sent(stream, (batch.first, batch.last))?)
}

/// A batch's records as a file; `None` when none of them is left to send.
pub(super) fn encode(
    buffer: &Buffer,
    stream: Stream,
    batch: Closed,
    names: Names,
) -> Result<Option<Vec<u8>>, SyncError> {
    let mut encoder = Encoder::new(stream, names)?;
    let mut after = batch.first.saturating_sub(1);
    while after < batch.last {
        let mut records = buffer.read(stream, after, PIECE)?;
        let full = records.len() == PIECE;
        records.retain(|record| record.sequence <= batch.last);
        encoder.push(&records)?;
        match records.last() {
            Some(last) if full => after = last.sequence,
            _ => break,
        }
    }
    if encoder.records() == 0 {
        return Ok(None);
    }
    Ok(Some(encoder.finish()?))
}
