//! The numbers that kernels work on.

use half::{bf16, f16};

/// What memory may hold: numbers of any bits.
#[cfg(not(feature = "cuda"))]
pub trait Plain: Copy + 'static {}

/// What memory may hold: numbers of any bits.
#[cfg(feature = "cuda")]
pub trait Plain: Copy + cudarc::driver::DeviceRepr + 'static {}

impl Plain for f32 {}
impl Plain for f64 {}
impl Plain for u32 {}
impl Plain for f16 {}
impl Plain for bf16 {}

/// A number of a model: kernels read and write it, and compute in `f32`.
pub trait Element: Plain {
    /// Its place in the tables of kernels' names.
    const TYPE: Type;

    /// Exact.
    fn to_f64(self) -> f64;

    /// The nearest, ties to even; infinite where there is none.
    fn from_f64(value: f64) -> Self;
}

/// Which number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 32 bits.
    F32,
    /// 16 bits, of which 5 are the exponent.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl Element for f32 {
    const TYPE: Type = Type::F32;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded as promised")]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Element for f16 {
    const TYPE: Type = Type::F16;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(value: f64) -> Self {
        Self::from_f64(value)
    }
}

impl Element for bf16 {
    const TYPE: Type = Type::Bf16;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(value: f64) -> Self {
        Self::from_f64(value)
    }
}

/// Exact values of `numbers`.
pub(crate) fn widen<T: Element>(numbers: &[T]) -> Vec<f64> {
    numbers.iter().map(|number| number.to_f64()).collect()
}
