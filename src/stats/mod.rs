//! Numbers that are learned while serving: a cost fit, histograms and a sliding window over them.
//!
//! Deliberately absent: names, labels, clocks that tick, prometheus. Every function that depends on time takes `now`.

mod affine;
mod bounded;
mod histogram;
mod recent;
mod window;

pub use affine::Affine;
pub use bounded::{Bounded, BoundedCounts};
pub use histogram::{BUCKETS, Distribution, Histogram, bucket, edges, nanos, upper_nanos};
pub use recent::RecentDurations;
pub use window::Window;
