//! Two batches on one device: while one is computed, the next is copied there, where the queue holds a full one.
//!
//! A batch is chosen late, so that all can be in it that arrived meanwhile; so a device is given one ahead only where nothing
//! could join it, nobody else waits for the device, and neither batch has rows that must be alone. All else waits until the
//! device is free.

use tokio::time::Instant;

use super::policy::Batch;
use super::queue::Waiting;
use super::run::is_alone;
use super::turns::Seat;
use super::worker::Worker;
use crate::device::Device;

impl Worker {
    /// Runs a batch by one way into the device, and by the two in turn those that follow it without a gap; ends when the device
    /// is free.
    pub(super) async fn run_in_turn(&self, ways: [&mut Device; 2], batch: Batch<Waiting>, now: Instant) {
        let [first, second] = ways;
        tokio::join!(self.run_by(first, Some((batch, now))), self.run_by(second, None));
    }

    /// Runs a batch, if one is given, then each that is taken while the device computes one that came by the other way.
    async fn run_by(&self, way: &mut Device, mut given: Option<(Batch<Waiting>, Instant)>) {
        loop {
            let next = match given.take() {
                Some(given) => Some(given),
                None => self.next_ahead().await,
            };
            let Some((batch, now)) = next else { return };
            self.run(way, batch, now).await;
        }
    }

    /// The next batch, once the queue holds a full one; `None` when the device is free before.
    async fn next_ahead(&self) -> Option<(Batch<Waiting>, Instant)> {
        loop {
            let moved = self.flight.moved();
            if self.flight.is_empty() {
                return None;
            }
            if self.may_be_ahead()
                && let Some((batch, now)) = self.queue().step_ahead()
            {
                if !is_alone(&batch) {
                    return Some((batch, now));
                }
                self.flight.emptied().await;
                return Some((batch, Instant::now()));
            }
            tokio::select! {
                () = self.queue().wait(None) => {}
                () = moved => {}
            }
        }
    }

    fn may_be_ahead(&self) -> bool {
        let is_wanted = self.seat.as_ref().is_some_and(Seat::is_wanted);
        !is_wanted && !self.flight.has_alone() && self.listener.permits_ahead(Instant::now())
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
