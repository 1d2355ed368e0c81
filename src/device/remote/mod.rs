//! Models in a worker process: a supervisor for each process, an executor for each model.
//!
//! Why a process: what a GPU's driver does to one that has failed is cured only by ending it, and must not end the server. The
//! supervisor starts it, watches it and starts it again; executors fail at once while it is down, and find the model loaded
//! anew when it is back.

mod answer;
mod backoff;
mod channel;
mod executor;
mod life;
mod line;
mod link;
mod load;
mod probing;
mod process;
mod staging;
mod supervisor;

pub use executor::RemoteExecutor;
pub(super) use probing::{NoAnswer, ask};
pub use process::WorkerSettings;
pub use supervisor::{DeviceInfo, Supervisor, WorkerEvents, WorkerState};
