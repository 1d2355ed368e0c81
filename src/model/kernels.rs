//! What a device that has kernels of its own computes an encoder with.
//!
//! The server has none: a worker's process brings them. Tensors are contiguous and on the device; rows are of the target's numbers,
//! norms, biases and angles `F32`, indices `U32`.

use candle_core::{Result, Tensor};

/// Kernels of a device.
pub trait Kernels: Send + Sync {
    /// A batch's ids, `[tokens]`, in `slots` slots, and the position of each in its row, `[slots]` each; both are 0 behind the last.
    /// Row `i` has the tokens `offsets[i]..offsets[i + 1]`; `order` is 0, 1, 2 … for each row.
    fn pack(&self, ids: &Tensor, offsets: &Tensor, order: &Tensor, slots: usize) -> Result<(Tensor, Tensor)>;

    /// The layer norm of sums of rows of tables: `[tokens, width]` of up to three `(table, indices)`, `[entries, width]` and
    /// `[tokens]`.
    fn embed(&self, tables: &[(&Tensor, &Tensor)], norm: &LayerNorm) -> Result<Tensor>;

    /// `activation(rows + bias)` of `[rows, width]`, in their place; `bias` is `[width]`.
    fn activate(&self, rows: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Result<()>;

    /// `activation(first half + bias) · (second half + bias)` of `[rows, 2 · width]`: `[rows, width]`.
    fn gate(&self, rows: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor>;

    /// Turns queries and keys of `[tokens, 3 · heads · width]` by their positions, in their place.
    fn rotate(&self, qkv: &Tensor, heads: Heads, positions: &Tensor, angles: &Angles) -> Result<()>;

    /// How a batch's rows, of which row `i` has the tokens `offsets[i]..offsets[i + 1]`, are cut for [`Kernels::attend`]:
    /// `[TILE · tiles]`. Zeros behind them are tiles of nothing.
    fn tiles(&self, offsets: &[u32]) -> Vec<u32>;

    /// Each token attends to those of its own row that are at most `reach` away: `[tokens, 3 · heads · width]` to
    /// `[tokens, heads · width]`. Queries come scaled. Tokens that no tile has are left unset.
    fn attend(&self, qkv: &Tensor, heads: Heads, tiles: &Tensor, reach: Option<usize>) -> Result<Tensor>;

    /// The layer norm of `rows + update`, `[rows, width]`.
    fn norm(&self, rows: &Tensor, update: Option<&Tensor>, norm: &LayerNorm) -> Result<Tensor>;

    /// The sum `rows + update`, `[rows, width]`, and its layer norm.
    fn norm_with_sum(&self, rows: &Tensor, update: &Tensor, norm: &LayerNorm) -> Result<(Tensor, Tensor)>;

    /// One vector for each row: `[tokens, width]` to `[rows, width]`, where `offsets` are `[rows + 1]`.
    fn pool(&self, rows: &Tensor, offsets: &Tensor, pooling: Pooling) -> Result<Tensor>;

    /// What records work on this device, for one model; `None` where that gains nothing.
    fn recorder(&self) -> Option<Box<dyn Recorder>>;
}

/// Numbers of a tile in [`Kernels::tiles`].
pub const TILE: usize = 3;

/// Records what a model has the device do, and has it done again without telling each step of it.
pub trait Recorder: Send + Sync {
    /// The first rows of what `compute` makes of `inputs`, each of which is given to it with zeros behind it as `size` says.
    ///
    /// `compute` must do the same for all inputs of one size, and wait for nothing.
    fn run(&self, size: &Size, inputs: &[Tensor], compute: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Result<Tensor>;
}

/// How large a batch is that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// To which lengths, along the first dimension, inputs are filled up. Recorded once for each.
    pub lengths: Vec<usize>,
    /// Rows of the result that mean anything.
    pub rows: usize,
}

/// A layer norm's weight and bias, `[width]` each, and what is added to the variance.
pub struct LayerNorm {
    /// Factors.
    pub weight: Tensor,
    /// Summands.
    pub bias: Option<Tensor>,
    /// Epsilon.
    pub eps: f32,
}

/// Cosines and sines by position, `[positions, width / 2]` each.
pub struct Angles {
    /// Cosines.
    pub cosines: Tensor,
    /// Sines.
    pub sines: Tensor,
}

/// Parts that attend on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Width of each.
    pub width: usize,
}

/// A function of each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// With the error function.
    Gelu,
    /// The approximation by tanh.
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

/// How a row's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token.
    First,
    /// The last token.
    Last,
    /// The largest number of each column.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the row's length.
    MeanSqrtLength,
    /// The mean, weighted by 1, 2, 3 …
    WeightedMean,
}
