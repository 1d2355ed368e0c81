//! The pipeline as a whole, simulated.

mod book;
mod simulation;
