//! From registers to numbers: every type in every order, as a pure function.

use serde::Deserialize;

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Kind {
    /// Registers (or, for a table of bits, bits) that a value takes.
    pub(super) fn words(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

/// Which part comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The more significant one, as the Modbus specification has it.
    #[default]
    Big,
    /// The less significant one.
    Little,
}

/// The number that `words` stand for, in the order in which they were read; `None` when they are too few.
///
/// `bytes` is the order within a register, `order` the order of the registers. 64-bit integers beyond 2^53 become the
/// nearest number that an `f64` holds.
pub(super) fn decode(kind: Kind, bytes: Order, order: Order, words: &[u16]) -> Option<f64> {
    let words = words.get(..usize::from(kind.words()))?;
    let mut bits: u64 = 0;
    for index in 0..words.len() {
        let word = match order {
            Order::Big => words[index],
            Order::Little => words[words.len() - 1 - index],
        };
        let word = match bytes {
            Order::Big => word,
            Order::Little => word.swap_bytes(),
        };
        bits = bits << 16 | u64::from(word);
    }
    // The casts below only cut off bits that are zero, or read them as signed.
    Some(match kind {
        Kind::Bool => f64::from(u8::from(bits != 0)),
        Kind::U16 | Kind::U32 | Kind::U64 => bits as f64,
        Kind::I16 => f64::from(bits as i16),
        Kind::I32 => f64::from(bits as i32),
        Kind::I64 => bits as i64 as f64,
        Kind::F32 => f64::from(f32::from_bits(bits as u32)),
        Kind::F64 => f64::from_bits(bits),
    })
}

#[cfg(test)]
mod tests {
    use super::Kind::*;
    use super::Order::{Big, Little};
    use super::*;

    /// Big-endian bytes and the number that they stand for.
    const VALUES: &[(Kind, &[u8], f64)] = &[
        (Bool, &[0x00, 0x00], 0.0),
        (Bool, &[0x01, 0x00], 1.0),
        (U16, &[0x12, 0x34], 4660.0),
        (U16, &[0xFF, 0xFE], 65534.0),
        (I16, &[0xFF, 0xFE], -2.0),
        (I16, &[0x7F, 0xFF], 32767.0),
        (U32, &[0x12, 0x34, 0x56, 0x78], 305_419_896.0),
        (U32, &[0xFF, 0xFF, 0xFF, 0xFE], 4_294_967_294.0),
        (I32, &[0xFF, 0xFF, 0xFF, 0xFE], -2.0),
        (U64, &[0x00, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE], 9_007_199_254_740_990.0),
        (U64, &[0xFF; 8], 18_446_744_073_709_551_616.0),
        (I64, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE], -2.0),
        (I64, &[0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01], 9_007_199_254_740_992.0),
        (F32, &[0x42, 0x2B, 0x33, 0x33], 42.799_999_237_060_55),
        (F32, &[0xC2, 0x48, 0x00, 0x00], -50.0),
        (F64, &[0x40, 0x45, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66], 42.8),
    ];

    /// What a device with these orders would send for a big-endian value.
    fn send(value: &[u8], bytes: Order, order: Order) -> Vec<u16> {
        let mut words: Vec<u16> = value
            .chunks(2)
            .map(|pair| match bytes {
                Big => u16::from_be_bytes([pair[0], pair[1]]),
                Little => u16::from_be_bytes([pair[1], pair[0]]),
            })
            .collect();
        if order == Little {
            words.reverse();
        }
        words
    }

    #[test]
    fn every_type_is_read_in_every_order() {
        for &(kind, value, number) in VALUES {
            for bytes in [Big, Little] {
                for order in [Big, Little] {
                    let words = send(value, bytes, order);
                    assert_eq!(words.len(), usize::from(kind.words()));
                    assert_eq!(decode(kind, bytes, order, &words), Some(number), "{kind:?} {bytes:?} {order:?}");
                }
            }
        }
    }

    #[test]
    fn the_orders_are_those_that_vendors_name_with_letters() {
        // 42.8 as f32 is 0x422B3333: ABCD, BADC, CDAB, DCBA.
        let number = Some(f64::from(42.8f32));
        assert_eq!(decode(F32, Big, Big, &[0x422B, 0x3333]), number);
        assert_eq!(decode(F32, Little, Big, &[0x2B42, 0x3333]), number);
        assert_eq!(decode(F32, Big, Little, &[0x3333, 0x422B]), number);
        assert_eq!(decode(F32, Little, Little, &[0x3333, 0x2B42]), number);
    }

    #[test]
    fn too_few_registers_are_no_number() {
        assert_eq!(decode(U32, Big, Big, &[1]), None);
        assert_eq!(decode(U16, Big, Big, &[]), None);
        assert!(decode(F32, Big, Big, &[0x7FC0, 0]).is_some_and(f64::is_nan));
    }
}
