//! Matrix products of a few hundred numbers, over many rows: what small networks consist of.
//!
//! The inner loops are written so that the compiler keeps a tile of sums in registers: some rows times eight outputs. They
//! are compiled twice on x86-64: for processors with AVX2, which is asked for when they run, and for all others.

/// Outputs that are computed together.
const OUTPUTS: usize = 8;
/// Rows are given in multiples of this.
pub(super) const ROWS: usize = 8;

/// A dense layer: sums of all inputs times weights.
#[derive(Debug)]
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    /// Per tile of outputs, per input: its weights.
    tiles: Vec<[f32; OUTPUTS]>,
    /// Per tile of outputs.
    offsets: Vec<[f32; OUTPUTS]>,
    /// The weights of a lone output, for which a tile would be a waste.
    lone: Vec<f32>,
}

impl Dense {
    /// From weights, row by row those of one input in all outputs, and what is added to each output; an input at least.
    pub(super) fn new(weights: &[f64], offsets: &[f64]) -> Self {
        let outputs = offsets.len();
        let inputs = weights.len() / outputs.max(1);
        let tile = |values: &[f64], first: usize| {
            let mut tile = [0.0; OUTPUTS];
            tile.iter_mut().zip(&values[first..]).for_each(|(place, &value)| *place = value as f32);
            tile
        };
        let firsts = || (0..outputs).step_by(OUTPUTS);
        let tiles = firsts().flat_map(|first| weights.chunks_exact(outputs.max(1)).map(move |row| tile(row, first)));
        let lone = if outputs == 1 { weights.iter().map(|&weight| weight as f32).collect() } else { Vec::new() };
        let offsets = firsts().map(|first| tile(offsets, first)).collect();
        Self { inputs, outputs, tiles: tiles.collect(), offsets, lone }
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes flat rows, a multiple of [`ROWS`] of them, into `out`.
    pub(super) fn run(&self, rows: &[f32], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            #[expect(
                unsafe_code,
                reason = "the processor has just been asked whether it can do this; there is no safe way"
            )]
            // SAFETY: needs AVX2 and FMA, and nothing else.
            return unsafe { self.run_avx2(rows, out) };
        }
        // ARM's 64-bit processors all add and multiply in one.
        self.tiled::<4, { cfg!(target_arch = "aarch64") }>(rows, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&self, rows: &[f32], out: &mut [f32]) {
        self.tiled::<ROWS, true>(rows, out);
    }

    /// `R` rows at a time, with or without adding and multiplying in one.
    #[inline(always)]
    fn tiled<const R: usize, const FUSED: bool>(&self, rows: &[f32], out: &mut [f32]) {
        if let ([offset, ..], false) = (self.offsets.as_slice(), self.lone.is_empty()) {
            let sums = rows.chunks_exact(self.inputs).map(|row| offset[0] + product::<FUSED>(row, &self.lone));
            return out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
        }
        for (rows, out) in rows.chunks_exact(R * self.inputs).zip(out.chunks_exact_mut(R * self.outputs)) {
            for (index, (tile, offset)) in self.tiles.chunks_exact(self.inputs).zip(&self.offsets).enumerate() {
                let sums = sums::<R, FUSED>(rows, tile, offset);
                let (first, end) = (index * OUTPUTS, self.outputs.min((index + 1) * OUTPUTS));
                for (out, sums) in out.chunks_exact_mut(self.outputs).zip(&sums) {
                    let out = &mut out[first..end];
                    match <&mut [f32; OUTPUTS]>::try_from(&mut *out) {
                        Ok(whole) => *whole = *sums,
                        Err(_) => out.copy_from_slice(&sums[..end - first]),
                    }
                }
            }
        }
    }
}

/// A tile: `R` rows times eight outputs.
#[inline(always)]
fn sums<const R: usize, const FUSED: bool>(
    rows: &[f32],
    tile: &[[f32; OUTPUTS]],
    offset: &[f32; OUTPUTS],
) -> [[f32; OUTPUTS]; R] {
    let inputs = tile.len();
    let rows: [&[f32]; R] = std::array::from_fn(|row| &rows[row * inputs..][..inputs]);
    let mut sums = [*offset; R];
    for (input, weights) in tile.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            add::<FUSED>(sums, row[input], weights);
        }
    }
    sums
}

