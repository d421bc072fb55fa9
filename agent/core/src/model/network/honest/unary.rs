//! Functions of single numbers.

use tract_onnx::tract_core::ops::element_wise::ElementWiseMiniOp;
use tract_onnx::tract_core::ops::math::{
    Abs, Ceil, Cos, Cosh, Floor, Neg, Recip, Round, RoundHalfToEven, Rsqrt, Sin, Sinh, Sqrt, Square, Tan,
};
use tract_onnx::tract_core::ops::math::{Erf, Tanh};
use tract_onnx::tract_core::ops::nn::{GeluApproximate, GeluExact, Sigmoid, Silu};
use tract_onnx::tract_hir::internal::*;

use super::{edit, is_finite};

/// One of tract's functions, and what it gives for what is infinite; NaN gives NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unary {
    function: Box<dyn ElementWiseMiniOp>,
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// What tract says.
    Any,
    /// From 0 to 1.
    ZeroAndOne,
    /// From -1 to 1.
    OneAndOne,
    /// A product of an infinite number and of zero, on the negative side.
    NoneBelow,
}

impl Unary {
    /// None for functions that hand NaN on themselves.
    pub(super) fn around(function: &dyn ElementWiseMiniOp) -> Option<Self> {
        let honest = function.is::<Abs>()
            || function.is::<Ceil>()
            || function.is::<Cos>()
            || function.is::<Cosh>()
            || function.is::<Floor>()
            || function.is::<Neg>()
            || function.is::<Recip>()
            || function.is::<Round>()
            || function.is::<RoundHalfToEven>()
            || function.is::<Rsqrt>()
            || function.is::<Sin>()
            || function.is::<Sinh>()
            || function.is::<Sqrt>()
            || function.is::<Square>()
            || function.is::<Tan>()
            || function.is::<Bound>()
            || function.is::<Self>()
            || function.output_type(f32::datum_type()).is_some();
        if honest {
            return None;
        }
        let ends = if function.is::<Sigmoid>() {
            Ends::ZeroAndOne
        } else if function.is::<Tanh>() || function.is::<Erf>() {
            Ends::OneAndOne
        } else if function.is::<GeluApproximate>() || function.is::<GeluExact>() || function.is::<Silu>() {
            Ends::NoneBelow
        } else {
            Ends::Any
        };
        Some(Self { function: dyn_clone(function), ends })
    }
}

fn dyn_clone(function: &dyn ElementWiseMiniOp) -> Box<dyn ElementWiseMiniOp> {
    tract_onnx::tract_core::dyn_clone::clone_box(function)
}

impl Ends {
    /// The result for a number that is not finite; none where it is what the function gives.
    fn of(self, x: f64) -> Option<f64> {
        match self {
            _ if x.is_nan() => Some(f64::NAN),
            _ if x.is_finite() => None,
            Self::Any => None,
            Self::ZeroAndOne => Some(if x > 0.0 { 1.0 } else { 0.0 }),
            Self::OneAndOne => Some(x.signum()),
            Self::NoneBelow => (x < 0.0).then_some(f64::NAN),
        }
    }
}

impl ElementWiseMiniOp for Unary {
    fn name(&self) -> String {
        self.function.name()
    }

    fn validation(&self) -> Validation {
        self.function.validation()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, kind: Option<DatumType>) -> TractResult<()> {
        if is_finite(tensor)? {
            return self.function.eval_in_place(tensor, kind);
        }
        let given = tensor.cast_to::<f64>()?.into_owned();
        self.function.eval_in_place(tensor, kind)?;
        let given = given.try_as_plain_ram()?;
        let given = given.as_slice::<f64>()?;
        edit(tensor, |place, _| self.ends.of(given[place]))
    }

    fn cost_per_element(&self, kind: DatumType) -> TVec<(Cost, usize)> {
        self.function.cost_per_element(kind)
    }

    fn operating_datum_type(&self, kind: DatumType) -> DatumType {
        self.function.operating_datum_type(kind)
    }
}

/// Numbers below (or above) a bound become it; NaN stays.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub(super) at: f64,
    pub(super) below: bool,
}

impl Eq for Bound {}

impl ElementWiseMiniOp for Bound {
    fn name(&self) -> String {
        if self.below { "AtLeast" } else { "AtMost" }.to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _kind: Option<DatumType>) -> TractResult<()> {
        if tensor.datum_type() != f32::datum_type() {
            let outside = |value: f64| if self.below { value < self.at } else { value > self.at };
            return edit(tensor, |_, value| outside(value).then_some(self.at));
        }
        let at = self.at as f32;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let values = plain.as_slice_mut::<f32>()?;
        if self.below {
            values.iter_mut().for_each(|value| *value = if *value < at { at } else { *value });
        } else {
            values.iter_mut().for_each(|value| *value = if *value > at { at } else { *value });
        }
        Ok(())
    }
}
