//! What waits: rows of one request that must stay together, and the limits they wait under.

use tokio::time::{Duration, Instant};

/// Rows that wait together. `T` is whatever the owner needs back; the policy never looks at it.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    /// Unique and growing: later arrivals have larger ones.
    pub(super) id: u64,
    /// Number of rows, at least 1 and at most [`Limits::batch_rows_max`].
    pub(super) rows: usize,
    /// What may share a batch: items of another group never do.
    pub(super) group: u64,
    /// Priority level, 0 the most urgent.
    pub(super) level: usize,
    /// Number of the client whose rows they are.
    pub(super) client: u64,
    /// Its place among the clients' items, which the policy gives it.
    pub(super) tag: u64,
    /// When it arrived.
    pub(super) arrived: Instant,
    /// When its answer stops being wanted.
    pub(super) deadline: Option<Instant>,
    /// The owner's own.
    pub(super) payload: T,
}

/// A question: may these rows wait?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How many, at least 1.
    pub rows: usize,
    /// Priority level, 0 the most urgent.
    pub level: usize,
    /// Number of the client whose rows they are.
    pub client: u64,
    /// When their answer stops being wanted.
    pub deadline: Option<Instant>,
}

/// Bounds of a model's queue and batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows in a batch.
    pub batch_rows_max: usize,
    /// Sizes at which a batch is cut, ascending; empty for none.
    pub preferred_rows: Vec<usize>,
    /// Upper bound of a hold; zero never holds.
    pub hold_max: Duration,
    /// Rows that may wait.
    pub queue_rows_max: usize,
    /// Number of priority levels, at least 1.
    pub levels: usize,
    /// Batches that may go ahead of a waiting item before it goes next.
    pub overtake_max: u32,
}
