//! What the benchmarks share: servers in processes of their own, one client, and how figures are told.

mod assembled;
pub(crate) mod child;
pub(crate) mod client;
mod echo;
pub(crate) mod figures;
pub(crate) mod role;
pub(crate) mod server;
