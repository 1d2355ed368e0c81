//! Layer norm: of rows, or of their sum with an update (`cuda/norm.cu`).

use crate::driver::{Driver, Launch, View, ViewMut, blocks, names};
use crate::element::{Element, widen};
use crate::error::{Error, expect_length, rows_of};

/// Rows of a block, a warp each.
const ROWS: u32 = 4;
const THREADS: u32 = 128;

/// A call: `out = norm(rows + update)`. The width is that of `weight`.
pub struct Norm<'a, T, D: Driver> {
    /// `[rows, width]`.
    pub rows: View<'a, T, D>,
    /// `[rows, width]`; none adds nothing.
    pub update: Option<View<'a, T, D>>,
    /// `[width]`.
    pub weight: View<'a, f32, D>,
    /// `[width]`; none is zeros.
    pub bias: Option<View<'a, f32, D>>,
    /// Added to the variance.
    pub eps: f32,
    /// `[rows, width]`: where the sum goes, if it is wanted.
    pub sum: Option<ViewMut<'a, T, D>>,
    /// `[rows, width]`.
    pub out: ViewMut<'a, T, D>,
}

impl<T: Element, D: Driver> Norm<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let width = self.weight.length();
        let rows = rows_of("rows", self.rows.length(), width)?;
        let all = self.rows.length();
        expect_length("update", self.update.as_ref().map_or(all, View::length), all)?;
        expect_length("bias", self.bias.as_ref().map_or(width, View::length), width)?;
        expect_length("sum", self.sum.as_ref().map_or(all, ViewMut::length), all)?;
        expect_length("out", self.out.length(), all)?;
        if rows == 0 {
            return Ok(());
        }
        let launch = Launch::new(names!("norm")(T::TYPE), blocks(rows, ROWS), THREADS)
            .input(&self.rows)
            .optional_input(self.update.as_ref())
            .input(&self.weight)
            .optional_input(self.bias.as_ref())
            .real(self.eps)
            .number(rows)
            .number(rows_of("weight", width, 1)?)
            .optional_output(self.sum.as_ref())
            .output(&self.out);
        driver.launch(&launch)
    }
}

/// Results of the twin, `[rows, width]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Normed {
    /// `rows + update`.
    pub sum: Vec<f64>,
    /// Its norm.
    pub out: Vec<f64>,
}

/// What the kernel computes: `x = rows + update`, and of each row `(x - mean) / sqrt(variance + eps) · weight + bias`, with the
/// variance over all numbers (not one less), as torch's `layer_norm`. The norm is that of the sum before it is rounded.
///
/// The kernel's sums are in `f32`: squares beyond it make a row NaN or zero, here they do not.
pub fn norm<T: Element>(rows: &[T], update: Option<&[T]>, weight: &[f32], bias: Option<&[f32]>, eps: f32) -> Normed {
    let mut sum = widen(rows);
    for (number, more) in sum.iter_mut().zip(update.unwrap_or_default()) {
        *number += more.to_f64();
    }
    let out = sum.chunks(weight.len().max(1)).flat_map(|row| normalise(row, weight, bias, eps)).collect();
    Normed { sum, out }
}

/// The norm of one row.
#[expect(clippy::cast_precision_loss, reason = "a width is far below 2^52")]
pub(crate) fn normalise(row: &[f64], weight: &[f32], bias: Option<&[f32]>, eps: f32) -> Vec<f64> {
    let width = row.len() as f64;
    let mean = row.iter().sum::<f64>() / width;
    let variance = row.iter().map(|number| (number - mean) * (number - mean)).sum::<f64>() / width;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    let bias = |at: usize| bias.and_then(|bias| bias.get(at)).map_or(0.0, |bias| f64::from(*bias));
    let scaled = row.iter().zip(weight).map(|(number, weight)| (number - mean) * scale * f64::from(*weight));
    scaled.enumerate().map(|(at, number)| number + bias(at)).collect()
}
