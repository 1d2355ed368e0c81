//! Dynamic batching: what waits for a model, when it is released, and who gets which rows back.
//!
//! `policy` decides, as a pure function of plain data and `now`; `queue` keeps it under one lock; `worker` runs what
//! it releases. Deliberately absent: kinds of models, protocols, metrics.

mod ahead;
mod calls;
mod fair;
mod flight;
mod forecast;
mod item;
mod line;
mod policy;
mod queue;
mod refusal;
mod room;
mod run;
mod shapes;
mod turns;
mod worker;

pub use calls::{Begun, Calls};
pub use item::{Ask, Limits, Unit};
pub use queue::{Job, PartAnswer, Queue, Ticket};
pub use shapes::BatchShape;
pub use turns::{Seat, Turn, Turns};
pub use worker::{Listener, Ran, Suspects, Worker};
