//! Every kernel does on a GPU what its twin does. Ignored unless asked for, since it needs one, or a driver whose device is the host
//! (`tests/all.sh host`):
//!
//!     cargo test -p sconce-kernels --features cuda --test device -- --ignored

mod common;

use common::Rig;
use cudarc::driver::{CudaContext, CudaSlice};
use sconce_kernels::{Cuda, Plain, View, ViewMut};

/// The first GPU.
struct DeviceRig(Cuda);

impl DeviceRig {
    fn new() -> Self {
        let context = CudaContext::new(0).expect("a GPU and its driver");
        Self(Cuda::new(context.default_stream()).expect("kernels that the GPU can run"))
    }
}

impl Rig for DeviceRig {
    type Driver = Cuda;
    type Memory<T: Plain> = CudaSlice<T>;

    fn driver(&self) -> &Cuda {
        &self.0
    }

    fn put<T: Plain>(&self, numbers: &[T]) -> CudaSlice<T> {
        self.0.stream().clone_htod(numbers).expect("memory")
    }

    fn get<T: Plain>(&self, memory: &CudaSlice<T>) -> Vec<T> {
        let numbers = self.0.stream().clone_dtoh(memory).expect("kernels that ran");
        self.0.stream().context().check_err().expect("no error that came late");
        numbers
    }

    fn view<'a, T: Plain>(&'a self, memory: &'a CudaSlice<T>, skipped: usize, length: usize) -> View<'a, T, Cuda> {
        self.0.view(memory.slice(skipped..skipped + length)).expect("its own memory")
    }

    fn view_mut<'a, T: Plain>(
        &'a self,
        memory: &'a mut CudaSlice<T>,
        skipped: usize,
        length: usize,
    ) -> ViewMut<'a, T, Cuda> {
        self.0.view_mut(memory.slice_mut(skipped..skipped + length)).expect("its own memory")
    }
}

/// A test of each kernel.
macro_rules! parity {
    ($($kernel:ident)*) => {
        $(
            #[test]
            #[ignore = "needs a GPU"]
            fn $kernel() {
                common::kernels::$kernel::check(&DeviceRig::new());
            }
        )*
    };
}

parity!(activate attend embed norm pack pool rotate score);
