//! What runs kernels: a GPU, or the host's build of the same sources. Both are launched by name, with bits for parameters.
//!
//! Lengths and shapes are checked by the calls of this package, once for both, so that what CI tests on the host is what a GPU
//! gets. What is *in* the memory needs no check: an index that leads outside makes a NaN or a zero, never an access.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "host")]
mod host;

use std::marker::PhantomData;

#[cfg(feature = "cuda")]
pub use self::cuda::Cuda;
#[cfg(feature = "host")]
pub use self::host::{Host, Order};
use crate::element::{Plain, Type};
use crate::error::{Error, count};

/// Parameters of a kernel at most.
const PARAMETERS_MAX: usize = 16;

/// Runs kernels. Only this package can launch one, and does so for calls that it has checked.
pub trait Driver: Sized {
    /// What a view keeps until the kernel is launched.
    type Hold<'a>;

    /// Launches a kernel. On a GPU this returns before the kernel has run, and errors of earlier ones may come back.
    fn launch(&self, launch: &Launch) -> Result<(), Error>;
}

/// Memory of a driver that a kernel reads.
pub struct View<'a, T, D: Driver> {
    address: u64,
    length: usize,
    _hold: D::Hold<'a>,
    _numbers: PhantomData<&'a [T]>,
}

/// Memory of a driver that a kernel writes.
pub struct ViewMut<'a, T, D: Driver> {
    address: u64,
    length: usize,
    _hold: D::Hold<'a>,
    _numbers: PhantomData<&'a mut [T]>,
}

impl<T: Plain, D: Driver> View<'_, T, D> {
    /// How many numbers it holds.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl<T: Plain, D: Driver> ViewMut<'_, T, D> {
    /// How many numbers it holds.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// A checked launch.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "host", feature = "cuda")), expect(dead_code, reason = "there is nothing to launch on"))]
pub struct Launch {
    kernel: &'static str,
    grid: [u32; 2],
    block: u32,
    shared_bytes: u32,
    /// Each parameter's bits from the lowest on, which is where drivers read them.
    parameters: [u64; PARAMETERS_MAX],
    parameter_count: usize,
}

impl Launch {
    /// Of a kernel with `grid` blocks of `block` threads.
    pub(crate) fn new(kernel: &'static str, grid: [u32; 2], block: u32) -> Self {
        Self { kernel, grid, block, shared_bytes: 0, parameters: [0; PARAMETERS_MAX], parameter_count: 0 }
    }

    /// With as much memory shared by the threads of a block.
    pub(crate) fn shared(mut self, bytes: u32) -> Self {
        self.shared_bytes = bytes;
        self
    }

    pub(crate) fn input<T, D: Driver>(self, view: &View<'_, T, D>) -> Self {
        self.bits(view.address)
    }

    pub(crate) fn optional_input<T, D: Driver>(self, view: Option<&View<'_, T, D>>) -> Self {
        self.bits(view.map_or(0, |view| view.address))
    }

    pub(crate) fn output<T, D: Driver>(self, view: &ViewMut<'_, T, D>) -> Self {
        self.bits(view.address)
    }

    pub(crate) fn optional_output<T, D: Driver>(self, view: Option<&ViewMut<'_, T, D>>) -> Self {
        self.bits(view.map_or(0, |view| view.address))
    }

    pub(crate) fn number(self, number: u32) -> Self {
        self.bits(u64::from(number))
    }

    pub(crate) fn real(self, number: f32) -> Self {
        self.bits(u64::from(number.to_bits()))
    }

    fn bits(mut self, bits: u64) -> Self {
        // A kernel of more parameters would show in the first test of it.
        if let Some(slot) = self.parameters.get_mut(self.parameter_count) {
            *slot = bits;
            self.parameter_count += 1;
        }
        self
    }

    #[cfg(any(feature = "host", feature = "cuda"))]
    fn parameters(&self) -> &[u64] {
        self.parameters.get(..self.parameter_count).unwrap_or_default()
    }

    #[cfg(any(feature = "host", feature = "cuda"))]
    fn error(&self, detail: &(impl ToString + ?Sized)) -> Error {
        Error::Launch { kernel: self.kernel, detail: detail.to_string() }
    }
}

/// Blocks of `each` that hold `all`.
pub(crate) fn blocks(all: u32, each: u32) -> [u32; 2] {
    [all.div_ceil(each), 1]
}

/// Bytes of memory that a block shares.
pub(crate) fn shared_bytes(bytes: usize) -> Result<u32, Error> {
    count("shared memory", bytes)
}

/// A kernel's names, by the type of its numbers.
macro_rules! names {
    ($kernel:literal) => {
        |of: $crate::element::Type| match of {
            $crate::element::Type::F32 => concat!($kernel, "_f32"),
            $crate::element::Type::F16 => concat!($kernel, "_f16"),
            $crate::element::Type::Bf16 => concat!($kernel, "_bf16"),
        }
    };
}
pub(crate) use names;

/// Numbers of a type in 16 bytes.
pub(crate) fn wide(of: Type) -> u32 {
    match of {
        Type::F32 => 4,
        Type::F16 | Type::Bf16 => 8,
    }
}