/// The sum of a row times weights.
#[inline(always)]
fn product<const FUSED: bool>(row: &[f32], weights: &[f32]) -> f32 {
    let ((values, value), (tiles, tile)) = (row.as_chunks::<OUTPUTS>(), weights.as_chunks::<OUTPUTS>());
    let mut sums = [0.0; OUTPUTS];
    for (values, tile) in values.iter().zip(tiles) {
        for ((sum, value), &weight) in sums.iter_mut().zip(values).zip(tile) {
            *sum = if FUSED { value.mul_add(weight, *sum) } else { *sum + value * weight };
        }
    }
    let rest: f32 = value.iter().zip(tile).map(|(value, weight)| value * weight).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn add<const FUSED: bool>(sums: &mut [f32; OUTPUTS], value: f32, weights: &[f32; OUTPUTS]) {
    for (sum, &weight) in sums.iter_mut().zip(weights) {
        *sum = if FUSED { value.mul_add(weight, *sum) } else { *sum + value * weight };
    }
}

/// What is done to single numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Relu,
    Sigmoid,
    Tanh,
}

impl Function {
    pub(super) fn of(operator: &str) -> Option<Self> {
        match operator {
            "Relu" => Some(Self::Relu),
            "Sigmoid" => Some(Self::Sigmoid),
            "Tanh" => Some(Self::Tanh),
            _ => None,
        }
    }

    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            // Not `max`: what is not a number must stay so.
            Self::Relu => values.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value }),
            Self::Sigmoid => values.iter_mut().for_each(|value| *value = 1.0 / (1.0 + exp(-*value))),
            Self::Tanh => values.iter_mut().for_each(|value| *value = 1.0 - 2.0 / (1.0 + exp(2.0 * *value))),
        }
    }
}

/// The exponential function, to 3e-7 of its value, without a branch: so the compiler computes several at once. Beyond
/// what float32 holds it stays at the end; what is not a number stays so.
///
/// Source of the coefficients and of ln 2 in two parts: Cephes, `expf.c`, Moshier 1992.
fn exp(x: f32) -> f32 {
    /// Added to a number below 2^22, this leaves its whole part in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    const LARGEST: f32 = 88.0;
    let x = if x > LARGEST { LARGEST } else { x };
    let x = if x < -LARGEST + 1.0 { -LARGEST + 1.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let r = x - whole * LN_2.0 - whole * LN_2.1;
    let terms = [1.987_569_2e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let series = terms.into_iter().fold(0.0, |sum, term| sum * r + term);
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127) << 23);
    (1.0 + r + r * r * series) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_gives_what_its_sums_give_whatever_its_size_and_the_processor() {
        for (inputs, outputs) in [(1, 1), (3, 8), (5, 7), (48, 24), (7, 19), (43, 1)] {
            let weight = |at: usize| ((at * 37) % 23) as f64 / 10.0 - 1.0;
            let weights: Vec<f64> = (0..inputs * outputs).map(weight).collect();
            let offsets: Vec<f64> = (0..outputs).map(weight).collect();
            let dense = Dense::new(&weights, &offsets);
            let rows: Vec<f32> = (0..2 * ROWS * inputs).map(|at| ((at * 29) % 17) as f32 / 4.0 - 2.0).collect();
            let mut found = [vec![0.0; 2 * ROWS * outputs], vec![0.0; 2 * ROWS * outputs]];
            dense.run(&rows, &mut found[0]);
            dense.tiled::<4, false>(&rows, &mut found[1]);
            for found in &found {
                for (row, found) in rows.chunks_exact(inputs).zip(found.chunks_exact(outputs)) {
                    for (output, &found) in found.iter().enumerate() {
                        let sum = |(input, &x): (usize, &f32)| f64::from(x) * weights[input * outputs + output];
                        let expected = row.iter().enumerate().map(sum).sum::<f64>() + offsets[output];
                        assert!((f64::from(found) - expected).abs() < 1e-4, "{found} for {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn functions_are_as_good_as_float32_and_hand_on_what_is_no_number() {
        for step in -3_000..3_000_i16 {
            let x = f64::from(step) / 100.0;
            let expected = [x.max(0.0), 1.0 / (1.0 + (-x).exp()), x.tanh()];
            for (function, expected) in [Function::Relu, Function::Sigmoid, Function::Tanh].into_iter().zip(expected) {
                let mut value = [x as f32];
                function.apply(&mut value);
                assert!(
                    (f64::from(value[0]) - expected).abs() <= 5e-7 * expected.abs().max(1.0),
                    "{function:?} of {x}"
                );
                let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
                function.apply(&mut odd);
                assert!(odd[0].is_nan(), "{function:?}");
                assert!(function == Function::Relu || odd[1] == 1.0 && odd[2].abs() <= 1.0, "{function:?}: {odd:?}");
            }
        }
    }
}
