//! Numbers as a person would write them: as many digits as tell something, and no more.

/// Decimals beyond which nobody reads.
const MOST_DECIMALS: usize = 6;

/// A value and the range that is usual for it, written with the same care.
pub(super) struct InRange {
    pub(super) value: String,
    pub(super) low: String,
    pub(super) high: String,
    /// Whether the value lies in the range, as written and in fact.
    pub(super) inside: bool,
}

impl InRange {
    /// Two digits of the range's width tell where in it a value lies; a value outside it gets as many more as show that.
    pub(super) fn new(value: f64, (low, high): (f64, f64), decimal_point: char) -> Self {
        let width = if high > low { high - low } else { high.abs() / 10.0 };
        let inside = low <= value && value <= high;
        let mut decimals = decimals_for(width);
        let looks_inside = |decimals| {
            let rounded = |number: f64| round(number, decimals);
            rounded(low) <= rounded(value) && rounded(value) <= rounded(high)
        };
        while !inside && decimals < MOST_DECIMALS && looks_inside(decimals) {
            decimals += 1;
        }
        let write = |number| fixed(number, decimals, decimal_point);
        Self { value: write(value), low: write(low), high: write(high), inside }
    }
}

/// A number with about three significant digits; whole numbers up to a billion are never rounded to fewer digits.
pub(super) fn alone(number: f64, decimal_point: char) -> String {
    fixed(number, decimals_for(number.abs() / 10.0), decimal_point)
}

/// A number to the last digit that the model sees of it.
pub(super) fn whole(number: f64, decimal_point: char) -> String {
    (number as f32).to_string().replace('.', decimal_point.encode_utf8(&mut [0; 4]))
}

/// A number beside another that it is compared with.
pub(super) fn beside(number: f64, other: f64, decimal_point: char) -> String {
    fixed(number, decimals_for((number - other).abs()), decimal_point)
}

/// The decimals that show two significant digits of `width`.
fn decimals_for(width: f64) -> usize {
    if !(width > 0.0 && width.is_finite()) {
        return 0;
    }
    (1.0 - width.log10().floor()).clamp(0.0, MOST_DECIMALS as f64) as usize
}

fn round(number: f64, decimals: usize) -> f64 {
    let scale = 10_f64.powi(decimals as i32);
    (number * scale).round() / scale
}

fn fixed(number: f64, decimals: usize, decimal_point: char) -> String {
    let rounded = round(number, decimals);
    let text = if !number.is_finite() {
        return number.to_string();
    } else if number.abs() >= 1e9 || (rounded == 0.0 && number != 0.0 && decimals == MOST_DECIMALS) {
        format!("{number:.2e}")
    } else {
        // Adding zero turns -0 into 0.
        let text = format!("{:.decimals$}", rounded + 0.0);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    text.replace('.', decimal_point.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64, usual: (f64, f64)) -> String {
        let InRange { value, low, high, inside } = InRange::new(value, usual, '.');
        format!("{value} {} {low}-{high}", if inside { "in" } else { "out of" })
    }

    #[test]
    fn the_width_of_what_is_usual_sets_the_digits() {
        assert_eq!(written(65.234, (30.1, 50.2)), "65 out of 30-50");
        assert_eq!(written(f64::from(302.1_f32), (297.32, 303.1)), "302.1 in 297.3-303.1");
        assert_eq!(written(2388.0576, (2388.0, 2388.12)), "2388.06 in 2388-2388.12");
        assert_eq!(written(1326.4, (1380.0, 1700.0)), "1326 out of 1380-1700");
        assert_eq!(written(0.000_012, (0.0, 0.000_01)), "0.000012 out of 0-0.00001");
        assert_eq!(written(5.0, (5.0, 5.0)), "5 in 5-5");
        assert_eq!(written(-0.2, (0.0, 100.0)), "-0.2 out of 0-100");
    }

    #[test]
    fn a_value_outside_never_reads_as_inside() {
        assert_eq!(written(50.4, (30.0, 50.0)), "50.4 out of 30-50");
        assert_eq!(written(49.96, (50.0, 70.0)), "49.96 out of 50-70");
    }

    #[test]
    fn numbers_alone_keep_three_digits_or_all_whole_ones() {
        let written: Vec<_> =
            [93.456, 8131.186, 0.012_345, 0.0, -7.125, 2e12, 1e-9].map(|number| alone(number, ',')).into();
        assert_eq!(written, ["93,5", "8131", "0,0123", "0", "-7,13", "2,00e12", "1,00e-9"]);
        assert_eq!(beside(12.34, 120.5, '.'), "12");
    }
}
