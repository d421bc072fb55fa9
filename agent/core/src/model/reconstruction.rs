//! How far a reconstruction is from its input: the mean, over all values of the input, of the squared difference.
//!
//! Differences count in the tensor's own units. A model whose features differ in size is exported with its scaling
//! outside, so that it takes and gives scaled values, or every feature but the largest goes unheard.

/// The score of one input of any number of values.
pub(super) fn score(input: &[f32], reconstruction: &[f64]) -> f64 {
    squares(input, reconstruction).sum::<f64>() / input.len().max(1) as f64
}

/// The scores of flat inputs of `width` values.
pub(super) fn scores(inputs: &[f32], reconstructions: &[f64], width: usize) -> Vec<f64> {
    let pairs = inputs.chunks_exact(width).zip(reconstructions.chunks_exact(width));
    pairs.map(|(input, reconstruction)| score(input, reconstruction)).collect()
}

/// What each of `features` adds to the score of one input, over all steps of a window.
pub(super) fn parts(input: &[f32], reconstruction: &[f64], features: usize) -> Vec<f64> {
    let mut parts = vec![0.0; features];
    for (index, square) in squares(input, reconstruction).enumerate() {
        parts[index % features] += square / input.len() as f64;
    }
    parts
}

fn squares<'a>(input: &'a [f32], reconstruction: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    input.iter().zip(reconstruction).map(|(&value, other)| (f64::from(value) - other).powi(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_score() {
        let (input, reconstruction) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.5, 2.0, 4.0, 5.0, 5.5]);
        assert_eq!(score(&input, &reconstruction), 1.5 / 6.0);
        assert_eq!(parts(&input, &reconstruction, 2), [1.0 / 6.0, 0.5 / 6.0]);
        assert_eq!(scores(&input, &reconstruction, 3), [1.25 / 3.0, 0.25 / 3.0]);
    }
}
