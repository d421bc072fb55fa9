//! Which values of a number satisfy a condition: a set of intervals of the number line, and NaN or not.

/// A set of numbers. Walking up from -∞ one is inside or outside of it, and changes sides at each of its flips.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Region {
    /// Whether NaN is inside.
    pub(crate) nan: bool,
    /// Whether -∞ is inside.
    pub(crate) low: bool,
    /// The first number on the other side, each; strictly ascending, none -∞ and none -0.
    pub(crate) flips: Vec<f64>,
}

impl Region {
    /// All numbers, or none.
    pub(crate) fn constant(inside: bool) -> Self {
        Self { nan: inside, low: inside, flips: Vec::new() }
    }

    /// The given numbers alone. NaN and infinities among them are left out.
    pub(crate) fn points(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> =
            values.into_iter().filter(|value| value.is_finite()).map(|value| value + 0.0).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let flips = values.into_iter().flat_map(|value| [value, value.next_up() + 0.0]).collect();
        Self { nan: false, low: false, flips: cancelled(flips) }
    }

    pub(crate) fn contains(&self, value: f64) -> bool {
        if value.is_nan() {
            return self.nan;
        }
        self.low ^ (self.flips.partition_point(|&flip| flip <= value) % 2 == 1)
    }

    /// The numbers that a function takes into this region, for a function that never falls, or never rises, and takes
    /// no number to NaN.
    pub(crate) fn before_monotone(&self, function: impl Fn(f64) -> f64) -> Self {
        let lowest = function(f64::NEG_INFINITY);
        let mut flips = Vec::with_capacity(self.flips.len());
        for &flip in &self.flips {
            let other = |value: f64| (function(value) >= flip) != (lowest >= flip);
            if other(f64::INFINITY) {
                flips.push(first_where(other));
            }
        }
        flips.sort_by(f64::total_cmp);
        Self { nan: self.contains(function(f64::NAN)), low: self.contains(lowest), flips: cancelled(flips) }
    }

    /// This region with some finite numbers moved to the other side.
    pub(crate) fn toggled(mut self, points: impl IntoIterator<Item = f64>) -> Self {
        self.flips.extend(Self::points(points).flips);
        self.flips.sort_by(f64::total_cmp);
        Self { flips: cancelled(self.flips), ..self }
    }

    /// Of each interval the float32 numbers: a flip moves up to the next of them, so that every float32 stays on its side.
    pub(crate) fn of_float32(self) -> Self {
        let flips = self.flips.into_iter().map(|flip| f64::from(ceiling(flip)) + 0.0).collect();
        Self { flips: cancelled(flips), ..self }
    }
}

/// Ascending flips less those that undo each other.
fn cancelled(ascending: Vec<f64>) -> Vec<f64> {
    let mut kept: Vec<f64> = Vec::with_capacity(ascending.len());
    for flip in ascending {
        if kept.pop_if(|last| *last == flip).is_none() {
            kept.push(flip);
        }
    }
    kept
}

/// The least float32 that is not below a number.
pub(crate) fn ceiling(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

/// The greatest float32 that is not above a number.
pub(crate) fn floor(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

/// The least number for which something holds that does not hold for -∞, does for +∞, and changes once.
fn first_where(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut outside, mut inside) = (order(f64::NEG_INFINITY), order(f64::INFINITY));
    while inside - outside > 1 {
        let middle = outside + (inside - outside) / 2;
        if holds(number(middle)) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    // Adding zero turns -0 into 0: they compare alike.
    number(inside) + 0.0
}

/// Numbers in ascending order as integers without gaps; those of the infinities and between do not overflow when subtracted.
fn order(value: f64) -> i128 {
    let bits = value.to_bits() as i64;
    i128::from(bits ^ (((bits >> 63) as u64) >> 1) as i64)
}

fn number(order: i128) -> f64 {
    let bits = order as i64;
    f64::from_bits((bits ^ (((bits >> 63) as u64) >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_their_absence() {
        let region = Region::points([2.0, f64::NAN, -0.0, 2.0]);
        for (value, inside) in [(2.0, true), (0.0, true), (-0.0, true), (1.0, false), (f64::NAN, false)] {
            assert_eq!(region.contains(value), inside, "{value}");
        }
        let without = Region::constant(true).toggled([2.0]);
        assert!(!without.contains(2.0) && without.contains(2.0_f64.next_up()) && without.contains(f64::NAN));
    }

    #[test]
    fn before_a_function_that_falls() {
        let region = Region { nan: true, low: false, flips: vec![1.0, 3.0] };
        let before = region.before_monotone(|value| 1.0 - 2.0 * value);
        for value in [-2.0, -1.0, -0.999, 0.0, 0.001, -1.001, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(before.contains(value), region.contains(1.0 - 2.0 * value), "{value}");
        }
    }

    #[test]
    fn float32_numbers_keep_their_side() {
        let region = Region { nan: false, low: true, flips: vec![0.1, 0.3, 0.300_000_001] };
        let narrowed = region.clone().of_float32();
        for value in [0.1_f32, 0.1_f32.next_down(), 0.1_f32.next_up(), 0.3, 0.3_f32.next_down(), 0.3_f32.next_up()] {
            assert_eq!(narrowed.contains(f64::from(value)), region.contains(f64::from(value)), "{value}");
        }
        assert_eq!((floor(0.1), ceiling(0.1)), (0.1_f32.next_down(), 0.1_f32));
    }
}
