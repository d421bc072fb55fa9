//! How much one leaf of a tree, or one mixed row, counts in a Shapley value.

/// Counts up to this many features are looked up, larger ones computed: the table stays below a megabyte.
const TABLED: usize = 255;

/// Shapley weights of a game that pays its value only when all of `a` features come from the explained row and all of
/// `c` features come from the background row.
///
/// A feature of the first kind is worth `(a-1)! c! / (a+c)!` of the value, one of the second kind `-a! (c-1)! / (a+c)!`
/// of it; any other feature is worth nothing. As `1 / (a · C(a+c, c))` and `1 / (c · C(a+c, c))` neither overflows; where
/// one underflows its share is zero to any precision that a sum of f64 has.
///
/// Source: Laberge, Pequignot 2022, "Understanding Interventional TreeSHAP: How and Why it Works", arXiv:2209.15123;
/// the same weights as in Lundberg et al. 2020, "From local explanations to global understanding with explainable AI
/// for trees", Nature Machine Intelligence 2, algorithm 3.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    /// Row `c`, column `a`, for both up to `side - 1`.
    table: Vec<Pair>,
    side: usize,
    /// `ln n!` up to the largest `a + c`; empty where the table holds all that can be asked.
    ln_factorial: Vec<f64>,
}

/// The shares of one feature of either kind; zero for a kind that has no feature.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pair {
    /// Of a feature whose value must come from the explained row.
    pub(super) row: f64,
    /// Of a feature whose value must come from the background row. Positive here, subtracted in the attribution.
    pub(super) background: f64,
}

impl Weights {
    /// Weights for `a + c` up to `most`.
    pub(super) fn new(most: usize) -> Self {
        let side = most.min(TABLED) + 1;
        let mut table = vec![Pair::default(); side * side];
        for a in 1..side {
            // w(a, 0) = 1/a, and w(a, c) = w(a, c-1) · c / (a+c).
            let mut weight = 1.0 / a as f64;
            for c in 0..side {
                if c > 0 {
                    weight *= c as f64 / (a + c) as f64;
                }
                table[c * side + a].row = weight;
                table[a * side + c].background = weight;
            }
        }
        let ln_factorial = if most > TABLED { ln_factorials(most) } else { Vec::new() };
        Self { table, side, ln_factorial }
    }

    /// The shares for `a` features of the row and `c` of the background.
    pub(super) fn pair(&self, a: usize, c: usize) -> Pair {
        if a < self.side && c < self.side { self.table[c * self.side + a] } else { self.computed(a, c) }
    }

    #[cold]
    fn computed(&self, a: usize, c: usize) -> Pair {
        let ln = |n: usize| self.ln_factorial[n];
        let share = |own: usize, other: usize| match own {
            0 => 0.0,
            _ => (ln(own - 1) + ln(other) - ln(own + other)).exp(),
        };
        Pair { row: share(a, c), background: share(c, a) }
    }
}

fn ln_factorials(most: usize) -> Vec<f64> {
    let mut sum = 0.0;
    std::iter::once(0.0)
        .chain((1..=most).map(|n| {
            sum += (n as f64).ln();
            sum
        }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factorial(n: usize) -> f64 {
        (1..=n).map(|n| n as f64).product()
    }

    #[test]
    fn small_counts_are_the_formula() {
        let weights = Weights::new(20);
        for a in 0..10_usize {
            for c in 0..10_usize {
                let Pair { row, background } = weights.pair(a, c);
                if a > 0 {
                    let expected = factorial(a - 1) * factorial(c) / factorial(a + c);
                    assert!((row / expected - 1.0).abs() < 1e-14, "{a} {c}: {row} {expected}");
                }
                if c > 0 {
                    let expected = factorial(a) * factorial(c - 1) / factorial(a + c);
                    assert!((background / expected - 1.0).abs() < 1e-14, "{a} {c}: {background} {expected}");
                }
            }
        }
        assert_eq!(weights.pair(0, 0), Pair::default());
    }

    #[test]
    fn large_counts_stay_finite_and_meet_the_table() {
        let large = Weights::new(100_000);
        let Pair { row, background } = large.pair(60_000, 40_000);
        assert!(row >= 0.0 && background >= 0.0 && row < 1e-300 && background < 1e-300);
        assert!((large.pair(99_999, 1).row * 99_999.0 * 100_000.0 - 1.0).abs() < 1e-9);
        for (a, c) in [(1, 0), (1, 254), (254, 1), (7, 3), (100, 2)] {
            let (tabled, computed) = (large.pair(a, c), large.computed(a, c));
            assert!((tabled.row / computed.row - 1.0).abs() < 1e-10, "{a} {c}");
            assert!(c == 0 || (tabled.background / computed.background - 1.0).abs() < 1e-10, "{a} {c}");
        }
    }
}
