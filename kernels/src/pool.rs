//! One vector for each row of tokens (`cuda/pool.cu`).

use crate::driver::{Driver, Launch, View, ViewMut, names, shared_bytes, wide};
use crate::element::Element;
use crate::error::{Error, count, expect_length, rows_of};

const WARPS: usize = 8;
const LANES: usize = 32;
const THREADS: u32 = 256;
/// Numbers of a row at most: they are kept in the memory that a block shares.
pub const WIDTH_MAX: usize = 8192;
/// torch's `normalize` divides by no less.
const LENGTH_MIN: f64 = 1e-12;

/// How a row's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token.
    First,
    /// The last token.
    Last,
    /// The largest number of each column; NaN if one is.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the row's length.
    MeanSqrtLength,
    /// The mean, weighted by 1, 2, 3 …
    WeightedMean,
}

impl Pooling {
    /// Its number in the kernel.
    fn number(self) -> u32 {
        match self {
            Self::First => 0,
            Self::Last => 1,
            Self::Max => 2,
            Self::Mean => 3,
            Self::MeanSqrtLength => 4,
            Self::WeightedMean => 5,
        }
    }
}

/// A call.
pub struct Pool<'a, T, D: Driver> {
    /// `[tokens, width]`.
    pub rows: View<'a, T, D>,
    /// `[rows + 1]`: where rows begin. What lies beyond the tokens is left out.
    pub offsets: View<'a, u32, D>,
    /// Numbers of a token, at most [`WIDTH_MAX`].
    pub width: usize,
    /// How.
    pub pooling: Pooling,
    /// Is each vector divided by its length, but by 1e-12 at least?
    pub normalises: bool,
    /// `[rows, width]`.
    pub out: ViewMut<'a, T, D>,
}

impl<T: Element, D: Driver> Pool<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape, or tokens are too wide.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        if self.width > WIDTH_MAX {
            return Err(Error::Size { what: "width", expected: "at most 8192", got: self.width });
        }
        let tokens = rows_of("rows", self.rows.length(), self.width)?;
        let rows = rows_of("out", self.out.length(), self.width)?;
        expect_length("offsets", self.offsets.length(), self.out.length() / self.width + 1)?;
        if rows == 0 {
            return Ok(());
        }
        let parts = WARPS * LANES * wide(T::TYPE) as usize * size_of::<f32>() + WARPS * size_of::<f64>();
        let launch = Launch::new(names!("pool")(T::TYPE), [rows, 1], THREADS)
            .shared(shared_bytes(parts + self.width * size_of::<f32>())?)
            .input(&self.rows)
            .input(&self.offsets)
            .number(tokens)
            .number(count("width", self.width)?)
            .number(self.pooling.number())
            .number(u32::from(self.normalises))
            .output(&self.out);
        driver.launch(&launch)
    }
}

/// What the kernel computes, `[rows, width]`. A row without tokens gives zeros.
///
/// The kernel adds tokens up in `f32`, and the squares of a length in `f64`.
pub fn pool<T: Element>(rows: &[T], offsets: &[u32], width: usize, pooling: Pooling, normalises: bool) -> Vec<f64> {
    let mut out = Vec::with_capacity(offsets.len() * width);
    let tokens: Vec<&[T]> = rows.chunks_exact(width.max(1)).collect();
    for bounds in offsets.windows(2) {
        let end = tokens.len().min(bounds[1] as usize);
        let row = tokens.get(bounds[0] as usize..end).unwrap_or_default();
        let mut vector: Vec<f64> = (0..width).map(|column| pool_column(row, column, pooling)).collect();
        if normalises {
            let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
            // A NaN stays one, which a maximum would drop.
            let length = if length < LENGTH_MIN { LENGTH_MIN } else { length };
            for number in &mut vector {
                *number /= length;
            }
        }
        out.extend(vector);
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "a row is far shorter than 2^52")]
fn pool_column<T: Element>(row: &[&[T]], column: usize, pooling: Pooling) -> f64 {
    let (Some(first), Some(last)) = (row.first(), row.last()) else { return 0.0 };
    let length = row.len() as f64;
    let numbers = || row.iter().map(|token| token[column].to_f64());
    let larger = |left: f64, right: f64| if left > right || left.is_nan() { left } else { right };
    match pooling {
        Pooling::First => first[column].to_f64(),
        Pooling::Last => last[column].to_f64(),
        Pooling::Max => numbers().fold(f64::NEG_INFINITY, larger),
        Pooling::Mean => numbers().sum::<f64>() / length,
        Pooling::MeanSqrtLength => numbers().sum::<f64>() / length.sqrt(),
        Pooling::WeightedMean => {
            let weighted = numbers().zip(1_u32..).map(|(number, at)| number * f64::from(at));
            weighted.sum::<f64>() / (length * (length + 1.0) / 2.0)
        }
    }
}
