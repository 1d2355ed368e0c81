//! Candle's tensors on a GPU, as kernels see them.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use candle_core::cuda::{CudaStorage, WrapErr as _};
use candle_core::{CpuStorage, CudaDevice, Error, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use cudarc::driver::CudaSlice;
use sconce_kernels::{Cuda, View, ViewMut};

use crate::device::fused::{Number, Side};

/// A GPU, and the kernels loaded there.
pub(super) struct CudaSide {
    device: CudaDevice,
    kernels: Cuda,
}

impl CudaSide {
    /// Loads the kernels. Errors: the GPU cannot run them.
    pub(super) fn new(device: &CudaDevice) -> std::result::Result<Self, sconce_kernels::Error> {
        Ok(Self { device: device.clone(), kernels: Cuda::new(device.cuda_stream())? })
    }
}

impl Side for CudaSide {
    type Driver = Cuda;
    type Memory<T: Number> = CudaSlice<T>;

    fn driver(&self) -> &Cuda {
        &self.kernels
    }

    #[expect(unsafe_code, reason = "memory of any value")]
    fn room<T: Number>(&self, length: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every value of the memory is a number, and a kernel writes it before anything reads it; what it leaves out,
        // tokens of no tile, nothing reads but rows of the same tokens.
        unsafe { self.kernels.stream().alloc::<T>(length) }.w()
    }

    fn view_room<'a, T: Number>(&'a self, memory: &'a mut CudaSlice<T>) -> Result<ViewMut<'a, T, Cuda>> {
        self.kernels.view_mut(memory.as_view_mut()).map_err(Error::wrap)
    }

    fn storage<T: Number>(&self, memory: CudaSlice<T>) -> Storage {
        Storage::Cuda(CudaStorage::wrap_cuda_slice(memory, self.device.clone()))
    }

    fn view<'a, T: Number>(&'a self, storage: &'a Storage, at: Range<usize>) -> Result<View<'a, T, Cuda>> {
        let Storage::Cuda(storage) = storage else { bail!("expected a tensor on the GPU") };
        let numbers = storage.as_cuda_slice::<T>()?.try_slice(at);
        let numbers = numbers.ok_or_else(|| Error::msg("a tensor beyond its memory"))?;
        self.kernels.view(numbers).map_err(Error::wrap)
    }

    fn change<T: Number>(
        &self,
        tensor: &Tensor,
        change: impl FnOnce(ViewMut<'_, T, Cuda>) -> Result<()>,
    ) -> Result<()> {
        let change = Change { kernels: &self.kernels, once: Cell::new(Some(change)), numbers: PhantomData };
        tensor.inplace_op1(&change)
    }
}

/// A change of a tensor in its place, made once.
struct Change<'a, T, F> {
    kernels: &'a Cuda,
    once: Cell<Option<F>>,
    numbers: PhantomData<T>,
}

impl<T: Number, F: FnOnce(ViewMut<'_, T, Cuda>) -> Result<()>> InplaceOp1 for Change<'_, T, F> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(&self, _storage: &mut CpuStorage, _layout: &Layout) -> Result<()> {
        bail!("expected a tensor on the GPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), Some(change)) = (layout.contiguous_offsets(), self.once.take()) else {
            bail!("a kernel was given a tensor in pieces")
        };
        let numbers = storage.as_cuda_slice_mut::<T>()?.try_slice_mut(start..end);
        let numbers = numbers.ok_or_else(|| Error::msg("a tensor beyond its memory"))?;
        change(self.kernels.view_mut(numbers).map_err(Error::wrap)?)
    }
}
