//! The devices of a deployment, in the order in which they are asked.

use std::sync::Arc;

use tokio::time::Instant;

use super::rung::Rung;
use crate::batch::{Queue, Unit};
use crate::monitor::QueueView;

/// At least one device.
pub struct Rungs {
    first: Rung,
    next: Vec<Rung>,
    queues: Arc<Queues>,
}

impl Rungs {
    pub(super) fn new(first: Rung, next: Vec<Rung>) -> Self {
        let queues = std::iter::once(&first).chain(&next).map(|rung| Arc::clone(rung.worker().queue()));
        let queues = Arc::new(Queues(queues.collect()));
        Self { first, next, queues }
    }

    /// The preferred device.
    pub fn first(&self) -> &Rung {
        &self.first
    }

    /// Is there only one?
    pub fn is_single(&self) -> bool {
        self.next.is_empty()
    }

    /// Every device, the preferred one first.
    pub fn iter(&self) -> impl Iterator<Item = &Rung> {
        std::iter::once(&self.first).chain(&self.next)
    }

    /// The device that a request would get now.
    pub fn serving(&self, now: Instant) -> &Rung {
        if self.next.is_empty() {
            return &self.first;
        }
        self.iter().find(|rung| rung.serves(now)).or_else(|| self.next.last()).unwrap_or(&self.first)
    }

    /// The queues, as the monitor sees them.
    pub(super) fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    /// Their queues take nothing more, and their workers end when all that waits is answered.
    pub(super) fn close(&self) {
        for rung in self.iter() {
            rung.worker().queue().close();
        }
    }
}

/// The queues of all devices as one.
pub(super) struct Queues(Vec<Arc<Queue>>);

impl QueueView for Queues {
    fn rows(&self) -> usize {
        self.0.iter().map(|queue| queue.rows()).sum()
    }

    fn oldest(&self) -> Option<Instant> {
        self.0.iter().filter_map(|queue| queue.oldest()).min()
    }

    fn size_limit(&self) -> usize {
        self.0.first().map_or(0, |queue| queue.size_limit())
    }

    fn counts_tokens(&self) -> bool {
        self.0.first().is_some_and(|queue| queue.limits().unit == Unit::Tokens)
    }
}
