//! Which models are served: where they come from, how a version comes to life, and the table that requests look in.
//!
//! Deliberately absent: protocols.

mod deployment;
mod directory;
mod lifecycle;
mod manager;
mod shipped;
mod source;
mod table;
mod warm_up;

pub use deployment::Deployment;
pub use directory::Directory;
pub use lifecycle::State;
pub use manager::{Place, Registry, Spawn};
pub use shipped::{Shipped, shipped_file};
pub use source::{Found, Listing, RegistrySource};
pub use table::{ModelEntry, Table, VersionEntry};
