//! Tells a model's queue how its requests end, in time or late, by which it limits how many rows may wait.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::batch::Queue;
use crate::types::{Error, Reason};

/// A request that has less time than so many full batches take says nothing about the limit.
const BATCHES_MIN: u32 = 4;

/// Watches one request from its queue to its end; dropped before, it counts as late if its deadline has passed.
pub(super) struct Punctual {
    /// `None` once it is told, or if the request says nothing.
    queue: Option<Arc<Queue>>,
    until: Instant,
}

impl Punctual {
    /// A request that enters `queue` and is wanted until `until`.
    pub(super) fn watch(queue: &Arc<Queue>, now: Instant, until: Instant) -> Self {
        let enough = queue.full_batch().saturating_mul(BATCHES_MIN);
        let counts = until.saturating_duration_since(now) >= enough;
        Self { queue: counts.then(|| Arc::clone(queue)), until }
    }

    /// The request has ended. A refusal and a model's error are no sign of lateness.
    pub(super) fn ended<T>(mut self, outcome: &Result<T, Error>, now: Instant) {
        let late = match outcome {
            Ok(_) => Some(now >= self.until),
            Err(error) => (error.reason() == Reason::Deadline).then_some(true),
        };
        let queue = self.queue.take();
        if let (Some(late), Some(queue)) = (late, queue) {
            queue.ended(late, now);
        }
    }
}

impl Drop for Punctual {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        let now = Instant::now();
        // A client whose deadline passes takes its call back at about the same moment.
        if now + Duration::from_millis(1) >= self.until {
            queue.ended(true, now);
        }
    }
}
