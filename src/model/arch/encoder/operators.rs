//! The operators that an encoder is made of: what a device has to be good at.
//!
//! Everything is packed: `[tokens, ..]`, the tokens of all rows one after the other, without padding. Where rows begin is known
//! on the host before a batch runs, so that an implementation can lay out its work once for all layers.

use candle_core::{Result, Tensor};

pub(in crate::model) use crate::model::kernels::{Activation, Pooling};

/// A device's implementation of the operators. Weights are prepared once, at load.
pub(in crate::model) trait Operators: Send + Sync {
    /// A product with a matrix, as this device likes it best.
    type Linear: Send + Sync;
    /// A layer norm.
    type Norm: Send + Sync;
    /// One way of attending, and what it needs for all positions.
    type Attention: Send + Sync;
    /// What is laid out once for a batch.
    type Batch;

    /// Puts a table `[entries, width]` where rows of it are looked up.
    fn table(&self, table: Tensor) -> Result<Tensor>;

    /// Prepares `weight` `[out, in]` and `bias` `[out]`.
    fn linear(&self, weight: Tensor, bias: Option<Tensor>) -> Result<Self::Linear>;

    /// Prepares a layer norm with `weight` and `bias` `[width]`.
    fn norm(&self, weight: Tensor, bias: Option<Tensor>, eps: f64) -> Result<Self::Norm>;

    /// Prepares a way of attending.
    fn attention(&self, shape: &AttentionShape) -> Result<Self::Attention>;

    /// Lays out a batch whose row `i` has the tokens `offsets[i]..offsets[i + 1]`, for these ways of attending. `indices`, `[tokens]`
    /// each, are what [`Operators::embed`] looks up; there are none where rows come from elsewhere.
    fn batch(&self, offsets: &[usize], indices: &[Tensor], ways: &[Self::Attention]) -> Result<Self::Batch>;

    /// `then(rows · weightᵀ + bias)`: `[tokens, in]` to `[tokens, out]`, or half of that for [`Then::Gate`].
    fn project(&self, linear: &Self::Linear, rows: &Tensor, then: Then) -> Result<Tensor>;

    /// Each token attends to those of its own row, in the `at`-th of the ways that the batch is laid out for: `[tokens, 3 · heads · width]`, which are
    /// queries, keys and values, to `[tokens, heads · width]`. The queries come scaled.
    fn attend(&self, at: usize, batch: &Self::Batch, qkv: &Tensor) -> Result<Tensor>;

    /// The layer norm of a sum of rows of `tables`, of which there are as many as the batch has indices: `[tokens, width]`, and on
    /// some devices more rows behind them, which nobody looks at.
    fn embed(&self, norm: &Self::Norm, tables: &[Tensor], batch: &Self::Batch) -> Result<Tensor>;

    /// The layer norm of `rows`.
    fn normalise(&self, norm: &Self::Norm, rows: &Tensor) -> Result<Tensor>;

    /// The layer norm of `rows + update`.
    fn add_norm(&self, norm: &Self::Norm, rows: &Tensor, update: &Tensor) -> Result<Tensor>;

    /// The sum `rows + update`, and its layer norm.
    fn add_norm_with_sum(&self, norm: &Self::Norm, rows: &Tensor, update: &Tensor) -> Result<(Tensor, Tensor)>;

    /// One vector for each row: `[tokens, width]` to `[rows, width]`.
    fn pool(&self, pooling: Pooling, batch: &Self::Batch, rows: &Tensor) -> Result<Tensor>;

    /// What `compute` makes of `rows` `[tokens, width]`. A device may record what it does, and do that again for batches alike.
    fn repeat(&self, batch: &Self::Batch, rows: Tensor, compute: &Compute<'_, Self::Batch>) -> Result<Tensor> {
        compute(batch, rows)
    }
}

/// Operators on a batch's rows `[tokens, width]`, and nothing else.
pub(in crate::model) type Compute<'a, B> = dyn Fn(&B, Tensor) -> Result<Tensor> + 'a;

/// How tokens attend to each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model) struct AttentionShape {
    /// Parts that attend on their own.
    pub(in crate::model) heads: usize,
    /// Width of each.
    pub(in crate::model) width: usize,
    /// How far a token sees to either side; `None` is the whole row.
    pub(in crate::model) reach: Option<usize>,
    /// Rotary positions, if it has them.
    pub(in crate::model) rotary: Option<Rotary>,
}

/// Rotary positions (Su et al. 2021): pairs of halves are turned by `position / theta^(2i / width)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model) struct Rotary {
    pub(in crate::model) theta: f64,
    /// Positions that can be.
    pub(in crate::model) positions: usize,
}

/// What follows a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Then {
    Nothing,
    Activate(Activation),
    /// The first half, activated, times the second.
    Gate(Activation),
}
