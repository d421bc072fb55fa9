//! Asks a model about mixed rows: in batches, and about rows that are the same only once.

use std::collections::HashMap;

use super::ExplainError;

/// What answers flat rows with one number each.
pub(super) type Ask<'a> = dyn Fn(&[f32]) -> Result<Vec<f64>, ExplainError> + 'a;

/// The model is asked about so many rows at a time,
const BATCH_ROWS: usize = 256;
/// and about no more than so many values, where that is more than one row.
const BATCH_VALUES: usize = 1 << 20;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Rows that wait for their answer, and the answers so far.
pub(super) struct Questions<'a> {
    ask: &'a Ask<'a>,
    width: usize,
    most: usize,
    waiting: Vec<f32>,
    /// Rows that wait, by a hash of their bits: their places among the answers. Of two rows of one hash the first is here.
    places: HashMap<u64, usize>,
    answers: Vec<f64>,
    asked: u64,
}

impl<'a> Questions<'a> {
    /// No questions yet, to a model that takes rows of `width` values.
    pub(super) fn new(width: usize, ask: &'a Ask<'a>) -> Self {
        let most = (BATCH_VALUES / width.max(1)).clamp(1, BATCH_ROWS);
        Self { ask, width, most, waiting: Vec::new(), places: HashMap::new(), answers: Vec::new(), asked: 0 }
    }

    /// Puts a question; its answer will be found at the place returned.
    pub(super) fn put(&mut self, row: &[f32]) -> Result<usize, ExplainError> {
        if self.waiting.len() >= self.most * self.width {
            self.settle()?;
        }
        let first = self.answers.len();
        let place = first + self.waiting.len() / self.width;
        let alike = *self.places.entry(hash(row)).or_insert(place);
        if alike != place {
            let held = &self.waiting[(alike - first) * self.width..][..self.width];
            if held.iter().zip(row).all(|(held, value)| held.to_bits() == value.to_bits()) {
                return Ok(alike);
            }
        }
        self.waiting.extend_from_slice(row);
        Ok(place)
    }

    /// Asks what still waits. Places of earlier answers stay.
    pub(super) fn settle(&mut self) -> Result<(), ExplainError> {
        if !self.waiting.is_empty() {
            let answers = (self.ask)(&self.waiting)?;
            self.asked += answers.len() as u64;
            self.answers.extend(answers);
            self.waiting.clear();
            self.places.clear();
        }
        Ok(())
    }

    /// The answer at a place; NaN where nothing was settled.
    pub(super) fn answer(&self, place: usize) -> f64 {
        self.answers.get(place).copied().unwrap_or(f64::NAN)
    }

    /// Forgets the answers, so that places begin anew.
    pub(super) fn forget(&mut self) {
        self.answers.clear();
    }

    /// Rows that the model was asked about or will be, in all.
    pub(super) fn put_in_all(&self) -> u64 {
        self.asked + (self.waiting.len() / self.width) as u64
    }

    /// Rows that the model was asked about, in all.
    pub(super) fn asked(&self) -> u64 {
        self.asked
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
        // 70 different rows; those that wait are known, those of an earlier batch are not.
        assert_eq!(questions.asked(), 70);
        assert!(questions.answer(9_999).is_nan());
    }
}
