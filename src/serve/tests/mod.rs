//! The pipeline as a whole: simulated, and with a model that makes its own rows.

mod book;
mod devices;
mod ladder;
mod prepared;
mod simulation;
mod trials;
