//! The words that cross rooms: names, tensors, requests, answers, errors.
//!
//! Deliberately absent: clocks that tick, async, candle, tonic. Everything here is plain data with checked constructors.

mod dtype;
mod error;
mod id;
mod json;
mod request;
mod rows;
mod rung;
mod score;
mod shape;
mod signature;
mod tensor;

pub use dtype::DataType;
pub use error::{Error, Kind, Reason, printable};
pub use id::{ModelName, Version};
pub use json::{flatten, push_bytes, push_json};
pub use request::{BatchReport, InferAnswer, InferRequest, NamedTensor, Release, Wishes};
pub use rows::Rows;
pub use rung::{Fallbacks, RungKind};
pub use score::{ClassScore, Scores};
pub use shape::Shape;
pub use signature::{Presence, Signature, TensorSpec};
pub use tensor::Tensor;
