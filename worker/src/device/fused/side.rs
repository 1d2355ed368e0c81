//! Where candle keeps the tensors that kernels work on: a GPU's memory, or, for tests, the host's.

use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::cuda::CudaDType;
use candle_core::{Result, Storage, StorageRef, Tensor, WithDType, bail};
use sconce_kernels::{Driver, Plain, View, ViewMut};

/// Numbers that candle and kernels both know.
#[cfg(not(feature = "cuda"))]
pub(crate) trait Number: Plain + WithDType {}
/// Numbers that candle and kernels both know.
#[cfg(feature = "cuda")]
pub(crate) trait Number: Plain + WithDType + CudaDType {}

impl Number for f32 {}
impl Number for f64 {}
impl Number for u32 {}
impl Number for half::f16 {}
impl Number for half::bf16 {}

/// A driver, and candle's memory as it sees it.
pub(crate) trait Side: Send + Sync + 'static {
    /// Runs kernels.
    type Driver: Driver;
    /// Memory that is no tensor's yet.
    type Memory<T: Number>;

    fn driver(&self) -> &Self::Driver;

    /// Memory for so many numbers, of any value. Errors: there is not enough.
    fn room<T: Number>(&self, length: usize) -> Result<Self::Memory<T>>;

    fn view_room<'a, T: Number>(&'a self, memory: &'a mut Self::Memory<T>) -> Result<ViewMut<'a, T, Self::Driver>>;

    /// The memory as candle keeps it.
    fn storage<T: Number>(&self, memory: Self::Memory<T>) -> Storage;

    /// These numbers of a tensor's memory. Errors: it is elsewhere, or of another type.
    fn view<'a, T: Number>(&'a self, storage: &'a Storage, at: Range<usize>) -> Result<View<'a, T, Self::Driver>>;

    /// Lets `change` write the numbers of a contiguous tensor. Errors: its own, or the tensor is elsewhere or of another type.
    fn change<T: Number>(
        &self,
        tensor: &Tensor,
        change: impl FnOnce(ViewMut<'_, T, Self::Driver>) -> Result<()>,
    ) -> Result<()>;
}

/// A tensor that is being read.
pub(super) struct Reading<'a> {
    storage: StorageRef<'a>,
    at: Range<usize>,
}

impl<'a> Reading<'a> {
    /// Errors: the tensor is not one block of memory.
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a kernel was given a tensor of shape {:?} in pieces", tensor.dims())
        };
        Ok(Self { storage, at: start..end })
    }

    pub(super) fn view<'b, T: Number, S: Side>(&'b self, side: &'b S) -> Result<View<'b, T, S::Driver>> {
        side.view(&self.storage, self.at.clone())
    }
}
