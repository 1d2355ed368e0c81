//! A request's journey from admission to answer, one file per stage.
//!
//! Deliberately absent: wire formats.

mod answer;
mod check;
mod info;
mod pipeline;

pub use crate::batch::Begun;
pub use info::{ModelInfo, ModelState, ServerInfo};
pub use pipeline::{Pipeline, Settings};
