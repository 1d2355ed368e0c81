//! Devices that a worker can be built for.

#[cfg(any(test, feature = "cuda"))]
mod budget;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
mod fault;
#[cfg(any(test, feature = "cuda"))]
mod fused;

use std::ptr::NonNull;

use sconce::device::LoadSettings;
use sconce::device::wire::{Failure, Hello, Probe};
use sconce::model::Files;
use sconce::types::{Rows, Signature};

use crate::outputs::Outputs;

/// What models run on. Several may be loaded on it at once; their batches take turns.
pub(crate) trait Device: Send + Sync {
    /// What it is.
    fn about(&self) -> Hello;

    /// Loads a model. Errors: the file and what is wrong, or what there is too little memory for.
    fn load(&self, files: &Files, settings: &LoadSettings) -> Result<Box<dyn Model>, Failed>;

    /// Has the pages of a mapping stay where they are until what this gives is dropped, which must be before the mapping is: then
    /// the device copies from and to them by itself. `None` where it does not.
    fn lock_pages(&self, _memory: NonNull<[u8]>) -> Option<Box<dyn Send + Sync>> {
        None
    }
}

/// A model that is loaded on a device.
pub(crate) trait Model: Send {
    /// What it takes and gives.
    fn signature(&self) -> &Signature;

    /// Runs one of the made-up batches that show the device the model, and it what batches take; false if there are no more.
    ///
    /// Each is short, and runs in turn with the batches of others. Errors: the device is lost, or has no memory for a single row.
    fn try_out(&mut self) -> Result<bool, Failed> {
        Ok(false)
    }

    /// Runs a batch, which has ended when this returns: what a device reports later would be told of another batch.
    fn run(&mut self, rows: &Rows, outputs: &mut Outputs<'_>) -> Result<(), Failed>;

    /// As [`Model::run`]; while the device computes, `next` may be asked for the rows of the batch that follows, so that their
    /// copy to the device begins meanwhile.
    ///
    /// `next` never waits: it gives rows once they are there, and only once. What it has given is what the model runs next, on
    /// this thread, unless it is dropped before; between the two other models may run. The rows must be let go of with the end
    /// of that run.
    fn run_before(&mut self, rows: &Rows, outputs: &mut Outputs<'_>, _next: &mut Next<'_>) -> Result<(), Failed> {
        self.run(rows, outputs)
    }
}

/// The rows of the batch that follows, if they are there.
pub(crate) type Next<'a> = dyn FnMut() -> Option<Rows> + 'a;

/// Why a batch has no outputs.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) detail: String,
}

impl Failed {
    pub(crate) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }
}

/// What this build knows.
const DEVICES: &str = if cfg!(feature = "cuda") { "the devices cpu and cuda:NUMBER" } else { "the device cpu" };

/// The device of this name. Errors: this worker was not built for it, or it is not there.
pub(crate) fn open(name: &str) -> Result<Box<dyn Device>, String> {
    match name {
        "cpu" => Ok(Box::new(cpu::Cpu::open()?)),
        #[cfg(feature = "cuda")]
        gpu if gpu.starts_with(cuda::PREFIX) => Ok(Box::new(cuda::Cuda::open(&gpu[cuda::PREFIX.len()..])?)),
        other => Err(format!("this worker was built for {DEVICES}, got \"{other}\"")),
    }
}

/// What this worker can compute on: looks, and keeps nothing open.
pub(crate) fn probe() -> Probe {
    #[cfg(feature = "cuda")]
    return cuda::probe();
    #[cfg(not(feature = "cuda"))]
    Probe::new(&["cpu"])
}
