//! Asks a model about mixed rows: in batches, and about rows that are the same only once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::ExplainError;

/// What answers flat rows with one number each.
pub(super) type Ask<'a> = dyn Fn(&[f32]) -> Result<Vec<f64>, ExplainError> + 'a;

/// The model is asked about so many rows at a time,
const BATCH_ROWS: usize = 256;
/// and about no more than so many values, where that is more than one row.
const BATCH_VALUES: usize = 1 << 20;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Rows that were asked about are remembered up to so many values (4 MiB), and at least those of one batch; then the memory
/// begins anew.
const REMEMBERED: usize = 1 << 20;

/// Rows that wait for their answer, and the answers so far.
///
/// A row has a place, which is counted through; [`forget`](Self::forget) gives up those that need not be found any more.
pub(super) struct Questions<'a> {
    ask: &'a Ask<'a>,
    width: usize,
    most: usize,
    /// Rows in the order of their places: those that are remembered, then those that wait.
    rows: Vec<f32>,
    /// The place of the first of them.
    first: usize,
    /// The places of these rows by a hash of their bits. Of two rows of one hash the first is here.
    places: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    answers: Vec<f64>,
    /// The place of the first answer.
    kept_from: usize,
    asked: u64,
}

impl<'a> Questions<'a> {
    /// No questions yet, to a model that takes rows of `width` values.
    pub(super) fn new(width: usize, ask: &'a Ask<'a>) -> Self {
        let most = (BATCH_VALUES / width.max(1)).clamp(1, BATCH_ROWS);
        let places = HashMap::default();
        Self { ask, width, most, rows: Vec::new(), first: 0, places, answers: Vec::new(), kept_from: 0, asked: 0 }
    }

    /// The place of the first row that waits.
    fn waiting_from(&self) -> usize {
        self.kept_from + self.answers.len()
    }

    fn waiting(&self) -> usize {
        self.first + self.rows.len() / self.width - self.waiting_from()
    }

    /// Puts a question; its answer will be found at the place returned.
    pub(super) fn put(&mut self, row: &[f32]) -> Result<usize, ExplainError> {
        if self.waiting() >= self.most {
            self.settle()?;
        }
        let place = self.waiting_from() + self.waiting();
        let alike = *self.places.entry(hash(row)).or_insert(place);
        if alike != place {
            let held = &self.rows[(alike - self.first) * self.width..][..self.width];
            if held.iter().zip(row).all(|(held, value)| held.to_bits() == value.to_bits()) {
                return Ok(alike);
            }
        }
        self.rows.extend_from_slice(row);
        Ok(place)
    }

    /// Asks what still waits. Places of earlier answers stay.
    pub(super) fn settle(&mut self) -> Result<(), ExplainError> {
        if self.waiting() > 0 {
            let waiting = (self.waiting_from() - self.first) * self.width;
            let answers = (self.ask)(&self.rows[waiting..])?;
            self.asked += answers.len() as u64;
            self.answers.extend(answers);
            if self.rows.len() >= REMEMBERED {
                self.rows.clear();
                self.places.clear();
                self.first = self.waiting_from();
            }
        }
        Ok(())
    }

    /// The answer at a place; NaN where nothing was settled, or it was forgotten.
    pub(super) fn answer(&self, place: usize) -> f64 {
        place.checked_sub(self.kept_from).and_then(|place| self.answers.get(place)).copied().unwrap_or(f64::NAN)
    }

    /// Forgets the answers to rows that are not remembered: none of the places handed out so far is asked for again.
    pub(super) fn forget(&mut self) {
        self.answers.drain(..(self.first - self.kept_from).min(self.answers.len()));
        self.kept_from = self.first;
    }

    /// Rows that the model was asked about or will be, in all.
    pub(super) fn put_in_all(&self) -> u64 {
        self.asked + self.waiting() as u64
    }

    /// Rows that the model was asked about, in all.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }
}

/// Hands on a hash that is one already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = (self.0.rotate_left(8) ^ u64::from(byte)).wrapping_mul(GOLDEN));
    }

    fn write_u64(&mut self, hash: u64) {
        // A product's upper bits are its best.
        self.0 = hash.rotate_left(32);
    }
}

/// A hash of a row's bits, in four strands that a processor computes side by side.
///
/// It only has to be quick: rows of one hash are compared. Constant: 2^64 over the golden ratio (Knuth, "The Art of
/// Computer Programming", volume 3, section 6.4, on multiplicative hashing).
fn hash(row: &[f32]) -> u64 {
    let step = |state: u64, value: &f32| (state.rotate_left(23) ^ u64::from(value.to_bits())).wrapping_mul(GOLDEN);
    let (fours, rest) = row.as_chunks::<4>();
    let mut strands = [1, 2, 3, 4];
    for four in fours {
        strands.iter_mut().zip(four).for_each(|(strand, value)| *strand = step(*strand, value));
    }
    let strand = rest.iter().fold(0, step);
    strands.iter().fold(strand, |hash, strand| (hash.rotate_left(23) ^ strand).wrapping_mul(GOLDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_the_same_are_asked_about_once_and_all_find_their_answer() {
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            Ok(rows.chunks_exact(2).map(|row| f64::from(10.0 * row[0] + row[1])).collect())
        };
        let mut questions = Questions::new(2, &ask);
        let rows: Vec<[f32; 2]> = (0..3_000).map(|i| [(i % 7) as f32, (i % 10) as f32]).collect();
        let places: Vec<usize> = rows.iter().map(|row| questions.put(row).expect("a place")).collect();
        questions.settle().expect("answers");
        for (row, place) in rows.iter().zip(places) {
            assert_eq!(questions.answer(place), f64::from(10.0 * row[0] + row[1]));
        }
        // 70 different rows, in whichever batch.
        assert_eq!(questions.asked(), 70);
        assert!(questions.answer(9_999).is_nan());
    }

    #[test]
    fn rows_are_remembered_over_batches_until_there_are_too_many() {
        const WIDE: usize = REMEMBERED / 16;
        let asked = std::cell::RefCell::new(Vec::new());
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            let answers = rows.chunks_exact(WIDE).map(|row| f64::from(row[0]));
            asked.borrow_mut().extend(answers.clone());
            Ok(answers.collect())
        };
        let mut questions = Questions::new(WIDE, &ask);
        let mut put = |number: f32| {
            questions.forget();
            let place = questions.put(&[number; WIDE]).expect("a place");
            questions.settle().expect("answers");
            assert_eq!(questions.answer(place), f64::from(number));
        };
        // The fifteenth still finds the first; with the sixteenth the memory is full.
        (0..15).chain(0..15).for_each(|number: u8| put(f32::from(number)));
        assert_eq!(asked.borrow().len(), 15);
        [15.0, 0.0, 0.0, 15.0].into_iter().for_each(&mut put);
        assert_eq!(asked.borrow()[15..], [15.0, 0.0, 15.0]);
        assert!(questions.answers.len() <= 3 && questions.rows.len() <= REMEMBERED);
    }
}
