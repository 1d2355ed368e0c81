//! Why rows may not wait, and what their client is told: in rows, or in tokens where those are counted.

use tokio::time::Duration;

use super::item::Limits;
use crate::types::{Error, Reason};

const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why rows may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// So much waits, and no more may.
    Full {
        /// Size of what waits.
        waiting: usize,
    },
    /// So much waits, and more would end late, as has been seen.
    Crowded {
        /// Size of what waits.
        waiting: usize,
        /// Size of what may wait now.
        limit: usize,
    },
    /// Their client has more than its share of the queue.
    Share {
        /// Size of what waits of the client.
        held: usize,
        /// Size of what may wait still.
        free: usize,
        /// How many times what is free it may have.
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
    /// What a client is told that asked for so much.
    pub(super) fn error(&self, size: usize, limits: &Limits) -> Error {
        let (unit, most) = (limits.unit.name(), limits.queue_size_max);
        match self {
            Self::Full { waiting } => {
                let detail =
                    format!("queue full: {waiting} {unit} are waiting, {size} more exceed the limit of {most}");
                Error::new(Reason::QueueFull, detail).retry_after(RETRY_AFTER)
            }
            Self::Crowded { waiting, limit } => {
                let detail =
                    format!("{waiting} {unit} are waiting, and no more than {limit} were seen to end in time lately");
                Error::new(Reason::Concurrency, detail).retry_after(RETRY_AFTER)
            }
            Self::Share { held, free, alpha } => {
                let detail = format!(
                    "the client has {held} {unit} in the model's queue of {most}, its share is {alpha} times the {free} \
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
