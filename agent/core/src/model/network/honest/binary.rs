//! Functions of two numbers.

use tract_onnx::prelude::tract_ndarray::Zip;
use tract_onnx::tract_core::ops::binary::BinMiniOp;
use tract_onnx::tract_hir::internal::*;

/// A function of two numbers, by the rules of IEEE 754.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// The greater of two; NaN where one of them is.
    Most,
    /// The lesser of two.
    Least,
    /// Their product, also of zero.
    Times,
    Power,
}

impl Function {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Most => {
                if b > a || b.is_nan() {
                    b
                } else {
                    a
                }
            }
            Self::Least => {
                if b < a || b.is_nan() {
                    b
                } else {
                    a
                }
            }
            Self::Times => a * b,
            Self::Power => a.powf(b),
        }
    }
}

macro_rules! apply {
    ($kind:ty, $self:ident, $c:ident, $a:ident, $b:ident) => {{
        let (a, b) = ($a.to_plain_array_view::<$kind>()?, $b.to_plain_array_view::<$kind>()?);
        let mut plain = $c.try_as_plain_ram_mut()?;
        let c = plain.to_array_view_mut::<$kind>()?;
        let number = |value: $kind| f64::from(value);
        Zip::from(c).and_broadcast(a).and_broadcast(b).for_each(|c, &a, &b| {
            *c = AsFloat::from_f64($self.of(number(a), number(b)));
        });
        Ok(())
    }};
}

/// Back from float64, in which all is computed: what was a float32 or a float16 comes out as if it had been computed in it.
trait AsFloat {
    fn from_f64(value: f64) -> Self;
}

impl AsFloat for f32 {
    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl AsFloat for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
}

impl AsFloat for f16 {
    fn from_f64(value: f64) -> Self {
        Self::from_f64(value)
    }
}

impl BinMiniOp for Function {
    fn name(&self) -> &'static str {
        match self {
            Self::Most => "Most",
            Self::Least => "Least",
            Self::Times => "Times",
            Self::Power => "Power",
        }
    }

    fn is_commutative(&self) -> bool {
        *self != Self::Power
    }

    fn result_datum_type(&self, a: DatumType, b: DatumType) -> TractResult<DatumType> {
        self.operating_datum_type(a, b)
    }

    fn eval_in_a(&self, a: &mut Tensor, b: &Tensor) -> TractResult<()> {
        let given = a.clone();
        self.eval_out_of_place(a, &given, b)
    }

    fn eval_out_of_place(&self, c: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        match c.datum_type() {
            DatumType::F32 => apply!(f32, self, c, a, b),
            DatumType::F64 => apply!(f64, self, c, a, b),
            DatumType::F16 => apply!(f16, self, c, a, b),
            other => bail!("{other:?} is no kind of floats"),
        }
    }
}
