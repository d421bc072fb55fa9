//! Networks in two halves: sums of the inputs times constants, up to and with the first convolution or dense layer, and
//! what comes after.
//!
//! Whoever asks about rows mixed from two others need not run the first half: what each input adds to the sums can be
//! added up once, and exchanged. For a convolution over windows that is most of the work. What comes after, where it is
//! dense layers and nothing else, is computed here and not by tract ([`tail`]).

mod cut;
mod tail;

pub(super) use self::cut::Cut;
use self::tail::Tail;
use super::error::ModelError;
use super::network::Network;

/// Most weights, inputs times sums: 16 MiB.
const MOST_WEIGHTS: usize = 4 << 20;
/// The weights are measured by steps of so many times what an input varies over the background: so large that what float32
/// rounds off of the sums is small beside what the step changes.
const STEP: f32 = 1_024.0;
/// Inputs that are tried out at a time, so that the rows for it stay small.
const TRIED_AT_ONCE: usize = 64;
/// How far the halves may be off the whole, as a part of the largest output: what float32 rounds off, no more.
const TOLERANCE: f64 = 1e-5;
/// What counts as the largest output at least where a function such as the logistic comes last, which everybody computes up
/// to a part of 1: so the halves may be off by 1e-6 there, as any prediction may.
const BOUNDED: f64 = 0.1;

/// A network as `rest(weights · input + constants)`, whose first half is never run: its sums are put together.
#[derive(Debug)]
pub struct Halves {
    /// Row by row the weights of one input in all sums.
    weights: Vec<f32>,
    /// An input near those of the background, and its sums: what others are counted from, so that their differences lose
    /// nothing.
    anchor: Vec<f32>,
    at_anchor: Vec<f64>,
    rest: Network,
    /// The same as `rest`, sooner.
    tail: Option<Tail>,
    column: usize,
}

impl Halves {
    /// Cuts a network, for the one `column` of its output that is asked for. `None` where it cannot be cut, or does not
    /// give the same then for rows mixed from those of `background`, flat and at least one.
    ///
    /// # Errors
    /// [`ModelError`] when the network or one of its halves fails to run.
    pub(super) fn of(network: &Network, column: usize, background: &[f32]) -> Result<Option<Self>, ModelError> {
        let Some(cut) = network.cut() else { return Ok(None) };
        let Some((front, rest)) = cut.plans(network.shape()) else { return Ok(None) };
        let width: usize = network.shape().iter().product();
        let Some(anchor) = background.get(..width) else { return Ok(None) };
        if width.saturating_mul(front.columns()) > MOST_WEIGHTS || rest.columns() != network.columns() {
            return Ok(None);
        }
        let at_anchor = front.run(anchor)?;
        let weights = weights(&front, anchor, &at_anchor, background)?;
        let mut halves = Self { weights, anchor: anchor.to_vec(), at_anchor, rest, tail: None, column };
        let (rows, sums) = halves.mixed(background);
        let found = halves.by_rest(&sums)?;
        let whole: Vec<f64> = network.run(&rows)?.into_iter().skip(column).step_by(network.columns()).collect();
        if !agree(&whole, &found, 0.0) {
            return Ok(None);
        }
        let tail = match halves.rest.shape() {
            &[sums] => Tail::read(cut.rest(), sums, column),
            _ => None,
        };
        halves.tail =
            tail.filter(|tail| agree(&found, &tail.run(&sums), if tail.is_bounded() { BOUNDED } else { 0.0 }));
        Ok(Some(halves))
    }

    /// How many sums there are.
    pub fn count(&self) -> usize {
        self.at_anchor.len()
    }

    /// Values of an input.
    pub fn width(&self) -> usize {
        self.anchor.len()
    }

    /// An input that others are counted from.
    pub fn anchor(&self) -> &[f32] {
        &self.anchor
    }

    /// Its sums.
    pub fn at_anchor(&self) -> &[f64] {
        &self.at_anchor
    }

