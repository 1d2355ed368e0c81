//! What waits: rows of one request that must stay together, and the limits they wait under.
//!
//! Everything is counted in sizes: in rows where all have one shape, in tokens where they are texts. A size is what rows cost
//! to compute, roughly, so that one long text counts as many short ones.

use tokio::time::{Duration, Instant};

/// Rows that wait together. `T` is whatever the owner needs back; the policy never looks at it.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    /// Unique and growing: later arrivals have larger ones.
    pub(super) id: u64,
    /// Number of rows, at least 1 and at most [`Limits::batch_rows_max`].
    pub(super) rows: usize,
    /// Their size, at least 1; one row alone may exceed [`Limits::batch_size_max`].
    pub(super) size: usize,
    /// Rows of about one length: within a client, classes take turns.
    pub(super) class: u8,
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
    /// Their size, at least 1.
    pub size: usize,
    /// Their class by the length of the longest; 0 where rows are of one shape.
    pub class: u8,
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
    /// What sizes count.
    pub unit: Unit,
    /// Rows in a batch.
    pub batch_rows_max: usize,
    /// Size of a batch.
    pub batch_size_max: usize,
    /// Sizes at which a batch is cut, ascending; empty for none.
    pub preferred_sizes: Vec<usize>,
    /// Upper bound of a hold; zero never holds.
    pub hold_max: Duration,
    /// Size of what may wait.
    pub queue_size_max: usize,
    /// Number of priority levels, at least 1.
    pub levels: usize,
    /// Batches that may go ahead of a waiting item before it goes next.
    pub overtake_max: u32,
}

/// What sizes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Rows of one shape.
    Rows,
    /// Tokens of rows that differ in length.
    Tokens,
}

impl Unit {
    /// The word for many of them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Tokens => "tokens",
        }
    }
}

/// The class of rows of which the longest has `longest` elements: all up to 16 are alike, then lengths double.
pub(super) fn class(longest: usize) -> u8 {
    let doublings = (longest.max(1) - 1).checked_ilog2().map_or(0, |power| power + 1);
    u8::try_from(doublings.saturating_sub(4)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_are_lengths_that_double() {
        let classes = [0, 1, 16, 17, 32, 33, 512, 513].map(class);
        assert_eq!(classes, [0, 0, 0, 1, 1, 2, 5, 6]);
        assert_eq!(class(usize::MAX), 60);
    }
}
