//! Where a model is to run, and how exactly.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::kernels::Kernels;

/// A device, the numbers that it computes in, and kernels of its own.
#[derive(Clone)]
pub struct Target {
    /// Where weights are put.
    pub device: Device,
    /// What weights and the rows between layers are: `F32`, `F16` or `BF16`. What goes in and comes out is `F32` in any case.
    pub dtype: DType,
    /// What encoders are computed with; `None` for candle's own operations, which know `F32` only.
    pub kernels: Option<Arc<dyn Kernels>>,
    /// May the kernels' work be recorded, and replayed where it recurs?
    pub records: bool,
}

impl Target {
    /// The processor, which computes in `F32`.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32, kernels: None, records: false }
    }

    /// Puts a tensor there, as one block of memory in the target's numbers.
    pub(super) fn put(&self, tensor: &Tensor) -> Result<Tensor> {
        self.put_as(tensor, self.dtype)
    }

    /// The same in numbers of this type. They are made on the host, so that the device needs no memory for others.
    pub(super) fn put_as(&self, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
        tensor.to_dtype(dtype)?.contiguous()?.to_device(&self.device)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Target({:?}, {:?}, kernels: {})", self.device, self.dtype, self.kernels.is_some())
    }
}