    /// Adds to `sums` what changes in them when the input at `column` goes from one value to another.
    pub fn change(&self, sums: &mut [f64], column: usize, from: f32, to: f32) {
        let step = f64::from(to) - f64::from(from);
        if step != 0.0 {
            let weights = &self.weights[column * self.count()..][..self.count()];
            sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += step * f64::from(weight));
        }
    }

    /// The explained quantity for flat rows of sums, each [`count`](Self::count) of them.
    ///
    /// # Errors
    /// [`ModelError`]: the sums are no whole rows, an answer is not finite, or the network failed.
    pub fn explained(&self, sums: &[f32]) -> Result<Vec<f64>, ModelError> {
        if !sums.len().is_multiple_of(self.count()) {
            return Err(ModelError::Width { expected: self.count(), found: sums.len() % self.count() });
        }
        let values = self.tail.as_ref().map(|tail| tail.run(sums));
        let values = match values.filter(|values| values.iter().all(|value| value.is_finite())) {
            Some(values) => values,
            None => self.by_rest(sums)?,
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NonFinite);
        }
        Ok(values)
    }

    fn by_rest(&self, sums: &[f32]) -> Result<Vec<f64>, ModelError> {
        Ok(self.rest.run(sums)?.into_iter().skip(self.column).step_by(self.rest.columns()).collect())
    }

    /// Rows of which every second value is the next row's, and their sums.
    fn mixed(&self, background: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (mut rows, mut sums) = (Vec::new(), Vec::new());
        let next = background.chunks_exact(self.width()).cycle().skip(1);
        for (row, next) in background.chunks_exact(self.width()).zip(next) {
            let mixed = row.iter().zip(next).enumerate();
            let mixed: Vec<f32> =
                mixed.map(|(column, (row, next))| if column % 2 == 0 { *row } else { *next }).collect();
            let mut row = self.at_anchor.clone();
            let changes = self.anchor.iter().zip(&mixed).enumerate();
            changes.for_each(|(column, (&from, &to))| self.change(&mut row, column, from, to));
            sums.extend(row.into_iter().map(|sum| sum as f32));
            rows.extend(mixed);
        }
        (rows, sums)
    }
}

/// Whether two ways give the same, for the largest output's size or for `scale`. What is not a number agrees with nothing.
fn agree(one: &[f64], other: &[f64], scale: f64) -> bool {
    let largest = one.iter().fold(scale, |largest, value| largest.max(value.abs()));
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() <= TOLERANCE * largest)
}

