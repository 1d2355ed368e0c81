//! What keeps the server within its limits. Deliberately absent: what it guards.

mod admit;

pub use admit::{Admission, Permit};
