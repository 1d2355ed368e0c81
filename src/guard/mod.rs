//! What keeps the server whole: how much may be in it at once, shared fairly; and when a device is not asked, or given up.
//!
//! Deliberately absent: what it guards. Nothing here knows a request, a model or a protocol.

mod adaptive;
mod admit;
mod breaker;
mod cgroup;
mod memory;
mod quarantine;
mod retry;
mod share;
mod watchdog;

pub use adaptive::Adaptive;
pub use admit::{Admission, Client, Hold, Limits, Tenant};
pub use breaker::{Admit, Breaker, BreakerState, Call, Pass};
pub use cgroup::memory_limit;
pub use memory::{Memory, Pressure};
pub use quarantine::{Quarantine, Verdict};
pub use retry::RetryBudget;
pub use share::{alpha, may_take};
pub use watchdog::Watchdog;
