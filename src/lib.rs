//! Sconce: an inference server for production machine learning.
//!
//! The rooms, in the order of a request's journey: a door in [`api`] translates a message into words of [`types`]; the
//! pipeline in [`serve`] admits it ([`guard`]), finds its model ([`registry`]), checks it, lets it wait for company
//! ([`batch`]), runs the company on a device ([`device`], [`model`]), and books the journey ([`monitor`], [`stats`]).
//! [`config`] says how, [`net`] carries the bytes, [`app`] wires it all, [`cli`] is what a person types.
//! ARCHITECTURE.md says what each room may use; `tests/tidy.rs` holds them to it.

#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod batch;
pub mod cli;
pub mod config;
pub mod device;
pub mod guard;
pub mod model;
pub mod monitor;
pub mod net;
pub mod registry;
pub mod serve;
pub mod stats;
pub mod types;
