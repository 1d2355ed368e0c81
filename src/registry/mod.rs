//! Which models are served: where they come from, how a version comes to life, and the table that requests look in.
//!
//! Deliberately absent: protocols.

mod accelerators;
mod bring_up;
mod budget;
mod declared;
mod deployment;
mod devices;
mod directory;
mod fingerprint;
pub mod golden;
mod health;
mod in_turn;
mod lifecycle;
mod manager;
mod pinned;
mod plan;
mod reconcile;
mod retire;
mod rung;
mod rungs;
mod sample;
mod settle;
mod shipped;
mod single;
mod source;
mod table;
mod told;
mod warm_up;
mod watch;

pub use accelerators::{Accelerators, DeviceState};
pub use declared::{Declared, StandIn, check_rungs};
pub use deployment::Deployment;
pub use directory::Directory;
pub use lifecycle::State;
pub use manager::{Allowance, Place, Pools, Registry, Spawn};
pub use reconcile::Reconciler;
pub use rung::{Admitted, Rung};
pub use rungs::Rungs;
pub use sample::{Sample, Sampler};
pub use shipped::{Shipped, shipped_file};
pub use single::Single;
pub use source::{Candidate, Found, Listing, RegistrySource};
pub use table::{ModelEntry, Table, VersionEntry};
pub use warm_up::made_up_row;
pub use watch::keep;
