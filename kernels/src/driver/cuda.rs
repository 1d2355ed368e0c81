//! A GPU: the fat binaries of all kernels, loaded once, and launches on one stream.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::{
    CudaFunction, CudaStream, CudaView, CudaViewMut, DeviceSlice, DriverError, LaunchConfig, PushKernelArg, SyncOnDrop,
};
use cudarc::nvrtc::Ptx;

use super::{Driver, Launch, View, ViewMut};
use crate::element::Plain;
use crate::error::Error;

/// Name and bytes of each source's fat binary, as the build script compiled it.
const MODULES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The kernels on one stream of a GPU.
pub struct Cuda {
    stream: Arc<CudaStream>,
    functions: HashMap<&'static str, CudaFunction>,
}

impl Cuda {
    /// Loads all kernels, so that none is loaded while a graph is captured or a request waits.
    ///
    /// Errors: the GPU cannot run them, or has no memory for them.
    pub fn new(stream: Arc<CudaStream>) -> Result<Self, Error> {
        let mut functions = HashMap::new();
        for (name, binary) in MODULES {
            let failed = |error: DriverError| Error::Device { detail: format!("load kernels of {name}: {error}") };
            let module = stream.context().load_module(Ptx::from_binary(binary.to_vec())).map_err(failed)?;
            for kernel in crate::kernels_of(name) {
                functions.insert(*kernel, module.load_function(kernel).map_err(failed)?);
            }
        }
        Ok(Self { stream, functions })
    }

    /// The stream that kernels are launched on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Memory that a kernel reads. Errors: it is another GPU's.
    pub fn view<'a, T: Plain>(&'a self, memory: CudaView<'a, T>) -> Result<View<'a, T, Self>, Error> {
        self.expect_own(memory.stream())?;
        let length = memory.len();
        let (address, hold) = memory.view_ptr(&self.stream);
        Ok(View { address, length, _hold: hold, _numbers: PhantomData })
    }

    /// Memory that a kernel writes. Errors: it is another GPU's.
    pub fn view_mut<'a, T: Plain>(&'a self, memory: CudaViewMut<'a, T>) -> Result<ViewMut<'a, T, Self>, Error> {
        self.expect_own(memory.stream())?;
        let length = memory.len();
        let (address, hold) = memory.view_ptr_mut(&self.stream);
        Ok(ViewMut { address, length, _hold: hold, _numbers: PhantomData })
    }

    fn expect_own(&self, stream: &Arc<CudaStream>) -> Result<(), Error> {
        if stream.context() == self.stream.context() {
            return Ok(());
        }
        Err(Error::Device { detail: "the memory is another device's".to_owned() })
    }
}

impl Driver for Cuda {
    type Hold<'a> = SyncOnDrop<'a>;

    fn launch(&self, launch: &Launch) -> Result<(), Error> {
        let Some(function) = self.functions.get(launch.kernel) else {
            return Err(launch.error("no kernel of this name"));
        };
        let [across, down] = launch.grid;
        let config = LaunchConfig {
            grid_dim: (across, down, 1),
            block_dim: (launch.block, 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        let mut builder = self.stream.launch_builder(function);
        for parameter in launch.parameters() {
            builder.arg(parameter);
        }
        // SAFETY: the call that made the launch has checked that the kernel has these parameters and stays within the memory of its
        // views; those are of this context, and hold the memory until the stream has been told of the kernel.
        #[expect(unsafe_code, reason = "what a kernel does is its own")]
        let launched = unsafe { builder.launch(config) };
        launched.map(|_| ()).map_err(|error| launch.error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::MODULES;
    use crate::KERNELS;

    #[test]
    fn every_kernel_is_in_its_fat_binary() {
        let names: Vec<&str> = MODULES.iter().map(|(name, _)| *name).collect();
        let listed: Vec<&str> = KERNELS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, listed);
        for ((_, binary), (_, kernels)) in MODULES.iter().zip(KERNELS) {
            for kernel in *kernels {
                // Its section of machine code.
                let section = format!(".text.{kernel}\0");
                let is_there = binary.windows(section.len()).any(|bytes| bytes == section.as_bytes());
                assert!(is_there, "{kernel}");
            }
        }
    }
}
