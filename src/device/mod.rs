//! Where models run: executors behind one trait that speaks host bytes, inline or on a thread of their own.
//!
//! The executor is also the crash boundary: a panic ends a batch and rebuilds the executor, never the server.
//! Deliberately absent: requests, clients, queues.

mod cores;
mod executor;
mod link;
mod local;
mod thread;

pub use cores::Cores;
pub use executor::{Executor, Fault, Interrupt, Outcome, guarded};
pub use link::Link;
pub use local::{LocalExecutor, start_candle_threads};
pub use thread::Device;
