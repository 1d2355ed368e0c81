//! A batch for a device that takes it while it computes another: chosen early, and so only where waiting could not improve it.

use tokio::time::Instant;

use super::{Head, Policy};
use crate::batch::policy::Batch;
use crate::types::Release;

impl<T> Policy<T> {
    /// The batch that the device would be given if it were free, if nothing could join it. Call [`Policy::sweep`] first.
    ///
    /// One that is cut for a deadline, or to a preferred size, is left for when the device is free: by then it may be another.
    pub(in crate::batch) fn next_ahead(&mut self, now: Instant) -> Option<Batch<T>> {
        if self.size < self.full_size() && self.rows < self.limits.batch_rows_max {
            return None;
        }
        let head = self.head(now)?;
        let (cap, limit) = self.cap(&head, now);
        if limit != Release::Full || !self.is_full(&head, cap) {
            return None;
        }
        let running = self.busy_until.map(|until| until.saturating_duration_since(now)).unwrap_or_default();
        let batch = self.take(&head, cap, limit, now)?;
        self.busy_until = self.busy_until.map(|until| until + running);
        self.ahead = Some(batch.size);
        Some(batch)
    }

    /// Has a batch of the head and its company as many rows as it may have, or its size?
    fn is_full(&self, head: &Head, cap: usize) -> bool {
        let rows = || self.company(head).map(|item| item.rows).sum::<usize>();
        head.waiting >= cap || rows() >= self.limits.batch_rows_max
    }
}
