//! A matrix product with its bias and activation.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, Layout, Result};

use super::Rows;
use super::rows::apply;
use crate::model::arch::network::layer::Activation;

/// `then(x * weight + bias)` for `x` of shape `[rows, inputs]`.
pub(super) struct Product {
    inputs: usize,
    outputs: usize,
    /// `[inputs, outputs]`
    weight: CpuStorage,
    layout: Layout,
    bias: Option<Vec<f32>>,
    pub(super) then: Option<Activation>,
}

impl Product {
    /// `weight`: `[inputs, outputs]`, row-major.
    pub(super) fn new(inputs: usize, outputs: usize, weight: Vec<f32>, bias: Option<Vec<f32>>) -> Self {
        let layout = Layout::contiguous((inputs, outputs));
        Self { inputs, outputs, weight: CpuStorage::F32(weight), layout, bias, then: None }
    }

    /// Multiplies all rows of `input`, of which there may be several for each row of the batch.
    pub(super) fn run(&self, input: &Rows<'_>) -> Result<Vec<f32>> {
        let elements = input.values()?.len();
        let (storage, start) = input.storage();
        self.multiply(storage, start, elements / self.inputs.max(1))
    }

    /// Multiplies `count` rows that begin at element `start` of `storage`.
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
        let Some(bias) = &self.bias else {
            return self.then.into_iter().for_each(|function| apply(values, function));
        };
        for row in values.chunks_exact_mut(self.outputs.max(1)) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
            if let Some(function) = self.then {
                apply(row, function);
            }
        }
    }
}
