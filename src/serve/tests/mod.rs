//! The pipeline as a whole: simulated, with a model that makes its own rows, with a device that tells scores.

mod book;
mod devices;
mod ladder;
mod prepared;
mod scores;
mod simulation;
mod trials;
