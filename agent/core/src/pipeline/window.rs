//! The window of one asset: its newest rows, as many and as far apart as the model takes them.
//!
//! Rows are never made up. With a period, a row joins when the period has passed since the last one, give or take a quarter; the
//! triggers in between predict nothing. A gap that is longer starts the window anew, since its steps would no longer be
//! what the model learned. Without a period every trigger brings the next row, and one that is refused starts the window
//! anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::validate::Row;
use crate::domain::prediction::{Input, Withheld};
use crate::domain::sample::Quality;
use crate::domain::time::Now;
use crate::model::Manifest;
use crate::model::manifest::InputSpec;

/// A row may come earlier or later than its period by one part in so many.
const SLACK: u32 = 4;

/// Whether an asset that is predicted at an interval can fill a window with this period: some whole number of intervals is
/// the period, within the slack.
pub fn fits(every: Duration, period: Duration) -> bool {
    let (every, period) = (every.as_nanos().max(1), period.as_nanos());
    let slack = period / u128::from(SLACK);
    let next = (period - slack).div_ceil(every).max(1).saturating_mul(every);
    next <= period + slack
}

/// The rows of a window, as far as they have come.
#[derive(Debug)]
pub(super) struct Window {
    steps: usize,
    period: Option<Duration>,
    /// The names of the window's values.
    columns: Vec<Arc<str>>,
    /// Rows with their values, the oldest first.
    rows: VecDeque<(Row, Vec<f32>)>,
    last: Option<Now>,
}

impl Window {
    /// An empty window, for models that take one.
    pub(super) fn of(manifest: &Manifest) -> Option<Self> {
        match manifest.input {
            InputSpec::Row => None,
            InputSpec::Window { steps, period } => {
                Some(Self { steps, period, columns: manifest.columns(), rows: VecDeque::new(), last: None })
            }
        }
    }

    /// Whether a row that comes now is the next one.
    pub(super) fn is_due(&self, now: Now) -> bool {
        match (self.last, self.period) {
            (Some(last), Some(period)) => now.since(last).saturating_add(period / SLACK) >= period,
            _ => true,
        }
    }

