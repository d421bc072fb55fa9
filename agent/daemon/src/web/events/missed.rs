//! What somebody missed, read from the records: for who comes back, and for who could not follow.

use explaind_core::domain::record::{Body, Stream};
use uuid::Uuid;

use super::news::{Gathered, News};
use super::place::{Place, Step};
use crate::buffer::{Buffer, BufferError};

/// Records of a stream that are told again. Who missed more has it easier when all is read anew.
const MOST_MISSED: u64 = 1000;
/// Predictions that are looked through for the last ones, and for their explanations.
const MOST_PREDICTIONS: u64 = 5000;
/// Predictions that wait for their explanation when somebody comes in.
const MOST_UNSETTLED: usize = 256;
/// Records read at a time.
const STRIDE: usize = 500;

/// The streams of which every record may be news.
const TOLD: [Stream; 4] = [Stream::Alerts, Stream::Feedback, Stream::Explanations, Stream::Health];

/// Where somebody is who has just read everything.
pub(super) fn now(buffer: &Buffer) -> Place {
    let mut place = Place::default();
    for stream in TOLD {
        *at(&mut place, stream) = buffer.newest(stream);
    }
    place.predictions = buffer.newest(Stream::Predictions);
    match buffer.unsettled_numbers(MOST_UNSETTLED) {
        Some(numbers) => {
            for number in numbers.into_iter().filter(|number| *number <= place.predictions) {
                match of_alert(buffer, number) {
                    Ok(Some(_)) => drop(place.open.insert(number)),
                    Ok(None) => {}
                    Err(_) => place.lost = true,
                }
            }
        }
        None => place.lost = true,
    }
    place
}

/// What came after a place.
pub(super) struct Missed {
    /// All of it.
    pub(super) news: Vec<News>,
    /// The place before, which knows of the explanations that are to come.
    pub(super) from: Place,
    /// The place after.
    pub(super) to: Place,
}

/// What came after a place; `None` when that is too much, or not kept any more.
pub(super) fn since(buffer: &Buffer, place: &Place) -> Result<Option<Missed>, BufferError> {
    let mut place = place.clone();
    let predictions = buffer.newest(Stream::Predictions);
    let too_far = place.lost
        || TOLD.into_iter().any(|stream| is_too_far(buffer, stream, *at(&mut place, stream), MOST_MISSED))
        || is_too_far(buffer, Stream::Predictions, place.predictions, MOST_PREDICTIONS);
    if too_far {
        return Ok(None);
    }
    let mut gathered = Gathered::default();
    let mut reached = place.clone();
    let waiting: Vec<u64> = place.open.range(..=place.predictions).copied().collect();
    for number in waiting {
        let Some(record) = buffer.read(Stream::Predictions, number.saturating_sub(1), 1)?.pop() else {
            return Ok(None);
        };
        if record.sequence != number {
            return Ok(None);
        }
        gathered.add(&record, &mut place);
    }
    for stream in TOLD {
        let (mut after, newest) = (*at(&mut place, stream), buffer.newest(stream));
        while after < newest {
            let records = buffer.read(stream, after, STRIDE)?;
            records.iter().for_each(|record| gathered.add(record, &mut place));
            let Some(last) = records.last() else { break };
            after = last.sequence;
        }
        *at(&mut reached, stream) = after;
    }
    let mut after = place.predictions;
    while after < predictions {
        let records = buffer.read(Stream::Predictions, after, STRIDE)?;
        records.iter().for_each(|record| gathered.add(record, &mut place));
        let Some(last) = records.last() else { break };
        after = last.sequence;
    }
    let news = gathered.drain(true);
    let mut to = place.clone();
    news.iter().for_each(|news| to.step(news.step));
    for stream in TOLD {
        *at(&mut to, stream) = *at(&mut reached, stream);
    }
    to.step(Step::Prediction(after));
    Ok(Some(Missed { news, from: place, to }))
}

fn is_too_far(buffer: &Buffer, stream: Stream, told: u64, most: u64) -> bool {
    let (newest, first) = (buffer.newest(stream), buffer.within(stream).0);
    // A place beyond the end is one in another gateway's records.
    told > newest || newest - told > most || told.saturating_add(1) < first
}

/// The number in a place that belongs to a stream.
fn at(place: &mut Place, stream: Stream) -> &mut u64 {
    match stream {
        Stream::Alerts => &mut place.alerts,
        Stream::Feedback => &mut place.feedback,
        Stream::Explanations => &mut place.extras,
        Stream::Health | Stream::Audit => &mut place.health,
        Stream::Predictions => &mut place.predictions,
    }
}

/// The alert of a prediction that has one.
fn of_alert(buffer: &Buffer, number: u64) -> Result<Option<Uuid>, BufferError> {
    let record = buffer.read(Stream::Predictions, number.saturating_sub(1), 1)?.pop();
    Ok(record.filter(|record| record.sequence == number).and_then(|record| match record.body {
        Body::Prediction(prediction) => prediction.alert,
        _ => None,
    }))
}
