//! What the benchmarks share: servers in processes of their own, one client, and how figures are told.

mod assembled;
mod child;
mod client;
mod echo;
mod figures;
mod role;
mod server;

pub(crate) use child::Child;
pub(crate) use client::{Load, Until};
pub(crate) use figures::{Spread, line};
pub(crate) use role::{Kind, Role};
pub(crate) use server::serve;