    /// Whether it must not wait any longer for the row that is due.
    pub(super) fn is_pressing(&self, now: Now) -> bool {
        match (self.last, self.period) {
            (Some(last), Some(period)) => now.since(last) >= period,
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }

    /// The machine was off: what comes after does not follow what was before.
    pub(super) fn interrupt(&mut self) {
        self.rows.clear();
        self.last = None;
    }

    /// Takes in the next row. Returns the whole window as one row, or the reason why there is none.
    pub(super) fn push(&mut self, row: Row, now: Now) -> Row {
        let values = match &row.values {
            Ok(values) => values.clone(),
            Err(_) => {
                if self.period.is_none() {
                    self.rows.clear();
                }
                return row;
            }
        };
        if let (Some(last), Some(period)) = (self.last, self.period)
            && now.since(last) > period.saturating_add(period / SLACK)
        {
            self.rows.clear();
        }
        self.last = Some(now);
        while self.rows.len() >= self.steps {
            self.rows.pop_front();
        }
        if self.rows.len() + 1 < self.steps {
            let (have, need) = (self.rows.len() as u32 + 1, self.steps as u32);
            self.rows.push_back((row.clone(), values));
            return Row { values: Err(Withheld::WindowFilling { have, need }), ..row };
        }
        self.rows.push_back((row, values));
        self.whole()
    }

    /// The window as one row. Its record has every value, so that it can be predicted and explained again.
    fn whole(&self) -> Row {
        let rows = self.rows.iter().map(|(row, _)| row);
        let inputs = rows.clone().flat_map(|row| &row.inputs);
        let name = |(column, input): (&Arc<str>, &Input)| Input { feature: Arc::clone(column), value: input.value };
        Row {
            values: Ok(self.rows.iter().flat_map(|(_, values)| values).copied().collect()),
            inputs: self.columns.iter().zip(inputs).map(name).collect(),
            quality: rows.clone().fold(Quality::Good, |worst, row| worst.max(row.quality)),
            source_time: rows.filter_map(|row| row.source_time).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn window(steps: usize, period: Option<u64>) -> Window {
        let period = period.map(Duration::from_secs);
        let columns = (0..steps).map(|step| format!("a@{step}").into()).collect();
        Window { steps, period, columns, rows: VecDeque::new(), last: None }
    }

    fn at(millis: u64) -> Now {
        Now { utc: Timestamp::from_micros(0), monotonic: Duration::from_millis(millis) }
    }

    fn row(value: f32) -> Row {
        let inputs = vec![Input { feature: "a".into(), value: Some(f64::from(value)) }];
        Row { values: Ok(vec![value]), inputs, quality: Quality::Good, source_time: None }
    }

    fn refused() -> Row {
        Row { values: Err(Withheld::Missing { feature: "a".to_owned() }), ..row(0.0) }
    }

    fn filling(have: u32, need: u32) -> Result<Vec<f32>, Withheld> {
        Err(Withheld::WindowFilling { have, need })
    }

    #[test]
    fn it_fills_and_then_moves_on_step_by_step() {
        let mut window = window(3, None);
        assert_eq!(window.push(row(1.0), at(0)).values, filling(1, 3));
        assert_eq!(window.push(row(2.0), at(1)).values, filling(2, 3));
        assert_eq!(window.push(row(3.0), at(2)).values, Ok(vec![1.0, 2.0, 3.0]));
        let uncertain = Row { quality: Quality::Uncertain, source_time: Some(Timestamp::from_micros(7)), ..row(4.0) };
        let whole = window.push(uncertain, at(3));
        assert_eq!(whole.values, Ok(vec![2.0, 3.0, 4.0]));
        let named: Vec<_> = whole.inputs.iter().map(|input| (&*input.feature, input.value)).collect();
        assert_eq!(named, [("a@0", Some(2.0)), ("a@1", Some(3.0)), ("a@2", Some(4.0))]);
        assert_eq!((whole.quality, whole.source_time), (Quality::Uncertain, Some(Timestamp::from_micros(7))));
    }

    #[test]
    fn without_a_period_a_refused_row_starts_it_anew_and_keeps_its_reason() {
        let mut window = window(2, None);
        window.push(row(1.0), at(0));
        assert_eq!(window.push(refused(), at(1)).values, refused().values);
        assert_eq!(window.push(row(2.0), at(2)).values, filling(1, 2));
    }

    #[test]
    fn with_a_period_rows_in_between_do_not_count_and_a_gap_starts_it_anew() {
        let mut window = window(2, Some(10));
        assert!(window.is_due(at(0)));
        window.push(row(1.0), at(0));
        assert!(!window.is_due(at(7_400)) && window.is_due(at(7_500)));
        // A refused row leaves the next trigger its chance.
        assert_eq!(window.push(refused(), at(9_900)).values, refused().values);
        assert!(window.is_due(at(10_100)));
        assert_eq!(window.push(row(2.0), at(12_500)).values, Ok(vec![1.0, 2.0]));
        assert_eq!(window.push(row(3.0), at(25_001)).values, filling(1, 2));
        assert!(fits(Duration::from_secs(10), Duration::from_secs(10)));
        assert!(!fits(Duration::from_secs(13), Duration::from_secs(10)));
        // Every other second would come at 1.375 s at the earliest, and 2 s is too late.
        assert!(!fits(Duration::from_secs(1), Duration::from_millis(1500)));
        assert!(!fits(Duration::from_millis(700), Duration::from_secs(1)));
        assert!(fits(Duration::from_millis(500), Duration::from_millis(1500)));
        assert!(fits(Duration::from_millis(1), Duration::from_secs(1)));
    }
}
