//! Sockets: the accept loop, HTTP connections and their limits, and how they end.
//!
//! Deliberately absent: what is served.

mod activity;
mod connection;
mod listener;
mod pace;
mod tally;
mod windows;

pub use listener::{Limits, Listener, Protocol, Shed};
pub use tally::Tally;
