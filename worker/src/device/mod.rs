//! Devices that a worker can be built for.

mod cpu;

use sconce::device::wire::{Failure, Hello, Probe};
use sconce::model::Files;
use sconce::types::{Rows, Signature};

use crate::outputs::Outputs;

/// What models run on. Several may be loaded on it at once; their batches take turns.
pub(crate) trait Device: Send + Sync {
    /// What it is.
    fn about(&self) -> Hello;

    /// Loads a model. Errors: the file and what is wrong, or what there is too little memory for.
    fn load(&self, files: &Files) -> Result<Box<dyn Model>, String>;
}

/// A model that is loaded on a device.
pub(crate) trait Model: Send {
    /// What it takes and gives.
    fn signature(&self) -> &Signature;

    /// Runs a batch, which has ended when this returns: what a device reports later would be told of another batch.
    fn run(&mut self, rows: &Rows, outputs: &mut Outputs<'_>) -> Result<(), Failed>;
}

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

/// The device of this name. Errors: this worker was not built for it, or it is not there.
pub(crate) fn open(name: &str) -> Result<Box<dyn Device>, String> {
    match name {
        "cpu" => Ok(Box::new(cpu::Cpu::open()?)),
        other => Err(format!("this worker was built for the device cpu, got \"{other}\"")),
    }
}

/// What this worker can compute on: looks, and keeps nothing open.
pub(crate) fn probe() -> Probe {
    Probe::new(&["cpu"])
}
