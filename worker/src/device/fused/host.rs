//! The host's build of the kernels on candle's tensors in the host's memory, for tests of all that leads to them.

use std::cell::Cell;
use std::ops::Range;

use candle_core::{CpuStorage, Error, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};
use sconce_kernels::{Host, Order, View, ViewMut};

use super::side::{Number, Side};

/// The host.
pub(crate) struct HostSide(Host);

impl HostSide {
    pub(crate) fn new() -> Self {
        Self(Host { order: Order::Ascending })
    }
}

impl Side for HostSide {
    type Driver = Host;
    type Memory<T: Number> = Vec<T>;

    fn driver(&self) -> &Host {
        &self.0
    }

    fn room<T: Number>(&self, length: usize) -> Result<Vec<T>> {
        // What a kernel leaves out shows.
        Ok(vec![<T as WithDType>::from_f64(f64::NAN); length])
    }

    fn view_room<'a, T: Number>(&'a self, memory: &'a mut Vec<T>) -> Result<ViewMut<'a, T, Host>> {
        Ok(self.0.view_mut(memory))
    }

    fn storage<T: Number>(&self, memory: Vec<T>) -> Storage {
        Storage::Cpu(T::to_cpu_storage_owned(memory))
    }

    fn view<'a, T: Number>(&'a self, storage: &'a Storage, at: Range<usize>) -> Result<View<'a, T, Host>> {
        let Storage::Cpu(storage) = storage else { bail!("expected a tensor on the host") };
        let numbers = T::cpu_storage_as_slice(storage)?.get(at);
        numbers.map(|numbers| self.0.view(numbers)).ok_or_else(|| Error::msg("a tensor beyond its memory"))
    }

    fn change<T: Number>(
        &self,
        tensor: &Tensor,
        change: impl FnOnce(ViewMut<'_, T, Host>) -> Result<()>,
    ) -> Result<()> {
        tensor.inplace_op1(&Change { host: &self.0, once: Cell::new(Some(change)), numbers: std::marker::PhantomData })
    }
}

/// A change of a tensor in its place, made once.
struct Change<'a, T, F> {
    host: &'a Host,
    once: Cell<Option<F>>,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Number, F: FnOnce(ViewMut<'_, T, Host>) -> Result<()>> InplaceOp1 for Change<'_, T, F> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), Some(change)) = (layout.contiguous_offsets(), self.once.take()) else {
            bail!("a kernel was given a tensor in pieces")
        };
        // Candle lends no vector of a storage to be written: it is taken out, and put back.
        let mut numbers = T::cpu_storage_data(storage.clone())?;
        let Some(changed) = numbers.get_mut(start..end) else { bail!("a tensor beyond its memory") };
        change(self.host.view_mut(changed))?;
        *storage = T::to_cpu_storage_owned(numbers);
        Ok(())
    }
}
