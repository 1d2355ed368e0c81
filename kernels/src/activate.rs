//! What follows a product: a bias, and a function of each number (`cuda/activate.cu`).

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use crate::driver::{Driver, Launch, View, ViewMut, names, wide};
use crate::element::Element;
use crate::error::{Error, count, expect_length, rows_of};

const THREADS: u32 = 256;
/// Enough to fill a GPU; each goes on with what is left.
const BLOCKS_MAX: u32 = 4096;

/// A function of each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None: the bias alone.
    Identity,
    /// `x · Φ(x)`, with the error function.
    Gelu,
    /// Its approximation by tanh, `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
    /// tanh.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

impl Activation {
    /// Its number in the kernel.
    fn number(self) -> u32 {
        match self {
            Self::Identity => 0,
            Self::Gelu => 1,
            Self::GeluTanh => 2,
            Self::Relu => 3,
            Self::Silu => 4,
            Self::Tanh => 5,
            Self::Sigmoid => 6,
        }
    }

    /// Its value. NaN stays NaN; an infinity gives what the formula gives, which for both forms of GELU, and for `Silu`, makes
    /// -infinity NaN.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Gelu => 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)),
            Self::GeluTanh => 0.5 * x * (1.0 + (FRAC_2_PI.sqrt() * x * (1.0 + 0.044_715 * x * x)).tanh()),
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }
}

/// A call: `rows = activation(rows + bias)`, in place.
pub struct Activate<'r, 'a, T, D: Driver> {
    /// `[rows, width]`.
    pub rows: ViewMut<'r, T, D>,
    /// `[width]`; none is zeros.
    pub bias: Option<View<'a, f32, D>>,
    /// Numbers of a row.
    pub width: usize,
    /// The function.
    pub activation: Activation,
}

impl<T: Element, D: Driver> Activate<'_, '_, T, D> {
    /// Launches it. Errors: a length is not that of the shape.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        rows_of("rows", self.rows.length(), self.width)?;
        expect_length("bias", self.bias.as_ref().map_or(self.width, View::length), self.width)?;
        let total = count("rows", self.rows.length())?;
        if total == 0 {
            return Ok(());
        }
        let launch = Launch::new(names!("activate")(T::TYPE), blocks_of::<T>(total), THREADS)
            .output(&self.rows)
            .optional_input(self.bias.as_ref())
            .number(total)
            .number(count("width", self.width)?)
            .number(self.activation.number());
        driver.launch(&launch)
    }
}

/// A call: `out = activation(first half + bias) · (second half + bias)`.
pub struct Gate<'a, T, D: Driver> {
    /// `[rows, 2 · width]`.
    pub rows: View<'a, T, D>,
    /// `[2 · width]`; none is zeros.
    pub bias: Option<View<'a, f32, D>>,
    /// Numbers of a row of `out`.
    pub width: usize,
    /// The function.
    pub activation: Activation,
    /// `[rows, width]`.
    pub out: ViewMut<'a, T, D>,
}

impl<T: Element, D: Driver> Gate<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        rows_of("out", self.out.length(), self.width)?;
        expect_length("rows", self.rows.length(), self.out.length().saturating_mul(2))?;
        let widths = self.width.saturating_mul(2);
        expect_length("bias", self.bias.as_ref().map_or(widths, View::length), widths)?;
        count("rows", self.rows.length())?;
        let total = count("out", self.out.length())?;
        if total == 0 {
            return Ok(());
        }
        let launch = Launch::new(names!("gate")(T::TYPE), blocks_of::<T>(total), THREADS)
            .input(&self.rows)
            .optional_input(self.bias.as_ref())
            .number(total)
            .number(count("width", self.width)?)
            .number(self.activation.number())
            .output(&self.out);
        driver.launch(&launch)
    }
}

fn blocks_of<T: Element>(total: u32) -> [u32; 2] {
    [total.div_ceil(wide(T::TYPE)).div_ceil(THREADS).min(BLOCKS_MAX), 1]
}

/// What [`Activate`] computes.
pub fn activate<T: Element>(rows: &[T], bias: Option<&[f32]>, width: usize, activation: Activation) -> Vec<f64> {
    let biased = |(at, number): (usize, &T)| activation.of(number.to_f64() + bias_at(bias, at % width.max(1)));
    rows.iter().enumerate().map(biased).collect()
}

/// What [`Gate`] computes.
pub fn gate<T: Element>(rows: &[T], bias: Option<&[f32]>, width: usize, activation: Activation) -> Vec<f64> {
    let mut out = Vec::with_capacity(rows.len() / 2);
    for row in rows.chunks_exact(width.max(1) * 2) {
        let (first, second) = row.split_at(width);
        for (at, (number, factor)) in first.iter().zip(second).enumerate() {
            let number = activation.of(number.to_f64() + bias_at(bias, at));
            out.push(number * (factor.to_f64() + bias_at(bias, width + at)));
        }
    }
    out
}

fn bias_at(bias: Option<&[f32]>, at: usize) -> f64 {
    bias.and_then(|bias| bias.get(at)).map_or(0.0, |bias| f64::from(*bias))
}

/// The error function: its series near 0, the continued fraction of its complement elsewhere; within 1e-15.
fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let y = x.abs();
    let mut fraction = y;
    for n in (1..200).rev() {
        fraction = y + f64::from(n) / 2.0 / fraction;
    }
    let complement = (-y * y).exp() / fraction * (std::f64::consts::FRAC_2_SQRT_PI / 2.0);
    x.signum() * (1.0 - complement)
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        // Abramowitz and Stegun, table 7.1, and its asymptotic values.
        let known = [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.5, 0.999_593_047_982_555),
            (3.0, 0.999_977_909_503_001_4),
            (7.0, 1.0),
        ];
        for (x, value) in known {
            assert!((erf(x) - value).abs() < 4e-15, "erf({x}) = {}", erf(x));
            assert!((erf(-x) + value).abs() < 4e-15, "erf(-{x}) = {}", erf(-x));
        }
        assert!(erf(f64::NAN).is_nan());
    }
}
