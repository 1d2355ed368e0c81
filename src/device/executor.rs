//! The seam between batching and devices.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::{error, warn};

use crate::types::{Error, Reason, Rows, Tensor};

/// Ends what an executor computes, from another thread: its [`Executor::run`] then fails soon.
pub type Interrupt = Arc<dyn Fn() + Send + Sync>;

/// Runs one model. Takes and gives host bytes, so that it can live in another process.
pub trait Executor: Send {
    /// Runs a batch: `parts` holds each item's rows. Gives the outputs in the signature's order, the rows of all parts
    /// joined in order.
    ///
    /// Errors: the model refused or failed ([`Reason::Model`]), or its device did ([`Reason::DeviceLost`],
    /// [`Reason::DeviceMemory`]); the executor can be asked again.
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error>;

    /// Does it compute in parallel, and so wants the machine's cores? Else it runs on the device's thread alone.
    fn is_parallel(&self) -> bool {
        true
    }

    /// A second executor of the same model, for the batch that comes next: what it runs while this one runs is copied to the
    /// device meanwhile, and computed afterwards. `None` where nothing is gained by it, or when it has been given away.
    ///
    /// Batches of both are answered in the order in which they were begun; a device that is lost is lost to both.
    fn ahead(&mut self) -> Option<Box<dyn Executor>> {
        None
    }

    /// What ends a batch that takes too long; `None` where nothing can.
    fn interrupt(&self) -> Option<Interrupt> {
        None
    }

    /// Begins anew after a panic. Errors: the model cannot be loaded again; the old state stays.
    fn rebuild(&mut self) -> Result<(), Error>;
}

/// Why a batch failed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What each guilty request is told.
    pub error: Error,
    /// Did code panic? The executor has been rebuilt then.
    pub panicked: bool,
}

/// The parts that went in, for another try, and what came of them.
pub type Outcome = (Vec<Rows>, Result<Vec<Tensor>, Fault>);

/// Runs a batch; a panic becomes a [`Fault`] and rebuilds the executor.
pub fn guarded(executor: &mut dyn Executor, parts: &[Rows]) -> Result<Vec<Tensor>, Fault> {
    let run = AssertUnwindSafe(|| executor.run(parts));
    match catch_unwind(run) {
        Ok(Ok(outputs)) => Ok(outputs),
        Ok(Err(error)) => Err(Fault { error, panicked: false }),
        Err(payload) => {
            error!(panic = panic_text(&*payload), "the model panicked");
            if let Err(error) = executor.rebuild() {
                warn!(%error, "rebuild the executor");
            }
            Err(Fault { error: Error::new(Reason::Panic, "the model failed on these rows"), panicked: true })
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
