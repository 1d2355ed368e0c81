//! Settings: read from files, environment and flags, checked once, with every problem reported at once.
//!
//! Deliberately absent: every other room but `types`. Nothing outside this room reads the environment.

mod document;
mod flags;
mod form;
mod model;
mod problems;
mod raw;
mod reader;
mod reference;
mod resolve;
mod score;
mod server;
mod tree;
mod units;

pub use document::{Document, Table};
pub use flags::ServeFlags;
pub use model::{
    BatchingConfig, BreakerConfig, ConfidenceConfig, DeviceConfig, DevicePolicy, FallbackConfig, ModelConfig,
    NonFinite, Placement, Precision, PredictionConfig, RungConfig, RungUse, VersionChoice, VersionPolicy, WarmupConfig,
};
pub use problems::Problems;
pub use raw::{Environment, Raw};
pub use reference::reference;
pub use resolve::reload_log_level;
pub use score::ScoreKind;
pub use server::{Config, DeviceChoice, Limits, Log, LogFormat, Monitor, Repository, Runtime, Shutdown, Worker};
pub use units::duration;
