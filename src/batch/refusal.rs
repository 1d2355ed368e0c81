//! Why rows may not wait, and what their client is told.

use tokio::time::Duration;

use crate::types::{Error, Reason};

const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why rows may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// So many rows wait, and no more may.
    Full {
        /// Rows that wait.
        waiting: usize,
    },
    /// So many rows wait, and more would end late, as has been seen.
    Crowded {
        /// Rows that wait.
        waiting: usize,
        /// Rows that may wait now.
        limit: usize,
    },
    /// Their client has more than its share of the queue.
    Share {
        /// Rows of the client that wait.
        held: usize,
        /// Rows that may wait still.
        free: usize,
        /// How many times the free rows it may have.
        alpha: usize,
    },
    /// Their answer would come later than it is wanted.
    TooLate {
        /// Predicted time until the answer.
        wait: Duration,
        /// Time left until the deadline.
        left: Duration,
    },
    /// Their deadline has passed.
    Expired,
}

impl Refusal {
    /// What a client is told that asked for `rows` rows; `limit` is the queue's.
    pub(super) fn error(&self, rows: usize, limit: usize) -> Error {
        match self {
            Self::Full { waiting } => {
                let detail = format!("queue full: {waiting} rows are waiting, {rows} more exceed the limit of {limit}");
                Error::new(Reason::QueueFull, detail).retry_after(RETRY_AFTER)
            }
            Self::Crowded { waiting, limit } => {
                let detail =
                    format!("{waiting} rows are waiting, and no more than {limit} were seen to end in time lately");
                Error::new(Reason::Concurrency, detail).retry_after(RETRY_AFTER)
            }
            Self::Share { held, free, alpha } => {
                let detail = format!(
                    "the client has {held} rows in the model's queue of {limit}, its share is {alpha} times the {free} \
                     that are free"
                );
                Error::new(Reason::ClientShare, detail).retry_after(RETRY_AFTER)
            }
            Self::TooLate { wait, left } => {
                let (wait_ms, left_ms) = (wait.as_millis(), left.as_millis());
                let detail =
                    format!("the answer is predicted in {wait_ms} ms, too late for a deadline in {left_ms} ms");
                Error::new(Reason::PredictedWait, detail).retry_after(*wait)
            }
            Self::Expired => Error::new(Reason::Deadline, "the deadline passed before the request was queued"),
        }
    }
}
