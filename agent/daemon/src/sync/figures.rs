//! What central sees of a gateway at a glance: records and verdicts, open alerts, lag, disk.

use explaind_core::domain::record::{Body, Stream};

use super::PIECE;
use super::status::Lag;
use crate::buffer::{Buffer, BufferError, Tally};
use crate::registry::Figure;

/// All figures as of now.
pub(super) fn count(buffer: &Buffer, lags: &[Lag]) -> Result<Vec<Figure>, BufferError> {
    let tally = verdicts(buffer)?;
    let stat = buffer.stat();
    let open = buffer.alerts().into_iter().filter(|alert| alert.state.is_open()).count();
    let figure = |name: String, value: f64| Figure { name, value };
    let mut all = vec![
        figure("alerts_open".to_owned(), open as f64),
        figure("buffer_bytes".to_owned(), stat.bytes as f64),
        figure("buffer_disk_bytes".to_owned(), stat.disk_bytes as f64),
    ];
    all.extend(stat.streams.iter().map(|one| figure(format!("records_{}", one.stream), one.records as f64)));
    all.extend(lags.iter().map(|lag| figure(format!("waiting_{}", lag.stream), lag.waiting as f64)));
    let known = lags.iter().filter_map(|lag| Some((lag.stream, lag.lag_seconds?)));
    all.extend(known.map(|(stream, seconds)| figure(format!("lag_seconds_{stream}"), seconds)));
    all.extend(tally.verdicts.iter().map(|(verdict, count)| figure(format!("verdicts_{verdict}"), *count as f64)));
    Ok(all)
}

/// The verdicts that were ever given here, those of feedback that is not kept any more among them: each is counted before
/// it can go, and the count is stored.
pub(super) fn verdicts(buffer: &Buffer) -> Result<Tally, BufferError> {
    let mut tally = buffer.tally()?;
    let before = tally.through;
    loop {
        let records = buffer.read(Stream::Feedback, tally.through, PIECE)?;
        for record in &records {
            tally.through = record.sequence;
            if let Body::Feedback(feedback) = &record.body
                && let Some(verdict) = feedback.verdict
            {
                let count = tally.verdicts.entry(verdict.as_str().to_owned()).or_default();
                *count = count.saturating_add(1);
            }
        }
        if records.len() < PIECE {
            break;
        }
    }
    // A count that could not be stored is made again.
    if tally.through > before
        && let Err(error) = buffer.set_tally(&tally)
    {
        tracing::debug!(%error, "the count of verdicts was not stored");
    }
    Ok(tally)
}
