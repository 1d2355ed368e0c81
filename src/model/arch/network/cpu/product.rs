//! A matrix product with its bias and activation: by our own kernel where it is small, by candle where it is large.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, Layout, Result};

use super::Rows;
use super::kernel::{Panels, Target, Windows};
use super::rows::apply;
use crate::model::arch::network::layer::Activation;

/// Multiplications up to which our own kernel, on one thread, is faster than candle's on all. Measured on two cores,
/// for square weights: 74 against 70 µs at this size, 0.8 against 36 at one row of 64.
const SMALL_PRODUCT: usize = 1 << 20;
/// Largest weights that are packed for our own kernel beside candle's copy.
const SMALL_WEIGHT: usize = 1 << 20;

/// `then(x * weight + bias)` for `x` of shape `[rows, inputs]`.
pub(super) struct Product {
    inputs: usize,
    outputs: usize,
    /// `[inputs, outputs]`
    weight: CpuStorage,
    layout: Layout,
    bias: Option<Vec<f32>>,
    panels: Option<Panels>,
    pub(super) then: Option<Activation>,
}

impl Product {
    /// `weight`: `[inputs, outputs]`, row-major.
    pub(super) fn new(inputs: usize, outputs: usize, weight: Vec<f32>, bias: Option<Vec<f32>>) -> Self {
        let layout = Layout::contiguous((inputs, outputs));
        let small = weight.len() <= SMALL_WEIGHT;
        let panels = small.then(|| Panels::new(inputs, outputs, &weight, bias.as_deref()));
        Self { inputs, outputs, weight: CpuStorage::F32(weight), layout, bias, panels, then: None }
    }

    /// The packed weights, if multiplying so many rows with them takes at most `work_max` multiplications.
    pub(super) fn small(&self, count: usize, work_max: usize) -> Option<&Panels> {
        let work = count.checked_mul(self.inputs)?.checked_mul(self.outputs)?;
        self.panels.as_ref().filter(|_| work <= work_max)
    }

    /// Multiplies all rows of `input`, of which there may be several for each row of the batch.
    pub(super) fn run(&self, input: &Rows<'_>) -> Result<Vec<f32>> {
        let values = input.values()?;
        let count = values.len() / self.inputs.max(1);
        let Some(panels) = self.small(count, SMALL_PRODUCT) else {
            let (storage, start) = input.storage();
            return self.multiply(storage, start, count);
        };
        let mut out = vec![0.0; count * self.outputs];
        let windows = Windows { values, taps: &[0], run: self.inputs };
        panels.multiply(&windows, count, |row| row * self.inputs, &mut out, Target { first: 0, stride: self.outputs });
        if let Some(function) = self.then {
            apply(&mut out, function);
        }
        Ok(out)
    }

    /// Multiplies `count` rows that begin at element `start` of `storage`, by candle, on as many threads as that takes.
    pub(super) fn multiply(&self, storage: &CpuStorage, start: usize, count: usize) -> Result<Vec<f32>> {
        let rows = Layout::contiguous_with_offset((count, self.inputs), start);
        let sizes = (1, count, self.outputs, self.inputs);
        let product = storage.matmul(&self.weight, sizes, &rows, &self.layout)?;
        let CpuStorage::F32(mut values) = product else { candle_core::bail!("expected a product in F32") };
        self.finish(&mut values);
        Ok(values)
    }

    /// Bias and activation in one pass.
    fn finish(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.outputs.max(1)) {
            for (value, bias) in row.iter_mut().zip(self.bias.iter().flatten()) {
                *value += bias;
            }
            if let Some(function) = self.then {
                apply(row, function);
            }
        }
    }
}
