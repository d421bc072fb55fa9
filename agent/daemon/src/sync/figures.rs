//! What central sees of a gateway at a glance: counts of records and verdicts, open alerts, lag, disk.

use std::collections::BTreeMap;

use explaind_core::domain::record::{Body, Stream};
use tokio::time::Instant;

use super::PIECE;
use super::status::Lag;
use crate::buffer::{Buffer, BufferError};
use crate::registry::Figure;

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// When the registry was last shown them.
    pub(super) shown: Option<Instant>,
    /// The last feedback counted.
    counted: u64,
    /// Verdicts in the feedback that this gateway still keeps.
    verdicts: BTreeMap<&'static str, u32>,
}

impl Figures {
    /// All figures as of now.
    pub(super) fn count(&mut self, buffer: &Buffer, lags: &[Lag]) -> Result<Vec<Figure>, BufferError> {
        self.count_verdicts(buffer)?;
        let stat = buffer.stat();
        let open = buffer.alerts().into_iter().filter(|alert| alert.state.is_open()).count();
        let figure = |name: String, value: f64| Figure { name, value };
        let mut all = vec![
            figure("alerts_open".to_owned(), open as f64),
            figure("buffer_bytes".to_owned(), stat.bytes as f64),
            figure("buffer_disk_bytes".to_owned(), stat.disk_bytes as f64),
        ];
        all.extend(stat.streams.iter().map(|one| figure(format!("records_{}", one.stream), one.last as f64)));
        all.extend(lags.iter().map(|lag| figure(format!("lag_seconds_{}", lag.stream), lag.lag_seconds)));
        all.extend(
            self.verdicts.iter().map(|(verdict, count)| figure(format!("verdicts_{verdict}"), f64::from(*count))),
        );
        Ok(all)
    }

    /// Takes in the feedback that came since.
    fn count_verdicts(&mut self, buffer: &Buffer) -> Result<(), BufferError> {
        loop {
            let records = buffer.read(Stream::Feedback, self.counted, PIECE)?;
            for record in &records {
                self.counted = record.sequence;
                if let Body::Feedback(feedback) = &record.body
                    && let Some(verdict) = feedback.verdict
                {
                    let count = self.verdicts.entry(verdict.as_str()).or_default();
                    *count = count.saturating_add(1);
                }
            }
            if records.len() < PIECE {
                return Ok(());
            }
        }
    }
}