/// What one unit of each input adds to each sum.
fn weights(front: &Network, anchor: &[f32], at_anchor: &[f64], background: &[f32]) -> Result<Vec<f32>, ModelError> {
    let width = anchor.len();
    let steps: Vec<f32> = (0..width)
        .map(|column| {
            let values = background.iter().skip(column).step_by(width);
            let varies = values.fold(0.0_f32, |most, value| most.max((value - anchor[column]).abs()));
            STEP * if varies > 0.0 { varies } else { anchor[column].abs().max(1.0) }
        })
        .collect();
    let mut weights = Vec::with_capacity(width * at_anchor.len());
    for first in (0..width).step_by(TRIED_AT_ONCE) {
        let columns = first..width.min(first + TRIED_AT_ONCE);
        let mut rows = anchor.repeat(columns.len());
        for (row, column) in rows.chunks_exact_mut(width).zip(columns.clone()) {
            row[column] += steps[column];
        }
        let found = front.run(&rows)?;
        for ((row, sums), column) in rows.chunks_exact(width).zip(found.chunks_exact(at_anchor.len())).zip(columns) {
            // What the step has become in float32.
            let step = f64::from(row[column]) - f64::from(anchor[column]);
            weights.extend(sums.iter().zip(at_anchor).map(|(sum, anchor)| ((sum - anchor) / step) as f32));
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tract_onnx::pb::ModelProto;

    use super::cut::tests::{Node, model};
    use super::*;

    const DENSE: &[u8] = include_bytes!("../../../../tests/models/ai4i-mlp/model.onnx");
    const CONVOLUTION: &[u8] = include_bytes!("../../../../tests/models/cmapss-rul-cnn/model.onnx");

    fn decode(bytes: &[u8]) -> ModelProto {
        ModelProto::decode(bytes).expect("a reference model")
    }

    #[test]
    fn the_halves_of_the_reference_networks_give_what_the_whole_gives() {
        let windows: Vec<f32> = (0..8 * 420).map(|i| 500.0 + ((i * 37) % 101) as f32 / 10.0).collect();
        let rows = include_str!("../../../../tests/models/ai4i-mlp/background.csv").lines().skip(1);
        let rows = rows.flat_map(|row| row.split(',')).map(|cell| cell.parse().expect("a number")).collect();
        let cases = [(CONVOLUTION, "rul", &[30, 14][..], windows, 96), (DENSE, "probability", &[6][..], rows, 48)];
        for (bytes, tensor, shape, background, sums) in cases {
            let network = Network::load(&decode(bytes), tensor, shape).expect("a network");
            let halves = Halves::of(&network, 0, &background).expect("answers").expect("halves");
            let width: usize = shape.iter().product();
            assert_eq!((halves.count(), halves.width()), (sums, width), "{tensor}");
            assert_eq!(halves.tail.is_some(), tensor == "probability", "dense layers only");
            assert_eq!(halves.explained(&vec![0.0; sums + 1]), Err(ModelError::Width { expected: sums, found: 1 }));
        }
    }

    #[test]
    fn halves_that_do_not_give_what_the_whole_gives_are_not_used() {
        let nodes: &[Node<'_>] = &[("MatMul", &["x", "w"], "s"), ("Exp", &["s"], "r"), ("MatMul", &["r", "w"], "y")];
        let background = [0.5, 0.25, -1.0, 2.0, 0.0, 1.0];
        let network = Network::load(&model(nodes), "y", &[2]).expect("a network");
        let halves = Halves::of(&network, 1, &background).expect("answers").expect("halves");
        let of_network =
            |rows: &[f32]| -> Vec<f64> { network.run(rows).expect("answers").into_iter().skip(1).step_by(2).collect() };
        let agrees = |halves: &Halves| {
            let (rows, sums) = halves.mixed(&background);
            agree(&of_network(&rows), &halves.explained(&sums).expect("answers"), 0.0)
        };
        assert!(agrees(&halves));
        let wrong = Halves { weights: vec![1.0; 4], ..halves };
        assert!(!agrees(&wrong));
    }

    #[test]
    fn what_is_no_number_stays_so_in_the_second_half() {
        let rows = include_str!("../../../../tests/models/ai4i-mlp/background.csv").lines().skip(1);
        let rows: Vec<f32> = rows.flat_map(|row| row.split(',')).map(|cell| cell.parse().expect("a number")).collect();
        let network = Network::load(&decode(DENSE), "probability", &[6]).expect("a network");
        let halves = Halves::of(&network, 0, &rows).expect("answers").expect("halves");
        assert!(halves.tail.is_some());
        let sums: Vec<f32> = halves.at_anchor().iter().map(|&sum| sum as f32).collect();
        for place in 0..sums.len() {
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for count in [1, 9, 64] {
                    let mut many = sums.repeat(count);
                    many[(count - 1) * sums.len() + place] = odd;
                    let (found, rest) = (halves.explained(&many), halves.by_rest(&many).expect("answers"));
                    if odd.is_nan() {
                        assert_eq!(found, Err(ModelError::NonFinite), "at {place} of {count}");
                        assert!(rest.iter().any(|value| value.is_nan()), "at {place} of {count}");
                    } else if let (Ok(found), true) = (found, rest.iter().all(|value| value.is_finite())) {
                        assert!(agree(&rest, &found, BOUNDED), "{odd} at {place} of {count}: {found:?} for {rest:?}");
                    }
                }
            }
        }
    }
}
