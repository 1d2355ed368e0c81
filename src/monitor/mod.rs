//! What the server tells about itself: journeys of requests, instruments of deployments, and their exposition.
//!
//! Deliberately absent: decisions. This room observes; nothing here slows, refuses or changes a request. It is the
//! only home of metric names and of the `prometheus` crate. Labels come from configuration, never from a client's
//! bytes.

mod access;
mod bounds;
mod catalogue;
mod embeddings;
mod export;
mod hub;
mod instruments;
mod journey;
mod latency;
mod loads;
mod page;
mod process;
mod rungs;
mod scores;
mod snapshot;
mod traffic;
mod workers;

pub use bounds::CONFIDENCE;
pub use catalogue::reference;
pub use export::CONTENT_TYPE;
pub use hub::{Monitor, Reading, Settings};
pub use instruments::{BatchCounts, Instruments, QueueView};
pub use journey::Journey;
pub use latency::{PHASES, Phase};
pub use loads::LoadResult;
pub use process::resident_bytes;
pub use rungs::{RungCounts, RungFailure, RungSnapshot, Trial};
pub use scores::ScorePlan;
pub use snapshot::{ClassSnapshot, PhaseSnapshot, ScoreSnapshot, Snapshot, TokenCounts};
pub use workers::WorkerView;

#[cfg(test)]
mod tests;
