//! One encoder for all transformers that read a row as a whole, over packed rows.
//!
//! `plan` says what a model is made of and `names` what its tensors are called; `embed` and `layer` meet both with the weights.
//! What is computed is in `operators`: by candle's own operations in `portable`, by kernels that a device brings in `fused`.

mod angles;
mod embed;
mod fused;
mod layer;
mod names;
mod operators;
mod plan;
mod portable;

use candle_core::Tensor;

pub(super) use self::embed::Embeddings;
pub(super) use self::fused::Fused;
pub(super) use self::layer::Layers;
pub(super) use self::names::{LayerNames, Names, Qkv};
pub(super) use self::operators::{Activation, AttentionShape, Operators, Pooling, Rotary, Then};
pub(super) use self::plan::{Biases, Order, Plan};
pub(super) use self::portable::{Portable, activate};
use super::super::table::HUB_WEIGHTS;
use super::super::weights::one_line;
use super::super::{LoadError, Weights};

/// Embeddings and layers.
pub(super) struct Encoder<O: Operators> {
    embeddings: Embeddings<O>,
    layers: Layers<O>,
}

impl<O: Operators> Encoder<O> {
    /// Takes the weights under `prefix`. Errors: one is missing or of another shape than planned.
    pub(super) fn new(parts: &Parts<'_, O>, plan: &Plan, names: &Names) -> Result<Self, LoadError> {
        Ok(Self { embeddings: Embeddings::new(parts, plan, names)?, layers: Layers::new(parts, plan, names)? })
    }

    /// Lays out a batch whose row `i` has the tokens `offsets[i]..offsets[i + 1]`, of ids, types and positions, `[tokens]` each, as
    /// many as [`Plan`] has.
    pub(super) fn batch(&self, operators: &O, offsets: &[usize], inputs: &[Tensor]) -> candle_core::Result<O::Batch> {
        self.embeddings.check(inputs)?;
        operators.batch(offsets, inputs, self.layers.ways())
    }

    /// The last layer's `[tokens, hidden]`.
    pub(super) fn forward(&self, operators: &O, batch: &O::Batch) -> candle_core::Result<Tensor> {
        let rows = self.embeddings.forward(operators, batch)?;
        self.layers.forward(operators, batch, rows)
    }
}

/// Where an encoder's parts come from.
pub(super) struct Parts<'a, O: Operators> {
    pub(super) operators: &'a O,
    pub(super) weights: &'a Weights,
    /// What tensors' names begin with, a dot at its end; empty if nothing.
    pub(super) prefix: &'a str,
}

impl<O: Operators> Parts<'_, O> {
    /// The matrix `[outputs, inputs]` of this name, with its bias.
    pub(super) fn linear(&self, name: &str, sizes: (usize, usize), bias: bool) -> Result<O::Linear, LoadError> {
        let weight = self.take(&format!("{name}.weight"), &[sizes.0, sizes.1])?;
        let bias = bias.then(|| self.take(&format!("{name}.bias"), &[sizes.0])).transpose()?;
        self.operators.linear(weight, bias).map_err(|error| self.failed(name, &error))
    }

    /// The layer norm of this name.
    pub(super) fn norm(&self, name: &str, width: usize, bias: bool, eps: f64) -> Result<O::Norm, LoadError> {
        let weight = self.take(&format!("{name}.weight"), &[width])?;
        let bias = bias.then(|| self.take(&format!("{name}.bias"), &[width])).transpose()?;
        self.operators.norm(weight, bias, eps).map_err(|error| self.failed(name, &error))
    }

    pub(super) fn take(&self, name: &str, dims: &[usize]) -> Result<Tensor, LoadError> {
        self.weights.take(&format!("{}{name}", self.prefix), dims)
    }

    pub(super) fn failed(&self, name: &str, error: &candle_core::Error) -> LoadError {
        let reason = format!("{}{name}: cannot be put on the device: {}", self.prefix, one_line(error));
        LoadError::new(HUB_WEIGHTS, reason)
    }
}
