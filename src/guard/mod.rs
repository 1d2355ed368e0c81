//! Admission: what may be in the server at once, shared fairly.
//!
//! Deliberately absent: what it guards. Nothing here knows a request, a model or a protocol.

mod adaptive;
mod admit;
mod cgroup;
mod memory;
mod share;

pub use adaptive::Adaptive;
pub use admit::{Admission, Client, Hold, Limits, Tenant};
pub use cgroup::memory_limit;
pub use memory::{Memory, Pressure};
pub use share::{alpha, may_take};
