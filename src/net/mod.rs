//! Connections: an accept loop of our own, with limits, and a drain that ends.
//!
//! Deliberately absent: what is served.

mod accept;
mod activity;

pub use accept::{Limits, Protocol, bind, serve};
