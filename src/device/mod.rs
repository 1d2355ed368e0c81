//! Where models run: executors behind one trait that speaks host bytes, inline, on a thread of their own, or in a worker
//! process.
//!
//! The executor is also the crash boundary: a panic ends a batch and rebuilds the executor, never the server.
//! Deliberately absent: requests, clients, queues.

mod cores;
mod executor;
mod gpus;
mod lifeline;
mod local;
mod remote;
#[cfg(test)]
mod simulated;
mod thread;
pub mod wire;

pub use cores::Cores;
pub use executor::{Executor, Fault, Interrupt, Outcome, guarded};
pub use gpus::{DRIVER, Gpus, Missing, NoGpu, PROBE_MAX, ask_for_gpus, find_gpus, shown_gpus};
pub use lifeline::Lifeline;
pub use local::{LocalExecutor, start_candle_threads};
pub use remote::{DeviceInfo, RemoteExecutor, Supervisor, WorkerEvents, WorkerSettings, WorkerState};
#[cfg(test)]
pub(crate) use simulated::Simulated;
pub use thread::Device;
pub use wire::{FaultInjection, LoadSettings, LogitScores};
