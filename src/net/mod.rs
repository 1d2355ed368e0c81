//! Sockets: the accept loop, HTTP connections and their limits, and how they end.
//!
//! Deliberately absent: what is served.

mod activity;
mod connection;
mod limits;
mod listener;
mod pace;
mod tally;
mod windows;

pub use limits::{Limits, Protocol};
pub use listener::{Listener, Shed};
pub use tally::Tally;
