//! A request's journey from admission to answer, one file per stage.
//!
//! Deliberately absent: wire formats.

mod answer;
mod check;
mod entry;
mod info;
mod ladder;
mod pipeline;
mod prepare;
mod punctual;
mod stand_in;

pub use crate::batch::Begun;
pub use crate::guard::Client;
pub use entry::Entry;
pub use info::{ModelInfo, ModelState, ServerInfo};
pub use pipeline::Pipeline;

#[cfg(test)]
mod tests;
