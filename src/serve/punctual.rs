//! Tells a model's queue how its requests end, in time or late, by which it limits how many rows may wait.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::registry::Deployment;
use crate::types::{Error, Reason};

/// A request that has less time than so many full batches take says nothing about the limit.
const BATCHES_MIN: u32 = 4;

/// Watches one request from its queue to its end; dropped before, it counts as late if its deadline has passed.
pub(super) struct Punctual {
    /// `None` once it is told, or if the request says nothing.
    deployment: Option<Arc<Deployment>>,
    until: Instant,
}

impl Punctual {
    /// A request for `deployment` that is wanted until `until`.
    pub(super) fn watch(deployment: &Arc<Deployment>, now: Instant, until: Instant) -> Self {
        let enough = deployment.worker.queue().full_batch().saturating_mul(BATCHES_MIN);
        let counts = until.saturating_duration_since(now) >= enough;
        Self { deployment: counts.then(|| Arc::clone(deployment)), until }
    }

    /// The request has ended. A refusal and a model's error are no sign of lateness.
    pub(super) fn ended<T>(mut self, outcome: &Result<T, Error>, now: Instant) {
        let late = match outcome {
            Ok(_) => Some(now >= self.until),
            Err(error) => (error.reason() == Reason::Deadline).then_some(true),
        };
        let deployment = self.deployment.take();
        if let (Some(late), Some(deployment)) = (late, deployment) {
            deployment.worker.queue().ended(late, now);
        }
    }
}

impl Drop for Punctual {
    fn drop(&mut self) {
        let Some(deployment) = self.deployment.take() else { return };
        let now = Instant::now();
        // A client whose deadline passes takes its call back at about the same moment.
        if now + Duration::from_millis(1) >= self.until {
            deployment.worker.queue().ended(true, now);
        }
    }
}
