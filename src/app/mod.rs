//! Wiring: from a configuration to a running server, its signals, tasks and log.
//!
//! Deliberately absent: logic. Everything that decides lives in the rooms below.

mod descriptors;
mod devices;
mod environment;
mod memory;
mod server;
mod signals;
mod tasks;
mod telemetry;

pub use devices::worker_beside_server;
pub use environment::keep_pools_from_spinning;
pub use server::{Extras, Server};
pub use signals::Signals;
pub use tasks::Tasks;
pub use telemetry::{Dropped, Log, start_log};
